//! Population counts in 32-bit lanes, one output channel per lane.
//!
//! A step broadcasts 32 bits of an input pixel and, for each vector of 16 output channels, takes the
//! exclusive or with 32 weight bits, counts its ones and adds: the counters are the sums, with nothing
//! to widen or to add up across lanes at the end.

use super::{
    padded_map::{PaddedMap, Run, runs},
    tiled::{Block, TileKernel, Window},
    transpose,
    vector::{CountingLanes, emit},
};
use crate::{ConvGeometry, features::Avx512Vpopcnt};

/// The kernel for one way of counting.
#[derive(Debug)]
pub(super) struct PopcountLanes<S> {
    simd: S,
    runs: Vec<Run>,
}

impl<S> PopcountLanes<S> {
    pub(super) fn new(simd: S, geometry: &ConvGeometry) -> Self {
        Self { simd, runs: runs(geometry, &PaddedMap::new::<u32>(geometry, false)) }
    }
}

/// Computes one tile. Inlined into one caller per instruction set.
#[inline(always)]
fn tile<S: CountingLanes, K, const PIXELS: usize, const VECTORS: usize>(
    simd: S,
    runs: &[Run],
    block: &Block<'_, K>,
    windows: &[Window; PIXELS],
    out: &mut [i32],
) where
    K: TileKernel<Unit = u32, Weight = u32>,
{
    let row = VECTORS * 16;
    let mut counts = [[simd.zero(); VECTORS]; PIXELS];
    let mut weights = block.weights;
    for &Run { offset, steps } in runs {
        let inputs = windows.map(|window| &block.map[window.map + offset..][..steps]);
        let (now, later) = weights.split_at(steps * row);
        weights = later;
        for (step, row) in now.chunks_exact(row).enumerate() {
            let mut weights = [simd.zero(); VECTORS];
            for (vector, weights) in weights.iter_mut().enumerate() {
                *weights = simd.load_u32(&row[vector * 16..]);
            }
            for pixel in 0..PIXELS {
                // SAFETY: `now` holds `steps` rows, so `step < steps`, the length of each input.
                let word = unsafe { *inputs[pixel].get_unchecked(step) };
                let word = simd.broadcast_u32(word);
                for vector in 0..VECTORS {
                    let mismatches = simd.mismatches(word, weights[vector]);
                    counts[pixel][vector] = simd.add_i32(counts[pixel][vector], mismatches);
                }
            }
        }
    }
    for (pixel, window) in windows.iter().enumerate() {
        let out = &mut out[window.out..][..block.channels];
        let base = &block.bases[window.base..][..row];
        for vector in 0..VECTORS {
            // A block has no vector without channels.
            let (base, out) = (&base[vector * 16..], &mut out[vector * 16..]);
            emit(simd, counts[pixel][vector], block.double, Some(base), out);
        }
    }
}

macro_rules! popcount_lanes {
    ($proof:ty, $features:literal, $names:expr) => {
        impl TileKernel for PopcountLanes<$proof> {
            type Unit = u32;
            type Weight = u32;
            const CHANNELS: usize = 16;
            const VECTORS: usize = 4;
            const PIXELS: usize = 6;
            const NAMES: &'static [&'static str] = &$names;

            fn position(channel: usize) -> usize {
                channel
            }

            fn weights(words: &mut [u64], rows: &mut [u32]) {
                transpose::halves(words, rows);
            }

            fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]) {
                #[target_feature(enable = $features)]
                fn compiled<const PIXELS: usize, const VECTORS: usize>(
                    kernel: &PopcountLanes<$proof>,
                    block: &Block<'_, PopcountLanes<$proof>>,
                    windows: &[Window],
                    out: &mut [i32],
                ) {
                    let windows = windows.first_chunk().expect("chosen by their number");
                    tile::<_, _, PIXELS, VECTORS>(kernel.simd, &kernel.runs, block, windows, out);
                }
                by_tile_size!(
                    compiled(self, block, windows, out),
                    windows.len() => [1, 2, 3, 4, 5, 6],
                    block.vectors => [1, 2, 3, 4]
                );
            }
        }
    };
}

popcount_lanes!(
    Avx512Vpopcnt,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq",
    ["vpopcnt-6x1", "vpopcnt-6x2", "vpopcnt-6x3", "vpopcnt-6x4"]
);
#[cfg(test)]
popcount_lanes!(
    super::vector::EmulatedVpopcnt,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl",
    ["emulated-6x1", "emulated-6x2", "emulated-6x3", "emulated-6x4"]
);
