//! Removal of what computes nothing: identities, repeated nodes and dead ones.

use std::collections::{HashMap, HashSet};

use crate::graph::{Graph, Op, UnaryOp, ValueId, element_types};

/// Removes identities (also casts to the type that is there and pads by nothing), merges nodes that
/// compute the same, and drops nodes whose results nobody reads.
pub(super) fn clean(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    forward_identities(graph, shapes);
    merge_repeated_nodes(graph);
    drop_dead_nodes(graph);
}

/// Sends the readers of a value that merely repeats another one to the original.
fn forward_identities(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    let mut original: HashMap<ValueId, ValueId> = HashMap::new();
    let types = element_types(graph);
    let mut nodes = std::mem::take(&mut graph.nodes);
    for node in &mut nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = original.get(input).copied().unwrap_or(*input);
        }
        let Some(source) = node.input(0) else { continue };
        let same_shape = || {
            let shape = |id: ValueId| shapes.get(id.index()).and_then(Option::as_ref);
            shape(source).is_some() && shape(source) == shape(node.output())
        };
        let repeats = match &node.op {
            Op::Unary(UnaryOp::Identity) => true,
            Op::Cast { to } => types[source.index()] == Some(*to),
            Op::Pad | Op::Reshape { .. } | Op::Flatten { .. } | Op::Expand => same_shape(),
            Op::Transpose { perm } => perm.iter().copied().eq(0..perm.len()),
            Op::Concat { .. } => node.inputs.len() == 1,
            _ => false,
        };
        if repeats {
            original.insert(node.output(), source);
        }
    }
    graph.nodes = nodes;
    graph.rename_ends(|id| original.get(&id).copied().unwrap_or(id));
}

/// Merges nodes of one operator on the same operands.
fn merge_repeated_nodes(graph: &mut Graph) {
    let mut first: HashMap<String, Vec<ValueId>> = HashMap::new();
    let mut original: HashMap<ValueId, ValueId> = HashMap::new();
    let mut constants: HashMap<ConstantKey, ValueId> = HashMap::new();
    let mut nodes = std::mem::take(&mut graph.nodes);
    nodes.retain_mut(|node| {
        for input in node.inputs.iter_mut().flatten() {
            *input = original.get(input).copied().unwrap_or(*input);
        }
        // Small constants that every use writes anew (zero, one, pads) count as one.
        let operands: Vec<Option<ValueId>> = node
            .inputs
            .iter()
            .map(|input| {
                input.map(|id| match graph.constant(id).and_then(ConstantKey::of) {
                    Some(key) => *constants.entry(key).or_insert(id),
                    None => id,
                })
            })
            .collect();
        let key = format!("{:?} {operands:?}", node.op);
        match first.get(&key) {
            Some(outputs) => {
                for (&from, &to) in node.outputs.iter().zip(outputs) {
                    original.insert(from, to);
                }
                false
            }
            None => {
                first.insert(key, node.outputs.clone());
                true
            }
        }
    });
    graph.nodes = nodes;
    graph.rename_ends(|id| original.get(&id).copied().unwrap_or(id));
}

/// Contents of a small constant, comparable by bits.
#[derive(PartialEq, Eq, Hash)]
struct ConstantKey {
    shape: Vec<usize>,
    bits: Vec<u64>,
}

impl ConstantKey {
    fn of(tensor: &crate::graph::Tensor) -> Option<Self> {
        use crate::graph::Data;
        if tensor.len() > 16 {
            return None;
        }
        let mut bits: Vec<u64> = match tensor.data() {
            Data::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
            Data::I64(v) => v.iter().map(|&x| x as u64).collect(),
            Data::Bool(v) => v.iter().map(|&x| u64::from(x)).collect(),
        };
        bits.push(tensor.data_type() as u64);
        Some(Self { shape: tensor.shape().to_vec(), bits })
    }
}

/// Drops nodes none of whose results is read by anybody.
pub(super) fn drop_dead_nodes(graph: &mut Graph) {
    let mut live: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut keep = vec![false; graph.nodes.len()];
    for (node, keep) in graph.nodes.iter().zip(&mut keep).rev() {
        if node.outputs.iter().any(|output| live.contains(output)) {
            *keep = true;
            live.extend(node.inputs.iter().flatten());
        }
    }
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, Block};

    #[test]
    fn blocks_keep_their_ends_where_values_are_replaced() {
        let mut graph = Graph::new("blocks");
        let x = graph.add_input("x", vec![1, 4]);
        let same = graph.push_node("same", Op::Unary(UnaryOp::Identity), [x]);
        let relu = graph.push_node("relu", Op::Unary(UnaryOp::Relu), [same]);
        let again = graph.push_node("again", Op::Unary(UnaryOp::Relu), [x]);
        let sum = graph.push_node("sum", Op::Binary(BinaryOp::Add), [relu, again]);
        let block = |name: &str, input, output| Block { name: name.to_owned(), input, output };
        graph.blocks = vec![block("first", same, relu), block("second", again, sum)];
        graph.outputs = vec![sum];
        let shapes = vec![Some(vec![1, 4]); graph.values.len()];
        clean(&mut graph, &shapes);
        assert_eq!(graph.blocks, [block("first", x, relu), block("second", relu, sum)]);
    }
}
