//! ONNX files written here and read by the importer: operator sets, defaults, tensors, and what is
//! refused.

use bnn::graph::{BinaryOp, ConvAttributes, Data, Graph, Op, PoolAttributes, Tensor, UnaryOp};
use bnn::import::onnx::{ImportError, ImportOptions, from_bytes, read};
use bnn::reference::run;
use proptest::prelude::*;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataLocation, DataType, Dimension, GraphProto, ModelProto,
    NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};
use std::cell::RefCell;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(r#type), ..Default::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::INT) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::INTS) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::FLOAT) }
}

fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.to_owned()), ..attribute(name, AttributeType::STRING) }
}

fn tensor_attribute(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, AttributeType::TENSOR) }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: Some(format!("the {op}")),
        op_type: Some(op.to_owned()),
        input: strings(inputs),
        output: strings(outputs),
        attribute: attributes,
        ..Default::default()
    }
}

fn raw(name: &str, data_type: DataType, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        raw_data: Some(RefCell::new(bytes.to_vec())),
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    raw(name, DataType::FLOAT, dims, &bytes)
}

fn longs(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::INT64),
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A tensor of the given dimensions; a text is the name of an unknown one.
fn value_info(name: &str, data_type: DataType, dims: &[Result<i64, &str>]) -> ValueInfoProto {
    let dim = |dim: &Result<i64, &str>| Dimension {
        dim_value: dim.ok(),
        dim_param: dim.err().map(str::to_owned),
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = TypeProtoTensor { elem_type: Some(data_type), shape: Some(shape) };
    let r#type = TypeProto { tensor_type: Some(tensor), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type) }
}

/// A model under construction: input `x`, output `y`.
struct Model {
    operator_set: i64,
    domain: &'static str,
    graph: GraphProto,
}

impl Model {
    fn new(operator_set: i64, input: &[i64]) -> Self {
        let dims: Vec<_> = input.iter().map(|&size| Ok(size)).collect();
        let graph = GraphProto {
            input: vec![value_info("x", DataType::FLOAT, &dims)],
            output: vec![ValueInfoProto { name: Some("y".to_owned()), r#type: None }],
            ..Default::default()
        };
        Self { operator_set, domain: "", graph }
    }

    fn node(mut self, node: NodeProto) -> Self {
        self.graph.node.push(node);
        self
    }

    /// The operator from `x` and initializers to `y`.
    fn op(self, op: &str, further: &[&str], attributes: Vec<AttributeProto>) -> Self {
        let inputs = [&["x"], further].concat();
        self.node(node(op, &inputs, &["y"], attributes))
    }

    fn tensor(mut self, tensor: TensorProto) -> Self {
        self.graph.initializer.push(tensor);
        self
    }

    fn bytes(self) -> Vec<u8> {
        let set = OperatorSetIdProto {
            domain: Some(self.domain.to_owned()),
            version: Some(self.operator_set),
        };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![set],
            ..Default::default()
        };
        model.write_buf().expect("the model is written")
    }

    fn import(self) -> Result<Graph, ImportError> {
        from_bytes(&self.bytes(), None, &ImportOptions::default())
    }

    fn graph(self) -> Graph {
        self.import().expect("the model imports")
    }

    fn failure(self) -> String {
        self.import().expect_err("the model is refused").to_string()
    }

    /// The output for an input of the numbers from 0 on.
    fn run(self) -> Tensor {
        let graph = self.graph();
        let shape = graph.inputs[0].shape.clone();
        let count = shape.iter().product::<usize>();
        let input = Tensor::from_f32(shape, (0..count).map(|i| i as f32).collect());
        run(&graph, &[input.expect("an input")]).expect("the model runs").remove(0)
    }
}

/// The only operator of a graph.
fn only_op(graph: &Graph) -> &Op {
    assert_eq!(graph.nodes.len(), 1);
    &graph.nodes[0].op
}

#[test]
fn names_shapes_and_constants_arrive() {
    let graph = Model::new(17, &[0, 2, 3, 3])
        .tensor(floats("w", &[1, 2, 1, 1], &[1.0, -1.0]))
        .tensor(floats("unused", &[1], &[0.0]))
        .op("Conv", &["w"], vec![ints("kernel_shape", &[1, 1])])
        .graph();
    assert_eq!(graph.inputs[0].shape, [1, 2, 3, 3]);
    assert_eq!(graph.value_name(graph.inputs[0].value), "x");
    assert_eq!(graph.value_name(graph.outputs[0]), "y");
    assert_eq!(graph.nodes[0].name, "the Conv");
    assert_eq!(graph.values.len(), 3);
    let weights = graph.nodes[0].input(1).and_then(|w| graph.constant(w)).expect("a constant");
    assert_eq!(weights.f32(), Ok(&[1.0, -1.0][..]));
    let expected = ConvAttributes {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0; 4],
        groups: 1,
    };
    assert_eq!(only_op(&graph), &Op::Conv(expected));
}

#[test]
fn initializers_that_are_also_inputs_are_constants() {
    let mut model = Model::new(13, &[1, 2]).tensor(floats("w", &[2], &[1.0, 2.0]));
    model.graph.input.push(value_info("w", DataType::FLOAT, &[Ok(2)]));
    let graph = model.op("Add", &["w"], vec![]).graph();
    assert_eq!(graph.inputs.len(), 1);
}

#[test]
fn open_sizes_are_asked_for() {
    let model = || {
        let mut model = Model::new(13, &[]).op("Relu", &[], vec![]);
        let dims = [Err("batch"), Ok(3), Err("height"), Ok(32)];
        model.graph.input = vec![value_info("x", DataType::FLOAT, &dims)];
        model
    };
    assert_eq!(
        model().failure(),
        "input `x` has shape [1,3,?,32], which leaves sizes open: pass --input-shape x=1,3,224,32"
    );
    let mut options = ImportOptions::default();
    options.input_shapes.insert("x".to_owned(), vec![8, 3, 16, 32]);
    let graph = from_bytes(&model().bytes(), None, &options).expect("the model imports");
    assert_eq!(graph.inputs[0].shape, [1, 3, 16, 32]);
    options.input_shapes.insert("z".to_owned(), vec![1]);
    let error = from_bytes(&model().bytes(), None, &options).expect_err("there is no such input");
    assert!(error.to_string().contains("input `z`"), "{error}");
}

#[test]
fn integer_inputs_may_only_be_cast() {
    let model = |op: &str, attributes| {
        let mut model = Model::new(13, &[]).op(op, &[], attributes);
        model.graph.input = vec![value_info("x", DataType::UINT8, &[Ok(1), Ok(2)])];
        model
    };
    model("Cast", vec![int("to", 1)]).graph();
    assert!(model("Relu", vec![]).failure().contains("UINT8"));
}

#[test]
fn implied_padding_becomes_explicit() {
    let pads = |auto_pad: &str, size: i64, kernel: i64, stride: i64, dilation: i64| {
        let graph = Model::new(13, &[1, 1, size, size])
            .op(
                "MaxPool",
                &[],
                vec![
                    string("auto_pad", auto_pad),
                    ints("kernel_shape", &[kernel; 2]),
                    ints("strides", &[stride; 2]),
                    ints("dilations", &[dilation; 2]),
                ],
            )
            .graph();
        match only_op(&graph) {
            Op::MaxPool(PoolAttributes { pads, .. }) => *pads,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pads("SAME_UPPER", 5, 2, 1, 1), [0, 0, 1, 1]);
    assert_eq!(pads("SAME_LOWER", 5, 2, 1, 1), [1, 1, 0, 0]);
    assert_eq!(pads("SAME_UPPER", 6, 3, 2, 1), [0, 0, 1, 1]);
    assert_eq!(pads("SAME_UPPER", 5, 3, 1, 2), [2, 2, 2, 2]);
    assert_eq!(pads("VALID", 5, 2, 1, 1), [0; 4]);
    assert_eq!(pads("NOTSET", 5, 2, 1, 1), [0; 4]);
}

#[test]
fn windows_over_three_dimensions_are_refused() {
    let message = Model::new(13, &[1, 2, 9, 9, 9])
        .tensor(floats("w", &[1, 2, 1, 1, 1], &[1.0, 1.0]))
        .op("Conv", &["w"], vec![])
        .failure();
    assert!(message.contains("only one or two are supported"), "{message}");
    assert!(message.contains("Conv of [1, 2, 9, 9, 9], [1, 2, 1, 1, 1]"), "{message}");
}

#[test]
fn windows_over_one_dimension_are_those_over_a_row() {
    let values = vec![1.0, 4.0, 2.0, 2.0, 7.0];
    let x = Tensor::from_f32(vec![1, 1, 5], values).unwrap();
    let run = |graph: &Graph| {
        let output = bnn::reference::run(graph, std::slice::from_ref(&x)).unwrap().remove(0);
        (output.shape().to_vec(), output.f32().unwrap().to_vec())
    };
    let conv = Model::new(13, &[1, 1, 5])
        .tensor(floats("w", &[1, 1, 2], &[1.0, -1.0]))
        .op("Conv", &["w"], vec![ints("strides", &[1]), ints("pads", &[1, 0])])
        .graph();
    assert_eq!(run(&conv), (vec![1, 1, 5], vec![-1.0, -3.0, 2.0, 0.0, -5.0]));
    let pool = Model::new(13, &[1, 1, 5])
        .op("MaxPool", &[], vec![ints("kernel_shape", &[2]), ints("strides", &[2])])
        .graph();
    assert_eq!(run(&pool), (vec![1, 1, 2], vec![4.0, 2.0]));
}

#[test]
fn bounds_move_from_attributes_to_operands() {
    let old = Model::new(7, &[1, 4]).op("Clip", &[], vec![float("min", 1.0), float("max", 2.0)]);
    let new = Model::new(11, &[1, 4])
        .tensor(floats("low", &[], &[1.0]))
        .tensor(floats("high", &[], &[2.0]))
        .op("Clip", &["low", "high"], vec![]);
    assert_eq!(old.run().f32(), Ok(&[1.0, 1.0, 2.0, 2.0][..]));
    assert_eq!(new.run().f32(), Ok(&[1.0, 1.0, 2.0, 2.0][..]));
    let only_high = Model::new(13, &[1, 4]).tensor(floats("high", &[], &[2.0])).op(
        "Clip",
        &["", "high"],
        vec![],
    );
    assert_eq!(only_high.run().f32(), Ok(&[0.0, 1.0, 2.0, 2.0][..]));
}

#[test]
fn axes_pads_and_sizes_move_from_attributes_to_operands() {
    let cases = [
        (
            Model::new(9, &[1, 3]).op("Unsqueeze", &[], vec![ints("axes", &[0])]),
            Model::new(13, &[1, 3]).tensor(longs("axes", &[0])).op("Unsqueeze", &["axes"], vec![]),
            Tensor::from_f32(vec![1, 1, 3], vec![0.0, 1.0, 2.0]),
        ),
        (
            Model::new(9, &[1, 3]).op("Squeeze", &[], vec![ints("axes", &[0])]),
            Model::new(13, &[1, 3]).tensor(longs("axes", &[0])).op("Squeeze", &["axes"], vec![]),
            Tensor::from_f32(vec![3], vec![0.0, 1.0, 2.0]),
        ),
        (
            Model::new(10, &[1, 2]).op(
                "Pad",
                &[],
                vec![ints("pads", &[0, 1, 0, 0]), float("value", 5.0)],
            ),
            Model::new(13, &[1, 2])
                .tensor(longs("pads", &[0, 1, 0, 0]))
                .tensor(floats("value", &[], &[5.0]))
                .op("Pad", &["pads", "value"], vec![string("mode", "constant")]),
            Tensor::from_f32(vec![1, 3], vec![5.0, 0.0, 1.0]),
        ),
        (
            Model::new(9, &[1, 4]).op(
                "Slice",
                &[],
                vec![ints("starts", &[1]), ints("ends", &[-1]), ints("axes", &[1])],
            ),
            Model::new(13, &[1, 4])
                .tensor(longs("starts", &[1]))
                .tensor(longs("ends", &[-1]))
                .tensor(longs("axes", &[1]))
                .op("Slice", &["starts", "ends", "axes"], vec![]),
            Tensor::from_f32(vec![1, 2], vec![1.0, 2.0]),
        ),
        (
            Model::new(11, &[1, 4]).op("ReduceSum", &[], vec![ints("axes", &[1])]),
            Model::new(13, &[1, 4]).tensor(longs("axes", &[1])).op("ReduceSum", &["axes"], vec![]),
            Tensor::from_f32(vec![1, 1], vec![6.0]),
        ),
        (
            Model::new(13, &[1, 4]).op(
                "ReduceMean",
                &[],
                vec![ints("axes", &[1]), int("keepdims", 0)],
            ),
            Model::new(18, &[1, 4]).tensor(longs("axes", &[1])).op(
                "ReduceMean",
                &["axes"],
                vec![int("keepdims", 0)],
            ),
            Tensor::from_f32(vec![1], vec![1.5]),
        ),
    ];
    for (old, new, expected) in cases {
        let expected = expected.expect("a tensor");
        assert_eq!(old.run(), expected);
        assert_eq!(new.run(), expected);
    }
    let last = Tensor::from_f32(vec![1, 1], vec![3.0]).expect("a tensor");
    let attributes = vec![int("axis", 1), ints("split", &[3, 1])];
    assert_eq!(last_part(11, attributes, None), last);
    assert_eq!(last_part(13, vec![int("axis", 1)], Some(&[3, 1])), last);
}

/// The second part of a Split of four numbers.
fn last_part(operator_set: i64, attributes: Vec<AttributeProto>, sizes: Option<&[i64]>) -> Tensor {
    let mut model = Model::new(operator_set, &[1, 4]);
    let mut inputs = vec!["x"];
    if let Some(sizes) = sizes {
        model = model.tensor(longs("sizes", sizes));
        inputs.push("sizes");
    }
    model.node(node("Split", &inputs, &["first", "y"], attributes)).run()
}

#[test]
fn an_empty_list_of_axes_means_all_or_none() {
    let model = |noop| {
        Model::new(18, &[1, 4])
            .op("ReduceSum", &[], vec![int("noop_with_empty_axes", noop), int("keepdims", 0)])
            .run()
    };
    assert_eq!(model(0), Tensor::scalar(6.0));
    assert_eq!(model(1).shape(), [1, 4]);
}

#[test]
fn softmax_used_to_flatten() {
    let old = Model::new(11, &[1, 2, 2]).op("Softmax", &[], vec![]);
    let y = old.run();
    assert_eq!(y.shape(), [1, 2, 2]);
    assert!((y.f32().expect("floats").iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let new = Model::new(13, &[1, 2, 2]).op("Softmax", &[], vec![]);
    assert_eq!(only_op(&new.graph()), &Op::Softmax { axis: -1 });
    // Where only one axis has more than one entry, both are the same.
    let old = Model::new(11, &[1, 5]).op("Softmax", &[], vec![]);
    assert_eq!(only_op(&old.graph()), &Op::Softmax { axis: 1 });
}

#[test]
fn batch_normalization_ignores_training_leftovers() {
    let model = |operator_set, attributes: Vec<AttributeProto>, outputs: &[&str]| {
        let mut model = Model::new(operator_set, &[1, 1, 2, 2]);
        for name in ["gamma", "beta", "mean", "variance"] {
            model = model.tensor(floats(name, &[1], &[1.0]));
        }
        let inputs = ["x", "gamma", "beta", "mean", "variance"];
        model.node(node("BatchNormalization", &inputs, outputs, attributes))
    };
    let attributes = vec![float("momentum", 0.5), int("spatial", 1)];
    let graph = model(7, attributes, &["y", "m", "v", "sm", "sv"]).graph();
    assert_eq!(only_op(&graph), &Op::BatchNormalization { epsilon: 1e-5 });
    assert_eq!(graph.nodes[0].outputs.len(), 1);
    let graph = model(15, vec![float("epsilon", 0.25)], &["y"]).graph();
    assert_eq!(only_op(&graph), &Op::BatchNormalization { epsilon: 0.25 });
    assert!(model(15, vec![int("training_mode", 1)], &["y"]).failure().contains("training"));
    assert!(model(7, vec![int("spatial", 0)], &["y"]).failure().contains("spatial"));
}

#[test]
fn lists_of_operands_become_chains() {
    let model = |op: &str, operands: &[&str]| {
        Model::new(13, &[1, 2])
            .tensor(floats("a", &[2], &[3.0, -1.0]))
            .tensor(floats("b", &[1], &[0.5]))
            .op(op, operands, vec![])
    };
    assert_eq!(model("Sum", &["a", "b"]).run().f32(), Ok(&[3.5, 0.5][..]));
    assert_eq!(model("Mean", &["a"]).run().f32(), Ok(&[1.5, 0.0][..]));
    assert_eq!(model("Max", &["a", "b"]).run().f32(), Ok(&[3.0, 1.0][..]));
    assert_eq!(model("Min", &["a", "b"]).run().f32(), Ok(&[0.0, -1.0][..]));
    assert_eq!(only_op(&model("Max", &[]).graph()), &Op::Unary(UnaryOp::Identity));
    let chain = model("Sum", &["a", "b"]).graph();
    assert_eq!(chain.nodes.len(), 2);
    assert!(chain.nodes.iter().all(|node| node.op == Op::Binary(BinaryOp::Add)));
    let names: std::collections::BTreeSet<_> = chain.values.iter().map(|v| &v.name).collect();
    assert_eq!(names.len(), chain.values.len());
}

#[test]
fn shape_arithmetic_is_followed() {
    // The flattening that exporters write: Reshape to [shape[0], -1].
    let y = Model::new(9, &[1, 2, 3])
        .node(node("Shape", &["x"], &["s"], vec![]))
        .node(node("Constant", &[], &["zero"], vec![tensor_attribute("value", zero())]))
        .node(node("Gather", &["s", "zero"], &["batch"], vec![int("axis", 0)]))
        .node(node("Unsqueeze", &["batch"], &["first"], vec![ints("axes", &[0])]))
        .tensor(longs("rest", &[-1]))
        .node(node("Concat", &["first", "rest"], &["to"], vec![int("axis", 0)]))
        .op("Reshape", &["to"], vec![])
        .run();
    assert_eq!(y.shape(), [1, 6]);
}

fn zero() -> TensorProto {
    TensorProto { dims: vec![], ..longs("", &[0]) }
}

#[test]
fn constants_in_all_forms() {
    let constant = |attribute| {
        let graph =
            Model::new(13, &[1, 1]).node(node("Constant", &[], &["y"], vec![attribute])).graph();
        assert!(graph.nodes.is_empty());
        graph.constant(graph.outputs[0]).expect("a constant").clone()
    };
    assert_eq!(constant(float("value_float", 0.5)), Tensor::scalar(0.5));
    assert_eq!(constant(ints("value_ints", &[1, 2])), Tensor::from_i64(vec![1, 2]));
    assert_eq!(constant(int("value_int", 7)).data(), &Data::I64(vec![7]));
    assert_eq!(constant(tensor_attribute("value", floats("", &[1], &[2.0]))).shape(), [1]);
    let list =
        AttributeProto { floats: vec![1.5], ..attribute("value_floats", AttributeType::FLOATS) };
    assert_eq!(constant(list).f32(), Ok(&[1.5][..]));
    let text = Model::new(13, &[1, 1])
        .node(node("Constant", &[], &["y"], vec![string("value_string", "text")]))
        .failure();
    assert!(text.contains("strings"), "{text}");
    let filled = Model::new(13, &[1, 1])
        .tensor(longs("shape", &[2]))
        .node(node("ConstantOfShape", &["shape"], &["y"], vec![]))
        .run();
    assert_eq!(filled.f32(), Ok(&[0.0, 0.0][..]));
}

#[test]
fn dropout_and_identity_do_nothing() {
    let old = Model::new(7, &[1, 2]).op("Dropout", &[], vec![float("ratio", 0.9)]);
    assert_eq!(old.run().f32(), Ok(&[0.0, 1.0][..]));
    let training = Model::new(13, &[1, 2])
        .tensor(floats("ratio", &[], &[0.5]))
        .tensor(raw("on", DataType::BOOL, &[], &[1]))
        .op("Dropout", &["ratio", "on"], vec![]);
    assert!(training.failure().contains("training"));
}

/// What exporters write for the zero bias of a layer: a scalar, cast to the type of the weights or of
/// the input and expanded to a shape that is computed from them.
#[test]
fn casts_to_the_type_of_another_tensor() {
    for like in ["x", "w", "truth"] {
        let graph = Model::new(20, &[1, 2, 3, 3])
            .tensor(floats("w", &[4, 2, 1, 1], &[1.0; 8]))
            .tensor(raw("truth", DataType::BOOL, &[], &[1]))
            .node(node("Shape", &["w"], &["size"], vec![int("start", 0), int("end", 1)]))
            .node(node("Constant", &[], &["two"], vec![tensor_attribute("value", double_two())]))
            .node(node("CastLike", &["two", like], &["cast"], vec![]))
            .node(node("Expand", &["cast", "size"], &["b"], vec![]))
            .node(node("Cast", &["b"], &["bias"], vec![int("to", 1)]))
            .op("Conv", &["w", "bias"], vec![])
            .graph();
        let input = Tensor::from_f32(vec![1, 2, 3, 3], vec![0.5; 18]).expect("an input");
        let y = run(&graph, &[input]).expect("the model runs").remove(0);
        // Of a truth value only that it is not zero remains.
        let expected = if like == "truth" { 2.0 } else { 3.0 };
        assert_eq!(y.f32(), Ok(&[expected; 36][..]), "like {like}");
    }
    let unknown = Model::new(20, &[1, 2])
        .node(node("LSTM", &["x"], &["a"], vec![]))
        .node(node("CastLike", &["x", "a"], &["y"], vec![]))
        .failure();
    assert!(unknown.starts_with("1 node is not supported: `the LSTM`"), "{unknown}");
}

fn double_two() -> TensorProto {
    raw("", DataType::DOUBLE, &[], &2.0_f64.to_le_bytes())
}

#[test]
fn qonnx_operators_in_every_domain() {
    let model = |domain: &str, op: &str, further: &[(&str, f32)], attributes| {
        let mut model = Model::new(13, &[1, 4]);
        for &(name, value) in further {
            model = model.tensor(floats(name, &[], &[value]));
        }
        let inputs: Vec<&str> =
            ["x"].into_iter().chain(further.iter().map(|&(name, _)| name)).collect();
        let op = node(op, &inputs, &["y"], attributes);
        model.node(NodeProto { domain: Some(domain.to_owned()), ..op })
    };
    for domain in ["onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general"] {
        let bipolar = model(domain, "BipolarQuant", &[("scale", 0.5)], vec![]);
        assert_eq!(bipolar.run().f32(), Ok(&[0.5; 4][..]));
        let operands = [("scale", 1.0), ("zero", 0.0), ("bits", 2.0)];
        let attributes =
            vec![int("signed", 1), int("narrow", 0), string("rounding_mode", "half_up")];
        let quant = model(domain, "IntQuant", &operands, attributes);
        assert_eq!(quant.run().f32(), Ok(&[0.0, 1.0, 1.0, 1.0][..]));
        let operands = [("scale", 1.0), ("zero", 0.0), ("in", 2.0), ("out", 1.0)];
        let trunc = model(domain, "Trunc", &operands, vec![string("rounding_mode", "FLOOR")]);
        assert_eq!(trunc.run().f32(), Ok(&[0.0, 0.0, 1.0, 1.0][..]));
    }
    let unknown = model("com.example", "BipolarQuant", &[("scale", 0.5)], vec![]).failure();
    assert!(unknown.contains("com.example.BipolarQuant"), "{unknown}");
    let mode = vec![string("rounding_mode", "sideways")];
    let operands = [("scale", 1.0), ("zero", 0.0), ("bits", 2.0)];
    assert!(model("onnx.brevitas", "Quant", &operands, mode).failure().contains("sideways"));
}

/// Trunc of version 2, with and without the unused zero point of the result. Worked out by hand:
/// integers 0 to 9 (x / 0.5), divided by 4 (2 / 0.5), clamped to the range, rounded.
#[test]
fn truncation_to_a_scale() {
    let model = |zero: f32, bits: f32, attributes: Vec<AttributeProto>, unused: bool| {
        let mut model = Model::new(13, &[1, 5])
            .tensor(floats("scale", &[], &[0.5]))
            .tensor(floats("zero", &[], &[zero]))
            .tensor(floats("in", &[], &[8.0]))
            .tensor(floats("to", &[], &[2.0]))
            .tensor(floats("out", &[], &[bits]));
        let mut inputs = vec!["x", "scale", "zero", "in", "to", "out"];
        if unused {
            model = model.tensor(floats("unused", &[], &[7.0]));
            inputs.insert(5, "unused");
        }
        let op = node("Trunc", &inputs, &["y"], attributes);
        let domain = Some("qonnx.custom_op.general".to_owned());
        model.node(NodeProto { domain, ..op })
    };
    let rounded = |mode: &str| vec![string("rounding_mode", mode)];
    let result = |model: Model| model.run().f32().expect("floats").to_vec();
    // Integers 0, 2, 4, 6, 8; quarters 0, 0.5, 1, 1.5, 2.
    assert_eq!(result(model(0.0, 8.0, rounded("FLOOR"), false)), [0.0, 0.0, 2.0, 2.0, 4.0]);
    assert_eq!(result(model(0.0, 8.0, rounded("FLOOR"), true)), [0.0, 0.0, 2.0, 2.0, 4.0]);
    assert_eq!(result(model(0.0, 8.0, rounded("ROUND"), false)), [0.0, 0.0, 2.0, 4.0, 4.0]);
    assert_eq!(result(model(0.0, 8.0, rounded("CEIL"), false)), [0.0, 2.0, 2.0, 4.0, 4.0]);
    // Two signed bits end at 1; two unsigned ones at 3.
    assert_eq!(result(model(0.0, 2.0, rounded("CEIL"), false)), [0.0, 2.0, 2.0, 2.0, 2.0]);
    let unsigned = vec![int("signed", 0), int("narrow", 1), string("rounding_mode", "CEIL")];
    assert_eq!(result(model(0.0, 1.0, unsigned, false)), [0.0; 5]);
    // Zero point 4 becomes 1: integers 4 to 12, quarters 1, 1.5, 2, 2.5, 3.
    assert_eq!(result(model(4.0, 8.0, rounded("FLOOR"), false)), [0.0, 0.0, 2.0, 2.0, 4.0]);
    assert!(model(0.0, 1.0, rounded("FLOOR"), false).failure().contains("one bit"));
}

/// Quantisers by hand: `(round(clamp(x / scale + zero)) - zero) * scale`.
#[test]
fn quantisers_round_clamp_and_scale() {
    let quantised = |x: &[f32], parameters: [f32; 3], attributes: Vec<AttributeProto>| {
        let mut model = Model::new(13, &[1, x.len() as i64]);
        for (name, value) in ["scale", "zero", "bits"].into_iter().zip(parameters) {
            model = model.tensor(floats(name, &[], &[value]));
        }
        let op = node("Quant", &["x", "scale", "zero", "bits"], &["y"], attributes);
        let domain = Some("qonnx.custom_op.general".to_owned());
        let graph = model.node(NodeProto { domain, ..op }).graph();
        let input = Tensor::from_f32(vec![1, x.len()], x.to_vec()).expect("an input");
        run(&graph, &[input]).expect("the model runs")[0].f32().expect("floats").to_vec()
    };
    let kind = |signed, narrow, mode: &str| {
        vec![int("signed", signed), int("narrow", narrow), string("rounding_mode", mode)]
    };
    let x = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5];
    for (mode, expected) in [
        ("ROUND", [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0]),
        ("HALF_EVEN", [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0]),
        ("CEIL", [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]),
        ("FLOOR", [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]),
        ("UP", [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]),
        ("DOWN", [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]),
        ("ROUND_TO_ZERO", [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]),
        ("HALF_UP", [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]),
        ("HALF_DOWN", [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]),
    ] {
        assert_eq!(quantised(&x, [1.0, 0.0, 4.0], kind(1, 0, mode)), expected, "{mode}");
    }
    // Ranges: -2 to 1, narrow -1 to 1, 0 to 3, narrow 0 to 2.
    let x = [-9.0, -1.0, 0.0, 2.0, 9.0];
    let of = |signed, narrow| quantised(&x, [1.0, 0.0, 2.0], kind(signed, narrow, "ROUND"));
    assert_eq!(of(1, 0), [-2.0, -1.0, 0.0, 1.0, 1.0]);
    assert_eq!(of(1, 1), [-1.0, -1.0, 0.0, 1.0, 1.0]);
    assert_eq!(of(0, 0), [0.0, 0.0, 0.0, 2.0, 3.0]);
    assert_eq!(of(0, 1), [0.0, 0.0, 0.0, 2.0, 2.0]);
    // Scale 0.25, zero point 1, two unsigned bits: integers -1 to 2 after the shift.
    let y = quantised(&[-1.0, -0.25, 0.0, 0.3, 7.0], [0.25, 1.0, 2.0], kind(0, 0, "ROUND"));
    assert_eq!(y, [-0.25, -0.25, 0.0, 0.25, 0.5]);
    // One signed bit is a sign.
    assert_eq!(quantised(&[-0.1, 0.0], [0.5, 0.0, 1.0], kind(1, 1, "ROUND")), [-0.5, 0.5]);
}

#[test]
fn thresholds_are_counted_scaled_and_shifted() {
    let model =
        Model::new(13, &[1, 2, 1, 3]).tensor(floats("t", &[2, 3], &[0.0, 1.0, 1.5, 3.0, 3.0, 9.0]));
    let float_attributes = vec![float("out_scale", 0.5), float("out_bias", -1.0)];
    let op = node("MultiThreshold", &["x", "t"], &["y"], float_attributes);
    let domain = Some("finn.custom_op.general".to_owned());
    let y = model.node(NodeProto { domain, ..op }).run();
    // Counts 1, 2, 3 of 0, 1, 2 and 2, 2, 2 of 3, 4, 5.
    assert_eq!(y.f32(), Ok(&[-0.5, 0.0, 0.5, 0.0, 0.0, 0.0][..]));
}

#[test]
fn thresholds_of_channels_that_come_last() {
    let model = Model::new(13, &[1, 1, 2, 2]).tensor(floats("t", &[2, 1], &[1.0, 3.0]));
    let op = node("MultiThreshold", &["x", "t"], &["y"], vec![string("data_layout", "NHWC")]);
    let domain = Some("qonnx.custom_op.general".to_owned());
    let y = model.node(NodeProto { domain, ..op }).run();
    assert_eq!(y.shape(), [1, 1, 2, 2]);
    assert_eq!(y.f32(), Ok(&[0.0, 0.0, 1.0, 1.0][..]));
}

#[test]
fn all_element_types_are_widened() {
    let read = |tensor: TensorProto| {
        let mut model = Model::new(13, &[1, 1]).tensor(tensor);
        model.graph.output[0].name = Some("t".to_owned());
        let graph = model.op("Relu", &[], vec![]).import()?;
        Ok::<_, ImportError>(graph.constant(graph.outputs[0]).expect("a constant").data().clone())
    };
    let raw = |data_type, bytes: &[u8]| read(raw("t", data_type, &[1], bytes)).expect("a tensor");
    assert_eq!(raw(DataType::FLOAT, &1.5_f32.to_le_bytes()), Data::F32(vec![1.5]));
    assert_eq!(raw(DataType::DOUBLE, &1.5_f64.to_le_bytes()), Data::F32(vec![1.5]));
    assert_eq!(raw(DataType::FLOAT16, &[0x00, 0x3e]), Data::F32(vec![1.5]));
    assert_eq!(raw(DataType::BFLOAT16, &[0xc0, 0x3f]), Data::F32(vec![1.5]));
    assert_eq!(raw(DataType::INT8, &[0xff]), Data::I64(vec![-1]));
    assert_eq!(raw(DataType::UINT8, &[0xff]), Data::I64(vec![255]));
    assert_eq!(raw(DataType::INT16, &[0xfe, 0xff]), Data::I64(vec![-2]));
    assert_eq!(raw(DataType::UINT16, &[0xfe, 0xff]), Data::I64(vec![65534]));
    assert_eq!(raw(DataType::INT32, &(-3_i32).to_le_bytes()), Data::I64(vec![-3]));
    assert_eq!(raw(DataType::UINT32, &[0xff; 4]), Data::I64(vec![0xffff_ffff]));
    assert_eq!(raw(DataType::INT64, &(-4_i64).to_le_bytes()), Data::I64(vec![-4]));
    assert_eq!(raw(DataType::UINT64, &5_u64.to_le_bytes()), Data::I64(vec![5]));
    assert_eq!(raw(DataType::BOOL, &[2]), Data::Bool(vec![true]));

    let typed = |data_type, tensor: TensorProto| {
        let name = Some("t".to_owned());
        read(TensorProto { name, data_type: Some(data_type), dims: vec![1], ..tensor })
    };
    let words = |value| TensorProto { int32_data: vec![value], ..Default::default() };
    assert_eq!(typed(DataType::FLOAT16, words(0x3e00)), Ok(Data::F32(vec![1.5])));
    assert_eq!(typed(DataType::BFLOAT16, words(0x3fc0)), Ok(Data::F32(vec![1.5])));
    assert_eq!(typed(DataType::INT8, words(-1)), Ok(Data::I64(vec![-1])));
    assert_eq!(typed(DataType::BOOL, words(1)), Ok(Data::Bool(vec![true])));
    let doubles = TensorProto { double_data: vec![0.5], ..Default::default() };
    assert_eq!(typed(DataType::DOUBLE, doubles), Ok(Data::F32(vec![0.5])));
    let floats = TensorProto { float_data: vec![0.5], ..Default::default() };
    assert_eq!(typed(DataType::FLOAT, floats.clone()), Ok(Data::F32(vec![0.5])));
    assert!(typed(DataType::INT32, floats).is_err());
    for refused in [DataType::STRING, DataType::COMPLEX64, DataType::INT4, DataType(99)] {
        let error = typed(refused, words(0)).expect_err("refused").to_string();
        assert!(error.contains("not supported"), "{error}");
    }
    assert!(read(raw_of(DataType::UINT64, &[1], &[0xff; 8])).is_err());
}

fn raw_of(data_type: DataType, dims: &[i64], bytes: &[u8]) -> TensorProto {
    raw("t", data_type, dims, bytes)
}

#[test]
fn sizes_that_lie_are_found_before_memory_is_taken() {
    let read = |dims: &[i64], bytes: &[u8]| {
        let model = Model::new(13, &[1, 1]).tensor(raw_of(DataType::FLOAT, dims, bytes));
        model.op("Add", &["t"], vec![]).failure()
    };
    assert!(read(&[2], &[0; 7]).contains("take 8 bytes, 7 are there"));
    assert!(read(&[1 << 30], &[0; 4]).contains("4294967296 bytes"));
    assert!(read(&[1 << 40, 1 << 40], &[0; 4]).contains("elements"));
    assert!(read(&[-1], &[0; 4]).contains("negative"));
}

fn external(entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        name: Some("t".to_owned()),
        data_type: Some(DataType::FLOAT),
        dims: vec![2],
        external_data: entries.iter().map(entry).collect(),
        data_location: Some(DataLocation::EXTERNAL),
        ..Default::default()
    }
}

#[test]
fn external_data_stays_in_the_folder() {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).expect("a folder");
    let bytes: Vec<u8> = [0.0_f32, 1.5, -2.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.join("weights.bin"), &bytes).expect("a file");
    std::fs::write(outer.path().join("secret.bin"), &bytes).expect("a file");
    let model = |entries: &[(&str, &str)]| {
        Model::new(13, &[1, 2]).tensor(external(entries)).op("Add", &["t"], vec![]).bytes()
    };
    let import =
        |entries: &[(&str, &str)]| from_bytes(&model(entries), Some(&folder), &Default::default());
    let good = [("location", "weights.bin"), ("offset", "4"), ("length", "8")];
    let graph = import(&good).expect("the weights are there");
    let weights = graph.nodes[0].input(1).and_then(|value| graph.constant(value));
    assert_eq!(weights.map(|weights| weights.f32()), Some(Ok(&[1.5, -2.5][..])));

    let path = folder.join("model.onnx");
    std::fs::write(&path, model(&good)).expect("a file");
    assert_eq!(read(&path, &Default::default()).map(|graph| graph.name), Ok("model".to_owned()));
    assert!(from_bytes(&model(&good), None, &Default::default()).is_err());

    let absolute = folder.join("weights.bin").display().to_string();
    let mut refused = vec![
        (vec![("location", "../secret.bin")], "outside"),
        (vec![("location", "../model/weights.bin")], "outside"),
        (vec![("location", absolute.as_str())], "outside"),
        (vec![("location", "")], "outside"),
        (vec![], "without a location"),
        (vec![("location", "missing.bin")], "cannot be read"),
        (vec![("location", "weights.bin"), ("offset", "5")], "which has 12"),
        (vec![("location", "weights.bin"), ("offset", "18446744073709551615")], "which has 12"),
        (vec![("location", "weights.bin"), ("offset", "-1")], "not a number"),
        (vec![("location", "weights.bin"), ("length", "9")], "said to hold 9"),
    ];
    #[cfg(unix)]
    {
        let link = folder.join("link.bin");
        std::os::unix::fs::symlink(outer.path().join("secret.bin"), link).expect("a link");
        std::fs::create_dir(folder.join("inner")).expect("a folder");
        refused.push((vec![("location", "link.bin")], "outside"));
        refused.push((vec![("location", "inner")], "not a file"));
    }
    for (entries, why) in refused {
        let error = import(&entries).expect_err("refused").to_string();
        assert!(error.contains(why), "{entries:?}: {error}");
    }
}

#[test]
fn nodes_are_sorted() {
    let model = Model::new(13, &[1, 2])
        .node(node("Neg", &["b"], &["y"], vec![]))
        .node(node("Abs", &["a"], &["b"], vec![]))
        .node(node("Neg", &["x"], &["a"], vec![]));
    assert_eq!(model.run().f32(), Ok(&[-0.0, -1.0][..]));
}

#[test]
fn broken_graphs_are_refused() {
    let cycle = Model::new(13, &[1, 2])
        .node(node("Neg", &["late"], &["y"], vec![]))
        .node(node("Add", &["x", "later"], &["late"], vec![]))
        .node(node("Abs", &["late"], &["later"], vec![]));
    let message = cycle.failure();
    assert!(message.contains("needs its own result"), "{message}");
    assert!(message.contains("the Add") || message.contains("the Abs"), "{message}");

    let missing = Model::new(13, &[1, 2]).op("Add", &["nowhere"], vec![]);
    assert_eq!(missing.failure(), "node `the Add` reads `nowhere`, which nothing provides");
    let twice = Model::new(13, &[1, 2]).op("Neg", &[], vec![]).op("Abs", &[], vec![]);
    assert_eq!(twice.failure(), "two tensors are named `y`");
    let shadow = Model::new(13, &[1, 2]).node(node("Neg", &["x"], &["x"], vec![]));
    assert!(shadow.import().is_err());
    let no_output = Model::new(13, &[1, 2]);
    assert!(no_output.failure().contains("`y`"));
    let mask = Model::new(13, &[1, 2])
        .node(node("Dropout", &["x"], &["kept", "mask"], vec![]))
        .node(node("Where", &["mask", "x", "kept"], &["y"], vec![]));
    assert!(mask.failure().contains("result `mask`"));
    let mismatch = Model::new(13, &[1, 2]).tensor(floats("t", &[3], &[0.0; 3]));
    let message = mismatch.op("Add", &["t"], vec![]).failure();
    assert_eq!(message, "node `the Add` (Add): shapes [1, 2] and [3] do not broadcast");

    let empty = ModelProto::default().write_buf().expect("a model");
    assert_eq!(from_bytes(&empty, None, &Default::default()), Err(ImportError::NoGraph));
    assert_eq!(from_bytes(&[], None, &Default::default()), Err(ImportError::NoGraph));
    assert!(from_bytes(b"no model", None, &Default::default()).is_err());
}

#[test]
fn operator_sets_have_limits() {
    assert!(Model::new(6, &[1, 2]).op("Neg", &[], vec![]).failure().contains("expected 7 to"));
    assert!(Model::new(999, &[1, 2]).op("Neg", &[], vec![]).import().is_err());
    let mut model = Model::new(13, &[1, 2]).op("Neg", &[], vec![]);
    model.domain = "ai.onnx.ml";
    assert!(model.failure().contains("not stated"));
}

#[test]
fn attributes_are_checked() {
    let wrong_type = Model::new(13, &[1, 2]).op("Softmax", &[], vec![float("axis", 1.0)]);
    assert!(wrong_type.failure().contains("`axis` is of type FLOAT, expected INT"));
    let unknown = Model::new(13, &[1, 2]).op("Relu", &[], vec![int("leak", 1)]);
    assert!(unknown.failure().contains("`leak` is not known"));
    let twice = Model::new(13, &[1, 2]).op("Softmax", &[], vec![int("axis", 1), int("axis", 0)]);
    assert!(twice.failure().contains("twice"));
    let negative = Model::new(13, &[1, 1, 2, 2]).op(
        "MaxPool",
        &[],
        vec![ints("kernel_shape", &[1, 1]), ints("pads", &[-1, 0, 0, 0])],
    );
    assert!(negative.failure().contains("[-1, 0, 0, 0]"));
    let zero = Model::new(13, &[1, 1, 2, 2]).op(
        "MaxPool",
        &[],
        vec![ints("kernel_shape", &[1, 1]), ints("strides", &[0, 1])],
    );
    assert!(zero.failure().contains("stride"));
    let no_kernel = Model::new(13, &[1, 1, 2, 2]).op("MaxPool", &[], vec![]);
    assert!(no_kernel.failure().contains("`kernel_shape` is missing"));
    let mode = Model::new(13, &[1, 2]).tensor(longs("pads", &[0, 1, 0, 0]));
    assert!(
        mode.op("Pad", &["pads"], vec![string("mode", "reflect")]).failure().contains("reflect")
    );
}

#[test]
fn all_nodes_that_are_not_supported_are_named_at_once() {
    let branch = AttributeProto {
        g: Some(GraphProto::default()),
        ..attribute("then_branch", AttributeType::GRAPH)
    };
    let model = Model::new(13, &[1, 2])
        .node(node("LSTM", &["x"], &["a"], vec![]))
        .node(node("Relu", &["a"], &["b"], vec![]))
        .node(node("Relu", &["x"], &["c"], vec![branch]))
        .node(node("GRU", &["b", "c"], &["y"], vec![]));
    let Err(ImportError::Unsupported(nodes)) = model.import() else { panic!("refused") };
    let ops: Vec<_> = nodes.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["LSTM", "Relu", "GRU"]);
    assert_eq!(nodes[0].input_shapes, [Some(vec![1, 2])]);
    assert_eq!(nodes[2].input_shapes, [None, None]);
    assert!(nodes[1].reason.contains("`then_branch` is a graph"));
    let message = ImportError::Unsupported(nodes).to_string();
    assert!(
        message.starts_with("3 nodes are not supported: 1) `the LSTM` (LSTM of [1, 2])"),
        "{message}"
    );
}

/// Operator, operator set, attributes and what it computes.
type ActivationCase = (&'static str, i64, Vec<AttributeProto>, fn(f64) -> f64);

/// Activations that become arithmetic, against their formulas in f64.
#[test]
fn activations_made_of_arithmetic() {
    let cases: [ActivationCase; 8] = [
        ("Selu", 6, vec![], |x| 1.0507 * if x < 0.0 { 1.67326 * x.exp_m1() } else { x }),
        ("Celu", 12, vec![float("alpha", 2.0)], |x| {
            x.max(0.0) + (2.0 * (x / 2.0).exp_m1()).min(0.0)
        }),
        ("Gelu", 20, vec![], |x| x / 2.0 * (1.0 + libm::erf(x / 2.0_f64.sqrt()))),
        ("Gelu", 20, vec![string("approximate", "tanh")], |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x / 2.0 * (1.0 + inner.tanh())
        }),
        ("Mish", 18, vec![], |x| x * x.exp().ln_1p().tanh()),
        ("Softsign", 7, vec![], |x| x / (1.0 + x.abs())),
        ("ThresholdedRelu", 10, vec![float("alpha", 0.5)], |x| if x > 0.5 { x } else { 0.0 }),
        ("ThresholdedRelu", 10, vec![float("alpha", 0.0)], |x| x.max(0.0)),
    ];
    for (op, operator_set, attributes, formula) in cases {
        let graph = Model::new(operator_set.max(7), &[1, 9]).op(op, &[], attributes).graph();
        let x: Vec<f32> = (-4..5).map(|i| i as f32 * 0.75).collect();
        let input = Tensor::from_f32(vec![1, 9], x.clone()).expect("an input");
        let y = run(&graph, &[input]).expect("the model runs").remove(0);
        for (&x, &y) in x.iter().zip(y.f32().expect("floats")) {
            let expected = formula(f64::from(x));
            assert!((f64::from(y) - expected).abs() < 2e-5, "{op} of {x} is {y}, not {expected}");
        }
        assert_eq!(graph.value_name(graph.outputs[0]), "y");
    }
    let other = Model::new(20, &[1, 2]).op("Gelu", &[], vec![string("approximate", "cubic")]);
    assert!(other.failure().contains("cubic"));
}

#[test]
fn reductions_made_of_others() {
    let model = |op: &str, operator_set: i64| {
        let model = Model::new(operator_set, &[1, 4]);
        if operator_set < 18 {
            return model.op(op, &[], vec![ints("axes", &[1])]);
        }
        model.tensor(longs("axes", &[1])).op(op, &["axes"], vec![])
    };
    for operator_set in [9, 13, 17, 18, 21] {
        let result = |op| model(op, operator_set).run().f32().expect("floats").to_vec();
        assert_eq!(result("ReduceL1"), [6.0]);
        assert_eq!(result("ReduceSumSquare"), [14.0]);
        assert_eq!(result("ReduceL2"), [14.0_f32.sqrt()]);
        assert_eq!(result("ReduceMin"), [0.0]);
    }
    let squares = Model::new(18, &[1, 2]).op("ReduceL2", &[], vec![int("noop_with_empty_axes", 1)]);
    assert_eq!(squares.run().f32(), Ok(&[0.0, 1.0][..]));
    assert!(model("ReduceProd", 18).failure().contains("sizes of a shape"));
    // Shape arithmetic of flattening.
    let y = Model::new(18, &[1, 2, 3])
        .node(node("Shape", &["x"], &["s"], vec![]))
        .node(node("ReduceProd", &["s"], &["all"], vec![]))
        .node(node("Reshape", &["x", "all"], &["flat"], vec![]))
        .node(node("Size", &["flat"], &["n"], vec![]))
        .node(node("CastLike", &["n", "x"], &["float"], vec![]))
        .node(node("Add", &["flat", "float"], &["y"], vec![]))
        .run();
    assert_eq!(y.f32(), Ok(&[6.0, 7.0, 8.0, 9.0, 10.0, 11.0][..]));
}

#[test]
fn layer_and_instance_normalisation() {
    let layer = Model::new(17, &[1, 2, 2])
        .tensor(floats("scale", &[2], &[1.0, 2.0]))
        .tensor(floats("bias", &[2], &[0.5, 0.0]))
        .op("LayerNormalization", &["scale", "bias"], vec![float("epsilon", 0.0)]);
    assert_eq!(layer.run().f32(), Ok(&[-0.5, 2.0, -0.5, 2.0][..]));
    let whole = Model::new(17, &[1, 2, 1]).tensor(floats("scale", &[2, 1], &[1.0, 3.0])).op(
        "LayerNormalization",
        &["scale"],
        vec![int("axis", 1), float("epsilon", 0.0)],
    );
    assert_eq!(whole.run().f32(), Ok(&[-1.0, 3.0][..]));
    let instance = Model::new(9, &[1, 2, 1, 2])
        .tensor(floats("scale", &[2], &[1.0, 2.0]))
        .tensor(floats("bias", &[2], &[0.5, 0.0]))
        .op("InstanceNormalization", &["scale", "bias"], vec![float("epsilon", 0.0)]);
    assert_eq!(instance.run().f32(), Ok(&[-0.5, 1.5, -2.0, 2.0][..]));
}

#[test]
fn repetition() {
    let tile = Model::new(13, &[1, 1, 2]).tensor(longs("repeats", &[1, 2, 2])).op(
        "Tile",
        &["repeats"],
        vec![],
    );
    let expected = Tensor::from_f32(vec![1, 2, 4], [0.0, 1.0].repeat(4));
    assert_eq!(Ok(tile.run()), expected);
    let many = Model::new(13, &[1, 2]).tensor(longs("repeats", &[1, 1 << 40]));
    assert!(many.op("Tile", &["repeats"], vec![]).failure().contains("copies"));

    let expected = Tensor::from_f32(
        vec![1, 2, 2, 3],
        vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    )
    .expect("a tensor");
    let scales = [1.0, 1.0, 2.0, 3.0];
    let list =
        AttributeProto { floats: scales.to_vec(), ..attribute("scales", AttributeType::FLOATS) };
    let old = Model::new(7, &[1, 2, 1, 1]).op("Upsample", &[], vec![list]);
    assert_eq!(old.run(), expected);
    let operand = |operator_set| {
        Model::new(operator_set, &[1, 2, 1, 1]).tensor(floats("scales", &[4], &scales))
    };
    assert_eq!(operand(9).op("Upsample", &["scales"], vec![]).run(), expected);
    assert_eq!(operand(10).op("Resize", &["scales"], vec![]).run(), expected);
    let resize = |transformation: &str, rounding: &str| {
        let attributes = vec![
            string("coordinate_transformation_mode", transformation),
            string("nearest_mode", rounding),
        ];
        operand(13).op("Resize", &["", "scales"], attributes)
    };
    assert_eq!(resize("half_pixel", "round_prefer_floor").run(), expected);
    assert_eq!(resize("half_pixel", "round_prefer_ceil").run(), expected);
    assert_eq!(resize("asymmetric", "floor").run(), expected);
    // The pixel at 2 / 3 is nearer to 1 than to 0.
    assert!(resize("asymmetric", "round_prefer_floor").failure().contains("whole times"));
    assert!(resize("align_corners", "floor").failure().contains("align_corners"));
    let sizes = Model::new(13, &[1, 2, 1, 1]).tensor(longs("sizes", &[1, 2, 2, 3]));
    assert_eq!(sizes.op("Resize", &["", "", "sizes"], vec![]).run(), expected);
    let linear = operand(13).op("Resize", &["", "scales"], vec![string("mode", "linear")]);
    assert!(linear.failure().contains("`linear`"));
    let half = Model::new(13, &[1, 2, 2, 2]).tensor(floats("half", &[4], &[1.0, 1.0, 0.5, 0.5]));
    assert!(half.op("Resize", &["", "half"], vec![]).failure().contains("whole times"));
}

#[test]
fn blocks_of_pixels_become_channels_and_come_back() {
    let model = Model::new(13, &[1, 2, 4, 6])
        .node(node("SpaceToDepth", &["x"], &["deep"], vec![int("blocksize", 2)]))
        .node(node("DepthToSpace", &["deep"], &["y"], vec![int("blocksize", 2)]));
    assert_eq!(model.run().f32(), Ok(&(0..48).map(|i| i as f32).collect::<Vec<_>>()[..]));
    let deep = Model::new(13, &[1, 1, 2, 4]).op("SpaceToDepth", &[], vec![int("blocksize", 2)]);
    let expected = Tensor::from_f32(vec![1, 4, 1, 2], vec![0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    assert_eq!(Ok(deep.run()), expected);
    let odd = Model::new(13, &[1, 1, 2, 3]).op("SpaceToDepth", &[], vec![int("blocksize", 2)]);
    assert!(odd.failure().contains("do not divide"));
}

#[test]
fn branches_and_loops_are_refused_in_words() {
    for op in ["If", "Loop", "Scan"] {
        let message = Model::new(13, &[1, 2]).op(op, &[], vec![]).failure();
        assert!(message.contains("export the network without them"), "{message}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    // Groups (wire type 3) of an unknown field, never closed.
    let nested = vec![0x33; 1 << 20];
    assert!(from_bytes(&nested, None, &Default::default()).is_err());
    // Graphs within attributes of nodes of graphs.
    let mut graph = GraphProto::default();
    for _ in 0..200 {
        let inner = AttributeProto { g: Some(graph), ..attribute("g", AttributeType::GRAPH) };
        let node = node("If", &[], &["y"], vec![inner]);
        graph = GraphProto { node: vec![node], ..Default::default() };
    }
    let model = ModelProto { graph: Some(graph), ..Default::default() };
    let bytes = model.write_buf().expect("a model");
    let error = from_bytes(&bytes, None, &Default::default()).expect_err("too deep");
    assert!(error.to_string().contains("recursion"), "{error}");
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broken.onnx");
    assert!(read(&path, &Default::default()).expect_err("missing").to_string().contains("broken"));
    std::fs::write(&path, b"no model").expect("a file");
    let error = read(&path, &Default::default()).expect_err("broken").to_string();
    assert!(error.contains("broken.onnx: not an ONNX model"), "{error}");
}

/// A small model with something of everything: convolution, normalisation, pool, shape arithmetic.
fn small_model() -> Vec<u8> {
    let mut model = Model::new(13, &[1, 1, 4, 4]).tensor(floats("w", &[2, 1, 3, 3], &[0.5; 18]));
    for name in ["gamma", "beta", "mean", "variance"] {
        model = model.tensor(floats(name, &[2], &[1.0, 2.0]));
    }
    model
        .node(node(
            "Conv",
            &["x", "w"],
            &["c"],
            vec![string("auto_pad", "SAME_UPPER"), ints("strides", &[1, 1]), int("group", 1)],
        ))
        .node(node(
            "BatchNormalization",
            &["c", "gamma", "beta", "mean", "variance"],
            &["n"],
            vec![float("epsilon", 1e-3)],
        ))
        .node(node(
            "MaxPool",
            &["n"],
            &["p"],
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", 1)],
        ))
        .node(node("Shape", &["p"], &["s"], vec![]))
        .tensor(longs("starts", &[0]))
        .tensor(longs("ends", &[1]))
        .node(node("Slice", &["s", "starts", "ends"], &["first"], vec![]))
        .tensor(longs("rest", &[-1]))
        .node(node("Concat", &["first", "rest"], &["to"], vec![int("axis", 0)]))
        .node(node("Reshape", &["p", "to"], &["f"], vec![]))
        .node(node("Softmax", &["f"], &["y"], vec![int("axis", -1)]))
        .bytes()
}

#[test]
fn the_small_model_is_valid() {
    let graph = from_bytes(&small_model(), None, &Default::default()).expect("the model imports");
    let input = Tensor::from_f32(vec![1, 1, 4, 4], vec![1.0; 16]).expect("an input");
    assert_eq!(run(&graph, &[input]).expect("the model runs")[0].shape(), [1, 8]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn broken_files_never_panic(
        cut in 0..2000_usize,
        changes in prop::collection::vec((0..2000_usize, any::<u8>()), 0..6),
    ) {
        let mut bytes = small_model();
        if cut < bytes.len() / 2 {
            bytes.truncate(bytes.len() - cut);
        }
        for (at, value) in changes {
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte = value;
            }
        }
        // A graph or an error; what imports also runs, or says why not.
        if let Ok(graph) = from_bytes(&bytes, None, &ImportOptions::default()) {
            let inputs: Option<Vec<Tensor>> = graph
                .inputs
                .iter()
                .map(|input| {
                    let count = input.shape.iter().product::<usize>();
                    let values = (count < 10_000).then(|| vec![0.5; count])?;
                    Tensor::from_f32(input.shape.clone(), values).ok()
                })
                .collect();
            if let Some(inputs) = inputs {
                let _ = run(&graph, &inputs);
            }
        }
    }
}
