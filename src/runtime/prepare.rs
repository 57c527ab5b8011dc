//! One step of a program, made ready for one instruction set: weights packed, constants in the form
//! of the kernels.

use std::borrow::Cow;

use bnn_kernels as kernels;
use kernels::{FloatWeights, Isa, SegmentBits, words_per_pixel};

use super::{
    RunError,
    info::StepInfo,
    rows::{Consumer, OperandSource, Producer, RowStep},
};
use crate::program::{
    self, AffineTerms, BinaryOutput, Buffer, BufferId, BufferKind, CombineOp, EpilogueOp, PadValue,
    Program, Reduction, Step, StepKind, TensorData, TensorId, UnaryFunction,
};

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// Rows of values through an epilogue.
    Rows(Box<RowStep>),
    /// Joins maps of bits along their channels (given per input).
    ConcatBits { channels: Vec<usize>, pixels: usize },
    /// A strided copy.
    Gather { dims: Vec<usize>, strides: Vec<isize>, offset: usize },
    /// A constant border.
    Pad { input: Buffer, pads: [usize; 4], value: f32 },
    /// Softmax over channels.
    Softmax { channels: usize, log: bool },
}

impl Work {
    /// Words of temporary memory for each thread.
    pub(crate) fn temporary_words(&self) -> usize {
        match self {
            Self::Rows(step) => step.temporary_words(),
            _ => 0,
        }
    }
}

/// Values (f32, i16) or words (bits) of a buffer.
///
/// # Errors
/// [`RunError::TooLarge`] if no memory can hold it.
pub(crate) fn buffer_len(buffer: &Buffer) -> Result<usize, RunError> {
    let of_pixel = match buffer.kind {
        BufferKind::F32 | BufferKind::I16 => buffer.channels,
        BufferKind::Bits => words_per_pixel(buffer.channels),
    };
    buffer
        .height
        .checked_mul(buffer.width)
        .and_then(|pixels| pixels.checked_mul(of_pixel))
        .filter(|&len| len <= isize::MAX as usize / 8)
        .ok_or(RunError::UNADDRESSABLE)
}

/// Bytes of a buffer.
pub(crate) fn buffer_bytes(buffer: &Buffer) -> Result<usize, RunError> {
    let len = buffer_len(buffer)?;
    Ok(match buffer.kind {
        BufferKind::F32 => len * 4,
        BufferKind::I16 => len * 2,
        BufferKind::Bits => len * 8,
    })
}

/// Makes one step ready. The memory figures of the description are left to the caller.
///
/// # Errors
/// [`RunError::Step`] if a kernel refuses the shape or a tensor has the wrong kind.
pub(crate) fn prepare(
    program: &Program,
    step: &Step,
    isa: Isa,
) -> Result<(Work, StepInfo), RunError> {
    Preparation { program, step, isa }.run()
}

struct Preparation<'a> {
    program: &'a Program,
    step: &'a Step,
    isa: Isa,
}

impl Preparation<'_> {
    fn run(&self) -> Result<(Work, StepInfo), RunError> {
        let mut info = StepInfo {
            name: self.step.name.clone(),
            kind: "",
            kernel: "",
            output: [0; 3],
            macs: 0,
            weight_bytes: 0,
            read_bytes: 0,
            written_bytes: 0,
            temporary_bytes: 0,
        };
        let work = match &self.step.kind {
            StepKind::BinaryConv { conv, output } => {
                info.kind = "binary_conv";
                self.binary_conv(conv, output, &mut info)?
            }
            StepKind::FloatConv { conv, epilogue } => {
                info.kind = "float_conv";
                self.float_conv(conv, epilogue, &mut info)?
            }
            StepKind::Elementwise { input, flatten, epilogue } => {
                info.kind = "elementwise";
                let Buffer { height, width, channels, .. } = *self.program.buffer(*input);
                let size = if *flatten {
                    [1, 1, height * width * channels]
                } else {
                    [height, width, channels]
                };
                self.per_pixel(Producer::Copy, size, epilogue, &mut info)?
            }
            StepKind::ReduceChannels { input, reduction, epilogue } => {
                info.kind = "reduce_channels";
                let input = self.program.buffer(*input);
                let producer = Producer::Reduce {
                    reduction: match reduction {
                        Reduction::Mean => kernels::Reduction::Mean,
                        Reduction::Sum => kernels::Reduction::Sum,
                        Reduction::Max => kernels::Reduction::Max,
                        Reduction::Min => kernels::Reduction::Min,
                    },
                    channels: input.channels,
                };
                let size = [input.height, input.width, 1];
                self.per_pixel(producer, size, epilogue, &mut info)?
            }
            StepKind::MaxPool { input, pool, epilogue } => {
                info.kind = "max_pool";
                let geometry = self.pool(*input, pool)?;
                let pool = kernels::MaxPool::new(self.isa, geometry.clone());
                let producer = Producer::MaxPool(pool.map_err(|e| self.refuse(e))?);
                self.window(producer, &geometry, epilogue, &mut info)?
            }
            StepKind::AveragePool { input, pool, count_include_pad, epilogue } => {
                info.kind = "average_pool";
                let geometry = self.pool(*input, pool)?;
                let pool =
                    kernels::AveragePool::new(self.isa, geometry.clone(), *count_include_pad);
                let producer = Producer::AveragePool(pool.map_err(|e| self.refuse(e))?);
                self.window(producer, &geometry, epilogue, &mut info)?
            }
            StepKind::MaxPoolBits { input, pool, flip, .. } => {
                info.kind = "max_pool_bits";
                let geometry = self.pool(*input, pool)?;
                let [rows, pixels] = geometry.output();
                info.output = [rows, pixels, geometry.channels];
                let flip = flip.map(|id| self.bits(id)).transpose()?;
                let pool = kernels::MaxPoolBits::new(geometry, flip).map_err(|e| self.refuse(e))?;
                Work::Rows(Box::new(RowStep::new(
                    Producer::MaxPoolBits(pool),
                    Consumer::Store,
                    info.output,
                )?))
            }
            StepKind::Threshold { inputs, floats, integers, flip, output } => {
                info.kind = "threshold";
                let output = self.program.buffer(*output);
                info.output = [output.height, output.width, output.channels];
                let segments = self.segments(inputs, [*floats, *integers], *flip)?;
                let size = [output.height * output.width, 1, output.channels];
                let producer = Producer::Threshold(segments);
                Work::Rows(Box::new(RowStep::new(producer, Consumer::Store, size)?))
            }
            StepKind::Concat { inputs, output } => {
                info.kind = "concat";
                let output = self.program.buffer(*output);
                info.output = [output.height, output.width, output.channels];
                let channels = inputs.iter().map(|&id| self.program.buffer(id).channels).collect();
                if output.kind == BufferKind::Bits {
                    Work::ConcatBits { channels, pixels: output.height * output.width }
                } else {
                    let producer = Producer::Concat(channels);
                    Work::Rows(Box::new(RowStep::new(producer, Consumer::Store, info.output)?))
                }
            }
            StepKind::Gather { output, dims, strides, offset, .. } => {
                info.kind = "gather";
                let output = self.program.buffer(*output);
                info.output = [output.height, output.width, output.channels];
                Work::Gather { dims: dims.clone(), strides: strides.clone(), offset: *offset }
            }
            StepKind::Pad { input, output, pads, channels, value } => {
                info.kind = "pad";
                let output = self.program.buffer(*output);
                info.output = [output.height, output.width, output.channels];
                let (mut input, mut pads) = (*self.program.buffer(*input), *pads);
                if let [front, back] = *channels
                    && front + back != 0
                {
                    // Channels are padded as the columns of a map with one row for each pixel.
                    let height = input.height * input.width;
                    let width = input.channels;
                    input = Buffer { height, width, channels: 1, ..input };
                    pads = [0, front, 0, back];
                }
                Work::Pad { input, pads, value: *value }
            }
            StepKind::Softmax { output, log, .. } => {
                info.kind = "softmax";
                let output = self.program.buffer(*output);
                info.output = [output.height, output.width, output.channels];
                Work::Softmax { channels: output.channels, log: *log }
            }
        };
        Ok((work, info))
    }

    fn binary_conv(
        &self,
        conv: &program::BinaryConv,
        output: &BinaryOutput,
        info: &mut StepInfo,
    ) -> Result<Work, RunError> {
        let geometry = self.conv(conv.input, &conv.geometry)?;
        let pad = match conv.pad {
            PadValue::Zero => kernels::PadValue::Zero,
            PadValue::Plus => kernels::PadValue::Plus,
            PadValue::Minus => kernels::PadValue::Minus,
        };
        let alphabet = match conv.alphabet {
            program::Alphabet::PlusMinus => kernels::Alphabet::PlusMinus,
            program::Alphabet::ZeroOne => kernels::Alphabet::ZeroOne,
        };
        let weights = self.bits(conv.weights)?;
        let kernel = kernels::BinaryConv::new(self.isa, geometry.clone(), pad, alphabet, weights)
            .map_err(|e| self.refuse(e))?;
        info.kernel = kernel.kernel_name();
        info.macs = geometry.macs();
        info.weight_bytes = kernel.packed_bytes();
        let affine =
            conv.affine.as_ref().map(|terms| self.affine(terms, &geometry, weights)).transpose()?;
        let consumer = match output {
            BinaryOutput::Threshold { thresholds, flip, .. } if affine.is_none() => {
                Consumer::Threshold {
                    thresholds: self.i32(*thresholds)?.to_vec(),
                    flip: flip.map(|id| self.bits(id)).transpose()?.map(<[u64]>::to_vec),
                }
            }
            BinaryOutput::Threshold { .. } => {
                return Err(self.refuse("integer thresholds do not apply to an affine form"));
            }
            BinaryOutput::Float(epilogue) => {
                self.consumer(&epilogue.ops, geometry.out_channels, geometry.output())?
            }
            BinaryOutput::Integers { .. } if affine.is_none() => Consumer::Store,
            BinaryOutput::Integers { .. } => {
                return Err(self.refuse("an affine form has no integers"));
            }
        };
        let [rows, pixels] = geometry.output();
        info.output = [rows, pixels, geometry.out_channels];
        let producer = Producer::BinaryConv { conv: kernel, affine };
        Ok(Work::Rows(Box::new(RowStep::new(producer, consumer, info.output)?)))
    }

    /// The comparisons of the inputs of a threshold step, and the places of their bits.
    fn segments(
        &self,
        inputs: &[BufferId],
        [floats, integers]: [Option<TensorId>; 2],
        flip: Option<TensorId>,
    ) -> Result<Vec<SegmentBits>, RunError> {
        let inputs: Vec<&Buffer> = inputs.iter().map(|&id| self.program.buffer(id)).collect();
        let channels = inputs.iter().map(|input| input.channels).sum();
        let floats = floats.map(|id| self.f32(id)).transpose()?;
        let integers = integers.map(|id| self.i32(id)).transpose()?;
        let (mut floats, mut integers) =
            (floats.as_deref().unwrap_or(&[]), integers.unwrap_or(&[]));
        let flip = flip.map(|id| self.bits(id)).transpose()?;
        let mut first = 0;
        let mut segments = Vec::with_capacity(inputs.len());
        for input in inputs {
            let own = input.channels;
            let flip = flip.map(|flip| bits_from(flip, first, own));
            let flip = flip.as_deref().filter(|flip| flip.iter().any(|&word| word != 0));
            let missing = || self.refuse("a channel has no threshold");
            let segment = if input.kind == BufferKind::I16 {
                let (own, rest) = integers.split_at_checked(own).ok_or_else(missing)?;
                integers = rest;
                SegmentBits::of_i16(self.isa, own, flip, first, channels)
            } else {
                let (own, rest) = floats.split_at_checked(own).ok_or_else(missing)?;
                floats = rest;
                SegmentBits::of_f32(self.isa, own.to_vec(), flip, first, channels)
            };
            segments.push(segment.map_err(|e| self.refuse(e))?);
            first += own;
        }
        Ok(segments)
    }

    fn affine(
        &self,
        terms: &AffineTerms,
        geometry: &kernels::ConvGeometry,
        weights: &[u64],
    ) -> Result<kernels::AffineBinary, RunError> {
        let channels = geometry.out_channels;
        let per_channel = |id| {
            let values = self.f32(id)?;
            if values.len() == channels {
                Ok(values)
            } else {
                let found = values.len();
                Err(self.refuse(format!("affine term of {found} values, expected {channels}")))
            }
        };
        let input_sum = terms.input_sum.map(per_channel).transpose()?;
        Ok(kernels::AffineBinary::new(
            geometry,
            weights,
            &per_channel(terms.dot)?,
            &per_channel(terms.weight_sum)?,
            input_sum.as_deref(),
            &per_channel(terms.count)?,
        ))
    }

    fn float_conv(
        &self,
        conv: &program::FloatConv,
        epilogue: &program::Epilogue,
        info: &mut StepInfo,
    ) -> Result<Work, RunError> {
        let geometry = self.conv(conv.input, &conv.geometry)?;
        let values;
        let weights = match &self.program.tensor(conv.weights).data {
            TensorData::Bits(words) => FloatWeights::Signs(words),
            _ => {
                values = self.f32(conv.weights)?;
                FloatWeights::F32(&values)
            }
        };
        let kernel = kernels::FloatConv::new(self.isa, geometry.clone(), weights)
            .map_err(|e| self.refuse(e))?;
        info.kernel = kernel.kernel_name();
        info.macs = geometry.macs();
        info.weight_bytes = kernel.packed_bytes();
        let (kernel, ops) = match epilogue.ops.split_first() {
            Some((EpilogueOp::Channel(program::ChannelOp::Add(bias)), rest)) => {
                let mut bias = self.f32(*bias)?.into_owned();
                if let [single] = bias[..] {
                    bias.resize(geometry.out_channels, single);
                }
                (kernel.with_bias(&bias).map_err(|e| self.refuse(e))?, rest)
            }
            _ => (kernel, &epilogue.ops[..]),
        };
        self.window_step(
            Producer::FloatConv(kernel),
            geometry.output(),
            geometry.out_channels,
            ops,
            info,
        )
    }

    fn window(
        &self,
        producer: Producer,
        geometry: &kernels::PoolGeometry,
        epilogue: &program::Epilogue,
        info: &mut StepInfo,
    ) -> Result<Work, RunError> {
        self.window_step(producer, geometry.output(), geometry.channels, &epilogue.ops, info)
    }

    fn window_step(
        &self,
        producer: Producer,
        [rows, pixels]: [usize; 2],
        channels: usize,
        ops: &[EpilogueOp],
        info: &mut StepInfo,
    ) -> Result<Work, RunError> {
        info.output = [rows, pixels, channels];
        let consumer = self.consumer(ops, channels, [rows, pixels])?;
        Ok(Work::Rows(Box::new(RowStep::new(producer, consumer, info.output)?)))
    }

    /// A step whose pixels do not depend on each other: each is a row of its own, so that a map of
    /// one long row is cut up like any other.
    fn per_pixel(
        &self,
        producer: Producer,
        [height, width, channels]: [usize; 3],
        epilogue: &program::Epilogue,
        info: &mut StepInfo,
    ) -> Result<Work, RunError> {
        info.output = [height, width, channels];
        let consumer = self.consumer(&epilogue.ops, channels, [height, width])?;
        let rows = height.checked_mul(width).ok_or(RunError::UNADDRESSABLE)?;
        Ok(Work::Rows(Box::new(RowStep::new(producer, consumer, [rows, 1, channels])?)))
    }

    fn consumer(
        &self,
        ops: &[EpilogueOp],
        channels: usize,
        [height, width]: [usize; 2],
    ) -> Result<Consumer, RunError> {
        if let [EpilogueOp::Store { .. }] = ops {
            return Ok(Consumer::Store);
        }
        let mut operands = Vec::new();
        let mut outputs = 0;
        let ops = ops
            .iter()
            .map(|op| {
                let mut next_output = || {
                    outputs += 1;
                    outputs - 1
                };
                Ok(match op {
                    EpilogueOp::Channel(op) => kernels::EpilogueOp::Channel(self.channel_op(op)?),
                    EpilogueOp::Combine { op, operand } => {
                        let operand = self.program.buffer(*operand);
                        let pixel = [operand.height, operand.width] == [1, 1];
                        let whole = pixel && [height, width] != [1, 1];
                        operands.push(if whole {
                            OperandSource::Pixel
                        } else {
                            OperandSource::Map
                        });
                        kernels::EpilogueOp::Combine {
                            op: combine_op(*op),
                            operand: operands.len() - 1,
                            broadcast: whole,
                        }
                    }
                    EpilogueOp::Store { .. } => {
                        kernels::EpilogueOp::Store { output: next_output() }
                    }
                    EpilogueOp::StoreBits { thresholds, flip, .. } => {
                        kernels::EpilogueOp::StoreBits {
                            thresholds: self.f32(*thresholds)?.into_owned(),
                            flip: flip.map(|id| self.bits(id)).transpose()?.map(<[u64]>::to_vec),
                            output: next_output(),
                        }
                    }
                })
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        let epilogue =
            kernels::Epilogue::new(self.isa, channels, ops).map_err(|e| self.refuse(e))?;
        Ok(Consumer::Epilogue { epilogue, operands })
    }

    fn channel_op(
        &self,
        op: &program::ChannelOp<TensorId>,
    ) -> Result<kernels::ChannelOp, RunError> {
        use program::ChannelOp as Op;
        let constant = |&id: &TensorId| Ok::<_, RunError>(self.f32(id)?.into_owned());
        Ok(match op.try_map(constant)? {
            Op::Add(p) => kernels::ChannelOp::Add(p),
            Op::Subtract(p) => kernels::ChannelOp::Subtract(p),
            Op::SubtractFrom(p) => kernels::ChannelOp::SubtractFrom(p),
            Op::Multiply(p) => kernels::ChannelOp::Multiply(p),
            Op::Divide(p) => kernels::ChannelOp::Divide(p),
            Op::DivideInto(p) => kernels::ChannelOp::DivideInto(p),
            Op::Minimum(p) => kernels::ChannelOp::Minimum(p),
            Op::Maximum(p) => kernels::ChannelOp::Maximum(p),
            Op::Wrap(p) => kernels::ChannelOp::Wrap(p),
            Op::TwoSlope { positive, negative } => {
                kernels::ChannelOp::TwoSlope { positive, negative }
            }
            Op::Step { at_least, low, high } => kernels::ChannelOp::Step { at_least, low, high },
            Op::Unary(function) => kernels::ChannelOp::Unary(unary_function(function)),
        })
    }

    fn conv(
        &self,
        input: BufferId,
        geometry: &program::ConvGeometry,
    ) -> Result<kernels::ConvGeometry, RunError> {
        let buffer = self.program.buffer(input);
        let geometry = kernels::ConvGeometry {
            in_channels: geometry.in_channels,
            out_channels: geometry.out_channels,
            input: [buffer.height, buffer.width],
            kernel: geometry.kernel,
            stride: geometry.stride,
            dilation: geometry.dilation,
            pads: geometry.pads,
            groups: geometry.groups,
        };
        geometry.validate().map_err(|e| self.refuse(e))?;
        Ok(geometry)
    }

    fn pool(
        &self,
        input: BufferId,
        pool: &program::PoolGeometry,
    ) -> Result<kernels::PoolGeometry, RunError> {
        let buffer = self.program.buffer(input);
        let geometry = kernels::PoolGeometry {
            channels: buffer.channels,
            input: [buffer.height, buffer.width],
            kernel: pool.kernel,
            stride: pool.stride,
            dilation: pool.dilation,
            pads: pool.pads,
        };
        geometry.validate().map_err(|e| self.refuse(e))?;
        Ok(geometry)
    }

    fn f32(&self, id: TensorId) -> Result<Cow<'_, [f32]>, RunError> {
        let tensor = self.program.tensor(id);
        match &tensor.data {
            TensorData::F32(values) => Ok(Cow::Borrowed(values)),
            TensorData::F16(values) => Ok(values
                .iter()
                .map(|&bits| half::f16::from_bits(bits).to_f32())
                .collect::<Vec<_>>()
                .into()),
            _ => Err(self.wrong_kind(id, "floats")),
        }
    }

    fn i32(&self, id: TensorId) -> Result<&[i32], RunError> {
        self.program.tensor(id).i32().ok_or_else(|| self.wrong_kind(id, "32-bit integers"))
    }

    fn bits(&self, id: TensorId) -> Result<&[u64], RunError> {
        self.program.tensor(id).bits().ok_or_else(|| self.wrong_kind(id, "bits"))
    }

    fn wrong_kind(&self, id: TensorId, expected: &str) -> RunError {
        let tensor = self.program.tensor(id);
        self.refuse(format!(
            "tensor '{}' holds {:?}, expected {expected}",
            tensor.name,
            tensor.kind()
        ))
    }

    fn refuse(&self, reason: impl ToString) -> RunError {
        RunError::Step { step: self.step.name.clone(), reason: reason.to_string() }
    }
}

/// `count` bits of a dense string, from bit `first` on.
fn bits_from(words: &[u64], first: usize, count: usize) -> Vec<u64> {
    let mut bits = vec![0; count.div_ceil(64)];
    for at in 0..count {
        let from = first + at;
        bits[at / 64] |= (words[from / 64] >> (from % 64) & 1) << (at % 64);
    }
    bits
}

fn combine_op(op: CombineOp) -> kernels::CombineOp {
    match op {
        CombineOp::Add => kernels::CombineOp::Add,
        CombineOp::Subtract => kernels::CombineOp::Subtract,
        CombineOp::SubtractFrom => kernels::CombineOp::SubtractFrom,
        CombineOp::Multiply => kernels::CombineOp::Multiply,
        CombineOp::Divide => kernels::CombineOp::Divide,
        CombineOp::DivideInto => kernels::CombineOp::DivideInto,
        CombineOp::Minimum => kernels::CombineOp::Minimum,
        CombineOp::Maximum => kernels::CombineOp::Maximum,
    }
}

fn unary_function(function: UnaryFunction) -> kernels::UnaryFunction {
    match function {
        UnaryFunction::Relu => kernels::UnaryFunction::Relu,
        UnaryFunction::Negate => kernels::UnaryFunction::Negate,
        UnaryFunction::Absolute => kernels::UnaryFunction::Absolute,
        UnaryFunction::Floor => kernels::UnaryFunction::Floor,
        UnaryFunction::Ceil => kernels::UnaryFunction::Ceil,
        UnaryFunction::Round => kernels::UnaryFunction::Round,
        UnaryFunction::Sqrt => kernels::UnaryFunction::Sqrt,
        UnaryFunction::Reciprocal => kernels::UnaryFunction::Reciprocal,
        UnaryFunction::Exp => kernels::UnaryFunction::Exp,
        UnaryFunction::Log => kernels::UnaryFunction::Log,
        UnaryFunction::Tanh => kernels::UnaryFunction::Tanh,
        UnaryFunction::Sigmoid => kernels::UnaryFunction::Sigmoid,
        UnaryFunction::Erf => kernels::UnaryFunction::Erf,
        UnaryFunction::Softplus => kernels::UnaryFunction::Softplus,
        UnaryFunction::Sign => kernels::UnaryFunction::Sign,
    }
}
