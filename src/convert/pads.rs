//! Moves explicit padding to where it costs nothing: padding with zeros into the convolution that
//! follows, and any padding behind the sign: `Step(Pad(x, c))` is `Pad(Step(x), Step(c))`.
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

/// Takes padding with zeros in front of a convolution into the convolution: `Conv(Pad(x, 0))` is a
/// `Conv(x)` with larger pads, whether or not a transposition lies between. `shapes` are those of the
/// values.
pub(super) fn absorb_zero_pads(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    rewrite_nodes(graph, |graph, visited, node| {
        let Op::Conv(conv) = &node.op else { return None };
        let before = visited.producer(node.input(0)?)?;
        let (pad, perm) = match &before.op {
            Op::Transpose { perm } => (visited.producer(before.input(0)?)?, perm.clone()),
            _ => (before, (0..4).collect()),
        };
        let is_zero = match pad.input(2) {
            Some(value) => uniform_constant(graph, value)? == 0.0,
            None => true,
        };
        if pad.op != Op::Pad || !is_zero {
            return None;
        }
        let x = pad.input(0)?;
        let rank = shapes.get(x.index())?.as_ref()?.len();
        let amounts = pad_amounts(graph, pad, rank)?;
        let along = |axis: usize| amounts.get(*perm.get(axis)?).copied();
        let ((0, 0), (0, 0)) = (along(0)?, along(1)?) else { return None };
        let ((top, bottom), (left, right)) = (along(2)?, along(3)?);
        let mut larger = conv.clone();
        for (pad, more) in larger.pads.iter_mut().zip([top, left, bottom, right]) {
            *pad = pad.checked_add(more)?;
        }
        let mut layer = Node { op: Op::Conv(larger), ..node.clone() };
        if !matches!(before.op, Op::Transpose { .. }) {
            layer.inputs[0] = Some(x);
            return Some(vec![layer]);
        }
        let transposed = graph.add_value(format!("{}.unpadded", before.name));
        layer.inputs[0] = Some(transposed);
        let transpose = Node { inputs: vec![Some(x)], outputs: vec![transposed], ..before.clone() };
        Some(vec![transpose, layer])
    });
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
