//! What is known about the values of a tensor without running the network.

use crate::{
    graph::{BinaryOp, Graph, Op, ReduceKind, UnaryOp, ValueId},
    program::ChannelOp,
};

use super::chain::{self, Operation};

/// The two values of a binary tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    /// Value of bit 0.
    pub(super) low: f32,
    /// Value of bit 1; may be the smaller one.
    pub(super) high: f32,
}

impl Levels {
    /// The levels after operations with the same constants in all channels; `None` if the two
    /// values fall together or differ from channel to channel.
    pub(super) fn through(self, operations: &[Operation]) -> Option<Self> {
        if operations.iter().flat_map(ChannelOp::parameters).any(|p| p.len() != 1) {
            return None;
        }
        let levels = Self {
            low: chain::evaluate(operations, self.low, 0),
            high: chain::evaluate(operations, self.high, 0),
        };
        (levels.low != levels.high && levels.low.is_finite() && levels.high.is_finite())
            .then_some(levels)
    }
}

/// Whether a tensor has no negative entries whatever the input: activations, pools, sums and
/// concatenations of activations that cut at zero. A `Sign` of such a tensor is 0 or +1. `producers` are
/// those of the graph.
pub(super) fn non_negative(graph: &Graph, producers: &[Option<usize>], value: ValueId) -> bool {
    let mut pending = vec![value];
    let mut seen = std::collections::HashSet::new();
    while let Some(value) = pending.pop() {
        if !seen.insert(value) {
            continue;
        }
        if let Some(constant) = graph.constant(value) {
            if constant.f32().is_ok_and(|v| v.iter().all(|&x| x >= 0.0)) {
                continue;
            }
            return false;
        }
        let Some(node) = producers[value.index()].map(|index| &graph.nodes[index]) else {
            return false;
        };
        match &node.op {
            Op::Unary(
                UnaryOp::Relu
                | UnaryOp::Sigmoid
                | UnaryOp::HardSigmoid { .. }
                | UnaryOp::Abs
                | UnaryOp::Exp
                | UnaryOp::Sqrt
                | UnaryOp::Softplus,
            )
            | Op::Softmax { .. } => {}
            Op::Step { low, high, .. } if *low >= 0.0 && *high >= 0.0 => {}
            Op::Clip
                if node
                    .input(1)
                    .and_then(|id| chain::uniform_constant(graph, id))
                    .is_some_and(|minimum| minimum >= 0.0) => {}
            Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Slice
            | Op::Split { .. }
            | Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Sum | ReduceKind::Max, .. }
            | Op::Unary(UnaryOp::Identity | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round) => {
                pending.extend(node.input(0));
            }
            Op::Concat { .. } | Op::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::Div) => {
                pending.extend(node.inputs.iter().flatten());
            }
            Op::Binary(BinaryOp::Max) => {
                // One non-negative operand is enough; constants are the usual case.
                let clipped = node
                    .inputs
                    .iter()
                    .flatten()
                    .filter_map(|&id| chain::uniform_constant(graph, id))
                    .any(|c| c >= 0.0);
                if !clipped {
                    pending.extend(node.inputs.iter().flatten());
                }
            }
            Op::Pad => {
                pending.extend(node.input(0));
                pending.extend(node.input(2));
            }
            _ => return false,
        }
    }
    true
}
