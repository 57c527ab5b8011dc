//! BinaryDuo's networks compute the same before and after decoupling.

use bnn::architecture::{Architecture, Weights};
use bnn::graph::Tensor;
use bnn::reference;
use bnn_models::families::{Activations, DuoAlexNet, DuoResNet18, DuoVgg7, Stem, Task};
use bnn_models::{decouple, decouple_weights, find, random_weights};

fn picture(architecture: &Architecture, index: usize) -> Tensor {
    let shape: Vec<usize> = [1].iter().chain(&architecture.inputs[0].shape).copied().collect();
    let width = shape[3];
    let pixel = |place: usize| {
        let (y, x) = (place / width, place % width);
        ((y * (3 + index) + x * x + place / 7 * index) % 97) as f32 / 24.0 - 2.0
    };
    let values = (0..shape.iter().product()).map(pixel).collect();
    Tensor::from_f32(shape, values).unwrap()
}

fn logits(architecture: &Architecture, weights: &Weights, picture: &Tensor) -> Vec<f32> {
    let graph = architecture.resolve().unwrap().assemble(weights);
    let outputs = reference::run(&graph, std::slice::from_ref(picture)).unwrap();
    outputs[0].f32().unwrap().to_vec()
}

/// Asserts that both are the same function, and that it depends on the picture at all.
fn assert_same(
    coupled: &Architecture,
    decoupled: &Architecture,
    trained: &Weights,
    deployed: &Weights,
) {
    for index in 0..2 {
        let picture = picture(coupled, index);
        let before = logits(coupled, trained, &picture);
        let after = logits(decoupled, deployed, &picture);
        let largest = before.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(largest > 1e-3 && before.iter().any(|value| *value != before[0]), "{before:?}");
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            let name = &decoupled.name;
            assert!((before - after).abs() <= 1e-5 * largest, "{name}: {before} became {after}");
        }
    }
}

fn assert_decouples(build: impl Fn(Activations) -> Architecture) {
    let (coupled, decoupled) = (build(Activations::Coupled), build(Activations::Decoupled));
    for seed in 0..2 {
        let trained = random_weights(&coupled.resolve().unwrap(), seed).unwrap();
        let deployed = decouple_weights(&coupled, &decoupled, &trained).unwrap();
        assert_same(&coupled, &decoupled, &trained, &deployed);
    }
}

#[test]
fn vgg_7_computes_the_same() {
    for binary_weights in [false, true] {
        assert_decouples(|activations| {
            let widths = [5, 6, 8, 9, 12, 16];
            let network = DuoVgg7 { activations, widths, binary_weights, task: Task::CIFAR10 };
            network.architecture("vgg").unwrap()
        });
    }
}

#[test]
fn alexnet_computes_the_same() {
    let task = Task { classes: 12, ..Task::IMAGENET };
    assert_decouples(|activations| {
        let network = DuoAlexNet { activations, widths: [6, 8, 10, 9, 7, 20, 30], task };
        network.architecture("alexnet").unwrap()
    });
}

#[test]
fn resnet_18_computes_the_same() {
    for stem in [Stem::Small, Stem::Large] {
        for shortcut_per_convolution in [false, true] {
            assert_decouples(|activations| {
                let network = DuoResNet18 {
                    activations,
                    shortcut_per_convolution,
                    widths: [8, 10, 14, 20],
                    last_width: 24,
                    task: Task { input: [32, 32], classes: 11, stem },
                };
                network.architecture("resnet").unwrap()
            });
        }
    }
}

#[test]
fn networks_of_the_catalogue_go_by_name() {
    let coupled = find("duo_vgg7_coupled").unwrap().architecture().unwrap();
    let trained = random_weights(&coupled.resolve().unwrap(), 5).unwrap();
    let (decoupled, deployed) = decouple("duo_vgg7_coupled", &trained).unwrap();
    assert_eq!(decoupled, find("duo_vgg7").unwrap().architecture().unwrap());
    assert_same(&coupled, &decoupled, &trained, &deployed);
}

/// Only the names and shapes of weights: the networks are large.
#[test]
fn all_coupled_networks_have_a_counterpart() {
    for name in ["duo_alexnet", "duo_resnet18", "duo_resnet18_sc", "duo_vgg7"] {
        let coupled_name = format!("{name}_coupled");
        let coupled = find(&coupled_name).unwrap().architecture().unwrap();
        let resolved = coupled.resolve().unwrap();
        let ones = |shape: &[usize]| {
            Tensor::from_f32(shape.to_vec(), vec![1.0; shape.iter().product()]).unwrap()
        };
        let trained: Weights = resolved
            .parameters()
            .into_iter()
            .map(|parameter| (parameter.name.clone(), ones(&parameter.shape)))
            .collect();
        let (decoupled, deployed) = decouple(&coupled_name, &trained).unwrap();
        assert_eq!(decoupled.name, name);
        let resolved = decoupled.resolve().unwrap();
        assert_eq!(deployed.iter().count(), resolved.parameters().len());
        for parameter in resolved.parameters() {
            assert_eq!(deployed.get(&parameter.name).unwrap().shape(), parameter.shape);
        }
    }
}

#[test]
fn what_cannot_be_decoupled_is_named() {
    let message = |name| decouple(name, &Weights::new()).unwrap_err().to_string();
    let expected = "expected one of duo_vgg7_coupled, duo_alexnet_coupled, duo_resnet18_coupled, \
                    duo_resnet18_sc_coupled";
    assert_eq!(message("duo_vgg7"), format!("duo_vgg7 is no coupled network, {expected}"));
    assert_eq!(
        message("lenet_coupled"),
        format!("lenet_coupled is no coupled network, {expected}")
    );
    assert_eq!(message("duo_vgg7_coupled"), "tensor 0.weight is missing, expected [45, 3, 3, 3]");

    let network = |name: &str| find(name).unwrap().architecture().unwrap();
    let (vgg, resnet) = (network("duo_vgg7_coupled"), network("duo_resnet18"));
    let error = decouple_weights(&vgg, &resnet, &Weights::new()).unwrap_err();
    assert_eq!(error.to_string(), "13 layers with weights cannot become 42");
}
