//! LUT4: four bits of an input pixel choose a table, which answers for many output channels at once.
//!
//! Row `v` of the table holds `popcount(v xor i)` for `i` in 0 to 15. A step broadcasts the row of one
//! input nibble and looks up one weight nibble per output channel with a byte shuffle: one shuffle and
//! one add for 4 bits of 16, 32 or 64 channels, no xor, no mask, no shift. Counts stay in bytes for up
//! to 63 steps, then go to 16 bits.

use super::{
    byte_counters::{Segment, schedule, steps_in_u8, steps_in_u16},
    padded_map::{PaddedMap, Run, Unit, runs},
    tiled::{Block, TileKernel, Window},
    transpose,
    vector::{Integers, emit},
};
use crate::{
    ConvGeometry,
    features::{Avx2, Avx512, V2},
};
use std::{hint::black_box, ptr, slice};

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

/// Tables for pairs of pixels, none of them in two cache lines.
#[repr(align(64))]
struct Pairs([[u8; 16]; 256]);

/// `PAIRS.0[v][i]` has the mismatches of `i` with the high half of `v` in its low half, those with the low half in
/// its high one.
static PAIRS: Pairs = {
    let mut rows = [[0; 16]; 256];
    let mut at = 0;
    while at < 256 * 16_usize {
        let (v, i) = (at / 16, at % 16);
        let (first, second) = ((v >> 4 ^ i).count_ones(), (v & 15 ^ i).count_ones());
        rows[v][i] = (first | second << 4) as u8;
        at += 1;
    }
    Pairs(rows)
};

/// Steps whose mismatches fit in half a byte.
const PAIR_STEPS: usize = 3;

/// What a step adds at most.
const STEP: usize = 4;

/// The LUT4 kernel for one width of vectors.
#[derive(Debug)]
pub(super) struct Lut4<S> {
    simd: S,
    /// Each part fits in 16-bit counters.
    parts: Vec<Vec<Segment>>,
    /// Units of a window, or rows of weights.
    steps: usize,
    /// Units from the start of a window to the end of its last run.
    reach: usize,
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
        Self {
            simd,
            parts: schedule(pieces, STEP),
            steps: runs.iter().map(|run| run.steps).sum(),
            reach: runs.iter().map(|run| run.offset + run.steps).max().unwrap_or(0),
        }
    }
}

/// Counts of a tile, by bytes.
type Counts<S, const PIXELS: usize, const VECTORS: usize> =
    [[<S as Integers>::Vector; VECTORS]; PIXELS];

/// Adds the mismatches of a segment. The counts go in and out by value: behind a reference the compiler
/// keeps them in memory. For the same reason there are loops here instead of `array::map`.
///
/// # Safety
/// Each input has `steps` units, and there are as many rows of `VECTORS` vectors of weights.
#[inline(always)]
unsafe fn add_segment<S: Integers, const PIXELS: usize, const VECTORS: usize>(
    simd: S,
    mut counts: Counts<S, PIXELS, VECTORS>,
    weights: *const u8,
    inputs: &[*const u8; PIXELS],
    steps: usize,
) -> Counts<S, PIXELS, VECTORS> {
    let row = VECTORS * S::BYTES;
    // A compiler that knows the address computes it anew for every table, beside the shuffles.
    let rows = black_box(&ROWS.0);
    for step in 0..steps {
        // SAFETY: the caller promises as many rows.
        let weights = unsafe { slice::from_raw_parts(weights.add(step * row), row) };
        let mut indices = [simd.zero(); VECTORS];
        for (vector, indices) in indices.iter_mut().enumerate() {
            *indices = simd.load_u8(&weights[vector * S::BYTES..]);
        }
        for pixel in 0..PIXELS {
            // SAFETY: the caller promises as many units.
            let nibble = unsafe { *inputs[pixel].add(step) };
            let table = &rows[usize::from(nibble)..];
            let table = simd.table(table.first_chunk().expect("at least 17 bytes"));
            for vector in 0..VECTORS {
                let found = simd.lookup(table, indices[vector]);
                counts[pixel][vector] = simd.add_u8(counts[pixel][vector], found);
            }
        }
    }
    counts
}

/// As [`add_segment`], for pairs of pixels: inputs of every second one say where those of both are.
///
/// # Safety
/// As for [`add_segment`].
#[inline(always)]
unsafe fn add_segment_of_pairs<S: Integers, const PIXELS: usize, const VECTORS: usize>(
    simd: S,
    mut counts: Counts<S, PIXELS, VECTORS>,
    weights: *const u8,
    inputs: &[*const u8; PIXELS],
    steps: usize,
) -> Counts<S, PIXELS, VECTORS> {
    let tables = black_box(&PAIRS.0);
    let row = VECTORS * S::BYTES;
    let mut step = 0;
    while step + PAIR_STEPS <= steps {
        // SAFETY: the caller promises that many steps.
        unsafe {
            let weights = weights.add(step * row);
            counts = add_pairs::<_, PAIR_STEPS, _, _>(simd, counts, weights, inputs, step, tables);
        }
        step += PAIR_STEPS;
    }
    while step < steps {
        // SAFETY: as above.
        unsafe {
            let weights = weights.add(step * row);
            counts = add_pairs::<_, 1, _, _>(simd, counts, weights, inputs, step, tables);
        }
        step += 1;
    }
    counts
}

/// Adds the mismatches of `STEPS` steps from `step` on, at most [`PAIR_STEPS`].
///
/// # Safety
/// Each input has units for these steps, and `weights` has as many rows of `VECTORS` vectors.
#[inline(always)]
unsafe fn add_pairs<S: Integers, const STEPS: usize, const PIXELS: usize, const VECTORS: usize>(
    simd: S,
    mut counts: Counts<S, PIXELS, VECTORS>,
    weights: *const u8,
    inputs: &[*const u8; PIXELS],
    step: usize,
    tables: &[[u8; 16]; 256],
) -> Counts<S, PIXELS, VECTORS> {
    let row = VECTORS * S::BYTES;
    // SAFETY: the caller promises as many rows.
    let weights = unsafe { slice::from_raw_parts(weights, STEPS * row) };
    for pixel in (0..PIXELS).step_by(2) {
        // The counts of a pixel and its neighbour, in half a byte each.
        let mut halves = [simd.zero(); VECTORS];
        for index in 0..STEPS {
            // SAFETY: the caller promises as many units.
            let pair = unsafe { *inputs[pixel].add(step + index) };
            let table = simd.table(&tables[usize::from(pair)]);
            for vector in 0..VECTORS {
                let indices = simd.load_u8(&weights[index * row + vector * S::BYTES..]);
                let found = simd.lookup(table, indices);
                halves[vector] =
                    if index == 0 { found } else { simd.add_u8(halves[vector], found) };
            }
        }
        for vector in 0..VECTORS {
            let [low, high] = simd.halves(halves[vector]);
            counts[pixel][vector] = simd.add_u8(counts[pixel][vector], low);
            counts[pixel + 1][vector] = simd.add_u8(counts[pixel + 1][vector], high);
        }
    }
    counts
}

/// Computes one tile. Inlined into one caller per instruction set.
#[inline(always)]
fn tile<S: Integers, const PIXELS: usize, const VECTORS: usize, K>(
    kernel: &Lut4<S>,
    block: &Block<'_, K>,
    windows: &[Window; PIXELS],
    out: &mut [i32],
) where
    K: TileKernel<Unit = u8, Weight = u8>,
{
    let simd = kernel.simd;
    let row = VECTORS * S::BYTES;
    let mut inputs = [ptr::null(); PIXELS];
    for (input, window) in inputs.iter_mut().zip(windows) {
        *input = block.map[window.map..][..kernel.reach].as_ptr();
    }
    let mut weights = block.weights[..kernel.steps * row].as_ptr();
    for (index, part) in kernel.parts.iter().enumerate() {
        // Sums of pairs of bytes that are taken as 16 bits, and of their second bytes. They do not fit into the
        // registers beside the counts, and a compiler that is not told keeps each of them in two places.
        let mut sums = [[[simd.zero(); 2]; VECTORS]; PIXELS];
        let sums = black_box(&mut sums);
        let mut counts = [[simd.zero(); VECTORS]; PIXELS];
        for segment in part {
            let Run { offset, steps } = segment.run;
            // SAFETY: every run ends within `reach`, the length of each input, and all of them together have
            // as many steps as there are rows of weights.
            unsafe {
                let mut inputs = inputs;
                for input in &mut inputs {
                    *input = input.add(offset);
                }
                counts = if K::GROUP == 2 {
                    add_segment_of_pairs(simd, counts, weights, &inputs, steps)
                } else {
                    add_segment(simd, counts, weights, &inputs, steps)
                };
                weights = weights.add(steps * row);
            }
            if segment.widen {
                for pixel in 0..PIXELS {
                    for vector in 0..VECTORS {
                        let count = counts[pixel][vector];
                        let [pairs, seconds] = &mut sums[pixel][vector];
                        *pairs = simd.add_u16(*pairs, count);
                        *seconds = simd.add_u16(*seconds, simd.high_u8(count));
                        counts[pixel][vector] = simd.zero();
                    }
                }
            }
        }
        // With arguments that the compiler knows the common cases lose their branches.
        let Block { bases, channels, double, .. } = *block;
        match (index == 0 && channels == row, double) {
            (true, true) => emit_tile(simd, sums, bases, (row, true, true), windows, out),
            (true, false) => emit_tile(simd, sums, bases, (row, false, true), windows, out),
            (false, _) => {
                emit_tile(simd, sums, bases, (channels, double, index == 0), windows, out);
            }
        }
    }
}

/// 16-bit sums of a tile: of pairs of bytes, and of the second bytes.
type Sums<S, const PIXELS: usize, const VECTORS: usize> =
    [[[<S as Integers>::Vector; 2]; VECTORS]; PIXELS];

/// Writes the accumulators of a tile: `base - 2 m` (`double`) or `base - m`. Of the last vector some `channels` may be
/// missing; what is not the first part is subtracted from the accumulators that are there already.
#[inline(always)]
fn emit_tile<S: Integers, const PIXELS: usize, const VECTORS: usize>(
    simd: S,
    sums: &Sums<S, PIXELS, VECTORS>,
    bases: &[i32],
    (channels, double, is_first): (usize, bool, bool),
    windows: &[Window; PIXELS],
    out: &mut [i32],
) {
    for (sums, window) in sums.iter().zip(windows) {
        let out = &mut out[window.out..][..channels];
        let bases = &bases[window.base..][..VECTORS * S::BYTES];
        for (vector, &[pairs, seconds]) in sums.iter().enumerate() {
            for (quarter, mismatches) in simd.widen(pairs, seconds).into_iter().enumerate() {
                let first = vector * S::BYTES + quarter * S::BYTES / 4;
                if first < channels {
                    let base = if is_first { Some(&bases[first..]) } else { None };
                    emit(simd, mismatches, double, base, &mut out[first..]);
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

            /// Each quarter of the channels is one of the four bytes of all 32-bit lanes.
            fn position(channel: usize) -> usize {
                channel % ($bytes / 4) * 4 + channel / ($bytes / 4)
            }

            fn weights(words: &mut [u64], rows: &mut [u8]) {
                transpose::nibbles(words, rows);
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
                    tile::<_, PIXELS, VECTORS, _>(kernel, block, windows, out);
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

/// The kernel that takes two pixels at a time, for layers of which all sums fit into one part: pixels at the end of a row
/// may be computed twice.
#[derive(Debug)]
pub(super) struct Lut4Pairs<S>(Lut4<S>);

impl<S> Lut4Pairs<S> {
    /// Whether there are pairs, and no more than one part. A step counts as four products, however few channels are left
    /// for it.
    pub(super) fn fits(geometry: &ConvGeometry) -> bool {
        let channels = geometry.in_channels / geometry.groups;
        let steps = geometry.kernel[0] * geometry.kernel[1] * channels.div_ceil(<u8 as Unit>::BITS);
        geometry.output()[1] > 1 && steps <= steps_in_u16(STEP)
    }

    pub(super) fn new(simd: S, geometry: &ConvGeometry) -> Self {
        let kernel = Lut4::new(simd, geometry);
        debug_assert_eq!(kernel.parts.len(), 1);
        Self(kernel)
    }
}

/// A unit has its four bits in the high half of a byte; those of the neighbour go into the low one.
fn join(row: &mut [u8], distance: usize) {
    let count = row.len().saturating_sub(distance);
    // What lies further on is as it was until its turn comes.
    let mut at = 0;
    while at + 8 <= count {
        let load = |from: usize| -> [u8; 8] {
            *row[from..].first_chunk().expect("`count` and the distance end with the row")
        };
        let next = u64::from_ne_bytes(load(at + distance)) >> 4 & 0x0f0f_0f0f_0f0f_0f0f;
        let joined = u64::from_ne_bytes(load(at)) | next;
        row[at..at + 8].copy_from_slice(&joined.to_ne_bytes());
        at += 8;
    }
    for at in at..count {
        row[at] |= row[at + distance] >> 4;
    }
}

macro_rules! lut4_pairs {
    ($proof:ty, $features:literal, $bytes:literal, $names:expr) => {
        impl TileKernel for Lut4Pairs<$proof> {
            type Unit = u8;
            type Weight = u8;
            const CHANNELS: usize = $bytes;
            const VECTORS: usize = 2;
            const PIXELS: usize = 4;
            const GROUP: usize = 2;
            const NAMES: &'static [&'static str] = &$names;

            fn position(channel: usize) -> usize {
                Lut4::<$proof>::position(channel)
            }

            fn weights(words: &mut [u64], rows: &mut [u8]) {
                Lut4::<$proof>::weights(words, rows);
            }

            fn join(row: &mut [u8], distance: usize) {
                join(row, distance);
            }

            fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]) {
                #[target_feature(enable = $features)]
                fn compiled<const PIXELS: usize, const VECTORS: usize>(
                    kernel: &Lut4<$proof>,
                    block: &Block<'_, Lut4Pairs<$proof>>,
                    windows: &[Window],
                    out: &mut [i32],
                ) {
                    let windows = windows.first_chunk().expect("chosen by their number");
                    tile::<_, PIXELS, VECTORS, _>(kernel, block, windows, out);
                }
                by_tile_size!(
                    compiled(&self.0, block, windows, out),
                    windows.len() => [2, 4],
                    block.vectors => [1, 2]
                );
            }
        }
    };
}

lut4_pairs!(V2, "ssse3,sse4.1,popcnt", 16, ["lut4-v2-pairs-4x1", "lut4-v2-pairs-4x2"]);
lut4_pairs!(Avx2, "avx2,popcnt", 32, ["lut4-avx2-pairs-4x1", "lut4-avx2-pairs-4x2"]);

lut4!(V2, "ssse3,sse4.1,popcnt", 16, [1, 2, 3, 4, 5, 6], ["lut4-v2-6x1", "lut4-v2-6x2"]);
lut4!(Avx2, "avx2,popcnt", 32, [1, 2, 3, 4, 5, 6], ["lut4-avx2-6x1", "lut4-avx2-6x2"]);
lut4!(
    Avx512,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl",
    64,
    [1, 2, 3, 4, 5, 6, 7, 8],
    ["lut4-avx512-8x1", "lut4-avx512-8x2"]
);
