//! The operators of QONNX.

use super::Rule;
use crate::graph::{BinaryOp, Op, QuantAttributes, RoundingMode, Tensor, UnaryOp, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

/// The rule for an operator in one of the domains that QONNX tools have used: today's, that of FINN
/// before, and that of Brevitas before that.
pub(super) fn rule(domain: &str, op_type: &str) -> Option<Rule> {
    let known = domain == "onnx.brevitas"
        || domain.starts_with("qonnx.custom_op.")
        || domain.starts_with("finn.custom_op.");
    if !known {
        return None;
    }
    Some(match op_type {
        "BipolarQuant" => |node| super::fixed(node, Op::BipolarQuant, 2),
        "Quant" | "IntQuant" => quant,
        "Trunc" => trunc,
        "MultiThreshold" => multi_threshold,
        _ => return None,
    })
}

/// The attribute is written in either case.
fn rounding_mode(node: &NodeContext<'_, '_>, default: RoundingMode) -> Result<RoundingMode, Fault> {
    let Some(mode) = node.attributes.string("rounding_mode")? else { return Ok(default) };
    Ok(match mode.to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => RoundingMode::Round,
        "CEIL" => RoundingMode::Ceil,
        "FLOOR" => RoundingMode::Floor,
        "UP" => RoundingMode::Up,
        "DOWN" | "ROUND_TO_ZERO" => RoundingMode::Down,
        "HALF_UP" => RoundingMode::HalfUp,
        "HALF_DOWN" => RoundingMode::HalfDown,
        _ => return Err(Fault::Unsupported(format!("rounding mode `{mode}`"))),
    })
}

fn quant(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let attributes = QuantAttributes {
        signed: node.attributes.flag_or("signed", true)?,
        narrow: node.attributes.flag_or("narrow", true)?,
        rounding: rounding_mode(node, RoundingMode::Round)?,
    };
    super::fixed(node, Op::Quant(attributes), 4)
}

/// Version 1: `x, scale, zero_point, in_bit_width, out_bit_width`.
fn trunc(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    if node.operand_count() > 5 {
        return trunc_to_scale(node);
    }
    let rounding = rounding_mode(node, RoundingMode::Floor)?;
    super::fixed(node, Op::Trunc { rounding }, 5)
}

/// Version 2: `x, scale, zero_point, in_bit_width, out_scale, out_bit_width`, for some time with an
/// unused zero point of the result before the last one. The integer is divided by the power of two
/// that is nearest to `out_scale / scale`, then clamped, then rounded.
fn trunc_to_scale(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(7)?;
    let attributes = QuantAttributes {
        signed: node.attributes.flag_or("signed", true)?,
        narrow: node.attributes.flag("narrow")?,
        rounding: rounding_mode(node, RoundingMode::Floor)?,
    };
    let (x, scale, zero_point) = (node.operand(0)?, node.operand(1)?, node.operand(2)?);
    let (out_scale, bits) = (node.operand(4)?, node.operand(node.operand_count() - 1)?);
    let (Some(from), Some(to)) = (single(node, 1), single(node, 4)) else {
        return Err(Fault::Unsupported("scales that are not one constant".to_owned()));
    };
    let lost = libm::exp2f(libm::log2f(to / from).round_ties_even());
    if !lost.is_normal() {
        return Err(Fault::Invalid(format!("scales {from} and {to} do not fit together")));
    }
    if attributes.signed && single(node, node.operand_count() - 1) == Some(1.0) {
        return Err(Fault::Unsupported("a signed result of one bit".to_owned()));
    }
    let lost = node.add_constant("lost", Tensor::scalar(lost));
    let binary = |node: &mut NodeContext<'_, '_>, op, a: ValueId, b: ValueId| {
        node.push_part(Op::Binary(op), vec![Some(a), Some(b)])
    };
    let integer = binary(node, BinaryOp::Div, x, scale)?;
    let integer = binary(node, BinaryOp::Add, integer, zero_point)?;
    let integer = node.push_part(Op::Unary(UnaryOp::Round), vec![Some(integer)])?;
    let shortened = binary(node, BinaryOp::Div, integer, lost)?;
    let one = node.add_constant("one", Tensor::scalar(1.0));
    let nothing = node.add_constant("nothing", Tensor::scalar(0.0));
    let clamped = vec![Some(shortened), Some(one), Some(nothing), Some(bits)];
    let rounded = node.push_part(Op::Quant(attributes), clamped)?;
    let out_zero_point = binary(node, BinaryOp::Div, zero_point, lost)?;
    let shifted = binary(node, BinaryOp::Sub, rounded, out_zero_point)?;
    node.push(Op::Binary(BinaryOp::Mul), vec![Some(shifted), Some(out_scale)])
}

/// The only element of a constant operand.
fn single(node: &NodeContext<'_, '_>, index: usize) -> Option<f32> {
    match node.constant(index)?.f32().ok()? {
        &[value] => Some(value),
        _ => None,
    }
}

/// Channels are in axis 1, or in the last one with `data_layout` NHWC, which is transposed for.
fn multi_threshold(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(2)?;
    // Names the integer type that the values fit into, which changes nothing.
    node.attributes.ignore("out_dtype");
    let op = Op::MultiThreshold {
        out_scale: node.attributes.float("out_scale")?.unwrap_or(1.0),
        out_bias: node.attributes.float("out_bias")?.unwrap_or(0.0),
    };
    let (x, thresholds) = (node.operand(0)?, node.operand(1)?);
    let rank = node.shape(0)?.len();
    let layout = node.attributes.string("data_layout")?.unwrap_or("NCHW");
    match (layout, rank) {
        ("NCHW" | "NC" | "NHWC", 2) | ("NCHW", 4) => node.push(op, vec![Some(x), Some(thresholds)]),
        ("NHWC", 4) => {
            let to_front = Op::Transpose { perm: vec![0, 3, 1, 2] };
            let to_back = Op::Transpose { perm: vec![0, 2, 3, 1] };
            let x = node.push_part(to_front, vec![Some(x)])?;
            let counts = node.push_part(op, vec![Some(x), Some(thresholds)])?;
            node.push(to_back, vec![Some(counts)])
        }
        _ => Err(Fault::Unsupported(format!("data layout `{layout}` of {rank} dimensions"))),
    }
}
