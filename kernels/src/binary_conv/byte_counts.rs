//! Population counts of bytes on 64-bit Arm, one output channel per byte.
//!
//! Sixteen output channels stand in the bytes of a vector. A step broadcasts eight bits of an input pixel
//! to all bytes, takes the exclusive or with eight weight bits of each channel (`eor`), counts the ones
//! of each byte (`cnt`) and adds them (`add`): three instructions for 128 products, with nothing to add
//! up across a vector at the end. A byte holds the sums of 31 steps; then they go to 16 bits (`uaddw`).
//!
//! Full adders over words, as `carry_save` has them, save nothing here: without three-input logic an
//! adder takes as many instructions as the counts that it replaces.

use super::{
    byte_counters::{Segment, schedule, steps_in_u8},
    padded_map::{PaddedMap, Run, runs},
    tiled::{Block, TileKernel, Window},
    transpose,
};
use crate::{ConvGeometry, features::Neon};
use std::{
    arch::{aarch64::*, asm},
    ptr,
};

/// Output channels of a vector.
const CHANNELS: usize = 16;
/// What a step adds at most.
const STEP: usize = 8;
/// Steps that are unrolled: their input is one load of eight bytes.
const UNROLLED: usize = 8;
/// Steps of a piece: as many as fit in byte counters, in whole unrolled turns.
const PIECE: usize = steps_in_u8(STEP) / UNROLLED * UNROLLED;

/// The kernel of byte counts.
#[derive(Debug)]
pub(super) struct ByteCounts {
    /// Of the processor.
    _proof: Neon,
    /// Each part fits in 16-bit counters.
    parts: Vec<Vec<Segment>>,
    /// Units of a window, or rows of weights.
    steps: usize,
    /// Units from the start of a window to the end of its last run.
    reach: usize,
}

impl ByteCounts {
    pub(super) fn new(proof: Neon, geometry: &ConvGeometry) -> Self {
        let runs = runs(geometry, &PaddedMap::new::<[u8; 1]>(geometry, false));
        let pieces = runs.iter().flat_map(|run| {
            (0..run.steps).step_by(PIECE).map(|start| Run {
                offset: run.offset + start,
                steps: PIECE.min(run.steps - start),
            })
        });
        Self {
            _proof: proof,
            parts: schedule(pieces, STEP),
            steps: runs.iter().map(|run| run.steps).sum(),
            reach: runs.iter().map(|run| run.offset + run.steps).max().unwrap_or(0),
        }
    }
}

/// Counts of the tile, by bytes.
type Counts<const PIXELS: usize, const VECTORS: usize> = [[uint8x16_t; VECTORS]; PIXELS];

/// Adds the mismatches of one step: `inputs[pixel]` is its eight bits in all bytes.
///
/// # Safety
/// The processor has NEON; at `weights` there are `VECTORS` vectors.
#[inline(always)]
unsafe fn add_step<const PIXELS: usize, const VECTORS: usize>(
    counts: &mut Counts<PIXELS, VECTORS>,
    weights: *const u8,
    inputs: &[uint8x16_t; PIXELS],
) {
    // SAFETY: the caller's promises; the loads may be unaligned.
    unsafe {
        let mut rows = [vdupq_n_u8(0); VECTORS];
        for (vector, row) in rows.iter_mut().enumerate() {
            *row = vld1q_u8(weights.add(vector * CHANNELS));
        }
        for pixel in 0..PIXELS {
            for vector in 0..VECTORS {
                let ones = vcntq_u8(veorq_u8(rows[vector], inputs[pixel]));
                counts[pixel][vector] = vaddq_u8(counts[pixel][vector], ones);
                // No instruction, but here the sum must be in a register: left alone, the compiler adds the
                // ones of several steps first, and has too few registers for them.
                let count = &mut counts[pixel][vector];
                asm!("/* {:v} */", inout(vreg) * count, options(nomem, nostack, preserves_flags));
            }
        }
    }
}

/// Adds the mismatches of a segment. The counts go in and out by value: behind a reference the compiler
/// keeps them in memory. For the same reason there are loops here instead of `array::map`.
///
/// # Safety
/// The processor has NEON; each input has `steps` units, and there are as many rows of `VECTORS` vectors of
/// weights.
#[inline(always)]
unsafe fn add_segment<const PIXELS: usize, const VECTORS: usize>(
    mut counts: Counts<PIXELS, VECTORS>,
    mut weights: *const u8,
    inputs: &[*const u8; PIXELS],
    steps: usize,
) -> Counts<PIXELS, VECTORS> {
    let row = VECTORS * CHANNELS;
    let mut at = 0;
    // SAFETY: the caller's promises: eight units from `at` on, or one, lie in the inputs, and their rows in
    // the weights.
    unsafe {
        while at + UNROLLED <= steps {
            let mut units = [vdup_n_u8(0); PIXELS];
            for pixel in 0..PIXELS {
                units[pixel] = vld1_u8(inputs[pixel].add(at));
            }
            macro_rules! step {
                ($($lane:literal)+) => {
                    $(
                        let mut step = [vdupq_n_u8(0); PIXELS];
                        for pixel in 0..PIXELS {
                            step[pixel] = vdupq_lane_u8::<$lane>(units[pixel]);
                        }
                        add_step(&mut counts, weights.add($lane * row), &step);
                    )+
                };
            }
            step!(0 1 2 3 4 5 6 7);
            weights = weights.add(UNROLLED * row);
            at += UNROLLED;
        }
        while at < steps {
            let mut step = [vdupq_n_u8(0); PIXELS];
            for pixel in 0..PIXELS {
                step[pixel] = vld1q_dup_u8(inputs[pixel].add(at));
            }
            add_step(&mut counts, weights, &step);
            weights = weights.add(row);
            at += 1;
        }
    }
    counts
}

/// Computes one tile.
#[target_feature(enable = "neon")]
fn tile<const PIXELS: usize, const VECTORS: usize>(
    kernel: &ByteCounts,
    block: &Block<'_, ByteCounts>,
    windows: &[Window],
    out: &mut [i32],
) {
    let windows: &[Window; PIXELS] = windows.first_chunk().expect("chosen by their number");
    let row = VECTORS * CHANNELS;
    let factor = vdup_n_u16(if block.double { 2 } else { 1 });
    let mut inputs = [ptr::null(); PIXELS];
    for (input, window) in inputs.iter_mut().zip(windows) {
        *input = block.map[window.map..][..kernel.reach].as_ptr().cast::<u8>();
    }
    let mut weights = block.weights[..kernel.steps * row].as_ptr();
    for (index, part) in kernel.parts.iter().enumerate() {
        let mut sums = [[[vdupq_n_u16(0); 2]; VECTORS]; PIXELS];
        let mut counts = [[vdupq_n_u8(0); VECTORS]; PIXELS];
        for segment in part {
            let Run { offset, steps } = segment.run;
            // SAFETY: this function has NEON. Every run ends within `reach`, the length of each input, and
            // all of them together have as many steps as there are rows of weights.
            unsafe {
                let mut inputs = inputs;
                for input in &mut inputs {
                    *input = input.add(offset);
                }
                counts = add_segment(counts, weights, &inputs, steps);
                weights = weights.add(steps * row);
            }
            if segment.widen {
                for pixel in 0..PIXELS {
                    for vector in 0..VECTORS {
                        let count = counts[pixel][vector];
                        let [low, high] = sums[pixel][vector];
                        sums[pixel][vector] =
                            [vaddw_u8(low, vget_low_u8(count)), vaddw_high_u8(high, count)];
                        counts[pixel][vector] = vdupq_n_u8(0);
                    }
                }
            }
        }
        for pixel in 0..PIXELS {
            let out = &mut out[windows[pixel].out..][..block.channels];
            let base = &block.bases[windows[pixel].base..][..row];
            for vector in 0..VECTORS {
                // A block has no vector without channels.
                let first = vector * CHANNELS;
                let base = (index == 0).then(|| &base[first..]);
                emit(sums[pixel][vector], factor, base, &mut out[first..]);
            }
        }
    }
}

/// Turns the mismatches of sixteen channels into accumulators: `base - factor * m`, where without a base
/// the accumulators that are there already are used. `out` may be shorter: the last channels are then
/// padding.
#[inline]
#[target_feature(enable = "neon")]
fn emit([low, high]: [uint16x8_t; 2], factor: uint16x4_t, base: Option<&[i32]>, out: &mut [i32]) {
    if let Some(out) = out.first_chunk_mut::<CHANNELS>() {
        let base = base.map_or(&*out, |base| base.first_chunk().expect("a base for each channel"));
        *out = subtract(base, [low, high], factor);
        return;
    }
    let mut whole = [0; CHANNELS];
    match base {
        Some(base) => whole.copy_from_slice(&base[..CHANNELS]),
        None => whole[..out.len()].copy_from_slice(out),
    }
    whole = subtract(&whole, [low, high], factor);
    out.copy_from_slice(&whole[..out.len()]);
}

/// `base - factor * m` of sixteen channels; wrapping, as accumulators are where a base does not fit.
#[inline]
#[target_feature(enable = "neon")]
fn subtract(
    base: &[i32; CHANNELS],
    [low, high]: [uint16x8_t; 2],
    factor: uint16x4_t,
) -> [i32; CHANNELS] {
    let mut result = [0; CHANNELS];
    let parts = [vget_low_u16(low), vget_high_u16(low), vget_low_u16(high), vget_high_u16(high)];
    for (part, mismatches) in parts.into_iter().enumerate() {
        // SAFETY: both have four integers from `4 * part` on; load and store may be unaligned.
        unsafe {
            let base = vreinterpretq_u32_s32(vld1q_s32(base.as_ptr().add(4 * part)));
            let accumulators = vreinterpretq_s32_u32(vmlsl_u16(base, mismatches, factor));
            vst1q_s32(result.as_mut_ptr().add(4 * part), accumulators);
        }
    }
    result
}

impl TileKernel for ByteCounts {
    type Unit = [u8; 1];
    type Weight = u8;
    const CHANNELS: usize = CHANNELS;
    const VECTORS: usize = 4;
    const PIXELS: usize = 3;
    const NAMES: &'static [&'static str] = &["cnt-3x1", "cnt-3x2", "cnt-3x3", "cnt-3x4"];

    fn position(channel: usize) -> usize {
        channel
    }

    fn weights(words: &mut [u64], rows: &mut [u8]) {
        transpose::bytes(words, rows);
    }

    fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]) {
        by_tile_size!(
            tile(self, block, windows, out),
            windows.len() => [1, 2, 3],
            block.vectors => [1, 2, 3, 4]
        );
    }
}
