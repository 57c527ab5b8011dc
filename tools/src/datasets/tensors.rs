//! A safetensors file with `images` (u8, `[N, H, W, C]` or `[N, H, W]`) and `labels` (i64, `[N]`).

use super::{Dataset, Images, Pixels, label_index};
use crate::{
    exit::{Failure, Result},
    tensors::TensorFile,
};
use std::path::Path;

/// Reads such a file.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let file = TensorFile::open(path)?;
    let fail = |message: String| Failure::input(path, message);
    let images = file.u8("images")?.ok_or_else(|| fail("no tensor 'images'".into()))?;
    let labels = file.i64("labels")?.ok_or_else(|| fail("no tensor 'labels'".into()))?;
    let shape = match images.shape[..] {
        [count, height, width] => [count, height, width, 1],
        [count, height, width, channels] => [count, height, width, channels],
        _ => {
            return Err(fail(format!(
                "tensor 'images' has shape {:?}, expected [count, height, width, channels]",
                images.shape
            )));
        }
    };
    if labels.data.len() != shape[0] {
        return Err(fail(format!("{} labels for {} images", labels.data.len(), shape[0])));
    }
    let pixels = Pixels::new(shape, images.data).map_err(fail)?;
    let labels = labels.data.into_iter().map(label_index).collect::<Result<_, _>>().map_err(fail)?;
    Ok(Dataset { images: Images::Pixels(pixels), labels })
}
