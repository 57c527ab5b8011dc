//! The JSON of version 2: a program with everything left out that follows from the rest of the file.
//!
//! Left out are the places, lengths and checksums of the tensors (the checksums lie behind the header,
//! where they need no digits), the layout of blocks that are whole maps, channels first, and the repeated
//! parts of names; numbers of buffers and tensors are relative. The header of a small network with a
//! hundred tensors is half as long for it.

use serde::{Deserialize, Serialize};

use super::header::{Entry, Header};
use super::names::{FrontCoded, Names};
use super::numbers::Numbers;
use super::{FormatError, MAX_HEADER_BYTES};
use crate::program::ids::{Id, for_each_id};
use crate::program::{
    Block, BlockPart, BlockTensor, Buffer, BufferId, BufferKind, Metadata, Port, Program,
    ProgramError, Step, StepKind, Tensor, TensorKind,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CompactHeader {
    program: CompactProgram,
    tensors: Vec<CompactTensor>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CompactProgram {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    buffers: Vec<CompactBuffer>,
    steps: Vec<CompactStep>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<CompactBlock>,
    metadata: Metadata,
}

/// Height, width and channels by the kind of element.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CompactBuffer {
    F32([usize; 3]),
    I16([usize; 3]),
    Bits([usize; 3]),
}

/// A step whose buffers and tensors are [`Numbers`] codes.
#[derive(Debug, Serialize, Deserialize)]
struct CompactStep {
    name: FrontCoded,
    kind: StepKind,
}

/// A block whose buffers are [`Numbers`] codes.
#[derive(Debug, Serialize, Deserialize)]
struct CompactBlock {
    name: FrontCoded,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Place>,
}

/// Where an end of a block lies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// A whole buffer, channels first.
    Map(BufferId),
    /// Anything else.
    Tensor(BlockTensor),
}

/// A tensor, named in full or after the first step that uses it: `name of the step.role`.
#[derive(Debug, Serialize, Deserialize)]
struct CompactTensor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    kind: TensorKind,
    shape: Vec<u64>,
}

impl CompactHeader {
    /// The header of a program, which has been validated.
    ///
    /// # Errors
    /// [`FormatError::HeaderTooLarge`] if no reader would put that many names together.
    pub(super) fn new(program: &Program) -> Result<Self, FormatError> {
        let (steps, first_steps) = compact_steps(program);
        let (mut numbers, mut before) = (Numbers::default(), "");
        let blocks = program.metadata.blocks.iter().map(|block| {
            let mut place = |tensor: &BlockTensor| Place::new(tensor, program, &mut numbers);
            let name = FrontCoded::new(before, &block.name);
            before = &block.name;
            CompactBlock {
                name,
                input: block.input.as_ref().map(&mut place),
                output: block.output.as_ref().map(place),
            }
        });
        let compact = CompactProgram {
            name: program.name.clone(),
            inputs: program.inputs.clone(),
            outputs: program.outputs.clone(),
            buffers: program.buffers.iter().map(CompactBuffer::new).collect(),
            steps,
            blocks: blocks.collect(),
            metadata: Metadata { blocks: Vec::new(), ..program.metadata.clone() },
        };
        let tensors = program.tensors.iter().zip(first_steps).map(|(tensor, step)| {
            CompactTensor::new(tensor, step.map(|step| program.steps[step].name.as_str()))
        });
        let header = Self { program: compact, tensors: tensors.collect() };

        let steps = program.steps.iter().map(|step| &step.name);
        let blocks = program.metadata.blocks.iter().map(|block| &block.name);
        let tensors = program.tensors.iter().map(|tensor| &tensor.name);
        let bytes = steps.chain(blocks).chain(tensors).map(|name| name.len() as u64).sum();
        if bytes > MAX_HEADER_BYTES.into() {
            return Err(FormatError::HeaderTooLarge(bytes));
        }
        Ok(header)
    }

    /// Number of tensors.
    pub(super) fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// The header with everything in it. There is a checksum for each tensor.
    ///
    /// # Errors
    /// If a name is made of what is not there, names are too long, or a block lies in a map that is not
    /// there. Numbers are not checked.
    pub(super) fn expand(self, checksums: &[[u8; 4]]) -> Result<Header, FormatError> {
        let Self { program: compact, tensors } = self;
        let mut names = Names::new();
        let (steps, first_steps) = expand_steps(compact.steps, tensors.len(), &mut names)?;
        let entries = tensors.into_iter().zip(first_steps).zip(checksums).enumerate().map(
            |(index, ((tensor, step), &crc32))| {
                let step = step.map(|step| steps[step].name.as_str());
                tensor.expand(index, step, u32::from_le_bytes(crc32), &mut names)
            },
        );
        let entries = entries.collect::<Result<_, _>>()?;
        let mut program = Program {
            name: compact.name,
            inputs: compact.inputs,
            outputs: compact.outputs,
            buffers: compact.buffers.into_iter().map(CompactBuffer::expand).collect(),
            steps,
            metadata: compact.metadata,
            tensors: Vec::new(),
        };
        let mut numbers = Numbers::default();
        let mut blocks: Vec<Block> = Vec::with_capacity(compact.blocks.len());
        for CompactBlock { name, input, output } in compact.blocks {
            let before = blocks.last().map_or("", |block| &block.name);
            let name = names.restore(before, &name)?;
            let mut place = |place: Option<Place>| {
                place.map(|place| place.expand(&program, &mut numbers)).transpose()
            };
            let ends = place(input).and_then(|input| Ok((input, place(output)?)));
            let (input, output) =
                ends.map_err(|what| ProgramError::Block { name: name.clone(), what })?;
            blocks.push(Block { name, input, output });
        }
        program.metadata.blocks = blocks;
        Ok(Header { program, tensors: entries })
    }
}

/// The steps of a program, and for each tensor the first step that uses it.
fn compact_steps(program: &Program) -> (Vec<CompactStep>, Vec<Option<usize>>) {
    let mut first_steps = vec![None; program.tensors.len()];
    let (mut buffers, mut tensors) = (Numbers::default(), Numbers::default());
    let mut before = "";
    let steps = program.steps.iter().enumerate().map(|(index, step)| {
        let mut kind = step.kind.clone();
        for_each_id(&mut kind, &mut |id| match id {
            Id::Buffer(id) => id.0 = buffers.code(id.0),
            Id::Tensor(id) => {
                first_steps[id.index()].get_or_insert(index);
                id.0 = tensors.code(id.0);
            }
        });
        let name = FrontCoded::new(before, &step.name);
        before = &step.name;
        CompactStep { name, kind }
    });
    (steps.collect(), first_steps)
}

/// The other way round. Nothing is known about the numbers yet.
fn expand_steps(
    compact: Vec<CompactStep>,
    tensor_count: usize,
    names: &mut Names,
) -> Result<(Vec<Step>, Vec<Option<usize>>), FormatError> {
    let mut first_steps = vec![None; tensor_count];
    let (mut buffers, mut tensors) = (Numbers::default(), Numbers::default());
    let mut steps: Vec<Step> = Vec::with_capacity(compact.len());
    for CompactStep { name, mut kind } in compact {
        for_each_id(&mut kind, &mut |id| match id {
            Id::Buffer(id) => id.0 = buffers.number(id.0),
            Id::Tensor(id) => {
                id.0 = tensors.number(id.0);
                if let Some(first) = first_steps.get_mut(id.index()) {
                    first.get_or_insert(steps.len());
                }
            }
        });
        let name = names.restore(steps.last().map_or("", |step| &step.name), &name)?;
        steps.push(Step { name, kind });
    }
    Ok((steps, first_steps))
}

impl CompactBuffer {
    fn new(buffer: &Buffer) -> Self {
        let Buffer { kind, height, width, channels } = *buffer;
        match kind {
            BufferKind::F32 => Self::F32([height, width, channels]),
            BufferKind::I16 => Self::I16([height, width, channels]),
            BufferKind::Bits => Self::Bits([height, width, channels]),
        }
    }

    fn expand(self) -> Buffer {
        let (kind, [height, width, channels]) = match self {
            Self::F32(extents) => (BufferKind::F32, extents),
            Self::I16(extents) => (BufferKind::I16, extents),
            Self::Bits(extents) => (BufferKind::Bits, extents),
        };
        Buffer { kind, height, width, channels }
    }
}

impl Place {
    fn new(tensor: &BlockTensor, program: &Program, numbers: &mut Numbers) -> Self {
        if let [part] = &tensor.parts[..]
            && channels_first(program, part.buffer).as_ref() == Some(tensor)
        {
            return Self::Map(BufferId(numbers.code(part.buffer.0)));
        }
        let mut tensor = tensor.clone();
        for part in &mut tensor.parts {
            part.buffer.0 = numbers.code(part.buffer.0);
        }
        Self::Tensor(tensor)
    }

    fn expand(self, program: &Program, numbers: &mut Numbers) -> Result<BlockTensor, String> {
        match self {
            Self::Map(code) => {
                let buffer = BufferId(numbers.number(code.0));
                let count = program.buffers.len();
                channels_first(program, buffer).ok_or_else(|| {
                    format!("buffer {}, expected one of {count} that is not too large", buffer.0)
                })
            }
            Self::Tensor(mut tensor) => {
                for part in &mut tensor.parts {
                    part.buffer.0 = numbers.number(part.buffer.0);
                }
                Ok(tensor)
            }
        }
    }
}

/// A whole buffer as `[channels, height, width]`: element `c, y, x` is element `(y * width + x) * channels + c`
/// of the buffer. `None` if there is no such buffer, or its rows are too long to count.
fn channels_first(program: &Program, buffer: BufferId) -> Option<BlockTensor> {
    let Buffer { height, width, channels, .. } = *program.buffers.get(buffer.index())?;
    let row = isize::try_from(width.checked_mul(channels)?).ok()?;
    let shape = vec![channels, height, width];
    // No channel count is larger than a row, unless the row is empty, and then validation refuses.
    let strides = vec![1, row, isize::try_from(channels).ok()?];
    Some(BlockTensor { parts: vec![BlockPart { buffer, dims: shape.clone(), strides }], shape })
}

impl CompactTensor {
    fn new(tensor: &Tensor, step: Option<&str>) -> Self {
        let role = step
            .and_then(|step| tensor.name.strip_prefix(step)?.strip_prefix('.'))
            .map(str::to_owned);
        Self {
            name: role.is_none().then(|| tensor.name.clone()),
            role,
            kind: tensor.kind(),
            shape: tensor.shape.iter().map(|&extent| extent as u64).collect(),
        }
    }

    fn expand(
        self,
        index: usize,
        step: Option<&str>,
        crc32: u32,
        names: &mut Names,
    ) -> Result<Entry, FormatError> {
        let Self { name, role, kind, shape } = self;
        let name = match (name, role, step) {
            (Some(name), _, _) => {
                names.take(name.len())?;
                name
            }
            (None, Some(role), Some(step)) => names.join([step, ".", &role])?,
            (None, _, _) => {
                return Err(FormatError::Header(format!(
                    "tensor {index} has neither a name nor a role in a step"
                )));
            }
        };
        Ok(Entry { name, kind, shape, crc32, stated: None })
    }
}
