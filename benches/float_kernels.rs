//! The float layers of a binary ResNet-18 (stem, downsampling, classifier) and what surrounds its
//! binary convolutions (epilogues, pooling), for each instruction set that this processor has.
//! Throughput is in multiply-accumulates (convolution) and values (the rest).

use bnn_kernels::{
    ChannelOp, CombineOp, ConvGeometry, Epilogue, EpilogueOp, FloatConv, FloatWeights, Isa,
    MapRows, MaxPool, Operand, OutputSlice, PoolGeometry, gather, words_per_pixel,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

/// Floats between -1 and 1, the same in every run.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// The scalar reference takes one product at a time: too long to be measured beside the others.
fn vector_paths() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar)
}

fn convolution(criterion: &mut Criterion) {
    // Name, input and output channels, map, kernel, stride, pad.
    let layers = [
        ("stem 7x7/2 224x224x3->64", 3, 64, 224, 7, 2, 3),
        ("downsample 1x1 28x28x64->128", 64, 128, 28, 1, 1, 0),
        ("downsample 1x1 14x14x128->256", 128, 256, 14, 1, 1, 0),
        ("downsample 1x1 7x7x256->512", 256, 512, 7, 1, 1, 0),
        ("classifier 512->1000", 512, 1000, 1, 1, 1, 0),
    ];
    for (name, in_channels, out_channels, size, kernel, stride, pad) in layers {
        let geometry = ConvGeometry {
            in_channels,
            out_channels,
            input: [size; 2],
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [pad; 4],
            groups: 1,
        };
        let mut group = criterion.benchmark_group(format!("float_conv/{name}"));
        group.throughput(Throughput::Elements(geometry.macs()));
        let weights = noise(out_channels * geometry.products());
        let input = noise(size * size * in_channels);
        let [height, width] = geometry.output();
        let mut out = vec![0.0; height * width * out_channels];
        for isa in vector_paths() {
            let conv = FloatConv::new(isa, geometry.clone(), FloatWeights::F32(&weights))
                .expect("a valid layer");
            let rows = conv.rows_read(0..height);
            let mut padded = vec![0.0; rows.len() * conv.row_len()];
            group.bench_function(BenchmarkId::from_parameter(isa), |bencher| {
                bencher.iter(|| {
                    let mut source = black_box(&input);
                    if !conv.reads_in_place() {
                        conv.fill_rows(source, rows.clone(), &mut padded);
                        source = &padded;
                    }
                    conv.accumulate(MapRows::whole(source), 0..height, &mut out);
                    black_box(&mut out);
                });
            });
        }
        group.finish();
    }
}

fn epilogue(criterion: &mut Criterion) {
    for (size, channels) in [(56, 64), (28, 128), (14, 256), (7, 512)] {
        let constants = |x: f32| vec![x; channels];
        let channel = |op| EpilogueOp::Channel(op);
        let residual = [
            channel(ChannelOp::Multiply(constants(1.1))),
            channel(ChannelOp::Add(constants(0.1))),
            EpilogueOp::Combine { op: CombineOp::Add, operand: 0, broadcast: false },
        ];
        let shifted = [
            channel(ChannelOp::Add(constants(0.2))),
            channel(ChannelOp::TwoSlope { positive: None, negative: constants(0.25) }),
            channel(ChannelOp::Add(constants(-0.1))),
        ];
        let stores = [
            EpilogueOp::Store { output: 0 },
            EpilogueOp::StoreBits { thresholds: vec![0.0], flip: None, output: 1 },
        ];
        let lists = [
            ("residual", [&residual[..], &stores].concat()),
            ("residual with PReLU", [&residual[..], &shifted, &stores].concat()),
        ];
        let row = size * channels;
        let words = size * words_per_pixel(channels);
        let mut values = noise(row);
        let shortcut = noise(size * row);
        let (mut floats, mut bits) = (vec![0.0; size * row], vec![0; size * words]);
        let mut group = criterion.benchmark_group(format!("epilogue/{size}x{size}x{channels}"));
        group.throughput(Throughput::Elements((size * row) as u64));
        for (name, ops) in lists {
            for isa in vector_paths() {
                let epilogue = Epilogue::new(isa, channels, ops.clone()).expect("valid operations");
                group.bench_function(BenchmarkId::new(name, isa), |bencher| {
                    bencher.iter(|| {
                        let rows = floats.chunks_exact_mut(row).zip(bits.chunks_exact_mut(words));
                        for (shortcut, (floats, bits)) in shortcut.chunks_exact(row).zip(rows) {
                            let outputs = &mut [OutputSlice::F32(floats), OutputSlice::Bits(bits)];
                            epilogue.run(
                                black_box(&mut values),
                                &[Operand::Map(shortcut)],
                                outputs,
                            );
                        }
                        black_box((&mut floats, &mut bits));
                    });
                });
            }
        }
        group.finish();
    }
}

fn max_pool(criterion: &mut Criterion) {
    let geometry = PoolGeometry {
        channels: 64,
        input: [112; 2],
        kernel: [3; 2],
        stride: [2; 2],
        dilation: [1; 2],
        pads: [1; 4],
    };
    let input = noise(112 * 112 * 64);
    let mut out = vec![0.0; 56 * 56 * 64];
    let mut group = criterion.benchmark_group("max_pool/3x3/2 112x112x64");
    group.throughput(Throughput::Elements(out.len() as u64));
    for isa in vector_paths() {
        let pool = MaxPool::new(isa, geometry.clone()).expect("a valid layer");
        group.bench_function(BenchmarkId::from_parameter(isa), |bencher| {
            bencher
                .iter(|| pool.run(MapRows::whole(black_box(&input)), 0..56, black_box(&mut out)));
        });
    }
    group.finish();
}

fn channels_last(criterion: &mut Criterion) {
    let input = noise(3 * 224 * 224);
    let mut out = vec![0.0; input.len()];
    let mut group = criterion.benchmark_group("gather");
    group.throughput(Throughput::Elements(out.len() as u64));
    group.bench_function("3x224x224 to channels last", |bencher| {
        bencher.iter(|| {
            let (dims, strides) = ([224, 224, 3], [224, 1, 224 * 224]);
            gather(black_box(&input), &dims, &strides, 0, black_box(&mut out));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = convolution, epilogue, max_pool, channels_last
}
criterion_main!(benches);
