//! The operations prepared for vectors.
//!
//! What makes binary residual networks fast (scale, bias, shortcut, shifts and slopes, the float map
//! and the bits of the next layer, or a part of it) is one [`Sequence`]: one pass in which 64 values at
//! a time go through all of it in registers. Other operations are passes of their own, over blocks
//! that stay in the first level cache.

use super::{
    ChannelOp, CombineOp, EpilogueOp, Operand, OutputSlice, UnaryFunction,
    pass::{self, CHUNK, Map, Op},
    sequence::{self, Bits, INTEGERS, Part, Sequence, Shortcut, Streams, WRITE_BACK},
};
use crate::{
    Isa, aligned::Aligned, bit_string::low_mask, numbers::i32_to_f32_in_place, words_per_pixel,
};

/// Floats of a block that passes through all stages before the next one.
const BLOCK: usize = 2048;

/// Longest run of channels that the constants are repeated for.
const LONGEST_PERIOD: usize = 1024;

/// A list of operations, prepared for vectors.
#[derive(Debug)]
pub(super) struct Plan {
    isa: Isa,
    channels: usize,
    /// Values after which the constants start again: a multiple of the channels. Several pixels share
    /// a period where one would not fill its vectors.
    period: usize,
    stages: Vec<Stage>,
    /// All constants; each takes whole chunks.
    constants: Aligned<f32>,
}

#[derive(Debug)]
enum Stage {
    /// Many operations in one pass.
    Sequence(Sequence),
    /// One operation.
    Op(Op),
    /// A function of `libm`.
    Function(UnaryFunction),
}

/// Where in the constants of a plan the values of one constant start, for a whole period.
pub(super) type Constant = usize;

/// What an operation is prepared as.
enum Prepared {
    Part(Part),
    Stage(Stage),
}

impl Plan {
    /// Prepares operations that have been checked.
    ///
    /// # Safety
    /// The processor has the instruction set, and it is not the scalar one.
    pub(super) unsafe fn new(isa: Isa, channels: usize, ops: &[EpilogueOp]) -> Self {
        let period = channels * pixels_per_period(channels, ops);
        let mut constants = Constants { channels, period, values: Vec::new() };
        let mut stages = Vec::new();
        for op in ops {
            match prepare(op, &mut constants) {
                Prepared::Part(part) => {
                    let rest = match stages.last_mut() {
                        Some(Stage::Sequence(sequence)) => sequence.push(part),
                        _ => Err(part),
                    };
                    if let Err(part) = rest {
                        let mut sequence = Sequence::default();
                        sequence.push(part).expect("an empty sequence takes any part");
                        stages.push(Stage::Sequence(sequence));
                    }
                }
                Prepared::Stage(stage) => stages.push(stage),
            }
        }
        let mut aligned = Aligned::zeroed(constants.values.len());
        aligned.as_mut_slice().copy_from_slice(&constants.values);
        Self { isa, channels, period, stages, constants: aligned }
    }

    /// See [`Epilogue::run`](super::Epilogue::run), which has checked the slices.
    pub(super) fn run(
        &self,
        values: &mut [f32],
        operands: &[Operand<'_>],
        outputs: &mut [OutputSlice<'_>],
    ) {
        self.run_stages(false, values, operands, outputs);
    }

    /// The same for integers. See [`Epilogue::run_integers`](super::Epilogue::run_integers).
    pub(super) fn run_integers(
        &self,
        values: &mut [i32],
        operands: &[Operand<'_>],
        outputs: &mut [OutputSlice<'_>],
    ) {
        // A sequence makes floats of them in the registers in which it works.
        let integers = matches!(self.stages.first(), Some(Stage::Sequence(_)));
        let values = if integers {
            bytemuck::cast_slice_mut(values)
        } else {
            i32_to_f32_in_place(self.isa, values)
        };
        self.run_stages(integers, values, operands, outputs);
    }

    /// Runs the stages; the values are integers if the first stage is a sequence that takes them as such.
    fn run_stages(
        &self,
        integers: bool,
        values: &mut [f32],
        operands: &[Operand<'_>],
        outputs: &mut [OutputSlice<'_>],
    ) {
        let block = if self.stages.len() == 1 {
            values.len().max(1)
        } else {
            (BLOCK / self.period).max(1) * self.period
        };
        for (index, values) in values.chunks_mut(block).enumerate() {
            for (position, stage) in self.stages.iter().enumerate() {
                let start = index * block;
                match stage {
                    Stage::Sequence(sequence) => {
                        let mut more = 0;
                        if integers && position == 0 {
                            more |= INTEGERS;
                        }
                        if position + 1 < self.stages.len() {
                            more |= WRITE_BACK;
                        }
                        self.run_sequence(sequence, more, start, values, operands, outputs);
                    }
                    Stage::Op(op) => self.run_op(op, start, values, operands, outputs),
                    Stage::Function(function) => {
                        values.iter_mut().for_each(|x| *x = function.apply(*x));
                    }
                }
            }
        }
    }

    /// Runs a sequence over values that start at element `start` of operands and outputs; for `more` see
    /// [`Streams::new`].
    fn run_sequence(
        &self,
        sequence: &Sequence,
        more: u16,
        start: usize,
        values: &mut [f32],
        operands: &[Operand<'_>],
        outputs: &mut [OutputSlice<'_>],
    ) {
        let span = start..start + values.len();
        let operand = sequence.shortcut().map(|operand| operands[operand]);
        let mut shortcut = match operand {
            Some(Operand::Map(map)) => Some(Shortcut::Map(&map[span.clone()])),
            Some(Operand::Output(_)) => Some(Shortcut::Stored),
            None => None,
        };
        let mut store = None;
        let mut bits = None;
        for (index, output) in outputs.iter_mut().enumerate() {
            match output {
                OutputSlice::F32(out) => {
                    let out = &mut out[span.clone()];
                    if sequence.store() == Some(index) {
                        store = Some(out);
                    } else if matches!(operand, Some(Operand::Output(at)) if at == index) {
                        // A later stage stores over it.
                        shortcut = Some(Shortcut::Map(out));
                    }
                }
                OutputSlice::Bits(out) if sequence.bits_output() == Some(index) => {
                    let words = words_per_pixel(self.channels);
                    let (first, end) = (start / self.channels, span.end / self.channels);
                    bits = Some(&mut out[first * words..end * words]);
                }
                _ => {}
            }
        }
        let streams = Streams::new(sequence, self.map(), values, shortcut, store, bits, more);
        // SAFETY: `new` was promised that the processor has the instruction set.
        unsafe { sequence::run_on(self.isa, streams) }
    }

    /// Runs one operation over values that start at element `start` of the operands.
    fn run_op(
        &self,
        op: &Op,
        start: usize,
        values: &mut [f32],
        operands: &[Operand<'_>],
        outputs: &[OutputSlice<'_>],
    ) {
        let operand = match op {
            Op::Combine { operand, broadcast: false, .. } => {
                &operands[*operand].slice(outputs)[start..start + values.len()]
            }
            Op::Combine { operand, .. } => operands[*operand].slice(outputs),
            _ => &[],
        };
        // SAFETY: `new` was promised that the processor has the instruction set; the operand is as
        // long as the values, or as the period, which is one pixel where there is a broadcast.
        unsafe { pass::run_on(self.isa, self.map(), op, values, operand) }
    }

    fn map(&self) -> Map<'_> {
        Map { channels: self.channels, period: self.period, constants: self.constants.as_slice() }
    }
}

/// How many pixels share a period of the constants.
fn pixels_per_period(channels: usize, ops: &[EpilogueOp]) -> usize {
    let broadcasts = ops.iter().any(|op| matches!(op, EpilogueOp::Combine { broadcast: true, .. }));
    let bits = ops.iter().any(|op| matches!(op, EpilogueOp::StoreBits { .. }));
    if broadcasts || (bits && !CHUNK.is_multiple_of(channels)) {
        // The operand is one pixel; the bits of a pixel that ends inside a word are packed alone.
        return 1;
    }
    // The fewest pixels that fill whole chunks: 64 / gcd(channels, 64).
    let pixels = CHUNK >> channels.trailing_zeros().min(CHUNK.trailing_zeros());
    if channels.saturating_mul(pixels) <= LONGEST_PERIOD { pixels } else { 1 }
}

/// Constants as they are gathered.
struct Constants {
    channels: usize,
    period: usize,
    values: Vec<f32>,
}

impl Constants {
    /// Repeats a constant (one value, or one per channel) over the period, and fills its last chunk.
    fn push(&mut self, constant: &[f32]) -> Constant {
        let start = self.values.len();
        let repeated = constant.iter().copied().cycle().take(self.period);
        self.values.extend(repeated);
        let end = self.values.len().next_multiple_of(CHUNK);
        self.values.resize(end, 1.0);
        start
    }

    /// The flips of each chunk of a period.
    fn flips(&self, flip: &[u64]) -> Vec<u64> {
        if self.period == self.channels {
            let mut flip = flip.to_vec();
            // Bits that are no channels stay 0 whatever they are xored with.
            if let Some(last) = flip.last_mut() {
                *last &= low_mask((self.channels - 1) % 64 + 1);
            }
            return flip;
        }
        let pixel = flip[0] & low_mask(self.channels);
        let word =
            (0..CHUNK / self.channels).fold(0, |word, at| word | pixel << (at * self.channels));
        vec![word]
    }
}

/// The operation with its constants in place.
fn prepare(op: &EpilogueOp, constants: &mut Constants) -> Prepared {
    Prepared::Stage(Stage::Op(match op {
        EpilogueOp::Channel(op) => match op {
            ChannelOp::Add(p) => return Prepared::Part(Part::Add(constants.push(p))),
            ChannelOp::Subtract(p) => {
                // IEEE 754 defines x - p as x + (-p).
                let negated: Vec<f32> = p.iter().map(|p| -p).collect();
                return Prepared::Part(Part::Add(constants.push(&negated)));
            }
            ChannelOp::Multiply(p) => return Prepared::Part(Part::Scale(constants.push(p))),
            ChannelOp::SubtractFrom(p) => Op::SubtractFrom(constants.push(p)),
            ChannelOp::Divide(p) => Op::Divide(constants.push(p)),
            ChannelOp::DivideInto(p) => Op::DivideInto(constants.push(p)),
            ChannelOp::Minimum(p) => Op::Minimum(constants.push(p)),
            ChannelOp::Maximum(p) => Op::Maximum(constants.push(p)),
            ChannelOp::Wrap(p) => Op::Wrap(constants.push(p)),
            ChannelOp::TwoSlope { positive, negative } => {
                let negative = constants.push(negative);
                match positive {
                    Some(positive) => Op::TwoSlope(constants.push(positive), negative),
                    None => return Prepared::Part(Part::Slope(negative)),
                }
            }
            ChannelOp::Step { at_least, low, high } => {
                Op::Step { at_least: *at_least, low: *low, high: *high }
            }
            ChannelOp::Unary(function) => match function {
                UnaryFunction::Relu => return Prepared::Part(Part::Relu),
                UnaryFunction::Negate => Op::Negate,
                UnaryFunction::Absolute => Op::Absolute,
                UnaryFunction::Floor => Op::Floor,
                UnaryFunction::Ceil => Op::Ceil,
                UnaryFunction::Round => Op::Round,
                UnaryFunction::Sqrt => Op::Sqrt,
                UnaryFunction::Reciprocal => Op::Reciprocal,
                UnaryFunction::Sign => Op::Sign,
                UnaryFunction::Exp
                | UnaryFunction::Log
                | UnaryFunction::Tanh
                | UnaryFunction::Sigmoid
                | UnaryFunction::Erf
                | UnaryFunction::Softplus => return Prepared::Stage(Stage::Function(*function)),
            },
        },
        EpilogueOp::Combine { op: CombineOp::Add, operand, broadcast: false } => {
            return Prepared::Part(Part::Shortcut(*operand));
        }
        EpilogueOp::Combine { op, operand, broadcast } => {
            Op::Combine { op: *op, operand: *operand, broadcast: *broadcast }
        }
        EpilogueOp::Store { output } => return Prepared::Part(Part::Store(*output)),
        EpilogueOp::StoreBits { thresholds, flip, output } => {
            let flip = flip.as_ref().map(|flip| constants.flips(flip));
            return Prepared::Part(Part::Bits(Bits {
                thresholds: constants.push(thresholds),
                flip: flip.unwrap_or_default(),
                output: *output,
            }));
        }
    }))
}
