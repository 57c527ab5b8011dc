//! The operations one after the other, in plain Rust: what every other path must give.

use super::{ChannelOp, CombineOp, EpilogueOp, Operand, OutputSlice, UnaryFunction};
use crate::{Isa, bits::pack_f32};

/// Floats of a block that passes through all operations before the next one: well within the first
/// level cache, with operands and outputs beside it.
const BLOCK: usize = 2048;

/// See [`Epilogue::run`](super::Epilogue::run), which has checked the lengths.
pub(super) fn run(
    ops: &[EpilogueOp],
    channels: usize,
    values: &mut [f32],
    operands: &[Operand<'_>],
    outputs: &mut [OutputSlice<'_>],
) {
    let block = (BLOCK / channels).max(1) * channels;
    let words = crate::words_per_pixel(channels);
    for (index, values) in values.chunks_mut(block).enumerate() {
        let start = index * block;
        let span = start..start + values.len();
        for op in ops {
            match op {
                EpilogueOp::Channel(op) => apply(op, values, channels),
                EpilogueOp::Combine { op, operand, broadcast } => {
                    let operand = operands[*operand].slice(outputs);
                    if *broadcast {
                        for pixel in values.chunks_exact_mut(channels) {
                            combine(*op, pixel, operand);
                        }
                    } else {
                        combine(*op, values, &operand[span.clone()]);
                    }
                }
                EpilogueOp::Store { output } => {
                    if let OutputSlice::F32(out) = &mut outputs[*output] {
                        out[span.clone()].copy_from_slice(values);
                    }
                }
                EpilogueOp::StoreBits { thresholds, flip, output } => {
                    if let OutputSlice::Bits(out) = &mut outputs[*output] {
                        let pixels = span.start / channels..span.end / channels;
                        let out = &mut out[pixels.start * words..pixels.end * words];
                        pack_f32(Isa::Scalar, values, channels, thresholds, flip.as_deref(), out);
                    }
                }
            }
        }
    }
}

/// `x = f(x, y)` for pairs of equal place.
fn each(values: &mut [f32], others: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (x, &y) in values.iter_mut().zip(others) {
        *x = f(*x, y);
    }
}

/// `x = f(x, p)` with one constant, or one per channel.
fn each_channel(
    values: &mut [f32],
    channels: usize,
    constants: &[f32],
    f: impl Fn(f32, f32) -> f32,
) {
    if let [p] = *constants {
        values.iter_mut().for_each(|x| *x = f(*x, p));
    } else {
        for pixel in values.chunks_exact_mut(channels) {
            each(pixel, constants, &f);
        }
    }
}

fn combine(op: CombineOp, values: &mut [f32], operand: &[f32]) {
    match op {
        CombineOp::Add => each(values, operand, |x, y| x + y),
        CombineOp::Subtract => each(values, operand, |x, y| x - y),
        CombineOp::SubtractFrom => each(values, operand, |x, y| y - x),
        CombineOp::Multiply => each(values, operand, |x, y| x * y),
        CombineOp::Divide => each(values, operand, |x, y| x / y),
        CombineOp::DivideInto => each(values, operand, |x, y| y / x),
        CombineOp::Minimum => each(values, operand, minimum),
        CombineOp::Maximum => each(values, operand, maximum),
    }
}

/// Applies one operation to whole pixels.
pub(super) fn apply(op: &ChannelOp, values: &mut [f32], channels: usize) {
    match op {
        ChannelOp::Add(p) => each_channel(values, channels, p, |x, p| x + p),
        ChannelOp::Subtract(p) => each_channel(values, channels, p, |x, p| x - p),
        ChannelOp::SubtractFrom(p) => each_channel(values, channels, p, |x, p| p - x),
        ChannelOp::Multiply(p) => each_channel(values, channels, p, |x, p| x * p),
        ChannelOp::Divide(p) => each_channel(values, channels, p, |x, p| x / p),
        ChannelOp::DivideInto(p) => each_channel(values, channels, p, |x, p| p / x),
        ChannelOp::Minimum(p) => each_channel(values, channels, p, minimum),
        ChannelOp::Maximum(p) => each_channel(values, channels, p, maximum),
        ChannelOp::Wrap(p) => {
            each_channel(values, channels, p, |x, p| if x >= p { x - p } else { x });
        }
        ChannelOp::TwoSlope { positive, negative } => {
            let at = |p: &[f32], channel: usize| if p.len() == 1 { p[0] } else { p[channel] };
            for pixel in values.chunks_exact_mut(channels) {
                for (channel, x) in pixel.iter_mut().enumerate() {
                    if *x >= 0.0 {
                        if let Some(positive) = positive {
                            *x *= at(positive, channel);
                        }
                    } else {
                        *x *= at(negative, channel);
                    }
                }
            }
        }
        ChannelOp::Step { at_least, low, high } => {
            for x in values {
                let holds = if *at_least { *x >= 0.0 } else { *x > 0.0 };
                *x = if holds { *high } else { *low };
            }
        }
        ChannelOp::Unary(function) => values.iter_mut().for_each(|x| *x = function.apply(*x)),
    }
}

fn minimum(x: f32, p: f32) -> f32 {
    if x < p { x } else { p }
}

fn maximum(x: f32, p: f32) -> f32 {
    if x > p { x } else { p }
}

impl UnaryFunction {
    /// The value at `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Relu => maximum(x, 0.0),
            Self::Negate => -x,
            Self::Absolute => x.abs(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Exp => libm::expf(x),
            Self::Log => libm::logf(x),
            Self::Tanh => libm::tanhf(x),
            Self::Sigmoid => 1.0 / (1.0 + libm::expf(-x)),
            Self::Erf => libm::erff(x),
            Self::Softplus => maximum(x, 0.0) + libm::log1pf(libm::expf(-x.abs())),
            Self::Sign => {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    0.0
                }
            }
        }
    }
}
