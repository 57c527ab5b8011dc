//! What is asked of a file that is shipped: that it runs anywhere, and tells nothing of the machine it
//! was built on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _};

/// Fails unless `path` is a program that needs neither a loader nor a library.
pub(crate) fn check_static(path: &Path) -> Result<()> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    is_static(&data).with_context(|| path.display().to_string())
}

fn is_static(data: &[u8]) -> Result<()> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == PT_INTERP {
            bail!("asks for a loader: it is not static");
        }
        let entries = segment.dynamic(endian, data)?.unwrap_or_default();
        if entries.iter().any(|entry| entry.tag(endian) == DT_NEEDED) {
            bail!("asks for a shared library: it is not static");
        }
    }
    Ok(())
}

/// Fails if a program or shared library holds debug information.
pub(crate) fn check_stripped(path: &Path) -> Result<()> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file =
        ElfFile64::<Endianness>::parse(&data[..]).with_context(|| path.display().to_string())?;
    if file.has_debug_symbols() {
        bail!("{} holds debug information", path.display());
    }
    Ok(())
}

/// Fails if a file names one of the folders.
pub(crate) fn check_names_none_of<'a>(
    path: &Path,
    folders: impl Iterator<Item = &'a Path>,
) -> Result<()> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    for folder in folders {
        let name = folder.as_os_str().as_encoded_bytes();
        // The root folder, as the home of a system user, would be found everywhere.
        if name.len() > 1
            && let Some(start) = data.windows(name.len()).position(|window| window == name)
        {
            let end = (start + name.len() + 60).min(data.len());
            let text = String::from_utf8_lossy(&data[start..end]);
            bail!("{} names a folder of this machine: {:?}", path.display(), text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_test_needs_a_loader() {
        let program = std::env::current_exe().unwrap();
        let error = check_static(&program).unwrap_err();
        assert!(format!("{error:#}").contains("not static"), "{error:#}");
        assert!(check_stripped(&program).is_err(), "tests keep their debug information");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(is_static(b"#!/bin/sh\n").is_err());
        assert!(is_static(b"").is_err());
    }

    #[test]
    fn names_of_folders_are_found() {
        let program = std::env::current_exe().unwrap();
        let check =
            |folder: &str| check_names_none_of(&program, std::iter::once(Path::new(folder)));
        // Put together here: written out, this program would hold it.
        assert!(check(&["no", "such", "folder", "anywhere"].join("/")).is_ok());
        assert!(check("a folder that this test names").is_err());
    }
}
