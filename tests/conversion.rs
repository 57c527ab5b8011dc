//! Converted networks against the reference interpreter: small random networks of every shape that
//! the papers' networks are made of. Weights are ±1 and the interpreter adds up in the engine's
//! order, so the answers must agree to the bit, except where a float dense layer reads a flattened
//! map (the engine adds pixel by pixel, the graph channel by channel) or constants are not ±1.

use bnn::{
    Isa, Model, SessionOptions,
    compare::compare_layers,
    convert::{Conversion, ConvertError, ConvertOptions, convert},
    graph::{
        BinaryOp, ConvAttributes, Graph, Op, PoolAttributes, QuantAttributes, ReduceKind,
        RoundingMode, Tensor, UnaryOp, ValueId,
    },
    program::{BinaryOutput, BufferKind, StepKind},
    reference::{Interpreter, Products},
};
use proptest::{prelude::*, test_runner::RngSeed};

/// A source of test data that proptest can replay: all from one seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Uniform in -1..1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    fn signs(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| if self.chance(50) { 1.0 } else { -1.0 }).collect()
    }
}

/// Builds networks layer by layer, in channels-first order.
struct Network {
    graph: Graph,
    random: Random,
    names: usize,
}

impl Network {
    fn new(seed: u64) -> Self {
        Self { graph: Graph::new("test"), random: Random::new(seed), names: 0 }
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    fn constant(&mut self, shape: &[usize], values: Vec<f32>) -> ValueId {
        let name = self.name("constant");
        self.graph.add_constant(name, Tensor::from_f32(shape.to_vec(), values).unwrap())
    }

    fn integers(&mut self, values: &[i64]) -> ValueId {
        let name = self.name("integers");
        self.graph.add_constant(name, Tensor::from_i64(values.to_vec()))
    }

    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.name("node");
        self.graph.push_node(name, op, inputs.iter().copied())
    }

    fn unary(&mut self, op: UnaryOp, x: ValueId) -> ValueId {
        self.op(Op::Unary(op), &[x])
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary(op), &[a, b])
    }

    fn scalar(&mut self, op: BinaryOp, x: ValueId, value: f32) -> ValueId {
        let value = self.constant(&[], vec![value]);
        self.binary(op, x, value)
    }

    fn step(&mut self, x: ValueId) -> ValueId {
        self.op(Op::Step { at_least: true, low: -1.0, high: 1.0 }, &[x])
    }

    fn conv_with(&mut self, x: ValueId, weights: ValueId, conv: ConvAttributes) -> ValueId {
        self.op(Op::Conv(conv), &[x, weights])
    }

    /// A convolution with weights ±1, unbalanced in some filters.
    fn sign_conv(&mut self, x: ValueId, c: usize, o: usize, conv: ConvAttributes) -> ValueId {
        let [h, w] = conv.kernel;
        let shape = [o, c / conv.groups, h, w];
        let signs = self.random.signs(shape.iter().product());
        let weights = self.constant(&shape, signs);
        self.conv_with(x, weights, conv)
    }

    fn float_conv(&mut self, x: ValueId, c: usize, o: usize, conv: ConvAttributes) -> ValueId {
        let [h, w] = conv.kernel;
        let shape = [o, c / conv.groups, h, w];
        let values = self.random.floats(shape.iter().product());
        let weights = self.constant(&shape, values);
        self.conv_with(x, weights, conv)
    }

    /// Batch normalisation with gammas of both signs, some zero, some tiny.
    fn batch_norm(&mut self, x: ValueId, channels: usize, spread: f32) -> ValueId {
        let gamma: Vec<f32> = (0..channels)
            .map(|_| match self.random.below(12) {
                0 => 0.0,
                1 => 1e-6,
                2..=4 => -self.random.float().abs() - 0.1,
                _ => self.random.float().abs() + 0.1,
            })
            .collect();
        let beta: Vec<f32> = self.random.floats(channels);
        // Means that are integers make exact ties.
        let mean: Vec<f32> =
            (0..channels).map(|_| (self.random.float() * spread).round()).collect();
        let variance: Vec<f32> =
            (0..channels).map(|_| self.random.float().abs() * spread + 0.01).collect();
        let parameters =
            [gamma, beta, mean, variance].map(|values| self.constant(&[channels], values));
        let epsilon = if self.random.chance(50) { 1e-5 } else { 1e-3 };
        let [gamma, beta, mean, variance] = parameters;
        self.op(Op::BatchNormalization { epsilon }, &[x, gamma, beta, mean, variance])
    }

    fn clip(&mut self, x: ValueId, low: f32, high: f32) -> ValueId {
        let [low, high] = [low, high].map(|bound| self.constant(&[], vec![bound]));
        self.op(Op::Clip, &[x, low, high])
    }

    fn max_pool(&mut self, x: ValueId, kernel: usize, stride: usize, pad: usize) -> ValueId {
        self.op(Op::MaxPool(pool(kernel, stride, pad)), &[x])
    }

    fn prelu(&mut self, x: ValueId, channels: usize) -> ValueId {
        let slopes: Vec<f32> = self.random.floats(channels).iter().map(|s| s.abs()).collect();
        let slopes = self.constant(&[channels, 1, 1], slopes);
        self.op(Op::PRelu, &[x, slopes])
    }

    fn per_channel_add(&mut self, x: ValueId, channels: usize) -> ValueId {
        let shift = self.random.floats(channels);
        let shift = self.constant(&[1, channels, 1, 1], shift);
        self.binary(BinaryOp::Add, x, shift)
    }

    fn classifier(&mut self, x: ValueId, features: usize, classes: usize) -> ValueId {
        let flat = self.op(Op::Flatten { axis: 1 }, &[x]);
        let weights = self.random.floats(features * classes);
        let weights = self.constant(&[classes, features], weights);
        let bias = self.random.floats(classes);
        let bias = self.constant(&[classes], bias);
        let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        self.op(gemm, &[flat, weights, bias])
    }
}

fn conv(kernel: usize, stride: usize, pad: usize) -> ConvAttributes {
    ConvAttributes {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pads: [pad; 4],
        groups: 1,
    }
}

fn pool(kernel: usize, stride: usize, pad: usize) -> PoolAttributes {
    PoolAttributes {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pads: [pad; 4],
        ceil_mode: false,
        count_include_pad: false,
    }
}

/// What the case expects of the comparison.
#[derive(Clone, Copy)]
enum Agreement {
    Exact,
    /// Of the largest output.
    Within(f32),
}

/// Converts the network, runs both on random inputs and compares on every instruction set.
fn check(mut network: Network, output: ValueId, agreement: Agreement) -> Conversion {
    network.graph.outputs.push(output);
    let graph = network.graph;
    let options = ConvertOptions { strict: true, ..ConvertOptions::default() };
    let conversion = convert(graph.clone(), &options).expect("the network converts");
    conversion.program.validate().expect("the program is valid");
    let bytes = bnn::format::write(&conversion.program).expect("the program can be written");
    let model = Model::from_bytes(&bytes).expect("the file can be read");
    let shape = graph.inputs[0].shape.clone();
    for _ in 0..2 {
        let input = network.random.floats(shape.iter().product());
        let tensor = Tensor::from_f32(shape.clone(), input.clone()).unwrap();
        let answers = |products| {
            let interpreter = Interpreter::new(&graph).with_products(products);
            interpreter.run(std::slice::from_ref(&tensor)).unwrap().remove(0)
        };
        let answers = [answers(Products::Fused), answers(Products::Rounded)];
        for isa in Isa::available() {
            let expected = answers[usize::from(!isa.fuses_multiply_add())].f32().unwrap();
            let largest = expected.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            let options = SessionOptions { isa: Some(isa), ..SessionOptions::default() };
            let mut session = model.session(&options).expect("a session");
            let found = session.run(&input).expect("the model runs");
            assert_eq!(found.len(), expected.len());
            for (index, (f, e)) in found.iter().zip(expected).enumerate() {
                let agrees = match agreement {
                    Agreement::Exact => f == e,
                    Agreement::Within(tolerance) => (f - e).abs() <= tolerance * largest,
                };
                assert!(agrees, "{isa}: output {index} is {f}, expected {e}");
            }
        }
    }
    let rows = [vec![network.random.floats(shape.iter().product())]];
    let options = SessionOptions::default();
    let comparison = compare_layers(&graph, &conversion.trace, &model, &rows, &options).unwrap();
    assert!(comparison.passed, "{:#?}", comparison.first_failure());
    conversion
}

/// How many layers write bits by an integer threshold.
fn thresholded(conversion: &Conversion) -> usize {
    let is_threshold = |kind: &StepKind| {
        matches!(kind, StepKind::BinaryConv { output: BinaryOutput::Threshold { .. }, .. })
    };
    conversion.program.steps.iter().filter(|step| is_threshold(&step.kind)).count()
}

/// Cases of each property: what the environment says, or else so many.
fn cases(default: u32) -> u32 {
    let given = std::env::var("PROPTEST_CASES").ok();
    given.and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

/// An output that is another one in another shape is written beside it.
#[test]
fn outputs_may_be_views_of_one_map() {
    let mut network = Network::new(3);
    let x = network.graph.add_input("x", vec![1, 2, 2, 2]);
    let y = network.unary(UnaryOp::Relu, x);
    let flat = network.op(Op::Flatten { axis: 1 }, &[y]);
    let turned = network.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
    network.graph.outputs = vec![y, flat, turned];
    let conversion = convert(network.graph, &ConvertOptions::default()).unwrap();
    let model = Model::from_program(conversion.program).unwrap();
    let shapes: Vec<&[usize]> = model.outputs().iter().map(|port| &port.shape[..]).collect();
    assert_eq!(shapes, [&[2, 2, 2][..], &[8], &[2, 2, 2]]);
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let mut outputs = [[0.0; 8]; 3];
    let [a, b, c] = &mut outputs;
    let input = [1.0, -2.0, 3.0, 4.0, 5.0, 6.0, -7.0, 8.0];
    session.run_into(&[&input], &mut [a, b, c]).unwrap();
    let plain = [1.0, 0.0, 3.0, 4.0, 5.0, 6.0, 0.0, 8.0];
    assert_eq!(outputs, [plain, plain, [1.0, 5.0, 0.0, 6.0, 3.0, 0.0, 4.0, 8.0]]);
}

proptest! {
    // The same cases every time, so that a change is judged by what it changed; other ones where their
    // number is given.
    #![proptest_config(ProptestConfig {
        rng_seed: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => RngSeed::Random,
            None => RngSeed::Fixed(1),
        },
        ..ProptestConfig::with_cases(cases(12))
    })]

    /// BN and sign behind every convolution: nothing but thresholds between first and last layer.
    #[test]
    fn vgg_like(seed: u64, c in 1_usize..40, o in 1_usize..70, pad in 0_usize..3, before: bool) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 3, 9, 8]);
        let x = n.float_conv(x, 3, c, conv(3, 1, 1));
        let x = n.batch_norm(x, c, 1.0);
        let x = n.step(x);
        let x = n.sign_conv(x, c, o, conv(3, 1, pad));
        let x = if before { n.batch_norm(x, o, 9.0) } else { x };
        let x = n.max_pool(x, 2, 2, 0);
        let x = n.batch_norm(x, o, 9.0);
        let x = n.step(x);
        let x = n.sign_conv(x, o, c, conv(3, 2, 1));
        let x = n.per_channel_add(x, c);
        let x = n.prelu(x, c);
        let x = n.step(x);
        let x = n.sign_conv(x, c, 5, conv(1, 1, 0));
        let x = n.op(Op::GlobalAveragePool, &[x]);
        let x = n.classifier(x, 5, 4);
        let conversion = check(n, x, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 3);
        prop_assert_eq!(conversion.report.float_layers, 2);
        // A zero gamma before the pool hides the direction; that one may stay float.
        prop_assert!(thresholded(&conversion) > usize::from(!before));
    }

    /// A real-valued shortcut between BN and the next sign, with RSign and RPReLU.
    #[test]
    fn bi_real_and_react(seed: u64, c in 1_usize..70, react: bool) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 3, 8, 8]);
        let mut x = n.float_conv(x, 3, c, conv(3, 1, 1));
        for stride in [1, 1, 2] {
            let shifted = if react { n.per_channel_add(x, c) } else { x };
            let s = n.step(shifted);
            let y = n.sign_conv(s, c, c, conv(3, stride, 1));
            let y = n.batch_norm(y, c, 5.0);
            let shortcut = if stride == 2 {
                let p = n.op(Op::AveragePool(pool(2, 2, 0)), &[x]);
                let p = n.float_conv(p, c, c, conv(1, 1, 0));
                n.batch_norm(p, c, 1.0)
            } else {
                x
            };
            let y = n.binary(BinaryOp::Add, y, shortcut);
            x = if react {
                let y = n.per_channel_add(y, c);
                let y = n.prelu(y, c);
                n.per_channel_add(y, c)
            } else {
                y
            };
        }
        let x = n.op(Op::GlobalAveragePool, &[x]);
        let x = n.classifier(x, c, 3);
        let conversion = check(n, x, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 3);
    }

    /// BN, sign and convolution on a concatenation that grows.
    #[test]
    fn dense_blocks(seed: u64, c in 1_usize..40, growth in 1_usize..40) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 3, 7, 6]);
        let mut x = n.float_conv(x, 3, c, conv(3, 1, 1));
        let mut channels = c;
        for _ in 0..3 {
            let y = n.batch_norm(x, channels, 3.0);
            let y = n.step(y);
            let y = n.sign_conv(y, channels, growth, conv(3, 1, 1));
            x = n.op(Op::Concat { axis: 1 }, &[x, y]);
            channels += growth;
        }
        let x = n.batch_norm(x, channels, 3.0);
        let x = n.unary(UnaryOp::Relu, x);
        let x = n.max_pool(x, 3, 2, 1);
        let x = n.classifier(x, channels * 12, 6);
        let conversion = check(n, x, Agreement::Within(1e-5));
        prop_assert_eq!(conversion.report.binary_layers, 3);
    }

    /// Pads of ones in front of the sign, as BMXNet has them, of either value.
    #[test]
    fn padding_before_the_sign(seed: u64, c in 1_usize..70, value in prop::sample::select(vec![0.0_f32, -1.0, 2.0])) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 6, 5]);
        let pads = n.integers(&[0, 0, 1, 2, 0, 0, 1, 0]);
        let constant = n.constant(&[1], vec![value]);
        let padded = n.op(Op::Pad, &[x, pads, constant]);
        let zero = n.constant(&[1], vec![0.0]);
        let high = n.constant(&[1], vec![1.0]);
        let low = n.constant(&[1], vec![-1.0]);
        let condition = n.binary(BinaryOp::GreaterOrEqual, padded, zero);
        let s = n.op(Op::Where, &[condition, high, low]);
        let y = n.sign_conv(s, c, 9, conv(3, 1, 0));
        let plain = n.binary(BinaryOp::GreaterOrEqual, x, zero);
        let s = n.op(Op::Where, &[plain, high, low]);
        let z = n.sign_conv(s, c, 9, conv(1, 1, 0));
        let z = n.op(Op::GlobalAveragePool, &[z]);
        let taps = n.constant(&[1], vec![9.0 * c as f32]);
        let y = n.binary(BinaryOp::Add, y, taps);
        let y = n.scalar(BinaryOp::Mul, y, 0.5);
        let y = n.binary(BinaryOp::Mul, y, z);
        let y = n.classifier(y, 9 * 30, 3);
        let conversion = check(n, y, Agreement::Within(1e-5));
        prop_assert_eq!(conversion.report.binary_layers, 2);
    }

    /// Values {0, 1} and {0, s}: zero padding is an ordinary bit.
    #[test]
    fn zero_one_activations(seed: u64, c in 1_usize..70, scale in prop::sample::select(vec![1.0_f32, 0.5, 2.0])) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 6, 5]);
        let half = n.constant(&[], vec![0.25]);
        let bits = n.binary(BinaryOp::Greater, x, half);
        let bits = n.op(Op::Cast { to: bnn::graph::DataType::F32 }, &[bits]);
        let bits = n.scalar(BinaryOp::Mul, bits, scale);
        let y = n.sign_conv(bits, c, 33, conv(3, 1, 1));
        let y = n.batch_norm(y, 33, 5.0);
        let y = n.scalar(BinaryOp::Sub, y, 0.5);
        let y = n.step(y);
        let y = n.sign_conv(y, 33, 7, conv(3, 1, 1));
        let y = n.classifier(y, 7 * 30, 3);
        let conversion = check(n, y, Agreement::Within(1e-5));
        prop_assert_eq!(conversion.report.binary_layers, 2);
        prop_assert_eq!(thresholded(&conversion), 1);
    }

    /// Scales and centres on weights and activations (AdaBin), with zero padding behind them. The
    /// affine form rounds elsewhere than a sum of floats, and batch normalisation magnifies that.
    #[test]
    fn any_scale_and_centre(seed: u64, c in 1_usize..40, negative: bool) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 7, 5]);
        let alpha = if negative { -0.7 } else { 1.3 };
        let shifted = n.scalar(BinaryOp::Sub, x, 0.125);
        let scaled = n.scalar(BinaryOp::Div, shifted, alpha);
        let s = n.unary(UnaryOp::Sign, scaled);
        let s = n.scalar(BinaryOp::Add, s, 0.125);
        let s = n.scalar(BinaryOp::Mul, s, alpha);
        let signs = n.random.signs(9 * c * 6);
        let signs = n.constant(&[6, c, 3, 3], signs);
        let scale = n.random.floats(6);
        let scale = n.constant(&[6, 1, 1, 1], scale);
        let centre = n.random.floats(6);
        let centre = n.constant(&[6, 1, 1, 1], centre);
        let weights = n.binary(BinaryOp::Mul, signs, scale);
        let weights = n.binary(BinaryOp::Add, weights, centre);
        let y = n.conv_with(s, weights, conv(3, 1, 1));
        let y = n.batch_norm(y, 6, 4.0);
        let relu = n.unary(UnaryOp::Relu, y);
        let positive = n.scalar(BinaryOp::Mul, relu, 0.9);
        let mirrored = n.unary(UnaryOp::Neg, y);
        let mirrored = n.unary(UnaryOp::Relu, mirrored);
        let negative = n.scalar(BinaryOp::Mul, mirrored, -0.2);
        let y = n.binary(BinaryOp::Sub, positive, negative);
        let y = n.classifier(y, 6 * 35, 3);
        let conversion = check(n, y, Agreement::Within(1e-4));
        prop_assert_eq!(conversion.report.binary_layers, 1);
    }

    /// Keras graphs: channels last, with transpositions around every convolution, and dense layers
    /// on a map flattened in that order.
    #[test]
    fn channels_last(seed: u64, c in 1_usize..70) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 6, 5, 3]);
        let to_first = Op::Transpose { perm: vec![0, 3, 1, 2] };
        let to_last = Op::Transpose { perm: vec![0, 2, 3, 1] };
        let x = n.op(to_first.clone(), &[x]);
        let x = n.sign_conv(x, 3, c, conv(3, 1, 0));
        let x = n.op(to_last.clone(), &[x]);
        let x = n.unary(UnaryOp::Sign, x);
        let x = n.scalar(BinaryOp::Add, x, 0.1);
        let x = n.unary(UnaryOp::Sign, x);
        let x = n.op(to_first, &[x]);
        let x = n.sign_conv(x, c, 11, conv(2, 1, 0));
        let x = n.op(to_last, &[x]);
        let shape = n.integers(&[-1, 3 * 2 * 11]);
        let x = n.op(Op::Reshape { allow_zero: false }, &[x, shape]);
        let x = n.unary(UnaryOp::Sign, x);
        let x = n.scalar(BinaryOp::Add, x, 0.1);
        let x = n.unary(UnaryOp::Sign, x);
        let weights = n.random.signs(66 * 10);
        let weights = n.constant(&[66, 10], weights);
        let x = n.op(Op::MatMul, &[x, weights]);
        let x = n.op(Op::Softmax { axis: -1 }, &[x]);
        let conversion = check(n, x, Agreement::Within(1e-6));
        prop_assert_eq!(conversion.report.binary_layers, 2);
        prop_assert!(conversion.program.metadata.outputs_are_probabilities);
    }

    /// Binary dense layers on a flattened picture, folded scales, a scalar tail.
    #[test]
    fn dense_networks(seed: u64, hidden in 1_usize..150) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 1, 9, 7]);
        let x = n.op(Op::Flatten { axis: 1 }, &[x]);
        let x = n.scalar(BinaryOp::Sub, x, 0.25);
        let x = n.step(x);
        let weights = n.random.signs(63 * hidden);
        let weights = n.constant(&[63, hidden], weights);
        let x = n.op(Op::MatMul, &[x, weights]);
        let x = n.batch_norm(x, hidden, 9.0);
        let x = n.step(x);
        let weights: Vec<f32> = n.random.signs(hidden * 6).iter().map(|s| s * 0.25).collect();
        let weights = n.constant(&[6, hidden], weights);
        let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let x = n.op(gemm, &[x, weights]);
        let conversion = check(n, x, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
        prop_assert_eq!(thresholded(&conversion), 1);
    }

    /// Grouped, depth-wise, dilated and strided layers with asymmetric pads.
    #[test]
    fn odd_convolutions(
        seed: u64,
        groups in 1_usize..5,
        per_group in 1_usize..20,
        pads in prop::array::uniform4(0_usize..3),
        dilation in 1_usize..3,
        stride in 1_usize..3,
    ) {
        let c = groups * per_group;
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 9, 8]);
        let s = n.step(x);
        let attributes = ConvAttributes {
            kernel: [3, 2],
            stride: [stride, 1],
            dilation: [dilation, 1],
            pads,
            groups,
        };
        let y = n.sign_conv(s, c, groups * 3, attributes.clone());
        let y = n.batch_norm(y, groups * 3, 3.0);
        let depth_wise = ConvAttributes { groups: c, ..attributes };
        let z = n.sign_conv(s, c, c, depth_wise);
        let y = n.op(Op::Concat { axis: 1 }, &[y, z]);
        let axes = n.integers(&[2, 3]);
        let y = n.op(Op::Reduce { kind: ReduceKind::Mean, keep_dims: false }, &[y, axes]);
        let conversion = check(n, y, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
    }

    /// Option-A shortcuts: every second pixel, zero channels on both sides; channel shuffles.
    #[test]
    fn moved_data(seed: u64, c in 1_usize..30) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 2 * c, 7, 6]);
        let bounds = [&[0, 0][..], &[i64::MAX, i64::MAX], &[2, 3], &[2, 2]].map(|v| n.integers(v));
        let [starts, ends, axes, steps] = bounds;
        let sliced = n.op(Op::Slice, &[x, starts, ends, axes, steps]);
        let pads = n.integers(&[0, c as i64, 0, 0, 0, c as i64, 0, 0]);
        let widened = n.op(Op::Pad, &[sliced, pads]);
        let s = n.step(x);
        let y = n.sign_conv(s, 2 * c, 4 * c, conv(3, 2, 1));
        let y = n.binary(BinaryOp::Add, y, widened);
        let shape = n.integers(&[1, 2, 2 * c as i64, 4, 3]);
        let y = n.op(Op::Reshape { allow_zero: false }, &[y, shape]);
        let y = n.op(Op::Transpose { perm: vec![0, 2, 1, 3, 4] }, &[y]);
        let shape = n.integers(&[1, 4 * c as i64, 4, 3]);
        let y = n.op(Op::Reshape { allow_zero: false }, &[y, shape]);
        let y = n.float_conv(y, 4 * c, 2, conv(1, 1, 0));
        check(n, y, Agreement::Exact);
    }

    /// Activations of two to four bits, as DoReFa and QONNX write them, with scales that keep sums
    /// exact: planes of bits.
    #[test]
    fn activations_of_several_bits(
        seed: u64,
        c in 1_usize..70,
        bits in 2_u32..5,
        signed: bool,
        narrow: bool,
        pooled: bool,
    ) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 6, 5]);
        let highest = (1 << bits) as f32 - 1.0;
        let x = n.scalar(BinaryOp::Mul, x, 1.5);
        let x = n.clip(x, 0.0, 1.0);
        let x = n.scalar(BinaryOp::Mul, x, highest);
        let x = n.unary(UnaryOp::Round, x);
        let x = n.scalar(BinaryOp::Mul, x, 0.25);
        let y = n.sign_conv(x, c, 33, conv(3, 1, 1));
        let y = n.batch_norm(y, 33, 3.0);
        let y = n.scalar(BinaryOp::Mul, y, 2.0);
        let quantiser = QuantAttributes { signed, narrow, rounding: RoundingMode::Round };
        let parameters = [0.5, 0.0, bits as f32].map(|value| n.constant(&[], vec![value]));
        let [scale, zero_point, bit_width] = parameters;
        let y = n.op(Op::Quant(quantiser), &[y, scale, zero_point, bit_width]);
        let y = if pooled { n.max_pool(y, 2, 1, 0) } else { y };
        let y = n.sign_conv(y, 33, 7, conv(3, 2, 1));
        let y = n.op(Op::Flatten { axis: 1 }, &[y]);
        let y = n.clip(y, -3.0, 4.0);
        let y = n.unary(UnaryOp::Floor, y);
        let features = if pooled { 7 * 3 * 2 } else { 7 * 3 * 3 };
        let weights = n.random.signs(features * 5);
        let weights = n.constant(&[features, 5], weights);
        let y = n.op(Op::MatMul, &[y, weights]);
        let conversion = check(n, y, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 3);
    }

    /// Ternary activations with a threshold that depends on the data (TBN), and ternary ones of two
    /// comparisons (BinaryDuo before decoupling).
    #[test]
    fn ternary_activations(seed: u64, log_c in 0_u32..7) {
        let c = 1 << log_c;
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 8, 4]);
        // Eighths: their mean is exact.
        let x = n.scalar(BinaryOp::Mul, x, 8.0);
        let x = n.unary(UnaryOp::Round, x);
        let x = n.scalar(BinaryOp::Div, x, 8.0);
        let magnitudes = n.unary(UnaryOp::Abs, x);
        let axes = n.integers(&[1, 2, 3]);
        let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true };
        let mean = n.op(mean, &[magnitudes, axes]);
        let delta = n.scalar(BinaryOp::Mul, mean, 0.4);
        let negative = n.unary(UnaryOp::Neg, delta);
        let above = n.binary(BinaryOp::Greater, x, delta);
        let below = n.binary(BinaryOp::Less, x, negative);
        let to_float = Op::Cast { to: bnn::graph::DataType::F32 };
        let above = n.op(to_float.clone(), &[above]);
        let below = n.op(to_float.clone(), &[below]);
        let t = n.binary(BinaryOp::Sub, above, below);
        let y = n.sign_conv(t, c, 20, conv(3, 1, 1));
        let y = n.batch_norm(y, 20, 5.0);
        let low = n.constant(&[], vec![0.25]);
        let high = n.constant(&[], vec![0.75]);
        let one = n.binary(BinaryOp::GreaterOrEqual, y, low);
        let two = n.binary(BinaryOp::GreaterOrEqual, y, high);
        let one = n.op(to_float.clone(), &[one]);
        let two = n.op(to_float, &[two]);
        let t = n.binary(BinaryOp::Add, one, two);
        let t = n.scalar(BinaryOp::Mul, t, 0.5);
        let y = n.sign_conv(t, 20, 6, conv(3, 1, 1));
        let conversion = check(n, y, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
    }

    /// The K map of XNOR-Net, HORQ's two signs with scales of the data, and a product of a row of
    /// channels with a plane of pixels.
    #[test]
    fn scales_that_depend_on_the_data(seed: u64, log_c in 0_u32..6) {
        let c = 1 << log_c;
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 8, 4]);
        let x = n.scalar(BinaryOp::Mul, x, 8.0);
        let x = n.unary(UnaryOp::Round, x);
        let magnitudes = n.unary(UnaryOp::Abs, x);
        let channels = n.integers(&[1]);
        let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true };
        let a = n.op(mean.clone(), &[magnitudes, channels]);
        let box_filter = PoolAttributes { count_include_pad: true, ..pool(3, 1, 1) };
        let k = n.op(Op::AveragePool(box_filter), &[a]);
        let shifted = n.scalar(BinaryOp::Add, x, 0.5);
        let s = n.step(shifted);
        let y = n.sign_conv(s, c, 12, conv(3, 1, 1));
        let y = n.binary(BinaryOp::Mul, y, k);
        let everything = n.integers(&[1, 2, 3]);
        let beta = n.op(mean, &[magnitudes, everything]);
        let z = n.sign_conv(s, c, 12, conv(1, 1, 0));
        let z = n.binary(BinaryOp::Mul, z, beta);
        let y = n.binary(BinaryOp::Add, z, y);
        let row = n.op(Op::GlobalAveragePool, &[y]);
        let gate = n.binary(BinaryOp::Mul, row, k);
        let y = n.binary(BinaryOp::Add, y, gate);
        let conversion = check(n, y, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
    }

    /// BinaryDuo after decoupling: every output feeds two thresholds, and no copy exists as floats.
    #[test]
    fn duplicated_channels(seed: u64, c in 1_usize..50) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 3, 7, 6]);
        let x = n.sign_conv(x, 3, c, conv(3, 1, 1));
        let mut x = n.op(Op::Concat { axis: 1 }, &[x, x]);
        for _ in 0..2 {
            let y = n.batch_norm(x, 2 * c, 3.0);
            let half = n.constant(&[1], vec![0.5]);
            let y = n.binary(BinaryOp::GreaterOrEqual, y, half);
            let y = n.op(Op::Cast { to: bnn::graph::DataType::F32 }, &[y]);
            let y = n.sign_conv(y, 2 * c, c, conv(3, 1, 1));
            x = n.op(Op::Concat { axis: 1 }, &[y, y]);
        }
        let x = n.op(Op::GlobalAveragePool, &[x]);
        let conversion = check(n, x, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
        let program = &conversion.program;
        let joined_floats = program.steps.iter().filter(|step| {
            matches!(&step.kind, StepKind::Concat { output, .. }
                if program.buffer(*output).kind == BufferKind::F32)
        });
        // Only the last copy, which is averaged, is one of floats.
        prop_assert_eq!(joined_floats.count(), 1);
    }

    /// Channel shuffles and splits behind a sign (ShuffleNet), with grouped and depth-wise layers.
    #[test]
    fn rearranged_signs(seed: u64, per_group in 1_usize..20) {
        let c = 2 * per_group;
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, 3, 6, 5]);
        let x = n.sign_conv(x, 3, c, conv(3, 1, 1));
        let s = n.step(x);
        let shape = n.integers(&[1, 2, per_group as i64, 6, 5]);
        let y = n.op(Op::Reshape { allow_zero: false }, &[s, shape]);
        let y = n.op(Op::Transpose { perm: vec![0, 2, 1, 3, 4] }, &[y]);
        let shape = n.integers(&[1, c as i64, 6, 5]);
        let y = n.op(Op::Reshape { allow_zero: false }, &[y, shape]);
        let depth_wise = ConvAttributes { groups: c, ..conv(3, 1, 1) };
        let y = n.sign_conv(y, c, c, depth_wise);
        let bounds = [per_group as i64, c as i64, 1].map(|bound| n.integers(&[bound]));
        let [start, end, axis] = bounds;
        let part = n.op(Op::Slice, &[s, start, end, axis]);
        let z = n.sign_conv(part, per_group, c, conv(3, 1, 1));
        let y = n.binary(BinaryOp::Add, y, z);
        let conversion = check(n, y, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
    }

    /// Every rounding of QONNX, `Trunc`, and a quantiser given as thresholds.
    #[test]
    fn quantisers(
        seed: u64,
        c in 1_usize..20,
        rounding in prop::sample::select(vec![
            RoundingMode::Round,
            RoundingMode::Ceil,
            RoundingMode::Floor,
            RoundingMode::Up,
            RoundingMode::Down,
            RoundingMode::HalfUp,
            RoundingMode::HalfDown,
        ]),
    ) {
        let mut n = Network::new(seed);
        let x = n.graph.add_input("x", vec![1, c, 5, 5]);
        // Quarters, so that halves occur.
        let x = n.scalar(BinaryOp::Mul, x, 12.0);
        let x = n.unary(UnaryOp::Round, x);
        let x = n.scalar(BinaryOp::Div, x, 4.0);
        let parameters = [0.5, 1.0, 3.0, 8.0].map(|value| n.constant(&[], vec![value]));
        let [scale, zero_point, three, eight] = parameters;
        let quantiser = QuantAttributes { signed: true, narrow: false, rounding };
        let y = n.op(Op::Quant(quantiser), &[x, scale, zero_point, three]);
        let y = n.sign_conv(y, c, 9, conv(3, 1, 1));
        let z = n.op(Op::Trunc { rounding }, &[y, scale, zero_point, eight, three]);
        let mut thresholds: Vec<f32> = Vec::new();
        for _ in 0..9 {
            let mut row = n.random.floats(3).into_iter().map(|t| (t * 9.0).round()).collect::<Vec<_>>();
            row.sort_by(f32::total_cmp);
            thresholds.extend(row);
        }
        let thresholds = n.constant(&[9, 3], thresholds);
        let y = n.op(Op::MultiThreshold { out_scale: 0.5, out_bias: -0.25 }, &[z, thresholds]);
        let y = n.sign_conv(y, 9, 4, conv(3, 1, 1));
        let conversion = check(n, y, Agreement::Exact);
        prop_assert_eq!(conversion.report.binary_layers, 2);
    }
}

/// Maps of one channel, whose channel dimension has no extent in memory, can be joined and read.
#[test]
fn one_channel_maps_are_joined() {
    let mut n = Network::new(5);
    let x = n.graph.add_input("x", vec![1, 1, 5, 4]);
    let s = n.step(x);
    let y = n.sign_conv(s, 1, 1, conv(3, 1, 1));
    let y = n.op(Op::Concat { axis: 1 }, &[x, y]);
    let z = n.batch_norm(y, 2, 3.0);
    let s = n.step(z);
    let z = n.sign_conv(s, 2, 3, conv(3, 1, 1));
    let y = n.op(Op::Concat { axis: 1 }, &[x, z]);
    let conversion = check(n, y, Agreement::Exact);
    assert_eq!(conversion.report.binary_layers, 2);
}

/// Two values that differ from channel to channel are not the two of the first channel.
#[test]
fn signs_scaled_per_channel_stay_floats() {
    for normalised in [false, true] {
        let mut n = Network::new(8);
        let x = n.graph.add_input("x", vec![1, 4, 5, 3]);
        let x = n.op(Op::Step { at_least: true, low: 0.0, high: 1.0 }, &[x]);
        let x = if normalised {
            n.batch_norm(x, 4, 1.0)
        } else {
            let scales = n.constant(&[1, 4, 1, 1], vec![0.5, 1.0, -2.0, 0.25]);
            n.binary(BinaryOp::Mul, x, scales)
        };
        let y = n.sign_conv(x, 4, 3, conv(3, 1, 1));
        let conversion = check(n, y, Agreement::Within(1e-6));
        assert_eq!(conversion.report.binary_layers, 0);
    }
}

/// A sign of scaled signs: in some channels it is always the same, in some the other way round.
#[test]
fn signs_of_scaled_signs() {
    for behind_layer in [false, true] {
        let mut n = Network::new(3);
        let x = n.graph.add_input("x", vec![1, 6, 5, 4]);
        let x = if behind_layer { n.float_conv(x, 6, 6, conv(1, 1, 0)) } else { x };
        let x = n.op(Op::Step { at_least: true, low: 0.0, high: 1.0 }, &[x]);
        let x = n.scalar(BinaryOp::Mul, x, 2.0);
        let x = n.scalar(BinaryOp::Sub, x, 1.0);
        let scales = n.constant(&[1, 6, 1, 1], vec![1.0, -1.0, 0.0, 0.0, 0.25, -0.25]);
        let x = n.binary(BinaryOp::Mul, x, scales);
        let shifts = n.constant(&[1, 6, 1, 1], vec![0.0, 0.0, 0.0, -1.0, 0.5, -0.5]);
        let x = n.binary(BinaryOp::Add, x, shifts);
        let x = n.step(x);
        let y = n.sign_conv(x, 6, 9, conv(1, 1, 0));
        let conversion = check(n, y, Agreement::Exact);
        assert_eq!(conversion.report.binary_layers, 1);
    }
}

/// Padding with zeros of a sign's result, in front of layers that pad themselves.
#[test]
fn zero_padding_goes_into_the_layer() {
    for channels_last in [false, true] {
        let mut n = Network::new(3);
        let shape = if channels_last { vec![1, 5, 4, 6] } else { vec![1, 6, 5, 4] };
        let x = n.graph.add_input("x", shape);
        let x = n.step(x);
        let x = if channels_last {
            let pads = n.integers(&[0, 1, 2, 0, 0, 0, 1, 0]);
            let x = n.op(Op::Pad, &[x, pads]);
            n.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x])
        } else {
            let pads = n.integers(&[0, 0, 1, 2, 0, 0, 0, 1]);
            n.op(Op::Pad, &[x, pads])
        };
        let y = n.sign_conv(x, 6, 3, conv(3, 1, 1));
        let z = n.sign_conv(x, 6, 3, conv(2, 2, 0));
        let y = n.op(Op::GlobalAveragePool, &[y]);
        let z = n.op(Op::GlobalMaxPool, &[z]);
        let y = n.binary(BinaryOp::Add, y, z);
        let conversion = check(n, y, Agreement::Exact);
        assert_eq!(conversion.report.binary_layers, 2);
    }
}

/// Weights with a centre on values of 0 and 1: neither product is only a sum of bits.
#[test]
fn centred_weights_on_zeros_and_ones() {
    for (low, high) in [(0.0, 1.0), (0.0, 0.5), (1.0, 0.0), (0.0, -2.0)] {
        let mut n = Network::new(12);
        let x = n.graph.add_input("x", vec![1, 5, 6, 4]);
        let x = n.op(Op::Step { at_least: true, low, high }, &[x]);
        let signs = n.random.signs(3 * 5 * 9);
        let scaled = [(1.0, 0.25), (0.5, -0.5), (0.5, 0.0)];
        let weights = signs
            .iter()
            .enumerate()
            .map(|(i, s)| s * scaled[i / 45].0 + scaled[i / 45].1)
            .collect();
        let weights = n.constant(&[3, 5, 3, 3], weights);
        let y = n.conv_with(x, weights, conv(3, 1, 1));
        let conversion = check(n, y, Agreement::Exact);
        assert_eq!(conversion.report.binary_layers, 1);
    }
}

/// Operators that are taken apart into steps that are there.
#[test]
fn composite_operators_are_expanded() {
    let cases: [(Op, usize); 5] = [
        (Op::Unary(UnaryOp::HardSwish), 8),
        (Op::Unary(UnaryOp::Elu { alpha: 0.75 }), 8),
        (Op::DepthToSpace { block: 2, column_row_depth: false }, 2),
        (Op::DepthToSpace { block: 2, column_row_depth: true }, 2),
        (Op::DepthToSpace { block: 1, column_row_depth: true }, 8),
    ];
    for (op, channels) in cases {
        let mut n = Network::new(4);
        let x = n.graph.add_input("x", vec![1, 5, 4, 3]);
        let x = n.scalar(BinaryOp::Mul, x, 4.0);
        let x = n.sign_conv(x, 5, 8, conv(3, 1, 1));
        let x = n.op(op, &[x]);
        let x = n.step(x);
        let y = n.sign_conv(x, channels, 3, conv(3, 1, 1));
        let conversion = check(n, y, Agreement::Exact);
        assert_eq!(conversion.report.binary_layers, 1);
    }
}

/// `x * sigmoid(x)` behind a layer: the layer's own step cannot read what it is about to write.
#[test]
fn a_step_does_not_read_its_own_result() {
    for behind in [false, true] {
        let mut n = Network::new(6);
        let x = n.graph.add_input("x", vec![1, 3, 5, 4]);
        let x = n.float_conv(x, 3, 6, conv(3, 1, 1));
        let gate = n.unary(UnaryOp::Sigmoid, x);
        let x = if behind {
            n.binary(BinaryOp::Mul, gate, x)
        } else {
            n.binary(BinaryOp::Mul, x, gate)
        };
        let x = n.step(x);
        let y = n.sign_conv(x, 6, 3, conv(3, 1, 1));
        let conversion = check(n, y, Agreement::Exact);
        assert_eq!(conversion.report.binary_layers, 1);
    }
}

/// The type of a condition survives being moved about: the cast that makes floats of it stays.
#[test]
fn truth_values_are_moved_before_they_are_cast() {
    let mut n = Network::new(2);
    let x = n.graph.add_input("x", vec![1, 5, 4, 6]);
    let zero = n.constant(&[], vec![0.0]);
    let holds = n.binary(BinaryOp::GreaterOrEqual, x, zero);
    let holds = n.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[holds]);
    let bits = n.op(Op::Cast { to: bnn::graph::DataType::F32 }, &[holds]);
    let y = n.sign_conv(bits, 6, 3, conv(1, 1, 0));
    n.graph.outputs.push(y);
    let graph = n.graph;
    // Either it converts, or it is refused in words; it is not taken for something else.
    match convert(graph, &ConvertOptions::default()) {
        Ok(conversion) => assert_eq!(conversion.report.binary_layers, 1),
        Err(error) => assert!(matches!(error, ConvertError::Unsupported { .. }), "{error}"),
    }
}

/// Bits that no step can bring into order: the layer runs in floats, with the same answers.
#[test]
fn layers_that_bits_cannot_reach_run_in_floats() {
    let mut n = Network::new(8);
    let x = n.graph.add_input("x", vec![1, 4, 3, 5]);
    let s = n.step(x);
    // Rows and columns exchanged, and a border of neither value.
    let y = n.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[s]);
    let pads = n.integers(&[0, 0, 1, 1, 0, 0, 1, 1]);
    let half = n.constant(&[], vec![0.5]);
    let y = n.op(Op::Pad, &[y, pads, half]);
    let y = n.max_pool(y, 2, 1, 0);
    let y = n.sign_conv(y, 4, 6, conv(3, 1, 0));
    let z = n.sign_conv(s, 4, 6, conv(1, 1, 0));
    let z = n.op(Op::GlobalAveragePool, &[z]);
    let y = n.binary(BinaryOp::Add, y, z);
    let conversion = check(n, y, Agreement::Exact);
    assert_eq!(conversion.report.binary_layers, 1);
}

/// The branch that `Where` does not take may overflow or be no number at all.
#[test]
fn branches_not_taken_leave_no_trace() {
    let mut n = Network::new(6);
    let x = n.graph.add_input("x", vec![1, 4, 3, 3]);
    let large = n.scalar(BinaryOp::Mul, x, 1e4);
    let overflowing = n.unary(UnaryOp::Exp, large);
    let root = n.unary(UnaryOp::Sqrt, x);
    let zero = n.constant(&[], vec![0.0]);
    let negative = n.binary(BinaryOp::Less, x, zero);
    // exp(1e4 x) overflows where x is positive, sqrt(x) is no number where it is negative.
    let y = n.op(Op::Where, &[negative, overflowing, root]);
    check(n, y, Agreement::Exact);
}

/// Constants that differ from pixel to pixel, joins and means over any axes.
#[test]
fn any_axis_and_constants_per_pixel() {
    let mut n = Network::new(4);
    let x = n.graph.add_input("x", vec![1, 3, 4, 2]);
    let values = n.random.floats(24);
    let map = n.constant(&[1, 3, 4, 2], values);
    let sum = n.binary(BinaryOp::Add, x, map);
    let y = n.op(Op::Concat { axis: 3 }, &[sum, x, map]);
    let rows = n.integers(&[2]);
    let y = n.op(Op::Reduce { kind: ReduceKind::Sum, keep_dims: true }, &[y, rows]);
    let both = n.integers(&[1, 3]);
    let z = n.op(Op::Reduce { kind: ReduceKind::Max, keep_dims: true }, &[sum, both]);
    let y = n.binary(BinaryOp::Mul, y, z);
    check(n, y, Agreement::Within(1e-6));
}

/// The sign of something that is never negative is not guessed at.
#[test]
fn sign_of_relu_is_refused() {
    let mut n = Network::new(1);
    let x = n.graph.add_input("x", vec![1, 4, 5, 5]);
    let x = n.unary(UnaryOp::Relu, x);
    let x = n.max_pool(x, 2, 2, 0);
    let s = n.unary(UnaryOp::Sign, x);
    let y = n.sign_conv(s, 4, 4, conv(1, 1, 0));
    n.graph.outputs.push(y);
    let error = convert(n.graph, &ConvertOptions::default()).unwrap_err();
    assert!(matches!(error, ConvertError::NonNegativeSign { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("the output of MaxPool '"), "{message}");
    assert!(message.contains("never negative behind Relu '"), "{message}");
}

/// Ternary weights stay float, and the report says why.
#[test]
fn ternary_weights_stay_float() {
    let mut n = Network::new(1);
    let x = n.graph.add_input("x", vec![1, 2, 3, 3]);
    let s = n.step(x);
    let weights = n.constant(&[1, 2, 1, 2], vec![1.0, 0.0, -1.0, 1.0]);
    let attributes = ConvAttributes { kernel: [1, 2], ..conv(1, 1, 0) };
    let y = n.conv_with(s, weights, attributes);
    let conversion = check(n, y, Agreement::Exact);
    assert_eq!(conversion.report.binary_layers, 0);
    let reason = conversion.report.layers[0].reason.clone().unwrap();
    assert!(reason.contains("ternary"), "{reason}");
}

/// A PReLU that turns round cannot become a threshold; the answers stay exact.
#[test]
fn chains_that_turn_round_run_as_floats() {
    let mut n = Network::new(3);
    let x = n.graph.add_input("x", vec![1, 8, 5, 5]);
    let s = n.step(x);
    let y = n.sign_conv(s, 8, 8, conv(3, 1, 1));
    let slopes = n.constant(&[8, 1, 1], vec![-0.5; 8]);
    let y = n.op(Op::PRelu, &[y, slopes]);
    let y = n.scalar(BinaryOp::Sub, y, 3.25);
    let s = n.step(y);
    let y = n.sign_conv(s, 8, 3, conv(3, 1, 1));
    let conversion = check(n, y, Agreement::Exact);
    assert_eq!(thresholded(&conversion), 0);
    assert!(conversion.report.notes.iter().any(|note| note.contains("not monotone")));
}

/// What a layer reads, for `folded_and_unfolded_networks_pack_alike`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Activations {
    /// Signs.
    Signs,
    /// {-1, 0, 1} as a difference of two comparisons: a plane of {0, 1} and one of {-1, 0}, which
    /// have no common unit.
    Ternary,
    /// {0, 1, 2, 3} as the digits of a code: planes of one unit.
    TwoBits,
}

impl Activations {
    /// They, made of `x`.
    fn of(self, n: &mut Network, x: ValueId) -> ValueId {
        match self {
            Self::Signs => n.step(x),
            Self::Ternary => {
                let bound = n.constant(&[], vec![0.25]);
                let below = n.constant(&[], vec![-0.25]);
                let above = n.binary(BinaryOp::Greater, x, bound);
                let below = n.binary(BinaryOp::Less, x, below);
                let to_float = Op::Cast { to: bnn::graph::DataType::F32 };
                let [above, below] = [above, below].map(|mask| n.op(to_float.clone(), &[mask]));
                n.binary(BinaryOp::Sub, above, below)
            }
            Self::TwoBits => {
                let x = n.clip(x, 0.0, 1.0);
                let x = n.scalar(BinaryOp::Mul, x, 3.0);
                n.unary(UnaryOp::Round, x)
            }
        }
    }
}

/// A network with batch normalisation and the same network with it folded into the weights get the
/// same packed weights, whatever its layers read and whatever follows.
#[test]
fn folded_and_unfolded_networks_pack_alike() {
    for activations in [Activations::Signs, Activations::Ternary, Activations::TwoBits] {
        for compared in [false, true] {
            let pack = |folded| packed_weights(activations, compared, folded);
            assert_eq!(pack(true), pack(false), "{activations:?}, compared: {compared}");
        }
    }
}

/// The packed weights of one layer, its channels scaled by the weights themselves (`folded`) or by
/// what follows it, and then only compared with a number or not.
fn packed_weights(activations: Activations, compared: bool, folded: bool) -> Vec<u64> {
    let mut n = Network::new(9);
    let x = n.graph.add_input("x", vec![1, 6, 5, 5]);
    let s = activations.of(&mut n, x);
    let signs = n.random.signs(4 * 6 * 9);
    let scale = [0.5, -0.25, 2.0, -1.0];
    let weights: Vec<f32> = signs
        .iter()
        .enumerate()
        .map(|(i, s)| if folded { s * scale[i / 54] } else { *s })
        .collect();
    let weights = n.constant(&[4, 6, 3, 3], weights);
    let y = n.conv_with(s, weights, conv(3, 1, 1));
    let y = if folded {
        y
    } else {
        let scale = n.constant(&[4, 1, 1], scale.to_vec());
        n.binary(BinaryOp::Mul, y, scale)
    };
    let y = if compared {
        let y = n.scalar(BinaryOp::Add, y, 0.75);
        let y = n.step(y);
        n.sign_conv(y, 4, 3, conv(1, 1, 0))
    } else {
        y
    };
    let conversion = check(n, y, Agreement::Exact);
    let weights = conversion.program.tensors.iter().find(|t| t.shape == [4, 3, 3, 6]);
    weights.and_then(|t| t.bits()).unwrap().to_vec()
}

#[test]
fn nodes_that_cannot_be_lowered_are_named_all_at_once() {
    let mut n = Network::new(1);
    let x = n.graph.add_input("x", vec![1, 4, 4, 4]);
    let y = n.unary(UnaryOp::Relu, x);
    // Nothing is said of what only needs the result of another one.
    let first = n.binary(BinaryOp::Equal, x, y);
    let behind = n.binary(BinaryOp::Equal, first, y);
    let second = n.binary(BinaryOp::Equal, y, x);
    n.graph.outputs.extend([behind, second]);
    let error = convert(n.graph, &ConvertOptions::default()).unwrap_err();
    let ConvertError::Unsupported { nodes } = &error else { panic!("{error}") };
    assert_eq!(nodes.len(), 2, "{error}");
    assert_ne!(nodes[0].node, nodes[1].node);
    assert!(error.to_string().contains("and 1 more like it"), "{error}");
}

#[test]
fn unsupported_operators_are_named_all_at_once() {
    let mut n = Network::new(1);
    let x = n.graph.add_input("x", vec![1, 4, 4, 4]);
    let a = n.op(Op::ArgMax { axis: 1, keep_dims: true }, &[x]);
    let truth = n.op(Op::Cast { to: bnn::graph::DataType::I64 }, &[x]);
    let b = n.op(Op::Cast { to: bnn::graph::DataType::F32 }, &[truth]);
    n.graph.outputs.extend([a, b]);
    let error = convert(n.graph, &ConvertOptions::default()).unwrap_err();
    let ConvertError::Unsupported { nodes } = &error else { panic!("{error}") };
    assert_eq!(nodes.len(), 3);
    let message = error.to_string();
    assert!(!message.contains('\n'));
    for part in ["3 nodes", "ArgMax of [1, 4, 4, 4]", "Cast of", "end the network at"] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}
