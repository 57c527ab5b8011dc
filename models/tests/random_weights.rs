//! Random weights are the same everywhere and make networks that compute as trained ones do.

use bnn::architecture::{Architecture, Input, Layer, Network, Operation, Role, Weights};
use bnn::convert::{ConvertOptions, convert};
use bnn::graph::{Data, Graph, Op, Tensor};
use bnn::reference::Interpreter;
use bnn::{Model, SessionOptions};
use bnn_models::families::{BinaryDenseNet, IgpResNet, SmallResNetE, Task, Transitions};
use bnn_models::{catalogue, find, random_weights};
use std::collections::BTreeMap;

const SEED: u64 = 20;

fn drawn(architecture: &Architecture) -> Weights {
    random_weights(&architecture.resolve().unwrap(), SEED).unwrap()
}

fn graph(architecture: &Architecture) -> Graph {
    architecture.resolve().unwrap().assemble(&drawn(architecture))
}

/// Of names, shapes and bits (FNV-1a).
fn checksum(weights: &Weights) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (name, tensor) in weights.iter() {
        add(name.as_bytes());
        tensor.shape().iter().for_each(|&extent| add(&(extent as u64).to_le_bytes()));
        tensor.f32().unwrap().iter().for_each(|value| add(&value.to_bits().to_le_bytes()));
    }
    sum
}

#[test]
fn weights_are_the_same_on_every_machine() {
    let small = SmallResNetE { width: 8, ..SmallResNetE::CIFAR10_32 }.architecture("s").unwrap();
    let weights = drawn(&small);
    assert_eq!(checksum(&weights), 0x1601_e961_fc8a_633b);
    assert_eq!(drawn(&small), weights);
    let others = random_weights(&small.resolve().unwrap(), SEED + 1).unwrap();
    assert_ne!(checksum(&others), checksum(&weights));
}

// One of each kind of layer and activation; `survey` has them all.
#[test]
fn a_hyper_binary_network_gets_finite_weights() {
    gets_finite_weights(&of_catalogue("hb_resnet18_c10_w16"));
}

#[test]
fn a_dense_network_gets_finite_weights() {
    let network = BinaryDenseNet {
        units: [2, 3, 2, 2],
        growth: 12,
        columns: 2,
        transitions: Transitions::Widths(&[24, 30, 27]),
        task: Task::CIFAR100,
        ..BinaryDenseNet::BDN_28
    };
    gets_finite_weights(&network.architecture("dense").unwrap());
}

#[test]
fn a_network_with_shuffled_channels_gets_finite_weights() {
    gets_finite_weights(&of_catalogue("hb_shufflenet"));
}

#[test]
fn a_coupled_network_gets_finite_weights() {
    gets_finite_weights(&of_catalogue("duo_vgg7_coupled"));
}

fn of_catalogue(name: &str) -> Architecture {
    let mut architecture = find(name).unwrap().architecture().unwrap();
    // Statistics take as long as pictures are large.
    for extent in &mut architecture.inputs[0].shape[1..] {
        *extent = (*extent).min(32);
    }
    architecture
}

fn gets_finite_weights(architecture: &Architecture) {
    let name = &architecture.name;
    let weights = drawn(architecture);
    let resolved = architecture.resolve().unwrap();
    for parameter in resolved.parameters() {
        let tensor = weights.get(&parameter.name).unwrap();
        assert_eq!(tensor.shape(), parameter.shape, "{name}: {}", parameter.name);
        let values = tensor.f32().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{name}: {}", parameter.name);
        if parameter.role == Role::Variance {
            assert!(values.iter().all(|&value| value > 0.0), "{name}: {}", parameter.name);
            // Nothing was left as it was drawn.
            assert!(values.iter().any(|&value| value != 1.0), "{name}: {}", parameter.name);
        }
    }
    assert_eq!(weights.iter().count(), resolved.parameters().len());
}

/// Pictures of another kind than those that the weights are calibrated with: slopes and stripes.
fn pictures() -> Vec<Vec<f32>> {
    let picture = |index: usize| {
        let pixel = |place: usize| {
            let (channel, y, x) = (place / 1024, place / 32 % 32, place % 32);
            let slope = ((y * (index + 1) + x * (5 - index) + 31 * channel) % 64) as f32 / 16.0;
            let stripe = if ((x + index * y) / 3).is_multiple_of(2) { 0.5 } else { -0.5 };
            slope - 2.0 + stripe
        };
        (0..3 * 1024).map(pixel).collect()
    };
    (0..4).map(picture).collect()
}

/// Share of signs and steps that are one, over two pictures.
fn share_of_ones(graph: &Graph) -> f64 {
    let interpreter = Interpreter::new(graph);
    let (mut ones, mut all) = (0, 0);
    for picture in &pictures()[..2] {
        let input = Tensor::from_f32(vec![1, 3, 32, 32], picture.clone()).unwrap();
        let observed = interpreter.run_observed(&[input], &mut |evaluated| {
            let node = &graph.nodes[evaluated.index];
            if matches!(node.op, Op::Step { .. }) || node.name.ends_with("/reached") {
                let count = |tensor: &Tensor| match tensor.data() {
                    Data::Bool(values) => values.iter().filter(|&&v| v).count(),
                    _ => tensor.f32().unwrap().iter().filter(|&&v| v > 0.0).count(),
                };
                ones += count(&evaluated.results[0]);
                all += evaluated.results[0].len();
            }
            Ok(())
        });
        observed.unwrap();
    }
    assert!(all > 0);
    ones as f64 / all as f64
}

fn answers_differently_to_different_pictures(name: &str) {
    network_answers_differently(name, &find(name).unwrap().architecture().unwrap());
}

fn network_answers_differently(name: &str, architecture: &Architecture) {
    let graph = graph(architecture);
    let share = share_of_ones(&graph);
    assert!((0.2..0.8).contains(&share), "{name}: {share} of all signs are positive");

    let program = convert(graph, &ConvertOptions::default()).unwrap().program;
    let model = Model::from_program(program).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let answers: Vec<Vec<f32>> =
        pictures().iter().map(|picture| session.run(picture).unwrap()).collect();
    for (index, answer) in answers.iter().enumerate() {
        let largest = answer.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(largest.is_finite() && largest < 1e3, "{name}: {answer:?}");
        assert!(answer.iter().any(|value| *value != answer[0]), "{name}: {answer:?}");
        for other in &answers[..index] {
            let apart = answer.iter().zip(other).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f32::max);
            assert!(apart > 0.01 * largest, "{name}: {answer:?} and {other:?}");
        }
    }
}

#[test]
fn a_residual_network_answers_differently_to_different_pictures() {
    let network = IgpResNet::new(12, 3, [1; 4], Task::CIFAR100);
    network_answers_differently("igp", &network.architecture("igp").unwrap());
}

#[test]
fn a_hyper_binary_network_answers_differently_to_different_pictures() {
    answers_differently_to_different_pictures("hb_resnet18_c10_w16");
}

#[test]
fn a_decoupled_network_answers_differently_to_different_pictures() {
    answers_differently_to_different_pictures("duo_vgg7");
}

/// A network of one's own: two inputs of other shapes, a normalisation used twice, one of a vector, and one that
/// nothing moves.
#[test]
fn networks_of_ones_own_are_calibrated_too() {
    let mut net = Network::new("own", [2, 5, 7]);
    let x = net.input();
    let first = net.batch_normalization("first", x);
    let first = net.operation("shifted", &[first], Operation::AddConstant { value: 3.0 });
    let names = ["weight", "bias", "running_mean", "running_var"];
    let shared = names.map(|role| (role, format!("first.{role}")));
    let shared: Vec<(&str, &str)> =
        shared.iter().map(|(role, name)| (*role, name.as_str())).collect();
    let normalisation = Operation::BatchNormalization { epsilon: 1e-5, scale: true, shift: true };
    let again = net.operation_with("again", &[first], normalisation, &shared);
    let y = net.global_average("mean", again);
    let y = net.batch_normalization("of_a_vector", y);
    let still = net.operation("still", &[y], Operation::Clip { minimum: 0.5, maximum: 0.5 });
    let still = net.batch_normalization("of_nothing", still);
    let y = net.add("sum", &[y, still]);
    let mut architecture = net.finish([y]).unwrap();
    architecture.inputs.push(Input { name: "vector".to_owned(), shape: vec![6] });
    let mut push = |name: &str, input: &str, operation| {
        let [name, input] = [name, input].map(str::to_owned);
        let parameters = BTreeMap::new();
        architecture.layers.push(Layer { name, inputs: vec![input], operation, parameters });
    };
    push("dense", "vector", Operation::Linear { out_features: 3, bias: true });
    let plain = Operation::BatchNormalization { epsilon: 1e-5, scale: false, shift: false };
    push("of_dense", "dense", plain);

    let weights = drawn(&architecture);
    assert_eq!(weights.values("of_dense.running_mean").len(), 3);
    assert!(weights.values("of_dense.running_var").iter().all(|variance| *variance != 1.0));
    // Of pictures as they come, not of what the second use reads.
    for mean in weights.values("first.running_mean") {
        assert!(mean.abs() < 1.5, "{mean}");
    }
    assert_eq!(weights.values("of_nothing.running_mean"), [0.5, 0.5]);
    assert_eq!(weights.values("of_nothing.running_var"), [1.0, 1.0]);
    assert!(weights.values("of_a_vector.running_var").iter().all(|variance| *variance > 0.0));
}

/// `cargo test -p bnn-models --release --test random_weights survey -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; for a look at all networks"]
fn survey() {
    for entry in catalogue() {
        if std::env::var("ONLY").is_ok_and(|only| !entry.name.contains(&only)) {
            continue;
        }
        let architecture = entry.architecture().unwrap();
        let start = std::time::Instant::now();
        let weights = drawn(&architecture);
        let seconds = start.elapsed().as_secs_f64();
        let largest = weights
            .iter()
            .filter(|(name, _)| name.ends_with("running_var"))
            .flat_map(|(_, tensor)| tensor.f32().unwrap())
            .fold(0.0_f32, |most, value| most.max(*value));
        println!("{:28} {seconds:7.2} s, largest variance {largest:.3e}", entry.name);
    }
}
