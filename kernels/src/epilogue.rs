//! What becomes of rows of accumulators: short lists of operations per channel, additions of other
//! maps, and stores as floats and as bits, run while the row is in cache.
//!
//! Each operation is rounded on its own, in the order of the list; no two are ever contracted. So the
//! fused paths give the bits of the operations run one after the other.

mod fused;
mod pass;
mod reference;
mod sequence;

use crate::{Isa, IsaError, numbers::i32_to_f32_in_place, words_per_pixel};
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
    /// `x >= p ? x - p : x`.
    Wrap(Vec<f32>),
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

/// Another map that is read.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    /// The same pixels as the values, or one pixel where it is broadcast.
    Map(&'a [f32]),
    /// What this output of floats holds before it is written: a sum that takes the place of one of its
    /// terms needs half the memory, and half the cache. See [`Epilogue::works_in_place`].
    Output(usize),
}

/// Where a store goes: the same pixels as the values.
#[derive(Debug)]
pub enum OutputSlice<'a> {
    /// `[pixels][channels]`.
    F32(&'a mut [f32]),
    /// `[pixels][channels]`; no epilogue writes integers.
    I16(&'a mut [i16]),
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
    operands: Vec<Option<OperandKind>>,
    outputs: Vec<Option<OutputKind>>,
    /// Position of the last operation that reads each operand.
    last_reads: Vec<usize>,
    /// Position of the first operation that writes each output.
    first_stores: Vec<usize>,
    path: Path,
}

/// How the operations run.
#[derive(Debug)]
enum Path {
    /// One after the other.
    Reference(Vec<EpilogueOp>),
    /// In one pass.
    Fused(fused::Plan),
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
        let (mut last_reads, mut first_stores) = (Vec::new(), Vec::new());
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
                EpilogueOp::Combine { operand, broadcast, .. } => {
                    let kind = if *broadcast { OperandKind::Pixel } else { OperandKind::Map };
                    claim(&mut operands, *operand, kind).map_err(conflict)?;
                    last_reads.resize(operands.len(), 0);
                    last_reads[*operand] = operation;
                }
                EpilogueOp::Store { output } => {
                    claim(&mut outputs, *output, OutputKind::F32).map_err(conflict)?;
                    first_stores.resize(outputs.len(), ops.len());
                    first_stores[*output] = first_stores[*output].min(operation);
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
        let path = match isa {
            Isa::Scalar => Path::Reference(ops),
            // SAFETY: the processor has the instruction set, as was made sure above.
            isa => Path::Fused(unsafe { fused::Plan::new(isa, channels, &ops) }),
        };
        Ok(Self { channels, operands, outputs, last_reads, first_stores, path })
    }

    /// Channels of the maps.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Whether an operand may be what an output holds before: if it is a map, and no operation reads it
    /// once the output has been written.
    pub fn works_in_place(&self, operand: usize, output: usize) -> bool {
        self.operands.get(operand) == Some(&Some(OperandKind::Map))
            && self.outputs.get(output) == Some(&Some(OutputKind::F32))
            && self.last_reads[operand] < self.first_stores[output]
    }

    /// Runs the operations on some pixels.
    ///
    /// `values` are `[pixels][channels]` and serve as working storage: what they hold afterwards is
    /// not specified. `operands[k]` holds the same pixels of operand `k`, or one pixel where it is
    /// broadcast; `outputs[k]` takes the same pixels of output `k`. Slices that no operation names are
    /// not looked at.
    ///
    /// # Panics
    /// If a slice is missing, of another kind or of another length than the operations ask for, or an
    /// operand is an output that it [cannot](Self::works_in_place) be.
    pub fn run(
        &self,
        values: &mut [f32],
        operands: &[Operand<'_>],
        outputs: &mut [OutputSlice<'_>],
    ) {
        self.check(values, operands, outputs);
        match &self.path {
            Path::Reference(ops) => {
                reference::run(ops, self.channels, values, operands, outputs);
            }
            Path::Fused(plan) => plan.run(values, operands, outputs),
        }
    }

    /// Runs the operations on integers, each of which becomes the nearest float first. Otherwise as [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_integers(
        &self,
        values: &mut [i32],
        operands: &[Operand<'_>],
        outputs: &mut [OutputSlice<'_>],
    ) {
        match &self.path {
            Path::Reference(_) => {
                self.run(i32_to_f32_in_place(Isa::Scalar, values), operands, outputs);
            }
            Path::Fused(plan) => {
                self.check(bytemuck::cast_slice(values), operands, outputs);
                plan.run_integers(values, operands, outputs);
            }
        }
    }

    fn check(&self, values: &[f32], operands: &[Operand<'_>], outputs: &[OutputSlice<'_>]) {
        assert!(values.len().is_multiple_of(self.channels), "values are whole pixels");
        let pixels = values.len() / self.channels;
        assert!(operands.len() >= self.operands.len(), "operands");
        for (index, (kind, operand)) in self.operands.iter().zip(operands).enumerate() {
            match (kind, operand) {
                (Some(OperandKind::Map), Operand::Map(map)) => {
                    assert_eq!(map.len(), values.len(), "operand map");
                }
                (Some(OperandKind::Pixel), Operand::Map(pixel)) => {
                    assert_eq!(pixel.len(), self.channels, "operand pixel");
                }
                (Some(_), Operand::Output(output)) => {
                    assert!(self.works_in_place(index, *output), "operand in place");
                }
                (None, _) => {}
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

impl<'a> Operand<'a> {
    /// Its values; none if it is no output of floats.
    fn slice<'s>(&self, outputs: &'s [OutputSlice<'_>]) -> &'s [f32]
    where
        'a: 's,
    {
        match self {
            Self::Map(values) => values,
            Self::Output(output) => match &outputs[*output] {
                OutputSlice::F32(values) => values,
                OutputSlice::I16(_) | OutputSlice::Bits(_) => &[],
            },
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
                | ChannelOp::Maximum(p)
                | ChannelOp::Wrap(p),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            6 => -9.0..9.0_f32,
            1 => (-6..6_i8).prop_map(|n| f32::from(n) / 2.0),
            1 => prop::sample::select(vec![
                0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45, f32::MAX,
                f32::MIN, f32::MIN_POSITIVE, -1e-38, 8_388_609.0, -8_388_607.5,
            ]),
        ]
    }

    /// One constant, or one per channel.
    fn constants(channels: usize) -> impl Strategy<Value = Vec<f32>> {
        prop_oneof![prop::collection::vec(value(), 1), prop::collection::vec(value(), channels),]
    }

    const FUNCTIONS: [UnaryFunction; 15] = [
        UnaryFunction::Relu,
        UnaryFunction::Negate,
        UnaryFunction::Absolute,
        UnaryFunction::Floor,
        UnaryFunction::Ceil,
        UnaryFunction::Round,
        UnaryFunction::Sqrt,
        UnaryFunction::Reciprocal,
        UnaryFunction::Exp,
        UnaryFunction::Log,
        UnaryFunction::Tanh,
        UnaryFunction::Sigmoid,
        UnaryFunction::Erf,
        UnaryFunction::Softplus,
        UnaryFunction::Sign,
    ];

    fn channel_op(channels: usize) -> impl Strategy<Value = ChannelOp> {
        let p = || constants(channels);
        prop_oneof![
            p().prop_map(ChannelOp::Add),
            p().prop_map(ChannelOp::Subtract),
            p().prop_map(ChannelOp::SubtractFrom),
            p().prop_map(ChannelOp::Multiply),
            p().prop_map(ChannelOp::Divide),
            p().prop_map(ChannelOp::DivideInto),
            p().prop_map(ChannelOp::Minimum),
            p().prop_map(ChannelOp::Maximum),
            p().prop_map(ChannelOp::Wrap),
            (prop::option::of(p()), p())
                .prop_map(|(positive, negative)| ChannelOp::TwoSlope { positive, negative }),
            (any::<bool>(), value(), value()).prop_map(|(at_least, low, high)| ChannelOp::Step {
                at_least,
                low,
                high
            }),
            prop::sample::select(&FUNCTIONS[..]).prop_map(ChannelOp::Unary),
            prop::sample::select(&FUNCTIONS[..8]).prop_map(ChannelOp::Unary),
        ]
    }

    /// Operations without stores; operand 0 is a map, operand 1 one pixel.
    fn op(channels: usize, broadcast: bool) -> impl Strategy<Value = EpilogueOp> {
        use CombineOp::*;
        let combine = prop::sample::select(vec![
            Add,
            Subtract,
            SubtractFrom,
            Multiply,
            Divide,
            DivideInto,
            Minimum,
            Maximum,
        ]);
        prop_oneof![
            3 => channel_op(channels).prop_map(EpilogueOp::Channel),
            1 => (combine, any::<bool>()).prop_map(move |(op, pixel)| {
                let broadcast = pixel && broadcast;
                EpilogueOp::Combine { op, operand: usize::from(broadcast), broadcast }
            }),
        ]
    }

    #[derive(Debug, Clone)]
    struct Case {
        channels: usize,
        values: Vec<f32>,
        map: Vec<f32>,
        pixel: Vec<f32>,
        ops: Vec<EpilogueOp>,
        thresholds: Vec<f32>,
        flip: Option<Vec<u64>>,
        /// Which stores there are before that of the floats at the end.
        floats: bool,
        bits: bool,
    }

    fn case() -> impl Strategy<Value = Case> {
        let channels =
            prop_oneof![1..9_usize, 1..200_usize, prop::sample::select(vec![16, 24, 32, 64, 128]),];
        (channels, 0..70_usize, any::<bool>()).prop_flat_map(|(channels, pixels, broadcast)| {
            let pixels = pixels.min(4000 / channels);
            (
                prop::collection::vec(value(), channels * pixels),
                prop::collection::vec(value(), channels * pixels),
                prop::collection::vec(value(), channels),
                prop::collection::vec(op(channels, broadcast), 0..7),
                constants(channels),
                prop::option::of(prop::collection::vec(any::<u64>(), words_per_pixel(channels))),
                any::<[bool; 2]>(),
            )
                .prop_map(
                    move |(values, map, pixel, ops, thresholds, flip, [floats, bits])| Case {
                        channels,
                        values,
                        map,
                        pixel,
                        ops,
                        thresholds,
                        flip,
                        floats,
                        bits,
                    },
                )
        })
    }

    impl Case {
        /// The float map and the bits after the operations.
        fn run(&self, isa: Isa, ops: &[EpilogueOp], values: &[f32]) -> (Vec<f32>, Vec<u64>) {
            self.run_kind(isa, ops, values, None)
        }

        /// The same, with integers in the place of the values if there are any.
        fn run_kind(
            &self,
            isa: Isa,
            ops: &[EpilogueOp],
            values: &[f32],
            integers: Option<&[i32]>,
        ) -> (Vec<f32>, Vec<u64>) {
            let pixels = values.len() / self.channels;
            let mut ops = ops.to_vec();
            // Stores leave the value as it is: one in the middle, one at the end.
            if self.floats {
                ops.push(EpilogueOp::Store { output: 1 });
            }
            if self.bits {
                ops.push(EpilogueOp::StoreBits {
                    thresholds: self.thresholds.clone(),
                    flip: self.flip.clone(),
                    output: 2,
                });
            }
            ops.push(EpilogueOp::Store { output: 0 });
            let epilogue = Epilogue::new(isa, self.channels, ops).unwrap();
            let run = |map: Operand<'_>, mut last: Vec<f32>, mut first: Vec<f32>| {
                let mut bits = vec![u64::MAX; pixels * words_per_pixel(self.channels)];
                let operands = [map, Operand::Map(&self.pixel)];
                let mut outputs = [
                    OutputSlice::F32(&mut last),
                    OutputSlice::F32(&mut first),
                    OutputSlice::Bits(&mut bits),
                ];
                match integers {
                    Some(integers) => {
                        epilogue.run_integers(&mut integers.to_vec(), &operands, &mut outputs);
                    }
                    None => epilogue.run(&mut values.to_vec(), &operands, &mut outputs),
                }
                if self.floats {
                    assert!(same(&last, &first), "stores leave the values as they are");
                }
                if !self.bits {
                    bits.fill(0);
                }
                (last, bits)
            };
            let rubbish = || vec![7.0; values.len()];
            let (last, bits) = run(Operand::Map(&self.map), rubbish(), rubbish());
            // The operand in the place of either output.
            for output in 0..1 + usize::from(self.floats) {
                if epilogue.works_in_place(0, output) {
                    let mut before = [rubbish(), rubbish()];
                    before[output].clone_from(&self.map);
                    let [before_last, before_first] = before;
                    let again = run(Operand::Output(output), before_last, before_first);
                    assert!(same(&again.0, &last) && again.1 == bits, "in place of {output}");
                }
            }
            (last, bits)
        }
    }

    fn same(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn fused_paths_give_the_bits_of_one_operation_after_the_other(case in case()) {
            let (expected, expected_bits) = case.run(Isa::Scalar, &case.ops, &case.values);
            for isa in Isa::available() {
                let (found, bits) = case.run(isa, &case.ops, &case.values);
                prop_assert!(same(&found, &expected), "{isa} {found:?} {expected:?}");
                prop_assert_eq!(&bits, &expected_bits, "{}", isa);
                // Each operation in a run of its own.
                let mut values = case.values.clone();
                for op in &case.ops {
                    values = case.run(isa, std::slice::from_ref(op), &values).0;
                }
                prop_assert!(same(&values, &expected), "{isa}, unfused");
            }
        }

        #[test]
        fn integers_are_the_floats_that_they_round_to(case in case(), shift in 0..24_u32) {
            let integers: Vec<i32> =
                case.values.iter().map(|value| value.to_bits() as i32 >> shift).collect();
            let floats: Vec<f32> = integers.iter().map(|&integer| integer as f32).collect();
            let (expected, expected_bits) = case.run(Isa::Scalar, &case.ops, &floats);
            for isa in Isa::available() {
                let (found, bits) = case.run_kind(isa, &case.ops, &floats, Some(&integers));
                prop_assert!(same(&found, &expected), "{isa} {found:?} {expected:?}");
                prop_assert_eq!(&bits, &expected_bits, "{}", isa);
            }
        }

        #[test]
        fn the_reference_applies_the_definitions(
            (op, values) in (1..5_usize).prop_flat_map(|channels| (
                channel_op(channels),
                prop::collection::vec(prop::collection::vec(value(), channels), 1..4),
            )),
        ) {
            let channels = values[0].len();
            let values = values.concat();
            let mut found = values.clone();
            reference::apply(&op, &mut found, channels);
            let expected: Vec<f32> =
                values.iter().enumerate().map(|(i, &x)| define(&op, x, i % channels)).collect();
            prop_assert!(same(&found, &expected), "{op:?} {values:?} {found:?}");
        }
    }

    /// The sequences that are compiled for themselves: of blocks of residual networks.
    #[test]
    fn blocks_of_residual_networks_give_the_bits_of_the_reference() {
        for channels in [24, 64, 100] {
            let constants = |step: f32| (0..channels).map(|c| c as f32 * step - 1.5).collect();
            let relu = || EpilogueOp::Channel(ChannelOp::Unary(UnaryFunction::Relu));
            let scale = || EpilogueOp::Channel(ChannelOp::Multiply(constants(0.37)));
            let add = || EpilogueOp::Channel(ChannelOp::Add(constants(0.73)));
            let shortcut =
                || EpilogueOp::Combine { op: CombineOp::Add, operand: 0, broadcast: false };
            let slope = || {
                let two = ChannelOp::TwoSlope { positive: None, negative: constants(0.03) };
                EpilogueOp::Channel(two)
            };
            let of_weights = || EpilogueOp::Channel(ChannelOp::Multiply(constants(-0.11)));
            let chains = [
                vec![scale(), add(), shortcut()],
                vec![add(), shortcut()],
                vec![of_weights(), scale(), add(), shortcut()],
                vec![scale(), add(), shortcut(), add(), slope(), add()],
                vec![of_weights(), scale(), add(), shortcut(), add(), slope(), add()],
                vec![relu(), scale(), add(), shortcut()],
                vec![scale(), add(), relu()],
            ];
            for (mut ops, packs) in
                chains.into_iter().flat_map(|ops| [(ops.clone(), true), (ops, false)])
            {
                let operands = ops.contains(&shortcut());
                if packs {
                    let thresholds = constants(0.5);
                    ops.push(EpilogueOp::StoreBits { thresholds, flip: None, output: 1 });
                }
                ops.push(EpilogueOp::Store { output: 0 });
                let integers: Vec<i32> =
                    (0..5 * channels as i32).map(|index| index * 7919 % 1153 - 576).collect();
                let map: Vec<f32> =
                    integers.iter().rev().map(|&value| value as f32 / 7.0).collect();
                let run = |isa: Isa, as_integers: bool| {
                    let epilogue = Epilogue::new(isa, channels, ops.clone()).unwrap();
                    let mut floats = vec![7.0; integers.len()];
                    let mut words = vec![u64::MAX; 5 * words_per_pixel(channels)];
                    let operands = &[Operand::Map(&map)][..usize::from(operands)];
                    let mut outputs =
                        [OutputSlice::F32(&mut floats), OutputSlice::Bits(&mut words)];
                    let outputs = &mut outputs[..if packs { 2 } else { 1 }];
                    if as_integers {
                        epilogue.run_integers(&mut integers.clone(), operands, outputs);
                    } else {
                        let mut values: Vec<f32> = integers.iter().map(|&v| v as f32).collect();
                        epilogue.run(&mut values, operands, outputs);
                    }
                    (floats, words)
                };
                let expected = run(Isa::Scalar, false);
                for isa in Isa::available() {
                    assert_eq!(run(isa, true), expected, "{isa}, integers, {ops:?}");
                    assert_eq!(run(isa, false), expected, "{isa}, floats, {ops:?}");
                }
            }
        }
    }

    /// The meaning of an operation, value by value.
    fn define(op: &ChannelOp, x: f32, channel: usize) -> f32 {
        let at = |p: &[f32]| p[channel.min(p.len() - 1)];
        match op {
            ChannelOp::Add(p) => x + at(p),
            ChannelOp::Subtract(p) => x - at(p),
            ChannelOp::SubtractFrom(p) => at(p) - x,
            ChannelOp::Multiply(p) => x * at(p),
            ChannelOp::Divide(p) => x / at(p),
            ChannelOp::DivideInto(p) => at(p) / x,
            ChannelOp::Minimum(p) if x < at(p) => x,
            ChannelOp::Maximum(p) if x > at(p) => x,
            ChannelOp::Minimum(p) | ChannelOp::Maximum(p) => at(p),
            ChannelOp::Wrap(p) if x >= at(p) => x - at(p),
            ChannelOp::Wrap(_) => x,
            ChannelOp::TwoSlope { positive, negative } => match positive {
                _ if x < 0.0 || x.is_nan() => x * at(negative),
                Some(positive) => x * at(positive),
                None => x,
            },
            ChannelOp::Step { at_least, low, high } => {
                if x > 0.0 || (*at_least && x == 0.0) {
                    *high
                } else {
                    *low
                }
            }
            ChannelOp::Unary(function) => function.apply(x),
        }
    }

    #[test]
    fn bits_compare_ordered_and_unused_ones_stay_clear() {
        let values = [0.0, -0.0, f32::NAN, 1.0, -1.0];
        for isa in Isa::available() {
            for channels in [1, 5] {
                let ops = vec![EpilogueOp::StoreBits {
                    thresholds: vec![0.0],
                    flip: Some(vec![!0 << 4 | u64::from(channels == 1)]),
                    output: 0,
                }];
                let epilogue = Epilogue::new(isa, channels, ops).unwrap();
                let mut bits = [9; 5];
                let pixels = 5 / channels;
                let out = OutputSlice::Bits(&mut bits[..pixels]);
                epilogue.run(&mut values.clone(), &[], &mut [out]);
                if channels == 1 {
                    assert_eq!(bits, [0, 0, 1, 0, 1], "{isa}");
                } else {
                    assert_eq!(bits[0], 0b11011, "{isa}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |channels, ops| Epilogue::new(Isa::Scalar, channels, ops).map(|_| ());
        let store = EpilogueOp::Store { output: 3 };
        let bits = |flip| EpilogueOp::StoreBits { thresholds: vec![0.0], flip, output: 3 };
        assert_eq!(new(0, vec![]), Err(EpilogueError::NoChannels));
        assert_eq!(
            new(4, vec![store.clone(), EpilogueOp::Channel(ChannelOp::Add(vec![0.0; 3]))]),
            Err(EpilogueError::Constants { operation: 1, found: 3, channels: 4 })
        );
        assert_eq!(
            new(65, vec![bits(Some(vec![0]))]),
            Err(EpilogueError::Flips { operation: 0, found: 1, expected: 2 })
        );
        assert_eq!(
            new(4, vec![store, bits(None)]),
            Err(EpilogueError::Conflict { operation: 1, slice: 3 })
        );
    }

    #[test]
    #[should_panic(expected = "output map")]
    fn a_short_output_is_refused() {
        let ops = vec![EpilogueOp::Store { output: 0 }];
        let epilogue = Epilogue::new(Isa::best(), 2, ops).unwrap();
        epilogue.run(&mut [0.0; 4], &[], &mut [OutputSlice::F32(&mut [0.0; 2])]);
    }
}
