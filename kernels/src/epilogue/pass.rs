//! Passes of one operation, and the reading and writing of chunks of a map.

use super::{CombineOp, fused::Constant};
use crate::simd::{Lanes, vectorised};

/// Values that go through registers together: as many as a word has bits.
pub(super) const CHUNK: usize = 64;

/// A map as a stream of values, with the constants that belong to its channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map<'a> {
    pub(super) channels: usize,
    /// Values after which the constants start again: a multiple of the channels.
    pub(super) period: usize,
    /// Each constant takes whole chunks, enough for a period.
    pub(super) constants: &'a [f32],
}

/// An operation that is a pass of its own.
#[derive(Debug)]
pub(super) enum Op {
    SubtractFrom(Constant),
    Divide(Constant),
    DivideInto(Constant),
    Minimum(Constant),
    Maximum(Constant),
    /// `x >= p ? x - p : x`.
    Wrap(Constant),
    /// `x >= 0 ? p * x : q * x`.
    TwoSlope(Constant, Constant),
    Step {
        at_least: bool,
        low: f32,
        high: f32,
    },
    Negate,
    Absolute,
    Floor,
    Ceil,
    Round,
    Sqrt,
    Reciprocal,
    Sign,
    Combine {
        op: CombineOp,
        operand: usize,
        broadcast: bool,
    },
}

vectorised! {
    /// Applies an operation to values that start at a pixel. The operand is as long as the values, or,
    /// where it is broadcast, as a pixel, which then is the period.
    pub(super) unsafe fn run_on(map: Map<'_>, op: &Op, values: &mut [f32], operand: &[f32]) = run;
}

/// # Safety
/// The processor has the features of the vectors; see [`run_on`].
#[inline(always)]
unsafe fn run<V: Lanes>(map: Map<'_>, op: &Op, values: &mut [f32], operand: &[f32]) {
    let broadcast = matches!(op, Op::Combine { broadcast: true, .. });
    for (index, values) in values.chunks_mut(map.period).enumerate() {
        let operand =
            if broadcast || operand.is_empty() { operand } else { &operand[index * map.period..] };
        for offset in (0..values.len()).step_by(V::LANES) {
            let count = V::LANES.min(values.len() - offset);
            // SAFETY: `count` values are left, of the operand too; constants are as long as the
            // period, in whole chunks.
            unsafe {
                let at = values.as_mut_ptr().add(offset);
                let x = V::load_first(at, count);
                let y = match op {
                    Op::Combine { .. } => V::load_first(operand.as_ptr().add(offset), count),
                    _ => x,
                };
                apply(map, op, offset, x, y).store_first(at, count);
            }
        }
    }
}

/// Applies an operation to one vector.
///
/// # Safety
/// The processor has the features of the vectors; `offset` is below the period of the map, to which
/// the constants belong.
#[inline(always)]
unsafe fn apply<V: Lanes>(map: Map<'_>, op: &Op, offset: usize, x: V, y: V) -> V {
    // SAFETY: the promises of the caller.
    unsafe {
        let constant = |start: &Constant| V::load(map.constants[start + offset..].as_ptr());
        let zero = V::splat(0.0);
        match op {
            Op::SubtractFrom(p) => constant(p).sub(x),
            Op::Divide(p) => x.div(constant(p)),
            Op::DivideInto(p) => constant(p).div(x),
            Op::Minimum(p) => x.minimum(constant(p)),
            Op::Maximum(p) => x.maximum(constant(p)),
            Op::Wrap(p) => x.select_ge(constant(p), x.sub(constant(p)), x),
            Op::TwoSlope(p, q) => x.select_ge(zero, constant(p).mul(x), constant(q).mul(x)),
            Op::Step { at_least: true, low, high } => {
                x.select_ge(zero, V::splat(*high), V::splat(*low))
            }
            Op::Step { low, high, .. } => x.select_gt(zero, V::splat(*high), V::splat(*low)),
            Op::Negate => x.neg(),
            Op::Absolute => x.abs(),
            Op::Floor => x.floor(),
            Op::Ceil => x.ceil(),
            Op::Round => x.round_ties_even(),
            Op::Sqrt => x.sqrt(),
            Op::Reciprocal => V::splat(1.0).div(x),
            Op::Sign => {
                let negative = zero.select_gt(x, V::splat(-1.0), zero);
                x.select_gt(zero, V::splat(1.0), negative)
            }
            Op::Combine { op, .. } => match op {
                CombineOp::Add => x.add(y),
                CombineOp::Subtract => x.sub(y),
                CombineOp::SubtractFrom => y.sub(x),
                CombineOp::Multiply => x.mul(y),
                CombineOp::Divide => x.div(y),
                CombineOp::DivideInto => y.div(x),
                CombineOp::Minimum => x.minimum(y),
                CombineOp::Maximum => x.maximum(y),
            },
        }
    }
}
