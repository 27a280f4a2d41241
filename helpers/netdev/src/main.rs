//! `bryo-netdev FD BRIDGE NAME`; the library has the work.

#![forbid(unsafe_code)]

fn main() {
    helpers::guard::run(&netdev::PROGRAM, netdev::make_pair)
}
