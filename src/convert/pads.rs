//! Moves explicit padding behind the sign: `Step(Pad(x, c))` is `Pad(Step(x), Step(c))`.
//!
//! BMXNet pads with zeros *before* the sign, so that a padded tap is +1. After this pass the padding
//! is one of bits, and the convolution that follows takes it as its own.

use crate::graph::{Graph, Node, Op, Tensor};

use super::{
    chain::uniform_constant,
    rewrite::{Visited, rewrite_nodes},
};

/// Applies the rewrite wherever it fits.
pub(super) fn move_pads_behind_steps(graph: &mut Graph) {
    rewrite_nodes(graph, exchanged);
}

/// The step on the unpadded value and the padding of its result, if the node is a step of a padded
/// value.
fn exchanged(graph: &mut Graph, visited: &Visited, step: &Node) -> Option<Vec<Node>> {
    let Op::Step { at_least, low, high } = step.op else { return None };
    let pad = visited.producer(step.input(0)?)?;
    if pad.op != Op::Pad {
        return None;
    }
    let constant = match pad.input(2) {
        Some(value) => uniform_constant(graph, value)?,
        None => 0.0,
    };
    let holds = if at_least { constant >= 0.0 } else { constant > 0.0 };
    let value = graph.add_constant(
        format!("{}.value", pad.name),
        Tensor::scalar(if holds { high } else { low }),
    );
    let inner = graph.add_value(format!("{}.inside", step.name));
    let new_step = Node {
        name: step.name.clone(),
        op: step.op.clone(),
        inputs: vec![pad.input(0)],
        outputs: vec![inner],
    };
    let mut inputs = pad.inputs.clone();
    inputs.resize(inputs.len().max(3), None);
    inputs[0] = Some(inner);
    inputs[2] = Some(value);
    let new_pad = Node {
        name: format!("{}.pad", step.name),
        op: Op::Pad,
        inputs,
        outputs: step.outputs.clone(),
    };
    Some(vec![new_step, new_pad])
}

/// The amounts of a constant padding for every dimension: `[(before, after)]`, none negative.
pub(super) fn pad_amounts(graph: &Graph, node: &Node, rank: usize) -> Option<Vec<(usize, usize)>> {
    let pads = graph.constant(node.input(1)?)?.i64().ok()?;
    let axes: Vec<usize> = match node.input(3) {
        Some(axes) => graph
            .constant(axes)?
            .i64()
            .ok()?
            .iter()
            .map(|&axis| usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok())
            .collect::<Option<_>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return None;
    }
    let mut amounts = vec![(0, 0); rank];
    for (position, &axis) in axes.iter().enumerate() {
        let before = usize::try_from(pads[position]).ok()?;
        let after = usize::try_from(pads[axes.len() + position]).ok()?;
        *amounts.get_mut(axis)? = (before, after);
    }
    Some(amounts)
}
