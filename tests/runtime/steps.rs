//! Each kind of step alone, with the numbers worked out by hand.

use bnn::{
    Isa, Model, SessionOptions,
    program::{
        AffineTerms, Alphabet, BinaryConv, BinaryOutput, BufferId, ChannelOp, CombineOp, Epilogue,
        EpilogueOp, FloatConv, PadValue, Reduction, StepKind,
    },
};

use crate::builder::{Builder, plain_conv, plain_pool};

/// Runs on all instruction sets, which must agree.
fn run(builder: Builder, input: &[f32]) -> Vec<f32> {
    let model = Model::from_program(builder.program).unwrap();
    let run = |isa| model.session(&SessionOptions::default().isa(isa)).unwrap().run(input).unwrap();
    let expected = run(Isa::Scalar);
    for isa in Isa::available() {
        assert_eq!(run(isa), expected, "{isa}");
    }
    expected
}

fn store(output: BufferId) -> Epilogue {
    Epilogue { ops: vec![EpilogueOp::Store { output }] }
}

/// Input of the given size, packed by sign.
fn signs(builder: &mut Builder, size: [usize; 3]) -> BufferId {
    let input = builder.input("x", size);
    let output = builder.bit_map(size);
    let thresholds = builder.floats([0.0]);
    let ops = vec![EpilogueOp::StoreBits { thresholds, flip: None, output }];
    builder.step(StepKind::Elementwise { input, flatten: false, epilogue: Epilogue { ops } });
    output
}

/// Turns bits into floats by a depthwise binary convolution with a single weight of +1.
fn unpack(builder: &mut Builder, input: BufferId, size: [usize; 3]) {
    let output = builder.output("y", size);
    let mut geometry = plain_conv(size[2], size[2], 1);
    geometry.groups = size[2];
    let conv = BinaryConv {
        input,
        geometry,
        pad: PadValue::Zero,
        alphabet: Alphabet::ZeroOne,
        weights: builder.bits(&vec![true; size[2]]),
        affine: None,
    };
    builder.step(StepKind::BinaryConv { conv, output: BinaryOutput::Float(store(output)) });
}

/// 3x3 window over a 2x2 map of one channel, all weights +1, one pixel of padding.
fn box_conv(builder: &mut Builder, input: BufferId) -> BinaryConv {
    let mut geometry = plain_conv(1, 1, 3);
    geometry.pads = [1; 4];
    BinaryConv {
        input,
        geometry,
        pad: PadValue::Zero,
        alphabet: Alphabet::PlusMinus,
        weights: builder.bits(&[true; 9]),
        affine: None,
    }
}

#[test]
fn binary_convolution_counts_what_is_inside() {
    // Every 3x3 window holds the whole 2x2 map.
    for (pad, alphabet, expected) in [
        (PadValue::Zero, Alphabet::PlusMinus, 2.0),
        (PadValue::Plus, Alphabet::PlusMinus, 7.0),
        (PadValue::Minus, Alphabet::PlusMinus, -3.0),
        (PadValue::Zero, Alphabet::ZeroOne, 3.0),
    ] {
        let mut builder = Builder::default();
        let input = signs(&mut builder, [2, 2, 1]);
        let output = builder.output("y", [2, 2, 1]);
        let conv = BinaryConv { pad, alphabet, ..box_conv(&mut builder, input) };
        builder.step(StepKind::BinaryConv { conv, output: BinaryOutput::Float(store(output)) });
        // Both zeros count as +1.
        assert_eq!(run(builder, &[0.0, -0.0, 5.0, -1e-40]), [expected; 4]);
    }
}

#[test]
fn thresholds_and_flips_make_bits() {
    for (threshold, flip, expected) in [
        (2, false, 1.0),
        (3, false, 0.0),
        (2, true, 0.0),
        (i32::MIN, false, 1.0),
        (i32::MAX, false, 0.0),
        (i32::MAX, true, 1.0),
    ] {
        let mut builder = Builder::default();
        let input = signs(&mut builder, [2, 2, 1]);
        let conv = box_conv(&mut builder, input);
        let output = builder.bit_map([2, 2, 1]);
        let thresholds = builder.integers([threshold]);
        let flip = flip.then(|| builder.bits(&[true]));
        builder.step(StepKind::BinaryConv {
            conv,
            output: BinaryOutput::Threshold { thresholds, flip, output },
        });
        unpack(&mut builder, output, [2, 2, 1]);
        assert_eq!(run(builder, &[1.0, 1.0, 1.0, -1.0]), [expected; 4], "{threshold}");
    }
}

#[test]
fn affine_terms_are_those_of_scaled_and_shifted_values() {
    // w = 2 s_w + 3, x = 5 s_x + 7: w is 5 everywhere, x is 12, 12, 12 and 2; a window holds all.
    let mut builder = Builder::default();
    let input = signs(&mut builder, [2, 2, 1]);
    let output = builder.output("y", [2, 2, 1]);
    let affine = AffineTerms {
        dot: builder.floats([2.0 * 5.0]),
        weight_sum: builder.floats([2.0 * 7.0]),
        input_sum: Some(builder.floats([3.0 * 5.0])),
        count: builder.floats([3.0 * 7.0]),
    };
    let conv = BinaryConv { affine: Some(affine), ..box_conv(&mut builder, input) };
    builder.step(StepKind::BinaryConv { conv, output: BinaryOutput::Float(store(output)) });
    assert_eq!(run(builder, &[1.0, 1.0, 1.0, -1.0]), [5.0 * (3.0 * 12.0 + 2.0); 4]);
}

#[test]
fn float_convolution_takes_all_kinds_of_weights() {
    for kind in ["f32", "f16", "bits"] {
        let mut builder = Builder::default();
        let input = builder.input("x", [1, 2, 2]);
        let output = builder.output("y", [1, 1, 2]);
        let mut geometry = plain_conv(2, 2, 1);
        geometry.kernel = [1, 2];
        let values = [1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 1.0];
        let weights = match kind {
            "f32" => builder.floats(values),
            "f16" => builder.halves(&values),
            _ => builder.bits(&values.map(|w| w > 0.0)),
        };
        builder.step(StepKind::FloatConv {
            conv: FloatConv { input, geometry, weights },
            epilogue: store(output),
        });
        let (a, b) = (10.0 - 20.0 + 30.0 + 40.0, -10.0 - 20.0 - 30.0 + 40.0);
        assert_eq!(run(builder, &[10.0, 20.0, 30.0, 40.0]), [a, b], "{kind}");
    }
}

#[test]
fn epilogues_run_in_order_and_store_on_the_way() {
    // y = max(x * [2, 3] + shortcut, 0); the shortcut is the mean of each channel.
    let mut builder = Builder::default();
    let input = builder.input("x", [1, 2, 2]);
    let mean = builder.f32_map([1, 1, 2]);
    let mut pool = plain_pool(1);
    pool.kernel = [1, 2];
    builder.step(StepKind::AveragePool {
        input,
        pool,
        count_include_pad: false,
        epilogue: store(mean),
    });
    let before = builder.f32_map([1, 2, 2]);
    let after = builder.f32_map([1, 2, 2]);
    let scale = builder.floats([2.0, 3.0]);
    let zero = builder.floats([0.0]);
    let ops = vec![
        EpilogueOp::Channel(ChannelOp::Multiply(scale)),
        EpilogueOp::Store { output: before },
        EpilogueOp::Combine { op: CombineOp::Add, operand: mean },
        EpilogueOp::Channel(ChannelOp::Maximum(zero)),
        EpilogueOp::Store { output: after },
    ];
    builder.step(StepKind::Elementwise { input, flatten: false, epilogue: Epilogue { ops } });
    let output = builder.output("y", [1, 2, 4]);
    builder.step(StepKind::Concat { inputs: vec![before, after], output });
    assert_eq!(run(builder, &[1.0, -10.0, 3.0, 4.0]), [2.0, -30.0, 4.0, 0.0, 6.0, 12.0, 8.0, 9.0]);
}

#[test]
fn a_map_is_taken_as_one_pixel() {
    // Per element of the map, not per channel.
    let mut builder = Builder::default();
    let input = builder.input("x", [2, 1, 2]);
    let output = builder.output("y", [1, 1, 4]);
    let scale = builder.floats([1.0, 10.0, 100.0, 1000.0]);
    let ops = vec![EpilogueOp::Channel(ChannelOp::Multiply(scale)), EpilogueOp::Store { output }];
    builder.step(StepKind::Elementwise { input, flatten: true, epilogue: Epilogue { ops } });
    assert_eq!(run(builder, &[1.0, 2.0, 3.0, 4.0]), [1.0, 20.0, 300.0, 4000.0]);
}

#[test]
fn pools_clip_their_windows_to_the_map() {
    let input_values = [1.0, -2.0, 3.0, -4.0];
    for (count_include_pad, expected) in [(None, 1.0), (Some(false), 1.0), (Some(true), 0.25)] {
        // One window of 2x2 per pixel; the map is surrounded by padding.
        let mut builder = Builder::default();
        let input = builder.input("x", [2, 2, 1]);
        let output = builder.output("y", [2, 2, 1]);
        let mut pool = plain_pool(2);
        pool.pads = [1; 4];
        let epilogue = store(output);
        builder.step(match count_include_pad {
            None => StepKind::MaxPool { input, pool, epilogue },
            Some(count_include_pad) => {
                StepKind::AveragePool { input, pool, count_include_pad, epilogue }
            }
        });
        let scaled = input_values.map(|x| x * expected);
        assert_eq!(run(builder, &input_values), scaled);
    }
}

#[test]
fn bits_are_pooled_by_or() {
    for (flip, expected) in [(false, [1.0, 0.0]), (true, [0.0, 1.0])] {
        let mut builder = Builder::default();
        let bits = signs(&mut builder, [2, 2, 2]);
        let output = builder.bit_map([1, 1, 2]);
        let flip = flip.then(|| builder.bits(&[true, true]));
        builder.step(StepKind::MaxPoolBits { input: bits, pool: plain_pool(2), flip, output });
        unpack(&mut builder, output, [1, 1, 2]);
        let input = [-1.0, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0];
        assert_eq!(run(builder, &input), expected);
    }
}

#[test]
fn channels_are_reduced() {
    for (reduction, expected) in [
        (Reduction::Mean, [2.0, -1.0]),
        (Reduction::Sum, [6.0, -3.0]),
        (Reduction::Max, [4.0, 0.0]),
        (Reduction::Min, [0.5, -2.0]),
    ] {
        let mut builder = Builder::default();
        let input = builder.input("x", [1, 2, 3]);
        let output = builder.output("y", [1, 2, 1]);
        builder.step(StepKind::ReduceChannels { input, reduction, epilogue: store(output) });
        assert_eq!(run(builder, &[0.5, 1.5, 4.0, -1.0, -2.0, 0.0]), expected, "{reduction:?}");
    }
}

#[test]
fn bits_are_joined_across_words() {
    let mut builder = Builder::default();
    let bits = signs(&mut builder, [1, 1, 50]);
    let output = builder.bit_map([1, 1, 150]);
    builder.step(StepKind::Concat { inputs: vec![bits; 3], output });
    unpack(&mut builder, output, [1, 1, 150]);
    let input: Vec<f32> = (0..50).map(|c| if c % 3 == 0 { 1.0 } else { -1.0 }).collect();
    let expected: Vec<f32> = (0..150).map(|c| if c % 50 % 3 == 0 { 1.0 } else { 0.0 }).collect();
    assert_eq!(run(builder, &input), expected);
}

/// Sums of three bits each: -3, -1, 1 or 3.
fn sums(builder: &mut Builder, input: BufferId, pixels: usize) -> BufferId {
    let output = builder.integer_map([1, pixels, 2]);
    let conv = BinaryConv {
        input,
        geometry: plain_conv(3, 2, 1),
        pad: PadValue::Zero,
        alphabet: Alphabet::PlusMinus,
        weights: builder.bits(&[true, true, true, false, false, false]),
        affine: None,
    };
    builder.step(StepKind::BinaryConv { conv, output: BinaryOutput::Integers { output } });
    output
}

#[test]
fn integers_and_floats_are_compared_side_by_side() {
    let mut builder = Builder::default();
    let bits = signs(&mut builder, [1, 2, 3]);
    let input = builder.program.inputs[0].buffer;
    let sums = sums(&mut builder, bits, 2);
    let output = builder.bit_map([1, 2, 7]);
    let floats = Some(builder.floats([2.0, f32::NEG_INFINITY, -0.5]));
    let integers = Some(builder.integers([3, -1, i32::MAX, 0]));
    let flip = Some(builder.bits(&[false, false, true, false, false, false, true]));
    // Thresholds of each kind are in the order of the inputs of that kind; a map may come twice.
    let inputs = vec![sums, input, sums];
    builder.step(StepKind::Threshold { inputs, floats, integers, flip, output });
    unpack(&mut builder, output, [1, 2, 7]);
    let found = run(builder, &[2.0, 3.0, 4.0, 1.0, -1.0, -1.0]);
    // Sums are 3 and -3, then -1 and 1.
    let first = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0];
    let second = [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    assert_eq!(found, [first, second].concat());
}

#[test]
fn integers_are_joined_to_floats() {
    let mut builder = Builder::default();
    let bits = signs(&mut builder, [1, 2, 3]);
    let sums = sums(&mut builder, bits, 2);
    let input = builder.program.inputs[0].buffer;
    let output = builder.output("y", [1, 2, 5]);
    builder.step(StepKind::Concat { inputs: vec![sums, input], output });
    let found = run(builder, &[0.5, 3.0, 4.0, 1.0, -1.0, -0.25]);
    assert_eq!(found, [3.0, -3.0, 0.5, 3.0, 4.0, -1.0, 1.0, 1.0, -1.0, -0.25]);
}

#[test]
fn gathers_transpose() {
    let mut builder = Builder::default();
    let input = builder.input("x", [2, 1, 3]);
    let output = builder.output("y", [3, 1, 2]);
    builder.step(StepKind::Gather {
        input,
        output,
        dims: vec![3, 2],
        strides: vec![1, 3],
        offset: 0,
    });
    assert_eq!(run(builder, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn maps_of_both_kinds_are_padded() {
    let mut builder = Builder::default();
    let input = builder.input("x", [1, 1, 2]);
    let output = builder.output("y", [1, 3, 2]);
    builder.step(StepKind::Pad { input, output, pads: [0, 1, 0, 1], channels: [0; 2], value: 9.0 });
    assert_eq!(run(builder, &[1.0, 2.0]), [9.0, 9.0, 1.0, 2.0, 9.0, 9.0]);

    let mut builder = Builder::default();
    let input = builder.input("x", [1, 2, 1]);
    let output = builder.output("y", [1, 2, 3]);
    builder.step(StepKind::Pad { input, output, pads: [0; 4], channels: [1, 1], value: 9.0 });
    assert_eq!(run(builder, &[1.0, 2.0]), [9.0, 1.0, 9.0, 9.0, 2.0, 9.0]);

    for (value, padding) in [(0.5, 1.0), (-0.5, 0.0), (0.0, 0.0)] {
        let mut builder = Builder::default();
        let bits = signs(&mut builder, [1, 1, 2]);
        let padded = builder.bit_map([2, 1, 2]);
        builder.step(StepKind::Pad {
            input: bits,
            output: padded,
            pads: [1, 0, 0, 0],
            channels: [0; 2],
            value,
        });
        unpack(&mut builder, padded, [2, 1, 2]);
        assert_eq!(run(builder, &[1.0, -1.0]), [padding, padding, 1.0, 0.0]);
    }
}

#[test]
fn softmax_survives_large_values() {
    for (log, expected) in [(false, 0.5), (true, -std::f32::consts::LN_2)] {
        let mut builder = Builder::default();
        let input = builder.input("x", [1, 1, 2]);
        let output = builder.output("y", [1, 1, 2]);
        builder.step(StepKind::Softmax { input, output, log });
        assert_eq!(run(builder, &[3e38, 3e38]), [expected; 2]);
    }
}
