//! Binary convolutions at the four shapes of ResNet-18 and packing, for each instruction set that this
//! processor has. Throughput is in binary multiply-accumulates (convolution) and values (packing).

use bnn_kernels::{
    Alphabet, BinaryConv, ConvGeometry, Isa, MapRows, PadValue, pack_f32, pack_i32, words_per_pixel,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

/// Height and width, channels.
const MAPS: [(usize, usize); 4] = [(56, 64), (28, 128), (14, 256), (7, 512)];

/// Bits without a pattern, the same in every run.
fn noise(words: usize) -> Vec<u64> {
    let mut state = 1_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(step).take(words).collect()
}

fn binary_convolution(criterion: &mut Criterion) {
    for (size, channels) in MAPS {
        let geometry = ConvGeometry {
            in_channels: channels,
            out_channels: channels,
            input: [size, size],
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [1; 4],
            groups: 1,
        };
        let mut group = criterion.benchmark_group(format!("binary_conv/{size}x{size}x{channels}"));
        group.throughput(Throughput::Elements(geometry.macs()));
        let weights = noise(channels * geometry.products() / 64);
        let input = noise(size * size * words_per_pixel(channels));
        // The reference takes bit by bit: seconds per layer.
        for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
            let (pad, alphabet) = (PadValue::Zero, Alphabet::PlusMinus);
            let conv = BinaryConv::new(isa, geometry.clone(), pad, alphabet, &weights)
                .expect("a valid layer");
            let rows = conv.rows_read(0..size);
            let mut layout = vec![0; rows.len() * conv.row_len()];
            let mut out = vec![0; size * size * channels];
            group.bench_function(BenchmarkId::new(isa.name(), conv.kernel_name()), |bencher| {
                bencher.iter(|| {
                    conv.fill_rows(black_box(&input), rows.clone(), &mut layout);
                    conv.accumulate(MapRows::whole(&layout), 0..size, &mut out);
                    black_box(&mut out);
                });
            });
        }
        group.finish();
    }
}

fn packing(criterion: &mut Criterion) {
    for (size, channels) in MAPS {
        let values: Vec<i32> =
            noise(size * size * channels).iter().map(|&word| word as i32).collect();
        let floats: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let mut out = vec![0; size * size * words_per_pixel(channels)];
        let mut group = criterion.benchmark_group(format!("pack/{size}x{size}x{channels}"));
        group.throughput(Throughput::Elements(values.len() as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), "f32, one threshold"), |bencher| {
                bencher
                    .iter(|| pack_f32(isa, black_box(&floats), channels, &[0.0], None, &mut out));
            });
            let thresholds = vec![1.0; channels];
            group.bench_function(BenchmarkId::new(isa.name(), "f32, thresholds"), |bencher| {
                let floats = black_box(&floats);
                bencher.iter(|| pack_f32(isa, floats, channels, &thresholds, None, &mut out));
            });
            let thresholds = vec![1; channels];
            group.bench_function(BenchmarkId::new(isa.name(), "i32, thresholds"), |bencher| {
                let values = black_box(&values);
                bencher.iter(|| pack_i32(isa, values, channels, &thresholds, None, &mut out));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20);
    targets = binary_convolution, packing
}
criterion_main!(kernels);
