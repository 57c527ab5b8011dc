//! Activations that are written as arithmetic: the graph has no operator of its own for them.

use super::elementwise::unary;
use crate::graph::{BinaryOp, DataType, Op, Tensor, UnaryOp, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

/// Writes down arithmetic, one operation after the other.
struct Arithmetic<'n, 'a, 'g>(&'n mut NodeContext<'a, 'g>);

impl Arithmetic<'_, '_, '_> {
    fn op(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, Fault> {
        self.0.push_part(op, operands.iter().copied().map(Some).collect())
    }

    fn unary(&mut self, function: UnaryOp, x: ValueId) -> Result<ValueId, Fault> {
        self.op(Op::Unary(function), &[x])
    }

    fn binary(&mut self, function: BinaryOp, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
        self.op(Op::Binary(function), &[a, b])
    }

    fn constant(&mut self, value: f32) -> ValueId {
        self.0.add_constant("constant", Tensor::scalar(value))
    }

    fn with(&mut self, function: BinaryOp, x: ValueId, value: f32) -> Result<ValueId, Fault> {
        let value = self.constant(value);
        self.binary(function, x, value)
    }

    /// The last operation, which gives the result of the node.
    fn finish(self, function: BinaryOp, a: ValueId, b: ValueId) -> Result<(), Fault> {
        self.0.push(Op::Binary(function), vec![Some(a), Some(b)])
    }
}

/// The only operand of a node and the means to do arithmetic with it.
fn start<'n, 'a, 'g>(
    node: &'n mut NodeContext<'a, 'g>,
) -> Result<(ValueId, Arithmetic<'n, 'a, 'g>), Fault> {
    node.at_most(1)?;
    let x = node.operand(0)?;
    Ok((x, Arithmetic(node)))
}

/// `gamma * elu(x)`.
pub(super) fn selu(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(1.673_263_2);
    let gamma = node.attributes.float("gamma")?.unwrap_or(1.050_701);
    let (x, mut arithmetic) = start(node)?;
    let elu = arithmetic.unary(UnaryOp::Elu { alpha }, x)?;
    let gamma = arithmetic.constant(gamma);
    arithmetic.finish(BinaryOp::Mul, elu, gamma)
}

/// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`.
pub(super) fn celu(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(1.0);
    if alpha == 0.0 {
        return Err(Fault::Invalid("attribute `alpha` is 0".to_owned()));
    }
    let (x, mut arithmetic) = start(node)?;
    let positive = arithmetic.unary(UnaryOp::Relu, x)?;
    let scaled = arithmetic.with(BinaryOp::Div, x, alpha)?;
    let power = arithmetic.unary(UnaryOp::Exp, scaled)?;
    let less = arithmetic.with(BinaryOp::Sub, power, 1.0)?;
    let negative = arithmetic.with(BinaryOp::Mul, less, alpha)?;
    let negative = arithmetic.with(BinaryOp::Min, negative, 0.0)?;
    arithmetic.finish(BinaryOp::Add, positive, negative)
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`, or the approximation by `tanh`.
pub(super) fn gelu(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let by_tanh = match node.attributes.string("approximate")?.unwrap_or("none") {
        "none" => false,
        "tanh" => true,
        other => return Err(Fault::Invalid(format!("attribute `approximate` is `{other}`"))),
    };
    let (x, mut arithmetic) = start(node)?;
    let curve = if by_tanh {
        let square = arithmetic.binary(BinaryOp::Mul, x, x)?;
        let cube = arithmetic.binary(BinaryOp::Mul, square, x)?;
        let cube = arithmetic.with(BinaryOp::Mul, cube, 0.044_715)?;
        let sum = arithmetic.binary(BinaryOp::Add, x, cube)?;
        let scaled = arithmetic.with(BinaryOp::Mul, sum, 0.797_884_6)?;
        arithmetic.unary(UnaryOp::Tanh, scaled)?
    } else {
        let scaled = arithmetic.with(BinaryOp::Mul, x, std::f32::consts::FRAC_1_SQRT_2)?;
        arithmetic.unary(UnaryOp::Erf, scaled)?
    };
    let share = arithmetic.with(BinaryOp::Add, curve, 1.0)?;
    let half = arithmetic.with(BinaryOp::Mul, x, 0.5)?;
    arithmetic.finish(BinaryOp::Mul, half, share)
}

/// `x * tanh(softplus(x))`.
pub(super) fn mish(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let (x, mut arithmetic) = start(node)?;
    let soft = arithmetic.unary(UnaryOp::Softplus, x)?;
    let gate = arithmetic.unary(UnaryOp::Tanh, soft)?;
    arithmetic.finish(BinaryOp::Mul, x, gate)
}

/// `x / (1 + |x|)`.
pub(super) fn softsign(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let (x, mut arithmetic) = start(node)?;
    let size = arithmetic.unary(UnaryOp::Abs, x)?;
    let divisor = arithmetic.with(BinaryOp::Add, size, 1.0)?;
    arithmetic.finish(BinaryOp::Div, x, divisor)
}

/// `x > alpha ? x : 0`.
pub(super) fn thresholded_relu(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let alpha = node.attributes.float("alpha")?.unwrap_or(1.0);
    if alpha == 0.0 {
        return unary(node, UnaryOp::Relu);
    }
    let (x, mut arithmetic) = start(node)?;
    let holds = arithmetic.with(BinaryOp::Greater, x, alpha)?;
    let holds = arithmetic.op(Op::Cast { to: DataType::F32 }, &[holds])?;
    arithmetic.finish(BinaryOp::Mul, x, holds)
}
