//! Operators on single elements.

use crate::graph::{BinaryOp, DataType, Op, Tensor, UnaryOp};
use crate::import::onnx::node::{Fault, NodeContext};
use crate::import::onnx::tensor::{type_name, widened};

pub(super) fn unary(node: &mut NodeContext<'_, '_>, function: UnaryOp) -> Result<(), Fault> {
    super::fixed(node, Op::Unary(function), 1)
}

pub(super) fn leaky_relu(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(0.01);
    unary(node, UnaryOp::LeakyRelu { alpha })
}

pub(super) fn hard_sigmoid(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(0.2);
    let beta = node.attributes.float("beta")?.unwrap_or(0.5);
    unary(node, UnaryOp::HardSigmoid { alpha, beta })
}

pub(super) fn elu(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(1.0);
    unary(node, UnaryOp::Elu { alpha })
}

/// Nothing is dropped outside of training.
pub(super) fn dropout(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(3)?;
    node.attributes.ignore("ratio");
    node.attributes.ignore("seed");
    if node.optional(2).is_some() {
        let off = Tensor::new(Vec::new(), crate::graph::Data::Bool(vec![false])).ok();
        if node.constant(2).map(Tensor::data) != off.as_ref().map(Tensor::data) {
            return Err(Fault::Unsupported("training mode".to_owned()));
        }
    }
    let x = node.operand(0)?;
    node.push(Op::Unary(UnaryOp::Identity), vec![Some(x)])
}

pub(super) fn cast(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    // These two concern 8-bit floats, which are not among the types below.
    node.attributes.ignore("saturate");
    node.attributes.ignore("round_mode");
    let to = node
        .attributes
        .int("to")?
        .ok_or_else(|| Fault::Invalid("attribute `to` is missing".to_owned()))?;
    let element_type = i32::try_from(to).unwrap_or(-1);
    match widened(element_type) {
        Some(to) => super::fixed(node, Op::Cast { to }, 1),
        None => Err(Fault::Unsupported(format!("elements of type {}", type_name(element_type)))),
    }
}

/// To the type of the second operand, of which nothing else matters. Exporters write it between a
/// scalar and the tensor that it meets.
pub(super) fn cast_like(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(2)?;
    node.attributes.ignore("saturate");
    node.attributes.ignore("round_mode");
    let (x, to) = (node.operand(0)?, node.element_type(1)?);
    node.push(Op::Cast { to }, vec![Some(x)])
}

/// Bounds are attributes before operator set 11; there the defaults bound nothing.
pub(super) fn clip(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    if node.operator_set() >= 11 {
        node.at_most(3)?;
        return node.push(Op::Clip, node.operands());
    }
    node.at_most(1)?;
    let x = node.operand(0)?;
    let (minimum, maximum) = (node.attributes.float("min")?, node.attributes.float("max")?);
    let minimum = minimum.map(|value| node.add_constant("min", Tensor::scalar(value)));
    let maximum = maximum.map(|value| node.add_constant("max", Tensor::scalar(value)));
    node.push(Op::Clip, vec![Some(x), minimum, maximum])
}

pub(super) fn binary(node: &mut NodeContext<'_, '_>, function: BinaryOp) -> Result<(), Fault> {
    super::fixed(node, Op::Binary(function), 2)
}

/// Any number of operands, taken together from the left.
pub(super) fn variadic(node: &mut NodeContext<'_, '_>, function: BinaryOp) -> Result<(), Fault> {
    let mut result = node.operand(0)?;
    let last = node.operand_count() - 1;
    if last == 0 {
        return node.push(Op::Unary(UnaryOp::Identity), vec![Some(result)]);
    }
    for index in 1..last {
        let operand = node.operand(index)?;
        result = node.push_part(Op::Binary(function), vec![Some(result), Some(operand)])?;
    }
    let operand = node.operand(last)?;
    node.push(Op::Binary(function), vec![Some(result), Some(operand)])
}

/// The sum, divided by the number of operands.
pub(super) fn mean(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let mut sum = node.operand(0)?;
    for index in 1..node.operand_count() {
        let operand = node.operand(index)?;
        sum = node.push_part(Op::Binary(BinaryOp::Add), vec![Some(sum), Some(operand)])?;
    }
    let count = Tensor::scalar(node.operand_count() as f32);
    let count = node.add_constant("count", count);
    node.push(Op::Binary(BinaryOp::Div), vec![Some(sum), Some(count)])
}

/// Whether a tensor holds numbers that a float holds exactly; the type they are to have.
pub(super) fn exact_float(tensor: &Tensor) -> Option<(f32, DataType)> {
    match tensor.data() {
        crate::graph::Data::F32(values) => Some((*values.first()?, DataType::F32)),
        crate::graph::Data::I64(values) => {
            let value = *values.first()?;
            let float = value as f32;
            // The second test excludes 2^63, which the conversion back saturates to.
            (float as i64 == value && value != i64::MAX).then_some((float, DataType::I64))
        }
        crate::graph::Data::Bool(values) => {
            Some((f32::from(u8::from(*values.first()?)), DataType::Bool))
        }
    }
}
