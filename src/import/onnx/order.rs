//! Bringing nodes into execution order.

use super::error::ImportError;
use super::node::node_name;
use super::proto::NodeProto;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Indices of the nodes so that each comes after those whose results it reads; nodes that are in such
/// an order keep it.
///
/// # Errors
/// If two nodes have a result of the same name, or if there is a cycle.
pub(super) fn execution_order(nodes: &[NodeProto]) -> Result<Vec<usize>, ImportError> {
    let mut producers = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if producers.insert(output.as_str(), index).is_some() {
                return Err(ImportError::DuplicateName(output.clone()));
            }
        }
    }
    // What is not the result of a node is an input or an initializer, or is found missing later.
    let mut waits_for = vec![0_usize; nodes.len()];
    let mut readers = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for producer in node.input.iter().filter_map(|name| producers.get(name.as_str())) {
            waits_for[index] += 1;
            readers[*producer].push(index);
        }
    }
    let ready = (0..nodes.len()).filter(|&index| waits_for[index] == 0);
    let mut ready: BinaryHeap<_> = ready.map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waits_for[reader] -= 1;
            if waits_for[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match (0..nodes.len()).find(|&index| waits_for[index] > 0) {
        // Of the nodes left some only wait for the cycle; those on it read each other's results.
        Some(stuck) => Err(ImportError::Cycle(node_name(
            &nodes[on_cycle(stuck, nodes, &producers, &waits_for)],
        ))),
        None => Ok(order),
    }
}

/// A node on a cycle that `start` waits for: going back from one stuck node to another ends where it has
/// been before.
fn on_cycle(
    start: usize,
    nodes: &[NodeProto],
    producers: &HashMap<&str, usize>,
    waits_for: &[usize],
) -> usize {
    let mut index = start;
    let mut seen = vec![false; nodes.len()];
    while !std::mem::replace(&mut seen[index], true) {
        let before = nodes[index].input.iter().filter_map(|name| producers.get(name.as_str()));
        if let Some(&stuck) = before.into_iter().find(|&&producer| waits_for[producer] > 0) {
            index = stuck;
        }
    }
    index
}
