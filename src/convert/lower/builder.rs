//! Collects the buffers, tensors and steps of a program.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::program::{
    Buffer, BufferId, BufferKind, ChannelOp, CombineOp, Epilogue, EpilogueOp, Program, Step,
    StepKind, Tensor, TensorData, TensorId,
};

use super::super::{chain::Operation, view::MapSize};

/// An epilogue whose constants are not tensors yet, so that they can still be changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PendingOp {
    /// A function of the running value.
    Channel(Operation),
    /// A function of the running value and of another map.
    Combine { op: CombineOp, operand: BufferId },
    /// The running value is written.
    Store(BufferId),
    /// The running value is compared.
    StoreBits { thresholds: Vec<f32>, flip: Vec<bool>, output: BufferId },
}

/// A program under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) program: Program,
    /// Number of tensors that were given each name, to keep names unique.
    names: HashMap<String, usize>,
    /// Tensors by a checksum of what they hold: weights that several layers share (ABC-Net and HORQ
    /// apply one filter bank to several activations) are stored once.
    contents: HashMap<u64, Vec<TensorId>>,
}

impl Builder {
    pub(super) fn buffer(
        &mut self,
        kind: BufferKind,
        [height, width, channels]: MapSize,
    ) -> BufferId {
        let id = BufferId(self.program.buffers.len() as u32);
        self.program.buffers.push(Buffer { kind, height, width, channels });
        id
    }

    pub(super) fn size(&self, id: BufferId) -> MapSize {
        let Buffer { height, width, channels, .. } = *self.program.buffer(id);
        [height, width, channels]
    }

    pub(super) fn tensor(&mut self, name: &str, shape: Vec<usize>, data: TensorData) -> TensorId {
        let same = self.contents.entry(checksum(&shape, &data)).or_default();
        let tensors = &self.program.tensors;
        // Compared by value, which for floats tells neither zeros nor NaNs apart; the checksum does.
        if let Some(&id) = same.iter().find(|id| {
            let other = &tensors[id.index()];
            other.shape == shape && other.data == data
        }) {
            return id;
        }
        let count = self.names.entry(name.to_owned()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { name.to_owned() } else { format!("{name}.{count}") };
        let id = TensorId(self.program.tensors.len() as u32);
        same.push(id);
        self.program.tensors.push(Tensor { name, shape, data });
        id
    }

    /// A tensor of floats, one-dimensional.
    pub(super) fn floats(&mut self, name: &str, values: Vec<f32>) -> TensorId {
        self.tensor(name, vec![values.len()], TensorData::F32(values))
    }

    /// A tensor of one bit per channel, or nothing if no bit is set.
    pub(super) fn flip(&mut self, name: &str, bits: &[bool]) -> Option<TensorId> {
        bits.contains(&true).then(|| {
            self.tensor(name, vec![bits.len()], TensorData::Bits(pack(bits.iter().copied())))
        })
    }

    pub(super) fn step(&mut self, name: &str, kind: StepKind) {
        self.program.steps.push(Step { name: name.to_owned(), kind });
    }

    /// Turns the constants of an epilogue into tensors named after the step.
    pub(super) fn epilogue(&mut self, name: &str, ops: Vec<PendingOp>) -> Epilogue {
        let ops = ops
            .into_iter()
            .map(|op| match op {
                PendingOp::Channel(operation) => {
                    let role = role(&operation);
                    let mapped = operation.try_map(|values| {
                        Ok::<_, std::convert::Infallible>(
                            self.floats(&format!("{name}.{role}"), shortest(values)),
                        )
                    });
                    let Ok(mapped) = mapped;
                    EpilogueOp::Channel(mapped)
                }
                PendingOp::Combine { op, operand } => EpilogueOp::Combine { op, operand },
                PendingOp::Store(output) => EpilogueOp::Store { output },
                PendingOp::StoreBits { thresholds, flip, output } => EpilogueOp::StoreBits {
                    thresholds: self.floats(&format!("{name}.threshold"), shortest(&thresholds)),
                    flip: self.flip(&format!("{name}.flip"), &flip),
                    output,
                },
            })
            .collect();
        Epilogue { ops }
    }
}

/// A checksum of a tensor, exact to the bit.
fn checksum(shape: &[usize], data: &TensorData) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.hash(&mut hasher);
    std::mem::discriminant(data).hash(&mut hasher);
    match data {
        TensorData::Bits(words) => words.hash(&mut hasher),
        TensorData::I32(values) => values.hash(&mut hasher),
        TensorData::F16(values) => values.hash(&mut hasher),
        TensorData::F32(values) => {
            values.iter().for_each(|value| value.to_bits().hash(&mut hasher));
        }
    }
    hasher.finish()
}

/// One entry where all channels have the same.
fn shortest(values: &[f32]) -> Vec<f32> {
    match values.first() {
        Some(first) if values.iter().all(|v| v.to_bits() == first.to_bits()) => vec![*first],
        _ => values.to_vec(),
    }
}

/// What the constant of an operation is called in the file.
fn role(operation: &Operation) -> &'static str {
    match operation {
        ChannelOp::Add(_) | ChannelOp::Subtract(_) | ChannelOp::SubtractFrom(_) => "shift",
        ChannelOp::Multiply(_) | ChannelOp::Divide(_) | ChannelOp::DivideInto(_) => "scale",
        ChannelOp::Minimum(_) | ChannelOp::Maximum(_) => "bound",
        ChannelOp::Wrap(_) => "modulus",
        ChannelOp::TwoSlope { .. } => "slope",
        ChannelOp::Step { .. } | ChannelOp::Unary(_) => "constant",
    }
}

/// Packs bits into words, first bit lowest.
pub(super) fn pack(bits: impl Iterator<Item = bool>) -> Vec<u64> {
    let mut words = Vec::new();
    for (index, bit) in bits.enumerate() {
        if index % 64 == 0 {
            words.push(0);
        }
        if bit && let Some(word) = words.last_mut() {
            *word |= 1 << (index % 64);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_packed_from_the_lowest_up() {
        assert_eq!(pack([true, false, true].into_iter()), [0b101]);
        let long = pack((0..65).map(|i| i == 64));
        assert_eq!(long, [0, 1]);
    }

    #[test]
    fn equal_tensors_are_one() {
        let mut builder = Builder::default();
        let first = builder.floats("a", vec![1.0, 0.0]);
        assert_eq!(builder.floats("b", vec![1.0, 0.0]), first);
        assert_ne!(builder.floats("c", vec![1.0, -0.0]), first);
    }

    #[test]
    fn tensor_names_are_unique() {
        let mut builder = Builder::default();
        for value in [1.0, 2.0] {
            builder.floats("a.scale", vec![value]);
        }
        let names: Vec<_> = builder.program.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a.scale", "a.scale.2"]);
    }
}
