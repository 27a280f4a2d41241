//! The bryo command line.
fn main() {}
