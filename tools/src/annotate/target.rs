//! Where pictures that were drawn on are written.

use crate::{
    canvas,
    exit::{Failure, Result, Status},
    files,
    images::Source,
};
use image::RgbImage;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{self, Path, PathBuf},
};

/// What a picture from standard input is called.
const STANDARD_INPUT: &str = "standard-input";

/// One PNG file, or a folder of them.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    folder: bool,
    /// A file for each image.
    files: Vec<PathBuf>,
}

impl Target {
    /// A file whose name ends in `.png`, an existing folder, or one that ends in a slash and is made.
    /// Fails if nothing could be written there: before any work is done.
    ///
    /// # Errors
    /// [`Status::Usage`] for another ending, [`Status::Other`] if nothing can be written there.
    pub fn new(path: &Path) -> Result<Self> {
        let slash = path.as_os_str().as_encoded_bytes().last();
        let named_as_folder = slash.is_some_and(|&byte| path::is_separator(char::from(byte)));
        let folder = named_as_folder || path.is_dir();
        if folder {
            fs::create_dir_all(path).map_err(|error| {
                Failure::new(Status::Other, format_args!("{}: {error}", path.display()))
            })?;
            files::check(&path.join("bnn.png"))?;
        } else {
            let png = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
            if !png {
                return Err(Failure::usage(format_args!(
                    "{}: expected a name that ends in .png, or a folder",
                    path.display()
                )));
            }
            files::check(path)?;
        }
        Ok(Self { path: path.to_owned(), folder, files: Vec::new() })
    }

    /// Finds a name for each of these images. In a folder it is the image's own with the ending
    /// `.png`; of several images with one name, the later ones get a number.
    ///
    /// # Errors
    /// [`Status::Usage`] if several images would share one file, or one of them would be replaced
    /// by its drawing.
    pub fn expect(&mut self, sources: &[Source]) -> Result<()> {
        self.files = if self.folder {
            names(sources).into_iter().map(|name| self.path.join(name)).collect()
        } else if sources.len() > 1 {
            return Err(Failure::usage(format_args!(
                "--annotate {}: one file for {} images, expected a folder (a name that ends in {})",
                self.path.display(),
                sources.len(),
                path::MAIN_SEPARATOR
            )));
        } else {
            vec![self.path.clone(); sources.len()]
        };
        let images: HashSet<PathBuf> = sources
            .iter()
            .filter_map(|source| match source {
                Source::File(path) => fs::canonicalize(path).ok(),
                Source::StandardInput => None,
            })
            .collect();
        let replaced = self
            .files
            .iter()
            .find(|file| fs::canonicalize(file).is_ok_and(|file| images.contains(&file)));
        match replaced {
            Some(file) => Err(Failure::usage(format_args!(
                "--annotate {}: would replace the image {}",
                self.path.display(),
                file.display()
            ))),
            None => Ok(()),
        }
    }

    /// Writes the picture of an image, by its index, whole or not at all. Returns the file.
    ///
    /// # Errors
    /// [`Status::Other`], naming the file.
    ///
    /// # Panics
    /// If no image of that index is expected.
    pub fn save(&self, index: usize, picture: &RgbImage) -> Result<&Path> {
        let file = &self.files[index];
        canvas::save(picture, file)?;
        Ok(file)
    }
}

/// Names of files that differ, even where capitals do not count.
fn names(sources: &[Source]) -> Vec<String> {
    let mut taken = HashSet::new();
    // For each name the number that is tried next.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let stem = |source: &Source| match source {
        Source::File(path) => path
            .file_stem()
            .map_or_else(|| "image".to_owned(), |stem| stem.to_string_lossy().into_owned()),
        Source::StandardInput => STANDARD_INPUT.to_owned(),
    };
    let name = |source: &Source| {
        let stem = stem(source);
        let number = numbers.entry(stem.to_lowercase()).or_insert(2);
        let mut name = format!("{stem}.png");
        while !taken.insert(name.to_lowercase()) {
            name = format!("{stem}-{number}.png");
            *number += 1;
        }
        name
    };
    sources.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<Source> {
        names.iter().map(|name| Source::File(name.into())).collect()
    }

    #[test]
    fn images_of_one_name_get_numbers() {
        let sources = files(&["a/ship.jpg", "b/ship.png", "ship-2.png", "SHIP.gif", "x", ".."]);
        let expected =
            ["ship.png", "ship-2.png", "ship-2-2.png", "SHIP-3.png", "x.png", "image.png"];
        assert_eq!(names(&sources), expected);
        assert_eq!(names(&[Source::StandardInput]), ["standard-input.png"]);
    }

    #[test]
    fn thousands_of_images_of_one_name_take_no_time() {
        let sources = vec![Source::File("frame.png".into()); 3000];
        let names = names(&sources);
        assert_eq!(names.last().unwrap(), "frame-3000.png");
    }

    #[test]
    fn one_file_is_for_one_image() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Target::new(&folder.path().join("out.png")).unwrap();
        file.expect(&files(&["a.png"])).unwrap();
        let failure = file.expect(&files(&["a.png", "b.png"])).unwrap_err();
        assert_eq!(failure.status(), Status::Usage);
        let mut many = Target::new(folder.path()).unwrap();
        many.expect(&files(&["a.png", "b.png"])).unwrap();
        assert_eq!(many.files, ["a.png", "b.png"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn places_are_checked_before_anything_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let status = |name: &str| Target::new(&folder.path().join(name)).unwrap_err().status();
        assert_eq!(status("out.jpg"), Status::Usage);
        assert_eq!(status("out"), Status::Usage);
        assert_eq!(status("no/such/out.png"), Status::Other);
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(status("file/"), Status::Other);
        assert!(Target::new(&folder.path().join("new/folder/")).is_ok());
        assert!(folder.path().join("new/folder").is_dir());
        assert_eq!(fs::read_dir(folder.path().join("new/folder")).unwrap().count(), 0);
    }

    #[test]
    fn images_are_not_replaced_by_their_drawings() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.png");
        fs::write(&image, "pixels").unwrap();
        let source = [Source::File(image.clone())];
        for path in [&image, folder.path()] {
            let failure = Target::new(path).unwrap().expect(&source).unwrap_err();
            assert_eq!(failure.status(), Status::Usage);
        }
        assert_eq!(fs::read(&image).unwrap(), b"pixels");
    }
}
