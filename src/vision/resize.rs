//! Resampling, bit for bit as Pillow does it with 8-bit pixels.
//!
//! Each axis is resampled on its own, with the intermediate rounded to 8 bits, so the order shows in
//! the last bit. As in Pillow 13, columns come first unless the height loses more than twice as many
//! pixels as the width (in earlier versions of Pillow they always do).
//!
//! An output sample at position `i` lies at `center = (i + 1/2) * scale` of the input, with `scale`
//! the ratio of the sizes, and is a weighted mean of the input samples `j` around it:
//!
//! `weight_j = filter((j + 1/2 - center) / max(scale, 1))`, divided by the sum of the weights.
//!
//! Stretching the filter when shrinking makes it average over everything that an output pixel
//! covers (antialiasing). The weights are computed in f64, rounded to 22 fractional bits (halves
//! away from zero), and the products are added in i32 from one half on, shifted and clamped.

use std::ops::Range;

use super::Image;
use crate::program::Interpolation;

/// Fractional bits of a weight: 32 less 8 for the pixel and 2 for overshooting sums.
const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// Pixels of any number of interleaved channels, in rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
    pub(super) data: &'a [u8],
}

/// Resizes a picture to `width` x `height`.
///
/// # Panics
/// If `width` or `height` is 0, or the result does not fit into memory.
pub fn resize(image: &Image, width: u32, height: u32, interpolation: Interpolation) -> Image {
    assert!(width > 0 && height > 0, "a picture has at least one pixel");
    let pixels = Pixels {
        width: image.width() as usize,
        height: image.height() as usize,
        channels: 3,
        data: image.pixels(),
    };
    let (columns, rows) = (0..width as usize, 0..height as usize);
    let data = resample(pixels, [width as usize, height as usize], columns, rows, interpolation);
    Image::new(width, height, data).expect("three bytes for each pixel")
}

/// The pixels of `columns` and `rows` of what resizing to `size` (width and height) gives. Nothing
/// outside is computed, so a large size with a small crop costs what the crop costs.
pub(super) fn resample(
    pixels: Pixels<'_>,
    [width, height]: [usize; 2],
    columns: Range<usize>,
    rows: Range<usize>,
    interpolation: Interpolation,
) -> Vec<u8> {
    let filter: &Filter = match interpolation {
        Interpolation::Nearest => return nearest(pixels, [width, height], columns, rows),
        Interpolation::Bilinear => &Filter { support: 1.0, function: triangle },
        Interpolation::Bicubic => &Filter { support: 2.0, function: cubic },
    };
    let vertical = filter.windows(pixels.height, height, rows);
    let horizontal = filter.windows(pixels.width, width, columns);
    if rows_first([pixels.width, pixels.height], [width, height]) {
        let stride = pixels.width * pixels.channels;
        let data = resample_rows(pixels.data, stride, 0, &vertical);
        resample_columns(Pixels { height: vertical.len(), data: &data, ..pixels }, &horizontal)
    } else {
        // Rows above the first and below the last window contribute to nothing.
        let first = vertical.iter().map(|window| window.start).min().unwrap_or(0);
        let last = vertical.iter().map(|window| window.start + window.weights.len()).max();
        let height = last.unwrap_or(first) - first;
        let stride = pixels.width * pixels.channels;
        let data = &pixels.data[first * stride..][..height * stride];
        let data = resample_columns(Pixels { height, data, ..pixels }, &horizontal);
        resample_rows(&data, horizontal.len() * pixels.channels, first, &vertical)
    }
}

/// Whether rows are resampled before columns, given width and height before and after. Either order
/// is right; Pillow chooses the one that leaves less to do for the second pass.
fn rows_first(from: [usize; 2], to: [usize; 2]) -> bool {
    let shrinks = |axis: usize| from[axis] as i128 - to[axis] as i128;
    shrinks(1) > 0 && 2 * shrinks(0) < shrinks(1)
}

/// Output columns as weighted means of the columns of every row.
fn resample_columns(pixels: Pixels<'_>, windows: &[Window]) -> Vec<u8> {
    match pixels.channels {
        1 => resample_columns_of::<1>(pixels, windows),
        3 => resample_columns_of::<3>(pixels, windows),
        channels => unreachable!("pictures have one or three channels, not {channels}"),
    }
}

fn resample_columns_of<const CHANNELS: usize>(pixels: Pixels<'_>, windows: &[Window]) -> Vec<u8> {
    let mut output = Vec::with_capacity(pixels.height * windows.len() * CHANNELS);
    for row in pixels.data.as_chunks::<CHANNELS>().0.chunks_exact(pixels.width) {
        for window in windows {
            let mut sums = [HALF; CHANNELS];
            for (pixel, &weight) in row[window.start..].iter().zip(&window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            output.extend(sums.map(round));
        }
    }
    output
}

/// Output rows as weighted means of input rows of `stride` bytes, of which the first is number
/// `first`.
fn resample_rows(input: &[u8], stride: usize, first: usize, windows: &[Window]) -> Vec<u8> {
    let mut output = Vec::with_capacity(windows.len() * stride);
    let mut sums = vec![0; stride];
    for window in windows {
        sums.fill(HALF);
        let rows = input[(window.start - first) * stride..].chunks_exact(stride);
        for (row, &weight) in rows.zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        output.extend(sums.iter().map(|&sum| round(sum)));
    }
    output
}

/// One half, where every sum starts.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// Rounds a sum that started at one half, and clamps it.
fn round(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// The input samples that make up one output sample.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    start: usize,
    /// Fixed-point numbers of 22 fractional bits.
    weights: Vec<i32>,
}

struct Filter {
    /// The function is zero outside of -support to support.
    support: f64,
    function: fn(f64) -> f64,
}

impl Filter {
    /// The windows of the wanted output samples of an axis.
    fn windows(&self, input: usize, output: usize, wanted: Range<usize>) -> Vec<Window> {
        if input == output {
            // The filters are 1 at 0 and 0 at the other integers, so this is what would come out.
            let weights = vec![1 << WEIGHT_BITS];
            return wanted.map(|start| Window { start, weights: weights.clone() }).collect();
        }
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let support = self.support * stretch;
        wanted
            .map(|index| {
                let center = (index as f64 + 0.5) * scale;
                // Casts saturate at 0, as is wanted.
                let start = (center - support + 0.5) as usize;
                let end = ((center + support + 0.5) as usize).min(input);
                let inverse = 1.0 / stretch;
                let mut weights: Vec<f64> = (start..end)
                    .map(|sample| (self.function)((sample as f64 - center + 0.5) * inverse))
                    .collect();
                let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
                if sum != 0.0 {
                    weights.iter_mut().for_each(|weight| *weight /= sum);
                }
                Window { start, weights: weights.into_iter().map(to_fixed_point).collect() }
            })
            .collect()
    }
}

fn to_fixed_point(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1 << WEIGHT_BITS)) as i32
}

/// `1 - |x|` between -1 and 1.
fn triangle(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

/// The cubic convolution filter of Keys (1981) with `a = -1/2`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The pixel under the centre of each output pixel.
fn nearest(
    pixels: Pixels<'_>,
    [width, height]: [usize; 2],
    columns: Range<usize>,
    rows: Range<usize>,
) -> Vec<u8> {
    let columns = nearest_samples(pixels.width, width, columns);
    let rows = nearest_samples(pixels.height, height, rows);
    let mut output = Vec::with_capacity(rows.len() * columns.len() * pixels.channels);
    for row in rows {
        let row = &pixels.data[row * pixels.width * pixels.channels..];
        for column in &columns {
            output.extend(&row[column * pixels.channels..][..pixels.channels]);
        }
    }
    output
}

/// The input samples of the wanted output samples of an axis. The centres are found by repeated
/// addition, as Pillow does, so that even its rounding is the same.
fn nearest_samples(input: usize, output: usize, wanted: Range<usize>) -> Vec<usize> {
    let scale = input as f64 / output as f64;
    let mut center = scale * 0.5;
    let mut samples = Vec::with_capacity(wanted.len());
    for index in 0..wanted.end {
        if index >= wanted.start {
            samples.push((center as usize).min(input - 1));
        }
        center += scale;
    }
    samples
}
