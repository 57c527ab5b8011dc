//! The default model is the network that its card describes.

use bnn::graph::{Graph, Op};
use bnn_models::{ModelError, ResNetE18, default_graph, default_metadata};

fn count(graph: &Graph, matches: impl Fn(&Op) -> bool) -> usize {
    graph.nodes.iter().filter(|node| matches(&node.op)).count()
}

#[test]
fn has_the_layers_of_its_card() {
    let graph = default_graph().unwrap();
    // 16 binary convolutions, the stem, three shortcuts.
    assert_eq!(count(&graph, |op| matches!(op, Op::Conv(_))), 20);
    assert_eq!(count(&graph, |op| matches!(op, Op::Step { .. })), 16);
    assert_eq!(count(&graph, |op| matches!(op, Op::BatchNormalization { .. })), 20);
    assert_eq!(count(&graph, |op| matches!(op, Op::PRelu)), 16);

    let conv_bits: usize = graph
        .nodes
        .iter()
        .filter(|node| node.name.starts_with("blocks.") && !node.name.contains("shortcut"))
        .filter(|node| matches!(node.op, Op::Conv(_)))
        .map(|node| graph.constant(node.input(1).unwrap()).unwrap())
        .inspect(|weights| assert!(weights.f32().unwrap().iter().all(|w| w.abs() == 1.0)))
        .map(|weights| weights.len())
        .sum();
    assert_eq!(conv_bits, 2_746_368);
}

#[test]
fn names_are_unique_and_values_are_used() {
    let graph = default_graph().unwrap();
    let mut names: Vec<_> = graph.values.iter().map(|value| &value.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), graph.values.len());
    let consumers = graph.consumers();
    for (index, value) in graph.values.iter().enumerate() {
        let is_output = graph.outputs.iter().any(|output| output.index() == index);
        assert!(is_output || !consumers[index].is_empty(), "nothing reads {}", value.name);
    }
}

#[test]
fn metadata_names_the_ten_classes() {
    let metadata = default_metadata();
    assert_eq!(metadata.labels.len(), 10);
    assert_eq!(metadata.labels[0], "airplane");
    assert_eq!(metadata.labels[9], "truck");
}

#[test]
fn another_size_names_every_tensor_that_differs() {
    let weights = include_bytes!("../default/resnete18-w32-cifar10.safetensors");
    let wider = ResNetE18 { width: 32, classes: 11, input: [32, 32] };
    let error = wider.build("wider", weights).unwrap_err();
    let ModelError::Tensors { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 2);
    assert_eq!(
        error.to_string(),
        "the weights are not those of wider: \
         tensor classifier.weight has shape [10, 256], expected [11, 256]; \
         tensor classifier.bias has shape [10], expected [11]"
    );
}
