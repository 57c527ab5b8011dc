//! The private layout of the tiled kernels: a padded copy of the map in units of a few bits.
//!
//! `[padded height][group][padded width][units of a group's channels]`, rows filled up to whole
//! words. Only the rows that are being read exist. Bits are so small that the copy costs little, and
//! with the padding in place every window lies inside the map: the taps of a kernel row are one
//! contiguous run of units (with horizontal dilation 1), so that convolving directly costs what a
//! matrix product would, with no im2col.

use crate::{
    ConvGeometry,
    bit_string::{extract, low_mask},
    words_per_pixel,
};
use bytemuck::Pod;
use std::ops::Range;

/// What a kernel reads of the map at a time.
pub(super) trait Unit: Pod {
    /// Channels in a unit; divides 64.
    const BITS: usize;

    /// Spreads words over units, lowest bits first: `64 / BITS` units per word. The units may end inside
    /// the last word.
    fn spread(words: &[u64], units: &mut [Self]);
}

/// Four channels in the high half of a byte: the offset of a 16-byte table row.
impl Unit for u8 {
    const BITS: usize = 4;

    fn spread(words: &[u64], units: &mut [Self]) {
        // The bytes of a little-endian word (this layout is for x86-64) come in the order of the bits.
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let (pairs, last) = units.as_chunks_mut::<2>();
        if let ([unit], Some(&byte)) = (last, bytes.get(pairs.len())) {
            *unit = byte << 4;
        }
        for (pair, &byte) in pairs.iter_mut().zip(bytes) {
            *pair = [byte << 4, byte & 0xf0];
        }
    }
}

/// Eight channels, four times over: what fills the bytes of a vector when it is broadcast (broadcasts
/// of 32 bits come with the load; those of a byte would take an execution port).
impl Unit for [u8; 4] {
    const BITS: usize = 8;

    fn spread(words: &[u64], units: &mut [Self]) {
        let bytes: &[u8] = bytemuck::cast_slice(words);
        for (unit, &byte) in units.iter_mut().zip(bytes) {
            *unit = [byte; 4];
        }
    }
}

/// Eight channels.
impl Unit for [u8; 1] {
    const BITS: usize = 8;

    fn spread(words: &[u64], units: &mut [Self]) {
        // The bytes of a little-endian word come in the order of the bits.
        let bytes: &[[u8; 1]] = bytemuck::cast_slice(words);
        units.copy_from_slice(&bytes[..units.len()]);
    }
}

/// 32 channels.
impl Unit for u32 {
    const BITS: usize = 32;

    fn spread(words: &[u64], units: &mut [Self]) {
        let (pairs, last) = units.as_chunks_mut::<2>();
        if let ([unit], Some(&word)) = (last, words.get(pairs.len())) {
            *unit = word as u32;
        }
        for (pair, &word) in pairs.iter_mut().zip(words) {
            *pair = [word as u32, (word >> 32) as u32];
        }
    }
}

/// 64 channels.
impl Unit for u64 {
    const BITS: usize = 64;

    fn spread(words: &[u64], units: &mut [Self]) {
        units.copy_from_slice(words);
    }
}

/// Sizes of the padded copy.
#[derive(Debug, Clone)]
pub(super) struct PaddedMap {
    input: [usize; 2],
    /// Width with the padding.
    padded_width: usize,
    top: usize,
    left: usize,
    groups: usize,
    /// Channels of a group.
    channels: usize,
    /// Units of a pixel of one group.
    units: usize,
    /// Units of a row of all groups, up to a whole word.
    row: usize,
    /// Words of a pixel of the input.
    words: usize,
    /// Bit of the padding.
    pad: bool,
}

impl PaddedMap {
    pub(super) fn new<U: Unit>(geometry: &ConvGeometry, pad: bool) -> Self {
        let ConvGeometry { input, pads: [top, left, ..], groups, .. } = *geometry;
        let channels = geometry.in_channels / groups;
        let units = channels.div_ceil(U::BITS);
        Self {
            input,
            padded_width: geometry.padded_input()[1],
            top,
            left,
            groups,
            channels,
            units,
            row: (geometry.padded_input()[1] * units * groups)
                .next_multiple_of(size_of::<u64>() / size_of::<U>()),
            words: words_per_pixel(geometry.in_channels),
            pad,
        }
    }

    /// Units of a pixel of one group.
    pub(super) fn units(&self) -> usize {
        self.units
    }

    /// Words of a row.
    pub(super) fn row_len<U: Unit>(&self) -> usize {
        self.row * size_of::<U>() / size_of::<u64>()
    }

    /// Units from the start of a row to its part of a group.
    pub(super) fn group(&self, group: usize) -> usize {
        group * self.padded_width * self.units
    }

    /// Distance in units from a pixel to the one of the same group that lies `y` rows below and `x`
    /// columns to the right.
    pub(super) fn offset(&self, y: usize, x: usize) -> usize {
        y * self.row + x * self.units
    }

    /// Writes some rows of the padded map.
    pub(super) fn fill_rows<U: Unit>(&self, input: &[u64], rows: Range<usize>, map: &mut [U]) {
        for (y, row) in rows.zip(map.chunks_exact_mut(self.row)) {
            let y = y.wrapping_sub(self.top);
            let parts = row.chunks_exact_mut(self.padded_width * self.units).take(self.groups);
            for (group, part) in parts.enumerate() {
                if y >= self.input[0] {
                    self.fill_padding(part);
                    continue;
                }
                let (left, rest) = part.split_at_mut(self.left * self.units);
                let (inside, right) = rest.split_at_mut(self.input[1] * self.units);
                self.fill_padding(left);
                self.fill_padding(right);
                let row = self.input[1] * self.words;
                self.fill_row(&input[y * row..][..row], group, inside);
            }
            row[self.groups * self.padded_width * self.units..].fill(U::zeroed());
        }
    }

    /// Writes the pixels of one group in one row of the map.
    fn fill_row<U: Unit>(&self, row: &[u64], group: usize, out: &mut [U]) {
        if self.groups == 1 && self.channels.is_multiple_of(64) {
            U::spread(row, out);
            return;
        }
        if self.words == 1 && self.groups == 1 {
            let mask = low_mask(self.channels);
            for (&pixel, out) in row.iter().zip(out.chunks_exact_mut(self.units)) {
                U::spread(&[pixel & mask], out);
            }
            return;
        }
        let first = group * self.channels;
        for (pixel, out) in row.chunks_exact(self.words).zip(out.chunks_exact_mut(self.units)) {
            for (index, out) in out.chunks_mut(64 / U::BITS).enumerate() {
                let count = (self.channels - index * 64).min(64);
                U::spread(&[extract(pixel, first + index * 64, count)], out);
            }
        }
    }

    /// Writes padded pixels of a group; bits past its last channel are 0.
    fn fill_padding<U: Unit>(&self, out: &mut [U]) {
        if !self.pad {
            out.fill(U::zeroed());
            return;
        }
        for pixel in out.chunks_exact_mut(self.units) {
            for (index, out) in pixel.chunks_mut(64 / U::BITS).enumerate() {
                U::spread(&[low_mask((self.channels - index * 64).min(64))], out);
            }
        }
    }
}

/// Contiguous steps of a window: units of the map, as many rows of packed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Units from the start of the window.
    pub(super) offset: usize,
    /// Number of units.
    pub(super) steps: usize,
}

/// The runs of a window: with horizontal dilation 1 the taps of a kernel row are neighbours.
pub(super) fn runs(geometry: &ConvGeometry, map: &PaddedMap) -> Vec<Run> {
    let [rows, columns] = geometry.kernel;
    let [vertical, horizontal] = geometry.dilation;
    let (runs, taps) = if horizontal == 1 { (1, columns) } else { (columns, 1) };
    (0..rows)
        .flat_map(|row| (0..runs).map(move |column| (row, column)))
        .map(|(row, column)| Run {
            offset: map.offset(row * vertical, column * horizontal),
            steps: taps * map.units(),
        })
        .collect()
}
