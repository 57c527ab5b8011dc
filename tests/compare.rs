//! Layer-by-layer comparison of a converted network with its graph: what is right passes, and what was
//! made wrong on purpose is found in the layer where it was done, with the number of bits.

mod random_numbers;

use bnn::{
    Model, SessionOptions,
    compare::{LayerComparison, Verdict, compare_layers},
    convert::{Conversion, ConvertOptions, convert},
    graph::{BinaryOp, ConvAttributes, Graph, Op, PoolAttributes, Tensor, UnaryOp, ValueId},
    program::{BinaryOutput, Program, StepKind, TensorData},
    reference,
};
use random_numbers::Random;

fn conv(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    shape: [usize; 4],
    weights: Vec<f32>,
) -> ValueId {
    let weights = Tensor::from_f32(shape.to_vec(), weights).unwrap();
    let weights = graph.add_constant(format!("{name}.weight"), weights);
    let op = Op::Conv(ConvAttributes {
        kernel: [shape[2], shape[3]],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [shape[2] / 2; 4],
        groups: 1,
    });
    graph.push_node(name, op, [x, weights])
}

fn batch_norm(
    graph: &mut Graph,
    random: &mut Random,
    name: &str,
    x: ValueId,
    channels: usize,
) -> ValueId {
    let mut parameter = |role: &str, values: Vec<f32>| {
        let tensor = Tensor::from_f32(vec![channels], values).unwrap();
        graph.add_constant(format!("{name}.{role}"), tensor)
    };
    let gamma = parameter("gamma", random.floats(channels));
    let beta = parameter("beta", random.floats(channels));
    let mean = parameter("mean", random.floats(channels));
    let variance = parameter("variance", vec![3.0; channels]);
    let op = Op::BatchNormalization { epsilon: 1e-5 };
    graph.push_node(name, op, [x, gamma, beta, mean, variance])
}

const CHANNELS: usize = 70;

/// A float stem; a layer whose sums become bits, through a pool; one with a shortcut; a scaled one that
/// is flattened and classified.
fn network() -> Graph {
    let mut random = Random(5);
    let mut graph = Graph::new("network");
    let image = graph.add_input("image", vec![1, 3, 8, 8]);
    let stem = conv(&mut graph, "stem", image, [CHANNELS, 3, 3, 3], random.floats(CHANNELS * 27));
    let stem = batch_norm(&mut graph, &mut random, "stem.bn", stem, CHANNELS);
    let bits = graph.push_node("sign1", Op::Unary(UnaryOp::Sign), [stem]);
    let shape = [CHANNELS, CHANNELS, 3, 3];
    let first = conv(&mut graph, "first", bits, shape, random.signs(shape.iter().product(), 1.0));
    let pool = Op::MaxPool(PoolAttributes {
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [1, 1],
        pads: [0; 4],
        ceil_mode: false,
        count_include_pad: false,
    });
    let pooled = graph.push_node("pool", pool, [first]);
    let normal = batch_norm(&mut graph, &mut random, "first.bn", pooled, CHANNELS);
    let bits = graph.push_node("sign2", Op::Unary(UnaryOp::Sign), [normal]);
    let second = conv(&mut graph, "second", bits, shape, random.signs(shape.iter().product(), 0.3));
    let normal = batch_norm(&mut graph, &mut random, "second.bn", second, CHANNELS);
    let joined = graph.push_node("join", Op::Binary(BinaryOp::Add), [normal, pooled]);
    let bits = graph.push_node("sign3", Op::Unary(UnaryOp::Sign), [joined]);
    let third = conv(&mut graph, "third", bits, shape, random.signs(shape.iter().product(), 0.1));
    let mean = graph.push_node("mean", Op::GlobalAveragePool, [third]);
    let flat = graph.push_node("flat", Op::Flatten { axis: 1 }, [mean]);
    let weights = Tensor::from_f32(vec![CHANNELS, 5], random.floats(CHANNELS * 5)).unwrap();
    let weights = graph.add_constant("classifier.weight", weights);
    let logits = graph.push_node("classifier", Op::MatMul, [flat, weights]);
    graph.outputs = vec![logits];
    graph
}

/// The network without its shortcut, so that the second layer has thresholds as well.
fn thresholds_only() -> Graph {
    let mut graph = network();
    let normal = graph.nodes.iter().find(|node| node.name == "second.bn").unwrap().output();
    let sign = graph.nodes.iter_mut().find(|node| node.name == "sign3").unwrap();
    sign.inputs[0] = Some(normal);
    graph.nodes.retain(|node| node.name != "join");
    graph
}

fn rows(graph: &Graph) -> Vec<Vec<Vec<f32>>> {
    let mut random = Random(17);
    let len = graph.inputs[0].shape.iter().product();
    (0..2).map(|_| vec![random.floats(len)]).collect()
}

fn compare(graph: &Graph, conversion: &Conversion, program: &Program) -> LayerComparison {
    // As the file will be read.
    let model = Model::from_bytes(&bnn::format::write(program).unwrap()).unwrap();
    let options = SessionOptions::default();
    compare_layers(graph, &conversion.trace, &model, &rows(graph), &options).unwrap()
}

fn converted(graph: &Graph) -> Conversion {
    convert(graph.clone(), &ConvertOptions::default()).unwrap()
}

/// Changes the integer thresholds of a layer.
fn change_thresholds(program: &mut Program, layer: &str, change: impl FnOnce(&mut [i32])) {
    let step = program.steps.iter().find(|step| step.name == layer).unwrap();
    let StepKind::BinaryConv { output: BinaryOutput::Threshold { thresholds, .. }, .. } = step.kind
    else {
        panic!("{layer} has no thresholds")
    };
    match &mut program.tensors[thresholds.index()].data {
        TensorData::I32(values) => change(values),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_right_conversion_passes() {
    for graph in [network(), thresholds_only()] {
        let conversion = converted(&graph);
        let comparison = compare(&graph, &conversion, &conversion.program);
        assert!(comparison.passed, "{comparison:#?}");
        assert_eq!(comparison.rows, 2);
        let names: Vec<&str> = comparison.tensors.iter().map(|t| t.tensor.as_str()).collect();
        for name in ["sign1", "sign2", "sign3", "classifier"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        let sign = comparison.tensors.iter().find(|t| t.tensor == "sign2").unwrap();
        assert_eq!((sign.kind, sign.layer.as_str(), sign.op), ("bits", "pool", "Step"));
        assert_eq!(sign.elements, 2 * CHANNELS * 16);
    }
}

#[test]
fn a_wrong_threshold_is_found_in_its_layer() {
    let graph = thresholds_only();
    let conversion = converted(&graph);
    let mut program = conversion.program.clone();
    change_thresholds(&mut program, "second", |thresholds| thresholds[3] = i32::MAX);
    let comparison = compare(&graph, &conversion, &program);
    assert!(!comparison.passed);
    let found = comparison.first_failure().unwrap();
    assert_eq!(
        (found.layer.as_str(), found.tensor.as_str(), found.kind),
        ("second", "sign3", "bits")
    );

    // All bits of the channel that are set turn over. (A negated filter has them the other way.)
    let sign3 = graph.nodes.iter().find(|node| node.name == "sign3").unwrap();
    let (mut set, mut margins) = (0, Vec::new());
    for row in rows(&graph) {
        let input = Tensor::from_f32(vec![1, 3, 8, 8], row[0].clone()).unwrap();
        let values = reference::run_all(&graph, &[input]).unwrap();
        let sums = values[sign3.input(0).unwrap().index()].as_ref().unwrap();
        for &sum in &sums.f32().unwrap()[3 * 16..4 * 16] {
            set += usize::from(sum >= 0.0);
            margins.extend((sum >= 0.0).then_some(f64::from(sum)));
        }
    }
    assert!(set > 0);
    assert_eq!((found.differing, found.unexplained), (set, set));
    let distances = found.distances.unwrap();
    assert_eq!(distances.smallest, margins.iter().copied().fold(f64::INFINITY, f64::min));
    assert_eq!(distances.largest, margins.iter().copied().fold(0.0, f64::max));
    assert!(distances.spread > 0.0);

    // What follows differs because of that, and for no reason of its own.
    assert_eq!(comparison.count(Verdict::Differs), 1, "{comparison:#?}");
    assert!(comparison.count(Verdict::AfterFlip) > 0);
    assert_eq!(comparison.first_difference(), Some(found));
}

#[test]
fn a_threshold_off_by_one_is_no_rounding() {
    let graph = thresholds_only();
    let conversion = converted(&graph);
    let mut program = conversion.program.clone();
    // Sums of the first layer have a fixed parity inside the map only; two is one step everywhere.
    change_thresholds(&mut program, "second", |thresholds| {
        thresholds.iter_mut().for_each(|at| *at = at.saturating_add(2));
    });
    let comparison = compare(&graph, &conversion, &program);
    let found = comparison.first_failure().unwrap();
    assert_eq!(found.layer, "second");
    assert_eq!(found.unexplained, found.differing);
}

#[test]
fn two_wrong_layers_are_both_found() {
    let graph = thresholds_only();
    let conversion = converted(&graph);
    let mut program = conversion.program.clone();
    change_thresholds(&mut program, "first", |thresholds| thresholds[0] = i32::MAX);
    change_thresholds(&mut program, "second", |thresholds| thresholds[9] = i32::MIN);
    let comparison = compare(&graph, &conversion, &program);
    let wrong: Vec<&str> = comparison
        .tensors
        .iter()
        .filter(|tensor| tensor.verdict == Verdict::Differs)
        .map(|tensor| tensor.tensor.as_str())
        .collect();
    assert_eq!(wrong, ["sign2", "sign3"]);
}

#[test]
fn wrong_floats_are_found() {
    let graph = network();
    let conversion = converted(&graph);
    let mut program = conversion.program.clone();
    let weights = program.tensors.iter_mut().find(|t| t.name.starts_with("classifier.weight"));
    match &mut weights.unwrap().data {
        TensorData::F32(values) => values[7] += 1e-3,
        other => panic!("{other:?}"),
    }
    let comparison = compare(&graph, &conversion, &program);
    let found = comparison.first_failure().unwrap();
    assert_eq!((found.layer.as_str(), found.kind), ("classifier", "f32"));
    assert!(found.max_difference > found.explained && found.max_relative > 0.0);
}

/// Ten times 0.1 is 1 in one multiplication and 1.0000001 in ten additions: a bit whose threshold
/// lies there may turn over, and is no failure.
#[test]
fn a_sum_at_the_threshold_is_on_the_fence() {
    let mut graph = Graph::new("fence");
    let x = graph.add_input("image", vec![1, 10]);
    let bits = graph.push_node("sign1", Op::Step { at_least: true, low: -1.0, high: 1.0 }, [x]);
    let weights = Tensor::from_f32(vec![10, 2], vec![0.1; 20]).unwrap();
    let weights = graph.add_constant("w", weights);
    let sums = graph.push_node("dense", Op::MatMul, [bits, weights]);
    let ten_additions = (0..10).fold(0.0_f32, |sum, _| sum + 0.1);
    assert_ne!(ten_additions, 1.0);
    let shift = Tensor::from_f32(vec![2], vec![ten_additions, 0.5]).unwrap();
    let shift = graph.add_constant("shift", shift);
    let shifted = graph.push_node("shifted", Op::Binary(BinaryOp::Sub), [sums, shift]);
    let step = Op::Step { at_least: true, low: -1.0, high: 1.0 };
    let bits = graph.push_node("sign2", step, [shifted]);
    let weights = Tensor::from_f32(vec![2, 1], vec![1.0, -1.0]).unwrap();
    let weights = graph.add_constant("v", weights);
    graph.outputs = vec![graph.push_node("last", Op::MatMul, [bits, weights])];
    let conversion = converted(&graph);
    let model = Model::from_program(conversion.program.clone()).unwrap();
    let rows = [vec![vec![1.0; 10]]];
    let options = SessionOptions::default();
    let comparison = compare_layers(&graph, &conversion.trace, &model, &rows, &options).unwrap();
    assert!(comparison.passed, "{comparison:#?}");
    let fence = comparison.first_difference().unwrap();
    assert_eq!((fence.tensor.as_str(), fence.verdict), ("sign2", Verdict::OnTheFence));
    assert_eq!((fence.differing, fence.elements), (1, 2));
    assert_eq!(fence.distances.unwrap().largest, 0.0);
    let last = comparison.tensors.last().unwrap();
    assert_eq!((last.tensor.as_str(), last.verdict), ("last", Verdict::AfterFlip));
    assert_eq!(last.max_difference, 2.0);
}

/// The same with more levels: half-way between two of them, rounding decides.
#[test]
fn a_sum_between_two_levels_is_on_the_fence() {
    let mut graph = Graph::new("levels");
    let x = graph.add_input("image", vec![1, 10]);
    let bits = graph.push_node("sign", Op::Step { at_least: true, low: -1.0, high: 1.0 }, [x]);
    let weights = Tensor::from_f32(vec![10, 1], vec![0.1; 10]).unwrap();
    let weights = graph.add_constant("w", weights);
    let sum = graph.push_node("dense", Op::MatMul, [bits, weights]);
    let ten_additions = (0..10).fold(0.0_f32, |sum, _| sum + 0.1);
    let shift = graph.add_constant("shift", Tensor::scalar(1.5 - ten_additions));
    let shifted = graph.push_node("shifted", Op::Binary(BinaryOp::Add), [sum, shift]);
    graph.outputs = vec![graph.push_node("level", Op::Unary(UnaryOp::Round), [shifted])];
    let conversion = converted(&graph);
    let model = Model::from_program(conversion.program.clone()).unwrap();
    let rows = [vec![vec![1.0; 10]]];
    let options = SessionOptions::default();
    let comparison = compare_layers(&graph, &conversion.trace, &model, &rows, &options).unwrap();
    assert!(comparison.passed, "{comparison:#?}");
    let level = comparison.first_difference().unwrap();
    assert_eq!((level.tensor.as_str(), level.kind), ("level", "f32"));
    assert_eq!((level.verdict, level.max_difference), (Verdict::OnTheFence, 1.0));
}

/// ONNX `Sign` is 0 at 0, the engine's +1; the comparison counts them and goes on with +1.
#[test]
fn zeros_at_signs_are_counted() {
    let mut graph = Graph::new("zeros");
    let x = graph.add_input("x", vec![1, 4]);
    let bits = graph.push_node("sign", Op::Unary(UnaryOp::Sign), [x]);
    let weights = Tensor::from_f32(vec![4, 1], vec![1.0, -1.0, 1.0, 1.0]).unwrap();
    let weights = graph.add_constant("w", weights);
    graph.outputs = vec![graph.push_node("sum", Op::MatMul, [bits, weights])];
    let conversion = converted(&graph);
    let model = Model::from_program(conversion.program.clone()).unwrap();
    let rows = [vec![vec![0.0, 1.0, -0.0, -2.0]]];
    let options = SessionOptions::default();
    let comparison = compare_layers(&graph, &conversion.trace, &model, &rows, &options).unwrap();
    assert!(comparison.passed);
    assert_eq!(comparison.zeros_at_signs, 2);
    assert!(comparison.tensors.iter().all(|tensor| tensor.verdict == Verdict::Equal));
}

/// `Sign(Sign(x) + 0.1)` is +1 at 0 in ONNX as well: nothing is ambiguous there.
#[test]
fn a_sign_of_a_shifted_sign_has_no_zeros() {
    let mut graph = Graph::new("double");
    let x = graph.add_input("x", vec![1, 4]);
    let inner = graph.push_node("inner", Op::Unary(UnaryOp::Sign), [x]);
    let shift = graph.add_constant("shift", Tensor::scalar(0.1));
    let shifted = graph.push_node("shifted", Op::Binary(BinaryOp::Add), [inner, shift]);
    let bits = graph.push_node("outer", Op::Unary(UnaryOp::Sign), [shifted]);
    let weights = Tensor::from_f32(vec![4, 1], vec![1.0, -1.0, 1.0, 1.0]).unwrap();
    let weights = graph.add_constant("w", weights);
    graph.outputs = vec![graph.push_node("sum", Op::MatMul, [bits, weights])];
    let conversion = converted(&graph);
    assert_eq!(conversion.report.notes, Vec::<String>::new());
    let model = Model::from_program(conversion.program.clone()).unwrap();
    let rows = [vec![vec![0.0, 1.0, -0.0, -2.0]]];
    let options = SessionOptions::default();
    let comparison = compare_layers(&graph, &conversion.trace, &model, &rows, &options).unwrap();
    assert!(comparison.passed);
    assert_eq!(comparison.zeros_at_signs, 0);
    let names: Vec<&str> = comparison.tensors.iter().map(|t| t.tensor.as_str()).collect();
    assert_eq!(names, ["outer", "sum"]);
}

#[test]
fn inputs_must_fit() {
    let graph = network();
    let conversion = converted(&graph);
    let model = Model::from_program(conversion.program.clone()).unwrap();
    for rows in [vec![vec![vec![0.0; 5]]], vec![Vec::new()]] {
        let options = SessionOptions::default();
        let error = compare_layers(&graph, &conversion.trace, &model, &rows, &options).unwrap_err();
        assert!(error.to_string().contains("row 0"), "{error}");
    }
}
