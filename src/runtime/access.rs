//! Which buffers a step reads and writes.

use crate::program::{BinaryOutput, BufferId, Epilogue, EpilogueOp, StepKind};

/// Buffers of one step in the order in which its kernels take them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// The input or inputs, then the operands of the epilogue.
    pub(crate) reads: Vec<BufferId>,
    /// The outputs, or what the epilogue stores.
    pub(crate) writes: Vec<BufferId>,
}

impl Access {
    pub(crate) fn of(kind: &StepKind) -> Self {
        let mut access = Self::default();
        match kind {
            StepKind::BinaryConv { conv, output } => {
                access.reads.push(conv.input);
                match output {
                    BinaryOutput::Threshold { output, .. } | BinaryOutput::Integers { output } => {
                        access.writes.push(*output);
                    }
                    BinaryOutput::Float(epilogue) => access.epilogue(epilogue),
                }
            }
            StepKind::FloatConv { conv, epilogue } => {
                access.reads.push(conv.input);
                access.epilogue(epilogue);
            }
            StepKind::Elementwise { input, epilogue, .. }
            | StepKind::MaxPool { input, epilogue, .. }
            | StepKind::AveragePool { input, epilogue, .. }
            | StepKind::ReduceChannels { input, epilogue, .. } => {
                access.reads.push(*input);
                access.epilogue(epilogue);
            }
            StepKind::MaxPoolBits { input, output, .. }
            | StepKind::Gather { input, output, .. }
            | StepKind::Pad { input, output, .. }
            | StepKind::Softmax { input, output, .. } => {
                access.reads.push(*input);
                access.writes.push(*output);
            }
            StepKind::Concat { inputs, output } | StepKind::Threshold { inputs, output, .. } => {
                access.reads.extend(inputs);
                access.writes.push(*output);
            }
        }
        access
    }

    fn epilogue(&mut self, epilogue: &Epilogue) {
        for op in &epilogue.ops {
            match op {
                EpilogueOp::Channel(_) => {}
                EpilogueOp::Combine { operand, .. } => self.reads.push(*operand),
                EpilogueOp::Store { output } | EpilogueOp::StoreBits { output, .. } => {
                    self.writes.push(*output);
                }
            }
        }
    }
}
