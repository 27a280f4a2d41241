//! Links what unwinds a stack into the helpers: one library less for the loader to find, map and bind at each start.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let Some(directory) = directory_of("libgcc_eh.a") else { return };
    println!("cargo:rustc-link-search=native={directory}");
    // The first needs parts of the second.
    println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    println!("cargo:rustc-link-lib=static:-bundle=gcc");
}

/// Returns where the compiler has a library, which it says by its whole path; of one that it has not it says the name alone. Then
/// the shared library stays.
fn directory_of(library: &str) -> Option<String> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let told = Command::new(compiler).arg(format!("-print-file-name={library}")).output().ok()?;
    let path = String::from_utf8(told.stdout).ok()?;
    let directory = Path::new(path.trim_end()).parent().filter(|directory| directory.is_absolute())?;
    directory.to_str().map(str::to_owned)
}
