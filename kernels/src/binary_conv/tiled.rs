//! What the vector kernels share: channels along the vector, tiles of pixels times vectors.

use super::{
    PackedKernel,
    bases::Bases,
    padded_map::{PaddedMap, Unit},
};
use crate::{Alphabet, ConvGeometry, MapRows, PadValue, aligned::Aligned, bit_string::extract};
use bytemuck::Pod;
use std::{fmt::Debug, ops::Range};

/// One output pixel of a tile: where its data starts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    /// Units from the start of the map.
    pub(super) map: usize,
    /// Entries of the table of bases, at the block's first channel.
    pub(super) base: usize,
    /// Accumulators, at the block's first channel.
    pub(super) out: usize,
}

/// Output channels that a tile computes together, with what all its pixels share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a, K: TileKernel> {
    /// Rows of the padded map, from the first pixel of the group on.
    pub(super) map: &'a [K::Unit],
    /// Packed weights, `[steps][vectors][channels of a vector]`.
    pub(super) weights: &'a [K::Weight],
    /// Number of vectors, at most [`TileKernel::VECTORS`].
    pub(super) vectors: usize,
    /// Output channels; the rest of the last vector is padding.
    pub(super) channels: usize,
    /// Table of bases.
    pub(super) bases: &'a [i32],
    /// Whether a mismatch counts 2 (otherwise 1).
    pub(super) double: bool,
}

/// An algorithm for one instruction set.
pub(super) trait TileKernel: Sized + Debug + Send + Sync + 'static {
    /// What it reads of the map at a time.
    type Unit: Unit;
    /// What it reads of one output channel's weights at a time.
    type Weight: Pod + Debug + Send + Sync;
    /// Output channels of a vector.
    const CHANNELS: usize;
    /// Vectors of a full block.
    const VECTORS: usize;
    /// Pixels of a full tile, a multiple of [`TileKernel::GROUP`].
    const PIXELS: usize;
    /// Neighbouring pixels of a row that are computed together: 1 or 2.
    const GROUP: usize = 1;
    /// Names with 1, 2, ... vectors per block.
    const NAMES: &'static [&'static str];

    /// Where the weights of an output channel stand in a vector.
    fn position(channel: usize) -> usize;

    /// Writes rows of weights, one for each step, from the words of all channels of a row, [`Unit::BITS`] at a time.
    /// There are as many rows as steps; the last may have fewer bits, the others of its word are 0. The words may be
    /// used up.
    fn weights(words: &mut [u64], rows: &mut [Self::Weight]);

    /// Brings what the pixels of a group want into the units of the first one, in a row of the map where that of the
    /// next one lies `distance` units behind.
    fn join(_row: &mut [Self::Unit], _distance: usize) {}

    /// Computes the accumulators of 1 to [`TileKernel::PIXELS`] pixels. Only the first window of a group says where
    /// to read.
    fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]);
}

/// A tiled kernel with the packed weights of a layer.
#[derive(Debug)]
pub(super) struct Tiled<K: TileKernel> {
    kernel: K,
    geometry: ConvGeometry,
    map: PaddedMap,
    /// `[group][block][steps][vectors of the block][K::CHANNELS]`.
    weights: Aligned<K::Weight>,
    /// Units of a window.
    steps: usize,
    /// Vectors of a group.
    vectors: usize,
    /// With `vectors * K::CHANNELS` entries for each group.
    bases: Bases,
}

impl<K: TileKernel> Tiled<K> {
    /// Packs validated weights.
    pub(super) fn new(
        kernel: K,
        geometry: &ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Self {
        let map = PaddedMap::new::<K::Unit>(geometry, pad == PadValue::Plus);
        let steps = geometry.kernel[0] * geometry.kernel[1] * map.units();
        let vectors = (geometry.out_channels / geometry.groups).div_ceil(K::CHANNELS);
        let mut tiled = Self {
            kernel,
            geometry: geometry.clone(),
            map,
            weights: Aligned::zeroed(geometry.groups * vectors * K::CHANNELS * steps),
            steps,
            vectors,
            bases: Bases::new(geometry, pad, alphabet, weights, vectors * K::CHANNELS),
        };
        tiled.pack_weights(weights);
        tiled
    }

    /// First vector and number of vectors of each block of a group.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<K> {
        let vectors = self.vectors;
        (0..vectors).step_by(K::VECTORS).map(move |first| (first, K::VECTORS.min(vectors - first)))
    }

    /// Packed weights of a block.
    fn block_weights(&self, group: usize, first: usize, vectors: usize) -> Range<usize> {
        let vector = self.steps * K::CHANNELS;
        let start = (group * self.vectors + first) * vector;
        start..start + vectors * vector
    }

    fn pack_weights(&mut self, weights: &[u64]) {
        let group_in = self.geometry.in_channels / self.geometry.groups;
        let group_out = self.geometry.out_channels / self.geometry.groups;
        let products = self.geometry.products();
        let taps = self.geometry.kernel[0] * self.geometry.kernel[1];
        for group in 0..self.geometry.groups {
            for (first, vectors) in self.blocks() {
                let range = self.block_weights(group, first, vectors);
                let packed = &mut self.weights.as_mut_slice()[range];
                let channels = first * K::CHANNELS..group_out.min((first + vectors) * K::CHANNELS);
                // A word of every channel, each at its place in the vectors, becomes rows of units: what
                // is written lies side by side. Places without a channel stay 0.
                let lanes = vectors * K::CHANNELS;
                let mut words = vec![0; lanes];
                let mut rest = packed;
                for tap in 0..taps {
                    for bit in (0..group_in).step_by(64) {
                        let count = (group_in - bit).min(64);
                        words.fill(0);
                        for (index, channel) in channels.clone().enumerate() {
                            let position = index / K::CHANNELS * K::CHANNELS
                                + K::position(index % K::CHANNELS);
                            let row = (group * group_out + channel) * products;
                            words[position] = extract(weights, row + tap * group_in + bit, count);
                        }
                        let rows;
                        (rows, rest) = rest.split_at_mut(count.div_ceil(K::Unit::BITS) * lanes);
                        K::weights(&mut words, rows);
                    }
                }
            }
        }
    }
}

impl<K: TileKernel> PackedKernel for Tiled<K> {
    fn name(&self) -> &'static str {
        K::NAMES[self.vectors.min(K::VECTORS) - 1]
    }

    fn packed_bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + self.bases.bytes()
    }

    fn row_len(&self) -> usize {
        self.map.row_len::<K::Unit>()
    }

    fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]) {
        let layout = bytemuck::cast_slice_mut(layout);
        self.map.fill_rows::<K::Unit>(input, rows, layout);
        if K::GROUP > 1 {
            let distance = self.map.offset(0, self.geometry.stride[1]);
            for row in layout.chunks_exact_mut(self.map.offset(1, 0)) {
                K::join(row, distance);
            }
        }
    }

    fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        let width = self.geometry.output()[1];
        if rows.is_empty() || width == 0 {
            return;
        }
        let row_groups = width.div_ceil(K::GROUP);
        let pixel_groups = rows.len() * row_groups;
        let group_out = self.geometry.out_channels / self.geometry.groups;
        let padded = self.vectors * K::CHANNELS;
        let map: &[K::Unit] = bytemuck::cast_slice(layout.values);
        let tiles = pixel_groups.div_ceil(K::PIXELS / K::GROUP);
        // Tiles of sizes as equal as can be: 7 pixels are better 4 + 3 than 6 + 1.
        let (short, longer) = (pixel_groups / tiles, pixel_groups % tiles);
        let [map_step, out_step] =
            [self.map.offset(0, self.geometry.stride[1]), self.geometry.out_channels];
        for group in 0..self.geometry.groups {
            let map = &map[self.map.group(group)..];
            for (first, vectors) in self.blocks() {
                let first_channel = first * K::CHANNELS;
                let block = Block {
                    map,
                    weights: &self.weights.as_slice()[self.block_weights(group, first, vectors)],
                    vectors,
                    channels: (vectors * K::CHANNELS).min(group_out - first_channel),
                    bases: self.bases.table(),
                    double: self.bases.double(),
                };
                // The first pixel of a row; short sums take no longer than to find where theirs is.
                let row = |y: usize| Window {
                    map: self.map.offset(y * self.geometry.stride[0] - layout.first, 0),
                    base: group * padded + first_channel,
                    out: (y - rows.start) * width * out_step + group * group_out + first_channel,
                };
                let (mut y, mut x) = (rows.start, 0);
                let mut start = row(y);
                let mut windows = [Window::default(); 8];
                for tile in 0..tiles {
                    let groups = short + usize::from(tile < longer);
                    let windows = &mut windows[..groups * K::GROUP];
                    for group_windows in windows.chunks_exact_mut(K::GROUP) {
                        if x >= width {
                            (y, x) = (y + 1, 0);
                            start = row(y);
                        }
                        // The last group of a row may do a pixel of the one before once more.
                        let first = x.min(width.saturating_sub(K::GROUP));
                        for (window, x) in group_windows.iter_mut().zip(first..) {
                            *window = Window {
                                map: start.map + x * map_step,
                                base: start.base + self.bases.at(y, x),
                                out: start.out + x * out_step,
                            };
                        }
                        x += K::GROUP;
                    }
                    self.kernel.tile(&block, windows, out);
                }
            }
        }
    }
}
