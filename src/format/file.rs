//! Writing whole files or nothing.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{FormatError, write};
use crate::program::Program;

/// Writes `program` to `path`, replacing a file that is there.
///
/// The bytes go to a temporary file beside it, which is synchronised with the disk and renamed at
/// the end: at every moment `path` holds the old file, the whole new one, or nothing.
///
/// # Errors
/// As [`write()`], and [`FormatError::Io`]; `path` is then as before and the temporary file is gone.
pub fn write_file(path: impl AsRef<Path>, program: &Program) -> Result<(), FormatError> {
    let path = path.as_ref();
    let bytes = write(program)?;
    replace(path, &bytes)
        .map_err(|source| FormatError::Io { path: path.display().to_string(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A device or a folder is not to be renamed over.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut temporary = Temporary::create_beside(path)?;
    temporary.file.write_all(bytes)?;
    temporary.file.sync_all()?;
    fs::rename(&temporary.path, path)?;
    temporary.renamed = true;
    sync_folder(path);
    Ok(())
}

/// A file that disappears unless it was renamed.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    /// Creates a new file in the folder of `path`, so that renaming stays on one file system.
    fn create_beside(path: &Path) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        for attempt in 0..100 {
            let mut temporary = OsString::from(".");
            temporary.push(name);
            temporary.push(format!(".{}-{attempt}.tmp", std::process::id()));
            let temporary = path.with_file_name(temporary);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    return Ok(Self { path: temporary, file, renamed: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free temporary name"))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing more can be done about a file that cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the renaming durable, where the system can do that; the file is complete in any case.
fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
