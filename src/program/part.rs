//! One block of a program as a program of its own.
//!
//! The steps that lead from the input of the block to its output are found backwards. A step before
//! the block often writes its input and goes on in the same epilogue: bits of the map for the first layer
//! of the block, or what becomes of the map through further operations. Of such a step the part has
//! what follows the map, as operations on the map itself.

use std::collections::HashSet;

use thiserror::Error;

use super::{
    BinaryOutput, Block, BlockTensor, Buffer, BufferId, BufferKind, Epilogue, EpilogueOp, Metadata,
    Port, Program, ProgramError, Step, StepKind, Tensor, TensorData, TensorId,
    ids::{Id, for_each_id},
};

/// Why a block cannot run by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The program has no block of that name.
    #[error("the model has no block of this name")]
    Unknown,
    /// The input was fused away.
    #[error("its input is not kept as floats")]
    InputNotKept,
    /// The output was fused away.
    #[error("its output is not kept as floats")]
    OutputNotKept,
    /// One buffer is in several places of the input.
    #[error("buffer {buffer} is in its input twice")]
    InputTwice {
        /// The buffer.
        buffer: u32,
    },
    /// The output depends on more than the input.
    #[error("it needs buffer {buffer} ({source_name}), which does not follow from its input")]
    Outside {
        /// The buffer.
        buffer: u32,
        /// Where it comes from: a step or an input of the network.
        source_name: String,
    },
    /// The part makes no program.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Program {
    /// A block as a program of its own, with one input and one output, both in the layout of the
    /// original network. The program has been validated, and the block is one of its own.
    pub(crate) fn part(&self, block: &Block) -> Result<Self, BlockError> {
        let input = block.input.as_ref().ok_or(BlockError::InputNotKept)?;
        let output = block.output.as_ref().ok_or(BlockError::OutputNotKept)?;
        let mut inputs = HashSet::new();
        if let Some(twice) = input.parts.iter().find(|part| !inputs.insert(part.buffer)) {
            return Err(BlockError::InputTwice { buffer: twice.buffer.0 });
        }
        let mut part = Self { name: block.name.clone(), ..Self::default() };
        part.buffers.clone_from(&self.buffers);
        part.read_input(input);
        part.steps.extend(Search::new(self, inputs).steps(output)?);
        let made = part.compare_given_integers(self);
        part.write_output(output);
        part.keep_used(self, &made);
        part.validate()?;
        Ok(part)
    }

    /// Adds the input port, and the copies from it.
    fn read_input(&mut self, tensor: &BlockTensor) {
        let port = self.vector(tensor.elements());
        self.inputs =
            vec![Port { name: "input".into(), shape: tensor.shape.clone(), buffer: port }];
        let mut offset = 0;
        for part in &tensor.parts {
            let Buffer { height, width, channels, .. } = *self.buffer(part.buffer);
            let size = height * width * channels;
            // Checked: a part is a whole buffer.
            let (dims, strides) = part.reversed(size).unwrap_or_default();
            let output = part.buffer;
            // What is given is floats, integers among them.
            self.buffers[output.index()].kind = BufferKind::F32;
            self.copy("input", StepKind::Gather { input: port, output, dims, strides, offset });
            offset += size;
        }
    }

    /// Where the input holds integers, which are floats now, their thresholds become floats too: all
    /// that 16-bit integers are compared with is exact. Returns the new tensors, which are numbered
    /// behind those of the program.
    fn compare_given_integers(&mut self, from: &Self) -> Vec<Tensor> {
        let mut made: Vec<Tensor> = Vec::new();
        let Self { buffers, steps, .. } = self;
        for step in steps {
            let StepKind::Threshold { inputs, floats, integers, .. } = &mut step.kind else {
                continue;
            };
            let is_given = |id: &BufferId| {
                from.buffer(*id).kind == BufferKind::I16
                    && buffers[id.index()].kind == BufferKind::F32
            };
            if !inputs.iter().any(is_given) {
                continue;
            }
            let old = |id: Option<TensorId>| id.map(|id| &from.tensor(id).data);
            let mut old_floats = match old(*floats) {
                Some(TensorData::F32(values)) => values.iter(),
                _ => [].iter(),
            };
            let mut old_integers = match old(*integers) {
                Some(TensorData::I32(values)) => values.iter(),
                _ => [].iter(),
            };
            let (mut new_floats, mut new_integers) = (Vec::new(), Vec::new());
            for id in inputs.iter() {
                let channels = buffers[id.index()].channels;
                if is_given(id) {
                    new_floats.extend(old_integers.by_ref().take(channels).map(|&t| as_float(t)));
                } else if buffers[id.index()].kind == BufferKind::I16 {
                    new_integers.extend(old_integers.by_ref().take(channels));
                } else {
                    new_floats.extend(old_floats.by_ref().take(channels));
                }
            }
            let mut tensor = |role: &str, length: usize, data: TensorData| {
                let id = TensorId((from.tensors.len() + made.len()) as u32);
                let name = format!("{role}.{}", made.len());
                made.push(Tensor { name, shape: vec![length], data });
                id
            };
            let length = new_floats.len();
            *floats = Some(tensor("given.threshold", length, TensorData::F32(new_floats)));
            let length = new_integers.len();
            *integers = (length > 0)
                .then(|| tensor("given.integer_threshold", length, TensorData::I32(new_integers)));
        }
        made
    }

    /// Adds the copies to the output port, and the port.
    fn write_output(&mut self, tensor: &BlockTensor) {
        let mut parts = Vec::new();
        for part in &tensor.parts {
            let (dims, strides) = (part.dims.clone(), part.strides.clone());
            let output = self.vector(dims.iter().product());
            let mut input = part.buffer;
            let buffer = *self.buffer(input);
            if buffer.kind == BufferKind::I16 {
                let inputs = vec![input];
                input = self.add_buffer(Buffer { kind: BufferKind::F32, ..buffer });
                self.copy("output", StepKind::Concat { inputs, output: input });
            }
            self.copy("output", StepKind::Gather { input, output, dims, strides, offset: 0 });
            parts.push(output);
        }
        let port = match parts[..] {
            [part] => part,
            _ => {
                let joined = self.vector(tensor.elements());
                self.copy("output", StepKind::Concat { inputs: parts, output: joined });
                joined
            }
        };
        self.outputs =
            vec![Port { name: "output".into(), shape: tensor.shape.clone(), buffer: port }];
    }

    fn copy(&mut self, name: &str, kind: StepKind) {
        self.steps.push(Step { name: name.to_owned(), kind });
    }

    /// A new buffer of one pixel.
    fn vector(&mut self, channels: usize) -> BufferId {
        self.add_buffer(Buffer { kind: BufferKind::F32, height: 1, width: 1, channels })
    }

    fn add_buffer(&mut self, buffer: Buffer) -> BufferId {
        // Programs have fewer buffers than a header has bytes.
        let id = BufferId(self.buffers.len() as u32);
        self.buffers.push(buffer);
        id
    }

    /// Drops the buffers that no step touches, and takes over the tensors that steps use from the program
    /// that they come from, and from those that were made since.
    fn keep_used(&mut self, from: &Self, made: &[Tensor]) {
        let mut buffers = Renumbering::new(self.buffers.len());
        let mut tensors = Renumbering::new(from.tensors.len() + made.len());
        for step in &mut self.steps {
            for_each_id(&mut step.kind, &mut |id| match id {
                Id::Buffer(id) => id.0 = buffers.number(id.index()),
                Id::Tensor(id) => id.0 = tensors.number(id.index()),
            });
        }
        for port in self.inputs.iter_mut().chain(&mut self.outputs) {
            port.buffer.0 = buffers.number(port.buffer.index());
        }
        self.buffers = buffers.order.iter().map(|&old| self.buffers[old]).collect();
        let mut used = Vec::with_capacity(tensors.order.len());
        for old in tensors.order {
            let made = |index| &made[index];
            let tensor =
                old.checked_sub(from.tensors.len()).map_or_else(|| &from.tensors[old], made);
            used.push(tensor.clone());
        }
        self.tensors = used;
        self.metadata = Metadata::default();
    }
}

/// What 16-bit integers as floats are compared with to the same outcome.
fn as_float(threshold: i32) -> f32 {
    match i16::try_from(threshold) {
        Ok(threshold) => threshold.into(),
        Err(_) if threshold < 0 => f32::NEG_INFINITY,
        Err(_) => f32::INFINITY,
    }
}

/// New numbers in the order in which old ones are asked for.
struct Renumbering {
    new: Vec<Option<u32>>,
    order: Vec<usize>,
}

impl Renumbering {
    fn new(count: usize) -> Self {
        Self { new: vec![None; count], order: Vec::new() }
    }

    fn number(&mut self, old: usize) -> u32 {
        *self.new[old].get_or_insert_with(|| {
            self.order.push(old);
            self.order.len() as u32 - 1
        })
    }
}

/// The way from some buffers of a program to others.
struct Search<'a> {
    program: &'a Program,
    inputs: HashSet<BufferId>,
    /// For each buffer, whether an input has a part in it.
    follows: Vec<bool>,
    /// For each buffer, whether a step that was taken reads it, or it is wanted itself.
    needed: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(program: &'a Program, inputs: HashSet<BufferId>) -> Self {
        let count = program.buffers.len();
        let (follows, needed) = (vec![false; count], vec![false; count]);
        let mut search = Self { program, inputs, follows, needed };
        search.follow();
        search
    }

    /// Finds out what depends on the inputs.
    fn follow(&mut self) {
        for &input in &self.inputs {
            self.follows[input.index()] = true;
        }
        for step in &self.program.steps {
            let Anatomy { reads, ops, write } = Anatomy::of(&step.kind);
            let mut running = reads.iter().any(|id| self.follows[id.index()]);
            let inputs = self.stored_inputs(ops);
            let first = inputs.iter().map(|stored| stored.start).min();
            for (position, op) in ops.iter().enumerate() {
                running |= Some(position) == first;
                match op {
                    EpilogueOp::Channel(_) => {}
                    EpilogueOp::Combine { operand, .. } => running |= self.follows[operand.index()],
                    EpilogueOp::Store { output } | EpilogueOp::StoreBits { output, .. } => {
                        self.follows[output.index()] |= running;
                    }
                }
            }
            if let Some(write) = write {
                self.follows[write.index()] |= running;
            }
        }
    }

    /// Where an epilogue writes inputs.
    fn stored_inputs(&self, ops: &[EpilogueOp]) -> Vec<StoredInput> {
        let mut stored = Vec::new();
        // Where the running value became what it is.
        let mut start = 0;
        for (position, op) in ops.iter().enumerate() {
            match op {
                EpilogueOp::Channel(_) | EpilogueOp::Combine { .. } => start = position + 1,
                EpilogueOp::Store { output } if self.inputs.contains(output) => {
                    stored.push(StoredInput { buffer: *output, start });
                }
                EpilogueOp::Store { .. } | EpilogueOp::StoreBits { .. } => {}
            }
        }
        stored
    }

    /// The steps that compute a tensor.
    fn steps(mut self, output: &BlockTensor) -> Result<Vec<Step>, BlockError> {
        for part in &output.parts {
            self.need(part.buffer)?;
        }
        let mut steps = Vec::new();
        for step in self.program.steps.iter().rev() {
            let Some(kind) = self.needed_part(&step.kind) else { continue };
            let Anatomy { reads, ops, .. } = Anatomy::of(&kind);
            for &id in &reads {
                self.need(id)?;
            }
            for op in ops {
                if let EpilogueOp::Combine { operand, .. } = op {
                    self.need(*operand)?;
                }
            }
            steps.push(Step { name: step.name.clone(), kind });
        }
        steps.reverse();
        Ok(steps)
    }

    /// Marks a buffer that must be there.
    fn need(&mut self, id: BufferId) -> Result<(), BlockError> {
        if self.inputs.contains(&id) {
            return Ok(());
        }
        if !self.follows[id.index()] {
            let source_name = self.source_name(id);
            return Err(BlockError::Outside { buffer: id.0, source_name });
        }
        self.needed[id.index()] = true;
        Ok(())
    }

    /// Where a buffer comes from, in words.
    fn source_name(&self, id: BufferId) -> String {
        let port = self.program.inputs.iter().find(|port| port.buffer == id);
        let writes = |step: &&Step| {
            let Anatomy { ops, write, .. } = Anatomy::of(&step.kind);
            write == Some(id) || ops.iter().any(|op| written(op) == Some(id))
        };
        match (port, self.program.steps.iter().find(writes)) {
            (Some(port), _) => format!("the input '{}' of the network", port.name),
            (None, Some(step)) => format!("written by step '{}'", step.name),
            (None, None) => "written by no step".to_owned(),
        }
    }

    /// What is needed of a step: nothing, the whole, an epilogue that writes less, or what follows
    /// an input in it.
    fn needed_part(&self, kind: &StepKind) -> Option<StepKind> {
        let is_needed = |id: BufferId| self.needed[id.index()];
        let Anatomy { ops, write, .. } = Anatomy::of(kind);
        if write.is_some() {
            return write.is_some_and(is_needed).then(|| kind.clone());
        }
        let is_wanted = |op: &EpilogueOp| written(op).is_some_and(is_needed);
        let first = ops.iter().position(is_wanted)?;
        let last = ops.iter().rposition(is_wanted)?;
        // The last input that everything wanted follows.
        let inputs = self.stored_inputs(ops);
        let input = inputs.into_iter().rev().find(|stored| stored.start <= first);
        let start = input.as_ref().map_or(0, |stored| stored.start);
        let kept = ops[start..=last].iter().filter(|op| written(op).is_none() || is_wanted(op));
        let epilogue = Epilogue { ops: kept.cloned().collect() };
        Some(match input {
            Some(StoredInput { buffer: input, .. }) => {
                StepKind::Elementwise { input, flatten: false, epilogue }
            }
            None => with_epilogue(kind, epilogue),
        })
    }
}

/// An input that an epilogue writes.
struct StoredInput {
    buffer: BufferId,
    /// The first of the operations from which on the running value is the input or follows from it.
    start: usize,
}

/// A step taken apart.
#[derive(Default)]
struct Anatomy<'a> {
    /// What it reads, without the operands of its epilogue.
    reads: Vec<BufferId>,
    /// Its epilogue.
    ops: &'a [EpilogueOp],
    /// What it writes, if it has no epilogue.
    write: Option<BufferId>,
}

impl<'a> Anatomy<'a> {
    fn of(kind: &'a StepKind) -> Self {
        let with_epilogue = |input: BufferId, epilogue: &'a Epilogue| Self {
            reads: vec![input],
            ops: &epilogue.ops,
            write: None,
        };
        let with_write =
            |reads: Vec<BufferId>, write: BufferId| Self { reads, ops: &[], write: Some(write) };
        match kind {
            StepKind::BinaryConv { conv, output } => match output {
                BinaryOutput::Threshold { output, .. } | BinaryOutput::Integers { output } => {
                    with_write(vec![conv.input], *output)
                }
                BinaryOutput::Float(epilogue) => with_epilogue(conv.input, epilogue),
            },
            StepKind::FloatConv { conv, epilogue } => with_epilogue(conv.input, epilogue),
            StepKind::Elementwise { input, epilogue, .. }
            | StepKind::MaxPool { input, epilogue, .. }
            | StepKind::AveragePool { input, epilogue, .. }
            | StepKind::ReduceChannels { input, epilogue, .. } => with_epilogue(*input, epilogue),
            StepKind::MaxPoolBits { input, output, .. }
            | StepKind::Gather { input, output, .. }
            | StepKind::Pad { input, output, .. }
            | StepKind::Softmax { input, output, .. } => with_write(vec![*input], *output),
            StepKind::Concat { inputs, output } | StepKind::Threshold { inputs, output, .. } => {
                with_write(inputs.clone(), *output)
            }
        }
    }
}

/// The buffer that an operation writes.
fn written(op: &EpilogueOp) -> Option<BufferId> {
    match op {
        EpilogueOp::Store { output } | EpilogueOp::StoreBits { output, .. } => Some(*output),
        EpilogueOp::Channel(_) | EpilogueOp::Combine { .. } => None,
    }
}

/// A step with another epilogue.
fn with_epilogue(kind: &StepKind, new: Epilogue) -> StepKind {
    let mut kind = kind.clone();
    match &mut kind {
        StepKind::BinaryConv { output: BinaryOutput::Float(epilogue), .. }
        | StepKind::FloatConv { epilogue, .. }
        | StepKind::Elementwise { epilogue, .. }
        | StepKind::MaxPool { epilogue, .. }
        | StepKind::AveragePool { epilogue, .. }
        | StepKind::ReduceChannels { epilogue, .. } => *epilogue = new,
        _ => {}
    }
    kind
}
