//! The reference: a binary convolution as it is defined, one tap and up to 64 channels at a time.
//!
//! It is what processors compute with that have no kernels of their own, so it counts the bits of words.

use super::PackedKernel;
use crate::{
    Alphabet, ConvGeometry, MapRows, PadValue,
    bit_string::{extract, low_mask},
    words_per_pixel,
};
use std::ops::Range;

/// A binary convolution as it is defined.
#[derive(Debug)]
pub(super) struct Reference {
    geometry: ConvGeometry,
    pad: PadValue,
    alphabet: Alphabet,
    /// One dense bit string `[out_channels, kernel_h, kernel_w, in_channels / groups]`.
    weights: Vec<u64>,
}

impl Reference {
    pub(super) fn new(
        geometry: &ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Self {
        Self { geometry: geometry.clone(), pad, alphabet, weights: weights.to_vec() }
    }

    /// `sum of s_w * x` for one output pixel and channel.
    fn sum(&self, rows: MapRows<'_, u64>, y: usize, x: usize, channel: usize) -> i32 {
        let ConvGeometry { input: [height, width], kernel, stride, dilation, pads, .. } =
            self.geometry;
        let group_in = self.geometry.in_channels / self.geometry.groups;
        let group_out = self.geometry.out_channels / self.geometry.groups;
        let first = channel / group_out * group_in;
        let mut sum = 0;
        for kernel_y in 0..kernel[0] {
            for kernel_x in 0..kernel[1] {
                // Negative positions wrap to huge ones: outside in either case.
                let row = y * stride[0] + kernel_y * dilation[0];
                let y = row.wrapping_sub(pads[0]);
                let x = (x * stride[1] + kernel_x * dilation[1]).wrapping_sub(pads[1]);
                let inside = y < height && x < width;
                if !inside && self.pad == PadValue::Zero {
                    continue;
                }
                let tap = (channel * kernel[0] + kernel_y) * kernel[1] + kernel_x;
                let words = words_per_pixel(self.geometry.in_channels);
                for c in (0..group_in).step_by(64) {
                    let count = (group_in - c).min(64);
                    let highs = match (inside, self.pad) {
                        (true, _) => {
                            let pixel = (row - rows.first) * width + x;
                            extract(rows.values, pixel * words * 64 + first + c, count)
                        }
                        (false, PadValue::Plus) => low_mask(count),
                        (false, _) => 0,
                    };
                    let weights = extract(&self.weights, tap * group_in + c, count);
                    let ones = |bits: u64| bits.count_ones() as i32;
                    sum += match self.alphabet {
                        // 1 where weight and input agree, -1 where they do not.
                        Alphabet::PlusMinus => count as i32 - 2 * ones(weights ^ highs),
                        // The weight, ±1, where the input is 1.
                        Alphabet::ZeroOne => 2 * ones(weights & highs) - ones(highs),
                    };
                }
            }
        }
        sum
    }
}

impl PackedKernel for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn packed_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    /// The rows of the map as they are; nothing is kept in those of the padding.
    fn row_len(&self) -> usize {
        self.geometry.input[1] * words_per_pixel(self.geometry.in_channels)
    }

    fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]) {
        let row_len = self.row_len();
        for (row, layout) in rows.zip(layout.chunks_exact_mut(row_len)) {
            let row = row.wrapping_sub(self.geometry.pads[0]);
            if row < self.geometry.input[0] {
                layout.copy_from_slice(&input[row * row_len..][..row_len]);
            } else {
                layout.fill(0);
            }
        }
    }

    fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        let width = self.geometry.output()[1];
        let channels = self.geometry.out_channels;
        for (index, out) in out.iter_mut().enumerate() {
            let (pixel, channel) = (index / channels, index % channels);
            *out = self.sum(layout, rows.start + pixel / width, pixel % width, channel);
        }
    }
}
