//! Recognises activation units that exporters write in pieces.

use crate::graph::{BinaryOp, Graph, Node, Op, UnaryOp, ValueId};

/// Rewrites `p * relu(x) - n * relu(-x)` (Maxout as AdaBin writes it; also with missing factors) as
/// [`Op::TwoSlope`]: `x >= 0 ? p * x : n * x`. One of the two products is always a zero, so the
/// values are the same to the bit.
pub(super) fn canonicalise_units(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        if let Some((x, positive, negative)) = two_slopes(graph, &graph.nodes[index]) {
            let one = |graph: &mut Graph, slope: Option<ValueId>| {
                slope.unwrap_or_else(|| {
                    graph.add_constant("one", crate::graph::Tensor::scalar(1.0))
                })
            };
            let positive = one(graph, positive);
            let negative = one(graph, negative);
            graph.nodes[index].op = Op::TwoSlope;
            graph.nodes[index].inputs = vec![Some(x), Some(positive), Some(negative)];
        }
    }
}

fn producer(graph: &Graph, value: ValueId) -> Option<&Node> {
    graph.nodes.iter().find(|node| node.outputs.contains(&value))
}

/// `x` and the slopes (absent: 1), if the node is the final subtraction of the pattern.
fn two_slopes(graph: &Graph, node: &Node) -> Option<(ValueId, Option<ValueId>, Option<ValueId>)> {
    if node.op != Op::Binary(BinaryOp::Sub) {
        return None;
    }
    let (rectified, positive) = scaled_relu(graph, node.input(0)?)?;
    let (negated, negative) = scaled_relu(graph, node.input(1)?)?;
    let negation = producer(graph, negated)?;
    let is_mirror =
        negation.op == Op::Unary(UnaryOp::Neg) && negation.input(0) == Some(rectified);
    is_mirror.then_some((rectified, positive, negative))
}

/// Takes `c * relu(x)` or `relu(x)` apart into `x` and `c`.
fn scaled_relu(graph: &Graph, value: ValueId) -> Option<(ValueId, Option<ValueId>)> {
    let node = producer(graph, value)?;
    match node.op {
        Op::Unary(UnaryOp::Relu) => Some((node.input(0)?, None)),
        Op::Binary(BinaryOp::Mul) => {
            let (a, b) = (node.input(0)?, node.input(1)?);
            let (relu, factor) = if graph.constant(b).is_some() { (a, b) } else { (b, a) };
            graph.constant(factor)?;
            let relu = producer(graph, relu)?;
            (relu.op == Op::Unary(UnaryOp::Relu)).then_some((relu.input(0)?, Some(factor)))
        }
        _ => None,
    }
}
