//! `bryo-image`: unpacks, copies and removes root file systems. See the library for what it promises.
//!
//! Exit status: 0 done, 1 failed, 2 wrong arguments. The last line on stdout is the report, as JSON.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::ExitCode;

use config::images::{Form, Record, machine};
use image::store::{Store, StoreError};
use image::{Command, Confined, Error, Problem, Report, USAGE, UsageError};
use types::source::ImageName;

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(wrong) => return refuse(&wrong),
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bryo-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(wrong: &UsageError) -> ExitCode {
    eprintln!("bryo-image: {wrong}\n{USAGE}");
    ExitCode::from(2)
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Unpack { archive, root, what, ids, excludes, digest } => {
            let (archive, root) = (inherited(archive)?, inherited(root)?);
            let confined = image::confine(root.as_fd());
            tell(&image::unpack(archive, root.as_fd(), what, ids, &excludes, digest)?, confined);
            Ok(())
        }
        Command::Copy { source, root, ids, excludes } => {
            let (source, root) = (inherited(source)?, inherited(root)?);
            let confined = image::confine(root.as_fd());
            tell(&image::copy(source.as_fd(), root.as_fd(), ids, excludes)?, confined);
            Ok(())
        }
        Command::Prune { root, excludes } => {
            let root = inherited(root)?;
            tell_confined(image::confine(root.as_fd()));
            image::prune(root.as_fd(), &excludes)?;
            Ok(())
        }
        Command::Remove { root, name } => {
            let root = inherited(root)?;
            Ok(sys::file::remove_tree(root.as_fd(), &name).map_err(failed)?)
        }
        Command::Describe { archive } => {
            let archive = inherited(archive)?;
            tell_confined(image::confine_to_files(Path::new("")));
            println!("{}", serde_json::json!(image::describe(archive)?));
            Ok(())
        }
        Command::Verify { store } => {
            let opened = Store::open(&store)?;
            tell_confined(image::confine_to_files(&store));
            println!("{}", serde_json::json!(opened.verify()?));
            Ok(())
        }
        Command::ImportSaved { store, name, form, source, tag } => {
            let source = inherited(source)?;
            let opened = Store::open(&store)?;
            let dir = sys::path::of_fd(&source);
            tell_confined(image::confine_to(&dir, &store));
            let tag = tag.map(|tag| tag.to_string());
            let record = image::import_saved(&opened, &name, form, tag.as_deref(), source)?;
            println!("{}", serde_json::json!(record));
            Ok(())
        }
        Command::Import { store, name, build, form, rootfs, metadata } => {
            let (rootfs, metadata) = (inherited(rootfs)?, metadata.map(inherited).transpose()?);
            let opened = Store::open(&store)?;
            tell_confined(image::confine_to_files(&store));
            let record = import(&opened, &name, build, form, rootfs, metadata)?;
            println!("{}", serde_json::json!(record));
            Ok(())
        }
    }
}

fn inherited(fd: RawFd) -> Result<OwnedFd, Error> {
    sys::process::inherited(fd).map_err(failed)
}

fn failed(error: sys::Error) -> Error {
    Error::Whole(Problem::Call(error))
}

/// Takes the files of an image in, and writes down what they are.
fn import(
    store: &Store,
    name: &ImageName,
    build: String,
    form: Form,
    rootfs: OwnedFd,
    metadata: Option<OwnedFd>,
) -> Result<Record, StoreError> {
    let take = |fd: OwnedFd| store.import(&mut std::fs::File::from(fd));
    let name = ImageName { arch: name.arch.clone().or_else(|| Some(machine())), ..name.clone() };
    let variant = name.variant.clone().or_else(|| "default".parse().ok());
    let name = ImageName { variant, ..name }.to_string();
    let (layers, metadata) = (vec![take(rootfs)?], metadata.map(take).transpose()?);
    let record = Record { name, also: Vec::new(), build, server: None, form, metadata, layers, run: None };
    store.record(&record)?;
    Ok(record)
}

fn tell_confined(confined: Confined) {
    if confined == Confined::Partly {
        eprintln!("bryo-image: note: the kernel did not let the program be shut in completely");
    }
}

fn tell(report: &Report, confined: Confined) {
    if report.devices_skipped > 0 {
        eprintln!(
            "bryo-image: note: {} device nodes were left out; only real root can make them, and a container gets its own",
            report.devices_skipped
        );
    }
    if let Some((name, file)) = &report.missed_xattr {
        eprintln!(
            "bryo-image: note: {} extended attributes were left out, the first is {name:?} of {file}",
            report.xattrs_dropped
        );
    }
    if confined == Confined::Partly {
        eprintln!("bryo-image: note: the kernel did not let the unpacker be shut in completely");
    }
    println!("{}", serde_json::json!(report));
}
