//! Dense blocks, `x <- concat(x, conv(sign(bn(x))))`: nothing is concatenated that is only compared,
//! sums of binary layers stay integers, and every answer is that of the reference to the bit.

use bnn::{
    Isa, Model, SessionOptions,
    compare::compare_layers,
    convert::{Conversion, ConvertOptions, convert},
    graph::{BinaryOp, ConvAttributes, Graph, Op, PoolAttributes, Tensor, UnaryOp, ValueId},
    program::{BinaryOutput, BufferKind, Program, StepKind},
    reference::{Interpreter, Products},
};

/// A graph with a source of numbers: the same ones in every run.
struct Network {
    graph: Graph,
    state: u64,
}

impl Network {
    fn new(seed: u64) -> Self {
        Self { graph: Graph::new("dense"), state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// Between -1 and 1.
    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0).collect()
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = format!("{}{}", op.name(), self.graph.nodes.len());
        self.graph.push_node(name, op, inputs.iter().copied())
    }

    fn constant(&mut self, shape: &[usize], values: Vec<f32>) -> ValueId {
        let name = format!("constant{}", self.graph.values.len());
        self.graph.add_constant(name, Tensor::from_f32(shape.to_vec(), values).unwrap())
    }

    /// Gammas of both signs and 0, means that sums can be equal to.
    fn batch_norm(&mut self, x: ValueId, channels: usize, spread: f32) -> ValueId {
        let mut gamma = self.floats(channels);
        gamma.iter_mut().step_by(7).for_each(|gamma| *gamma = 0.0);
        let beta = match self.below(2) {
            0 => vec![0.0; channels],
            _ => self.floats(channels),
        };
        let mean: Vec<f32> = self.floats(channels).iter().map(|m| (m * spread).round()).collect();
        let variance: Vec<f32> =
            self.floats(channels).iter().map(|v| v.abs() * spread + 0.01).collect();
        let [gamma, beta, mean, variance] =
            [gamma, beta, mean, variance].map(|values| self.constant(&[channels], values));
        self.node(Op::BatchNormalization { epsilon: 1e-5 }, &[x, gamma, beta, mean, variance])
    }

    fn sign(&mut self, x: ValueId) -> ValueId {
        self.node(Op::Step { at_least: true, low: -1.0, high: 1.0 }, &[x])
    }

    /// Padding with -1 is a node of its own, as exporters write it.
    fn minus_ones(&mut self, x: ValueId, pad: i64) -> ValueId {
        let pads = Tensor::from_i64(vec![0, 0, pad, pad, 0, 0, pad, pad]);
        let pads = self.graph.add_constant(format!("pads{}", self.graph.values.len()), pads);
        let value = self.constant(&[], vec![-1.0]);
        self.node(Op::Pad, &[x, pads, value])
    }

    fn conv(&mut self, x: ValueId, weights: Vec<f32>, shape: [usize; 4], pad: usize) -> ValueId {
        let weights = self.constant(&shape, weights);
        let attributes = ConvAttributes {
            kernel: [shape[2], shape[3]],
            stride: [1; 2],
            dilation: [1; 2],
            pads: [pad; 4],
            groups: 1,
        };
        self.node(Op::Conv(attributes), &[x, weights])
    }

    fn binary_conv(&mut self, x: ValueId, from: usize, to: usize, pad: usize) -> ValueId {
        let signs = self.floats(to * from * 9);
        let signs = signs.iter().map(|&x| if x < 0.0 { -1.0 } else { 1.0 }).collect();
        self.conv(x, signs, [to, from, 3, 3], pad)
    }

    fn float_conv(&mut self, x: ValueId, from: usize, to: usize, kernel: usize) -> ValueId {
        let weights = self.floats(to * from * kernel * kernel);
        self.conv(x, weights, [to, from, kernel, kernel], kernel / 2)
    }

    fn concat(&mut self, maps: &[ValueId]) -> ValueId {
        self.node(Op::Concat { axis: 1 }, maps)
    }

    /// Units that each add some channels; how many there are then.
    fn dense_block(
        &mut self,
        mut x: ValueId,
        mut channels: usize,
        growth: usize,
        units: usize,
        pad: Pad,
    ) -> (ValueId, usize) {
        for _ in 0..units {
            let spread = (channels as f32).sqrt();
            let y = self.batch_norm(x, channels, spread);
            let y = self.sign(y);
            let y = match pad {
                Pad::Zero => self.binary_conv(y, channels, growth, 1),
                Pad::Minus => {
                    let y = self.minus_ones(y, 1);
                    self.binary_conv(y, channels, growth, 0)
                }
            };
            x = self.concat(&[x, y]);
            channels += growth;
        }
        (x, channels)
    }

    /// Normalised, pooled, rectified, fewer channels.
    fn transition(&mut self, x: ValueId, channels: usize, to: usize) -> ValueId {
        let x = self.batch_norm(x, channels, 9.0);
        let pool = PoolAttributes {
            kernel: [2; 2],
            stride: [2; 2],
            dilation: [1; 2],
            pads: [0; 4],
            ceil_mode: false,
            count_include_pad: false,
        };
        let x = self.node(Op::MaxPool(pool), &[x]);
        let x = self.node(Op::Unary(UnaryOp::Relu), &[x]);
        self.float_conv(x, channels, to, 1)
    }
}

/// What the binary convolutions are padded with.
#[derive(Debug, Clone, Copy)]
enum Pad {
    Zero,
    Minus,
}

/// Converts a network, compares it with the reference on every instruction set, with one thread and
/// two, and layer by layer.
fn check(mut network: Network, outputs: &[ValueId]) -> Conversion {
    network.graph.outputs = outputs.to_vec();
    let shape = network.graph.inputs[0].shape.clone();
    let count = shape.iter().product();
    let options = ConvertOptions { strict: true, ..ConvertOptions::default() };
    let conversion = convert(network.graph.clone(), &options).unwrap();
    let bytes = bnn::format::write(&conversion.program).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    for _ in 0..2 {
        let input = network.floats(count);
        let tensor = Tensor::from_f32(shape.clone(), input.clone()).unwrap();
        let answers = |products| {
            let interpreter = Interpreter::new(&network.graph).with_products(products);
            interpreter.run(std::slice::from_ref(&tensor)).unwrap()
        };
        let answers = [answers(Products::Fused), answers(Products::Rounded)];
        for isa in Isa::available() {
            let answers = &answers[usize::from(!isa.fuses_multiply_add())];
            let expected: Vec<&[f32]> =
                answers.iter().map(|tensor| tensor.f32().unwrap()).collect();
            for threads in [1, 2] {
                let options = SessionOptions::default().isa(isa).threads(threads);
                let mut session = model.session(&options).unwrap();
                let mut found: Vec<Vec<f32>> =
                    expected.iter().map(|output| vec![f32::NAN; output.len()]).collect();
                let mut slices: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
                session.run_into(&[&input], &mut slices).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(found, expected, "{isa}, {threads} threads");
                }
            }
        }
    }
    let rows = [vec![network.floats(count)]];
    let options = SessionOptions::default();
    let comparison =
        compare_layers(&network.graph, &conversion.trace, &model, &rows, &options).unwrap();
    assert!(comparison.passed, "{:#?}", comparison.first_failure());
    // Every concatenation is looked at, joined or not.
    for node in network.graph.nodes.iter().filter(|node| matches!(node.op, Op::Concat { .. })) {
        let name = network.graph.value_name(node.output());
        let compared = comparison.tensors.iter().any(|tensor| tensor.tensor == name);
        assert!(compared, "'{name}' was not compared");
    }
    conversion
}

/// How many steps are of a kind.
fn count(program: &Program, is: impl Fn(&StepKind) -> bool) -> usize {
    program.steps.iter().filter(|step| is(&step.kind)).count()
}

fn is_concat(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Concat { .. })
}

fn is_threshold(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Threshold { .. })
}

fn stores_integers(kind: &StepKind) -> bool {
    matches!(kind, StepKind::BinaryConv { output: BinaryOutput::Integers { .. }, .. })
}

fn outputs(conversion: &Conversion) -> Vec<&str> {
    conversion.report.layers.iter().map(|layer| layer.output.as_str()).collect()
}

#[test]
fn units_compare_what_was_never_concatenated() {
    for pad in [Pad::Zero, Pad::Minus] {
        // Whole words; some that end within one; more maps than fit a few words.
        for (seed, (first, growth)) in
            [(64, 64), (13, 22), (64, 48), (7, 5)].into_iter().enumerate()
        {
            let mut n = Network::new(seed as u64 + 1);
            let x = n.graph.add_input("x", vec![1, 3, 6, 9]);
            let x = n.float_conv(x, 3, first, 3);
            let (x, channels) = n.dense_block(x, first, growth, 4, pad);
            let x = n.transition(x, channels, 10);
            let (x, channels) = n.dense_block(x, 10, growth, 3, pad);
            let x = n.batch_norm(x, channels, 9.0);
            let x = n.node(Op::Unary(UnaryOp::Relu), &[x]);
            let conversion = check(n, &[x]);
            let program = &conversion.program;
            assert_eq!(count(program, stores_integers), 7, "{pad:?}, growth {growth}");
            // The first unit of a block reads bits that the map before it was stored with.
            assert_eq!(count(program, is_threshold), 3 + 2, "{pad:?}, growth {growth}");
            assert_eq!(count(program, is_concat), 2, "{pad:?}, growth {growth}");
            let expected =
                [vec!["bits and f32"], vec!["i16"; 4], vec!["bits and f32"], vec!["i16"; 3]]
                    .concat();
            assert_eq!(outputs(&conversion), expected);
            let joined: Vec<usize> = program
                .steps
                .iter()
                .filter_map(|step| match &step.kind {
                    StepKind::Concat { inputs, .. } => Some(inputs.len()),
                    _ => None,
                })
                .collect();
            assert_eq!(joined, [5, 4], "each end joins all that came before it");
        }
    }
}

#[test]
fn sums_that_do_not_fit_stay_floats() {
    // 3641 * 9 products are two more than 16 bits hold.
    for (channels, integers) in [(3640, 1), (3641, 0)] {
        let mut n = Network::new(5);
        let x = n.graph.add_input("x", vec![1, channels, 2, 2]);
        let signs = n.sign(x);
        let y = n.binary_conv(signs, channels, 3, 1);
        let x = n.concat(&[y, x]);
        let x = n.batch_norm(x, channels + 3, 40.0);
        let x = n.sign(x);
        let x = n.binary_conv(x, channels + 3, 2, 1);
        let conversion = check(n, &[x]);
        assert_eq!(count(&conversion.program, stores_integers), integers, "{channels}");
        assert_eq!(count(&conversion.program, is_threshold), 1, "{channels}");
        assert_eq!(count(&conversion.program, is_concat), 0, "{channels}");
    }
}

#[test]
fn scaled_sums_are_floats_that_are_not_concatenated_either() {
    let mut n = Network::new(6);
    let x = n.graph.add_input("x", vec![1, 3, 5, 4]);
    let mut x = n.float_conv(x, 3, 16, 3);
    for unit in 0..3 {
        let channels = 16 + 12 * unit;
        let y = n.batch_norm(x, channels, 4.0);
        let y = n.sign(y);
        let y = n.binary_conv(y, channels, 12, 1);
        let scale = n.floats(12);
        let scale = n.constant(&[1, 12, 1, 1], scale);
        let y = n.node(Op::Binary(BinaryOp::Mul), &[y, scale]);
        x = n.concat(&[y, x]);
    }
    let x = n.node(Op::Unary(UnaryOp::Relu), &[x]);
    let conversion = check(n, &[x]);
    assert_eq!(count(&conversion.program, stores_integers), 0);
    assert_eq!(count(&conversion.program, is_threshold), 2);
    assert_eq!(count(&conversion.program, is_concat), 1);
}

/// The same data under other names: dimensions in another order, a flattened map.
#[test]
fn segments_are_read_through_views() {
    let mut n = Network::new(7);
    let x = n.graph.add_input("x", vec![1, 4, 4, 3]);
    let mut x = n.node(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
    x = n.float_conv(x, 3, 20, 3);
    for unit in 0..3 {
        let channels = 20 + 31 * unit;
        let y = n.batch_norm(x, channels, 4.0);
        let y = n.sign(y);
        let y = n.binary_conv(y, channels, 31, 1);
        // Channels last for the concatenation alone.
        let [a, b] = [x, y].map(|map| n.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[map]));
        let joined = n.node(Op::Concat { axis: -1 }, &[a, b]);
        x = n.node(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[joined]);
    }
    let channels = 20 + 31 * 3;
    let flat = n.node(Op::Flatten { axis: 1 }, &[x]);
    let signs = n.sign(flat);
    let weights = n.floats(5 * channels * 16);
    let weights = weights.iter().map(|&w| if w < 0.0 { -1.0 } else { 1.0 }).collect();
    let weights = n.constant(&[5, channels * 16], weights);
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let x = n.node(gemm, &[signs, weights]);
    let conversion = check(n, &[x]);
    assert_eq!(count(&conversion.program, stores_integers), 3);
    assert_eq!(count(&conversion.program, is_threshold), 3);
    assert_eq!(count(&conversion.program, is_concat), 0, "nobody needs the map itself");
}

/// A chain that turns round has no threshold on floats. On the integers that a sum can reach it may.
#[test]
fn chains_without_a_threshold_need_the_map() {
    for (slope, concats) in [(-0.5, 1), (0.5, 0)] {
        let mut n = Network::new(8);
        let x = n.graph.add_input("x", vec![1, 2, 5, 4]);
        let x = n.float_conv(x, 2, 9, 3);
        let y = n.sign(x);
        let y = n.binary_conv(y, 9, 9, 1);
        let x = n.concat(&[x, y]);
        let y = n.batch_norm(x, 18, 4.0);
        let slope = n.constant(&[1, 1, 1], vec![slope]);
        let y = n.node(Op::PRelu, &[y, slope]);
        let half = n.constant(&[], vec![0.5]);
        let y = n.node(Op::Binary(BinaryOp::Sub), &[y, half]);
        let y = n.sign(y);
        let y = n.binary_conv(y, 18, 4, 1);
        let conversion = check(n, &[y]);
        assert_eq!(count(&conversion.program, is_concat), concats, "{conversion:#?}");
        assert_eq!(count(&conversion.program, is_threshold), 1 - concats);
        assert_eq!(count(&conversion.program, stores_integers), 1);
    }
}

/// What is an output, or read by anything but comparisons and concatenations, is one map of floats,
/// and what follows reads that one.
#[test]
fn other_readers_get_the_map_once() {
    let mut n = Network::new(9);
    let x = n.graph.add_input("x", vec![1, 3, 5, 4]);
    let x = n.float_conv(x, 3, 17, 3);
    let (x, channels) = n.dense_block(x, 17, 10, 2, Pad::Zero);
    let mean = n.node(Op::GlobalAveragePool, &[x]);
    let (y, more) = n.dense_block(x, channels, 10, 2, Pad::Zero);
    let y = n.batch_norm(y, more, 4.0);
    let conversion = check(n, &[x, mean, y]);
    let program = &conversion.program;
    assert_eq!(count(program, stores_integers), 4);
    assert_eq!(count(program, is_concat), 2);
    let mixed = program.steps.iter().filter(|step| match &step.kind {
        StepKind::Threshold { floats, integers, .. } => floats.is_some() && integers.is_some(),
        _ => false,
    });
    assert_eq!(mixed.count(), 2, "one in each block");
}

/// A sum that is also compared by itself.
#[test]
fn sums_are_compared_alone_and_with_others() {
    let mut n = Network::new(10);
    let x = n.graph.add_input("x", vec![1, 3, 5, 4]);
    let x = n.float_conv(x, 3, 33, 3);
    let y = n.sign(x);
    let y = n.binary_conv(y, 33, 40, 1);
    let alone = n.batch_norm(y, 40, 4.0);
    let alone = n.sign(alone);
    let alone = n.binary_conv(alone, 40, 8, 1);
    let joined = n.concat(&[y, x, alone]);
    let all = n.batch_norm(joined, 81, 4.0);
    let all = n.sign(all);
    let all = n.binary_conv(all, 81, 6, 1);
    let conversion = check(n, &[all]);
    assert_eq!(count(&conversion.program, stores_integers), 2);
    assert_eq!(count(&conversion.program, is_threshold), 2);
    assert_eq!(count(&conversion.program, is_concat), 0);
    let kinds: Vec<_> = conversion.program.buffers.iter().map(|buffer| buffer.kind).collect();
    assert_eq!(kinds.iter().filter(|&&kind| kind == BufferKind::I16).count(), 2);
}

/// A residual addition needs the map, wherever it comes from.
#[test]
fn a_shortcut_around_a_block_joins_it() {
    let mut n = Network::new(11);
    let x = n.graph.add_input("x", vec![1, 3, 5, 4]);
    let x = n.float_conv(x, 3, 8, 3);
    let (joined, channels) = n.dense_block(x, 8, 8, 1, Pad::Zero);
    let y = n.sign(joined);
    let y = n.binary_conv(y, channels, channels, 1);
    let sum = n.node(Op::Binary(BinaryOp::Add), &[joined, y]);
    let conversion = check(n, &[sum]);
    assert_eq!(count(&conversion.program, is_concat), 1);
    assert_eq!(count(&conversion.program, stores_integers), 1);
    assert_eq!(count(&conversion.program, is_threshold), 0);
}
