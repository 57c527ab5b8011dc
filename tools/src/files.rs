//! Writing small files whole or not at all.

use crate::exit::{Failure, Result, Status};
use std::{ffi::OsString, fs, io, path::Path};

/// Writes a file under a temporary name beside `path` and renames it, so that no reader ever sees
/// half of it. Devices and pipes are written to directly.
///
/// # Errors
/// [`Status::Other`], naming the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes)
        .map_err(|error| Failure::new(Status::Other, format_args!("{}: {error}", path.display())))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, bytes);
    }
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
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
}
