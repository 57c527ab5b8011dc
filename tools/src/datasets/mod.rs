//! Labelled images in the forms in which people have them.

mod csv;
mod folders;
mod idx;
mod tensors;

use crate::{
    exit::{Failure, Result},
    images,
};
use bnn::vision::Image;
use std::path::{Path, PathBuf};

/// Images and the classes they belong to.
#[derive(Debug)]
pub struct Dataset {
    images: Images,
    labels: Vec<usize>,
}

/// Where the images of a data set are.
#[derive(Debug)]
enum Images {
    /// One file each.
    Files(Vec<PathBuf>),
    /// Pixels in memory.
    Pixels(Pixels),
}

/// Images of one size, `[count][height][width][channels]`.
#[derive(Debug)]
struct Pixels {
    width: usize,
    height: usize,
    /// 1 (gray) or 3 (red, green, blue).
    channels: usize,
    data: Vec<u8>,
}

impl Dataset {
    /// Opens the data at `path`:
    ///
    /// - a safetensors file with `images` (u8, `[N, H, W, C]`) and `labels` (i64, `[N]`);
    /// - a file of images in idx form, `...images...idx3-ubyte`, also `.gz`, with the labels beside
    ///   it, or the folder that holds the two;
    /// - a folder with a CSV file of `path,label-index` lines: `table`, or `labels.csv` in it;
    /// - such a CSV file itself;
    /// - a folder of folders named after labels (`names`), or after indices.
    ///
    /// `classes` is the number of classes that the network tells apart.
    ///
    /// # Errors
    /// If nothing of this kind is there, it is broken, or a label is none of the network's.
    pub fn open(
        path: &Path,
        table: Option<&Path>,
        names: &[String],
        classes: usize,
    ) -> Result<Self> {
        let dataset = Self::find(path, table, names)?;
        if dataset.labels.is_empty() {
            return Err(Failure::input(path, "no images"));
        }
        if let Some(index) = dataset.labels.iter().position(|&label| label >= classes) {
            return Err(Failure::input(
                path,
                format_args!(
                    "{} has label {}, expected less than {classes}: the network has so many classes",
                    dataset.name(index),
                    dataset.labels[index],
                ),
            ));
        }
        Ok(dataset)
    }

    fn find(path: &Path, table: Option<&Path>, names: &[String]) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| Failure::input(path, error))?;
        if let Some(table) = table {
            if !metadata.is_dir() {
                return Err(Failure::usage(format_args!(
                    "--labels goes with a folder of images, and {} is a file",
                    path.display()
                )));
            }
            return csv::read(table, Some(path));
        }
        if metadata.is_dir() {
            let table = path.join("labels.csv");
            if table.is_file() {
                return csv::read(&table, Some(path));
            }
            if let Some(images) = idx::find_images(path)? {
                return idx::read(&images);
            }
            return folders::read(path, names);
        }
        let has_extension =
            |wanted| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted));
        if has_extension("csv") {
            csv::read(path, None)
        } else if has_extension("safetensors") {
            tensors::read(path)
        } else if idx::is_idx(path)? {
            idx::read(path)
        } else {
            Err(Failure::input(
                path,
                "unknown kind of data, expected a folder, a .csv or .safetensors file, or idx images",
            ))
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of an image.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn label(&self, index: usize) -> usize {
        self.labels[index]
    }

    /// The name of an image: its path or its number.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn name(&self, index: usize) -> String {
        match &self.images {
            Images::Files(files) => files[index].display().to_string(),
            Images::Pixels(_) => format!("image {index}"),
        }
    }

    /// The image.
    ///
    /// # Errors
    /// If its file cannot be read or decoded.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> Result<Image> {
        match &self.images {
            Images::Files(files) => images::decode_file(&files[index]),
            Images::Pixels(pixels) => pixels.image(index),
        }
    }
}

impl Pixels {
    /// Checks that the data holds the right number of pixels of a kind that exists.
    fn new(shape: [usize; 4], data: Vec<u8>) -> Result<Self, String> {
        let [count, height, width, channels] = shape;
        if channels != 1 && channels != 3 {
            return Err(format!("images have {channels} channels, expected 1 or 3"));
        }
        let expected = [height, width, channels]
            .iter()
            .try_fold(count, |product, &extent| product.checked_mul(extent));
        if count == 0 || expected != Some(data.len()) || data.is_empty() {
            return Err(format!("{} bytes of pixels do not fit shape {shape:?}", data.len()));
        }
        Ok(Self { width, height, channels, data })
    }

    fn image(&self, index: usize) -> Result<Image> {
        let length = self.width * self.height * self.channels;
        let pixels = &self.data[index * length..(index + 1) * length];
        let rgb = match self.channels {
            1 => pixels.iter().flat_map(|&gray| [gray; 3]).collect(),
            _ => pixels.to_vec(),
        };
        let fail = |error: &dyn std::fmt::Display| {
            Failure::new(crate::exit::Status::Input, format_args!("image {index}: {error}"))
        };
        let width = u32::try_from(self.width).map_err(|error| fail(&error))?;
        let height = u32::try_from(self.height).map_err(|error| fail(&error))?;
        Image::new(width, height, rgb).map_err(|error| fail(&error))
    }
}

/// A label as a file has it, as an index.
fn label_index(label: i64) -> Result<usize, String> {
    usize::try_from(label).map_err(|_| format!("label {label} is negative"))
}
