//! Normalisations.

use crate::graph::shape::axis_index;
use crate::graph::{BinaryOp, Op, ReduceKind, Tensor, UnaryOp, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

/// Further results (running statistics) exist only while training.
pub(super) fn batch(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(5)?;
    let attributes = &node.attributes;
    attributes.ignore("momentum");
    if attributes.flag("training_mode")? {
        return Err(Fault::Unsupported("statistics of the batch (training mode)".to_owned()));
    }
    if !attributes.flag_or("spatial", true)? {
        return Err(Fault::Unsupported("statistics for each pixel (spatial = 0)".to_owned()));
    }
    let epsilon = attributes.float("epsilon")?.unwrap_or(1e-5);
    node.push(Op::BatchNormalization { epsilon }, node.operands())
}

/// `x, scale, bias?` with statistics over all axes from one on.
pub(super) fn layer(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(3)?;
    let axis = node.attributes.int("axis")?.unwrap_or(-1);
    let epsilon = node.attributes.float("epsilon")?.unwrap_or(1e-5);
    // The precision of the statistics; all is f32 here.
    node.attributes.ignore("stash_type");
    let (x, rank) = (node.operand(0)?, node.shape(0)?.len());
    let first = axis_index(axis, rank).map_err(|error| Fault::Invalid(error.0))?;
    let (scale, bias) = (node.operand(1)?, node.optional(2));
    let normal = normalised(node, x, first, rank, epsilon)?;
    scaled(node, normal, scale, bias)
}

/// `x, scale, bias` with statistics over the pixels of each channel.
pub(super) fn instance(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(3)?;
    let epsilon = node.attributes.float("epsilon")?.unwrap_or(1e-5);
    let (x, shape) = (node.operand(0)?, node.shape(0)?);
    if shape.len() < 3 {
        return Err(Fault::Invalid(format!("x has shape {shape:?}, expected pixels")));
    }
    let normal = normalised(node, x, 2, shape.len(), epsilon)?;
    // One entry for each channel: [channels, 1, 1].
    let axes: Vec<i64> = (1..shape.len() as i64 - 1).collect();
    let axes = node.add_constant("axes", Tensor::from_i64(axes));
    let mut aligned = [None; 2];
    for (index, aligned) in aligned.iter_mut().enumerate() {
        let operand = node.operand(index + 1)?;
        *aligned = Some(node.push_part(Op::Unsqueeze, vec![Some(operand), Some(axes)])?);
    }
    let [Some(scale), bias] = aligned else {
        return Err(Fault::Invalid("has no scale".to_owned()));
    };
    scaled(node, normal, scale, bias)
}

/// `(x - mean) / sqrt(variance + epsilon)` over the axes from `first` on.
fn normalised(
    node: &mut NodeContext<'_, '_>,
    x: ValueId,
    first: usize,
    rank: usize,
    epsilon: f32,
) -> Result<ValueId, Fault> {
    let axes = Tensor::from_i64((first as i64..rank as i64).collect());
    let axes = Some(node.add_constant("axes", axes));
    let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true };
    let binary = |node: &mut NodeContext<'_, '_>, op, a: ValueId, b: ValueId| {
        node.push_part(Op::Binary(op), vec![Some(a), Some(b)])
    };
    let centre = node.push_part(mean.clone(), vec![Some(x), axes])?;
    let difference = binary(node, BinaryOp::Sub, x, centre)?;
    let square = binary(node, BinaryOp::Mul, difference, difference)?;
    let variance = node.push_part(mean, vec![Some(square), axes])?;
    let epsilon = node.add_constant("epsilon", Tensor::scalar(epsilon));
    let variance = binary(node, BinaryOp::Add, variance, epsilon)?;
    let deviation = node.push_part(Op::Unary(UnaryOp::Sqrt), vec![Some(variance)])?;
    binary(node, BinaryOp::Div, difference, deviation)
}

/// `x * scale + bias`, the result of the node.
fn scaled(
    node: &mut NodeContext<'_, '_>,
    x: ValueId,
    scale: ValueId,
    bias: Option<ValueId>,
) -> Result<(), Fault> {
    let product = vec![Some(x), Some(scale)];
    match bias {
        None => node.push(Op::Binary(BinaryOp::Mul), product),
        Some(bias) => {
            let scaled = node.push_part(Op::Binary(BinaryOp::Mul), product)?;
            node.push(Op::Binary(BinaryOp::Add), vec![Some(scaled), Some(bias)])
        }
    }
}
