//! The images that a command line names: files, folders, standard input.

use crate::exit::{Failure, Result};
use bnn::vision::{self, Image};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Endings of the names of files that a folder is searched for, in lower case.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// Most bytes of an image: devices and pipes may never end.
const MAXIMUM_BYTES: u64 = 1 << 30;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    StandardInput,
}

impl Source {
    /// The name as people see it: the path, or `-`.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::StandardInput => "-".to_owned(),
        }
    }

    /// Reads and decodes the image.
    ///
    /// # Errors
    /// If it cannot be read or is no image.
    pub fn decode(&self) -> Result<Image> {
        match self {
            Self::File(path) => decode_file(path),
            Self::StandardInput => decode_from(Path::new("-"), io::stdin().lock()),
        }
    }
}

/// Reads and decodes an image file.
///
/// # Errors
/// If it cannot be read or is no image; the message names it.
pub fn decode_file(path: &Path) -> Result<Image> {
    let file = File::open(path).map_err(|error| Failure::input(path, error))?;
    decode_from(path, file)
}

fn decode_from(name: &Path, reader: impl Read) -> Result<Image> {
    let mut bytes = Vec::new();
    reader
        .take(MAXIMUM_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::input(name, error))?;
    if bytes.len() as u64 == MAXIMUM_BYTES {
        return Err(Failure::input(name, "too large for an image"));
    }
    vision::decode(&bytes).map_err(|error| Failure::input(name, error))
}

/// The images that the arguments stand for, in their order; folders give their images sorted by
/// path. Folders that cannot be read are handed to `complain`.
///
/// # Errors
/// [`crate::exit::Status::Usage`] if standard input is named twice.
pub fn gather(arguments: &[PathBuf], mut complain: impl FnMut(Failure)) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            if sources.contains(&Source::StandardInput) {
                return Err(Failure::usage("standard input ('-') can be given once only"));
            }
            sources.push(Source::StandardInput);
        } else if argument.is_dir() {
            match in_folder(argument) {
                Ok(files) if files.is_empty() => {
                    complain(Failure::input(argument, "no images in this folder"));
                }
                Ok(files) => sources.extend(files.into_iter().map(Source::File)),
                Err(failure) => complain(failure),
            }
        } else {
            sources.push(Source::File(argument.clone()));
        }
    }
    Ok(sources)
}

/// All image files in a folder and the folders in it, sorted. Hidden ones are left out, and linked
/// folders are not entered.
///
/// # Errors
/// If a folder cannot be read.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let fail = |error| Failure::input(&folder, error);
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(fail)?.is_dir() {
                folders.push(path);
            } else if has_image_extension(&path) && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_in_order_for_images_only() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.png", "a/z.JPG", "a/b/c.webp", "notes.txt", ".hidden.png", "a/.x/y.png"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found: Vec<_> = in_folder(folder.path())
            .unwrap()
            .into_iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())
            .collect();
        assert_eq!(found, ["a/b/c.webp", "a/z.JPG", "b.png"].map(PathBuf::from));
    }

    #[test]
    fn standard_input_can_be_named_once() {
        let sources = gather(&["-".into(), "x.png".into()], |failure| panic!("{failure:?}")).unwrap();
        assert_eq!(sources, [Source::StandardInput, Source::File("x.png".into())]);
        assert!(gather(&["-".into(), "-".into()], |_| {}).is_err());
    }

    #[test]
    fn an_empty_folder_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut complaints = 0;
        let sources = gather(&[folder.path().to_owned()], |_| complaints += 1).unwrap();
        assert_eq!((sources.len(), complaints), (0, 1));
    }
}
