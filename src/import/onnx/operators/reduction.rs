//! Statistics along axes.

use crate::graph::shape::axis_index;
use crate::graph::{BinaryOp, Data, Op, ReduceKind, Tensor, UnaryOp, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

/// A statistic of the operand as it is.
pub(super) fn reduce(node: &mut NodeContext<'_, '_>, kind: ReduceKind) -> Result<(), Fault> {
    let x = node.operand(0)?;
    let reduced = operands(node, x, kind)?;
    match reduced {
        Some((op, operands)) => node.push(op, operands),
        None => node.push(Op::Unary(UnaryOp::Identity), vec![Some(x)]),
    }
}

/// The sum of absolute values.
pub(super) fn reduce_absolute(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let x = node.operand(0)?;
    let size = node.push_part(Op::Unary(UnaryOp::Abs), vec![Some(x)])?;
    match operands(node, size, ReduceKind::Sum)? {
        Some((op, operands)) => node.push(op, operands),
        None => node.push(Op::Unary(UnaryOp::Identity), vec![Some(size)]),
    }
}

/// The sum of squares, or its square root.
pub(super) fn reduce_squares(node: &mut NodeContext<'_, '_>, root: bool) -> Result<(), Fault> {
    let x = node.operand(0)?;
    let mut sum = node.push_part(Op::Binary(BinaryOp::Mul), vec![Some(x), Some(x)])?;
    if let Some((op, operands)) = operands(node, sum, ReduceKind::Sum)? {
        sum = node.push_part(op, operands)?;
    }
    let last = if root { UnaryOp::Sqrt } else { UnaryOp::Identity };
    node.push(Op::Unary(last), vec![Some(sum)])
}

/// The product of a list of integers, as shape arithmetic has it; of nothing else.
pub(super) fn reduce_product(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(2)?;
    let keep_dims = node.attributes.flag_or("keepdims", true)?;
    for name in ["axes", "noop_with_empty_axes"] {
        node.attributes.ignore(name);
    }
    let list = node.constant(0).filter(|list| list.shape().len() == 1);
    let Some(list) = list.and_then(|list| list.i64().ok()) else {
        return Err(Fault::Unsupported("products of other than the sizes of a shape".to_owned()));
    };
    let product = list
        .iter()
        .try_fold(1_i64, |product, &size| product.checked_mul(size))
        .ok_or_else(|| Fault::Invalid("the product is too large".to_owned()))?;
    let shape = if keep_dims { vec![1] } else { Vec::new() };
    let product = Tensor::new(shape, Data::I64(vec![product]))
        .map_err(|error| Fault::Invalid(error.to_string()))?;
    node.define(product);
    Ok(())
}

/// An operator and its operands.
type Reduction = (Op, Vec<Option<ValueId>>);

/// The reduction of a value over the axes that the node names, or nothing if it names none and these
/// then mean none. Axes are an attribute before operator set 18 (for plain sums: 13), an operand from
/// then on.
fn operands(
    node: &mut NodeContext<'_, '_>,
    x: ValueId,
    kind: ReduceKind,
) -> Result<Option<Reduction>, Fault> {
    let keep_dims = node.attributes.flag_or("keepdims", true)?;
    let noop_with_empty_axes = node.attributes.flag("noop_with_empty_axes")?;
    let operand_since = if node.op_type() == "ReduceSum" { 13 } else { 18 };
    let op = Op::Reduce { kind, keep_dims };
    if node.operator_set() < operand_since {
        node.at_most(1)?;
        let axes = node.attributes.ints("axes")?.map(|axes| Tensor::from_i64(axes.to_vec()));
        let axes = axes.map(|axes| node.add_constant("axes", axes));
        return Ok(Some((op, vec![Some(x), axes])));
    }
    node.at_most(2)?;
    let axes = node.optional(1);
    let no_axes = match axes {
        None => true,
        Some(_) => node.constant(1).is_some_and(Tensor::is_empty),
    };
    if no_axes && noop_with_empty_axes {
        return Ok(None);
    }
    Ok(Some((op, vec![Some(x), axes])))
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
