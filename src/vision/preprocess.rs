//! From a picture to the numbers that a network takes.

use std::ops::Range;

use thiserror::Error;

use super::Image;
use super::resize::{Pixels, resample};
use crate::program::{ChannelOrder, Preprocessing, Resize, ResizeRounding};

/// Size of the picture that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputLayout {
    /// Channels of a pixel: 1 or 3.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl InputLayout {
    /// Reads a shape without the batch as a picture of that many channels: `[channels, height,
    /// width]` (and true), `[height, width, channels]` (and false), or `[height, width]` of one
    /// channel. Nothing for other shapes.
    pub fn from_shape(shape: &[usize], channels: usize) -> Option<(Self, bool)> {
        match *shape {
            [first, height, width] if first == channels => {
                Some((Self { channels, height, width }, true))
            }
            [height, width, last] if last == channels => {
                Some((Self { channels, height, width }, false))
            }
            [height, width] if channels == 1 => Some((Self { channels, height, width }, true)),
            _ => None,
        }
    }
}

/// Largest width or height of a picture that becomes an input: a tall picture resampled to very many
/// columns would otherwise take any amount of memory on the way.
const MAX_SIDE: u64 = 16384;

/// Why a picture does not become an input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The crop does not fit into the resized picture.
    #[error("the crop of {crop:?} does not fit into the picture of {picture:?} (width, height)")]
    Crop {
        /// Width and height of the crop.
        crop: [u32; 2],
        /// Width and height of the picture after resizing.
        picture: [u64; 2],
    },
    /// What comes out is not what the network takes.
    #[error(
        "preprocessing gives {found:?}, the network takes {expected:?} (width, height, channels)"
    )]
    Size {
        /// Width, height and channels that the preprocessing gives.
        found: [u64; 3],
        /// Width, height and channels of the input.
        expected: [u64; 3],
    },
    /// The network takes pictures that are larger than any that are made.
    #[error(
        "the network takes pictures of {found:?} (width, height), expected at most {most} a side"
    )]
    TooLarge {
        /// Width and height of the input.
        found: [u64; 2],
        /// Largest width or height.
        most: u64,
    },
}

/// Resizes and crops a picture. Returns the pixels before normalisation,
/// `[height][width][channels]`, with the channels in the order of the input.
///
/// A picture is first made gray, if the input is. Without a size to resize to and without a crop it
/// is resized to the size of the input. The crop is taken from the middle, one pixel nearer to the
/// top left where the margins are odd.
///
/// # Errors
/// [`PreprocessError`] if the result would not have the size of the input.
pub fn preprocess(
    image: &Image,
    preprocessing: &Preprocessing,
    input: InputLayout,
) -> Result<Vec<u8>, PreprocessError> {
    let size = resized([image.width(), image.height()], preprocessing, input);
    let [columns, rows] = cropped(size, preprocessing.crop)?;
    let gray = preprocessing.channels == ChannelOrder::Gray;
    let channels = if gray { 1 } else { 3 };
    let found = [columns.end - columns.start, rows.end - rows.start, channels];
    let expected = [input.width as u64, input.height as u64, input.channels as u64];
    if found != expected {
        return Err(PreprocessError::Size { found, expected });
    }
    if found[0].max(found[1]) > MAX_SIDE {
        return Err(PreprocessError::TooLarge { found: [found[0], found[1]], most: MAX_SIDE });
    }

    let luminance;
    let pixels = Pixels {
        width: image.width() as usize,
        height: image.height() as usize,
        channels: channels as usize,
        data: if gray {
            luminance = image.gray();
            &luminance
        } else {
            image.pixels()
        },
    };
    let to_usize = |range: Range<u64>| range.start as usize..range.end as usize;
    let size = size.map(|side| side as usize);
    let mut output =
        resample(pixels, size, to_usize(columns), to_usize(rows), preprocessing.interpolation);
    if preprocessing.channels == ChannelOrder::Bgr {
        output.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
    }
    Ok(output)
}

/// Where the pixels of an input lie in the picture that it was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// What was cut off before the input, in pixels of the resized picture: x, y.
    start: [f64; 2],
    /// Pixels of the picture for one of the resized picture: x, y.
    scale: [f64; 2],
}

impl Placement {
    /// Of an input made by [`preprocess`] of a picture of that size.
    ///
    /// # Errors
    /// [`PreprocessError::Crop`] as [`preprocess`].
    pub fn new(
        width: u32,
        height: u32,
        preprocessing: &Preprocessing,
        input: InputLayout,
    ) -> Result<Self, PreprocessError> {
        let size = resized([width, height], preprocessing, input);
        let start = cropped(size, preprocessing.crop)?.map(|range| range.start as f64);
        let scale = |side: u32, resized: u64| f64::from(side) / resized as f64;
        Ok(Self { start, scale: [scale(width, size[0]), scale(height, size[1])] })
    }

    /// The place in the picture of a place in the input, `[x, y]` in pixels from the left upper corner.
    pub fn to_picture(&self, place: [f32; 2]) -> [f32; 2] {
        std::array::from_fn(|axis| {
            ((f64::from(place[axis]) + self.start[axis]) * self.scale[axis]) as f32
        })
    }
}

/// Width and height after resizing.
fn resized(picture: [u32; 2], preprocessing: &Preprocessing, input: InputLayout) -> [u64; 2] {
    let [width, height] = picture.map(u64::from);
    match preprocessing.resize {
        Some(Resize::Exact { width, height }) => [width.into(), height.into()],
        Some(Resize::Shorter(side)) => {
            let side = u64::from(side);
            let longer = |long, short| longer_side(side, long, short, preprocessing.rounding);
            if width <= height {
                [side, longer(height, width)]
            } else {
                [longer(width, height), side]
            }
        }
        None if preprocessing.crop.is_none() => [input.width as u64, input.height as u64],
        None => [width, height],
    }
}

/// `side * long / short`, rounded down, or to the nearest integer with halves to even.
fn longer_side(side: u64, long: u64, short: u64, rounding: ResizeRounding) -> u64 {
    let (floor, rest) = (side * long / short, side * long % short);
    let up = match rounding {
        ResizeRounding::Floor => false,
        ResizeRounding::Round => 2 * rest > short || (2 * rest == short && floor % 2 == 1),
    };
    floor + u64::from(up)
}

/// Columns and rows of the centre crop.
fn cropped(size: [u64; 2], crop: Option<[u32; 2]>) -> Result<[Range<u64>; 2], PreprocessError> {
    let Some(crop) = crop else {
        return Ok(size.map(|side| 0..side));
    };
    let range = |axis: usize| {
        let length = u64::from(crop[axis]);
        let start = size[axis].checked_sub(length)? / 2;
        Some(start..start + length)
    };
    match (range(0), range(1)) {
        (Some(columns), Some(rows)) => Ok([columns, rows]),
        _ => Err(PreprocessError::Crop { crop, picture: size }),
    }
}

/// Normalises pixels `[height][width][channels]` to
/// `(pixel * range / 255 - mean[channel]) / std[channel]`, each operation rounded to f32: with range
/// 1 the pixel is divided by 255, with range 255 it stays as it is. The output is
/// `[channels][height][width]` with `channels_first`, else in the order of the pixels.
///
/// # Panics
/// If `out` has not as many elements as `pixels`, the pixels are not whole, or mean or std have
/// neither one entry nor one per channel (what [`Program::validate`] rules out).
///
/// [`Program::validate`]: crate::program::Program::validate
pub fn normalise(
    pixels: &[u8],
    preprocessing: &Preprocessing,
    channels_first: bool,
    out: &mut [f32],
) {
    let channels = preprocessing.channel_count();
    assert_eq!(pixels.len(), out.len(), "one output for each byte of the pixels");
    assert_eq!(pixels.len() % channels, 0, "whole pixels of {channels} channels");
    let area = pixels.len() / channels;
    for channel in 0..channels {
        let table = normalised_values(preprocessing, channel);
        let values = pixels[channel.min(pixels.len())..].iter().step_by(channels);
        let values = values.map(|&pixel| table[usize::from(pixel)]);
        if channels_first {
            let plane = &mut out[channel * area..(channel + 1) * area];
            plane.iter_mut().zip(values).for_each(|(out, value)| *out = value);
        } else {
            let plane = out.iter_mut().skip(channel).step_by(channels);
            plane.zip(values).for_each(|(out, value)| *out = value);
        }
    }
}

/// What each of the 256 values of a pixel becomes.
fn normalised_values(preprocessing: &Preprocessing, channel: usize) -> [f32; 256] {
    let entry = |values: &[f32]| {
        if values.len() == 1 { values[0] } else { values[channel] }
    };
    let (mean, std) = (entry(&preprocessing.mean), entry(&preprocessing.std));
    std::array::from_fn(|pixel| {
        let pixel = pixel as f32;
        let pixel = if preprocessing.range == 255.0 { pixel } else { pixel / 255.0 };
        (pixel - mean) / std
    })
}
