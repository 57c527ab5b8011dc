//! LUT4: four bits of an input pixel choose a table, which answers for many output channels at once.
//!
//! Row `v` of the table holds `popcount(v xor i)` for `i` in 0 to 15. A step broadcasts the row of one
//! input nibble and looks up one weight nibble per output channel with a byte shuffle: one shuffle and
//! one add for 4 bits of 16, 32 or 64 channels, no xor, no mask, no shift. Counts stay in bytes for up
//! to 63 steps, then go to 16 bits.

use super::{
    byte_counters::{Segment, schedule, steps_in_u8},
    padded_map::{PaddedMap, Run, runs},
    tiled::{Block, TileKernel, Window},
    vector::{Integers, emit},
};
use crate::{
    ConvGeometry,
    features::{Avx2, Avx512, V2},
};

/// `ROWS[16 v + i] = popcount(v ^ i)`. Padded by a row, so that 16 bytes can be read at any offset
/// that fits in a byte.
#[repr(align(64))]
struct Rows([u8; 17 * 16]);

static ROWS: Rows = {
    let mut rows = [0; 17 * 16];
    let mut at = 0;
    while at < 256 {
        rows[at] = ((at / 16) ^ (at % 16)).count_ones() as u8;
        at += 1;
    }
    Rows(rows)
};

/// What a step adds at most.
const STEP: usize = 4;

/// The LUT4 kernel for one width of vectors.
#[derive(Debug)]
pub(super) struct Lut4<S> {
    simd: S,
    /// Each part fits in 16-bit counters.
    parts: Vec<Vec<Segment>>,
}

impl<S> Lut4<S> {
    pub(super) fn new(simd: S, geometry: &ConvGeometry) -> Self {
        let runs = runs(geometry, &PaddedMap::new::<u8>(geometry, false));
        // Pieces as equal as can be: what is emptied costs the same however little is in it.
        let pieces = runs.iter().flat_map(|run| {
            let count = run.steps.div_ceil(steps_in_u8(STEP));
            (0..count).map(move |piece| {
                let (start, end) = (piece * run.steps / count, (piece + 1) * run.steps / count);
                Run { offset: run.offset + start, steps: end - start }
            })
        });
        Self { simd, parts: schedule(pieces, STEP) }
    }
}

/// Computes one tile. Inlined into one caller per instruction set.
#[inline(always)]
fn tile<S: Integers, K, const PIXELS: usize, const VECTORS: usize>(
    simd: S,
    parts: &[Vec<Segment>],
    block: &Block<'_, K>,
    windows: &[Window; PIXELS],
    out: &mut [i32],
) where
    K: TileKernel<Unit = u8, Weight = u8>,
{
    let row = VECTORS * S::BYTES;
    let mut weights = block.weights;
    for (index, part) in parts.iter().enumerate() {
        let mut even = [[simd.zero(); VECTORS]; PIXELS];
        let mut odd = [[simd.zero(); VECTORS]; PIXELS];
        let mut counts = [[simd.zero(); VECTORS]; PIXELS];
        for segment in part {
            let Run { offset, steps } = segment.run;
            let inputs = windows.map(|window| &block.map[window.map + offset..][..steps]);
            let (now, later) = weights.split_at(steps * row);
            weights = later;
            for (step, row) in now.chunks_exact(row).enumerate() {
                let mut indices = [simd.zero(); VECTORS];
                for (vector, indices) in indices.iter_mut().enumerate() {
                    *indices = simd.load_u8(&row[vector * S::BYTES..]);
                }
                for pixel in 0..PIXELS {
                    // SAFETY: `now` holds `steps` rows, so `step < steps`, the length of each input.
                    let nibble = unsafe { *inputs[pixel].get_unchecked(step) };
                    let table = &ROWS.0[usize::from(nibble)..];
                    let table = simd.table(table.first_chunk().expect("at least 17 bytes"));
                    for vector in 0..VECTORS {
                        let found = simd.lookup(table, indices[vector]);
                        counts[pixel][vector] = simd.add_u8(counts[pixel][vector], found);
                    }
                }
            }
            if segment.widen {
                for pixel in 0..PIXELS {
                    for vector in 0..VECTORS {
                        let count = counts[pixel][vector];
                        even[pixel][vector] =
                            simd.add_u16(even[pixel][vector], simd.even_u8(count));
                        odd[pixel][vector] = simd.add_u16(odd[pixel][vector], simd.odd_u8(count));
                        counts[pixel][vector] = simd.zero();
                    }
                }
            }
        }
        for (pixel, window) in windows.iter().enumerate() {
            let out = &mut out[window.out..][..block.channels];
            let base = &block.bases[window.base..][..row];
            for vector in 0..VECTORS {
                let [a, b] = simd.widen_u16(even[pixel][vector]);
                let [c, d] = simd.widen_u16(odd[pixel][vector]);
                for (quarter, mismatches) in [a, b, c, d].into_iter().enumerate() {
                    let first = vector * S::BYTES + quarter * S::BYTES / 4;
                    if first < block.channels {
                        let base = (index == 0).then(|| &base[first..]);
                        emit(simd, mismatches, block.double, base, &mut out[first..]);
                    }
                }
            }
        }
    }
}

macro_rules! lut4 {
    ($proof:ty, $features:literal, $bytes:literal, $pixels:tt, $names:expr) => {
        impl TileKernel for Lut4<$proof> {
            type Unit = u8;
            type Weight = u8;
            const CHANNELS: usize = $bytes;
            const VECTORS: usize = 2;
            const PIXELS: usize = <[usize]>::len(&$pixels);
            const NAMES: &'static [&'static str] = &$names;

            /// Counters are widened by even and odd bytes; this way the even ones are the first half.
            fn position(channel: usize) -> usize {
                channel % ($bytes / 2) * 2 + channel / ($bytes / 2)
            }

            fn weight(bits: u64) -> u8 {
                bits as u8
            }

            fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]) {
                #[target_feature(enable = $features)]
                fn compiled<const PIXELS: usize, const VECTORS: usize>(
                    kernel: &Lut4<$proof>,
                    block: &Block<'_, Lut4<$proof>>,
                    windows: &[Window],
                    out: &mut [i32],
                ) {
                    let windows = windows.first_chunk().expect("chosen by their number");
                    tile::<_, _, PIXELS, VECTORS>(kernel.simd, &kernel.parts, block, windows, out);
                }
                by_tile_size!(
                    compiled(self, block, windows, out),
                    windows.len() => $pixels,
                    block.vectors => [1, 2]
                );
            }
        }
    };
}

lut4!(V2, "ssse3,sse4.1,popcnt", 16, [1, 2, 3, 4, 5, 6], ["lut4-v2-6x1", "lut4-v2-6x2"]);
lut4!(Avx2, "avx2,popcnt", 32, [1, 2, 3, 4, 5, 6], ["lut4-avx2-6x1", "lut4-avx2-6x2"]);
lut4!(
    Avx512,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl",
    64,
    [1, 2, 3, 4, 5, 6, 7, 8],
    ["lut4-avx512-8x1", "lut4-avx512-8x2"]
);
