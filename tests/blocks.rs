//! Named blocks of a network: they are found in the converted program, and run by themselves on the
//! input that the reference has there.

mod random_numbers;

use bnn::{
    Model, SessionOptions,
    convert::{ConvertOptions, convert},
    graph::{BinaryOp, Block, ConvAttributes, Graph, Op, PoolAttributes, Tensor, UnaryOp, ValueId},
    program::{
        BlockError, BlockPart, BlockTensor, BufferId, BufferKind, Program, ProgramError, StepKind,
        TensorData,
    },
    reference,
};
use random_numbers::Random;

/// A graph that grows.
struct Network {
    graph: Graph,
    random: Random,
}

impl Network {
    fn constant(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) -> ValueId {
        self.graph.add_constant(name, Tensor::from_f32(shape, values).unwrap())
    }

    fn conv(
        &mut self,
        name: &str,
        x: ValueId,
        shape: [usize; 4],
        stride: usize,
        scale: Option<f32>,
    ) -> ValueId {
        let count = shape.iter().product();
        let values = match scale {
            Some(scale) => self.random.signs(count, scale),
            None => self.random.floats(count),
        };
        let weights = self.constant(format!("{name}.weight"), shape.to_vec(), values);
        let op = Op::Conv(ConvAttributes {
            kernel: [shape[2], shape[3]],
            stride: [stride; 2],
            dilation: [1, 1],
            pads: [shape[2] / 2; 4],
            groups: 1,
        });
        self.graph.push_node(name, op, [x, weights])
    }

    fn norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let mut inputs = vec![x];
        for role in ["gamma", "beta", "mean"] {
            let values = self.random.floats(channels);
            inputs.push(self.constant(format!("{name}.{role}"), vec![channels], values));
        }
        inputs.push(self.constant(format!("{name}.var"), vec![channels], vec![3.0; channels]));
        self.graph.push_node(name, Op::BatchNormalization { epsilon: 1e-5 }, inputs)
    }

    fn sign(&mut self, name: &str, x: ValueId) -> ValueId {
        self.graph.push_node(name, Op::Unary(UnaryOp::Sign), [x])
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.graph.push_node(name, Op::Binary(BinaryOp::Add), [a, b])
    }

    fn block(&mut self, name: &str, input: ValueId, output: ValueId) {
        self.graph.blocks.push(Block { name: name.to_owned(), input, output });
    }

    /// `x + bn(conv(sign(x)))`, or with stride 2 a pooled and widened shortcut.
    fn residual(&mut self, name: &str, x: ValueId, inside: usize, stride: usize) -> ValueId {
        let outside = inside * stride;
        let bits = self.sign(&format!("{name}.sign"), x);
        let shape = [outside, inside, 3, 3];
        let sums = self.conv(&format!("{name}.conv"), bits, shape, stride, Some(0.2));
        let normal = self.norm(&format!("{name}.bn"), sums, outside);
        let shortcut = if stride == 1 {
            x
        } else {
            let pool = Op::AveragePool(PoolAttributes {
                kernel: [2, 2],
                stride: [2, 2],
                dilation: [1, 1],
                pads: [0; 4],
                ceil_mode: false,
                count_include_pad: true,
            });
            let pooled = self.graph.push_node(format!("{name}.pool"), pool, [x]);
            self.conv(&format!("{name}.shortcut"), pooled, [outside, inside, 1, 1], 1, None)
        };
        let sum = self.add(name, normal, shortcut);
        self.block(name, x, sum);
        sum
    }
}

const CHANNELS: usize = 24;

/// A float stem, two residual blocks of which the second halves the map, a dense unit
/// `concat(x, conv(sign(bn(x))))`, and a classifier.
fn network() -> Network {
    let mut network = Network { graph: Graph::new("network"), random: Random(5) };
    let image = network.graph.add_input("image", vec![1, 3, 8, 8]);
    let stem = network.conv("stem", image, [CHANNELS, 3, 3, 3], 1, None);
    let stem = network.norm("stem.bn", stem, CHANNELS);
    network.block("stem", image, stem);
    let first = network.residual("layer1", stem, CHANNELS, 1);
    let second = network.residual("layer2", first, CHANNELS, 2);
    let normal = network.norm("dense.bn", second, 2 * CHANNELS);
    let bits = network.sign("dense.sign", normal);
    let grown = network.conv("dense.conv", bits, [8, 2 * CHANNELS, 3, 3], 1, Some(1.0));
    let joined = network.graph.push_node("dense", Op::Concat { axis: 1 }, [second, grown]);
    network.block("dense", second, joined);
    let rectified = network.graph.push_node("relu", Op::Unary(UnaryOp::Relu), [joined]);
    let mean = network.graph.push_node("mean", Op::GlobalAveragePool, [rectified]);
    let flat = network.graph.push_node("flat", Op::Flatten { axis: 1 }, [mean]);
    network.block("head", joined, flat);
    let features = 2 * CHANNELS + 8;
    let values = network.random.floats(features * 5);
    let weights = network.constant("classifier.weight".into(), vec![features, 5], values);
    let logits = network.graph.push_node("classifier", Op::MatMul, [flat, weights]);
    network.graph.outputs = vec![logits];
    network
}

fn converted(graph: &Graph) -> Program {
    let program = convert(graph.clone(), &ConvertOptions::default()).unwrap().program;
    // As the file will be read.
    bnn::format::read(&bnn::format::write(&program).unwrap()).unwrap()
}

/// Every value of the graph for one image; the sign of zero is +1.
fn reference(graph: &Graph, seed: u64) -> Vec<Option<Tensor>> {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        if node.op == Op::Unary(UnaryOp::Sign) {
            node.op = Op::Step { at_least: true, low: -1.0, high: 1.0 };
        }
    }
    let shape = graph.inputs[0].shape.clone();
    let values = Random(seed).floats(shape.iter().product());
    reference::run_all(&graph, &[Tensor::from_f32(shape, values).unwrap()]).unwrap()
}

/// Runs a block on the reference's input and compares with the reference's output: how many elements
/// differ by more than rounding.
fn differing(model: &Model, values: &[Option<Tensor>], block: &Block) -> usize {
    let value = |id: ValueId| values[id.index()].as_ref().unwrap();
    let (input, expected) = (value(block.input), value(block.output));
    let model = model.block(&block.name).unwrap();
    assert_eq!(model.inputs()[0].shape, input.shape()[1..]);
    assert_eq!(model.outputs()[0].shape, expected.shape()[1..]);
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let actual = session.run(input.f32().unwrap()).unwrap();
    let expected = expected.f32().unwrap();
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let is_off = |(a, e): (&f32, &f32)| (a - e).abs() > 1e-5 * largest;
    actual.iter().zip(expected).filter(|&pair| is_off(pair)).count()
}

#[test]
fn blocks_compute_what_the_reference_computes_there() {
    let graph = network().graph;
    let model = Model::from_program(converted(&graph)).unwrap();
    assert_eq!(model.blocks().len(), 5);
    for seed in 0..3 {
        let values = reference(&graph, seed);
        for block in &graph.blocks {
            assert_eq!(differing(&model, &values, block), 0, "{} of image {seed}", block.name);
        }
    }
}

#[test]
fn a_block_is_as_large_as_its_own_steps() {
    let graph = network().graph;
    let program = converted(&graph);
    let whole = Model::from_program(program.clone()).unwrap();
    let block = whole.block("layer1").unwrap();
    let names: Vec<&str> = block.program().steps.iter().map(|step| step.name.as_str()).collect();
    // The step of the stem is there for the bits of its result alone.
    assert_eq!(names, ["input", "stem", "layer1.conv", "output"]);
    assert!(block.program().tensors.len() < program.tensors.len());
    assert_eq!(block.program().buffers.len(), 5);
    block.program().validate().unwrap();
}

/// Turns over all weight bits of the layers whose weights have the given name.
fn damaged(program: &Program, name: &str) -> Model {
    let mut program = program.clone();
    let tensor = program.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
    match &mut tensor.data {
        TensorData::Bits(words) => words[0] ^= 0xffff,
        TensorData::F32(values) => values.iter_mut().take(100).for_each(|value| *value += 1.0),
        data => panic!("{data:?}"),
    }
    Model::from_program(program).unwrap()
}

#[test]
fn a_block_answers_for_itself_alone() {
    let graph = network().graph;
    let program = converted(&graph);
    let values = reference(&graph, 7);
    for (tensor, wrong) in
        [("stem.weight", "stem"), ("layer1.conv.weight", "layer1"), ("dense.conv.weight", "dense")]
    {
        let model = damaged(&program, tensor);
        for block in &graph.blocks {
            let differing = differing(&model, &values, block);
            assert_eq!(differing > 0, block.name == wrong, "{}: {differing}", block.name);
        }
    }
}

/// Two chained binary layers, of which only the bits between are kept.
fn fused() -> Network {
    let mut network = Network { graph: Graph::new("fused"), random: Random(3) };
    let image = network.graph.add_input("image", vec![1, 3, 6, 6]);
    let stem = network.conv("stem", image, [CHANNELS, 3, 3, 3], 1, None);
    let bits = network.sign("sign1", stem);
    let shape = [CHANNELS, CHANNELS, 3, 3];
    let sums = network.conv("first", bits, shape, 1, Some(1.0));
    let normal = network.norm("first.bn", sums, CHANNELS);
    let bits = network.sign("sign2", normal);
    let last = network.conv("second", bits, shape, 1, Some(0.5));
    network.block("first", stem, normal);
    network.block("second", normal, last);
    network.block("both", image, last);
    network.graph.outputs = vec![last];
    network
}

#[test]
fn blocks_whose_ends_are_fused_away_say_so() {
    let graph = fused().graph;
    let model = Model::from_program(converted(&graph)).unwrap();
    let error = |name: &str| model.block(name).unwrap_err();
    assert_eq!(error("first"), BlockError::InputNotKept);
    assert_eq!(error("second"), BlockError::InputNotKept);
    assert_eq!(error("third"), BlockError::Unknown);
    assert_eq!(model.blocks()[0].output, None);
    assert_eq!(differing(&model, &reference(&graph, 1), &graph.blocks[2]), 0);
}

#[test]
fn an_output_before_the_input_is_named() {
    let mut network = network();
    let output =
        |name: &str| network.graph.blocks.iter().find(|block| block.name == name).unwrap().output;
    let (first, second) = (output("layer1"), output("layer2"));
    network.block("backwards", second, first);
    let model = Model::from_program(converted(&network.graph)).unwrap();
    let error = model.block("backwards").unwrap_err().to_string();
    assert!(error.contains("written by step 'layer1.conv'"), "{error}");
}

#[test]
fn blocks_begin_and_end_inside_a_step() {
    let mut network = Network { graph: Graph::new("chain"), random: Random(13) };
    let image = network.graph.add_input("image", vec![1, 3, 6, 6]);
    let other = network.conv("other", image, [CHANNELS, 3, 3, 3], 1, None);
    let stem = network.conv("stem", image, [CHANNELS, 3, 3, 3], 1, None);
    let relu = network.graph.push_node("relu", Op::Unary(UnaryOp::Relu), [stem]);
    let normal = network.norm("bn", relu, CHANNELS);
    let sum = network.add("sum", normal, other);
    network.graph.outputs = vec![stem, normal, sum];
    network.block("start", image, stem);
    network.block("middle", stem, normal);
    network.block("end", normal, sum);
    network.block("all", image, sum);
    let program = converted(&network.graph);
    let computing = program.steps.iter().filter(|s| !matches!(s.kind, StepKind::Gather { .. }));
    let names: Vec<&str> = computing.map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["other", "stem"]);
    let model = Model::from_program(program).unwrap();
    let values = reference(&network.graph, 2);
    for name in ["start", "middle", "all"] {
        let block = network.graph.blocks.iter().find(|block| block.name == name).unwrap();
        assert_eq!(differing(&model, &values, block), 0, "{name}");
    }
    let error = model.block("end").unwrap_err();
    assert!(matches!(error, BlockError::Outside { .. }), "{error}");
    assert!(error.to_string().contains("written by step 'other'"), "{error}");
}

#[test]
fn a_shortcut_from_outside_is_named() {
    let mut network = Network { graph: Graph::new("outside"), random: Random(9) };
    let image = network.graph.add_input("image", vec![1, 3, 6, 6]);
    let stem = network.conv("stem", image, [CHANNELS, 3, 3, 3], 1, None);
    let other = network.conv("other", image, [CHANNELS, 3, 3, 3], 1, None);
    let bits = network.sign("sign", stem);
    let sums = network.conv("conv", bits, [CHANNELS, CHANNELS, 3, 3], 1, Some(1.0));
    let sum = network.add("sum", sums, other);
    let result = network.add("result", sum, stem);
    network.block("block", stem, result);
    network.graph.outputs = vec![result];
    let model = Model::from_program(converted(&network.graph)).unwrap();
    let error = model.block("block").unwrap_err().to_string();
    assert!(error.contains("written by step 'other'"), "{error}");
}

#[test]
fn places_that_make_no_sense_are_refused() {
    let program = converted(&network().graph);
    let refused = |change: &dyn Fn(&mut BlockTensor)| {
        let mut program = program.clone();
        change(program.metadata.blocks[1].input.as_mut().unwrap());
        match program.validate() {
            Err(ProgramError::Block { name, what }) => {
                assert_eq!(name, "layer1");
                what
            }
            other => panic!("{other:?}"),
        }
    };
    let part = |tensor: &mut BlockTensor, change: &dyn Fn(&mut BlockPart)| {
        change(&mut tensor.parts[0]);
    };
    let bits = program.buffers.iter().position(|b| b.kind == BufferKind::Bits);
    let bits = BufferId(bits.unwrap() as u32);
    for (what, expected) in [
        (refused(&|t| part(t, &|p| p.buffer = BufferId(999))), "buffer 999, expected less than"),
        (refused(&|t| part(t, &|p| p.buffer = bits)), "is Bits, expected F32"),
        (refused(&|t| part(t, &|p| p.strides[0] = -1)), "each once"),
        (refused(&|t| part(t, &|p| p.strides[0] = 2)), "each once"),
        (refused(&|t| part(t, &|p| p.dims[0] = usize::MAX)), "each once"),
        (refused(&|t| part(t, &|p| p.dims.push(2))), "each once"),
        (refused(&|t| t.shape.push(2)), "does not have the 1536 elements"),
        (refused(&|t| t.shape.push(usize::MAX)), "does not have the 1536 elements"),
        (refused(&|t| t.parts.clear()), "does not have the 0 elements"),
    ] {
        assert!(what.starts_with("input: ") && what.contains(expected), "{what}");
    }
    let mut twice = program.clone();
    twice.metadata.blocks[2].name = "layer1".into();
    let error = twice.validate().unwrap_err().to_string();
    assert_eq!(error, "block 'layer1': the name is taken by another block");
}

/// Dense units whose maps are nowhere joined: between them lie floats and integers side by side.
#[test]
fn units_between_segments_run_by_themselves() {
    let mut network = Network { graph: Graph::new("units"), random: Random(21) };
    let image = network.graph.add_input("image", vec![1, 3, 6, 6]);
    let mut x = network.conv("stem", image, [CHANNELS, 3, 3, 3], 1, None);
    let mut channels = CHANNELS;
    for unit in 0..4 {
        let name = format!("unit{unit}");
        let normal = network.norm(&format!("{name}.bn"), x, channels);
        let bits = network.sign(&format!("{name}.sign"), normal);
        let conv = format!("{name}.conv");
        let grown = network.conv(&conv, bits, [11, channels, 3, 3], 1, Some(1.0));
        let joined = network.graph.push_node(&*name, Op::Concat { axis: 1 }, [x, grown]);
        network.block(&name, x, joined);
        network.block(&format!("{name}.inner"), x, grown);
        (x, channels) = (joined, channels + 11);
    }
    let first = network.graph.blocks[0].input;
    network.block("all", first, x);
    network.graph.outputs = vec![x];
    let program = converted(&network.graph);
    let model = Model::from_program(program.clone()).unwrap();
    let parts = |end: &Option<BlockTensor>| -> Vec<BufferKind> {
        let parts = end.iter().flat_map(|tensor| &tensor.parts);
        parts.map(|part| program.buffer(part.buffer).kind).collect()
    };
    let third = model.blocks().iter().find(|block| block.name == "unit2").unwrap();
    assert_eq!(parts(&third.input), [BufferKind::F32, BufferKind::I16, BufferKind::I16]);
    assert_eq!(parts(&third.output).len(), 4);
    let inner = model.blocks().iter().find(|block| block.name == "unit2.inner").unwrap();
    assert_eq!(parts(&inner.output), [BufferKind::I16]);
    for seed in 0..3 {
        let values = reference(&network.graph, seed);
        for block in &network.graph.blocks {
            assert_eq!(differing(&model, &values, block), 0, "{} of image {seed}", block.name);
        }
    }
    let values = reference(&network.graph, 7);
    let model = damaged(&program, "unit2.conv.weight");
    for block in &network.graph.blocks {
        let wrong = ["unit2", "unit2.inner", "all"].contains(&block.name.as_str());
        assert_eq!(differing(&model, &values, block) > 0, wrong, "{}", block.name);
    }
}

/// A tensor in two buffers is one after the other.
#[test]
fn tensors_of_several_parts_are_joined() {
    let graph = network().graph;
    let mut program = converted(&graph);
    let values = reference(&graph, 11);
    // The output of the dense unit is its input and what grew: take these instead of their union.
    let find = |name: &str| graph.blocks.iter().find(|block| block.name == name).unwrap();
    let grown = program.steps.iter().find_map(|step| match &step.kind {
        StepKind::Concat { inputs, .. } => Some(inputs[1]),
        _ => None,
    });
    let blocks = &mut program.metadata.blocks;
    let dense = blocks.iter().position(|block| block.name == "dense").unwrap();
    let head = blocks.iter().position(|block| block.name == "head").unwrap();
    let mut parts = blocks[dense].input.as_ref().unwrap().parts.clone();
    let BlockPart { dims, .. } = &parts[0];
    let [_, height, width] = dims[..] else { panic!("{dims:?}") };
    parts.push(BlockPart {
        buffer: grown.unwrap(),
        dims: vec![8, height, width],
        strides: vec![1, 8 * width as isize, 8],
    });
    blocks[dense].output.as_mut().unwrap().parts.clone_from(&parts);
    blocks[head].input.as_mut().unwrap().parts = parts;
    let model = Model::from_program(program).unwrap();
    for name in ["dense", "head"] {
        assert_eq!(differing(&model, &values, find(name)), 0, "{name}");
    }
}
