//! Recognises activation units that exporters write in pieces.

use crate::graph::{BinaryOp, Graph, Node, Op, Tensor, UnaryOp, ValueId};

use super::rewrite::{Visited, rewrite_nodes};

/// Rewrites `p * relu(x) - n * relu(-x)` (Maxout as AdaBin writes it; also with missing factors) as
/// [`Op::TwoSlope`]: `x >= 0 ? p * x : n * x`. One of the two products is always a zero, so the
/// values are the same to the bit.
pub(super) fn canonicalise_units(graph: &mut Graph) {
    rewrite_nodes(graph, |graph, visited, node| {
        let (x, positive, negative) = two_slopes(graph, visited, node)?;
        let mut slope = |slope: Option<ValueId>| {
            slope.unwrap_or_else(|| graph.add_constant("one", Tensor::scalar(1.0)))
        };
        let inputs = vec![Some(x), Some(slope(positive)), Some(slope(negative))];
        Some(vec![Node { op: Op::TwoSlope, inputs, ..node.clone() }])
    });
}

/// `x` and the slopes (absent: 1), if the node is the final subtraction of the pattern.
fn two_slopes(
    graph: &Graph,
    visited: &Visited,
    node: &Node,
) -> Option<(ValueId, Option<ValueId>, Option<ValueId>)> {
    if node.op != Op::Binary(BinaryOp::Sub) {
        return None;
    }
    let (rectified, positive) = scaled_relu(graph, visited, node.input(0)?)?;
    let (negated, negative) = scaled_relu(graph, visited, node.input(1)?)?;
    let negation = visited.producer(negated)?;
    let is_mirror = negation.op == Op::Unary(UnaryOp::Neg) && negation.input(0) == Some(rectified);
    is_mirror.then_some((rectified, positive, negative))
}

/// Takes `c * relu(x)` or `relu(x)` apart into `x` and `c`.
fn scaled_relu(
    graph: &Graph,
    visited: &Visited,
    value: ValueId,
) -> Option<(ValueId, Option<ValueId>)> {
    let node = visited.producer(value)?;
    match node.op {
        Op::Unary(UnaryOp::Relu) => Some((node.input(0)?, None)),
        Op::Binary(BinaryOp::Mul) => {
            let (a, b) = (node.input(0)?, node.input(1)?);
            let (relu, factor) = if graph.constant(b).is_some() { (a, b) } else { (b, a) };
            graph.constant(factor)?;
            let relu = visited.producer(relu)?;
            (relu.op == Op::Unary(UnaryOp::Relu)).then_some((relu.input(0)?, Some(factor)))
        }
        _ => None,
    }
}
