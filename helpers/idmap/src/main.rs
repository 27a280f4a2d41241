//! `bryo-idmap FD u:INSIDE:OUTSIDE:COUNT ... g:INSIDE:OUTSIDE:COUNT ...`; the library has the work.

#![forbid(unsafe_code)]

fn main() {
    helpers::guard::run(&idmap::PROGRAM, idmap::write_map)
}
