//! The check that a program makes sense: what the runtime relies on, established once.
//!
//! After [`Program::validate`] every id is in range, every buffer is written exactly once before it
//! is read, every kernel's shapes agree, and no product of extents overflows.

use std::cmp::Ordering;

use thiserror::Error;

use super::{
    AffineTerms, Alphabet, BinaryConv, BinaryOutput, Buffer, BufferId, BufferKind, ChannelOp,
    ChannelOrder, ConvGeometry, Epilogue, EpilogueOp, FloatConv, MAX_SHORT_PRODUCTS, PadValue,
    PoolGeometry, Port, Preprocessing, Program, Resize, Step, StepKind, Tensor, TensorData,
    TensorId, TensorKind,
};

/// Largest extent of anything: keeps products of two extents within 48 bits.
const MAX_EXTENT: usize = 1 << 24;

/// Most elements of one buffer (1 GiB of f32).
const MAX_BUFFER_ELEMENTS: u64 = 1 << 28;

/// Most elements of all buffers together.
const MAX_TOTAL_ELEMENTS: u64 = 1 << 32;

/// Most steps of a program: a hundred times those of a large network.
const MAX_STEPS: usize = 1 << 15;

/// Most buffers of a program.
const MAX_BUFFERS: usize = 1 << 16;

/// Most inputs, and most outputs, of a program.
const MAX_PORTS: usize = 1 << 10;

/// Most operations of one epilogue.
const MAX_EPILOGUE_OPS: usize = 256;

/// Most dimensions of a gather.
const MAX_GATHER_RANK: usize = 16;

/// Largest width or height of a resized or cropped picture.
const MAX_PICTURE: u32 = 16384;

/// Why a program cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// An input or output is wrong.
    #[error("{direction} '{name}': {what}")]
    Port {
        /// `input` or `output`.
        direction: &'static str,
        /// Its name.
        name: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A buffer is wrong.
    #[error("buffer {index}: {what}")]
    Buffer {
        /// Its place in [`Program::buffers`].
        index: usize,
        /// What was found and what was expected.
        what: String,
    },
    /// A tensor is wrong by itself.
    #[error("tensor '{name}': {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A step is wrong.
    #[error("step {index} '{name}': {what}")]
    Step {
        /// Its place in [`Program::steps`].
        index: usize,
        /// Its name.
        name: String,
        /// What was found and what was expected.
        what: String,
    },
    /// The preprocessing is wrong.
    #[error("preprocessing: {0}")]
    Preprocessing(String),
    /// The detector is wrong, or does not fit the outputs.
    #[error("detector: {0}")]
    Detector(String),
    /// A block is wrong.
    #[error("block '{name}': {what}")]
    Block {
        /// Its name.
        name: String,
        /// What was found and what was expected.
        what: String,
    },
    /// The program as a whole is wrong.
    #[error("{0}")]
    Program(String),
}

/// What is wrong, before the place is known.
type Check<T = ()> = Result<T, String>;

impl Program {
    /// Checks everything that the runtime relies on.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order numbers of steps, buffers and ports, tensors, buffers, inputs, steps, outputs,
    /// preprocessing, detector, blocks.
    pub fn validate(&self) -> Result<(), ProgramError> {
        for (what, found, most) in [
            ("steps", self.steps.len(), MAX_STEPS),
            ("buffers", self.buffers.len(), MAX_BUFFERS),
            ("inputs", self.inputs.len(), MAX_PORTS),
            ("outputs", self.outputs.len(), MAX_PORTS),
        ] {
            if found > most {
                let what = format!("{found} {what}, expected at most {most}");
                return Err(ProgramError::Program(what));
            }
        }
        let tensors = check_tensors(&self.tensors)?;
        check_buffers(&self.buffers)?;
        let mut flow =
            Flow { program: self, tensors, states: vec![State::Unwritten; self.buffers.len()] };
        flow.check_inputs()?;
        for (index, step) in self.steps.iter().enumerate() {
            flow.check_step(step).map_err(|what| ProgramError::Step {
                index,
                name: step.name.clone(),
                what,
            })?;
        }
        flow.check_outputs()?;
        if let Some(index) = flow.states.iter().position(|state| *state == State::Unwritten) {
            let what = "is no input and written by no step".into();
            return Err(ProgramError::Buffer { index, what });
        }
        if let Some(preprocessing) = &self.metadata.preprocessing {
            preprocessing.check().map_err(ProgramError::Preprocessing)?;
        }
        if let Some(detector) = &self.metadata.detector {
            detector.check(&self.outputs).map_err(ProgramError::Detector)?;
        }
        self.check_blocks()
    }

    fn check_blocks(&self) -> Result<(), ProgramError> {
        let mut names = std::collections::HashSet::new();
        for block in &self.metadata.blocks {
            let unique = if names.insert(block.name.as_str()) {
                Ok(())
            } else {
                Err("the name is taken by another block".to_owned())
            };
            unique
                .and_then(|()| block.check(self))
                .map_err(|what| ProgramError::Block { name: block.name.clone(), what })?;
        }
        Ok(())
    }
}

/// What the values of a tensor are like, found out once however often the tensor is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Values {
    Finite,
    Infinite,
    NotANumber,
}

fn check_tensors(tensors: &[Tensor]) -> Result<Vec<Values>, ProgramError> {
    let mut names = std::collections::HashSet::with_capacity(tensors.len());
    tensors
        .iter()
        .map(|tensor| {
            let fail = |what| Err(ProgramError::Tensor { name: tensor.name.clone(), what });
            if !names.insert(tensor.name.as_str()) {
                return fail("the name is taken by another tensor".into());
            }
            check_tensor(tensor).or_else(fail)
        })
        .collect()
}

fn check_tensor(tensor: &Tensor) -> Check<Values> {
    let elements = tensor
        .shape
        .iter()
        .try_fold(1_usize, |product, &extent| product.checked_mul(extent))
        .filter(|&elements| elements > 0)
        .ok_or_else(|| format!("shape {:?} is empty or too large", tensor.shape))?;
    let (found, expected) = match &tensor.data {
        TensorData::F32(values) => (values.len(), elements),
        TensorData::F16(values) => (values.len(), elements),
        TensorData::I32(values) => (values.len(), elements),
        TensorData::Bits(words) => (words.len(), elements.div_ceil(64)),
    };
    if found != expected {
        return Err(format!(
            "{found} {}, expected {expected} for shape {:?}",
            if tensor.kind() == TensorKind::Bits { "words" } else { "elements" },
            tensor.shape
        ));
    }
    match &tensor.data {
        TensorData::F32(values) => Ok(classify(values.iter().copied())),
        TensorData::F16(values) => {
            Ok(classify(values.iter().map(|&bits| half::f16::from_bits(bits).to_f32())))
        }
        TensorData::I32(_) => Ok(Values::Finite),
        TensorData::Bits(words) => {
            let used = elements % 64;
            let last = words.last().copied().unwrap_or(0);
            if used != 0 && last >> used != 0 {
                return Err(format!("unused bits of the last word {last:#x} are set"));
            }
            Ok(Values::Finite)
        }
    }
}

/// The worst of some values.
fn classify(values: impl Iterator<Item = f32>) -> Values {
    // Without their sign, bits of floats are ordered as the numbers are, infinity behind them and NaN last. Their
    // maximum is found with vectors, as a classification of each is not.
    let magnitude = |value: f32| value.abs().to_bits().cast_signed();
    let largest = values.fold(0, |largest, value| largest.max(magnitude(value)));
    match largest.cmp(&magnitude(f32::INFINITY)) {
        Ordering::Less => Values::Finite,
        Ordering::Equal => Values::Infinite,
        Ordering::Greater => Values::NotANumber,
    }
}

fn check_buffers(buffers: &[Buffer]) -> Result<(), ProgramError> {
    let mut total = 0_u64;
    for (index, buffer) in buffers.iter().enumerate() {
        let Buffer { height, width, channels, .. } = *buffer;
        let fail = |what| Err(ProgramError::Buffer { index, what });
        if [height, width, channels].iter().any(|&extent| extent == 0 || extent > MAX_EXTENT) {
            return fail(format!(
                "{height}x{width}x{channels}, expected extents of 1 to {MAX_EXTENT}"
            ));
        }
        let elements = (height as u64 * width as u64).checked_mul(channels as u64);
        match elements {
            Some(elements) if elements <= MAX_BUFFER_ELEMENTS => total += elements,
            _ => {
                return fail(format!(
                    "{height}x{width}x{channels}, expected at most {MAX_BUFFER_ELEMENTS} elements"
                ));
            }
        }
        if total > MAX_TOTAL_ELEMENTS {
            return fail(format!(
                "{total} elements with the buffers before it, expected at most {MAX_TOTAL_ELEMENTS}"
            ));
        }
    }
    Ok(())
}

/// How far a buffer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unwritten,
    Input,
    Written,
    Read,
}

/// Walks through the steps and keeps account of the buffers.
struct Flow<'a> {
    program: &'a Program,
    /// For each tensor.
    tensors: Vec<Values>,
    /// For each buffer.
    states: Vec<State>,
}

/// Height, width and channels of a map.
type Extents = [usize; 3];

fn extents(buffer: &Buffer) -> Extents {
    [buffer.height, buffer.width, buffer.channels]
}

impl<'a> Flow<'a> {
    fn check_inputs(&mut self) -> Result<(), ProgramError> {
        if self.program.inputs.is_empty() {
            return Err(ProgramError::Program("no inputs, expected at least one".into()));
        }
        for (position, port) in self.program.inputs.iter().enumerate() {
            self.check_port(port, &self.program.inputs[..position])
                .and_then(|()| {
                    let state = &mut self.states[port.buffer.index()];
                    if *state != State::Unwritten {
                        return Err(format!("buffer {} belongs to another input", port.buffer.0));
                    }
                    *state = State::Input;
                    Ok(())
                })
                .map_err(|what| ProgramError::Port {
                    direction: "input",
                    name: port.name.clone(),
                    what,
                })?;
        }
        Ok(())
    }

    fn check_outputs(&mut self) -> Result<(), ProgramError> {
        if self.program.outputs.is_empty() {
            return Err(ProgramError::Program("no outputs, expected at least one".into()));
        }
        for (position, port) in self.program.outputs.iter().enumerate() {
            self.check_port(port, &self.program.outputs[..position])
                .and_then(|()| {
                    let buffer = port.buffer.0;
                    let state = &mut self.states[port.buffer.index()];
                    match *state {
                        // Marked as read so that no second output shares it.
                        State::Written => *state = State::Read,
                        State::Unwritten => return Err(format!("no step writes buffer {buffer}")),
                        State::Input => return Err(format!("buffer {buffer} is an input")),
                        State::Read => {
                            return Err(format!(
                                "buffer {buffer} is read by a step or is another output"
                            ));
                        }
                    }
                    Ok(())
                })
                .map_err(|what| ProgramError::Port {
                    direction: "output",
                    name: port.name.clone(),
                    what,
                })?;
        }
        Ok(())
    }

    fn check_port(&self, port: &Port, before: &[Port]) -> Check {
        let buffer = self.buffer(port.buffer)?;
        if buffer.kind != BufferKind::F32 {
            let kind = match buffer.kind {
                BufferKind::I16 => "i16",
                _ => "bits",
            };
            return Err(format!("buffer {} holds {kind}, expected f32", port.buffer.0));
        }
        let elements = extents(buffer).iter().product::<usize>();
        let product =
            port.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        if product != Some(elements) {
            return Err(format!(
                "shape {:?} does not have the {elements} elements of buffer {}",
                port.shape, port.buffer.0
            ));
        }
        if before.iter().any(|other| other.name == port.name) {
            return Err("the name is taken by another one".into());
        }
        Ok(())
    }

    fn buffer(&self, id: BufferId) -> Check<&'a Buffer> {
        self.program.buffers.get(id.index()).ok_or_else(|| {
            format!("buffer {}, expected less than {}", id.0, self.program.buffers.len())
        })
    }

    /// A buffer that the current step reads.
    fn read(&mut self, id: BufferId, kind: Option<BufferKind>) -> Check<&'a Buffer> {
        let buffer = self.buffer(id)?;
        expect_kind(id, buffer, kind)?;
        let state = &mut self.states[id.index()];
        match *state {
            State::Unwritten => {
                return Err(format!("reads buffer {} before a step has written it", id.0));
            }
            State::Written => *state = State::Read,
            State::Input | State::Read => {}
        }
        Ok(buffer)
    }

    /// A buffer that the current step writes, which must have the given size.
    fn write(&mut self, id: BufferId, kind: BufferKind, size: Extents) -> Check {
        let buffer = self.buffer(id)?;
        expect_kind(id, buffer, Some(kind))?;
        let state = &mut self.states[id.index()];
        if *state != State::Unwritten {
            return Err(match state {
                State::Input => format!("writes buffer {}, which is an input", id.0),
                _ => format!("writes buffer {} a second time", id.0),
            });
        }
        if extents(buffer) != size {
            let [height, width, channels] = size;
            return Err(format!(
                "output buffer {} is {}x{}x{}, expected {height}x{width}x{channels}",
                id.0, buffer.height, buffer.width, buffer.channels
            ));
        }
        *state = State::Written;
        Ok(())
    }

    fn check_step(&mut self, step: &Step) -> Check {
        match &step.kind {
            StepKind::BinaryConv { conv, output } => self.binary_conv(conv, output),
            StepKind::FloatConv { conv, epilogue } => self.float_conv(conv, epilogue),
            StepKind::Elementwise { input, flatten, epilogue } => {
                let size = extents(self.read(*input, Some(BufferKind::F32))?);
                let size = if *flatten { [1, 1, size.iter().product()] } else { size };
                self.epilogue(epilogue, size)
            }
            StepKind::MaxPool { input, pool, epilogue }
            | StepKind::AveragePool { input, pool, epilogue, .. } => {
                let input = self.read(*input, Some(BufferKind::F32))?;
                self.epilogue(epilogue, pool_output(pool, input)?)
            }
            StepKind::MaxPoolBits { input, pool, flip, output } => {
                let input = self.read(*input, Some(BufferKind::Bits))?;
                self.flip(*flip, input.channels)?;
                self.write(*output, BufferKind::Bits, pool_output(pool, input)?)
            }
            StepKind::ReduceChannels { input, reduction: _, epilogue } => {
                let input = self.read(*input, Some(BufferKind::F32))?;
                self.epilogue(epilogue, [input.height, input.width, 1])
            }
            StepKind::Threshold { inputs, floats, integers, flip, output } => {
                self.threshold(inputs, [*floats, *integers], *flip, *output)
            }
            StepKind::Concat { inputs, output } => self.concat(inputs, *output),
            StepKind::Gather { input, output, dims, strides, offset } => {
                let input = self.read(*input, Some(BufferKind::F32))?;
                check_gather(extents(input).iter().product(), dims, strides, *offset)?;
                let size = extents(self.buffer(*output)?);
                // The extents are checked: neither product overflows.
                if dims.iter().product::<usize>() != size.iter().product::<usize>() {
                    return Err(format!(
                        "dims {dims:?} do not have the {} elements of buffer {}",
                        size.iter().product::<usize>(),
                        output.0
                    ));
                }
                self.write(*output, BufferKind::F32, size)
            }
            StepKind::Pad { input, output, pads, channels, value } => {
                self.pad(*input, *output, pads, channels, *value)
            }
            StepKind::Softmax { input, output, log: _ } => {
                let size = extents(self.read(*input, Some(BufferKind::F32))?);
                self.write(*output, BufferKind::F32, size)
            }
        }
    }

    fn binary_conv(&mut self, conv: &BinaryConv, output: &BinaryOutput) -> Check {
        let input = self.read(conv.input, Some(BufferKind::Bits))?;
        let size = conv_output(&conv.geometry, input)?;
        let channels = conv.geometry.out_channels;
        self.tensor(conv.weights, "weights", &[TensorKind::Bits], &[weights(&conv.geometry)])?;
        if let Some(affine) = &conv.affine {
            self.affine(affine, channels)?;
            if conv.alphabet != Alphabet::PlusMinus || conv.pad != PadValue::Zero {
                return Err(format!(
                    "affine terms with alphabet {:?} and padding {:?}, expected PlusMinus and Zero",
                    conv.alphabet, conv.pad
                ));
            }
            if matches!(output, BinaryOutput::Threshold { .. }) {
                return Err("affine terms before integer thresholds, expected an epilogue".into());
            }
        }
        match output {
            BinaryOutput::Threshold { thresholds, flip, output } => {
                self.tensor(*thresholds, "thresholds", &[TensorKind::I32], &[channels])?;
                self.flip(*flip, channels)?;
                self.write(*output, BufferKind::Bits, size)
            }
            BinaryOutput::Float(epilogue) => self.epilogue(epilogue, size),
            BinaryOutput::Integers { output } => {
                if conv.affine.is_some() {
                    return Err("affine terms before integers, expected an epilogue".into());
                }
                let products = conv.geometry.products();
                if products > MAX_SHORT_PRODUCTS {
                    return Err(format!(
                        "sums of {products} products as i16, expected at most {MAX_SHORT_PRODUCTS}"
                    ));
                }
                self.write(*output, BufferKind::I16, size)
            }
        }
    }

    fn affine(&self, affine: &AffineTerms, channels: usize) -> Check {
        let terms = [
            ("dot", Some(affine.dot)),
            ("weight_sum", Some(affine.weight_sum)),
            ("input_sum", affine.input_sum),
            ("count", Some(affine.count)),
        ];
        for (role, id) in terms {
            if let Some(id) = id {
                self.finite(id, role, &[TensorKind::F32], &[channels])?;
            }
        }
        Ok(())
    }

    fn float_conv(&mut self, conv: &FloatConv, epilogue: &Epilogue) -> Check {
        let input = self.read(conv.input, Some(BufferKind::F32))?;
        let size = conv_output(&conv.geometry, input)?;
        let kinds = [TensorKind::F32, TensorKind::F16, TensorKind::Bits];
        self.finite(conv.weights, "weights", &kinds, &[weights(&conv.geometry)])?;
        self.epilogue(epilogue, size)
    }

    fn threshold(
        &mut self,
        inputs: &[BufferId],
        [floats, integers]: [Option<TensorId>; 2],
        flip: Option<TensorId>,
        output: BufferId,
    ) -> Check {
        let size = self.joined(inputs, output, &[BufferKind::F32, BufferKind::I16])?;
        let of_kind = |kind: BufferKind| {
            let inputs = inputs.iter().map(|&id| self.program.buffer(id));
            let own = inputs.filter(|input| input.kind == kind).map(|input| input.channels);
            own.fold(0, usize::saturating_add)
        };
        for (role, id, kind, expected) in [
            ("floats", floats, TensorKind::F32, of_kind(BufferKind::F32)),
            ("integers", integers, TensorKind::I32, of_kind(BufferKind::I16)),
        ] {
            let Some(id) = id else {
                if expected > 0 {
                    return Err(format!("no thresholds for {expected} channels of {role}"));
                }
                continue;
            };
            if self.tensor(id, role, &[kind], &[expected])? == Values::NotANumber {
                return Err("a threshold is not a number".into());
            }
        }
        self.flip(flip, size[2])?;
        self.write(output, BufferKind::Bits, size)
    }

    fn concat(&mut self, inputs: &[BufferId], output: BufferId) -> Check {
        let target = self.buffer(output)?;
        let kinds: &[BufferKind] = match target.kind {
            BufferKind::Bits => &[BufferKind::Bits],
            BufferKind::F32 | BufferKind::I16 => &[BufferKind::F32, BufferKind::I16],
        };
        let size = self.joined(inputs, output, kinds)?;
        // Integers are only joined to floats.
        let kind = if target.kind == BufferKind::I16 { BufferKind::F32 } else { target.kind };
        self.write(output, kind, size)
    }

    /// The size of maps joined along their channels, each as large as the output and of one of the
    /// kinds.
    fn joined(
        &mut self,
        inputs: &[BufferId],
        output: BufferId,
        kinds: &[BufferKind],
    ) -> Check<Extents> {
        let target = self.buffer(output)?;
        let mut channels = 0_usize;
        for &id in inputs {
            let input = self.read(id, None)?;
            if !kinds.contains(&input.kind) {
                let expected = join(kinds.iter().map(|kind| format!("{kind:?}")));
                return Err(format!("buffer {} is {:?}, expected {expected}", id.0, input.kind));
            }
            if [input.height, input.width] != [target.height, target.width] {
                return Err(format!(
                    "buffer {} is {}x{}, expected {}x{} as the output",
                    id.0, input.height, input.width, target.height, target.width
                ));
            }
            channels = channels.saturating_add(input.channels);
        }
        Ok([target.height, target.width, channels])
    }

    fn pad(
        &mut self,
        input: BufferId,
        output: BufferId,
        pads: &[usize; 4],
        channels: &[usize; 2],
        value: f32,
    ) -> Check {
        if !value.is_finite() {
            return Err(format!("pads with {value}, expected a finite value"));
        }
        let input = self.read(input, None)?;
        if input.kind == BufferKind::I16 {
            return Err("pads integers, expected f32 or bits".into());
        }
        if *channels != [0, 0] && (input.kind == BufferKind::Bits || *pads != [0; 4]) {
            return Err(format!(
                "pads {channels:?} channels of {:?} and {pads:?} pixels, expected channels of f32 \
                 and no pixels, or no channels",
                input.kind
            ));
        }
        check_pads(pads)?;
        check_pads(channels)?;
        let [top, left, bottom, right] = *pads;
        let size = [
            input.height + top + bottom,
            input.width + left + right,
            channels[0] + input.channels + channels[1],
        ];
        self.write(output, input.kind, size)
    }

    fn epilogue(&mut self, epilogue: &Epilogue, size: Extents) -> Check {
        let [_, _, channels] = size;
        if epilogue.ops.len() > MAX_EPILOGUE_OPS {
            return Err(format!(
                "{} epilogue operations, expected at most {MAX_EPILOGUE_OPS}",
                epilogue.ops.len()
            ));
        }
        // Operands come first: what this very step writes is no operand of it.
        for op in &epilogue.ops {
            if let EpilogueOp::Combine { op: _, operand } = op {
                let found = extents(self.read(*operand, Some(BufferKind::F32))?);
                if found != size && found != [1, 1, channels] {
                    return Err(format!(
                        "operand buffer {} is {found:?}, expected {size:?} or [1, 1, {channels}]",
                        operand.0
                    ));
                }
            }
        }
        let mut writes = false;
        for op in &epilogue.ops {
            match op {
                EpilogueOp::Channel(op) => self.channel_op(op, channels)?,
                EpilogueOp::Combine { .. } => {}
                EpilogueOp::Store { output } => {
                    self.write(*output, BufferKind::F32, size)?;
                    writes = true;
                }
                EpilogueOp::StoreBits { thresholds, flip, output } => {
                    let values =
                        self.tensor(*thresholds, "thresholds", &[TensorKind::F32], &[1, channels])?;
                    if values == Values::NotANumber {
                        return Err("a threshold is not a number".into());
                    }
                    self.flip(*flip, channels)?;
                    self.write(*output, BufferKind::Bits, size)?;
                    writes = true;
                }
            }
        }
        if !writes {
            return Err("the epilogue writes no buffer".into());
        }
        Ok(())
    }

    fn channel_op(&self, op: &ChannelOp<TensorId>, channels: usize) -> Check {
        if let ChannelOp::Step { low, high, .. } = op
            && !(low.is_finite() && high.is_finite())
        {
            return Err(format!("step function of {low} and {high}, expected finite values"));
        }
        for &id in op.parameters() {
            self.finite(id, "constant", &[TensorKind::F32], &[1, channels])?;
        }
        Ok(())
    }

    fn flip(&self, flip: Option<TensorId>, channels: usize) -> Check {
        if let Some(id) = flip {
            self.tensor(id, "flip", &[TensorKind::Bits], &[channels])?;
        }
        Ok(())
    }

    fn finite(&self, id: TensorId, role: &str, kinds: &[TensorKind], lengths: &[usize]) -> Check {
        if self.tensor(id, role, kinds, lengths)? != Values::Finite {
            return Err(format!(
                "{role} '{}' holds an infinity or NaN, expected finite values",
                self.program.tensors[id.index()].name
            ));
        }
        Ok(())
    }

    /// A tensor of one of the kinds and with one of the numbers of elements.
    fn tensor(
        &self,
        id: TensorId,
        role: &str,
        kinds: &[TensorKind],
        lengths: &[usize],
    ) -> Check<Values> {
        let tensor = self.program.tensors.get(id.index()).ok_or_else(|| {
            format!("{role}: tensor {}, expected less than {}", id.0, self.program.tensors.len())
        })?;
        if !kinds.contains(&tensor.kind()) {
            return Err(format!(
                "{role} '{}' is {:?}, expected {}",
                tensor.name,
                tensor.kind(),
                join(kinds.iter().map(|kind| format!("{kind:?}")))
            ));
        }
        if !lengths.contains(&tensor.len()) {
            return Err(format!(
                "{role} '{}' has {} elements, expected {}",
                tensor.name,
                tensor.len(),
                join(lengths.iter().map(usize::to_string))
            ));
        }
        Ok(self.tensors[id.index()])
    }
}

fn join(alternatives: impl Iterator<Item = String>) -> String {
    alternatives.collect::<Vec<_>>().join(" or ")
}

fn expect_kind(id: BufferId, buffer: &Buffer, kind: Option<BufferKind>) -> Check {
    match kind {
        Some(kind) if kind != buffer.kind => {
            Err(format!("buffer {} is {:?}, expected {kind:?}", id.0, buffer.kind))
        }
        _ => Ok(()),
    }
}

/// Elements of the weights of a checked geometry.
fn weights(geometry: &ConvGeometry) -> usize {
    let ConvGeometry { in_channels, out_channels, kernel, groups, .. } = *geometry;
    // Cannot overflow: `conv_output` has checked the products.
    out_channels * kernel[0] * kernel[1] * (in_channels / groups)
}

fn check_pads(pads: &[usize]) -> Check {
    match pads.iter().find(|&&pad| pad > MAX_EXTENT) {
        Some(pad) => Err(format!("padding of {pad}, expected at most {MAX_EXTENT}")),
        None => Ok(()),
    }
}

/// Number of places of a window along each axis:
/// `floor((input + pads - dilated kernel) / stride) + 1`.
fn window_output(
    input: &Buffer,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: &[usize; 4],
) -> Check<[usize; 2]> {
    for (name, values) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
        if values.iter().any(|&value| value == 0 || value > MAX_EXTENT) {
            return Err(format!("{name} {values:?}, expected 1 to {MAX_EXTENT}"));
        }
    }
    check_pads(pads)?;
    let map = [input.height, input.width];
    let mut output = [0; 2];
    for axis in 0..2 {
        let padded = map[axis] + pads[axis] + pads[axis + 2];
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        if extent > padded {
            return Err(format!(
                "a window of {extent} does not fit into {padded} pixels (padding included)"
            ));
        }
        output[axis] = (padded - extent) / stride[axis] + 1;
    }
    Ok(output)
}

fn conv_output(geometry: &ConvGeometry, input: &Buffer) -> Check<Extents> {
    let ConvGeometry { in_channels, out_channels, kernel, stride, dilation, ref pads, groups } =
        *geometry;
    if in_channels != input.channels {
        return Err(format!(
            "{in_channels} input channels, expected the {} of the input buffer",
            input.channels
        ));
    }
    if out_channels == 0 || out_channels > MAX_EXTENT {
        return Err(format!("{out_channels} output channels, expected 1 to {MAX_EXTENT}"));
    }
    if groups == 0 || in_channels % groups != 0 || out_channels % groups != 0 {
        return Err(format!(
            "{groups} groups do not divide {in_channels} input and {out_channels} output channels"
        ));
    }
    let [height, width] = window_output(input, kernel, stride, dilation, pads)?;
    let product = |factors: &[usize]| {
        factors.iter().try_fold(1_usize, |product, &factor| product.checked_mul(factor))
    };
    // A sum must fit an i32; the padded map and all weights must be addressable, some bytes each.
    let sum = product(&[kernel[0], kernel[1], in_channels / groups]);
    if sum.is_none_or(|taps| taps > i32::MAX as usize) {
        return Err("more products in one sum than an i32 can count".into());
    }
    let sizes = [
        product(&[out_channels, kernel[0], kernel[1], in_channels]),
        product(&[input.height + pads[0] + pads[2], input.width + pads[1] + pads[3], in_channels]),
    ];
    if sizes.iter().any(|size| size.is_none_or(|elements| elements > isize::MAX as usize / 64)) {
        return Err("the layer is too large to address".into());
    }
    Ok([height, width, out_channels])
}

/// Size of a pool's output; every window must hold at least one pixel of the map.
fn pool_output(pool: &PoolGeometry, input: &Buffer) -> Check<Extents> {
    let PoolGeometry { kernel, stride, dilation, ref pads } = *pool;
    let [height, width] = window_output(input, kernel, stride, dilation, pads)?;
    for (axis, (positions, map)) in
        [(height, input.height), (width, input.width)].into_iter().enumerate()
    {
        let touches = |position: usize| {
            // The first tap that is not in the leading padding.
            let start = position * stride[axis];
            let taps_before = pads[axis].saturating_sub(start).div_ceil(dilation[axis]);
            taps_before < kernel[axis] && start + taps_before * dilation[axis] < pads[axis] + map
        };
        // Windows that start within the map touch it, so only those that start in the padding
        // are to be looked at: the leading ones and, if any of those behind does, the last.
        let leading = pads[axis].div_ceil(stride[axis]).min(positions);
        if !(0..leading).chain([positions - 1]).all(touches) {
            return Err("a pooling window lies wholly in the padding".into());
        }
    }
    Ok([height, width, input.channels])
}

/// Checks that every element that a gather reads lies in its input.
fn check_gather(elements: usize, dims: &[usize], strides: &[isize], offset: usize) -> Check {
    if dims.len() != strides.len() || dims.len() > MAX_GATHER_RANK {
        return Err(format!(
            "{} dims and {} strides, expected as many of both, at most {MAX_GATHER_RANK}",
            dims.len(),
            strides.len()
        ));
    }
    let size = dims.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent as u64));
    if size.is_none_or(|size| size == 0 || size > MAX_BUFFER_ELEMENTS) {
        return Err(format!("dims {dims:?}, expected 1 to {MAX_BUFFER_ELEMENTS} elements"));
    }
    // 128 bits hold sixteen products of an extent below 2^29 and a stride of 64 bits.
    let (mut first, mut last) = (offset as i128, offset as i128);
    for (&extent, &stride) in dims.iter().zip(strides) {
        let reach = (extent as i128 - 1) * stride as i128;
        first += reach.min(0);
        last += reach.max(0);
    }
    if first < 0 || last >= elements as i128 {
        return Err(format!("reads elements {first} to {last}, expected 0 to {}", elements - 1));
    }
    Ok(())
}

impl Preprocessing {
    /// Channels of the pixels it makes.
    pub fn channel_count(&self) -> usize {
        match self.channels {
            ChannelOrder::Rgb | ChannelOrder::Bgr => 3,
            ChannelOrder::Gray => 1,
        }
    }

    fn check(&self) -> Check {
        let sizes = match self.resize {
            Some(Resize::Shorter(side)) => [side, side],
            Some(Resize::Exact { width, height }) => [width, height],
            None => [1, 1],
        };
        for side in sizes.into_iter().chain(self.crop.unwrap_or([1, 1])) {
            if !(1..=MAX_PICTURE).contains(&side) {
                return Err(format!("a side of {side} pixels, expected 1 to {MAX_PICTURE}"));
            }
        }
        if self.range != 1.0 && self.range != 255.0 {
            return Err(format!("range {}, expected 1 or 255", self.range));
        }
        let channels = self.channel_count();
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                return Err(format!(
                    "{name} has {} entries, expected 1 or {channels}",
                    values.len()
                ));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(format!("{name} of {value}, expected finite values"));
            }
        }
        if self.std.contains(&0.0) {
            return Err("std of 0, expected other values".into());
        }
        Ok(())
    }
}
