//! What each operator of a file becomes in the graph.
//!
//! A rule asks for every attribute that its operator has in any of the operator sets that are known,
//! and refuses what the graph cannot express.

mod elementwise;
mod qonnx;
mod rearrange;
mod reduction;
mod window;

use super::assemble::is_own;
use super::node::{Fault, NodeContext};
use crate::graph::{BinaryOp, Op, ReduceKind, UnaryOp};

/// Adds a node of a file to the graph.
pub(super) type Rule = fn(&mut NodeContext<'_, '_>) -> Result<(), Fault>;

/// The rule for an operator.
pub(super) fn rule(domain: &str, op_type: &str) -> Option<Rule> {
    if is_own(domain) { onnx_rule(op_type) } else { qonnx::rule(domain, op_type) }
}

fn onnx_rule(op_type: &str) -> Option<Rule> {
    use elementwise::{binary, unary, variadic};
    Some(match op_type {
        "Identity" => |node| unary(node, UnaryOp::Identity),
        "Relu" => |node| unary(node, UnaryOp::Relu),
        "LeakyRelu" => elementwise::leaky_relu,
        "Sigmoid" => |node| unary(node, UnaryOp::Sigmoid),
        "HardSigmoid" => elementwise::hard_sigmoid,
        "HardSwish" => |node| unary(node, UnaryOp::HardSwish),
        "Tanh" => |node| unary(node, UnaryOp::Tanh),
        "Elu" => elementwise::elu,
        "Softplus" => |node| unary(node, UnaryOp::Softplus),
        "Erf" => |node| unary(node, UnaryOp::Erf),
        "Neg" => |node| unary(node, UnaryOp::Neg),
        "Abs" => |node| unary(node, UnaryOp::Abs),
        "Sqrt" => |node| unary(node, UnaryOp::Sqrt),
        "Reciprocal" => |node| unary(node, UnaryOp::Reciprocal),
        "Exp" => |node| unary(node, UnaryOp::Exp),
        "Log" => |node| unary(node, UnaryOp::Log),
        "Floor" => |node| unary(node, UnaryOp::Floor),
        "Ceil" => |node| unary(node, UnaryOp::Ceil),
        "Round" => |node| unary(node, UnaryOp::Round),
        "Sign" => |node| unary(node, UnaryOp::Sign),
        "Not" => |node| unary(node, UnaryOp::Not),
        "Dropout" => elementwise::dropout,
        "Cast" => elementwise::cast,
        "CastLike" => elementwise::cast_like,
        "Clip" => elementwise::clip,
        "PRelu" => |node| fixed(node, Op::PRelu, 2),
        "Where" => |node| fixed(node, Op::Where, 3),
        "Add" => |node| binary(node, BinaryOp::Add),
        "Sub" => |node| binary(node, BinaryOp::Sub),
        "Mul" => |node| binary(node, BinaryOp::Mul),
        "Div" => |node| binary(node, BinaryOp::Div),
        "Pow" => |node| binary(node, BinaryOp::Pow),
        "Greater" => |node| binary(node, BinaryOp::Greater),
        "GreaterOrEqual" => |node| binary(node, BinaryOp::GreaterOrEqual),
        "Less" => |node| binary(node, BinaryOp::Less),
        "LessOrEqual" => |node| binary(node, BinaryOp::LessOrEqual),
        "Equal" => |node| binary(node, BinaryOp::Equal),
        "And" => |node| binary(node, BinaryOp::And),
        "Or" => |node| binary(node, BinaryOp::Or),
        "Min" => |node| variadic(node, BinaryOp::Min),
        "Max" => |node| variadic(node, BinaryOp::Max),
        "Sum" => |node| variadic(node, BinaryOp::Add),
        "Mean" => elementwise::mean,
        "Conv" => window::conv,
        "MaxPool" => window::max_pool,
        "AveragePool" => window::average_pool,
        "GlobalAveragePool" => |node| fixed(node, Op::GlobalAveragePool, 1),
        "GlobalMaxPool" => |node| fixed(node, Op::GlobalMaxPool, 1),
        "Gemm" => gemm,
        "MatMul" => |node| fixed(node, Op::MatMul, 2),
        "BatchNormalization" => batch_normalization,
        "ReduceMean" => |node| reduction::reduce(node, ReduceKind::Mean),
        "ReduceSum" => |node| reduction::reduce(node, ReduceKind::Sum),
        "ReduceMax" => |node| reduction::reduce(node, ReduceKind::Max),
        "ReduceMin" => |node| reduction::reduce(node, ReduceKind::Min),
        "ArgMax" => reduction::arg_max,
        "Softmax" => |node| reduction::softmax(node, false),
        "LogSoftmax" => |node| reduction::softmax(node, true),
        "Concat" => rearrange::concat,
        "Split" => rearrange::split,
        "Slice" => rearrange::slice,
        "Pad" => rearrange::pad,
        "Reshape" => rearrange::reshape,
        "Flatten" => rearrange::flatten,
        "Transpose" => rearrange::transpose,
        "Squeeze" => |node| rearrange::with_axes(node, Op::Squeeze, false),
        "Unsqueeze" => |node| rearrange::with_axes(node, Op::Unsqueeze, true),
        "Expand" => |node| fixed(node, Op::Expand, 2),
        "Gather" => rearrange::gather,
        "Shape" => rearrange::shape,
        "DepthToSpace" => rearrange::depth_to_space,
        "Constant" => rearrange::constant,
        "ConstantOfShape" => rearrange::constant_of_shape,
        "Range" => rearrange::range,
        _ => return None,
    })
}

/// An operator without attributes and with so many operands.
fn fixed(node: &mut NodeContext<'_, '_>, op: Op, count: usize) -> Result<(), Fault> {
    node.at_most(count)?;
    let operands: Vec<_> =
        (0..count).map(|index| node.operand(index).map(Some)).collect::<Result<_, _>>()?;
    node.push(op, operands)
}

fn gemm(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(3)?;
    let attributes = &node.attributes;
    let op = Op::Gemm {
        alpha: attributes.float("alpha")?.unwrap_or(1.0),
        beta: attributes.float("beta")?.unwrap_or(1.0),
        trans_a: attributes.flag("transA")?,
        trans_b: attributes.flag("transB")?,
    };
    node.push(op, node.operands())
}

/// Further results (running statistics) exist only while training.
fn batch_normalization(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
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
