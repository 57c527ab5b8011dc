//! What becomes of rows of accumulators: short lists of operations per channel, additions of other
//! maps, and stores as floats and as bits, run while the row is in cache.
//!
//! Each operation is rounded on its own, in the order of the list; no two are ever contracted. So the
//! fused paths give the bits of the operations run one after the other.

mod reference;

use crate::{Isa, IsaError, words_per_pixel};
use thiserror::Error;

/// Functions of one value. Transcendental ones are those of the `libm` crate in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// `max(x, 0) + libm::log1pf(libm::expf(-|x|))`.
    Softplus,
    /// -1, 0 or +1; 0 for NaN.
    Sign,
}

/// A function of `x` and of constants `p`, one for all channels or one per channel.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelOp {
    /// `x + p`.
    Add(Vec<f32>),
    /// `x - p`.
    Subtract(Vec<f32>),
    /// `p - x`.
    SubtractFrom(Vec<f32>),
    /// `x * p`.
    Multiply(Vec<f32>),
    /// `x / p`.
    Divide(Vec<f32>),
    /// `p / x`.
    DivideInto(Vec<f32>),
    /// `x < p ? x : p`.
    Minimum(Vec<f32>),
    /// `x > p ? x : p`.
    Maximum(Vec<f32>),
    /// `x >= 0 ? positive * x : negative * x`.
    TwoSlope {
        /// Slope for `x >= 0`; absent: `x` itself.
        positive: Option<Vec<f32>>,
        /// Slope elsewhere.
        negative: Vec<f32>,
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

/// Functions of `x` and of the value `y` of another map at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CombineOp {
    /// `x + y`.
    Add,
    /// `x - y`.
    Subtract,
    /// `y - x`.
    SubtractFrom,
    /// `x * y`.
    Multiply,
    /// `x / y`.
    Divide,
    /// `y / x`.
    DivideInto,
    /// `x < y ? x : y`.
    Minimum,
    /// `x > y ? x : y`.
    Maximum,
}

/// One operation on the running value `x` of every pixel and channel.
#[derive(Debug, Clone, PartialEq)]
pub enum EpilogueOp {
    /// A function of `x` and of constants.
    Channel(ChannelOp),
    /// A function of `x` and of another map.
    Combine {
        /// The function.
        op: CombineOp,
        /// Position of the map among the operands of [`Epilogue::run`].
        operand: usize,
        /// Whether the operand is one pixel that serves all.
        broadcast: bool,
    },
    /// Writes `x`; `x` stays as it is.
    Store {
        /// Position among the outputs of [`Epilogue::run`], a slice of floats.
        output: usize,
    },
    /// Writes `(x >= threshold) xor flip`; `x` stays as it is. The comparison is ordered.
    StoreBits {
        /// One for all channels or one per channel.
        thresholds: Vec<f32>,
        /// Bits of one pixel.
        flip: Option<Vec<u64>>,
        /// Position among the outputs of [`Epilogue::run`], a slice of words.
        output: usize,
    },
}

/// Where a store goes: the same pixels as the values.
#[derive(Debug)]
pub enum OutputSlice<'a> {
    /// `[pixels][channels]`.
    F32(&'a mut [f32]),
    /// `[pixels][words_per_pixel(channels)]`.
    Bits(&'a mut [u64]),
}

/// Why an epilogue cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EpilogueError {
    /// The processor cannot run the path that was asked for.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// There is nothing to work on.
    #[error("an epilogue over 0 channels")]
    NoChannels,
    /// A constant is given neither once nor per channel.
    #[error("operation {operation}: {found} constants, expected 1 or {channels}")]
    Constants {
        /// Position of the operation.
        operation: usize,
        /// Constants it has.
        found: usize,
        /// Channels of the map.
        channels: usize,
    },
    /// Flips are not the bits of one pixel.
    #[error("operation {operation}: {found} words of flips, expected {expected}")]
    Flips {
        /// Position of the operation.
        operation: usize,
        /// Words it has.
        found: usize,
        /// Words of a pixel.
        expected: usize,
    },
    /// An output is written as floats and as bits, or an operand is read as a map and as one pixel.
    #[error("operation {operation}: slice {slice} is already used another way")]
    Conflict {
        /// Position of the operation.
        operation: usize,
        /// Position of the operand or output.
        slice: usize,
    },
}

/// A list of operations, prepared for one instruction set.
#[derive(Debug)]
pub struct Epilogue {
    channels: usize,
    ops: Vec<EpilogueOp>,
    operands: Vec<Option<OperandKind>>,
    outputs: Vec<Option<OutputKind>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperandKind {
    Map,
    Pixel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputKind {
    F32,
    Bits,
}

impl Epilogue {
    /// Prepares a list of operations on maps of `channels` channels.
    ///
    /// # Errors
    /// Says which operation does not fit and why, or what the processor lacks.
    pub fn new(isa: Isa, channels: usize, ops: Vec<EpilogueOp>) -> Result<Self, EpilogueError> {
        isa.require()?;
        if channels == 0 {
            return Err(EpilogueError::NoChannels);
        }
        let (mut operands, mut outputs) = (Vec::new(), Vec::new());
        for (operation, op) in ops.iter().enumerate() {
            for constants in op.constants() {
                if constants.len() != 1 && constants.len() != channels {
                    return Err(EpilogueError::Constants {
                        operation,
                        found: constants.len(),
                        channels,
                    });
                }
            }
            let conflict = |slice| EpilogueError::Conflict { operation, slice };
            match op {
                EpilogueOp::Channel(_) => {}
                EpilogueOp::Combine {
                    operand, broadcast, ..
                } => {
                    let kind = if *broadcast {
                        OperandKind::Pixel
                    } else {
                        OperandKind::Map
                    };
                    claim(&mut operands, *operand, kind).map_err(conflict)?;
                }
                EpilogueOp::Store { output } => {
                    claim(&mut outputs, *output, OutputKind::F32).map_err(conflict)?;
                }
                EpilogueOp::StoreBits { flip, output, .. } => {
                    claim(&mut outputs, *output, OutputKind::Bits).map_err(conflict)?;
                    let expected = words_per_pixel(channels);
                    if let Some(flip) = flip.as_ref().filter(|flip| flip.len() != expected) {
                        return Err(EpilogueError::Flips {
                            operation,
                            found: flip.len(),
                            expected,
                        });
                    }
                }
            }
        }
        Ok(Self {
            channels,
            ops,
            operands,
            outputs,
        })
    }

    /// Channels of the maps.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Runs the operations on some pixels.
    ///
    /// `values` are `[pixels][channels]` and serve as working storage: what they hold afterwards is
    /// not specified. `operands[k]` holds the same pixels of operand `k`, or one pixel where it is
    /// broadcast; `outputs[k]` takes the same pixels of output `k`. Slices that no operation names are
    /// not looked at.
    ///
    /// # Panics
    /// If a slice is missing, of another kind or of another length than the operations ask for.
    pub fn run(&self, values: &mut [f32], operands: &[&[f32]], outputs: &mut [OutputSlice<'_>]) {
        self.check(values, operands, outputs);
        reference::run(&self.ops, self.channels, values, operands, outputs);
    }

    fn check(&self, values: &[f32], operands: &[&[f32]], outputs: &[OutputSlice<'_>]) {
        assert!(
            values.len().is_multiple_of(self.channels),
            "values are whole pixels"
        );
        let pixels = values.len() / self.channels;
        assert!(operands.len() >= self.operands.len(), "operands");
        for (kind, operand) in self.operands.iter().zip(operands) {
            match kind {
                Some(OperandKind::Map) => assert_eq!(operand.len(), values.len(), "operand map"),
                Some(OperandKind::Pixel) => {
                    assert_eq!(operand.len(), self.channels, "operand pixel");
                }
                None => {}
            }
        }
        assert!(outputs.len() >= self.outputs.len(), "outputs");
        for (kind, output) in self.outputs.iter().zip(outputs) {
            match (kind, output) {
                (Some(OutputKind::F32), OutputSlice::F32(out)) => {
                    assert_eq!(out.len(), values.len(), "output map");
                }
                (Some(OutputKind::Bits), OutputSlice::Bits(out)) => {
                    let words = words_per_pixel(self.channels);
                    assert_eq!(out.len(), pixels * words, "output bits");
                }
                (Some(kind), _) => panic!("output is not of the kind {kind:?}"),
                (None, _) => {}
            }
        }
    }
}

/// Notes how a slice is used, or returns its position if it is already used another way.
fn claim<K: Copy + PartialEq>(
    uses: &mut Vec<Option<K>>,
    slice: usize,
    kind: K,
) -> Result<(), usize> {
    if uses.len() <= slice {
        uses.resize(slice + 1, None);
    }
    match uses[slice].replace(kind) {
        Some(other) if other != kind => Err(slice),
        _ => Ok(()),
    }
}

impl EpilogueOp {
    /// Constants of one entry or one per channel.
    fn constants(&self) -> impl Iterator<Item = &Vec<f32>> {
        let (first, second) = match self {
            Self::Channel(
                ChannelOp::Add(p)
                | ChannelOp::Subtract(p)
                | ChannelOp::SubtractFrom(p)
                | ChannelOp::Multiply(p)
                | ChannelOp::Divide(p)
                | ChannelOp::DivideInto(p)
                | ChannelOp::Minimum(p)
                | ChannelOp::Maximum(p),
            ) => (Some(p), None),
            Self::Channel(ChannelOp::TwoSlope { positive, negative }) => {
                (positive.as_ref(), Some(negative))
            }
            Self::StoreBits { thresholds, .. } => (Some(thresholds), None),
            Self::Channel(ChannelOp::Step { .. } | ChannelOp::Unary(_))
            | Self::Combine { .. }
            | Self::Store { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }
}
