//! Rewriting a graph node by node, in execution order, in linear time.

use std::collections::HashMap;

use crate::graph::{Graph, Node, ValueId};

/// The nodes that were already visited, by the values they compute.
#[derive(Debug, Default)]
pub(super) struct Visited {
    nodes: Vec<Node>,
    producers: HashMap<ValueId, usize>,
}

impl Visited {
    /// The node that computes a value, if it was visited.
    pub(super) fn producer(&self, value: ValueId) -> Option<&Node> {
        self.producers.get(&value).map(|&index| &self.nodes[index])
    }

    fn push(&mut self, node: Node) {
        for &output in &node.outputs {
            self.producers.insert(output, self.nodes.len());
        }
        self.nodes.push(node);
    }
}

/// Visits every node after the nodes it reads. `rewrite` gets the graph (its values only; the nodes
/// are taken out), what was visited so far and the node, and returns the nodes to put in its place,
/// or `None` to keep it.
pub(super) fn rewrite_nodes(
    graph: &mut Graph,
    mut rewrite: impl FnMut(&mut Graph, &Visited, &Node) -> Option<Vec<Node>>,
) {
    let mut visited = Visited::default();
    for node in std::mem::take(&mut graph.nodes) {
        match rewrite(graph, &visited, &node) {
            Some(nodes) => nodes.into_iter().for_each(|node| visited.push(node)),
            None => visited.push(node),
        }
    }
    graph.nodes = visited.nodes;
}

/// Makes every use of a key a use of its value, which is no key itself.
pub(super) fn replace_uses(graph: &mut Graph, replacements: &HashMap<ValueId, ValueId>) {
    let resolve = |id: ValueId| replacements.get(&id).copied().unwrap_or(id);
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = resolve(*input);
        }
    }
    graph.rename_ends(resolve);
}
