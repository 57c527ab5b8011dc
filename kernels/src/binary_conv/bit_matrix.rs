//! Products of bit matrices: carries of eight pixels times eight output channels in one instruction.
//!
//! `vgf2p8affineqb` multiplies, in each 64-bit lane, a matrix of 8 x 8 bits by eight vectors of 8 bits, modulo 2. A
//! population count is no such product, but the carries of its adders nearly are: see [`slots`]. So six channels of
//! 8 pixels and 64 outputs, 3072 mismatches, are three products and one instruction that leave a word of weight 2 and
//! one of weight 4, and adding a word to counters takes two instructions ([`adders`](super::adders)): eight in
//! all, or 384 mismatches an instruction, where a population count has 512 / 3.
//!
//! Here a byte of a vector belongs to a pixel and its bits to channels, so the input is kept in planes with one byte
//! for each pixel of a row, and eight neighbours are one broadcast.

mod planes;
mod slots;
mod states;
mod tile;
mod transpose;

use super::{PackedKernel, bases::Bases};
use crate::{Alphabet, ConvGeometry, MapRows, PadValue, aligned::Aligned, features::Avx512Gfni};
use planes::InputPlanes;
use states::{AT_ONCE, States, Strings, lookup, scatter};
use std::ops::Range;

/// Output channels of a block: bits of a vector, for one of eight pixels.
const CHANNELS: usize = 64;

/// Most mismatches of a window: counts are multiplied as signed 16-bit integers.
const MOST_PRODUCTS: usize = i16::MAX as usize;

/// Steps that are added together.
const STEPS: usize = 4;

/// Parities of taps that are added together.
const TAPS: usize = 3;

/// Most octets that are described at a time.
const AT_HAND: usize = 8 * OCTETS;

/// Most octets of pixels of a tile.
const OCTETS: usize = 3;

/// A convolution with the packed weights of a layer.
#[derive(Debug)]
pub(super) struct BitMatrix {
    _proof: Avx512Gfni,
    geometry: ConvGeometry,
    planes: InputPlanes,
    /// Columns of the output.
    width: usize,
    /// Bits of the largest count, at least as many as there are planes that are always used.
    levels: usize,
    /// From the first pixel of a window to the plane of each step, as many as make whole [`STEPS`].
    steps: Vec<usize>,
    /// Likewise for the last step of each tap, which has the parity of the pixel, as many as make
    /// whole [`TAPS`].
    parities: Vec<usize>,
    /// Bytes from the start of a window to the end of all that an octet reads.
    reach: usize,
    /// `[group][block][taps + 3 * steps][CHANNELS]`.
    weights: Aligned<u8>,
    /// Blocks of a group.
    blocks: usize,
    /// With `blocks * CHANNELS` entries for each group.
    bases: Bases,
}

/// Eight neighbouring pixels of a row of the output.
#[derive(Debug, Clone, Copy, Default)]
struct Octet {
    /// Where their input starts, in bytes from the start of the layout.
    map: usize,
    /// How many there are; what is computed for the others is dropped.
    pixels: usize,
    /// Where the accumulators of the first one start.
    out: usize,
    /// Where the bases of each one start.
    bases: [usize; 8],
}

/// Output channels that are computed together.
#[derive(Debug)]
struct Block<'a> {
    map: &'a [u8],
    /// A row for the parity of each tap, then three for each step.
    weights: &'a [[u8; CHANNELS]],
    /// Bytes from the weights of a step to those of the next block that are asked for meanwhile: memory takes as long to
    /// bring the weights of a wide layer as a small map takes to be computed. 0 where nothing comes next.
    ahead: usize,
    /// Position of the first channel in a row of bases.
    first_base: usize,
    /// Position of the first channel in a pixel of the output.
    first_channel: usize,
    /// Output channels, at most [`CHANNELS`].
    channels: usize,
}

impl BitMatrix {
    /// Whether the counters hold what a window of this layer may count.
    pub(super) fn fits(geometry: &ConvGeometry) -> bool {
        geometry.products() <= MOST_PRODUCTS
    }

    /// Hundredths of a cycle for a pixel, as [`choose`](super::choose) compares them; measured on Emerald Rapids. A
    /// step is eight instructions on two ports, emptying the counters some 170 cycles; a step of the input takes 8
    /// for an octet.
    pub(super) fn cost(geometry: &ConvGeometry) -> usize {
        let [height, width] = geometry.output();
        let [input_height, input_width] = geometry.padded_input();
        let taps = geometry.kernel[0] * geometry.kernel[1];
        let steps = (geometry.in_channels / geometry.groups).div_ceil(slots::CHANNELS);
        let blocks = (geometry.out_channels / geometry.groups).div_ceil(CHANNELS);
        // By rows of the output, so that the numbers stay small.
        let row = width.div_ceil(8) * (taps * (steps * 540 + 250) + 18_200);
        let input_row = input_width.div_ceil(8) * steps * 800;
        let fill = input_row.saturating_mul(input_height) / height.max(1);
        row.saturating_mul(blocks).saturating_add(fill) / width.max(1)
    }

    /// Packs validated weights of a layer that [fits](Self::fits).
    pub(super) fn new(
        proof: Avx512Gfni,
        geometry: &ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Self {
        let planes = InputPlanes::new(proof, geometry, pad == PadValue::Plus);
        let [rows, columns] = geometry.kernel;
        let taps = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut steps: Vec<usize> = taps
            .clone()
            .flat_map(|(row, column)| (0..planes.steps()).map(move |step| (row, column, step)))
            .map(|(row, column, step)| planes.offset(row, column, step))
            .collect();
        let mut parities: Vec<usize> =
            taps.map(|(row, column)| planes.offset(row, column, planes.steps() - 1)).collect();
        let reach = steps.iter().max().unwrap_or(&0) + planes.plane() + 8;
        // Weights of 0 make all carries 0, whatever the input.
        steps.resize(steps.len().next_multiple_of(STEPS), 0);
        parities.resize(parities.len().next_multiple_of(TAPS), 0);
        let blocks = (geometry.out_channels / geometry.groups).div_ceil(CHANNELS);
        let mut kernel = Self {
            _proof: proof,
            geometry: geometry.clone(),
            planes,
            width: geometry.output()[1],
            levels: ((usize::BITS - geometry.products().leading_zeros()) as usize).max(tile::LOWER),
            steps,
            parities,
            reach,
            weights: Aligned::zeroed(0),
            blocks,
            bases: Bases::new(geometry, pad, alphabet, weights, blocks * CHANNELS),
        };
        kernel.weights = Aligned::zeroed(geometry.groups * blocks * kernel.block_rows() * CHANNELS);
        kernel.pack_weights(weights);
        kernel
    }

    /// The octet from column `x` on of row `y` of the output. The layout starts with row `first_read` of the padded map,
    /// the accumulators with row `first_written` of the output.
    fn octet(&self, y: usize, x: usize, first_read: usize, first_written: usize) -> Octet {
        let pixels = (self.width - x).min(8);
        let mut bases = [0; 8];
        for (pixel, base) in bases.iter_mut().enumerate().take(pixels) {
            *base = self.bases.at(y, x + pixel);
        }
        Octet {
            map: (y * self.geometry.stride[0] - first_read) * self.planes.row() + x,
            pixels,
            out: ((y - first_written) * self.width + x) * self.geometry.out_channels,
            bases,
        }
    }

    /// Rows of weights of a block.
    fn block_rows(&self) -> usize {
        self.parities.len() + slots::WEIGHTS * self.steps.len()
    }

    /// The channel of each byte of a row. Counts are taken by even and odd lanes, and of these every second one; and
    /// the bits of a product come from the last row of a matrix first.
    fn channel(position: usize) -> usize {
        let (lane, odd, bit) = (position / 16, position / 8 % 2, 7 - position % 8);
        (2 * odd + bit % 2) * 16 + lane * 4 + bit / 2
    }

    fn pack_weights(&mut self, bits: &[u64]) {
        let group_out = self.geometry.out_channels / self.geometry.groups;
        let mut packed = std::mem::replace(&mut self.weights, Aligned::zeroed(0));
        let (rows, _) = packed.as_mut_slice().as_chunks_mut::<CHANNELS>();
        for (index, rows) in rows.chunks_exact_mut(self.block_rows()).enumerate() {
            let (group, block) = (index / self.blocks, index % self.blocks);
            // Places behind the last channel have the weights of that one, which nobody reads.
            let channels = std::array::from_fn(|position| {
                let channel = block * CHANNELS + Self::channel(position);
                group * group_out + channel.min(group_out - 1)
            });
            // SAFETY: `self` holds the proof of the features.
            unsafe { self.pack_block(bits, &channels, rows) };
        }
        self.weights = packed;
    }

    /// Packs the channels of a block.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn pack_block(&self, bits: &[u64], channels: &[usize; CHANNELS], rows: &mut [[u8; CHANNELS]]) {
        let group_in = self.geometry.in_channels / self.geometry.groups;
        let (products, steps) = (self.geometry.products(), self.planes.steps());
        let taps = self.geometry.kernel[0] * self.geometry.kernel[1];
        let (parities, rows) = rows.split_at_mut(self.parities.len());
        let rows = rows.as_flattened_mut().chunks_exact_mut(steps * slots::WEIGHTS * CHANNELS);
        for (tap, (parities, rows)) in parities.iter_mut().zip(rows).enumerate().take(taps) {
            for (octet, channels) in channels.as_chunks::<8>().0.iter().enumerate() {
                let starts = channels.map(|channel| (channel * products + tap * group_in) as u64);
                let mut states = States::new(Strings::new(bits, &starts, group_in));
                let rows = &mut rows[octet * 8..];
                for first in (0..steps).step_by(AT_ONCE) {
                    let now = states.next();
                    let count = (steps - first).min(AT_ONCE);
                    for (index, table) in slots::WEIGHT_SLOTS.iter().enumerate() {
                        let rows = &mut rows[(slots::WEIGHTS * first + index) * CHANNELS..];
                        scatter(lookup(table, now), count, rows, slots::WEIGHTS * CHANNELS);
                    }
                }
                scatter(states.parity_slots(), 1, &mut parities[octet * 8..], 0);
            }
        }
    }
}

impl PackedKernel for BitMatrix {
    fn name(&self) -> &'static str {
        "bit-matrix-24x64"
    }

    fn packed_bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + self.bases.bytes()
    }

    fn row_len(&self) -> usize {
        self.planes.row() / size_of::<u64>()
    }

    fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]) {
        self.planes.fill_rows(input, rows, bytemuck::cast_slice_mut(layout));
    }

    fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        let ConvGeometry { out_channels, groups, .. } = self.geometry;
        let width = self.width;
        let group_out = out_channels / groups;
        let (weights, _) = self.weights.as_slice().as_chunks::<CHANNELS>();
        let (block_rows, all_rows) = (self.block_rows(), weights.len());
        let map: &[u8] = bytemuck::cast_slice(layout.values);
        let mut octets = [Octet::default(); AT_HAND];
        let mut places = rows.clone().flat_map(|y| (0..width).step_by(8).map(move |x| (y, x)));
        loop {
            let mut count = 0_usize;
            for (octet, (y, x)) in octets.iter_mut().zip(&mut places) {
                *octet = self.octet(y, x, layout.first, rows.start);
                count += 1;
            }
            if count == 0 {
                return;
            }
            let tiles = count.div_ceil(OCTETS);
            for (index, weights) in weights.chunks_exact(block_rows).enumerate() {
                let (group, block) = (index / self.blocks, index % self.blocks);
                let first_channel = block * CHANNELS;
                let is_last = (index + 1) * block_rows == all_rows;
                let mut block = Block {
                    map: &map[self.planes.group(group)..],
                    weights,
                    ahead: 0,
                    first_base: index * CHANNELS,
                    first_channel: group * group_out + first_channel,
                    channels: (group_out - first_channel).min(CHANNELS),
                };
                for tile in 0..tiles {
                    // One of the rows of each step for each of the first tiles.
                    let asks = tile < slots::WEIGHTS && !is_last;
                    block.ahead = if asks { (block_rows + tile) * CHANNELS } else { 0 };
                    // Tiles of sizes as equal as can be.
                    let range = tile * count / tiles..(tile + 1) * count / tiles;
                    self.tile(&block, &octets[range], out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary_conv::tests::plain;

    #[test]
    fn pixels_that_no_tap_reads_take_no_memory() {
        let Some(proof) = Avx512Gfni::detect() else { return };
        let geometry = ConvGeometry {
            stride: [1, 30_000],
            dilation: [1, 10_000],
            ..plain(64, 64, [1, 60_001], [1, 3], 0)
        };
        // Two windows, taps at 0, 10,000 and 20,000: eight bytes for each, in two planes for each of eleven steps.
        let planes = InputPlanes::new(proof, &geometry, false);
        assert_eq!(planes.row(), 3 * 8 * 2 * 11);
        assert_eq!(planes.offset(0, 2, 10), 10 * 2 * 24 + 16);
    }

    #[test]
    fn costs_follow_what_was_measured() {
        // Products a cycle, with the input brought into planes: 340 to 470 where all places of an octet and a block
        // are used, half of it on maps of 4 pixels, and little for a single one.
        let rate = |side: usize, channels: usize, kernel: usize| {
            let geometry = plain(channels, channels, [side; 2], [kernel; 2], kernel / 2);
            100 * channels * geometry.products() / BitMatrix::cost(&geometry)
        };
        for (side, channels, low, high) in
            [(56, 64, 330, 390), (28, 128, 360, 420), (14, 256, 400, 460), (8, 256, 450, 530)]
        {
            let rate = rate(side, channels, 3);
            assert!((low..high).contains(&rate), "{side}: {rate}");
        }
        assert!((220..300).contains(&rate(4, 512, 3)), "{}", rate(4, 512, 3));
        assert!(rate(1, 4096, 1) < 80, "{}", rate(1, 4096, 1));
    }
}
