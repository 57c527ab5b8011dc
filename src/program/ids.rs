//! Every buffer and tensor that a step names.

use super::{BinaryOutput, BufferId, Epilogue, EpilogueOp, StepKind, TensorId};

/// The number of a buffer or tensor, to be read or replaced.
pub(crate) enum Id<'a> {
    Buffer(&'a mut BufferId),
    Tensor(&'a mut TensorId),
}

/// Visits all of them, in an order that files rely on: numbers in their headers are relative to those
/// before (`docs/format.md` lists it).
pub(crate) fn for_each_id(kind: &mut StepKind, visit: &mut impl FnMut(Id<'_>)) {
    match kind {
        StepKind::BinaryConv { conv, output } => {
            visit(Id::Buffer(&mut conv.input));
            visit(Id::Tensor(&mut conv.weights));
            if let Some(affine) = &mut conv.affine {
                let terms = [&mut affine.dot, &mut affine.weight_sum];
                let terms = terms.into_iter().chain(&mut affine.input_sum);
                for term in terms.chain([&mut affine.count]) {
                    visit(Id::Tensor(term));
                }
            }
            match output {
                BinaryOutput::Threshold { thresholds, flip, output } => {
                    visit(Id::Tensor(thresholds));
                    flip.iter_mut().for_each(|flip| visit(Id::Tensor(flip)));
                    visit(Id::Buffer(output));
                }
                BinaryOutput::Float(epilogue) => in_epilogue(epilogue, visit),
                BinaryOutput::Integers { output } => visit(Id::Buffer(output)),
            }
        }
        StepKind::FloatConv { conv, epilogue } => {
            visit(Id::Buffer(&mut conv.input));
            visit(Id::Tensor(&mut conv.weights));
            in_epilogue(epilogue, visit);
        }
        StepKind::Elementwise { input, epilogue, .. }
        | StepKind::MaxPool { input, epilogue, .. }
        | StepKind::AveragePool { input, epilogue, .. }
        | StepKind::ReduceChannels { input, epilogue, .. } => {
            visit(Id::Buffer(input));
            in_epilogue(epilogue, visit);
        }
        StepKind::MaxPoolBits { input, flip, output, .. } => {
            visit(Id::Buffer(input));
            flip.iter_mut().for_each(|flip| visit(Id::Tensor(flip)));
            visit(Id::Buffer(output));
        }
        StepKind::Threshold { inputs, floats, integers, flip, output } => {
            inputs.iter_mut().for_each(|input| visit(Id::Buffer(input)));
            let tensors = [floats, integers, flip].into_iter().flatten();
            tensors.for_each(|tensor| visit(Id::Tensor(tensor)));
            visit(Id::Buffer(output));
        }
        StepKind::Concat { inputs, output } => {
            inputs.iter_mut().for_each(|input| visit(Id::Buffer(input)));
            visit(Id::Buffer(output));
        }
        StepKind::Gather { input, output, .. }
        | StepKind::Pad { input, output, .. }
        | StepKind::Softmax { input, output, .. } => {
            visit(Id::Buffer(input));
            visit(Id::Buffer(output));
        }
    }
}

fn in_epilogue(epilogue: &mut Epilogue, visit: &mut impl FnMut(Id<'_>)) {
    for op in &mut epilogue.ops {
        match op {
            EpilogueOp::Channel(op) => {
                let Ok(visited) = op.try_map(|&(mut tensor)| {
                    visit(Id::Tensor(&mut tensor));
                    Ok::<_, std::convert::Infallible>(tensor)
                });
                *op = visited;
            }
            EpilogueOp::Combine { operand, .. } => visit(Id::Buffer(operand)),
            EpilogueOp::Store { output } => visit(Id::Buffer(output)),
            EpilogueOp::StoreBits { thresholds, flip, output } => {
                visit(Id::Tensor(thresholds));
                flip.iter_mut().for_each(|flip| visit(Id::Tensor(flip)));
                visit(Id::Buffer(output));
            }
        }
    }
}
