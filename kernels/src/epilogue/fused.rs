//! The operations fused into one pass: 64 values at a time go through the whole list in registers.
//!
//! The list is interpreted once per 64 values, so any sequence is fused, not only known ones. What
//! makes a binary residual network fast (scale, bias, shortcut, shifts and slopes, the float map and
//! the bits of the next layer) reads and writes memory once per map. Functions of `libm` interrupt
//! the pass and run on a block of values that stays in the first level cache.

use super::{ChannelOp, CombineOp, EpilogueOp, OutputSlice, UnaryFunction};
use crate::{
    Isa,
    aligned::AlignedFloats,
    bit_string::low_mask,
    simd::{Lanes, vectorised},
    words_per_pixel,
};

/// Values in a chunk: the bits of a word.
const CHUNK: usize = 64;

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
    constants: AlignedFloats,
}

#[derive(Debug)]
enum Stage {
    /// Operations of one pass. The values are written back unless nothing follows.
    Fused { ops: Vec<Op>, write_back: bool },
    /// A function of `libm`.
    Function(UnaryFunction),
}

/// Where in [`Plan::constants`] the `period` values of a constant start.
type Constant = usize;

#[derive(Debug)]
enum Op {
    Add(Constant),
    Subtract(Constant),
    SubtractFrom(Constant),
    Multiply(Constant),
    Divide(Constant),
    DivideInto(Constant),
    Minimum(Constant),
    Maximum(Constant),
    /// `x >= 0 ? x : p * x`.
    Slope(Constant),
    /// `x >= 0 ? p * x : q * x`.
    TwoSlope(Constant, Constant),
    Step {
        at_least: bool,
        low: f32,
        high: f32,
    },
    Relu,
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
    Store {
        output: usize,
    },
    StoreBits {
        thresholds: Constant,
        /// One word for each chunk of a period, or none.
        flip: Vec<u64>,
        output: usize,
    },
}

impl Plan {
    /// Prepares operations that have been checked.
    ///
    /// # Safety
    /// The processor has the instruction set, and it is not the scalar one.
    pub(super) unsafe fn new(isa: Isa, channels: usize, ops: &[EpilogueOp]) -> Self {
        let period = channels * pixels_per_period(channels, ops);
        let mut constants = Constants {
            channels,
            period,
            values: Vec::new(),
        };
        let mut stages = Vec::new();
        let mut fused = Vec::new();
        for op in ops {
            match prepare(op, &mut constants) {
                Ok(op) => fused.push(op),
                Err(function) => {
                    if !fused.is_empty() {
                        stages.push(Stage::Fused {
                            ops: std::mem::take(&mut fused),
                            write_back: true,
                        });
                    }
                    stages.push(Stage::Function(function));
                }
            }
        }
        if !fused.is_empty() {
            stages.push(Stage::Fused {
                ops: fused,
                write_back: false,
            });
        }
        let mut aligned = AlignedFloats::zeroed(constants.values.len());
        aligned.as_mut_slice().copy_from_slice(&constants.values);
        Self {
            isa,
            channels,
            period,
            stages,
            constants: aligned,
        }
    }

    /// See [`Epilogue::run`](super::Epilogue::run), which has checked the slices.
    pub(super) fn run(
        &self,
        values: &mut [f32],
        operands: &[&[f32]],
        outputs: &mut [OutputSlice<'_>],
    ) {
        let block = if self.stages.len() == 1 {
            values.len().max(1)
        } else {
            (BLOCK / self.period).max(1) * self.period
        };
        for (index, values) in values.chunks_mut(block).enumerate() {
            for stage in &self.stages {
                match stage {
                    // SAFETY: `new` was promised that the processor has the instruction set; the
                    // caller has checked that operands and outputs are as long as all the values. A
                    // block starts at a multiple of the period.
                    Stage::Fused { ops, write_back } => unsafe {
                        pass_on(
                            self.isa,
                            self,
                            ops,
                            *write_back,
                            index * block,
                            values,
                            operands,
                            outputs,
                        );
                    },
                    Stage::Function(function) => {
                        values.iter_mut().for_each(|x| *x = function.apply(*x));
                    }
                }
            }
        }
    }
}

/// How many pixels share a period of the constants.
fn pixels_per_period(channels: usize, ops: &[EpilogueOp]) -> usize {
    let broadcasts = ops.iter().any(|op| {
        matches!(
            op,
            EpilogueOp::Combine {
                broadcast: true,
                ..
            }
        )
    });
    let bits = ops
        .iter()
        .any(|op| matches!(op, EpilogueOp::StoreBits { .. }));
    if broadcasts || (bits && !CHUNK.is_multiple_of(channels)) {
        // The operand is one pixel; the bits of a pixel that ends inside a word are packed alone.
        return 1;
    }
    // The fewest pixels that fill whole chunks: 64 / gcd(channels, 64).
    let pixels = CHUNK >> channels.trailing_zeros().min(CHUNK.trailing_zeros());
    if channels.saturating_mul(pixels) <= LONGEST_PERIOD {
        pixels
    } else {
        1
    }
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

/// The operation with its constants in place, or the function that no vector has.
fn prepare(op: &EpilogueOp, constants: &mut Constants) -> Result<Op, UnaryFunction> {
    Ok(match op {
        EpilogueOp::Channel(op) => match op {
            ChannelOp::Add(p) => Op::Add(constants.push(p)),
            ChannelOp::Subtract(p) => Op::Subtract(constants.push(p)),
            ChannelOp::SubtractFrom(p) => Op::SubtractFrom(constants.push(p)),
            ChannelOp::Multiply(p) => Op::Multiply(constants.push(p)),
            ChannelOp::Divide(p) => Op::Divide(constants.push(p)),
            ChannelOp::DivideInto(p) => Op::DivideInto(constants.push(p)),
            ChannelOp::Minimum(p) => Op::Minimum(constants.push(p)),
            ChannelOp::Maximum(p) => Op::Maximum(constants.push(p)),
            ChannelOp::TwoSlope { positive, negative } => match positive {
                Some(positive) => Op::TwoSlope(constants.push(positive), constants.push(negative)),
                None => Op::Slope(constants.push(negative)),
            },
            ChannelOp::Step {
                at_least,
                low,
                high,
            } => Op::Step {
                at_least: *at_least,
                low: *low,
                high: *high,
            },
            ChannelOp::Unary(function) => match function {
                UnaryFunction::Relu => Op::Relu,
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
                | UnaryFunction::Softplus => return Err(*function),
            },
        },
        EpilogueOp::Combine {
            op,
            operand,
            broadcast,
        } => Op::Combine {
            op: *op,
            operand: *operand,
            broadcast: *broadcast,
        },
        EpilogueOp::Store { output } => Op::Store { output: *output },
        EpilogueOp::StoreBits {
            thresholds,
            flip,
            output,
        } => Op::StoreBits {
            thresholds: constants.push(thresholds),
            flip: flip
                .as_ref()
                .map_or_else(Vec::new, |flip| constants.flips(flip)),
            output: *output,
        },
    })
}

vectorised! {
    /// Runs one pass over values that start at element `start` of operands and outputs.
    ///
    /// The operations must be of the plan, `start` a multiple of its period, and operands and outputs
    /// must reach to the end of the values.
    unsafe fn pass_on(
        plan: &Plan,
        ops: &[Op],
        write_back: bool,
        start: usize,
        values: &mut [f32],
        operands: &[&[f32]],
        outputs: &mut [OutputSlice<'_>],
    ) = pass;
}

/// # Safety
/// See [`pass_on`].
#[inline(always)]
unsafe fn pass<V: Lanes>(
    plan: &Plan,
    ops: &[Op],
    write_back: bool,
    start: usize,
    values: &mut [f32],
    operands: &[&[f32]],
    outputs: &mut [OutputSlice<'_>],
) {
    // SAFETY: the promises of the caller.
    unsafe {
        match V::LANES {
            4 => pass_in::<V, 16>(plan, ops, write_back, start, values, operands, outputs),
            8 => pass_in::<V, 8>(plan, ops, write_back, start, values, operands, outputs),
            16 => pass_in::<V, 4>(plan, ops, write_back, start, values, operands, outputs),
            _ => unreachable!("vectors that fill a chunk"),
        }
    }
}

/// # Safety
/// See [`pass_on`]; `VECTORS` vectors are a chunk.
#[inline(always)]
unsafe fn pass_in<V: Lanes, const VECTORS: usize>(
    plan: &Plan,
    ops: &[Op],
    write_back: bool,
    start: usize,
    values: &mut [f32],
    operands: &[&[f32]],
    outputs: &mut [OutputSlice<'_>],
) {
    for first in (0..values.len()).step_by(plan.period) {
        let end = (first + plan.period).min(values.len());
        for at in (first..end).step_by(CHUNK) {
            let chunk = Chunk {
                plan,
                offset: at - first,
                element: start + at,
                count: (end - at).min(CHUNK),
            };
            let values = &mut values[at..at + chunk.count];
            // SAFETY: the promises of the caller; the chunk is `count` values long.
            unsafe {
                if chunk.count == CHUNK {
                    chunk.run::<V, VECTORS, true>(ops, write_back, values, operands, outputs);
                } else {
                    chunk.run::<V, VECTORS, false>(ops, write_back, values, operands, outputs);
                }
            }
        }
    }
}

/// A place in the maps.
struct Chunk<'a> {
    plan: &'a Plan,
    /// First value, counted from the start of its period.
    offset: usize,
    /// First value, counted from the start of the maps.
    element: usize,
    /// Values, at most 64.
    count: usize,
}

impl Chunk<'_> {
    /// # Safety
    /// See [`pass_on`]. The values are those of the chunk; `FULL` says that they are 64.
    #[inline(always)]
    unsafe fn run<V: Lanes, const VECTORS: usize, const FULL: bool>(
        &self,
        ops: &[Op],
        write_back: bool,
        values: &mut [f32],
        operands: &[&[f32]],
        outputs: &mut [OutputSlice<'_>],
    ) {
        /// `x = f(x, y)` vector by vector.
        macro_rules! each {
            ($x:ident, $other:expr, |$a:ident, $y:ident| $value:expr) => {{
                let other: [V; VECTORS] = $other;
                for ($a, $y) in $x.iter_mut().zip(other) {
                    *$a = $value;
                }
            }};
            ($x:ident, |$a:ident| $value:expr) => {
                for $a in $x.iter_mut() {
                    *$a = $value;
                }
            };
        }
        // SAFETY: the caller promises the features, and that operands and outputs reach to the end of
        // the chunk; constants are as long as the period, in whole chunks.
        unsafe {
            let zero = V::splat(0.0);
            let mut x: [V; VECTORS] = self.load::<V, VECTORS, FULL>(values.as_ptr());
            for op in ops {
                match op {
                    Op::Add(p) => each!(x, self.constant(*p), |x, p| x.add(p)),
                    Op::Subtract(p) => each!(x, self.constant(*p), |x, p| x.sub(p)),
                    Op::SubtractFrom(p) => each!(x, self.constant(*p), |x, p| p.sub(*x)),
                    Op::Multiply(p) => each!(x, self.constant(*p), |x, p| x.mul(p)),
                    Op::Divide(p) => each!(x, self.constant(*p), |x, p| x.div(p)),
                    Op::DivideInto(p) => each!(x, self.constant(*p), |x, p| p.div(*x)),
                    Op::Minimum(p) => each!(x, self.constant(*p), |x, p| x.minimum(p)),
                    Op::Maximum(p) => each!(x, self.constant(*p), |x, p| x.maximum(p)),
                    Op::Slope(p) => {
                        each!(x, self.constant(*p), |x, p| x.select_ge(
                            zero,
                            *x,
                            p.mul(*x)
                        ));
                    }
                    Op::TwoSlope(positive, negative) => {
                        let positive: [V; VECTORS] = self.constant(*positive);
                        let negative: [V; VECTORS] = self.constant(*negative);
                        for ((x, p), n) in x.iter_mut().zip(positive).zip(negative) {
                            *x = x.select_ge(zero, p.mul(*x), n.mul(*x));
                        }
                    }
                    Op::Step {
                        at_least,
                        low,
                        high,
                    } => {
                        let (low, high) = (V::splat(*low), V::splat(*high));
                        if *at_least {
                            each!(x, |x| x.select_ge(zero, high, low));
                        } else {
                            each!(x, |x| x.select_gt(zero, high, low));
                        }
                    }
                    Op::Relu => each!(x, |x| x.maximum(zero)),
                    Op::Negate => each!(x, |x| x.neg()),
                    Op::Absolute => each!(x, |x| x.abs()),
                    Op::Floor => each!(x, |x| x.floor()),
                    Op::Ceil => each!(x, |x| x.ceil()),
                    Op::Round => each!(x, |x| x.round_ties_even()),
                    Op::Sqrt => each!(x, |x| x.sqrt()),
                    Op::Reciprocal => {
                        let one = V::splat(1.0);
                        each!(x, |x| one.div(*x));
                    }
                    Op::Sign => {
                        let (one, minus_one) = (V::splat(1.0), V::splat(-1.0));
                        each!(x, |x| {
                            let negative = zero.select_gt(*x, minus_one, zero);
                            x.select_gt(zero, one, negative)
                        });
                    }
                    Op::Combine {
                        op,
                        operand,
                        broadcast,
                    } => {
                        let at = if *broadcast {
                            self.offset
                        } else {
                            self.element
                        };
                        let operand = &operands[*operand][at..at + self.count];
                        let y: [V; VECTORS] = self.load::<V, VECTORS, FULL>(operand.as_ptr());
                        match op {
                            CombineOp::Add => each!(x, y, |x, y| x.add(y)),
                            CombineOp::Subtract => each!(x, y, |x, y| x.sub(y)),
                            CombineOp::SubtractFrom => each!(x, y, |x, y| y.sub(*x)),
                            CombineOp::Multiply => each!(x, y, |x, y| x.mul(y)),
                            CombineOp::Divide => each!(x, y, |x, y| x.div(y)),
                            CombineOp::DivideInto => each!(x, y, |x, y| y.div(*x)),
                            CombineOp::Minimum => each!(x, y, |x, y| x.minimum(y)),
                            CombineOp::Maximum => each!(x, y, |x, y| x.maximum(y)),
                        }
                    }
                    Op::Store { output } => {
                        if let OutputSlice::F32(out) = &mut outputs[*output] {
                            let out = &mut out[self.element..self.element + self.count];
                            self.store::<V, VECTORS, FULL>(x, out.as_mut_ptr());
                        }
                    }
                    Op::StoreBits {
                        thresholds,
                        flip,
                        output,
                    } => {
                        let thresholds: [V; VECTORS] = self.constant(*thresholds);
                        let mut bits = 0;
                        for (vector, (x, threshold)) in x.iter().zip(thresholds).enumerate() {
                            bits |= x.ge_bits(threshold) << (vector * V::LANES);
                        }
                        if let Some(flip) = flip.get(self.offset / CHUNK) {
                            bits ^= flip;
                        }
                        if let OutputSlice::Bits(out) = &mut outputs[*output] {
                            self.store_bits(bits, out);
                        }
                    }
                }
            }
            if write_back {
                self.store::<V, VECTORS, FULL>(x, values.as_mut_ptr());
            }
        }
    }

    /// The constants of the chunk.
    ///
    /// # Safety
    /// The processor has the features of the vectors; the constant is one of the plan.
    #[inline(always)]
    unsafe fn constant<V: Lanes, const VECTORS: usize>(&self, constant: Constant) -> [V; VECTORS] {
        let constants = self.plan.constants.as_slice().as_ptr();
        // SAFETY: each constant of the plan takes the chunks of a whole period.
        unsafe {
            let mut vectors = [V::splat(0.0); VECTORS];
            for (vector, value) in vectors.iter_mut().enumerate() {
                *value = V::load(constants.add(constant + self.offset + vector * V::LANES));
            }
            vectors
        }
    }

    /// Values in the vector at a position.
    #[inline(always)]
    fn lanes<V: Lanes>(&self, vector: usize) -> usize {
        self.count.saturating_sub(vector * V::LANES).min(V::LANES)
    }

    /// # Safety
    /// The processor has the features of the vectors; `count` floats can be read, which are 64 where
    /// `FULL` says so.
    #[inline(always)]
    unsafe fn load<V: Lanes, const VECTORS: usize, const FULL: bool>(
        &self,
        from: *const f32,
    ) -> [V; VECTORS] {
        // SAFETY: the promises of the caller; vectors past the end read nothing.
        unsafe {
            let mut vectors = [V::splat(0.0); VECTORS];
            for (vector, value) in vectors.iter_mut().enumerate() {
                let from = from.wrapping_add(vector * V::LANES);
                *value = if FULL {
                    V::load(from)
                } else {
                    V::load_first(from, self.lanes::<V>(vector))
                };
            }
            vectors
        }
    }

    /// # Safety
    /// The processor has the features of the vectors; `count` floats can be written, which are 64
    /// where `FULL` says so.
    #[inline(always)]
    unsafe fn store<V: Lanes, const VECTORS: usize, const FULL: bool>(
        &self,
        vectors: [V; VECTORS],
        to: *mut f32,
    ) {
        for (vector, value) in vectors.into_iter().enumerate() {
            let to = to.wrapping_add(vector * V::LANES);
            // SAFETY: the promises of the caller; vectors past the end write nothing.
            unsafe {
                if FULL {
                    value.store(to);
                } else {
                    value.store_first(to, self.lanes::<V>(vector));
                }
            }
        }
    }

    /// Writes the bits of the chunk, which may belong to several pixels of few channels.
    #[inline(always)]
    fn store_bits(&self, bits: u64, out: &mut [u64]) {
        let channels = self.plan.channels;
        if self.plan.period == channels {
            let pixel = (self.element - self.offset) / channels;
            let word = pixel * words_per_pixel(channels) + self.offset / CHUNK;
            out[word] = bits & low_mask(self.count);
        } else {
            let first = self.element / channels;
            for pixel in 0..self.count / channels {
                out[first + pixel] = bits >> (pixel * channels) & low_mask(channels);
            }
        }
    }
}
