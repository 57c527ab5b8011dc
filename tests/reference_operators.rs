//! Every operator of the interpreter against values worked out by hand or by a formula written down
//! independently, and the shapes that go with them.

use bnn::graph::{
    BinaryOp, ConvAttributes, Data, DataType, Graph, Node, Op, PoolAttributes, QuantAttributes,
    ReduceKind, RoundingMode, ShapeError, Tensor, UnaryOp, ValueId, broadcast_shapes,
    element_count, infer_shapes,
};
use bnn::reference::{EvaluationError, Interpreter, Products, evaluate_node, run, run_all};
use proptest::prelude::*;

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values.to_vec()).expect("a tensor")
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_i64(values.to_vec())
}

fn bools(values: &[bool]) -> Tensor {
    Tensor::new(vec![values.len()], Data::Bool(values.to_vec())).expect("a tensor")
}

/// Values that repeat nowhere and are exact in f32.
fn ramp(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    floats(shape, &(0..count).map(|i| i as f32).collect::<Vec<_>>())
}

fn node(op: Op, operands: &[Option<&Tensor>], results: usize) -> Node {
    let id = |index: usize| ValueId(index as u32);
    let inputs = operands.iter().enumerate().map(|(i, operand)| operand.map(|_| id(i))).collect();
    let outputs = (0..results).map(|i| id(operands.len() + i)).collect();
    Node { name: "test".to_owned(), op, inputs, outputs }
}

fn evaluate(op: Op, operands: &[&Tensor]) -> Result<Tensor, EvaluationError> {
    let operands: Vec<_> = operands.iter().copied().map(Some).collect();
    evaluate_node(&node(op, &operands, 1), &operands).map(|mut results| results.remove(0))
}

fn value(op: Op, operands: &[&Tensor]) -> Tensor {
    evaluate(op, operands).expect("the operands fit")
}

fn failure(op: Op, operands: &[&Tensor]) -> String {
    evaluate(op, operands).expect_err("the operands do not fit").to_string()
}

#[test]
fn shapes_broadcast_from_the_last_axis() {
    assert_eq!(broadcast_shapes(&[2, 1, 4], &[3, 1]), Ok(vec![2, 3, 4]));
    assert_eq!(broadcast_shapes(&[], &[5]), Ok(vec![5]));
    assert_eq!(broadcast_shapes(&[1], &[0]), Ok(vec![0]));
    assert!(broadcast_shapes(&[2], &[3]).is_err());
}

#[test]
fn huge_tensors_are_refused() {
    assert_eq!(element_count(&[1 << 16, 1 << 15]), Ok(1 << 31));
    assert!(element_count(&[1 << 16, 1 << 16]).is_err());
    assert!(element_count(&[usize::MAX, usize::MAX]).is_err());
    assert!(element_count(&[0, usize::MAX]).is_err());
    let x = ramp(&[1]);
    let message = failure(Op::Expand, &[&x, &ints(&[1 << 20, 1 << 20])]);
    assert!(message.contains("elements"), "{message}");
}

#[test]
fn errors_name_node_and_operator() {
    let message = failure(Op::MatMul, &[&ramp(&[2, 3]), &ramp(&[2, 3])]);
    assert_eq!(message, "node `test` (MatMul): shapes [2, 3] and [2, 3] do not multiply");
}

#[test]
fn shapes_need_contents_only_where_they_depend_on_them() {
    let x = ramp(&[2, 3]);
    let shape = ints(&[6]);
    let operands = [Some(&x), Some(&shape)];
    let reshape = node(Op::Reshape { allow_zero: false }, &operands, 1);
    let shapes = [Some(x.shape()), Some(shape.shape())];
    assert_eq!(infer_shapes(&reshape, &shapes, &[None, Some(&shape)]), Ok(vec![vec![6]]));
    let ShapeError(message) = infer_shapes(&reshape, &shapes, &[None, None]).expect_err("unknown");
    assert!(message.contains("has to be constant"), "{message}");
    let add = node(Op::Binary(BinaryOp::Add), &operands, 1);
    assert_eq!(infer_shapes(&add, &[Some(&[2, 1]), Some(&[3])], &[]), Ok(vec![vec![2, 3]]));
}

#[test]
fn unary_functions() {
    let x = floats(&[5], &[-2.5, -0.5, 0.0, 0.5, 2.5]);
    let of = |function| value(Op::Unary(function), &[&x]).f32().expect("floats").to_vec();
    assert_eq!(of(UnaryOp::Relu), [0.0, 0.0, 0.0, 0.5, 2.5]);
    assert_eq!(of(UnaryOp::LeakyRelu { alpha: 0.5 }), [-1.25, -0.25, 0.0, 0.5, 2.5]);
    assert_eq!(of(UnaryOp::Round), [-2.0, 0.0, 0.0, 0.0, 2.0]);
    assert_eq!(of(UnaryOp::Floor), [-3.0, -1.0, 0.0, 0.0, 2.0]);
    assert_eq!(of(UnaryOp::Ceil), [-2.0, 0.0, 0.0, 1.0, 3.0]);
    assert_eq!(of(UnaryOp::Sign), [-1.0, -1.0, 0.0, 1.0, 1.0]);
    assert_eq!(of(UnaryOp::Neg), [2.5, 0.5, 0.0, -0.5, -2.5]);
    assert_eq!(of(UnaryOp::Abs), [2.5, 0.5, 0.0, 0.5, 2.5]);
    assert_eq!(of(UnaryOp::HardSigmoid { alpha: 0.5, beta: 0.5 }), [0.0, 0.25, 0.5, 0.75, 1.0]);
    for (function, exact) in [
        (UnaryOp::Sigmoid, (|x| 1.0 / (1.0 + (-x).exp())) as fn(f64) -> f64),
        (UnaryOp::Tanh, f64::tanh),
        (UnaryOp::Exp, f64::exp),
        (UnaryOp::Softplus, |x| x.exp().ln_1p()),
        (UnaryOp::Elu { alpha: 1.5 }, |x| if x < 0.0 { 1.5 * x.exp_m1() } else { x }),
        (UnaryOp::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (UnaryOp::Erf, libm::erf),
    ] {
        for (&x, y) in x.f32().expect("floats").iter().zip(of(function)) {
            let expected = exact(f64::from(x));
            assert!((f64::from(y) - expected).abs() < 1e-6, "{function:?} of {x} is {y}");
        }
    }
    let positive = floats(&[3], &[0.25, 1.0, 4.0]);
    let of = |function| value(Op::Unary(function), &[&positive]).f32().expect("floats").to_vec();
    assert_eq!(of(UnaryOp::Sqrt), [0.5, 1.0, 2.0]);
    assert_eq!(of(UnaryOp::Reciprocal), [4.0, 1.0, 0.25]);
    assert_eq!(of(UnaryOp::Log)[1], 0.0);
    let not = value(Op::Unary(UnaryOp::Not), &[&bools(&[true, false])]);
    assert_eq!(not.data(), &Data::Bool(vec![false, true]));
    assert!(failure(Op::Unary(UnaryOp::Not), &[&x]).contains("F32"));
}

#[test]
fn binary_functions_broadcast() {
    let (a, b) = (floats(&[2, 1], &[1.0, 2.0]), floats(&[3], &[1.0, 2.0, 4.0]));
    let of = |function| value(Op::Binary(function), &[&a, &b]);
    assert_eq!(of(BinaryOp::Add), floats(&[2, 3], &[2.0, 3.0, 5.0, 3.0, 4.0, 6.0]));
    assert_eq!(of(BinaryOp::Sub), floats(&[2, 3], &[0.0, -1.0, -3.0, 1.0, 0.0, -2.0]));
    assert_eq!(of(BinaryOp::Mul), floats(&[2, 3], &[1.0, 2.0, 4.0, 2.0, 4.0, 8.0]));
    assert_eq!(of(BinaryOp::Div), floats(&[2, 3], &[1.0, 0.5, 0.25, 2.0, 1.0, 0.5]));
    assert_eq!(of(BinaryOp::Pow), floats(&[2, 3], &[1.0, 1.0, 1.0, 2.0, 4.0, 16.0]));
    assert_eq!(of(BinaryOp::Min), floats(&[2, 3], &[1.0, 1.0, 1.0, 1.0, 2.0, 2.0]));
    assert_eq!(of(BinaryOp::Max), floats(&[2, 3], &[1.0, 2.0, 4.0, 2.0, 2.0, 4.0]));
    let holds = |function| match of(function).data() {
        Data::Bool(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(holds(BinaryOp::Greater), [false, false, false, true, false, false]);
    assert_eq!(holds(BinaryOp::GreaterOrEqual), [true, false, false, true, true, false]);
    assert_eq!(holds(BinaryOp::Less), [false, true, true, false, false, true]);
    assert_eq!(holds(BinaryOp::LessOrEqual), [true, true, true, false, true, true]);
    assert_eq!(holds(BinaryOp::Equal), [true, false, false, false, true, false]);
    let (p, q) = (bools(&[true, true, false]), bools(&[true, false, false]));
    let and = value(Op::Binary(BinaryOp::And), &[&p, &q]);
    let or = value(Op::Binary(BinaryOp::Or), &[&p, &q]);
    assert_eq!((and, or), (bools(&[true, false, false]), bools(&[true, true, false])));
}

#[test]
fn integers_truncate_and_do_not_overflow() {
    let of = |function, a: &[i64], b: &[i64]| {
        evaluate(Op::Binary(function), &[&ints(a), &ints(b)]).map_err(|error| error.to_string())
    };
    assert_eq!(of(BinaryOp::Div, &[7, -7], &[2, 2]), Ok(ints(&[3, -3])));
    assert_eq!(of(BinaryOp::Pow, &[2, -3], &[10, 3]), Ok(ints(&[1024, -27])));
    for (function, a, b) in [
        (BinaryOp::Div, 1, 0),
        (BinaryOp::Div, i64::MIN, -1),
        (BinaryOp::Mul, i64::MAX, 2),
        (BinaryOp::Add, i64::MAX, 1),
        (BinaryOp::Pow, 2, -1),
    ] {
        assert!(of(function, &[a], &[b]).expect_err("overflow").contains("overflow"));
    }
    assert!(failure(Op::Binary(BinaryOp::Add), &[&ints(&[1]), &ramp(&[1])]).contains("I64"));
}

#[test]
fn selection_and_clipping() {
    let (x, y) = (floats(&[2, 1], &[1.0, 2.0]), Tensor::scalar(-1.0));
    let chosen = value(Op::Where, &[&bools(&[true, false]), &x, &y]);
    assert_eq!(chosen, floats(&[2, 2], &[1.0, -1.0, 2.0, -1.0]));
    let (low, high) = (Tensor::scalar(-1.0), Tensor::scalar(1.0));
    let x = floats(&[3], &[-2.0, 0.5, 3.0]);
    assert_eq!(value(Op::Clip, &[&x, &low, &high]), floats(&[3], &[-1.0, 0.5, 1.0]));
    let operands = [Some(&x), None, Some(&high)];
    let above = evaluate_node(&node(Op::Clip, &operands, 1), &operands).expect("fits");
    assert_eq!(above[0], floats(&[3], &[-2.0, 0.5, 1.0]));
    assert!(failure(Op::Clip, &[&x, &x]).contains("expected one element"));
}

#[test]
fn slopes_and_steps() {
    let x = floats(&[1, 2, 2], &[-2.0, 3.0, -0.0, -4.0]);
    let slope = floats(&[2, 1], &[0.5, -0.25]);
    assert_eq!(value(Op::PRelu, &[&x, &slope]), floats(&[1, 2, 2], &[-1.0, 3.0, -0.0, 1.0]));
    let positive = Tensor::scalar(2.0);
    let both = value(Op::TwoSlope, &[&x, &positive, &slope]);
    assert_eq!(both, floats(&[1, 2, 2], &[-1.0, 6.0, 0.0, 1.0]));
    assert!(failure(Op::PRelu, &[&x, &ramp(&[3, 1, 2, 2])]).contains("slope"));
    let step = |at_least| Op::Step { at_least, low: -1.0, high: 2.0 };
    let x = floats(&[4], &[f32::NAN, -0.0, 0.0, 1e-45]);
    assert_eq!(value(step(true), &[&x]), floats(&[4], &[-1.0, 2.0, 2.0, 2.0]));
    assert_eq!(value(step(false), &[&x]), floats(&[4], &[-1.0, -1.0, -1.0, 2.0]));
}

#[test]
fn casts() {
    let x = floats(&[4], &[-1.9, 0.0, 2.9, f32::INFINITY]);
    assert_eq!(value(Op::Cast { to: DataType::I64 }, &[&x]), ints(&[-1, 0, 2, i64::MAX]));
    let truth = value(Op::Cast { to: DataType::Bool }, &[&x]);
    assert_eq!(truth, bools(&[true, false, true, true]));
    assert_eq!(
        value(Op::Cast { to: DataType::F32 }, &[&truth]).f32(),
        Ok(&[1.0, 0.0, 1.0, 1.0][..])
    );
}

#[test]
fn products_of_matrices() {
    let (a, b) = (ramp(&[2, 3]), ramp(&[3, 2]));
    assert_eq!(value(Op::MatMul, &[&a, &b]), floats(&[2, 2], &[10.0, 13.0, 28.0, 40.0]));
    let vector = floats(&[3], &[1.0, 2.0, 3.0]);
    assert_eq!(value(Op::MatMul, &[&a, &vector]), floats(&[2], &[8.0, 26.0]));
    assert_eq!(value(Op::MatMul, &[&vector, &b]), floats(&[2], &[16.0, 22.0]));
    assert_eq!(value(Op::MatMul, &[&vector, &vector]), floats(&[], &[14.0]));
    let batch = value(Op::MatMul, &[&ramp(&[2, 1, 3]), &b]);
    assert_eq!(batch, floats(&[2, 1, 2], &[10.0, 13.0, 28.0, 40.0]));
    let gemm = |trans_a, trans_b| Op::Gemm { alpha: 0.5, beta: 2.0, trans_a, trans_b };
    let c = floats(&[2], &[1.0, 10.0]);
    let expected = floats(&[2, 2], &[7.0, 26.5, 16.0, 40.0]);
    assert_eq!(value(gemm(false, false), &[&a, &b, &c]), expected);
    let transposed = |x: &Tensor| value(Op::Transpose { perm: vec![1, 0] }, &[x]);
    assert_eq!(value(gemm(true, true), &[&transposed(&a), &transposed(&b), &c]), expected);
    assert!(failure(gemm(false, true), &[&a, &b]).contains("rows"));
}

#[test]
fn batch_normalization_rounds_every_step() {
    let x = floats(&[1, 2, 1, 2], &[1.0, -2.0, 0.3, 7.0]);
    let (gamma, beta) = (floats(&[2], &[0.7, -1.3]), floats(&[2], &[0.1, 0.2]));
    let (mean, variance) = (floats(&[2], &[0.05, -3.0]), floats(&[2], &[0.9, 0.0]));
    let epsilon = 1e-3;
    let y = value(Op::BatchNormalization { epsilon }, &[&x, &gamma, &beta, &mean, &variance]);
    let at = |t: &Tensor, i: usize| t.f32().expect("floats")[i];
    for i in 0..4 {
        let c = i / 2;
        let inv = 1.0_f32 / (at(&variance, c) + epsilon).sqrt();
        let a = at(&gamma, c) * inv;
        let b = at(&beta, c) - at(&mean, c) * a;
        let product = a * at(&x, i);
        assert_eq!(at(&y, i), product + b);
    }
    let short = floats(&[1], &[1.0]);
    let message =
        failure(Op::BatchNormalization { epsilon }, &[&x, &gamma, &short, &mean, &variance]);
    assert!(message.contains("beta has shape [1], expected [2]"), "{message}");
}

#[test]
fn softmax_along_any_axis() {
    let x = floats(&[2, 2], &[0.0, 1000.0, 0.0, 1000.0]);
    let y = value(Op::Softmax { axis: 0 }, &[&x]);
    assert_eq!(y, floats(&[2, 2], &[0.5; 4]));
    let log = value(Op::LogSoftmax { axis: -1 }, &[&x]);
    assert_eq!(log, floats(&[2, 2], &[-1000.0, 0.0, -1000.0, 0.0]));
    assert!(failure(Op::Softmax { axis: 2 }, &[&x]).contains("axis 2"));
}

fn pool_attributes(kernel: usize, stride: usize, pads: [usize; 4]) -> PoolAttributes {
    PoolAttributes {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pads,
        ceil_mode: false,
        count_include_pad: false,
    }
}

#[test]
fn pools() {
    let x = ramp(&[1, 1, 3, 3]);
    let plain = pool_attributes(2, 2, [0; 4]);
    assert_eq!(value(Op::MaxPool(plain.clone()), &[&x]), floats(&[1, 1, 1, 1], &[4.0]));
    let ceil = PoolAttributes { ceil_mode: true, ..plain.clone() };
    let expected = floats(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0]);
    assert_eq!(value(Op::MaxPool(ceil.clone()), &[&x]), expected);
    let expected = floats(&[1, 1, 2, 2], &[2.0, 3.5, 6.5, 8.0]);
    assert_eq!(value(Op::AveragePool(ceil), &[&x]), expected);
    let padded = pool_attributes(2, 2, [1, 1, 0, 0]);
    let expected = floats(&[1, 1, 2, 2], &[0.0, 1.5, 4.5, 6.0]);
    assert_eq!(value(Op::AveragePool(padded.clone()), &[&x]), expected);
    let counted = PoolAttributes { count_include_pad: true, ..padded };
    let expected = floats(&[1, 1, 2, 2], &[0.0, 0.75, 2.25, 6.0]);
    assert_eq!(value(Op::AveragePool(counted), &[&x]), expected);
    let dilated = PoolAttributes { dilation: [2; 2], ..pool_attributes(2, 1, [0; 4]) };
    assert_eq!(value(Op::MaxPool(dilated), &[&x]), floats(&[1, 1, 1, 1], &[8.0]));
    let outside = pool_attributes(2, 2, [2, 2, 0, 0]);
    assert!(failure(Op::MaxPool(outside), &[&x]).contains("padding"));
    assert_eq!(value(Op::GlobalAveragePool, &[&x]), floats(&[1, 1, 1, 1], &[4.0]));
    assert_eq!(value(Op::GlobalMaxPool, &[&x]), floats(&[1, 1, 1, 1], &[8.0]));
}

#[test]
fn a_rounded_up_pool_has_no_window_behind_the_map() {
    // 4 pixels and one of padding on either side: the third window would start in the padding.
    let attributes =
        PoolAttributes { ceil_mode: true, stride: [3; 2], ..pool_attributes(1, 3, [1, 1, 1, 1]) };
    let one = PoolAttributes { kernel: [2; 2], ..attributes };
    let y = value(Op::MaxPool(one), &[&ramp(&[1, 1, 4, 4])]);
    assert_eq!(y, floats(&[1, 1, 2, 2], &[0.0, 3.0, 12.0, 15.0]));
}

#[test]
fn reductions() {
    let x = ramp(&[2, 3]);
    let reduce = |kind, keep_dims| Op::Reduce { kind, keep_dims };
    let axis = ints(&[-1]);
    let mean = value(reduce(ReduceKind::Mean, true), &[&x, &axis]);
    assert_eq!(mean, floats(&[2, 1], &[1.0, 4.0]));
    let sum = value(reduce(ReduceKind::Sum, false), &[&x, &ints(&[0])]);
    assert_eq!(sum, floats(&[3], &[3.0, 5.0, 7.0]));
    assert_eq!(value(reduce(ReduceKind::Max, false), &[&x]), Tensor::scalar(5.0));
    assert_eq!(value(reduce(ReduceKind::Min, false), &[&x]), Tensor::scalar(0.0));
    let product = value(reduce(ReduceKind::Sum, false), &[&ints(&[2, 5])]);
    assert_eq!(product.i64(), Ok(&[7][..]));
    assert!(failure(reduce(ReduceKind::Sum, false), &[&x, &ints(&[1, -1])]).contains("twice"));
    let first =
        value(Op::ArgMax { axis: 1, keep_dims: false }, &[&floats(&[1, 3], &[1.0, 4.0, 4.0])]);
    assert_eq!(first, ints(&[1]));
}

#[test]
fn joining_and_cutting() {
    let (a, b) = (ramp(&[2, 1]), floats(&[2, 2], &[10.0, 11.0, 12.0, 13.0]));
    let joined = value(Op::Concat { axis: 1 }, &[&a, &b]);
    assert_eq!(joined, floats(&[2, 3], &[0.0, 10.0, 11.0, 1.0, 12.0, 13.0]));
    assert!(failure(Op::Concat { axis: 0 }, &[&a, &b]).contains("join"));

    let sizes = ints(&[1, 2]);
    let operands = [Some(&joined), Some(&sizes)];
    let parts = evaluate_node(&node(Op::Split { axis: -1 }, &operands, 2), &operands);
    assert_eq!(parts, Ok(vec![a, b]));
    let x = ramp(&[5]);
    let parts = evaluate_node(&node(Op::Split { axis: 0 }, &[Some(&x)], 2), &[Some(&x)]);
    let (front, back) = (floats(&[3], &[0.0, 1.0, 2.0]), floats(&[2], &[3.0, 4.0]));
    assert_eq!(parts, Ok(vec![front, back]));
}

#[test]
fn slices() {
    let x = ramp(&[2, 4]);
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        value(Op::Slice, &[&x, &ints(starts), &ints(ends), &ints(axes), &ints(steps)])
    };
    assert_eq!(slice(&[1], &[i64::MAX], &[1], &[2]), floats(&[2, 2], &[1.0, 3.0, 5.0, 7.0]));
    assert_eq!(
        slice(&[-1], &[i64::MIN], &[-1], &[-1]),
        floats(&[2, 4], &[3.0, 2.0, 1.0, 0.0, 7.0, 6.0, 5.0, 4.0])
    );
    assert_eq!(slice(&[-1, 0], &[2, -2], &[0, 1], &[1, 1]), floats(&[1, 2], &[4.0, 5.0]));
    assert_eq!(slice(&[3], &[1], &[1], &[1]).shape(), [2, 0]);
    assert_eq!(slice(&[0], &[4], &[1], &[i64::MAX]), floats(&[2, 1], &[0.0, 4.0]));
    let zero = failure(Op::Slice, &[&x, &ints(&[0]), &ints(&[1]), &ints(&[0]), &ints(&[0])]);
    assert!(zero.contains("step"), "{zero}");
}

#[test]
fn padding_and_cropping() {
    let x = ramp(&[2, 2]);
    let padded = value(Op::Pad, &[&x, &ints(&[1, 0, 0, 1]), &Tensor::scalar(9.0)]);
    assert_eq!(padded, floats(&[3, 3], &[9.0, 9.0, 9.0, 0.0, 1.0, 9.0, 2.0, 3.0, 9.0]));
    assert_eq!(value(Op::Pad, &[&x, &ints(&[-1, 1, 0, 0])]), floats(&[1, 3], &[0.0, 2.0, 3.0]));
    assert!(failure(Op::Pad, &[&x, &ints(&[-3, 0, 0, 0])]).contains("pads"));
    // Cut off more than there is before, filled up behind.
    assert_eq!(value(Op::Pad, &[&ramp(&[2]), &ints(&[-3, 3])]), floats(&[2], &[0.0, 0.0]));
    let operands =
        [Some(&x), Some(&ints(&[1, 0])), None, Some(&ints(&[1]))].map(|operand| operand.cloned());
    let operands = operands.each_ref().map(Option::as_ref);
    let one_axis = evaluate_node(&node(Op::Pad, &operands, 1), &operands).expect("fits");
    assert_eq!(one_axis[0], floats(&[2, 3], &[0.0, 0.0, 1.0, 0.0, 2.0, 3.0]));
}

#[test]
fn reshaping() {
    let x = ramp(&[2, 3, 4]);
    let shape = |wanted: &[i64], allow_zero| {
        evaluate(Op::Reshape { allow_zero }, &[&x, &ints(wanted)])
            .map(|y| y.shape().to_vec())
            .map_err(|error| error.to_string())
    };
    assert_eq!(shape(&[0, -1], false), Ok(vec![2, 12]));
    assert_eq!(shape(&[24], false), Ok(vec![24]));
    for (wanted, why) in [
        (&[-1, -1][..], "twice"),
        (&[5, -1], "divide"),
        (&[7], "24 elements against 7"),
        (&[2, 3, 4, 0], "copies"),
        (&[-2], "negative"),
    ] {
        let message = shape(wanted, false).expect_err("does not fit");
        assert!(message.contains(why), "{message}");
    }
    assert!(shape(&[0, -1], true).is_err());
    assert_eq!(value(Op::Flatten { axis: 2 }, &[&x]).shape(), [6, 4]);
    assert_eq!(value(Op::Flatten { axis: 0 }, &[&x]).shape(), [1, 24]);
    assert_eq!(value(Op::Flatten { axis: 3 }, &[&x]).shape(), [24, 1]);
    assert_eq!(value(Op::Unsqueeze, &[&x, &ints(&[0, -1])]).shape(), [1, 2, 3, 4, 1]);
    let thin = ramp(&[1, 2, 1]);
    assert_eq!(value(Op::Squeeze, &[&thin]).shape(), [2]);
    assert_eq!(value(Op::Squeeze, &[&thin, &ints(&[-1])]).shape(), [1, 2]);
    assert!(failure(Op::Squeeze, &[&thin, &ints(&[1])]).contains("length 1"));
    assert_eq!(value(Op::Expand, &[&thin, &ints(&[2, 1, 2])]).shape(), [2, 2, 2]);
}

/// Values whose sum loses digits when it is taken one f32 addition after the other.
fn many_tenths() -> Vec<f32> {
    (0..1 << 21).map(|i| if i % 2 == 0 { 0.1 } else { -0.1 }).collect()
}

#[test]
fn constants_are_reduced_without_losing_digits() {
    let mut graph = Graph::new("scale");
    let x = graph.add_input("x", vec![1]);
    let weights = graph.add_constant("w", floats(&[1 << 21], &many_tenths()));
    let magnitudes = graph.push_node("abs", Op::Unary(UnaryOp::Abs), [weights]);
    let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true };
    let mean = graph.push_node("mean", mean, [magnitudes]);
    let scaled = graph.push_node("scaled", Op::Binary(BinaryOp::Mul), [x, mean]);
    graph.outputs = vec![scaled];
    let outputs = run(&graph, &[floats(&[1], &[1.0])]).expect("it runs");
    assert_eq!(outputs, [floats(&[1], &[0.1])]);
}

#[test]
fn observers_see_every_node() {
    let mut graph = Graph::new("observed");
    let x = graph.add_input("x", vec![1, 2]);
    let negated = graph.push_node("negated", Op::Unary(UnaryOp::Neg), [x]);
    let sum = graph.push_node("sum", Op::Binary(BinaryOp::Add), [negated, negated]);
    graph.outputs = vec![sum];
    let mut seen = Vec::new();
    let interpreter = Interpreter::new(&graph);
    let outputs = interpreter
        .run_observed(&[floats(&[1, 2], &[1.0, 2.0])], &mut |evaluated| {
            assert_eq!(evaluated.operands.len(), 1 + evaluated.index);
            seen.push(evaluated.results[0].f32().expect("floats").to_vec());
            Ok(())
        })
        .expect("it runs");
    assert_eq!(seen, [[-1.0, -2.0], [-2.0, -4.0]]);
    assert_eq!(outputs, [floats(&[1, 2], &[-2.0, -4.0])]);
    assert!(!interpreter.is_constant(sum));
}

#[test]
fn data_are_reduced_in_order() {
    let mut graph = Graph::new("sum");
    let x = graph.add_input("x", vec![1, 3]);
    let sum = Op::Reduce { kind: ReduceKind::Sum, keep_dims: true };
    let sum = graph.push_node("sum", sum, [x]);
    graph.outputs = vec![sum];
    // 2^24 + 1 is rounded to 2^24, twice.
    let outputs = run(&graph, &[floats(&[1, 3], &[16_777_216.0, 1.0, 1.0])]).expect("it runs");
    assert_eq!(outputs, [floats(&[1, 1], &[16_777_216.0])]);
}

#[test]
fn moving_elements() {
    let x = ramp(&[2, 3]);
    let turned = value(Op::Transpose { perm: vec![1, 0] }, &[&x]);
    assert_eq!(turned, floats(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    assert!(failure(Op::Transpose { perm: vec![0, 0] }, &[&x]).contains("permute"));
    let picked = value(Op::Gather { axis: 1 }, &[&x, &ints(&[2, -3])]);
    assert_eq!(picked, floats(&[2, 2], &[2.0, 0.0, 5.0, 3.0]));
    assert!(failure(Op::Gather { axis: 1 }, &[&x, &ints(&[3])]).contains("index 3"));
    let scalar = Tensor::new(Vec::new(), Data::I64(vec![1])).expect("a scalar");
    assert_eq!(value(Op::Gather { axis: 0 }, &[&x, &scalar]), floats(&[3], &[3.0, 4.0, 5.0]));

    // Eight channels of one pixel: two depths of blocks of two by two.
    let x = ramp(&[1, 8, 1, 1]);
    let unfold = |column_row_depth| Op::DepthToSpace { block: 2, column_row_depth };
    let expected = floats(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    assert_eq!(value(unfold(false), &[&x]), expected);
    let expected = floats(&[1, 2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(value(unfold(true), &[&x]), expected);
}

#[test]
fn making_up_tensors() {
    let x = ramp(&[2, 3, 4]);
    assert_eq!(value(Op::Shape { start: 0, end: None }, &[&x]), ints(&[2, 3, 4]));
    assert_eq!(value(Op::Shape { start: -2, end: Some(-1) }, &[&x]), ints(&[3]));
    let full = Op::ConstantOfShape { value: 2.0, data_type: DataType::I64 };
    assert_eq!(value(full, &[&ints(&[2])]), ints(&[2, 2]));
    let scalar = |value| Tensor::new(Vec::new(), Data::I64(vec![value])).expect("a scalar");
    let count = |start, limit, delta| {
        evaluate(Op::Range, &[&scalar(start), &scalar(limit), &scalar(delta)])
    };
    assert_eq!(count(1, 6, 2), Ok(ints(&[1, 3, 5])));
    assert_eq!(count(3, 0, -1), Ok(ints(&[3, 2, 1])));
    assert_eq!(count(0, -5, 1), Ok(ints(&[])));
    assert!(count(0, 1, 0).is_err());
    assert!(count(i64::MIN, i64::MAX, 1).is_err());
    let [start, limit, delta] = [0.0, 1.0, 0.25].map(Tensor::scalar);
    let steps = value(Op::Range, &[&start, &limit, &delta]);
    assert_eq!(steps, floats(&[4], &[0.0, 0.25, 0.5, 0.75]));
}

#[test]
fn rounding_modes() {
    let values = [-2.5, -1.5, -1.2, -0.5, 0.5, 1.2, 1.5, 2.5];
    let rounded = |mode: RoundingMode| values.map(|v| mode.apply(v));
    assert_eq!(rounded(RoundingMode::Round), [-2.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    assert_eq!(rounded(RoundingMode::Ceil), [-2.0, -1.0, -1.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
    assert_eq!(rounded(RoundingMode::Floor), [-3.0, -2.0, -2.0, -1.0, 0.0, 1.0, 1.0, 2.0]);
    assert_eq!(rounded(RoundingMode::Up), [-3.0, -2.0, -2.0, -1.0, 1.0, 2.0, 2.0, 3.0]);
    assert_eq!(rounded(RoundingMode::Down), [-2.0, -1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 2.0]);
    assert_eq!(rounded(RoundingMode::HalfUp), [-3.0, -2.0, -1.0, -1.0, 1.0, 1.0, 2.0, 3.0]);
    assert_eq!(rounded(RoundingMode::HalfDown), [-2.0, -1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 2.0]);
    // The float below one half, where adding one half would round up to one.
    let below = 0.5_f32.next_down();
    assert_eq!(RoundingMode::HalfUp.apply(below), 0.0);
    assert_eq!(RoundingMode::HalfDown.apply(0.5_f32.next_up()), 1.0);
}

#[test]
fn quantisers() {
    let x = floats(&[5], &[-100.0, -0.7, 0.0, 0.7, 100.0]);
    let bipolar = value(Op::BipolarQuant, &[&x, &Tensor::scalar(0.5)]);
    assert_eq!(bipolar, floats(&[5], &[-0.5, -0.5, 0.5, 0.5, 0.5]));
    let quant = |signed, narrow, zero_point: f32, bits: f32| {
        let attributes = QuantAttributes { signed, narrow, rounding: RoundingMode::Round };
        let [scale, zero_point, bits] = [0.5, zero_point, bits].map(Tensor::scalar);
        value(Op::Quant(attributes), &[&x, &scale, &zero_point, &bits])
            .f32()
            .expect("floats")
            .to_vec()
    };
    // Integers -8..=7, -7..=7, 0..=15, 0..=14, all times one half.
    assert_eq!(quant(true, false, 0.0, 4.0), [-4.0, -0.5, 0.0, 0.5, 3.5]);
    assert_eq!(quant(true, true, 0.0, 4.0), [-3.5, -0.5, 0.0, 0.5, 3.5]);
    assert_eq!(quant(false, false, 0.0, 4.0), [0.0, 0.0, 0.0, 0.5, 7.5]);
    assert_eq!(quant(false, true, 0.0, 4.0), [0.0, 0.0, 0.0, 0.5, 7.0]);
    // A zero point of 8 shifts the range: 0..=15 stand for -8..=7.
    assert_eq!(quant(false, false, 8.0, 4.0), [-4.0, -0.5, 0.0, 0.5, 3.5]);
    // One signed bit is bipolar.
    assert_eq!(quant(true, false, 0.0, 1.0), [-0.5, -0.5, 0.5, 0.5, 0.5]);
}

#[test]
fn truncation_drops_low_bits() {
    let x = floats(&[4], &[1.75, -1.75, 2.0, 3.75]);
    let [scale, zero_point, bits_in, bits_out] = [0.25, 0.0, 5.0, 3.0].map(Tensor::scalar);
    let trunc =
        |rounding| value(Op::Trunc { rounding }, &[&x, &scale, &zero_point, &bits_in, &bits_out]);
    // Integers 7, -7, 8, 15 over 4.
    assert_eq!(trunc(RoundingMode::Floor), floats(&[4], &[0.25, -0.5, 0.5, 0.75]));
    assert_eq!(trunc(RoundingMode::Ceil), floats(&[4], &[0.5, -0.25, 0.5, 1.0]));
}

#[test]
fn thresholds_are_counted() {
    let x = floats(&[1, 2, 1, 2], &[0.0, 1.0, 0.0, -1.0]);
    let thresholds = floats(&[2, 3], &[0.0, 0.5, 1.0, -1.0, 0.0, 1.0]);
    let op = |out_scale, out_bias| Op::MultiThreshold { out_scale, out_bias };
    let counts = value(op(1.0, 0.0), &[&x, &thresholds]);
    assert_eq!(counts, floats(&[1, 2, 1, 2], &[1.0, 3.0, 2.0, 1.0]));
    let bipolar = value(op(2.0, -1.0), &[&x, &floats(&[1, 1], &[0.5])]);
    assert_eq!(bipolar, floats(&[1, 2, 1, 2], &[-1.0, 1.0, -1.0, -1.0]));
    assert!(failure(op(1.0, 0.0), &[&x, &ramp(&[3, 1])]).contains("thresholds"));
}

#[test]
fn graphs_run_and_show_what_is_between() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", vec![1, 2]);
    let one = graph.add_constant("one", Tensor::scalar(1.0));
    let sum = graph.push_node("sum", Op::Binary(BinaryOp::Add), [x, one]);
    let square = graph.push_node("square", Op::Binary(BinaryOp::Mul), [sum, sum]);
    graph.outputs = vec![square, sum, one, square];
    let input = floats(&[1, 2], &[2.0, -3.0]);
    let (sums, squares) = (floats(&[1, 2], &[3.0, -2.0]), floats(&[1, 2], &[9.0, 4.0]));
    assert_eq!(
        run(&graph, std::slice::from_ref(&input)),
        Ok(vec![squares.clone(), sums.clone(), Tensor::scalar(1.0), squares.clone()])
    );
    let all = run_all(&graph, std::slice::from_ref(&input)).expect("the graph runs");
    assert_eq!(all, [Some(input), None, Some(sums), Some(squares)]);

    let interpreter = Interpreter::new(&graph);
    assert_eq!(interpreter.run(&[]), Err(EvaluationError::InputCount { expected: 1, found: 0 }));
    let wrong = interpreter.run(&[ramp(&[2])]).expect_err("another shape");
    assert_eq!(wrong.to_string(), "input `x` has shape [2], expected [1, 2]");
    graph.nodes.swap(0, 1);
    let unordered = run(&graph, &[ramp(&[1, 2])]).expect_err("read too early");
    assert_eq!(unordered, EvaluationError::NotComputed { name: "sum".to_owned() });
}

/// The sum of a convolution as a formula, in f64: one output at a time, padding by comparison.
fn naive_convolution(a: &ConvAttributes, x: &Tensor, w: &Tensor, at: [usize; 4]) -> f64 {
    let [image, o, oy, ox] = at;
    let [_, channels, height, width] = <[usize; 4]>::try_from(x.shape()).expect("four");
    let [outputs, group_inputs, kernel_height, kernel_width] =
        <[usize; 4]>::try_from(w.shape()).expect("four");
    let group = o / (outputs / a.groups);
    let mut sum = 0.0;
    for c in 0..group_inputs {
        for ky in 0..kernel_height {
            for kx in 0..kernel_width {
                let y = (oy * a.stride[0] + ky * a.dilation[0]) as isize - a.pads[0] as isize;
                let z = (ox * a.stride[1] + kx * a.dilation[1]) as isize - a.pads[1] as isize;
                if y < 0 || z < 0 || y >= height as isize || z >= width as isize {
                    continue;
                }
                let channel = image * channels + group * group_inputs + c;
                let pixel = (channel * height + y as usize) * width + z as usize;
                let tap = ((o * group_inputs + c) * kernel_height + ky) * kernel_width + kx;
                sum += f64::from(x.f32().expect("floats")[pixel])
                    * f64::from(w.f32().expect("floats")[tap]);
            }
        }
    }
    sum
}

/// Small integers, so that every order of additions gives the same sum.
fn small_integers(shape: &[usize], seed: u64) -> Tensor {
    let count: usize = shape.iter().product();
    let value = |i: usize| {
        let mixed = (i as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed >> 60) as f32) - 8.0
    };
    floats(shape, &(0..count).map(value).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn convolutions_agree_with_the_formula(
        seed: u64,
        groups in 1..3_usize,
        [group_inputs, group_outputs] in [1..4_usize, 1..3],
        [height, width] in [1..7_usize, 1..7],
        kernel in [1..4_usize, 1..4],
        stride in [1..4_usize, 1..4],
        dilation in [1..3_usize, 1..3],
        pads in [0..3_usize, 0..3, 0..3, 0..3],
        with_bias: bool,
    ) {
        let attributes = ConvAttributes { kernel, stride, dilation, pads, groups };
        let x = small_integers(&[1, groups * group_inputs, height, width], seed);
        let outputs = groups * group_outputs;
        let w = small_integers(&[outputs, group_inputs, kernel[0], kernel[1]], seed ^ 77);
        let bias = small_integers(&[outputs], seed ^ 99);
        let mut operands = vec![&x, &w];
        if with_bias {
            operands.push(&bias);
        }
        let fits = (0..2).all(|axis| {
            (kernel[axis] - 1) * dilation[axis] < [height, width][axis] + pads[axis] + pads[axis + 2]
        });
        let y = evaluate(Op::Conv(attributes.clone()), &operands);
        prop_assert_eq!(y.is_ok(), fits);
        let Ok(y) = y else { return Ok(()) };
        let [_, _, out_height, out_width] = <[usize; 4]>::try_from(y.shape()).expect("four");
        for (index, &found) in y.f32().expect("floats").iter().enumerate() {
            let (ox, rest) = (index % out_width, index / out_width);
            let (oy, o) = (rest % out_height, rest / out_height);
            let mut expected = naive_convolution(&attributes, &x, &w, [0, o, oy, ox]);
            if with_bias {
                expected += f64::from(bias.f32().expect("floats")[o]);
            }
            prop_assert_eq!(f64::from(found), expected);
        }
    }

    #[test]
    fn pools_agree_with_a_list_of_taps(
        seed: u64,
        size in 1..8_usize,
        kernel in 1..4_usize,
        stride in 1..4_usize,
        dilation in 1..3_usize,
        pads in [0..3_usize, 0..3],
        ceil_mode: bool,
        count_include_pad: bool,
    ) {
        // One row, so that the second axis does not matter.
        let attributes = PoolAttributes {
            kernel: [1, kernel],
            stride: [1, stride],
            dilation: [1, dilation],
            pads: [0, pads[0], 0, pads[1]],
            ceil_mode,
            count_include_pad,
        };
        let x = small_integers(&[1, 1, 1, size], seed);
        let line = x.f32().expect("floats");
        let taps = |output: usize| (0..kernel).map(move |tap| output * stride + tap * dilation);
        let pixels = |output| -> Vec<f32> {
            let inside = |at: usize| at.checked_sub(pads[0]).and_then(|at| line.get(at)).copied();
            taps(output).filter_map(inside).collect()
        };
        let Ok(maxima) = evaluate(Op::MaxPool(attributes.clone()), &[&x]) else { return Ok(()) };
        for (output, &found) in maxima.f32().expect("floats").iter().enumerate() {
            // A window of nothing but padding has the smallest of all maxima.
            let largest = pixels(output).into_iter().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(found, largest);
        }
        let means = value(Op::AveragePool(attributes), &[&x]);
        for (output, &found) in means.f32().expect("floats").iter().enumerate() {
            let pixels = pixels(output);
            let counted = taps(output).filter(|&at| at < pads[0] + size + pads[1]).count();
            let count = if count_include_pad { counted } else { pixels.len() };
            if count == 0 {
                // And no mean.
                prop_assert!(found.is_nan());
                continue;
            }
            prop_assert_eq!(found, pixels.iter().sum::<f32>() / count as f32);
        }
    }
}

/// `(1 + 2^-12)^2 - 1` needs a bit more than the square has once it is rounded.
#[test]
fn products_are_rounded_only_when_asked() {
    let x = 1.0 + 1.0 / 4096.0;
    let row = Tensor::from_f32(vec![1, 2], vec![-1.0, x]).unwrap();
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let conv = Op::Conv(ConvAttributes {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0; 4],
        groups: 1,
    });
    let layers = [
        (Op::MatMul, vec![1, 2], vec![2, 1]),
        (gemm, vec![1, 2], vec![2, 1]),
        (conv, vec![1, 2, 1, 1], vec![1, 2, 1, 1]),
    ];
    for (op, shape, weights) in layers {
        let mut graph = Graph::new("products");
        let input = graph.add_input("x", shape.clone());
        let weights = Tensor::from_f32(weights, vec![1.0, x]).unwrap();
        let weights = graph.add_constant("weights".to_owned(), weights);
        graph.outputs = vec![graph.push_node("layer", op.clone(), [input, weights])];
        let row = row.clone().reshaped(shape).unwrap();
        for (products, last_bit) in
            [(Products::Fused, 1.0 / 16_777_216.0), (Products::Rounded, 0.0)]
        {
            let interpreter = Interpreter::new(&graph).with_products(products);
            let y = interpreter.run(std::slice::from_ref(&row)).unwrap();
            assert_eq!(y[0].f32().unwrap(), [2.0 / 4096.0 + last_bit], "{products:?} {op:?}");
        }
    }
}
