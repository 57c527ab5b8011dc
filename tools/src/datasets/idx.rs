//! The idx files of MNIST and its kin, plain or compressed with gzip.
//!
//! Such a file has two zero bytes, the element type (8: unsigned bytes), the number of dimensions,
//! each dimension as a big-endian 32-bit integer, and the elements.

use super::{Dataset, Images, Pixels};
use crate::exit::{Failure, Result};
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// Most bytes of elements: a hostile gzip stream must not fill the memory.
const MAXIMUM_BYTES: u64 = 4 << 30;

/// Elements of an idx file.
#[derive(Debug, PartialEq)]
struct Idx {
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// Whether the file starts as an idx file does.
pub(super) fn is_idx(path: &Path) -> Result<bool> {
    let mut start = [0; 4];
    let found = open(path).and_then(|mut file| file.read_exact(&mut start));
    match found {
        Ok(()) => Ok(start[..3] == [0, 0, 8]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::input(path, error)),
        Err(_) => Ok(false),
    }
}

/// The file of images in idx form in a folder. Of several, the one of a test set.
pub(super) fn find_images(folder: &Path) -> Result<Option<PathBuf>> {
    let fail = |error| Failure::input(folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if name.contains("images") && name.contains("idx3") && labels_beside(&entry.path()).is_some()
        {
            found.push((name, entry.path()));
        }
    }
    if found.len() > 1 {
        found.retain(|(name, _)| name.contains("t10k") || name.contains("test"));
        if found.len() != 1 {
            return Err(Failure::input(folder, "several files of idx images: name the one to read"));
        }
    }
    Ok(found.pop().map(|(_, path)| path))
}

/// The file of labels that goes with a file of images: `images` becomes `labels`, `idx3` becomes
/// `idx1`, compressed or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let name = name.replace("images", "labels").replace("idx3", "idx1");
    [name.clone(), format!("{name}.gz")]
        .into_iter()
        .map(|name| images.with_file_name(name))
        .find(|labels| labels != images && labels.is_file())
}

/// Reads a file of images and the labels beside it.
pub(super) fn read(images: &Path) -> Result<Dataset> {
    let labels = labels_beside(images).ok_or_else(|| {
        Failure::input(images, "no file of labels beside it (images → labels, idx3 → idx1)")
    })?;
    let pixels = read_file(images)?;
    let [count, height, width] = pixels.shape[..] else {
        return Err(Failure::input(
            images,
            format_args!("{} dimensions, expected 3 (images)", pixels.shape.len()),
        ));
    };
    let classes = read_file(&labels)?;
    if classes.shape != [count] {
        return Err(Failure::input(
            &labels,
            format_args!("labels of shape {:?}, expected [{count}], one an image", classes.shape),
        ));
    }
    let pixels = Pixels::new([count, height, width, 1], pixels.data)
        .map_err(|message| Failure::input(images, message))?;
    let labels = classes.data.into_iter().map(usize::from).collect();
    Ok(Dataset { images: Images::Pixels(pixels), labels })
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = BufReader::new(File::open(path)?);
    let compressed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    Ok(if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn read_file(path: &Path) -> Result<Idx> {
    let reader = open(path).map_err(|error| Failure::input(path, error))?;
    parse(reader).map_err(|message| Failure::input(path, message))
}

fn parse(mut reader: impl Read) -> Result<Idx, String> {
    let mut start = [0; 4];
    reader.read_exact(&mut start).map_err(|error| format!("not an idx file: {error}"))?;
    let [0, 0, kind, rank] = start else {
        return Err("not an idx file: it does not start with two zero bytes".into());
    };
    if kind != 8 {
        return Err(format!("idx elements of type {kind:#04x}, expected 0x08 (unsigned bytes)"));
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        let mut extent = [0; 4];
        reader.read_exact(&mut extent).map_err(|error| format!("idx header: {error}"))?;
        shape.push(u32::from_be_bytes(extent));
    }
    let expected = shape
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent.into()))
        .filter(|&bytes| bytes <= MAXIMUM_BYTES)
        .ok_or_else(|| format!("idx shape {shape:?}, expected at most {MAXIMUM_BYTES} elements"))?;
    let mut data = Vec::new();
    reader
        .take(expected + 1)
        .read_to_end(&mut data)
        .map_err(|error| format!("idx elements: {error}"))?;
    if data.len() as u64 != expected {
        let found = if data.len() as u64 > expected { "more".into() } else { data.len().to_string() };
        return Err(format!("{found} idx elements, expected {expected} for shape {shape:?}"));
    }
    Ok(Idx { shape: shape.into_iter().map(|extent| extent as usize).collect(), data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    #[test]
    fn elements_and_shape() {
        let bytes = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let read = parse(&bytes[..]).unwrap();
        assert_eq!(read, Idx { shape: vec![2, 1, 3], data: vec![1, 2, 3, 4, 5, 6] });
    }

    #[test]
    fn broken_files_are_refused() {
        let whole = idx(&[2, 2], &[1, 2, 3, 4]);
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut} bytes");
        }
        let mut long = whole.clone();
        long.push(0);
        assert!(parse(&long[..]).unwrap_err().contains("more"));
        assert!(parse(&idx(&[u32::MAX; 3], &[])[..]).unwrap_err().contains("at most"));
        let mut floats = whole;
        floats[2] = 0x0d;
        assert!(parse(&floats[..]).unwrap_err().contains("0x0d"));
    }

    #[test]
    fn pairs_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("t10k-images-idx3-ubyte");
        let labels = folder.path().join("t10k-labels-idx1-ubyte.gz");
        std::fs::write(&images, idx(&[2, 1, 2], &[9, 8, 7, 6])).unwrap();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&idx(&[2], &[3, 1])).unwrap();
        std::fs::write(&labels, encoder.finish().unwrap()).unwrap();
        assert_eq!(find_images(folder.path()).unwrap(), Some(images.clone()));
        assert!(is_idx(&labels).unwrap());
        let dataset = read(&images).unwrap();
        assert_eq!(dataset.labels, [3, 1]);
        let image = dataset.image(1).unwrap();
        assert_eq!((image.width(), image.height()), (2, 1));
        assert_eq!(image.pixels(), [7, 7, 7, 6, 6, 6]);
        std::fs::remove_file(&labels).unwrap();
        assert_eq!(find_images(folder.path()).unwrap(), None);
        assert!(read(&images).is_err());
    }
}
