//! Whole networks, images a second, on every instruction set that the processor has: the default
//! model, and the ImageNet network of the shared data where that is there.
//!
//! `cargo bench --bench networks`; a part of a name selects, as in `-- default/avx2`.

use bnn::{
    Isa, Model, SessionOptions,
    convert::{ConvertOptions, convert},
    import::onnx::{self, ImportOptions},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, path::Path, process::Command, time::Duration};

fn networks(criterion: &mut Criterion) {
    let default =
        Model::from_bytes(bnn_models::default_model()).expect("the default model is whole");
    measure(criterion, "default", &default);
    match imagenet() {
        Ok(model) => measure(criterion, "imagenet-resnet18", &model),
        Err(reason) => eprintln!("skipped the ImageNet network: {reason}"),
    }
}

/// One image at a time on one thread.
fn measure(criterion: &mut Criterion, name: &str, model: &Model) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group.measurement_time(Duration::from_secs(3));
    group.sample_size(20);
    let length = |shape: &[usize]| shape.iter().product::<usize>();
    let input = image(length(&model.inputs()[0].shape));
    let mut output = vec![0.0; length(&model.outputs()[0].shape)];
    for isa in Isa::available() {
        let mut session = model
            .session(&SessionOptions::default().isa(isa))
            .expect("an available instruction set");
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| {
                session
                    .run_into(&[black_box(&input)], &mut [black_box(&mut output)])
                    .expect("inputs of the right size");
            });
        });
    }
    group.finish();
}

/// Values between -1 and 1 without a pattern, the same ones every time.
fn image(length: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// Unpacks and converts the published network.
fn imagenet() -> Result<Model, String> {
    let packed = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/nets/bmxnet-imagenet-resnet18/model.onnx.xz"
    ));
    if !packed.is_file() {
        return Err(format!("no {}", packed.display()));
    }
    let unpacked = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(packed)
        .output()
        .map_err(|error| format!("xz cannot be run: {error}"))?;
    if !unpacked.status.success() {
        return Err(String::from_utf8_lossy(&unpacked.stderr).into_owned());
    }
    let graph = onnx::from_bytes(&unpacked.stdout, None, &ImportOptions::default())
        .map_err(|error| error.to_string())?;
    let conversion =
        convert(graph, &ConvertOptions::default()).map_err(|error| error.to_string())?;
    Model::from_program(conversion.program).map_err(|error| error.to_string())
}

criterion_group!(benches, networks);
criterion_main!(benches);
