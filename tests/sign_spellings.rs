//! Every spelling of a binarisation becomes one binary layer, with the answers of the reference
//! interpreter at ties and their neighbours.

use bnn::{
    Model, SessionOptions,
    convert::{ConvertError, ConvertOptions, convert},
    graph::{
        BinaryOp, ConvAttributes, Data, DataType, Graph, Op, QuantAttributes, RoundingMode, Tensor,
        UnaryOp, ValueId,
    },
    reference,
};

use BinaryOp::{
    Add, And, Div, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Max, Min, Mul, Or, Sub,
};
use UnaryOp::{Ceil, Floor, Neg, Not, Relu, Round, Sign};

/// A graph under construction.
struct Spelling(Graph);

impl Spelling {
    fn constant(&mut self, value: f32) -> ValueId {
        let name = format!("constant{}", self.0.values.len());
        self.0.add_constant(name, Tensor::scalar(value))
    }

    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = format!("node{}", self.0.values.len());
        self.0.push_node(name, op, inputs.iter().copied())
    }

    fn unary(&mut self, op: UnaryOp, x: ValueId) -> ValueId {
        self.op(Op::Unary(op), &[x])
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary(op), &[a, b])
    }

    /// A function of a value and a constant.
    fn with(&mut self, op: BinaryOp, x: ValueId, value: f32) -> ValueId {
        let value = self.constant(value);
        self.binary(op, x, value)
    }

    fn clip(&mut self, x: ValueId, low: f32, high: f32) -> ValueId {
        let (low, high) = (self.constant(low), self.constant(high));
        self.op(Op::Clip, &[x, low, high])
    }

    fn select(&mut self, condition: ValueId, x: f32, y: f32) -> ValueId {
        let (x, y) = (self.constant(x), self.constant(y));
        self.op(Op::Where, &[condition, x, y])
    }

    fn float(&mut self, x: ValueId) -> ValueId {
        self.op(Op::Cast { to: DataType::F32 }, &[x])
    }

    fn quant(&mut self, x: ValueId, parameters: [f32; 3], signed: bool, narrow: bool) -> ValueId {
        let [scale, zero_point, bits] = parameters.map(|value| self.constant(value));
        let attributes = QuantAttributes { signed, narrow, rounding: RoundingMode::Round };
        self.op(Op::Quant(attributes), &[x, scale, zero_point, bits])
    }

    fn step(&mut self, x: ValueId) -> ValueId {
        self.op(Op::Step { at_least: true, low: -1.0, high: 1.0 }, &[x])
    }
}

/// Zeros, ties, the places where the spellings below change, and the floats on either side.
fn inputs() -> Vec<f32> {
    let places = [0.0, 1e-45, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 1e6, 1e30];
    let near = |x: f32| [x.next_down(), x, x.next_up()];
    let positive = places.into_iter().flat_map(near);
    positive.flat_map(|x| [x, -x]).chain([f32::MAX, f32::MIN]).collect()
}

/// The network `y = W f(x)` with weights ±1, and its input.
fn network(spelling: impl Fn(&mut Spelling, ValueId) -> ValueId, inputs: &[f32]) -> Graph {
    let mut s = Spelling(Graph::new("spelling"));
    let channels = inputs.len();
    let x = s.0.add_input("x", vec![1, channels, 1, 1]);
    let sign = spelling(&mut s, x);
    // Row i is +1 up to entry i and -1 behind it: every entry has its say in a sum of its own.
    let weights = (0..channels * channels)
        .map(|i| if i % channels <= i / channels { 1.0 } else { -1.0 })
        .collect();
    let weights = Tensor::from_f32(vec![channels, channels, 1, 1], weights).unwrap();
    let weights = s.0.add_constant("weights", weights);
    let conv = ConvAttributes {
        kernel: [1; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [0; 4],
        groups: 1,
    };
    let y = s.op(Op::Conv(conv), &[sign, weights]);
    s.0.outputs.push(y);
    s.0
}

fn check(name: &str, spelling: impl Fn(&mut Spelling, ValueId) -> ValueId, inputs: &[f32]) {
    let graph = network(spelling, inputs);
    let tensor = Tensor::from_f32(vec![1, inputs.len(), 1, 1], inputs.to_vec()).unwrap();
    let expected = reference::run(&graph, &[tensor]).expect(name).remove(0);
    let options = ConvertOptions { strict: true, ..ConvertOptions::default() };
    let conversion = convert(graph, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(conversion.report.binary_layers, 1, "{name}: {:?}", conversion.report.layers);
    let bytes = bnn::format::write(&conversion.program).expect(name);
    let model = Model::from_bytes(&bytes).expect(name);
    let mut session = model.session(&SessionOptions::default()).expect(name);
    let found = session.run(inputs).expect(name);
    assert_eq!(found, expected.f32().expect(name), "{name}");
}

type Case = (&'static str, fn(&mut Spelling, ValueId) -> ValueId);

const SPELLINGS: &[Case] = &[
    ("Where(x >= 0, 1, -1)", |s, x| {
        let c = s.with(GreaterOrEqual, x, 0.0);
        s.select(c, 1.0, -1.0)
    }),
    ("Where(x > 0, 1, -1)", |s, x| {
        let c = s.with(Greater, x, 0.0);
        s.select(c, 1.0, -1.0)
    }),
    ("Where(x < 0, -1, 1)", |s, x| {
        let c = s.with(Less, x, 0.0);
        s.select(c, -1.0, 1.0)
    }),
    ("Where(x <= 0.3, 1, -1)", |s, x| {
        let c = s.with(LessOrEqual, x, 0.3);
        s.select(c, 1.0, -1.0)
    }),
    ("Where(0.1 > x, 1, -1)", |s, x| {
        let limit = s.constant(0.1);
        let c = s.binary(Greater, limit, x);
        s.select(c, 1.0, -1.0)
    }),
    ("Where(Not(x < 0), 1, -1)", |s, x| {
        let c = s.with(Less, x, 0.0);
        let c = s.unary(Not, c);
        s.select(c, 1.0, -1.0)
    }),
    ("Where with branches of the map's rank", |s, x| {
        let c = s.with(GreaterOrEqual, x, 0.5);
        let [one, other] = [1.0, -1.0].map(|value| {
            let tensor = Tensor::from_f32(vec![1, 1, 1, 1], vec![value]).unwrap();
            s.0.add_constant(format!("branch {value}"), tensor)
        });
        s.op(Op::Where, &[c, one, other])
    }),
    ("Cast(x > 0) * 2 - 1", |s, x| {
        let c = s.with(Greater, x, 0.0);
        let bit = s.float(c);
        let bit = s.with(Mul, bit, 2.0);
        s.with(Sub, bit, 1.0)
    }),
    ("Cast(x >= 0.25)", |s, x| {
        let c = s.with(GreaterOrEqual, x, 0.25);
        s.float(c)
    }),
    ("Cast(Cast(x >= 0) to integer) * 2 - 1", |s, x| {
        let c = s.with(GreaterOrEqual, x, 0.0);
        let c = s.op(Op::Cast { to: DataType::I64 }, &[c]);
        let bit = s.float(c);
        let bit = s.with(Mul, bit, 2.0);
        s.with(Sub, bit, 1.0)
    }),
    ("1 - 2 * Cast(x < 0)", |s, x| {
        let c = s.with(Less, x, 0.0);
        let bit = s.float(c);
        let bit = s.with(Mul, bit, 2.0);
        let one = s.constant(1.0);
        s.binary(Sub, one, bit)
    }),
    ("Cast(x >= 0) - Cast(x < 0)", |s, x| {
        let high = s.with(GreaterOrEqual, x, 0.0);
        let low = s.with(Less, x, 0.0);
        let (high, low) = (s.float(high), s.float(low));
        s.binary(Sub, high, low)
    }),
    ("x >= 0.1 and x >= 0.5", |s, x| {
        let a = s.with(GreaterOrEqual, x, 0.1);
        let b = s.with(GreaterOrEqual, x, 0.5);
        let c = s.binary(And, a, b);
        s.select(c, 1.0, -1.0)
    }),
    ("x > 0 or x == 0", |s, x| {
        let a = s.with(Greater, x, 0.0);
        let sign = s.unary(Sign, x);
        let b = s.with(Equal, sign, 0.0);
        let c = s.binary(Or, a, b);
        s.float(c)
    }),
    ("Round(Clip(x, 0, 1))", |s, x| {
        let x = s.clip(x, 0.0, 1.0);
        s.unary(Round, x)
    }),
    ("Clip(Round(x), 0, 1)", |s, x| {
        let x = s.unary(Round, x);
        s.clip(x, 0.0, 1.0)
    }),
    ("Min(Max(Round(x), 0), 1)", |s, x| {
        let x = s.unary(Round, x);
        let x = s.with(Max, x, 0.0);
        s.with(Min, x, 1.0)
    }),
    ("2 * Round(Clip((x + 1) / 2, 0, 1)) - 1", |s, x| {
        let x = s.with(Add, x, 1.0);
        let x = s.with(Div, x, 2.0);
        let x = s.clip(x, 0.0, 1.0);
        let x = s.unary(Round, x);
        let x = s.with(Mul, x, 2.0);
        s.with(Sub, x, 1.0)
    }),
    ("Round(HardSigmoid(x))", |s, x| {
        let x = s.unary(UnaryOp::HardSigmoid { alpha: 0.5, beta: 0.5 }, x);
        s.unary(Round, x)
    }),
    ("Round(Sigmoid(x))", |s, x| {
        let x = s.unary(UnaryOp::Sigmoid, x);
        s.unary(Round, x)
    }),
    ("Floor(Clip(x, 0, 1) + 0.5)", |s, x| {
        let x = s.clip(x, 0.0, 1.0);
        let x = s.with(Add, x, 0.5);
        s.unary(Floor, x)
    }),
    ("Clip(Floor(x + 0.5), 0, 1)", |s, x| {
        let x = s.with(Add, x, 0.5);
        let x = s.unary(Floor, x);
        s.clip(x, 0.0, 1.0)
    }),
    ("Ceil(Clip(x, 0, 1))", |s, x| {
        let x = s.clip(x, 0.0, 1.0);
        s.unary(Ceil, x)
    }),
    ("Floor(Clip(x, 0, 1))", |s, x| {
        let x = s.clip(x, 0.0, 1.0);
        s.unary(Floor, x)
    }),
    ("Clip of an integer", |s, x| {
        let x = s.op(Op::Cast { to: DataType::I64 }, &[x]);
        let x = s.float(x);
        s.clip(x, 0.0, 1.0)
    }),
    ("Sign(Sign(x) + 0.1)", |s, x| {
        let x = s.unary(Sign, x);
        let x = s.with(Add, x, 0.1);
        s.unary(Sign, x)
    }),
    ("Sign(Sign(x) - 0.5)", |s, x| {
        let x = s.unary(Sign, x);
        let x = s.with(Sub, x, 0.5);
        s.unary(Sign, x)
    }),
    ("Where(Sign(x) == 0, 1, Sign(x))", |s, x| {
        let sign = s.unary(Sign, x);
        let c = s.with(Equal, sign, 0.0);
        let one = s.constant(1.0);
        s.op(Op::Where, &[c, one, sign])
    }),
    ("Sign(x) + Cast(x == 0)", |s, x| {
        let sign = s.unary(Sign, x);
        let zero = s.with(Equal, sign, 0.0);
        let zero = s.float(zero);
        s.binary(Add, sign, zero)
    }),
    ("Relu(Sign(x))", |s, x| {
        let x = s.unary(Sign, x);
        s.unary(Relu, x)
    }),
    ("-Relu(Sign(-x))", |s, x| {
        let x = s.unary(Neg, x);
        let x = s.unary(Sign, x);
        let x = s.unary(Relu, x);
        s.unary(Neg, x)
    }),
    ("Floor((Sign(x) + 1) / 2)", |s, x| {
        let x = s.unary(Sign, x);
        let x = s.with(Add, x, 1.0);
        let x = s.with(Div, x, 2.0);
        s.unary(Floor, x)
    }),
    ("BipolarQuant(x, 0.25)", |s, x| {
        let scale = s.constant(0.25);
        s.op(Op::BipolarQuant, &[x, scale])
    }),
    ("Quant of one unsigned bit", |s, x| s.quant(x, [0.5, 0.0, 1.0], false, false)),
    ("Quant of one unsigned bit with a zero point", |s, x| {
        s.quant(x, [0.5, 1.0, 1.0], false, false)
    }),
    ("Quant of one signed bit", |s, x| s.quant(x, [0.5, 0.0, 1.0], true, false)),
    ("Quant of two signed bits, narrow and halved", |s, x| {
        let x = s.quant(x, [1.0, 0.0, 2.0], true, true);
        s.with(Max, x, 0.0)
    }),
    ("heaviside: Where(x == 0, 1, Cast(x > 0))", |s, x| {
        let zero = s.with(Equal, x, 0.0);
        let above = s.with(Greater, x, 0.0);
        let above = s.float(above);
        let one = s.constant(1.0);
        s.op(Op::Where, &[zero, one, above])
    }),
    ("MultiThreshold-like count", |s, x| {
        let a = s.with(GreaterOrEqual, x, 0.75);
        let a = s.float(a);
        s.with(Sub, a, 0.5)
    }),
];

#[test]
fn every_spelling_is_one_step() {
    for (name, spelling) in SPELLINGS {
        check(name, spelling, &inputs());
    }
}

/// What is left of an estimator, as a function of the quantised value and the one it replaces.
type Residue = (&'static str, fn(&mut Spelling, ValueId, ValueId) -> ValueId);

/// What a straight-through estimator leaves, `o` being a function of `x` of the size of the sign.
#[test]
fn residues_of_straight_through_estimators_cancel() {
    let cases: &[Residue] = &[
        ("(s - o) + o", |g, s, o| {
            let d = g.binary(Sub, s, o);
            g.binary(Add, d, o)
        }),
        ("o + (s - o)", |g, s, o| {
            let d = g.binary(Sub, s, o);
            g.binary(Add, o, d)
        }),
        ("(s + o) - o", |g, s, o| {
            let d = g.binary(Add, s, o);
            g.binary(Sub, d, o)
        }),
        ("o - (o - s)", |g, s, o| {
            let d = g.binary(Sub, o, s);
            g.binary(Sub, o, d)
        }),
        ("s + (o - o)", |g, s, o| {
            let d = g.binary(Sub, o, o);
            g.binary(Add, s, d)
        }),
        ("Identity((s - Identity(o)) + o)", |g, s, o| {
            let i = g.unary(UnaryOp::Identity, o);
            let d = g.binary(Sub, s, i);
            let y = g.binary(Add, d, o);
            g.unary(UnaryOp::Identity, y)
        }),
    ];
    // Sums of these with ±1 and with 0 are exact.
    let inputs: Vec<f32> = (-24..=24).map(|i| i as f32 / 8.0).collect();
    for (name, residue) in cases {
        let around_clip = |g: &mut Spelling, x| {
            let o = g.clip(x, -1.0, 1.0);
            let s = g.step(x);
            residue(g, s, o)
        };
        check(name, around_clip, &inputs);
        let around_rounding = |g: &mut Spelling, x| {
            let o = g.clip(x, 0.0, 1.0);
            let s = g.unary(Round, o);
            residue(g, s, o)
        };
        check(name, around_rounding, &inputs);
        let scaled = |g: &mut Spelling, x| {
            let s = g.step(x);
            let s = g.with(Mul, s, 0.5);
            let s = g.with(Add, s, 0.25);
            residue(g, s, x)
        };
        check(name, scaled, &inputs);
    }
}

/// Where the terms that stay are no quantiser's, a sum is a sum.
#[test]
fn ordinary_differences_stay() {
    let mut g = Spelling(Graph::new("difference"));
    let x = g.0.add_input("x", vec![1, 4]);
    let half = g.with(Mul, x, 0.5);
    let d = g.binary(Sub, half, x);
    let y = g.binary(Add, d, x);
    g.0.outputs.push(y);
    let graph = g.0;
    // Rounded differently from `half`: 1e30 - 2e30 is exact, 0.3 - 1e9 is not.
    let input = vec![1e9, 0.3, -7.7, 3e-9];
    let tensor = Tensor::from_f32(vec![1, 4], input.clone()).unwrap();
    let expected = reference::run(&graph, &[tensor]).unwrap().remove(0);
    let conversion = convert(graph, &ConvertOptions::default()).expect("converts");
    let bytes = bnn::format::write(&conversion.program).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    assert_eq!(session.run(&input).unwrap(), expected.f32().unwrap());
}

/// Thresholds that differ from channel to channel, and scales that do.
#[test]
fn constants_per_channel() {
    let inputs = inputs();
    let count = inputs.len();
    let per_channel = |g: &mut Spelling, values: Vec<f32>| {
        let tensor = Tensor::from_f32(vec![1, count, 1, 1], values).unwrap();
        let name = format!("constants{}", g.0.values.len());
        g.0.add_constant(name, tensor)
    };
    let compared = |g: &mut Spelling, x| {
        let limits = per_channel(g, (0..count).map(|i| (i % 5) as f32 * 0.25).collect());
        let c = g.binary(Greater, x, limits);
        g.select(c, 1.0, -1.0)
    };
    check("Where(x > c)", compared, &inputs);
    // Not binary for the engine, but not refused either.
    let graph = network(
        |g, x| {
            let scales = per_channel(g, (0..count).map(|i| 0.5 + (i % 3) as f32).collect());
            g.op(Op::BipolarQuant, &[x, scales])
        },
        &inputs,
    );
    assert!(convert(graph, &ConvertOptions::default()).is_ok());
}

/// Constants that are larger than what they meet: the result is as large as they are.
#[test]
fn constants_larger_than_the_data() {
    let of = |build: &dyn Fn(&mut Spelling, ValueId) -> ValueId, shape: &[usize]| {
        let mut g = Spelling(Graph::new("broadcast"));
        let x = g.0.add_input("x", shape.to_vec());
        let y = build(&mut g, x);
        g.0.outputs.push(y);
        let graph = g.0;
        let count = shape.iter().product::<usize>();
        let input: Vec<f32> = (0..count).map(|i| i as f32 - 1.5).collect();
        let tensor = Tensor::from_f32(shape.to_vec(), input.clone()).unwrap();
        let expected = reference::run(&graph, &[tensor]).unwrap().remove(0);
        let conversion = convert(graph, &ConvertOptions::default()).expect("it converts");
        assert_eq!(conversion.program.outputs[0].shape, expected.shape()[1..]);
        let bytes = bnn::format::write(&conversion.program).unwrap();
        let model = Model::from_bytes(&bytes).unwrap();
        let mut session = model.session(&SessionOptions::default()).unwrap();
        assert_eq!(session.run(&input).unwrap(), expected.f32().unwrap());
    };
    let channels = |g: &mut Spelling, values: [f32; 3]| {
        let tensor = Tensor::from_f32(vec![1, 3, 1, 1], values.to_vec()).unwrap();
        let name = format!("channels{}", g.0.values.len());
        g.0.add_constant(name, tensor)
    };
    let selection = |g: &mut Spelling, x| {
        let c = g.with(GreaterOrEqual, x, 0.0);
        let (high, low) = (channels(g, [1.0; 3]), channels(g, [-1.0; 3]));
        g.op(Op::Where, &[c, high, low])
    };
    of(&selection, &[1, 1, 2, 2]);
    for values in [[2.0; 3], [1.0, 2.0, 4.0]] {
        let sum = |g: &mut Spelling, x| {
            let c = channels(g, values);
            g.binary(Add, x, c)
        };
        of(&sum, &[1, 1, 2, 2]);
        let difference = |g: &mut Spelling, x| {
            let s = g.step(x);
            let c = channels(g, values);
            g.binary(Sub, c, s)
        };
        of(&difference, &[1, 1, 2, 2]);
    }
    let more_dimensions = |g: &mut Spelling, x| {
        let one = g.0.add_constant("one", Tensor::from_f32(vec![1; 4], vec![1.0]).unwrap());
        g.binary(Add, x, one)
    };
    of(&more_dimensions, &[1, 4]);
}

/// The sign of what is never negative is refused however it is dressed up, unless nobody reads it.
#[test]
fn signs_of_non_negative_values_are_refused() {
    let dressed: &[Case] = &[
        ("Sign(Relu(x))", |s, x| {
            let x = s.unary(Relu, x);
            s.unary(Sign, x)
        }),
        ("2 * Sign(Relu(x)) - 1", |s, x| {
            let x = s.unary(Relu, x);
            let x = s.unary(Sign, x);
            let x = s.with(Mul, x, 2.0);
            s.with(Sub, x, 1.0)
        }),
        ("Sign(Cast(x > 0))", |s, x| {
            let x = s.with(Greater, x, 0.0);
            let x = s.float(x);
            s.unary(Sign, x)
        }),
        ("Sign(Round(Clip(x, 0, 1)))", |s, x| {
            let x = s.clip(x, 0.0, 1.0);
            let x = s.unary(Round, x);
            s.unary(Sign, x)
        }),
    ];
    for (name, spelling) in dressed {
        let error = convert(network(spelling, &inputs()), &ConvertOptions::default());
        let error = error.expect_err(name);
        assert!(matches!(error, ConvertError::NonNegativeSign { .. }), "{name}: {error}");
    }
}

/// A threshold that the values never cross leaves a constant.
#[test]
fn functions_with_one_value_are_constants() {
    let inputs = inputs();
    let graph = network(
        |s, x| {
            let sign = s.step(x);
            let c = s.with(Greater, sign, 1.0);
            let never = s.float(c);
            s.binary(Add, sign, never)
        },
        &inputs,
    );
    let tensor = Tensor::from_f32(vec![1, inputs.len(), 1, 1], inputs.clone()).unwrap();
    let expected = reference::run(&graph, &[tensor]).unwrap().remove(0);
    let conversion = convert(graph, &ConvertOptions::default()).expect("converts");
    let bytes = bnn::format::write(&conversion.program).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    assert_eq!(session.run(&inputs).unwrap(), expected.f32().unwrap());
}

/// Bits are not made of functions with three values.
#[test]
fn three_values_are_not_two() {
    let inputs: Vec<f32> = (-12..12).map(|i| i as f32 / 4.0).collect();
    let graph = network(
        |s, x| {
            let x = s.clip(x, -1.0, 1.0);
            s.unary(Round, x)
        },
        &inputs,
    );
    let tensor = Tensor::from_f32(vec![1, inputs.len(), 1, 1], inputs.clone()).unwrap();
    let expected = reference::run(&graph, &[tensor]).unwrap().remove(0);
    assert!(matches!(expected.data(), Data::F32(_)));
    let conversion = convert(graph, &ConvertOptions::default()).expect("converts");
    let bytes = bnn::format::write(&conversion.program).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    assert_eq!(session.run(&inputs).unwrap(), expected.f32().unwrap());
}
