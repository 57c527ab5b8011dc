//! Population counts in 32-bit lanes, one output channel per lane.
//!
//! A step broadcasts 32 bits of an input pixel and, for each vector of 16 output channels, takes the exclusive or
//! with 32 weight bits, counts the ones of each byte, and adds the four counts of a lane times -1 or -2 to its sum
//! (`vpdpbusd`). Sums start at their bases, so they end as accumulators and nothing is left to do: that is what short
//! sums, of 1x1 convolutions and of few channels, need.

use super::{
    padded_map::{PaddedMap, Run, runs},
    tiled::{Block, TileKernel, Window},
    transpose,
    vector::CountingLanes,
};
use crate::{ConvGeometry, features::Avx512Bitalg};

/// The kernel for one way of counting.
#[derive(Debug)]
pub(super) struct PopcountLanes<S> {
    simd: S,
    runs: Vec<Run>,
    /// Units from the start of a window to its end.
    reach: usize,
}

impl<S> PopcountLanes<S> {
    pub(super) fn new(simd: S, geometry: &ConvGeometry) -> Self {
        let runs = runs(geometry, &PaddedMap::new::<u32>(geometry, false));
        let reach = runs.iter().map(|run| run.offset + run.steps).max().unwrap_or(0);
        Self { simd, runs, reach }
    }
}

/// Channels of a vector.
const LANES: usize = 16;

/// Computes one tile. Inlined into one caller per instruction set.
#[inline(always)]
fn tile<S: CountingLanes, K, const PIXELS: usize, const VECTORS: usize>(
    kernel: &PopcountLanes<S>,
    block: &Block<'_, K>,
    windows: &[Window; PIXELS],
    out: &mut [i32],
) where
    K: TileKernel<Unit = u32, Weight = u32>,
{
    let simd = kernel.simd;
    let factor = simd.splat_i8(if block.double { -2 } else { -1 });
    let mut inputs = [block.map.as_ptr(); PIXELS];
    let mut sums = [[simd.zero(); VECTORS]; PIXELS];
    for (pixel, window) in windows.iter().enumerate() {
        inputs[pixel] = block.map[window.map..][..kernel.reach].as_ptr();
        let (bases, _) = block.bases[window.base..].as_chunks::<LANES>();
        for (sum, base) in sums[pixel].iter_mut().zip(&bases[..VECTORS]) {
            *sum = simd.load_i32(base);
        }
    }
    let (vectors, _) = block.weights.as_chunks::<LANES>();
    let (mut steps, _) = vectors.as_chunks::<VECTORS>();
    for run in &kernel.runs {
        let (now, later) = steps.split_at(run.steps);
        steps = later;
        for (step, weights) in now.iter().enumerate() {
            let mut factors = [simd.zero(); VECTORS];
            for (factor, weights) in factors.iter_mut().zip(weights) {
                *factor = simd.load_u32(weights);
            }
            for pixel in 0..PIXELS {
                // SAFETY: each input was cut out of the map with `reach` units, behind all steps of all runs.
                let word = simd.broadcast_u32(unsafe { *inputs[pixel].add(run.offset + step) });
                for vector in 0..VECTORS {
                    let sum = &mut sums[pixel][vector];
                    *sum = simd.count(*sum, word, factors[vector], factor);
                }
            }
        }
    }
    for (window, sums) in windows.iter().zip(&sums) {
        let out = &mut out[window.out..][..block.channels];
        let (whole, rest) = out.split_at_mut((VECTORS - 1) * LANES);
        let (whole, _) = whole.as_chunks_mut::<LANES>();
        for (out, &sum) in whole.iter_mut().zip(sums) {
            simd.store_i32(sum, out);
        }
        simd.store_first_i32(sums[VECTORS - 1], rest);
    }
}

macro_rules! popcount_lanes {
    ($proof:ty, $features:literal, $names:expr) => {
        impl TileKernel for PopcountLanes<$proof> {
            type Unit = u32;
            type Weight = u32;
            const CHANNELS: usize = LANES;
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
                    tile::<_, _, PIXELS, VECTORS>(kernel, block, windows, out);
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
    Avx512Bitalg,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512bitalg,avx512vnni",
    ["vpopcnt-6x1", "vpopcnt-6x2", "vpopcnt-6x3", "vpopcnt-6x4"]
);
#[cfg(test)]
popcount_lanes!(
    super::vector::EmulatedBitalg,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl",
    ["emulated-6x1", "emulated-6x2", "emulated-6x3", "emulated-6x4"]
);
