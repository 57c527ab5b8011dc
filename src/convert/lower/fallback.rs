//! Layers that read floats although they could read bits.
//!
//! Bits of a pixel stay where they are: some rearrangements and paddings between a sign and a layer
//! have no step of bits. The same network runs with those layers in floats, exactly and slower, rather
//! than not at all.

use std::collections::{HashMap, HashSet};

use crate::{
    convert::{ConvertError, UnsupportedNode},
    graph::{Graph, Op},
};

use super::demand::layer_kind;

/// Most times that lowering starts again.
pub(super) const MOST_ATTEMPTS: usize = 16;

/// Layers that read floats, by node, and why.
pub(super) type FloatLayers = HashMap<usize, String>;

/// Adds the layers that read bits from the nodes that could not be lowered; `false` if there are none
/// that were not added before.
pub(super) fn add_readers(graph: &Graph, error: &ConvertError, layers: &mut FloatLayers) -> bool {
    let ConvertError::Unsupported { nodes } = error else { return false };
    let mut found = false;
    let consumers = graph.consumers();
    for failed in nodes {
        for layer in readers(graph, &consumers, failed) {
            found |= layers.insert(layer, failed.reason.clone()).is_none();
        }
    }
    found
}

/// The layers behind a node, with no other layer and no sign between.
fn readers(graph: &Graph, consumers: &[Vec<usize>], failed: &UnsupportedNode) -> Vec<usize> {
    let mut pending: Vec<usize> =
        (0..graph.nodes.len()).filter(|&node| graph.nodes[node].name == failed.node).collect();
    let starts: HashSet<usize> = pending.iter().copied().collect();
    let mut seen = starts.clone();
    let mut layers = Vec::new();
    while let Some(index) = pending.pop() {
        let node = &graph.nodes[index];
        if layer_kind(graph, node).is_some() {
            layers.push(index);
            continue;
        }
        if matches!(node.op, Op::Step { .. }) && !starts.contains(&index) {
            continue;
        }
        for output in &node.outputs {
            pending.extend(consumers[output.index()].iter().filter(|&&reader| seen.insert(reader)));
        }
    }
    layers
}
