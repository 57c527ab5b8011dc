//! Writing small files whole or not at all.

use crate::exit::{Failure, Result, Status};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Writes a file under a temporary name beside `path` and renames it, so that no reader ever sees
/// half of it. Devices and pipes are written to directly.
///
/// # Errors
/// [`Status::Other`], naming the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes)
        .map_err(|error| Failure::new(Status::Other, format_args!("{}: {error}", path.display())))
}

/// Fails if [`write()`] could not write this file, to say so before there is any work to lose. Nothing is
/// left behind, and a file that is there stays as it is.
///
/// # Errors
/// [`Status::Other`], naming the file.
pub fn check(path: &Path) -> Result<()> {
    attempt(path)
        .map_err(|error| Failure::new(Status::Other, format_args!("{}: {error}", path.display())))
}

fn attempt(path: &Path) -> io::Result<()> {
    if is_special(path) {
        return fs::OpenOptions::new().write(true).open(path).map(|_| ());
    }
    let temporary = temporary(path)?;
    fs::write(&temporary, [])?;
    fs::remove_file(&temporary)
}

/// Whether there is something that is not a plain file: a device, a pipe, a folder.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// A name beside `path` that no other process takes.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_special(path) {
        return fs::write(path, bytes);
    }
    let temporary = temporary(path)?;
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let failure = write(&folder.path().join("no/such/folder"), b"x").unwrap_err();
        assert_eq!(failure.status(), Status::Other);
    }

    #[test]
    fn a_check_finds_what_writing_would_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.png");
        check(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write(&path, b"one").unwrap();
        check(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        for path in [folder.path().join("no/such/folder"), folder.path().to_owned(), "..".into()] {
            assert_eq!(check(&path).unwrap_err().status(), Status::Other, "{}", path.display());
            assert!(write(&path, b"x").is_err());
        }
    }
}
