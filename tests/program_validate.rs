//! What a program must be like: each rule of `Program::validate`, broken once.

mod sample;

use bnn::program::{
    AffineTerms, BinaryConv, BinaryOutput, Buffer, BufferId, BufferKind, ChannelOp, ConvGeometry,
    Epilogue, EpilogueOp, FloatConv, PadValue, PoolGeometry, Preprocessing, Program, Resize,
    StepKind, TensorData, TensorId,
};
use sample::{complete, segmented, tiny};

fn step<'a>(program: &'a mut Program, name: &str) -> &'a mut StepKind {
    &mut program.steps.iter_mut().find(|step| step.name == name).unwrap().kind
}

fn binary<'a>(program: &'a mut Program, name: &str) -> &'a mut BinaryConv {
    match step(program, name) {
        StepKind::BinaryConv { conv, .. } => conv,
        other => panic!("{other:?}"),
    }
}

fn float<'a>(program: &'a mut Program, name: &str) -> &'a mut FloatConv {
    match step(program, name) {
        StepKind::FloatConv { conv, .. } => conv,
        other => panic!("{other:?}"),
    }
}

fn geometry<'a>(program: &'a mut Program, name: &str) -> &'a mut ConvGeometry {
    match step(program, name) {
        StepKind::BinaryConv { conv, .. } => &mut conv.geometry,
        StepKind::FloatConv { conv, .. } => &mut conv.geometry,
        other => panic!("{other:?}"),
    }
}

fn pool<'a>(program: &'a mut Program, name: &str) -> &'a mut PoolGeometry {
    match step(program, name) {
        StepKind::MaxPool { pool, .. }
        | StepKind::AveragePool { pool, .. }
        | StepKind::MaxPoolBits { pool, .. } => pool,
        other => panic!("{other:?}"),
    }
}

fn ops<'a>(program: &'a mut Program, name: &str) -> &'a mut Vec<EpilogueOp> {
    match step(program, name) {
        StepKind::BinaryConv { output: BinaryOutput::Float(Epilogue { ops }), .. }
        | StepKind::FloatConv { epilogue: Epilogue { ops }, .. }
        | StepKind::Elementwise { epilogue: Epilogue { ops }, .. }
        | StepKind::MaxPool { epilogue: Epilogue { ops }, .. }
        | StepKind::AveragePool { epilogue: Epilogue { ops }, .. }
        | StepKind::ReduceChannels { epilogue: Epilogue { ops }, .. } => ops,
        other => panic!("{other:?}"),
    }
}

fn tensor(program: &Program, name: &str) -> TensorId {
    TensorId(program.tensors.iter().position(|tensor| tensor.name == name).unwrap() as u32)
}

fn floats<'a>(program: &'a mut Program, name: &str) -> &'a mut Vec<f32> {
    let id = tensor(program, name);
    match &mut program.tensors[id.index()].data {
        TensorData::F32(values) => values,
        other => panic!("{other:?}"),
    }
}

fn preprocessing(program: &mut Program) -> &mut Preprocessing {
    program.metadata.preprocessing.as_mut().unwrap()
}

type Case = (fn(&mut Program), &'static str);

fn check(cases: &[Case]) {
    check_in(complete, cases);
}

fn check_in(program: fn() -> Program, cases: &[Case]) {
    program().validate().unwrap();
    for (number, (change, expected)) in cases.iter().enumerate() {
        let mut program = program();
        change(&mut program);
        let error = program.validate().expect_err(expected).to_string();
        assert!(error.contains(expected), "case {number}: {error}, expected {expected}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn good_programs_pass() {
    tiny().validate().unwrap();
    complete().validate().unwrap();
    segmented().validate().unwrap();
}

/// The parts of the step that compares integers and floats.
struct Thresholds<'a> {
    inputs: &'a mut Vec<BufferId>,
    floats: &'a mut Option<TensorId>,
    integers: &'a mut Option<TensorId>,
    flip: &'a mut Option<TensorId>,
    output: &'a mut BufferId,
}

fn thresholds(program: &mut Program) -> Thresholds<'_> {
    match step(program, "unit") {
        StepKind::Threshold { inputs, floats, integers, flip, output } => {
            Thresholds { inputs, floats, integers, flip, output }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn integers_are_only_compared_and_joined() {
    check_in(
        segmented,
        &[
            (|p| binary(p, "conv").geometry.kernel = [1000, 1000], "fit into 5 pixels"),
            (
                |p| {
                    let conv = binary(p, "conv");
                    (conv.geometry.kernel, conv.geometry.pads) = ([82, 80], [80; 4]);
                    let shape = vec![60, 82, 80, 5];
                    p.tensors[1].shape = shape;
                    p.tensors[1].data = TensorData::Bits(vec![0; 60 * 82 * 80 * 5 / 64]);
                },
                "'conv': sums of 32800 products as i16, expected at most 32767",
            ),
            (
                |p| {
                    let terms = TensorId(p.tensors.len() as u32);
                    let mut tensor = p.tensors[0].clone();
                    (tensor.name, tensor.shape) = ("terms".into(), vec![60]);
                    tensor.data = TensorData::F32(vec![1.0; 60]);
                    p.tensors.push(tensor);
                    binary(p, "conv").affine = Some(AffineTerms {
                        dot: terms,
                        weight_sum: terms,
                        input_sum: None,
                        count: terms,
                    });
                },
                "'conv': affine terms before integers",
            ),
            (|p| p.buffers[2].kind = BufferKind::F32, "buffer 2 is F32, expected I16"),
            (|p| binary(p, "dense").input = BufferId(2), "buffer 2 is I16, expected Bits"),
            (|p| p.outputs[0].buffer = BufferId(2), "buffer 2 holds i16, expected f32"),
            (|p| p.inputs[0].buffer = BufferId(2), "buffer 2 holds i16, expected f32"),
            (|p| p.buffers[4].kind = BufferKind::I16, "'join': buffer 4 is I16, expected F32"),
            (|p| p.buffers[4].kind = BufferKind::Bits, "'join': buffer 0 is F32, expected Bits"),
            (
                |p| {
                    let StepKind::Concat { inputs, .. } = step(p, "join") else { panic!() };
                    inputs[1] = BufferId(3);
                },
                "'join': buffer 3 is Bits, expected F32 or I16",
            ),
            (
                |p| {
                    p.buffers.push(Buffer { channels: 60, ..p.buffers[0] });
                    p.buffers[6].kind = BufferKind::I16;
                    let output = BufferId(6);
                    let (pads, channels) = ([0; 4], [0, 0]);
                    let kind =
                        StepKind::Pad { input: BufferId(2), output, pads, channels, value: 0.0 };
                    p.steps.push(bnn::program::Step { name: "pad".into(), kind });
                },
                "'pad': pads integers, expected f32 or bits",
            ),
        ],
    );
}

#[test]
fn every_channel_has_one_threshold() {
    check_in(
        segmented,
        &[
            (|p| thresholds(p).inputs[0] = BufferId(9), "'unit': buffer 9, expected less than"),
            (|p| thresholds(p).inputs[0] = BufferId(3), "'unit': reads buffer 3 before"),
            (|p| thresholds(p).inputs[0] = BufferId(1), "buffer 1 is Bits, expected F32 or I16"),
            (
                |p| thresholds(p).inputs.clear(),
                "floats 'unit.thresholds' has 5 elements, expected 0",
            ),
            (|p| *thresholds(p).floats = None, "no thresholds for 5 channels of floats"),
            (|p| *thresholds(p).integers = None, "no thresholds for 60 channels of integers"),
            (|p| *thresholds(p).floats = Some(TensorId(99)), "floats: tensor 99, expected less"),
            (
                |p| *thresholds(p).floats = Some(tensor(p, "unit.integers")),
                "floats 'unit.integers' is I32, expected F32",
            ),
            (
                |p| *thresholds(p).flip = Some(tensor(p, "unit.thresholds")),
                "flip 'unit.thresholds' is F32, expected Bits",
            ),
            (|p| floats(p, "unit.thresholds")[1] = f32::NAN, "'unit': a threshold is not a number"),
            (|p| *thresholds(p).output = BufferId(1), "'unit': writes buffer 1 a second time"),
            (
                |p| {
                    thresholds(p).inputs.swap(0, 1);
                    thresholds(p).inputs.push(BufferId(2));
                },
                "integers 'unit.integers' has 60 elements, expected 120",
            ),
            (|p| p.buffers[3].channels = 64, "output buffer 3 is 3x3x64, expected 3x3x65"),
            (|p| p.buffers[3].height = 4, "buffer 0 is 3x3, expected 4x3 as the output"),
        ],
    );
}

#[test]
fn ids_are_in_range() {
    check(&[
        (|p| p.inputs[0].buffer = BufferId(99), "input 'image': buffer 99, expected less than"),
        (|p| p.outputs[0].buffer = BufferId(u32::MAX), "output 'probabilities': buffer"),
        (|p| binary(p, "conv1").input = BufferId(99), "'conv1': buffer 99, expected less than"),
        (|p| binary(p, "conv1").weights = TensorId(99), "'conv1': weights: tensor 99, expected"),
        (
            |p| ops(p, "gate")[1] = EpilogueOp::Store { output: BufferId(99) },
            "'gate': buffer 99, expected less than",
        ),
    ]);
}

#[test]
fn tensors_hold_what_they_say() {
    check(&[
        (|p| p.tensors[1].name = p.tensors[0].name.clone(), "'stem.weights': the name is taken"),
        (|p| p.tensors[0].shape = vec![70, 3, 3], "1890 elements, expected 630"),
        (|p| p.tensors[0].shape = vec![usize::MAX, 2], "empty or too large"),
        (|p| p.tensors[0].shape = vec![70, 0], "empty or too large"),
        (
            |p| {
                let id = tensor(p, "stem.flip");
                p.tensors[id.index()].data = TensorData::Bits(vec![0]);
            },
            "'stem.flip': 1 words, expected 2",
        ),
        (
            |p| {
                let id = tensor(p, "stem.flip");
                p.tensors[id.index()].data = TensorData::Bits(vec![0, 1 << 6]);
            },
            "'stem.flip': unused bits of the last word 0x40",
        ),
    ]);
}

#[test]
fn constants_are_finite() {
    check(&[
        (|p| floats(p, "stem.weights")[5] = f32::NAN, "'stem.weights' holds an infinity or NaN"),
        (|p| floats(p, "stem.scale")[0] = f32::INFINITY, "'stem.scale' holds an infinity or NaN"),
        (|p| floats(p, "conv2.count")[0] = f32::NEG_INFINITY, "'conv2.count' holds an infinity"),
        (|p| floats(p, "stem.thresholds")[0] = f32::NAN, "'stem': a threshold is not a number"),
        (
            |p| {
                let id = tensor(p, "fc1.weights");
                p.tensors[id.index()].data = TensorData::F16(vec![0x7c00; 6300]);
            },
            "'fc1.weights' holds an infinity",
        ),
        (
            |p| {
                let op = ChannelOp::Step { at_least: true, low: 0.0, high: f32::NAN };
                ops(p, "dense")[8] = EpilogueOp::Channel(op);
            },
            "step function of 0 and NaN",
        ),
        (
            |p| {
                let StepKind::Pad { value, .. } = step(p, "pad") else { panic!() };
                *value = f32::NEG_INFINITY;
            },
            "'pad': pads with -inf",
        ),
    ]);
}

#[test]
fn buffers_have_sizes_that_can_be() {
    check(&[
        (|p| p.buffers[0].height = 0, "buffer 0: 0x6x3, expected extents of 1"),
        (|p| p.buffers[0].channels = usize::MAX, "expected extents of 1 to"),
        (|p| p.buffers[0] = large(1 << 14), "expected at most 268435456 elements"),
        (
            |p| p.buffers.extend(std::iter::repeat_n(large(1 << 13), 64)),
            "with the buffers before it, expected at most 4294967296",
        ),
    ]);
}

fn large(side: usize) -> Buffer {
    Buffer { kind: BufferKind::F32, height: side, width: side, channels: 2 }
}

#[test]
fn buffers_are_written_once_and_then_read() {
    check(&[
        (|p| p.steps.swap(0, 1), "step 0 'conv1': reads buffer 1 before a step has written it"),
        (|p| p.steps.push(p.steps[0].clone()), "'stem': writes buffer 1 a second time"),
        (
            |p| ops(p, "gate")[1] = EpilogueOp::Store { output: BufferId(0) },
            "'gate': writes buffer 0, which is an input",
        ),
        (|p| p.buffers.push(p.buffers[0]), "is no input and written by no step"),
        (|p| p.inputs.push(p.inputs[0].clone()), "input 'image': the name is taken"),
        (
            |p| {
                p.inputs.push(p.inputs[0].clone());
                p.inputs[1].name = "again".into();
            },
            "input 'again': buffer 0 belongs to another input",
        ),
        (|p| p.inputs.clear(), "no inputs, expected at least one"),
        (|p| p.outputs.clear(), "no outputs, expected at least one"),
        (
            |p| {
                p.outputs[0] = p.inputs[0].clone();
            },
            "output 'image': buffer 0 is an input",
        ),
        (
            |p| {
                p.outputs.push(p.outputs[0].clone());
                p.outputs[1].name = "again".into();
            },
            "output 'again': buffer 16 is read by a step or is another output",
        ),
        (
            // What a step writes is no operand of it.
            |p| {
                let stored = ops(p, "stem")[3].clone();
                let EpilogueOp::Store { output: operand } = stored else { panic!() };
                let op = bnn::program::CombineOp::Add;
                ops(p, "stem").push(EpilogueOp::Combine { op, operand });
            },
            "'stem': reads buffer 2 before a step has written it",
        ),
        (|p| drop(ops(p, "stem").drain(2..)), "'stem': the epilogue writes no buffer"),
        (
            |p| {
                let first = ops(p, "stem")[0].clone();
                ops(p, "stem").extend(std::iter::repeat_n(first, 300));
            },
            "304 epilogue operations, expected at most 256",
        ),
    ]);
}

#[test]
fn ports_are_floats_of_the_right_size() {
    check(&[
        (|p| p.inputs[0].shape = vec![6, 6, 4], "shape [6, 6, 4] does not have the 108 elements"),
        (|p| p.inputs[0].shape = vec![usize::MAX, 2], "does not have the 108 elements"),
        (|p| p.outputs[0].buffer = BufferId(1), "output 'probabilities': buffer 1 holds bits"),
    ]);
}

#[test]
fn kinds_match() {
    check(&[
        (|p| binary(p, "conv1").input = BufferId(2), "'conv1': buffer 2 is F32, expected Bits"),
        (|p| float(p, "fc1").input = BufferId(1), "'fc1': buffer 1 is Bits, expected F32"),
        (
            |p| binary(p, "conv1").weights = tensor(p, "stem.weights"),
            "'conv1': weights 'stem.weights' is F32, expected Bits",
        ),
        (
            |p| float(p, "fc1").weights = tensor(p, "conv1.thresholds"),
            "is I32, expected F32 or F16 or Bits",
        ),
        (
            |p| {
                let StepKind::Concat { inputs, .. } = step(p, "join") else { panic!() };
                inputs[0] = BufferId(5);
            },
            "'join': buffer 5 is F32, expected Bits",
        ),
    ]);
}

#[test]
fn tensors_have_the_length_of_their_role() {
    check(&[
        (
            |p| binary(p, "conv1").weights = tensor(p, "conv2.weights"),
            "weights 'conv2.weights' has 840 elements, expected 2520",
        ),
        (
            |p| {
                let bias = tensor(p, "conv2.dot");
                ops(p, "stem")[1] = EpilogueOp::Channel(ChannelOp::Add(bias));
            },
            "constant 'conv2.dot' has 4 elements, expected 1 or 70",
        ),
        (
            |p| {
                let StepKind::MaxPoolBits { flip, .. } = step(p, "or") else { panic!() };
                *flip = None;
                let other = tensor(p, "conv1.flip");
                let StepKind::MaxPoolBits { flip, .. } = step(p, "or") else { panic!() };
                *flip = Some(other);
            },
            "flip 'conv1.flip' has 8 elements, expected 70",
        ),
        (
            |p| {
                let wide = tensor(p, "stem.scale");
                binary(p, "conv2").affine.as_mut().unwrap().count = wide;
            },
            "count 'stem.scale' has 1 elements, expected 4",
        ),
    ]);
}

#[test]
fn geometry_makes_sense() {
    check(&[
        (|p| geometry(p, "conv1").stride = [0, 1], "'conv1': stride [0, 1], expected 1 to"),
        (|p| geometry(p, "conv1").kernel = [3, usize::MAX], "kernel [3, 18446744073709551615]"),
        (|p| geometry(p, "conv1").dilation = [0, 0], "dilation [0, 0]"),
        (|p| geometry(p, "conv1").pads[2] = usize::MAX, "padding of 18446744073709551615"),
        (|p| geometry(p, "conv1").groups = 0, "0 groups do not divide"),
        (|p| geometry(p, "conv1").groups = 3, "3 groups do not divide 70 input and 8 output"),
        (|p| geometry(p, "conv1").in_channels = 64, "64 input channels, expected the 70"),
        (|p| geometry(p, "conv1").out_channels = 0, "0 output channels"),
        (|p| geometry(p, "conv1").kernel = [9, 3], "a window of 9 does not fit into 8 pixels"),
        (|p| geometry(p, "conv1").dilation = [5, 1], "a window of 11 does not fit into 8"),
        (
            |p| {
                let geometry = geometry(p, "conv1");
                geometry.kernel = [1 << 24, 1 << 24];
                geometry.pads = [1 << 24; 4];
            },
            "more products in one sum than an i32 can count",
        ),
        (|p| geometry(p, "stem").pads = [2; 4], "output buffer 1 is 6x6x70, expected 8x8x70"),
        (|p| pool(p, "max").stride = [3, 3], "expected 2x2x70"),
        (|p| pool(p, "or").pads = [2, 2, 0, 0], "a pooling window lies wholly in the padding"),
        (|p| pool(p, "max").pads = [0, 0, 2, 2], "a pooling window lies wholly in the padding"),
        (|p| pool(p, "mean").kernel = [7, 7], "a window of 7 does not fit into 6 pixels"),
        (
            // Every tap of the second window jumps over the six pixels.
            |p| {
                *pool(p, "or") = PoolGeometry {
                    kernel: [2, 2],
                    stride: [1, 1],
                    dilation: [7, 7],
                    pads: [6, 6, 6, 6],
                };
            },
            "a pooling window lies wholly in the padding",
        ),
    ]);
}

#[test]
fn affine_terms_stand_alone() {
    check(&[
        (
            |p| binary(p, "conv2").pad = PadValue::Plus,
            "affine terms with alphabet PlusMinus and padding Plus",
        ),
        (
            |p| {
                let affine = binary(p, "conv2").affine.clone();
                let mut terms = affine.unwrap();
                let eight = {
                    let id = tensor(p, "conv1.thresholds");
                    let mut copy = p.tensors[id.index()].clone();
                    copy.name = "eight".into();
                    copy.data = TensorData::F32(vec![1.0; 8]);
                    p.tensors.push(copy);
                    TensorId(p.tensors.len() as u32 - 1)
                };
                terms.dot = eight;
                terms.weight_sum = eight;
                terms.input_sum = None;
                terms.count = eight;
                let conv = binary(p, "conv1");
                conv.affine = Some(terms);
                conv.pad = PadValue::Zero;
            },
            "affine terms before integer thresholds",
        ),
    ]);
}

#[test]
fn maps_fit_together() {
    check(&[
        (
            |p| {
                let op = bnn::program::CombineOp::Add;
                ops(p, "gate")[0] = EpilogueOp::Combine { op, operand: BufferId(2) };
            },
            "operand buffer 2 is [6, 6, 70], expected [3, 3, 70] or [1, 1, 70]",
        ),
        (
            |p| {
                let StepKind::Concat { inputs, .. } = step(p, "join") else { panic!() };
                inputs.pop();
            },
            "output buffer 8 is 3x3x78, expected 3x3x8",
        ),
        (
            |p| {
                let StepKind::Concat { inputs, .. } = step(p, "join") else { panic!() };
                inputs[1] = BufferId(1);
            },
            "buffer 1 is 6x6, expected 3x3 as the output",
        ),
        (
            |p| {
                let StepKind::Pad { pads, .. } = step(p, "pad") else { panic!() };
                pads[3] = 2;
            },
            "output buffer 9 is 5x5x78, expected 5x6x78",
        ),
        (
            |p| {
                let StepKind::Pad { channels, .. } = step(p, "pad") else { panic!() };
                *channels = [0, 1];
            },
            "'pad': pads [0, 1] channels of Bits",
        ),
        (
            |p| {
                let StepKind::Pad { pads, .. } = step(p, "widen") else { panic!() };
                *pads = [0, 0, 0, 1];
            },
            "'widen': pads [1, 2] channels of F32 and [0, 0, 0, 1] pixels",
        ),
        (
            |p| {
                let StepKind::Pad { channels, .. } = step(p, "widen") else { panic!() };
                *channels = [usize::MAX, 2];
            },
            "padding of 18446744073709551615",
        ),
        (
            |p| {
                let StepKind::Elementwise { flatten, .. } = step(p, "flat") else { panic!() };
                *flatten = false;
            },
            "constant 'flat.bias' has 36 elements, expected 1 or 1",
        ),
        (
            |p| {
                let StepKind::Softmax { input, .. } = step(p, "softmax") else { panic!() };
                *input = BufferId(0);
            },
            "expected 6x6x3",
        ),
    ]);
}

#[test]
fn gathers_stay_inside() {
    fn gather(p: &mut Program) -> (&mut Vec<usize>, &mut Vec<isize>, &mut usize) {
        match step(p, "flatten") {
            StepKind::Gather { dims, strides, offset, .. } => (dims, strides, offset),
            other => panic!("{other:?}"),
        }
    }
    check(&[
        (|p| *gather(p).2 = 419, "reads elements -1 to 628, expected 0 to 629"),
        (|p| *gather(p).2 = 421, "reads elements 1 to 630, expected 0 to 629"),
        (|p| *gather(p).2 = usize::MAX, "reads elements"),
        (|p| gather(p).1[0] = isize::MIN, "reads elements"),
        (|p| gather(p).1[0] = isize::MAX, "reads elements"),
        (|p| gather(p).1.truncate(2), "3 dims and 2 strides"),
        (|p| gather(p).0[0] = 69, "dims [69, 3, 3] do not have the 630 elements"),
        (|p| gather(p).0[0] = 0, "dims [0, 3, 3], expected 1 to"),
        (|p| *gather(p).0 = vec![usize::MAX; 3], "expected 1 to"),
    ]);
}

#[test]
fn preprocessing_is_sane() {
    check(&[
        (|p| preprocessing(p).range = 2.0, "preprocessing: range 2, expected 1 or 255"),
        (|p| preprocessing(p).range = f32::NAN, "range NaN"),
        (|p| preprocessing(p).std = vec![1.0, 0.0, 1.0], "std of 0"),
        (|p| preprocessing(p).std = vec![], "std has 0 entries, expected 1 or 3"),
        (|p| preprocessing(p).mean = vec![0.0, 1.0], "mean has 2 entries, expected 1 or 3"),
        (|p| preprocessing(p).mean[1] = f32::INFINITY, "mean of inf"),
        (|p| preprocessing(p).resize = Some(Resize::Shorter(0)), "a side of 0 pixels"),
        (
            |p| preprocessing(p).resize = Some(Resize::Exact { width: 1, height: 16385 }),
            "a side of 16385 pixels, expected 1 to 16384",
        ),
        (|p| preprocessing(p).crop = Some([224, 0]), "a side of 0 pixels"),
        (
            |p| preprocessing(p).channels = bnn::program::ChannelOrder::Gray,
            "mean has 3 entries, expected 1 or 1",
        ),
    ]);
}
