//! Statistics along axes.

use crate::graph::shape::axis_index;
use crate::graph::{Op, ReduceKind, Tensor, UnaryOp};
use crate::import::onnx::node::{Fault, NodeContext};

/// Axes are an attribute before operator set 18 (for sums: 13), an operand from then on.
pub(super) fn reduce(node: &mut NodeContext<'_, '_>, kind: ReduceKind) -> Result<(), Fault> {
    let keep_dims = node.attributes.flag_or("keepdims", true)?;
    let noop_with_empty_axes = node.attributes.flag("noop_with_empty_axes")?;
    let x = node.operand(0)?;
    let operand_since = if kind == ReduceKind::Sum { 13 } else { 18 };
    let op = Op::Reduce { kind, keep_dims };
    if node.operator_set() < operand_since {
        node.at_most(1)?;
        let axes = node.attributes.ints("axes")?.map(|axes| Tensor::from_i64(axes.to_vec()));
        let axes = axes.map(|axes| node.add_constant("axes", axes));
        return node.push(op, vec![Some(x), axes]);
    }
    node.at_most(2)?;
    let no_axes = match node.optional(1) {
        None => true,
        Some(_) => node.constant(1).is_some_and(Tensor::is_empty),
    };
    if no_axes && noop_with_empty_axes {
        return node.push(Op::Unary(UnaryOp::Identity), vec![Some(x)]);
    }
    node.push(op, node.operands())
}

pub(super) fn arg_max(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let axis = node.attributes.int("axis")?.unwrap_or(0);
    let keep_dims = node.attributes.flag_or("keepdims", true)?;
    if node.attributes.flag("select_last_index")? {
        return Err(Fault::Unsupported("the last of equal maxima".to_owned()));
    }
    super::fixed(node, Op::ArgMax { axis, keep_dims }, 1)
}

/// Before operator set 13 the axis splits the dimensions in two: all from it on are classes.
pub(super) fn softmax(node: &mut NodeContext<'_, '_>, log: bool) -> Result<(), Fault> {
    let op = |axis| if log { Op::LogSoftmax { axis } } else { Op::Softmax { axis } };
    let old = node.operator_set() < 13;
    let axis = node.attributes.int("axis")?.unwrap_or(if old { 1 } else { -1 });
    if !old {
        return super::fixed(node, op(axis), 1);
    }
    node.at_most(1)?;
    let (x, shape) = (node.operand(0)?, node.shape(0)?);
    let first = axis_index(axis, shape.len()).map_err(|error| Fault::Invalid(error.0))?;
    if shape[first + 1..].iter().all(|&size| size == 1) {
        return node.push(op(axis), vec![Some(x)]);
    }
    // Sizes are at most 2^31.
    let sizes = Tensor::from_i64(shape.iter().map(|&size| size as i64).collect());
    let flat = node.push_part(Op::Flatten { axis: first as i64 }, vec![Some(x)])?;
    let flat = node.push_part(op(1), vec![Some(flat)])?;
    let sizes = node.add_constant("shape", sizes);
    node.push(Op::Reshape { allow_zero: true }, vec![Some(flat), Some(sizes)])
}
