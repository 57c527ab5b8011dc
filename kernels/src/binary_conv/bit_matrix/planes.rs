//! The private layout: rows of the padded map in planes of bytes, one byte for each pixel.
//!
//! `[padded height][group][step][2][phase][pixels]`: with a horizontal stride, the pixels of a phase are those that
//! one tap reads, so that what eight neighbouring outputs want of a tap always lies side by side.

use super::slots;
use super::states::{AT_ONCE, PixelBits, States, Strings, lookup, scatter};
use crate::{ConvGeometry, features::Avx512Gfni, words_per_pixel};
use std::{collections::BTreeSet, ops::Range};

/// Sizes of the layout.
#[derive(Debug)]
pub(super) struct InputPlanes {
    _proof: Avx512Gfni,
    geometry: ConvGeometry,
    /// Channels of a group.
    channels: usize,
    /// Steps of a pixel.
    steps: usize,
    /// Distances, less than a stride, from the first pixel of a window to those that taps read.
    phases: Vec<usize>,
    /// Bytes of a phase of a plane.
    phase: usize,
    /// Bytes of a row with all groups, up to whole words.
    row: usize,
    /// Bits of padded pixels.
    pad: bool,
}

impl InputPlanes {
    pub(super) fn new(proof: Avx512Gfni, geometry: &ConvGeometry, pad: bool) -> Self {
        let channels = geometry.in_channels / geometry.groups;
        let steps = channels.div_ceil(slots::CHANNELS);
        let stride = geometry.stride[1];
        // The last octet of a row may reach past the map.
        let reach = (geometry.kernel[1] - 1) * geometry.dilation[1] / stride;
        let read = geometry.output()[1].next_multiple_of(8) + reach;
        let phase = read.next_multiple_of(8);
        let columns = 0..geometry.kernel[1];
        let phases: BTreeSet<usize> =
            columns.map(|column| column * geometry.dilation[1] % stride).collect();
        let phases: Vec<usize> = phases.into_iter().collect();
        Self {
            _proof: proof,
            geometry: geometry.clone(),
            channels,
            steps,
            phase,
            row: geometry.groups * steps * slots::INPUTS * phases.len() * phase,
            phases,
            pad,
        }
    }

    /// Steps of a pixel.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Bytes of a row.
    pub(super) fn row(&self) -> usize {
        self.row
    }

    /// Bytes of a plane in a row.
    pub(super) fn plane(&self) -> usize {
        self.phases.len() * self.phase
    }

    /// Bytes from the start of a row to its part of a group.
    pub(super) fn group(&self, group: usize) -> usize {
        group * self.steps * slots::INPUTS * self.plane()
    }

    /// Bytes from the first pixel of a window to what a tap has in the first plane of a step.
    pub(super) fn offset(&self, row: usize, column: usize, step: usize) -> usize {
        let dilation = self.geometry.dilation;
        row * dilation[0] * self.row
            + step * slots::INPUTS * self.plane()
            + self.pixel(column * dilation[1])
    }

    /// Position in a plane of the pixel `distance` to the right of the first one of a window.
    fn pixel(&self, distance: usize) -> usize {
        let stride = self.geometry.stride[1];
        let phase = self.phases.binary_search(&(distance % stride)).expect("a tap reads it");
        phase * self.phase + distance / stride
    }

    /// Writes some rows of the padded map.
    pub(super) fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u8]) {
        // SAFETY: `self` holds the proof of the features.
        unsafe { self.fill_rows_512(input, rows, layout) };
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn fill_rows_512(&self, input: &[u64], rows: Range<usize>, layout: &mut [u8]) {
        let ConvGeometry {
            input: [height, width],
            stride: [_, stride],
            pads: [top, left, ..],
            groups,
            in_channels,
            ..
        } = self.geometry;
        let words = words_per_pixel(in_channels);
        for (y, row) in rows.zip(layout.chunks_exact_mut(self.row)) {
            let y = y.wrapping_sub(top);
            let inside = y < height;
            let map = if inside { &input[y * width * words..][..width * words] } else { &[] };
            for group in 0..groups {
                let pixels = PixelBits {
                    words: map,
                    pixel: words,
                    first: group * self.channels,
                    bits: self.channels,
                };
                let part = &mut row[self.group(group)..];
                for (index, phase) in self.phases.iter().enumerate() {
                    for first in (0..self.phase).step_by(8) {
                        let x = (first * stride + phase) as isize - left as isize;
                        let strings = Strings::of_pixels(pixels, x, stride, self.pad);
                        self.fill_octet(strings, &mut part[index * self.phase + first..]);
                    }
                }
            }
        }
    }

    /// Writes eight pixels. `out` starts at the first one, in the first plane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn fill_octet(&self, strings: Strings<'_>, out: &mut [u8]) {
        let mut states = States::new(strings);
        let step = slots::INPUTS * self.plane();
        for first in (0..self.steps).step_by(AT_ONCE) {
            let states = states.next();
            let count = (self.steps - first).min(AT_ONCE);
            for (plane, table) in slots::INPUT_SLOTS.iter().enumerate() {
                let out = &mut out[first * step + plane * self.plane()..];
                let bytes = lookup(table, states);
                scatter(bytes, count, out, step);
            }
        }
    }
}
