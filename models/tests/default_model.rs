//! The default model is the network that its card describes.

mod support;

use bnn::graph::{Graph, Op, Tensor};
use bnn::import::safetensors::{WeightsError, WeightsFile};
use bnn::{Model, SessionOptions, reference};
use bnn_models::families::SmallResNetE;
use bnn_models::{build_default_model, default_graph, default_metadata, default_model};
use safetensors::SafeTensors;
use support::{assert_close, floats};

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
    let weights = include_bytes!("../default/resnete18-full-w32-cifar10.safetensors");
    let wider = SmallResNetE { classes: 11, pooled: false, ..SmallResNetE::CIFAR10_32 };
    let wider = wider.architecture("wider").unwrap();
    let file = WeightsFile::parse(weights).unwrap();
    let read = file.weights(&wider.resolve().unwrap(), |name| Some(name.into()));
    let error = read.unwrap_err();
    let WeightsError::Tensors { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 2);
    assert_eq!(
        error.to_string(),
        "the weights are not those of wider: \
         tensor classifier.weight has shape [10, 256], expected [11, 256]; \
         tensor classifier.bias has shape [10], expected [11]"
    );
}

/// The file in the repository is what the converter makes today of the trained weights.
#[test]
fn committed_file_is_up_to_date() {
    let fresh = build_default_model().unwrap();
    assert!(
        fresh == default_model(),
        "models/default/*.bnn is outdated: run `cargo xtask default-model` and look at what changed"
    );
}

/// A file that lies beside the checkout, or nothing, with a message, where it does not.
fn shared(path: &str) -> Option<Vec<u8>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let bytes = std::fs::read(format!("{root}/{path}")).ok();
    if bytes.is_none() {
        eprintln!("skipped: {path} is not there");
    }
    bytes
}

fn labels(file: &SafeTensors<'_>) -> Vec<usize> {
    let bytes = file.tensor("labels").unwrap().data();
    bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as usize).collect()
}

const IMAGE: usize = 3 * 32 * 32;
const CLASSES: usize = 10;

/// The input of the default model for pictures u8 `[N, 32, 32, 3]`.
fn normalised(pixels: &[u8]) -> Vec<f32> {
    let preprocessing = default_metadata().preprocessing.unwrap();
    let mut inputs = Vec::with_capacity(pixels.len());
    for image in pixels.chunks(IMAGE) {
        for channel in 0..3 {
            let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
            let values = image.iter().skip(channel).step_by(3);
            inputs.extend(values.map(|&v| (f32::from(v) / 255.0 - mean) / std));
        }
    }
    inputs
}

/// Graph and converted model give the logits of the training framework (`golden.py` wrote them).
#[test]
fn agrees_with_the_training_framework() {
    let golden = SafeTensors::deserialize(include_bytes!("default_model.safetensors")).unwrap();
    let inputs = normalised(golden.tensor("images").unwrap().data());
    let logits = floats(&golden, "logits");

    let model = Model::from_bytes(default_model()).unwrap();
    let found = model.session(&SessionOptions::default()).unwrap().run(&inputs).unwrap();
    assert_eq!(found.len(), logits.len());
    for (row, (found, expected)) in found.chunks(CLASSES).zip(logits.chunks(CLASSES)).enumerate() {
        assert_close(&format!("row {row}"), found, expected);
    }

    let graph = default_graph().unwrap();
    for row in 0..2 {
        let image = inputs[row * IMAGE..][..IMAGE].to_vec();
        let image = Tensor::from_f32(vec![1, 3, 32, 32], image).unwrap();
        let found = reference::run(&graph, &[image]).unwrap();
        assert_close(
            &format!("row {row}"),
            found[0].f32().unwrap(),
            &logits[row * CLASSES..][..CLASSES],
        );
    }
}

/// The accuracy on the model's card, up to pictures whose best classes are almost equal.
#[test]
fn reaches_the_accuracy_of_its_card() {
    let Some(bytes) = shared("images/cifar10/test_first1000.safetensors") else { return };
    let set = SafeTensors::deserialize(&bytes).unwrap();
    let inputs = normalised(set.tensor("images").unwrap().data());
    let model = Model::from_bytes(default_model()).unwrap();
    let logits = model.session(&SessionOptions::default()).unwrap().run(&inputs).unwrap();
    let best = |row: &[f32]| (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let named = logits.chunks(CLASSES).map(best);
    let correct = named.zip(labels(&set)).filter(|(found, label)| found == label).count();
    assert!((866..=870).contains(&correct), "{correct} of 1000");
}
