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
};
use crate::{ConvGeometry, features::Neon};
use std::arch::aarch64::*;

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
        Self { _proof: proof, parts: schedule(pieces, STEP) }
    }
}

/// Counts of the tile, by bytes.
type Counts<const PIXELS: usize, const VECTORS: usize> = [[uint8x16_t; VECTORS]; PIXELS];

/// Adds the mismatches of one step: `input(pixel)` is its eight bits in all bytes.
///
/// # Safety
/// `weights` are followed by `VECTORS` vectors.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_step<const PIXELS: usize, const VECTORS: usize>(
    counts: &mut Counts<PIXELS, VECTORS>,
    weights: *const u8,
    input: [uint8x16_t; PIXELS],
) {
    let mut rows = [vdupq_n_u8(0); VECTORS];
    for (vector, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller's promise; the load may be unaligned.
        *row = unsafe { vld1q_u8(weights.add(vector * CHANNELS)) };
    }
    for (counts, input) in counts.iter_mut().zip(input) {
        for (count, row) in counts.iter_mut().zip(rows) {
            *count = vaddq_u8(*count, vcntq_u8(veorq_u8(row, input)));
        }
    }
}

/// Adds the mismatches of a segment.
///
/// # Safety
/// Each input has `steps` units, and there are as many rows of `VECTORS` vectors of weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_segment<const PIXELS: usize, const VECTORS: usize>(
    counts: &mut Counts<PIXELS, VECTORS>,
    weights: &[u8],
    inputs: &[*const u8; PIXELS],
    steps: usize,
) {
    let row = VECTORS * CHANNELS;
    let mut weights = weights.as_ptr();
    let mut at = 0;
    // SAFETY: the caller's promise: eight units from `at` on, or one, lie in the inputs, and their rows in
    // the weights.
    unsafe {
        while at + UNROLLED <= steps {
            let units = inputs.map(|input| vld1_u8(input.add(at)));
            macro_rules! step {
                ($($lane:literal)+) => {
                    $(
                        let input = units.map(|units| vdupq_lane_u8::<$lane>(units));
                        add_step(counts, weights.add($lane * row), input);
                    )+
                };
            }
            step!(0 1 2 3 4 5 6 7);
            weights = weights.add(UNROLLED * row);
            at += UNROLLED;
        }
        while at < steps {
            add_step(counts, weights, inputs.map(|input| vld1q_dup_u8(input.add(at))));
            weights = weights.add(row);
            at += 1;
        }
    }
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
    let mut weights = block.weights;
    for (index, part) in kernel.parts.iter().enumerate() {
        let mut sums = [[[vdupq_n_u16(0); 2]; VECTORS]; PIXELS];
        let mut counts = [[vdupq_n_u8(0); VECTORS]; PIXELS];
        for segment in part {
            let Run { offset, steps } = segment.run;
            let inputs =
                windows.map(|window| block.map[window.map + offset..][..steps].as_ptr().cast());
            let (now, later) = weights.split_at(steps * row);
            weights = later;
            // SAFETY: the inputs have `steps` units, `now` as many rows.
            unsafe { add_segment(&mut counts, now, &inputs, steps) };
            if segment.widen {
                for (counts, sums) in counts.iter_mut().zip(&mut sums) {
                    for (count, [low, high]) in counts.iter_mut().zip(sums) {
                        *low = vaddw_u8(*low, vget_low_u8(*count));
                        *high = vaddw_high_u8(*high, *count);
                        *count = vdupq_n_u8(0);
                    }
                }
            }
        }
        for (sums, window) in sums.iter().zip(windows) {
            let out = &mut out[window.out..][..block.channels];
            let base = &block.bases[window.base..][..row];
            for (vector, sums) in sums.iter().enumerate() {
                // A block has no vector without channels.
                let first = vector * CHANNELS;
                let base = (index == 0).then(|| &base[first..]);
                emit(*sums, factor, base, &mut out[first..]);
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
    const PIXELS: usize = 4;
    const NAMES: &'static [&'static str] = &["cnt-4x1", "cnt-4x2", "cnt-4x3", "cnt-4x4"];

    fn position(channel: usize) -> usize {
        channel
    }

    fn weight(bits: u64) -> u8 {
        bits as u8
    }

    fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]) {
        by_tile_size!(
            tile(self, block, windows, out),
            windows.len() => [1, 2, 3, 4],
            block.vectors => [1, 2, 3, 4]
        );
    }
}
