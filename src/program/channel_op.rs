//! Functions of one value and of constants per channel, and their meaning in plain f32.
//!
//! The parameter `P` is how constants are held: [`TensorId`](super::TensorId) in a program,
//! `Vec<f32>` (one entry, or one per channel) while the converter works out thresholds.

use serde::{Deserialize, Serialize};

/// A function of `x` and of constants `p` that are the same for all channels (one entry) or given
/// per channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOp<P> {
    /// `x + p`.
    Add(P),
    /// `x - p`.
    Subtract(P),
    /// `p - x`.
    SubtractFrom(P),
    /// `x * p`.
    Multiply(P),
    /// `x / p`.
    Divide(P),
    /// `p / x`.
    DivideInto(P),
    /// The smaller of `x` and `p`.
    Minimum(P),
    /// The larger of `x` and `p`.
    Maximum(P),
    /// `x >= p ? x - p : x`. For integers below `2 p` this is the remainder by `p`: the bits of a code
    /// come out from the highest down.
    Wrap(P),
    /// `x >= 0 ? positive * x : negative * x` (PReLU: positive is absent, that side stays `x`).
    TwoSlope {
        /// Slope for `x >= 0`; absent: 1.
        positive: Option<P>,
        /// Slope for `x < 0`.
        negative: P,
    },
    /// `high` where `x >= 0` (or `x > 0` unless `at_least`), else `low`.
    Step {
        /// Whether zero counts as high.
        at_least: bool,
        /// Value where the comparison fails.
        low: f32,
        /// Value where it holds.
        high: f32,
    },
    /// A function without constants.
    Unary(UnaryFunction),
}

/// Functions of one value. Transcendental ones are those of the `libm` crate in f32, so that every
/// machine gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryFunction {
    /// `x > 0 ? x : 0`.
    Relu,
    /// `-x`.
    Negate,
    /// `|x|`.
    Absolute,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, halves to even.
    Round,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// `libm::expf`.
    Exp,
    /// `libm::logf`.
    Log,
    /// `libm::tanhf`.
    Tanh,
    /// `1 / (1 + libm::expf(-x))`.
    Sigmoid,
    /// `libm::erff`.
    Erf,
    /// `libm::logf(1 + libm::expf(x))`, computed as `max(x, 0) + libm::log1pf(libm::expf(-|x|))`.
    Softplus,
    /// -1, 0 or +1, as ONNX `Sign`.
    Sign,
}

impl UnaryFunction {
    /// The value at `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Relu => {
                if x > 0.0 {
                    x
                } else {
                    0.0
                }
            }
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
            Self::Softplus => {
                let positive = if x > 0.0 { x } else { 0.0 };
                positive + libm::log1pf(libm::expf(-x.abs()))
            }
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

impl<P> ChannelOp<P> {
    /// The same operation with its constants held another way.
    ///
    /// # Errors
    /// The first error that `convert` returns.
    pub fn try_map<Q, E>(
        &self,
        mut convert: impl FnMut(&P) -> Result<Q, E>,
    ) -> Result<ChannelOp<Q>, E> {
        Ok(match self {
            Self::Add(p) => ChannelOp::Add(convert(p)?),
            Self::Subtract(p) => ChannelOp::Subtract(convert(p)?),
            Self::SubtractFrom(p) => ChannelOp::SubtractFrom(convert(p)?),
            Self::Multiply(p) => ChannelOp::Multiply(convert(p)?),
            Self::Divide(p) => ChannelOp::Divide(convert(p)?),
            Self::DivideInto(p) => ChannelOp::DivideInto(convert(p)?),
            Self::Minimum(p) => ChannelOp::Minimum(convert(p)?),
            Self::Maximum(p) => ChannelOp::Maximum(convert(p)?),
            Self::Wrap(p) => ChannelOp::Wrap(convert(p)?),
            Self::TwoSlope { positive, negative } => ChannelOp::TwoSlope {
                positive: positive.as_ref().map(&mut convert).transpose()?,
                negative: convert(negative)?,
            },
            Self::Step { at_least, low, high } => {
                ChannelOp::Step { at_least: *at_least, low: *low, high: *high }
            }
            Self::Unary(f) => ChannelOp::Unary(*f),
        })
    }

    /// The constants of the operation.
    pub fn parameters(&self) -> impl Iterator<Item = &P> {
        let (first, second) = match self {
            Self::Add(p)
            | Self::Subtract(p)
            | Self::SubtractFrom(p)
            | Self::Multiply(p)
            | Self::Divide(p)
            | Self::DivideInto(p)
            | Self::Minimum(p)
            | Self::Maximum(p)
            | Self::Wrap(p) => (Some(p), None),
            Self::TwoSlope { positive, negative } => (positive.as_ref(), Some(negative)),
            Self::Step { .. } | Self::Unary(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl<P: AsRef<[f32]>> ChannelOp<P> {
    /// The value at `x` in the given channel, as every kernel computes it.
    ///
    /// # Panics
    /// If a constant has neither one entry nor one for this channel.
    pub fn apply(&self, x: f32, channel: usize) -> f32 {
        let at = |p: &P| {
            let p = p.as_ref();
            if p.len() == 1 { p[0] } else { p[channel] }
        };
        match self {
            Self::Add(p) => x + at(p),
            Self::Subtract(p) => x - at(p),
            Self::SubtractFrom(p) => at(p) - x,
            Self::Multiply(p) => x * at(p),
            Self::Divide(p) => x / at(p),
            Self::DivideInto(p) => at(p) / x,
            Self::Minimum(p) => {
                let p = at(p);
                if x < p { x } else { p }
            }
            Self::Maximum(p) => {
                let p = at(p);
                if x > p { x } else { p }
            }
            Self::Wrap(p) => {
                let p = at(p);
                if x >= p { x - p } else { x }
            }
            Self::TwoSlope { positive, negative } => {
                if x >= 0.0 {
                    positive.as_ref().map_or(x, |p| at(p) * x)
                } else {
                    at(negative) * x
                }
            }
            Self::Step { at_least, low, high } => {
                let holds = if *at_least { x >= 0.0 } else { x > 0.0 };
                if holds { *high } else { *low }
            }
            Self::Unary(f) => f.apply(x),
        }
    }
}
