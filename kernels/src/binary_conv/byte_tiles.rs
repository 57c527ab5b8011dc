//! Sums of bytes, in tiles of pixels times output channels (AMX).
//!
//! Bits become bytes: inputs ±1 (or 0 and 1), weights ±1. So a padded tap is the byte 0, and exact zero padding costs nothing. The
//! map has `channels` bytes a pixel, and with horizontal dilation 1 the taps of a kernel row are one run of bytes: it is cut
//! into steps of 64 bytes, whatever the number of channels, and weights of 0 let the last step read on into what follows.

use super::PackedKernel;
use crate::{
    Alphabet, ConvGeometry, MapRows, PadValue,
    aligned::Aligned,
    amx::{self, CHANNELS, STEP, Tile, TileUnit, WEIGHTS},
    bit_string::{bit, extract, low_mask},
    features::Avx512,
    words_per_pixel,
};
use std::ops::Range;

/// Most pixels that the packed weights of a tile serve before the next ones are fetched: what the tiles of so many
/// pixels read stays near.
const BAND: usize = 1024;

/// A convolution with the packed weights of a layer.
#[derive(Debug)]
pub(super) struct ByteTiles<U: TileUnit> {
    unit: U,
    /// Vectors for turning bits into bytes; processors with AMX have them.
    wide: Option<Avx512>,
    geometry: ConvGeometry,
    /// Channels of a group: bytes of a pixel.
    channels: usize,
    /// Bytes of a row of the padded map with all groups, up to a whole cache line, what the last step may read included.
    row: usize,
    /// Bytes from the start of a window to each step.
    offsets: Vec<usize>,
    /// `[group][block][steps][STEP / 4][CHANNELS][4]`.
    weights: Aligned<i8>,
    /// Bytes of a tap that is low, high, and outside of the map.
    low: i8,
    high: i8,
    outside: i8,
}

/// Output channels that take a register of weights in each step: how many registers a group has.
fn blocks(geometry: &ConvGeometry) -> usize {
    (geometry.out_channels / geometry.groups).div_ceil(CHANNELS)
}

/// Bytes of a kernel row that lie side by side, and how many such runs a window has.
fn runs(geometry: &ConvGeometry) -> (usize, usize) {
    let channels = geometry.in_channels / geometry.groups;
    let [rows, columns] = geometry.kernel;
    if geometry.dilation[1] == 1 { (columns * channels, rows) } else { (channels, rows * columns) }
}

/// Steps of a window.
fn steps(geometry: &ConvGeometry) -> usize {
    let (bytes, runs) = runs(geometry);
    runs * bytes.div_ceil(STEP)
}

/// Pixels of the tiles of a row of the output: as equal as can be.
fn tile_pixels(width: usize) -> usize {
    width.div_ceil(width.div_ceil(amx::PIXELS).max(1))
}

/// Bytes of weights that stay in the second-level cache from one image to the next.
const NEAR: usize = 3 << 19;

/// Hundredths of a cycle for a pixel, as [`choose`](super::choose) compares them; measured on Sapphire Rapids. A step multiplies two
/// tiles of pixels with two registers of weights: four products of 3.5 cycles and one for each pixel, 10.5 at least, of which
/// a loop reaches some 80 %. Emptying the registers takes about 16 cycles for each of them, and weights that come from far away
/// about 60 for each register, once for all pixels.
pub(super) fn cost(geometry: &ConvGeometry) -> usize {
    let [height, width] = geometry.output();
    let pixels = tile_pixels(width);
    let product = (350 + 95 * pixels).max(1050) * 5 / 4;
    let registers = blocks(geometry) * steps(geometry);
    let fetch = if geometry.groups * registers * WEIGHTS > NEAR { registers * 6000 } else { 0 };
    (registers * product + blocks(geometry) * 1600) / pixels + fetch / (height * width).max(1)
}

impl<U: TileUnit> ByteTiles<U> {
    /// Packs validated weights.
    pub(super) fn new(
        unit: U,
        geometry: &ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Self {
        let channels = geometry.in_channels / geometry.groups;
        let low = match alphabet {
            Alphabet::PlusMinus => -1,
            Alphabet::ZeroOne => 0,
        };
        let outside = match pad {
            PadValue::Zero => 0,
            PadValue::Plus => 1,
            PadValue::Minus => low,
        };
        let row = geometry.padded_input()[1] * geometry.in_channels + STEP;
        let mut kernel = Self {
            unit,
            wide: Avx512::detect(),
            geometry: geometry.clone(),
            channels,
            row: row.next_multiple_of(STEP),
            offsets: Vec::new(),
            weights: Aligned::zeroed(
                geometry.groups * blocks(geometry) * steps(geometry) * WEIGHTS,
            ),
            low,
            high: 1,
            outside,
        };
        kernel.pack_weights(weights);
        kernel
    }

    /// Lists the steps and fills their weights.
    fn pack_weights(&mut self, bits: &[u64]) {
        let ConvGeometry { out_channels, groups, kernel: [_, columns], dilation, .. } =
            self.geometry;
        let (run, runs) = runs(&self.geometry);
        let (blocks, steps) = (blocks(&self.geometry), steps(&self.geometry));
        let (group_out, products) = (out_channels / groups, self.geometry.products());
        let weights = self.weights.as_mut_slice();
        for index in 0..runs {
            // Taps of a run are neighbours, in the map as in the string of bits.
            let (y, x) =
                if dilation[1] == 1 { (index, 0) } else { (index / columns, index % columns) };
            let start = y * dilation[0] * self.row + x * dilation[1] * self.channels;
            for first in (0..run).step_by(STEP) {
                let step = self.offsets.len();
                self.offsets.push(start + first);
                let count = (run - first).min(STEP);
                for channel in 0..out_channels {
                    let (group, place) = (channel / group_out, channel % group_out);
                    let block = (group * blocks + place / CHANNELS) * steps + step;
                    let block = &mut weights[block * WEIGHTS..][..WEIGHTS];
                    let from = channel * products + index * run + first;
                    for k in 0..count {
                        let value = if bit(bits, from + k) { 1 } else { -1 };
                        block[k / 4 * 4 * CHANNELS + place % CHANNELS * 4 + k % 4] = value;
                    }
                }
            }
        }
    }

    /// Writes the pixels of one group in one row of the map.
    fn fill_row(&self, row: &[u64], group: usize, out: &mut [i8]) {
        match self.wide {
            // SAFETY: the proof is there.
            Some(_) => unsafe { self.fill_row_512(row, group, out) },
            None => self.fill_row_with(row, group, out, |word, out| {
                for (index, out) in out.iter_mut().enumerate() {
                    *out = if word >> index & 1 == 1 { self.high } else { self.low };
                }
            }),
        }
    }

    /// The same with a vector for 64 channels.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn fill_row_512(&self, row: &[u64], group: usize, out: &mut [i8]) {
        use std::arch::x86_64::{
            _mm512_mask_blend_epi8, _mm512_mask_storeu_epi8, _mm512_set1_epi8,
        };
        let (low, high) = (_mm512_set1_epi8(self.low), _mm512_set1_epi8(self.high));
        self.fill_row_with(row, group, out, |word, out| {
            let bytes = _mm512_mask_blend_epi8(word, low, high);
            // SAFETY: the mask leaves out what lies behind the end.
            unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr(), low_mask(out.len()), bytes) };
        });
    }

    /// Hands the channels of each pixel to `spread`, at most 64 at a time, with the bytes that they become.
    #[inline(always)]
    fn fill_row_with(
        &self,
        row: &[u64],
        group: usize,
        out: &mut [i8],
        spread: impl Fn(u64, &mut [i8]),
    ) {
        let words = words_per_pixel(self.geometry.in_channels);
        let first = group * self.channels;
        for (pixel, out) in row.chunks_exact(words).zip(out.chunks_exact_mut(self.channels)) {
            for (index, out) in out.chunks_mut(64).enumerate() {
                spread(extract(pixel, first + index * 64, out.len()), out);
            }
        }
    }
}

impl<U: TileUnit> PackedKernel for ByteTiles<U> {
    fn name(&self) -> &'static str {
        "byte tiles"
    }

    fn packed_bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + size_of_val(&self.offsets[..])
    }

    fn row_len(&self) -> usize {
        self.row / size_of::<u64>()
    }

    fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]) {
        let ConvGeometry {
            in_channels, input: [height, width], pads: [top, left, ..], groups, ..
        } = self.geometry;
        let layout: &mut [i8] = bytemuck::cast_slice_mut(layout);
        let part = self.geometry.padded_input()[1] * self.channels;
        let row_words = width * words_per_pixel(in_channels);
        for (y, row) in rows.zip(layout.chunks_exact_mut(self.row)) {
            let y = y.wrapping_sub(top);
            let (parts, rest) = row.split_at_mut(groups * part);
            // Weights of 0 meet these bytes, which only have to be there.
            rest.fill(0);
            if y >= height {
                parts.fill(self.outside);
                continue;
            }
            for (group, part) in parts.chunks_exact_mut(part).enumerate() {
                let (before, part) = part.split_at_mut(left * self.channels);
                let (inside, after) = part.split_at_mut(width * self.channels);
                before.fill(self.outside);
                after.fill(self.outside);
                self.fill_row(&input[y * row_words..][..row_words], group, inside);
            }
        }
    }

    fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        let ConvGeometry { out_channels, groups, stride, .. } = self.geometry;
        let width = self.geometry.output()[1];
        if rows.is_empty() || width == 0 {
            return;
        }
        let group_out = out_channels / groups;
        let part = self.geometry.padded_input()[1] * self.channels;
        let pixels = tile_pixels(width);
        let tile = Tile {
            map: bytemuck::cast_slice(layout.values),
            pixels,
            stride: stride[1] * self.channels,
            offsets: &self.offsets,
            reach: self.offsets.iter().copied().max().unwrap_or(0),
            sum_stride: out_channels,
        };
        // The last tile of a row may do pixels of the one before once more.
        let tiles = width.div_ceil(pixels);
        let place = |index: usize| {
            let (y, x) = (index / tiles, (index % tiles * pixels).min(width - pixels));
            let window = ((rows.start + y) * stride[0] - layout.first) * self.row;
            (window + x * tile.stride, (y * width + x) * out_channels)
        };
        let count = rows.len() * tiles;
        let band = BAND / pixels;
        let block_weights = self.offsets.len() * WEIGHTS;
        let prepared = self.unit.prepare(pixels);
        let mut ragged = [0; amx::PIXELS * CHANNELS];
        for first in (0..count).step_by(band) {
            let indices = first..count.min(first + band);
            for group in 0..groups {
                let blocks = blocks(&self.geometry);
                let weights = &self.weights.as_slice()[group * blocks * block_weights..];
                let mut block = 0;
                while block < blocks {
                    let weights = &weights[block * block_weights..];
                    let channel = group * group_out + block * CHANNELS;
                    let left = group_out - block * CHANNELS;
                    let at = |index: usize| {
                        let (window, sums) = place(index);
                        (window + group * part, sums + channel)
                    };
                    if left >= 2 * CHANNELS {
                        for index in indices.clone().step_by(2) {
                            // Alone, the last tile is done twice.
                            let second = (index + 1).min(indices.end - 1);
                            let (first, second) = (at(index), at(second));
                            let weights = &weights[..2 * block_weights];
                            let (windows, sums) = ([first.0, second.0], [first.1, second.1]);
                            self.unit.quad(&prepared, &tile, windows, weights, sums, out);
                        }
                        block += 2;
                        continue;
                    }
                    let weights = &weights[..block_weights];
                    for index in indices.clone() {
                        let (window, sums) = at(index);
                        if left >= CHANNELS {
                            self.unit.single(&prepared, &tile, window, weights, sums, out);
                            continue;
                        }
                        let narrow = Tile { sum_stride: CHANNELS, ..tile };
                        self.unit.single(&prepared, &narrow, window, weights, 0, &mut ragged);
                        for (pixel, found) in ragged.chunks_exact(CHANNELS).take(pixels).enumerate()
                        {
                            out[sums + pixel * out_channels..][..left]
                                .copy_from_slice(&found[..left]);
                        }
                    }
                    block += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary_conv::tests::plain;

    fn square(side: usize, channels: usize, kernel: usize) -> ConvGeometry {
        plain(channels, channels, [side; 2], [kernel; 2], kernel / 2)
    }

    #[test]
    fn steps_cross_taps_and_tiles_share_a_row_evenly() {
        // Three rows of three taps of 41 channels are 123 bytes each; with dilation every tap is a run of its own.
        assert_eq!(steps(&square(14, 41, 3)), 3 * 2);
        assert_eq!(steps(&ConvGeometry { dilation: [1, 2], ..square(14, 41, 3) }), 9);
        assert_eq!(steps(&square(14, 512, 3)), 9 * 8);
        for (width, pixels) in
            [(1, 1), (7, 7), (14, 14), (16, 16), (17, 9), (28, 14), (56, 14), (112, 16)]
        {
            assert_eq!(tile_pixels(width), pixels, "{width}");
        }
    }

    #[test]
    fn costs_follow_what_was_measured() {
        // Products a cycle: 610 to 690 at ResNet-18's first stages; half of that where weights are fetched from far away,
        // and next to nothing for a single pixel.
        let rate = |geometry: &ConvGeometry| {
            let products = geometry.out_channels * geometry.products();
            100 * products / cost(geometry)
        };
        for (side, channels) in [(56, 64), (28, 128), (14, 256)] {
            let rate = rate(&square(side, channels, 3));
            assert!((450..700).contains(&rate), "{side}: {rate}");
        }
        assert!((250..400).contains(&rate(&square(7, 512, 3))), "{}", rate(&square(7, 512, 3)));
        assert!(rate(&square(1, 4096, 1)) < 40);
    }
}
