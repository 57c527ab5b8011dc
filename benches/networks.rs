//! Whole networks on every instruction set that the processor has: images and multiply-accumulates a
//! second, one image and batches of eight, one thread and two.
//!
//! `cargo bench --bench networks`; a part of a name selects, as in `-- bireal18/avx2` or
//! `-- "default/.*/batch 8"`. Weights are drawn at random but for the default model: speed does not
//! depend on them.

use bnn::{
    Isa, Model, SessionOptions,
    convert::{ConvertOptions, convert},
    program::StepKind,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{cell::OnceCell, hint::black_box, time::Duration};

/// Networks of the catalogue.
const NETWORKS: [&str; 9] = [
    "bireal18",
    "bireal34",
    "resnet_e18",
    "bdn28",
    "bdn37",
    "bdn45",
    "reactnet_a",
    "igp_resnet37_41",
    "duo_vgg7",
];

fn networks(criterion: &mut Criterion) {
    let default =
        || Model::from_bytes(bnn_models::default_model()).expect("the default model is whole");
    measure(criterion, "default", default);
    for name in NETWORKS {
        measure(criterion, name, || with_random_weights(name));
    }
}

/// Makes the model only if one of its benches is selected: drawing weights takes seconds.
fn measure(criterion: &mut Criterion, name: &str, make: impl Fn() -> Model) {
    let model = OnceCell::new();
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
        let mut group = criterion.benchmark_group(format!("{name}/{isa}"));
        group.measurement_time(Duration::from_secs(3));
        group.sample_size(20);
        for (threads, batch) in [(1, 1), (2, 1), (1, 8), (2, 8)] {
            group.throughput(Throughput::Elements(batch as u64));
            let id = BenchmarkId::new(format!("threads {threads}"), format!("batch {batch}"));
            group.bench_function(id, |bencher| {
                let model: &Model = model.get_or_init(&make);
                let length = |shape: &[usize]| shape.iter().product::<usize>() * batch;
                let input = noise(length(&model.inputs()[0].shape));
                let mut output = vec![0.0; length(&model.outputs()[0].shape)];
                let mut session = model
                    .session(&SessionOptions::default().isa(isa).threads(threads))
                    .expect("an available instruction set");
                bencher.iter(|| {
                    session
                        .run_into(&[black_box(&input)], &mut [black_box(&mut output)])
                        .expect("inputs of the right size");
                });
            });
        }
        group.finish();
    }
    if let Some(model) = model.get() {
        let session = model.session(&SessionOptions::default()).expect("the best instruction set");
        let macs = |kind: &str| -> u64 {
            session.steps().iter().filter(|step| step.kind == kind).map(|step| step.macs).sum()
        };
        let binary = model
            .program()
            .steps
            .iter()
            .filter(|step| matches!(step.kind, StepKind::BinaryConv { .. }))
            .count();
        println!(
            "{name}: {binary} binary layers, {:.3} G binary and {:.1} M float MACs an image",
            macs("binary_conv") as f64 / 1e9,
            macs("float_conv") as f64 / 1e6
        );
    }
}

/// Values between -1 and 1 without a pattern, the same ones every time.
fn noise(length: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// A network of the catalogue, converted.
fn with_random_weights(name: &str) -> Model {
    let entry = bnn_models::find(name).expect("a network of the catalogue");
    let architecture = entry.architecture().expect("a sound architecture");
    let resolved = architecture.resolve().expect("shapes that fit");
    let weights = bnn_models::random_weights(&resolved, 1).expect("weights for every tensor");
    let converted = convert(resolved.assemble(&weights), &ConvertOptions::default())
        .expect("networks of the catalogue convert");
    Model::from_program(converted.program).expect("a valid program")
}

criterion_group!(benches, networks);
criterion_main!(benches);
