//! Running statistics from the activations of a few made-up inputs, as training would have left them.

use super::RandomWeightsError;
use super::evaluate::evaluate;
use super::statistics::statistics;
use bnn::architecture::{Resolved, ResolvedLayer, Weights};
use bnn::graph::{Node, Op, Tensor};
use std::collections::{BTreeSet, HashMap};

/// Sets the running statistics of each normalisation to those of what enters it, layer by layer. A sample is
/// one tensor for each input of the network.
pub(super) fn calibrate(
    resolved: &Resolved<'_>,
    weights: &mut Weights,
    samples: &[Vec<Tensor>],
) -> Result<(), RandomWeightsError> {
    // The last node of a layer is named after it, and no other layer contains a normalisation.
    let layers: HashMap<&str, &ResolvedLayer<'_>> =
        resolved.layers.iter().map(|layer| (layer.layer.name.as_str(), layer)).collect();
    let is_normalisation = |node: &Node| matches!(node.op, Op::BatchNormalization { .. });
    let mut graph = resolved.assemble(weights);
    let mut nodes = std::mem::take(&mut graph.nodes);
    let needed = nodes.iter().rposition(is_normalisation).map_or(0, |last| last + 1);
    nodes.truncate(needed);

    let mut last_readers = vec![0; graph.values.len()];
    for (index, node) in nodes.iter().enumerate() {
        for value in node.inputs.iter().flatten() {
            last_readers[value.index()] = index;
        }
    }
    // Each value for each sample.
    let mut values: Vec<Vec<Tensor>> = vec![Vec::new(); graph.values.len()];
    for (index, input) in graph.inputs.iter().enumerate() {
        let given = samples.iter().filter_map(|sample| sample.get(index).cloned());
        values[input.value.index()] = given.collect();
    }
    let mut measured = BTreeSet::new();
    for (index, node) in nodes.iter().enumerate() {
        if is_normalisation(node)
            && let (Some(input), Some(layer)) = (node.input(0), layers.get(node.name.as_str()))
        {
            let found = statistics(&values[input.index()])?;
            for (role, place, tensor) in
                [("running_mean", 3, found.mean), ("running_var", 4, found.variance)]
            {
                let parameter = layer.parameters.iter().find(|(known, _)| *known == role);
                let (Some((_, parameter)), Some(operand)) = (parameter, node.input(place)) else {
                    continue;
                };
                // A tensor that two layers share is measured where it is used first.
                if measured.insert(&parameter.name) {
                    weights.insert(&parameter.name, tensor);
                }
                graph.values[operand.index()].constant = weights.get(&parameter.name).cloned();
            }
        }
        values[node.output().index()] = evaluate(&graph, node, &values, samples.len())?;
        for value in node.inputs.iter().flatten() {
            if last_readers[value.index()] == index {
                values[value.index()] = Vec::new();
            }
        }
    }
    Ok(())
}
