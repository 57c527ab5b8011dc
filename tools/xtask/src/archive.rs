//! A folder as a compressed archive that has the same bytes whoever makes it, and whenever.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// Writes `folder` to the archive `path`, in which it is called `name`.
///
/// Entries are sorted, belong to root and were last changed at `time` (seconds since 1970).
pub(crate) fn write(folder: &Path, name: &str, time: u64, path: &Path) -> Result<()> {
    let part = path.with_added_extension("part");
    let file = File::create(&part).with_context(|| format!("cannot create {}", part.display()))?;
    // Without a name and a time in the header of the compressed file.
    let compressed = GzBuilder::new().mtime(0).write(file, Compression::best());
    let mut archive = Builder::new(compressed);
    for entry in entries(folder)? {
        let inside = Path::new(name).join(entry.strip_prefix(folder)?);
        append(&mut archive, &entry, &inside, time)
            .with_context(|| format!("cannot pack {}", entry.display()))?;
    }
    archive.into_inner()?.finish()?.flush()?;
    fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
}

/// A folder and all below it, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let path = found[next].clone();
        next += 1;
        if path.symlink_metadata()?.is_dir() {
            for entry in
                fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?
            {
                found.push(entry?.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn append(
    archive: &mut Builder<impl io::Write>,
    path: &Path,
    inside: &Path,
    time: u64,
) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    if metadata.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        archive.append_link(&mut header, inside, fs::read_link(path)?)
    } else if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive.append_data(&mut header, inside, io::empty())
    } else {
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if is_executable(&metadata) { 0o755 } else { 0o644 });
        header.set_size(metadata.len());
        archive.append_data(&mut header, inside, File::open(path)?)
    }
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}

/// The line of a file in a list that `sha256sum --check` reads.
pub(crate) fn checksum(path: &Path) -> Result<String> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_name().context("a file has a name")?.to_string_lossy();
    let digest = Sha256::digest(&data);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{digits}  {name}\n"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn folder(place: &Path, names: [&str; 2]) -> PathBuf {
        let folder = place.join("folder");
        fs::create_dir_all(folder.join("bin")).unwrap();
        for name in names {
            fs::write(folder.join("bin").join(name), name).unwrap();
        }
        fs::set_permissions(folder.join("bin/a"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("a", folder.join("bin/link")).unwrap();
        folder
    }

    #[test]
    fn equal_folders_give_equal_archives() {
        let place = tempfile::tempdir().unwrap();
        let mut archives = Vec::new();
        for (number, names) in [["a", "b"], ["b", "a"]].into_iter().enumerate() {
            let folder = folder(&place.path().join(number.to_string()), names);
            let path = place.path().join(format!("{number}.tar.gz"));
            write(&folder, "bnn-1", 1_700_000_000, &path).unwrap();
            archives.push(fs::read(path).unwrap());
        }
        assert_eq!(archives[0], archives[1]);
    }

    #[test]
    fn names_modes_and_links_are_kept_and_owners_are_not() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path(), ["a", "b"]);
        let path = place.path().join("x.tar.gz");
        write(&folder, "bnn-1", 5, &path).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 5));
            let target = entry.link_name().unwrap().map(|name| name.display().to_string());
            let name = entry.path().unwrap().display().to_string();
            found.push((name, header.mode().unwrap(), target));
        }
        let expected = [
            ("bnn-1/", 0o755, None),
            ("bnn-1/bin", 0o755, None),
            ("bnn-1/bin/a", 0o755, None),
            ("bnn-1/bin/b", 0o644, None),
            ("bnn-1/bin/link", 0o777, Some("a")),
        ];
        let expected =
            expected.map(|(name, mode, target)| (name.to_owned(), mode, target.map(str::to_owned)));
        assert_eq!(found, expected);
    }

    #[test]
    fn checksums_are_those_of_sha256() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n";
        assert_eq!(checksum(&path).unwrap(), expected);
    }
}
