//! Values and operators in the words of somebody who knows the original graph.

use crate::graph::{Graph, Node, Op, ValueId};

use super::{facts::non_negative, lower::is_structural};

/// What a tensor is: the node that computes it, seen through those that only move data, and
/// whether it can be negative. `producers` are those of the graph.
pub(super) fn describe_source(
    graph: &Graph,
    producers: &[Option<usize>],
    value: ValueId,
) -> String {
    let producer = |value: ValueId| producers[value.index()].map(|index| &graph.nodes[index]);
    let source = source(value, &producer);
    let name = |node: &Node| format!("{} '{}'", node.op.name(), node.name);
    let Some(node) = producer(source) else {
        return format!("the input '{}' of the network", graph.value_name(source));
    };
    if !non_negative(graph, producers, source) {
        return format!("the output of {}", name(node));
    }
    // Sums and pools are not negative because what they read is not.
    let mut reason = node;
    while passes_signs(&reason.op)
        && let Some(before) = reason.input(0).and_then(producer)
    {
        reason = before;
    }
    if std::ptr::eq(reason, node) {
        format!("the output of {}, which is never negative", name(node))
    } else {
        format!("the output of {}, which is never negative behind {}", name(node), name(reason))
    }
}

/// Whether an operator computes a tensor, rather than moving an input of the network. `producers` are those
/// of the graph.
pub(super) fn is_computed(graph: &Graph, producers: &[Option<usize>], value: ValueId) -> bool {
    let producer = |value: ValueId| producers[value.index()].map(|index| &graph.nodes[index]);
    producer(source(value, &producer)).is_some()
}

/// What a tensor was before it was moved.
fn source<'g>(value: ValueId, producer: &impl Fn(ValueId) -> Option<&'g Node>) -> ValueId {
    let mut source = value;
    // A graph has no cycles: this ends.
    while let Some(node) = producer(source)
        && is_structural(&node.op)
        && let Some(input) = node.input(0)
    {
        source = input;
    }
    source
}

/// Operators whose results have the signs of their operands.
fn passes_signs(op: &Op) -> bool {
    is_structural(op)
        || matches!(
            op,
            Op::MaxPool(_)
                | Op::AveragePool(_)
                | Op::GlobalAveragePool
                | Op::GlobalMaxPool
                | Op::Reduce { .. }
                | Op::Concat { .. }
                | Op::Slice
                | Op::Split { .. }
                | Op::Pad
                | Op::Binary(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::UnaryOp;

    #[test]
    fn sources_are_named_through_transpositions() {
        let mut graph = Graph::new("source");
        let x = graph.add_input("x", vec![1, 4, 2, 2]);
        let perm = || Op::Transpose { perm: vec![0, 2, 3, 1] };
        let turned = graph.push_node("turn", perm(), [x]);
        let relu = graph.push_node("relu_1", Op::Unary(UnaryOp::Relu), [turned]);
        let back = graph.push_node("back", perm(), [relu]);
        let pool = graph.push_node("pool_1", Op::GlobalMaxPool, [back]);
        let tanh = graph.push_node("tanh_1", Op::Unary(UnaryOp::Tanh), [back]);
        let producers = graph.producers();
        assert_eq!(describe_source(&graph, &producers, turned), "the input 'x' of the network");
        assert_eq!(
            describe_source(&graph, &producers, back),
            "the output of Relu 'relu_1', which is never negative"
        );
        assert_eq!(
            describe_source(&graph, &producers, pool),
            "the output of GlobalMaxPool 'pool_1', which is never negative behind Relu 'relu_1'"
        );
        assert_eq!(describe_source(&graph, &producers, tanh), "the output of Tanh 'tanh_1'");
        assert!(!is_computed(&graph, &producers, x) && !is_computed(&graph, &producers, turned));
        assert!(is_computed(&graph, &producers, back));
    }
}
