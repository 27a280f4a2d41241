//! `bryo-init [--] COMMAND [ARGUMENT...]`; the library has the work.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(init::run(std::env::args_os().skip(1).collect()));
}
