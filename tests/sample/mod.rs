//! Programs made by hand: every kind of step, tensor and metadata, with contents that depend on
//! nothing but this file.

// Every test crate uses its own part.
#![allow(dead_code, unreachable_pub)]

use bnn::program::{
    AffineTerms, Alphabet, AnchorMap, BinaryConv, BinaryOutput, Block, BlockPart, BlockTensor,
    Buffer, BufferId, BufferKind, ChannelOp, ChannelOrder, CombineOp, ConvGeometry, Detector,
    Epilogue, EpilogueOp, FloatConv, Interpolation, Metadata, PadValue, PoolGeometry, Port,
    Preprocessing, Program, Reduction, Resize, ResizeRounding, Step, StepKind, Tensor, TensorData,
    TensorId, TensorKind, UnaryFunction,
};

/// Puts programs together.
#[derive(Default)]
pub struct Builder {
    pub program: Program,
    state: u64,
}

impl Builder {
    pub fn new(name: &str) -> Self {
        Self { program: Program { name: name.into(), ..Program::default() }, state: 1 }
    }

    /// The next pseudo-random number (a linear congruential generator, upper bits).
    pub fn random(&mut self) -> u32 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 32) as u32
    }

    pub fn buffer(&mut self, kind: BufferKind, [height, width, channels]: [usize; 3]) -> BufferId {
        self.program.buffers.push(Buffer { kind, height, width, channels });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub fn f32_map(&mut self, size: [usize; 3]) -> BufferId {
        self.buffer(BufferKind::F32, size)
    }

    pub fn bits_map(&mut self, size: [usize; 3]) -> BufferId {
        self.buffer(BufferKind::Bits, size)
    }

    pub fn tensor(&mut self, name: &str, kind: TensorKind, shape: &[usize]) -> TensorId {
        let elements: usize = shape.iter().product();
        let data = match kind {
            TensorKind::F32 => {
                TensorData::F32((0..elements).map(|_| self.random() as i32 as f32 / 1e9).collect())
            }
            TensorKind::F16 => {
                // Between 1 and 2 in size, of either sign.
                let bits = (0..elements).map(|_| self.random() as u16 & 0x83ff | 0x3c00);
                TensorData::F16(bits.collect())
            }
            TensorKind::I32 => {
                TensorData::I32((0..elements).map(|_| self.random() as i32 % 1000).collect())
            }
            TensorKind::Bits => {
                let mut words: Vec<u64> = (0..elements.div_ceil(64))
                    .map(|_| u64::from(self.random()) << 32 | u64::from(self.random()))
                    .collect();
                if let Some(last) = words.last_mut()
                    && !elements.is_multiple_of(64)
                {
                    *last &= (1 << (elements % 64)) - 1;
                }
                TensorData::Bits(words)
            }
        };
        self.program.tensors.push(Tensor { name: name.into(), shape: shape.to_vec(), data });
        TensorId(self.program.tensors.len() as u32 - 1)
    }

    pub fn step(&mut self, name: &str, kind: StepKind) {
        self.program.steps.push(Step { name: name.into(), kind });
    }

    pub fn port(&self, name: &str, shape: &[usize], buffer: BufferId) -> Port {
        Port { name: name.into(), shape: shape.to_vec(), buffer }
    }
}

/// A convolution without stride, dilation or groups.
pub fn plain(
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; 2],
    pads: [usize; 4],
) -> ConvGeometry {
    ConvGeometry {
        in_channels,
        out_channels,
        kernel,
        stride: [1, 1],
        dilation: [1, 1],
        pads,
        groups: 1,
    }
}

fn halving() -> PoolGeometry {
    PoolGeometry { kernel: [2, 2], stride: [2, 2], dilation: [1, 1], pads: [0; 4] }
}

fn epilogue(ops: impl Into<Vec<EpilogueOp>>) -> Epilogue {
    Epilogue { ops: ops.into() }
}

fn store(output: BufferId) -> EpilogueOp {
    EpilogueOp::Store { output }
}

fn combine(op: CombineOp, operand: BufferId) -> EpilogueOp {
    EpilogueOp::Combine { op, operand }
}

/// One dense layer with a float weight, an integer threshold and a few bits: about a kilobyte.
pub fn tiny() -> Program {
    let mut b = Builder::new("tiny");
    let input = b.f32_map([1, 1, 3]);
    let bits = b.bits_map([1, 1, 5]);
    let signs = b.bits_map([1, 1, 2]);
    let output = b.f32_map([1, 1, 2]);
    let weights = b.tensor("a.w", TensorKind::F32, &[5, 1, 1, 3]);
    let thresholds = b.tensor("a.t", TensorKind::F32, &[1]);
    b.step(
        "a",
        StepKind::FloatConv {
            conv: FloatConv { input, geometry: plain(3, 5, [1, 1], [0; 4]), weights },
            epilogue: epilogue([EpilogueOp::StoreBits { thresholds, flip: None, output: bits }]),
        },
    );
    let weights = b.tensor("b.w", TensorKind::Bits, &[2, 1, 1, 5]);
    let thresholds = b.tensor("b.t", TensorKind::I32, &[2]);
    let conv = BinaryConv {
        input: bits,
        geometry: plain(5, 2, [1, 1], [0; 4]),
        pad: PadValue::Zero,
        alphabet: Alphabet::PlusMinus,
        weights,
        affine: None,
    };
    let to_bits = BinaryOutput::Threshold { thresholds, flip: None, output: signs };
    b.step("b", StepKind::BinaryConv { conv: conv.clone(), output: to_bits });
    let weights = b.tensor("c.w", TensorKind::Bits, &[2, 1, 1, 2]);
    let conv = BinaryConv { input: signs, geometry: plain(2, 2, [1, 1], [0; 4]), weights, ..conv };
    let floats = BinaryOutput::Float(epilogue([store(output)]));
    b.step("c", StepKind::BinaryConv { conv, output: floats });
    b.program.inputs = vec![b.port("x", &[3], input)];
    b.program.outputs = vec![b.port("y", &[2], output)];
    b.program
}

/// Two named blocks, of which one has an input that is kept in no buffer.
pub fn named() -> Program {
    let mut b = Builder::new("named");
    let input = b.f32_map([2, 2, 3]);
    let bits = b.bits_map([2, 2, 3]);
    let sums = b.f32_map([2, 2, 3]);
    let joined = b.f32_map([2, 2, 6]);
    let thresholds = b.tensor("sign.t", TensorKind::F32, &[1]);
    let ops = epilogue([EpilogueOp::StoreBits { thresholds, flip: None, output: bits }]);
    b.step("sign", StepKind::Elementwise { input, flatten: false, epilogue: ops });
    let weights = b.tensor("conv.w", TensorKind::Bits, &[3, 1, 1, 3]);
    let conv = BinaryConv {
        input: bits,
        geometry: plain(3, 3, [1, 1], [0; 4]),
        pad: PadValue::Zero,
        alphabet: Alphabet::PlusMinus,
        weights,
        affine: None,
    };
    let output = BinaryOutput::Float(epilogue([store(sums)]));
    b.step("conv", StepKind::BinaryConv { conv, output });
    b.step("join", StepKind::Concat { inputs: vec![input, sums], output: joined });
    b.program.inputs = vec![b.port("x", &[2, 2, 3], input)];
    b.program.outputs = vec![b.port("y", &[2, 2, 6], joined)];
    let part = |buffer| BlockPart { buffer, dims: vec![3, 2, 2], strides: vec![1, 6, 3] };
    let tensor = |parts: Vec<BlockPart>| BlockTensor { shape: vec![3 * parts.len(), 2, 2], parts };
    b.program.metadata.blocks = vec![
        Block {
            name: "unit".into(),
            input: Some(tensor(vec![part(input)])),
            output: Some(tensor(vec![part(input), part(sums)])),
        },
        Block { name: "unit.conv".into(), input: None, output: Some(tensor(vec![part(sums)])) },
    ];
    b.program
}

/// Every kind of step and of tensor once, with metadata.
pub fn complete() -> Program {
    let mut b = Builder::new("every step");
    let input = b.f32_map([6, 6, 3]);
    let signs = b.bits_map([6, 6, 70]);
    let floats = b.f32_map([6, 6, 70]);
    stem(&mut b, input, signs, floats);

    let strided = b.bits_map([3, 3, 8]);
    let small = b.f32_map([6, 6, 4]);
    binary_layers(&mut b, signs, strided, small);

    let maxima = b.f32_map([3, 3, 70]);
    let means = b.f32_map([1, 1, 70]);
    let pooled = b.bits_map([3, 3, 70]);
    let op = ChannelOp::Unary(UnaryFunction::Relu);
    b.step(
        "max",
        StepKind::MaxPool {
            input: floats,
            pool: halving(),
            epilogue: epilogue([EpilogueOp::Channel(op), store(maxima)]),
        },
    );
    b.step(
        "mean",
        StepKind::AveragePool {
            input: floats,
            pool: PoolGeometry { kernel: [6, 6], ..halving() },
            count_include_pad: false,
            epilogue: epilogue([store(means)]),
        },
    );
    let flip = Some(b.tensor("or.flip", TensorKind::Bits, &[70]));
    b.step("or", StepKind::MaxPoolBits { input: signs, pool: halving(), flip, output: pooled });

    let joined = b.bits_map([3, 3, 78]);
    let padded = b.bits_map([5, 5, 78]);
    b.step("join", StepKind::Concat { inputs: vec![strided, pooled], output: joined });
    let (pads, channels) = ([1; 4], [0, 0]);
    b.step("pad", StepKind::Pad { input: joined, output: padded, pads, channels, value: -1.0 });
    let dense = b.f32_map([1, 1, 10]);
    dense_layer(&mut b, padded, dense);

    let mean_map = b.f32_map([6, 6, 1]);
    b.step(
        "mean of channels",
        StepKind::ReduceChannels {
            input: small,
            reduction: Reduction::Mean,
            epilogue: epilogue([store(mean_map)]),
        },
    );
    let scaled = b.f32_map([3, 3, 70]);
    b.step(
        "gate",
        StepKind::Elementwise {
            input: maxima,
            flatten: false,
            epilogue: epilogue([combine(CombineOp::Multiply, means), store(scaled)]),
        },
    );
    // From height, width, channels to channels, height, width, rows bottom up.
    let flat = b.f32_map([1, 1, 630]);
    b.step(
        "flatten",
        StepKind::Gather {
            input: scaled,
            output: flat,
            dims: vec![70, 3, 3],
            strides: vec![1, -210, 70],
            offset: 420,
        },
    );
    let logits = b.f32_map([1, 1, 10]);
    let weights = b.tensor("fc1.weights", TensorKind::F16, &[10, 1, 1, 630]);
    b.step(
        "fc1",
        StepKind::FloatConv {
            conv: FloatConv { input: flat, geometry: plain(630, 10, [1, 1], [0; 4]), weights },
            epilogue: epilogue([combine(CombineOp::Add, dense), store(logits)]),
        },
    );
    let sums = b.f32_map([1, 1, 10]);
    let weights = b.tensor("fc2.weights", TensorKind::Bits, &[10, 6, 6, 1]);
    b.step(
        "fc2",
        StepKind::FloatConv {
            conv: FloatConv { input: mean_map, geometry: plain(1, 10, [6, 6], [0; 4]), weights },
            epilogue: epilogue([combine(CombineOp::SubtractFrom, logits), store(sums)]),
        },
    );
    let probabilities = b.f32_map([1, 1, 10]);
    b.step("softmax", StepKind::Softmax { input: sums, output: probabilities, log: true });

    // Two side branches that lead nowhere.
    let flat = b.f32_map([1, 1, 36]);
    let bias = b.tensor("flat.bias", TensorKind::F32, &[36]);
    let ops = epilogue([EpilogueOp::Channel(ChannelOp::Add(bias)), store(flat)]);
    b.step("flat", StepKind::Elementwise { input: mean_map, flatten: true, epilogue: ops });
    let widened = b.f32_map([6, 6, 4]);
    let (pads, channels) = ([0; 4], [1, 2]);
    b.step("widen", StepKind::Pad { input: mean_map, output: widened, pads, channels, value: 0.5 });

    b.program.inputs = vec![b.port("image", &[6, 6, 3], input)];
    b.program.outputs = vec![b.port("probabilities", &[10], probabilities)];
    b.program.metadata = metadata();
    b.program
}

/// Integers and floats side by side: compared, joined, compared again.
pub fn segmented() -> Program {
    let mut b = Builder::new("segments");
    let input = b.f32_map([3, 3, 5]);
    let signs = b.bits_map([3, 3, 5]);
    let thresholds = Some(b.tensor("sign.thresholds", TensorKind::F32, &[5]));
    b.step(
        "sign",
        StepKind::Threshold {
            inputs: vec![input],
            floats: thresholds,
            integers: None,
            flip: None,
            output: signs,
        },
    );
    let sums = b.buffer(BufferKind::I16, [3, 3, 60]);
    let weights = b.tensor("conv.weights", TensorKind::Bits, &[60, 3, 3, 5]);
    let conv = BinaryConv {
        input: signs,
        geometry: plain(5, 60, [3, 3], [1; 4]),
        pad: PadValue::Zero,
        alphabet: Alphabet::PlusMinus,
        weights,
        affine: None,
    };
    b.step("conv", StepKind::BinaryConv { conv, output: BinaryOutput::Integers { output: sums } });
    let bits = b.bits_map([3, 3, 65]);
    let floats = Some(b.tensor("unit.thresholds", TensorKind::F32, &[5]));
    let integers = Some(b.tensor("unit.integers", TensorKind::I32, &[60]));
    let flip = Some(b.tensor("unit.flip", TensorKind::Bits, &[65]));
    b.step(
        "unit",
        StepKind::Threshold { inputs: vec![input, sums], floats, integers, flip, output: bits },
    );
    let joined = b.f32_map([3, 3, 65]);
    b.step("join", StepKind::Concat { inputs: vec![input, sums], output: joined });
    let weights = b.tensor("dense.weights", TensorKind::Bits, &[2, 3, 3, 65]);
    let classes = b.f32_map([1, 1, 2]);
    let conv = BinaryConv {
        input: bits,
        geometry: plain(65, 2, [3, 3], [0; 4]),
        pad: PadValue::Zero,
        alphabet: Alphabet::PlusMinus,
        weights,
        affine: None,
    };
    let output = BinaryOutput::Float(epilogue([store(classes)]));
    b.step("dense", StepKind::BinaryConv { conv, output });
    b.program.inputs = vec![b.port("x", &[3, 3, 5], input)];
    b.program.outputs =
        vec![b.port("joined", &[3, 3, 65], joined), b.port("classes", &[2], classes)];
    b.program
}

fn stem(b: &mut Builder, input: BufferId, signs: BufferId, floats: BufferId) {
    let weights = b.tensor("stem.weights", TensorKind::F32, &[70, 3, 3, 3]);
    let scale = b.tensor("stem.scale", TensorKind::F32, &[1]);
    let bias = b.tensor("stem.bias", TensorKind::F32, &[70]);
    let thresholds = b.tensor("stem.thresholds", TensorKind::F32, &[70]);
    if let TensorData::F32(values) = &mut b.program.tensors[thresholds.index()].data {
        values[3] = f32::INFINITY;
        values[4] = f32::NEG_INFINITY;
    }
    let flip = Some(b.tensor("stem.flip", TensorKind::Bits, &[70]));
    b.step(
        "stem",
        StepKind::FloatConv {
            conv: FloatConv { input, geometry: plain(3, 70, [3, 3], [1; 4]), weights },
            epilogue: epilogue([
                EpilogueOp::Channel(ChannelOp::Multiply(scale)),
                EpilogueOp::Channel(ChannelOp::Add(bias)),
                EpilogueOp::StoreBits { thresholds, flip, output: signs },
                store(floats),
            ]),
        },
    );
}

fn binary_layers(b: &mut Builder, signs: BufferId, strided: BufferId, small: BufferId) {
    let weights = b.tensor("conv1.weights", TensorKind::Bits, &[8, 3, 3, 35]);
    let thresholds = b.tensor("conv1.thresholds", TensorKind::I32, &[8]);
    let flip = Some(b.tensor("conv1.flip", TensorKind::Bits, &[8]));
    b.step(
        "conv1",
        StepKind::BinaryConv {
            conv: BinaryConv {
                input: signs,
                geometry: ConvGeometry {
                    stride: [2, 2],
                    groups: 2,
                    ..plain(70, 8, [3, 3], [1, 1, 1, 1])
                },
                pad: PadValue::Plus,
                alphabet: Alphabet::PlusMinus,
                weights,
                affine: None,
            },
            output: BinaryOutput::Threshold { thresholds, flip, output: strided },
        },
    );
    let weights = b.tensor("conv2.weights", TensorKind::Bits, &[4, 3, 1, 70]);
    let mut term = |name: &str| b.tensor(&format!("conv2.{name}"), TensorKind::F32, &[4]);
    let affine = AffineTerms {
        dot: term("dot"),
        weight_sum: term("weight_sum"),
        input_sum: Some(term("input_sum")),
        count: term("count"),
    };
    b.step(
        "conv2",
        StepKind::BinaryConv {
            conv: BinaryConv {
                input: signs,
                geometry: ConvGeometry { dilation: [2, 1], ..plain(70, 4, [3, 1], [2, 0, 2, 0]) },
                pad: PadValue::Zero,
                alphabet: Alphabet::PlusMinus,
                weights,
                affine: Some(affine),
            },
            output: BinaryOutput::Float(epilogue([store(small)])),
        },
    );
}

fn dense_layer(b: &mut Builder, padded: BufferId, dense: BufferId) {
    let weights = b.tensor("dense.weights", TensorKind::Bits, &[10, 5, 5, 78]);
    let mut ops: Vec<_> = [
        ChannelOp::Subtract as fn(TensorId) -> ChannelOp<TensorId>,
        ChannelOp::SubtractFrom,
        ChannelOp::Divide,
        ChannelOp::DivideInto,
        ChannelOp::Minimum,
        ChannelOp::Maximum,
    ]
    .into_iter()
    .enumerate()
    .map(|(index, make)| {
        let length = if index % 2 == 0 { 1 } else { 10 };
        make(b.tensor(&format!("dense.constant{index}"), TensorKind::F32, &[length]))
    })
    .collect();
    let negative = b.tensor("dense.slope", TensorKind::F32, &[10]);
    ops.push(ChannelOp::TwoSlope { positive: None, negative });
    ops.push(ChannelOp::TwoSlope { positive: Some(negative), negative });
    ops.push(ChannelOp::Step { at_least: true, low: -0.1, high: 1.0e-38 });
    ops.push(ChannelOp::Unary(UnaryFunction::Softplus));
    let mut ops: Vec<_> = ops.into_iter().map(EpilogueOp::Channel).collect();
    ops.push(store(dense));
    b.step(
        "dense",
        StepKind::BinaryConv {
            conv: BinaryConv {
                input: padded,
                geometry: plain(78, 10, [5, 5], [0; 4]),
                pad: PadValue::Minus,
                alphabet: Alphabet::ZeroOne,
                weights,
                affine: None,
            },
            output: BinaryOutput::Float(epilogue(ops)),
        },
    );
}

/// A network for pictures of 8x6 pixels whose first map has an anchor at each pixel and whose second map has two at
/// each second one, for three classes. `split`: scores and offsets are two outputs.
pub fn detector(split: bool) -> Program {
    const ROWS: usize = 6;
    const COLUMNS: usize = 8;
    let mut b = Builder::new("detector");
    let input = b.f32_map([ROWS, COLUMNS, 3]);
    let mut outputs = Vec::new();
    let values: &[usize] = if split { &[4, 4] } else { &[8] };
    for (index, &values) in values.iter().enumerate() {
        // Two anchors for each pixel: 48 of the first map and 48 of the second one.
        let channels = 2 * values;
        let output = b.f32_map([ROWS, COLUMNS, channels]);
        let weights = b.tensor(&format!("{index}.w"), TensorKind::F32, &[channels, 1, 1, 3]);
        b.step(
            &format!("head.{index}"),
            StepKind::FloatConv {
                conv: FloatConv { input, geometry: plain(3, channels, [1, 1], [0; 4]), weights },
                epilogue: epilogue([store(output)]),
            },
        );
        outputs.push(b.port(&format!("y{index}"), &[2 * ROWS * COLUMNS, values], output));
    }
    b.program.inputs = vec![b.port("x", &[ROWS, COLUMNS, 3], input)];
    b.program.outputs = outputs;
    let metadata = &mut b.program.metadata;
    metadata.preprocessing = Some(Preprocessing {
        resize: Some(Resize::Exact { width: COLUMNS as u32, height: ROWS as u32 }),
        crop: None,
        interpolation: Interpolation::Bilinear,
        rounding: ResizeRounding::Round,
        channels: ChannelOrder::Rgb,
        range: 1.0,
        mean: vec![0.0],
        std: vec![1.0],
    });
    metadata.labels = ["cat", "dog", "bird"].map(str::to_owned).to_vec();
    let map = |size, step, shapes: &[[f32; 2]]| AnchorMap { size, step, shapes: shapes.to_vec() };
    metadata.detector = Some(Detector::new(vec![
        map([6, 8], [1.0, 1.0], &[[1.5, 2.0]]),
        map([3, 4], [2.0, 2.0], &[[3.0, 3.0], [2.0, 4.0], [4.0, 2.0], [5.0, 5.0]]),
    ]));
    b.program
}

fn metadata() -> Metadata {
    Metadata {
        preprocessing: Some(Preprocessing {
            resize: Some(Resize::Shorter(8)),
            crop: Some([6, 6]),
            interpolation: Interpolation::Bicubic,
            rounding: ResizeRounding::Floor,
            channels: ChannelOrder::Bgr,
            range: 255.0,
            mean: vec![103.939, 116.779, 123.68],
            std: vec![0.1],
        }),
        labels: ["tench", "crème brûlée", "\"quoted\"", "蜥蜴"].map(String::from).to_vec(),
        detector: None,
        outputs_are_probabilities: true,
        random_weights: true,
        blocks: Vec::new(),
    }
}
