//! The bryo command line, which also answers to the lxc-* names.
