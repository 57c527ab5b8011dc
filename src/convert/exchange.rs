//! Moves signs to where layers can read them as bits.
//!
//! | in the graph | becomes | why |
//! |---|---|---|
//! | `Slice(Step(x))`, `Split(Step(x))` | `Step(Slice(x))`, ... | bits of a pixel are not cut |
//! | channel shuffle of `Step(x)` | `Step` of the shuffled `x` | nor are they reordered |
//! | `Step(f(Concat(x, x)))`, `f` per channel | `Concat(Step(f1(x)), Step(f2(x)))` | BinaryDuo: the copies exist as bits only |

use crate::graph::{BinaryOp, Graph, Node, Op, Tensor, ValueId};

use super::{
    lower::is_structural,
    rewrite::{Visited, rewrite_nodes},
};

/// Longest chain of per-channel operations that is looked through.
const LONGEST: usize = 4;

/// Applies the rewrites wherever they fit.
pub(super) fn exchange_signs(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    rewrite_nodes(graph, |graph, visited, node| {
        signs_after_rearrangement(graph, visited, node, shapes)
            .or_else(|| signs_before_duplication(graph, visited, node, shapes))
    });
}

/// The rearrangement of the step's input, and a step on each of its results.
fn signs_after_rearrangement(
    graph: &mut Graph,
    visited: &Visited,
    node: &Node,
    shapes: &[Option<Vec<usize>>],
) -> Option<Vec<Node>> {
    let rank = |value: ValueId| shapes.get(value.index()).and_then(|s| s.as_ref()).map(Vec::len);
    let moves = match &node.op {
        Op::Slice | Op::Split { .. } => true,
        // A shuffle goes through five dimensions; transpositions and flattenings are only views.
        op if is_structural(op) => {
            node.outputs.iter().chain(node.inputs.iter().flatten()).any(|&id| rank(id) >= Some(5))
        }
        _ => false,
    };
    let step = visited.producer(node.input(0).filter(|_| moves)?)?;
    let Op::Step { .. } = step.op else { return None };
    let inner: Vec<ValueId> =
        node.outputs.iter().map(|_| graph.add_value(format!("{}.values", node.name))).collect();
    let mut inputs = node.inputs.clone();
    inputs[0] = step.input(0);
    let moved = Node { inputs, outputs: inner.clone(), ..node.clone() };
    let steps = node.outputs.iter().zip(inner).map(|(&output, input)| Node {
        name: step.name.clone(),
        op: step.op.clone(),
        inputs: vec![Some(input)],
        outputs: vec![output],
    });
    Some(std::iter::once(moved).chain(steps).collect())
}

/// For a step on copies of one value, joined along the channels, a step on each.
fn signs_before_duplication(
    graph: &mut Graph,
    visited: &Visited,
    step: &Node,
    shapes: &[Option<Vec<usize>>],
) -> Option<Vec<Node>> {
    let Op::Step { .. } = step.op else { return None };
    // The chain from the concatenation to the step, last node first.
    let mut chain = Vec::new();
    let mut value = step.input(0)?;
    let (copies, channels) = loop {
        let node = visited.producer(value)?;
        if let Op::Concat { axis: 1 } = node.op {
            let x = node.input(0)?;
            let shape = shapes.get(x.index())?.as_ref()?;
            let all_one = node.inputs.iter().all(|&input| input == Some(x));
            let copies = node.inputs.len();
            if !all_one || copies < 2 || shape.len() < 2 {
                return None;
            }
            value = x;
            break (copies, shape[1]);
        }
        if chain.len() == LONGEST {
            return None;
        }
        chain.push(node.clone());
        value = node.input(data_operand(graph, node)?)?;
    };
    chain.reverse();
    let mut nodes = Vec::new();
    let mut results = Vec::new();
    for copy in 0..copies {
        let part = copy * channels..(copy + 1) * channels;
        let mut running = value;
        for node in chain.iter().chain([step]) {
            let operand = if node.inputs.len() == 1 { 0 } else { data_operand(graph, node)? };
            let rank = shapes.get(step.input(0)?.index())?.as_ref()?.len();
            let mut inputs = Vec::new();
            for (index, input) in node.inputs.iter().enumerate() {
                inputs.push(match input {
                    _ if index == operand => Some(running),
                    Some(id) => {
                        let is_batch_norm = matches!(node.op, Op::BatchNormalization { .. });
                        Some(channels_of(graph, *id, rank, is_batch_norm, part.clone())?)
                    }
                    None => None,
                });
            }
            let name = format!("{}.{copy}", node.name);
            running = graph.add_value(name.clone());
            nodes.push(Node { name, op: node.op.clone(), inputs, outputs: vec![running] });
        }
        results.push(Some(running));
    }
    nodes.push(Node {
        name: format!("{}.copies", step.name),
        op: Op::Concat { axis: 1 },
        inputs: results,
        outputs: step.outputs.clone(),
    });
    Some(nodes)
}

/// Which operand of a per-channel operation is data, the others being constants.
fn data_operand(graph: &Graph, node: &Node) -> Option<usize> {
    let fits = match node.op {
        Op::BatchNormalization { .. } | Op::PRelu | Op::Clip | Op::TwoSlope | Op::Unary(_) => true,
        Op::Binary(op) => matches!(
            op,
            BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Min
                | BinaryOp::Max
        ),
        _ => false,
    };
    let is_data = |input: &Option<ValueId>| input.is_some_and(|id| graph.constant(id).is_none());
    let mut data = (0..node.inputs.len()).filter(|&index| is_data(&node.inputs[index]));
    let operand = data.next().filter(|_| fits)?;
    data.next().is_none().then_some(operand)
}

/// The part of a constant that belongs to some of the channels (axis 1 of `rank`).
fn channels_of(
    graph: &mut Graph,
    id: ValueId,
    rank: usize,
    is_batch_norm: bool,
    part: std::ops::Range<usize>,
) -> Option<ValueId> {
    let tensor = graph.constant(id)?;
    let values = tensor.f32().ok()?;
    if tensor.len() == 1 {
        return Some(id);
    }
    // One entry per channel and nothing else: the channels are axis 1 of the data.
    let from_end = rank - 1;
    let axis = if is_batch_norm { Some(0) } else { tensor.shape().len().checked_sub(from_end) }?;
    let all = *tensor.shape().get(axis)?;
    if all != tensor.len() || part.end > all {
        return None;
    }
    let mut shape = tensor.shape().to_vec();
    shape[axis] = part.len();
    let name = graph.value_name(id).to_owned();
    let tensor = Tensor::from_f32(shape, values[part].to_vec()).ok()?;
    Some(graph.add_constant(name, tensor))
}
