//! Chains of per-channel operations, as they stand between a convolution and the next sign.

use crate::{
    graph::{BinaryOp, Graph, Node, Op, UnaryOp, ValueId},
    program::{ChannelOp, UnaryFunction},
};

use super::view::{MapSize, View};

/// An operation whose constants are at hand: one entry, or one per channel.
pub(super) type Operation = ChannelOp<Vec<f32>>;

/// How a function of one value moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Never decreases.
    Increasing,
    /// Never increases.
    Decreasing,
    /// Always the same.
    Constant,
}

impl Direction {
    fn of(slope: f32) -> Self {
        if slope > 0.0 {
            Self::Increasing
        } else if slope < 0.0 {
            Self::Decreasing
        } else {
            Self::Constant
        }
    }

    fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Constant, _) | (_, Self::Constant) => Self::Constant,
            (a, b) if a == b => Self::Increasing,
            _ => Self::Decreasing,
        }
    }
}

/// The value of a chain at `x` in one channel.
pub(super) fn evaluate(chain: &[Operation], x: f32, channel: usize) -> f32 {
    chain.iter().fold(x, |x, operation| operation.apply(x, channel))
}

/// How a chain moves in one channel, judged by its operations; `None` if it is not monotone (or not
/// known to be).
pub(super) fn direction(chain: &[Operation], channel: usize) -> Option<Direction> {
    chain.iter().try_fold(Direction::Increasing, |so_far, operation| {
        Some(so_far.then(operation_direction(operation, channel)?))
    })
}

fn operation_direction(operation: &Operation, channel: usize) -> Option<Direction> {
    use Direction::{Decreasing, Increasing};
    let at = |p: &Vec<f32>| if p.len() == 1 { p[0] } else { p[channel] };
    Some(match operation {
        ChannelOp::Add(_)
        | ChannelOp::Subtract(_)
        | ChannelOp::Minimum(_)
        | ChannelOp::Maximum(_) => Increasing,
        ChannelOp::SubtractFrom(_) => Decreasing,
        ChannelOp::Multiply(p) => Direction::of(at(p)),
        ChannelOp::Divide(p) => match at(p) {
            0.0 => return None,
            divisor => Direction::of(divisor),
        },
        ChannelOp::DivideInto(_) | ChannelOp::Wrap(_) => return None,
        ChannelOp::TwoSlope { positive, negative } => {
            let positive = positive.as_ref().map_or(1.0, at);
            let negative = at(negative);
            if positive >= 0.0 && negative >= 0.0 {
                Increasing
            } else if positive <= 0.0 && negative <= 0.0 {
                Decreasing
            } else {
                return None;
            }
        }
        ChannelOp::Step { low, high, .. } => Direction::of(high - low),
        ChannelOp::Unary(function) => match function {
            UnaryFunction::Relu
            | UnaryFunction::Floor
            | UnaryFunction::Ceil
            | UnaryFunction::Round
            | UnaryFunction::Exp
            | UnaryFunction::Tanh
            | UnaryFunction::Sigmoid
            | UnaryFunction::Erf
            | UnaryFunction::Softplus
            | UnaryFunction::Sign => Increasing,
            UnaryFunction::Negate => Decreasing,
            UnaryFunction::Absolute
            | UnaryFunction::Sqrt
            | UnaryFunction::Reciprocal
            | UnaryFunction::Log => return None,
        },
    })
}

/// The operations that a node applies to one of its operands, if it is an elementwise function of
/// that operand and of constants that do not vary from pixel to pixel.
///
/// `operand` is the index of the running value among the node's inputs, `view` and `size` say how it
/// lies in memory.
pub(super) fn channel_operations(
    graph: &Graph,
    node: &Node,
    operand: usize,
    view: &View,
    size: MapSize,
) -> Option<Vec<Operation>> {
    let constant = |value: Option<ValueId>| -> Option<Vec<f32>> {
        let tensor = graph.constant(value?)?;
        view.per_channel(size, tensor.shape(), tensor.f32().ok()?)
    };
    let uniform = |value: Option<ValueId>| -> Option<f32> { uniform_constant(graph, value?) };
    let one = |operation| Some(vec![operation]);
    let function = |f| one(ChannelOp::Unary(f));
    match &node.op {
        Op::Unary(unary) => match *unary {
            UnaryOp::Identity => Some(Vec::new()),
            UnaryOp::Relu => function(UnaryFunction::Relu),
            UnaryOp::LeakyRelu { alpha } => {
                one(ChannelOp::TwoSlope { positive: None, negative: vec![alpha] })
            }
            UnaryOp::Sigmoid => function(UnaryFunction::Sigmoid),
            UnaryOp::HardSigmoid { alpha, beta } => Some(vec![
                ChannelOp::Multiply(vec![alpha]),
                ChannelOp::Add(vec![beta]),
                ChannelOp::Maximum(vec![0.0]),
                ChannelOp::Minimum(vec![1.0]),
            ]),
            UnaryOp::Tanh => function(UnaryFunction::Tanh),
            UnaryOp::Softplus => function(UnaryFunction::Softplus),
            UnaryOp::Erf => function(UnaryFunction::Erf),
            UnaryOp::Neg => function(UnaryFunction::Negate),
            UnaryOp::Abs => function(UnaryFunction::Absolute),
            UnaryOp::Sqrt => function(UnaryFunction::Sqrt),
            UnaryOp::Reciprocal => function(UnaryFunction::Reciprocal),
            UnaryOp::Exp => function(UnaryFunction::Exp),
            UnaryOp::Log => function(UnaryFunction::Log),
            UnaryOp::Floor => function(UnaryFunction::Floor),
            UnaryOp::Ceil => function(UnaryFunction::Ceil),
            UnaryOp::Round => function(UnaryFunction::Round),
            UnaryOp::Sign => function(UnaryFunction::Sign),
            _ => None,
        },
        Op::Binary(op) => {
            let p = constant(node.input(1 - operand))?;
            one(match (op, operand) {
                (BinaryOp::Add, _) => ChannelOp::Add(p),
                (BinaryOp::Sub, 0) => ChannelOp::Subtract(p),
                (BinaryOp::Sub, _) => ChannelOp::SubtractFrom(p),
                (BinaryOp::Mul, _) => ChannelOp::Multiply(p),
                (BinaryOp::Div, 0) => ChannelOp::Divide(p),
                (BinaryOp::Div, _) => ChannelOp::DivideInto(p),
                (BinaryOp::Min, _) => ChannelOp::Minimum(p),
                (BinaryOp::Max, _) => ChannelOp::Maximum(p),
                _ => return None,
            })
        }
        Op::BatchNormalization { epsilon } if operand == 0 => {
            let parameter = |index| {
                let tensor = graph.constant(node.input(index)?)?;
                // Parameters run along axis 1, whatever the rank.
                let mut shape = vec![1; view.rank().max(2)];
                shape[1] = tensor.len();
                view.per_channel(size, &shape, tensor.f32().ok()?)
            };
            let (gamma, beta, mean, variance) =
                (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
            Some(batch_normalization(&gamma, &beta, &mean, &variance, *epsilon))
        }
        Op::PRelu if operand == 0 => {
            one(ChannelOp::TwoSlope { positive: None, negative: constant(node.input(1))? })
        }
        Op::TwoSlope if operand == 0 => one(ChannelOp::TwoSlope {
            positive: Some(constant(node.input(1))?),
            negative: constant(node.input(2))?,
        }),
        Op::Clip if operand == 0 => {
            let mut operations = Vec::new();
            if let Some(minimum) = node.input(1) {
                operations.push(ChannelOp::Maximum(vec![uniform(Some(minimum))?]));
            }
            if let Some(maximum) = node.input(2) {
                operations.push(ChannelOp::Minimum(vec![uniform(Some(maximum))?]));
            }
            Some(operations)
        }
        Op::Step { at_least, low, high } => {
            one(ChannelOp::Step { at_least: *at_least, low: *low, high: *high })
        }
        _ => None,
    }
}

/// Batch normalization as the two operations that the contract fixes: `inv = 1 / sqrt(variance +
/// epsilon)`, `a = gamma * inv`, `b = beta - mean * a`, `y = a * x + b`, each rounded.
fn batch_normalization(
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    variance: &[f32],
    epsilon: f32,
) -> Vec<Operation> {
    let channels = [gamma, beta, mean, variance].iter().map(|p| p.len()).max().unwrap_or(1);
    let at = |p: &[f32], channel: usize| if p.len() == 1 { p[0] } else { p[channel] };
    let mut scale = Vec::with_capacity(channels);
    let mut offset = Vec::with_capacity(channels);
    for channel in 0..channels {
        let inverse = 1.0 / (at(variance, channel) + epsilon).sqrt();
        let a = at(gamma, channel) * inverse;
        scale.push(a);
        offset.push(at(beta, channel) - at(mean, channel) * a);
    }
    vec![ChannelOp::Multiply(scale), ChannelOp::Add(offset)]
}

/// The value of a constant whose entries are all the same float.
pub(super) fn uniform_constant(graph: &Graph, value: ValueId) -> Option<f32> {
    let values = graph.constant(value)?.f32().ok()?;
    let first = *values.first()?;
    values.iter().all(|&v| v == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_compose() {
        let decreasing = ChannelOp::Multiply(vec![-2.0]);
        let increasing = ChannelOp::Add(vec![3.0]);
        assert_eq!(direction(std::slice::from_ref(&increasing), 0), Some(Direction::Increasing));
        assert_eq!(direction(std::slice::from_ref(&decreasing), 0), Some(Direction::Decreasing));
        let twice = [decreasing.clone(), increasing, decreasing];
        assert_eq!(direction(&twice, 0), Some(Direction::Increasing));
        assert_eq!(direction(&[ChannelOp::Multiply(vec![0.0])], 0), Some(Direction::Constant));
        let folded = ChannelOp::TwoSlope { positive: None, negative: vec![-0.1] };
        assert_eq!(direction(&[folded], 0), None);
        assert_eq!(direction(&[ChannelOp::Unary(UnaryFunction::Absolute)], 0), None);
    }

    #[test]
    fn batch_normalization_rounds_every_operation() {
        let chain = batch_normalization(&[0.3], &[0.1], &[1.7], &[0.9], 1e-3);
        let inverse = 1.0_f32 / (0.9_f32 + 1e-3).sqrt();
        let a = 0.3 * inverse;
        let b = 0.1 - 1.7 * a;
        assert_eq!(evaluate(&chain, 5.0, 0).to_bits(), (a * 5.0 + b).to_bits());
    }
}
