//! Which tensors take few, evenly spaced values: quantised activations of several bits.
//!
//! Two properties are followed through the graph: an interval that holds all values, and a lattice
//! `scale * integer + offset` that they lie on. A rounding puts values on the integers, a clipping
//! bounds them, affine maps carry both along. Where both are known a tensor is a code: an integer from
//! 0 to `highest`.

use crate::graph::{BinaryOp, Graph, Node, Op, UnaryOp, ValueId};

use super::chain::uniform_constant;

/// Most levels that are worth splitting into planes of bits: 4 bits.
const MOST_LEVELS: f64 = 16.0;

/// Relative deviation from the lattice that rounding to f32 explains.
const TOLERANCE: f64 = 1e-5;

/// A tensor whose values are `scale * code + offset` with `code` an integer from 0 to `highest`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Code {
    /// Distance between neighbouring values; positive.
    pub(super) scale: f64,
    /// The smallest value.
    pub(super) offset: f64,
    /// The largest code.
    pub(super) highest: u32,
}

/// What is known of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    low: f64,
    high: f64,
    /// `(scale, offset)`, the scale positive.
    lattice: Option<(f64, f64)>,
}

impl Known {
    const NOTHING: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY, lattice: None };

    fn constant(value: f32) -> Self {
        let value = f64::from(value);
        Self { low: value, high: value, lattice: None }
    }

    fn between(low: f64, high: f64) -> Self {
        Self { low, high, lattice: None }
    }

    /// `x * factor + shift`.
    fn affine(self, factor: f64, shift: f64) -> Self {
        // An infinite bound times 0 says nothing.
        if factor == 0.0 || !factor.is_finite() || !shift.is_finite() {
            return Self::NOTHING;
        }
        let (a, b) = (self.low * factor + shift, self.high * factor + shift);
        Self {
            low: a.min(b),
            high: a.max(b),
            lattice: self
                .lattice
                .map(|(scale, offset)| (scale * factor.abs(), offset * factor + shift)),
        }
    }

    /// The values cut off at a bound; they stay on the lattice where the bound does nothing or lies on
    /// it.
    fn clipped(self, low: f64, high: f64) -> Self {
        let harmless = |bound: f64, reached: bool| {
            !reached || self.lattice.is_some_and(|lattice| is_on(lattice, bound))
        };
        let stays = harmless(low, self.low < low) && harmless(high, self.high > high);
        Self {
            low: self.low.clamp(low, high.max(low)),
            high: self.high.clamp(low, high.max(low)),
            lattice: self.lattice.filter(|_| stays),
        }
    }

    /// The values of either tensor.
    fn or(self, other: Self) -> Self {
        let lattice = match (self.lattice, other.lattice) {
            (Some(a), Some(b)) if (a.0 - b.0).abs() <= TOLERANCE * a.0 && is_on(a, b.1) => Some(a),
            _ => None,
        };
        Self { low: self.low.min(other.low), high: self.high.max(other.high), lattice }
    }

    /// Sums of the values of both tensors.
    fn plus(self, other: Self) -> Self {
        let lattice = self.lattice.zip(other.lattice).and_then(|(a, b)| {
            let (fine, coarse) = if a.0 <= b.0 { (a, b) } else { (b, a) };
            is_on((fine.0, 0.0), coarse.0).then_some((fine.0, a.1 + b.1))
        });
        Self { low: self.low + other.low, high: self.high + other.high, lattice }
    }

    fn code(self) -> Option<Code> {
        let (scale, offset) = self.lattice?;
        let steps = (self.high - self.low) / scale;
        // The lowest place of the lattice within the bounds.
        let lowest = ((self.low - offset) / scale - TOLERANCE * MOST_LEVELS).ceil();
        let highest = ((self.high - offset) / scale + TOLERANCE * MOST_LEVELS).floor();
        let levels = highest - lowest + 1.0;
        (steps.is_finite() && (2.0..=MOST_LEVELS).contains(&levels)).then_some(Code {
            scale,
            offset: offset + lowest * scale,
            highest: (levels - 1.0) as u32,
        })
    }
}

/// Whether a value lies on a lattice, but for rounding.
fn is_on((scale, offset): (f64, f64), value: f64) -> bool {
    let place = (value - offset) / scale;
    (place - place.round()).abs() <= TOLERANCE * place.abs().max(1.0)
}

/// The codes of all tensors that have one.
pub(super) fn codes(graph: &Graph) -> Vec<Option<Code>> {
    let mut known = vec![Known::NOTHING; graph.values.len()];
    for node in &graph.nodes {
        let found = results(graph, node, &known);
        for &output in &node.outputs {
            known[output.index()] = found;
        }
    }
    known.into_iter().map(Known::code).collect()
}

/// What is known of the results of a node (all alike) from what is known of its operands.
fn results(graph: &Graph, node: &Node, known: &[Known]) -> Known {
    let of = |value: Option<ValueId>| -> Known {
        let Some(value) = value else { return Known::NOTHING };
        match uniform_constant(graph, value) {
            Some(constant) => Known::constant(constant),
            None => known[value.index()],
        }
    };
    let x = of(node.input(0));
    match &node.op {
        Op::Step { low, high, .. } if low != high => {
            let (low, high) = (f64::from(low.min(*high)), f64::from(low.max(*high)));
            Known { low, high, lattice: Some((high - low, low)) }
        }
        Op::Unary(function) => unary(*function, x),
        Op::Binary(op) => {
            let constant = |index| node.input(index).and_then(|id| uniform_constant(graph, id));
            binary(*op, [x, of(node.input(1))], [constant(0), constant(1)])
        }
        Op::Clip => {
            let bound = |index: usize, default: f64| match node.input(index) {
                Some(id) => uniform_constant(graph, id).map(f64::from),
                None => Some(default),
            };
            match (bound(1, f64::NEG_INFINITY), bound(2, f64::INFINITY)) {
                (Some(low), Some(high)) if low <= high => x.clipped(low, high),
                _ => Known::NOTHING,
            }
        }
        // Means lie between the values, maxima are some of them. Padding adds zeros to a mean.
        Op::AveragePool(pool) => Known {
            lattice: None,
            ..if pool.pads == [0; 4] { x } else { x.or(Known::constant(0.0)) }
        },
        Op::GlobalAveragePool => Known { lattice: None, ..x },
        Op::MaxPool(_)
        | Op::GlobalMaxPool
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Transpose { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Slice
        | Op::Split { .. }
        | Op::Expand => x,
        Op::Pad => {
            let value = match node.input(2) {
                Some(id) => uniform_constant(graph, id).map(f64::from),
                None => Some(0.0),
            };
            match value {
                Some(value) if x.lattice.is_some_and(|lattice| is_on(lattice, value)) => {
                    Known { low: x.low.min(value), high: x.high.max(value), ..x }
                }
                _ => Known::NOTHING,
            }
        }
        Op::Concat { .. } => {
            let mut operands = node.inputs.iter().map(|&input| of(input));
            let first = operands.next().unwrap_or(Known::NOTHING);
            operands.fold(first, Known::or)
        }
        _ => Known::NOTHING,
    }
}

fn unary(function: UnaryOp, x: Known) -> Known {
    let rounded = |round: fn(f64) -> f64| {
        let already = x.lattice.is_some_and(|l| is_on((1.0, 0.0), l.0) && is_on((1.0, 0.0), l.1));
        let lattice = if already { x.lattice } else { Some((1.0, 0.0)) };
        Known { low: round(x.low), high: round(x.high), lattice }
    };
    match function {
        UnaryOp::Identity => x,
        UnaryOp::Round => rounded(f64::round_ties_even),
        UnaryOp::Floor => rounded(f64::floor),
        UnaryOp::Ceil => rounded(f64::ceil),
        UnaryOp::Sign => Known { low: -1.0, high: 1.0, lattice: Some((1.0, 0.0)) },
        UnaryOp::Neg => x.affine(-1.0, 0.0),
        UnaryOp::Relu => x.clipped(0.0, f64::INFINITY),
        UnaryOp::Sigmoid | UnaryOp::HardSigmoid { .. } => Known::between(0.0, 1.0),
        UnaryOp::Tanh => Known::between(-1.0, 1.0),
        UnaryOp::Abs | UnaryOp::Exp | UnaryOp::Softplus | UnaryOp::Sqrt => {
            Known::between(0.0, f64::INFINITY)
        }
        _ => Known::NOTHING,
    }
}

fn binary(op: BinaryOp, [a, b]: [Known; 2], constants: [Option<f32>; 2]) -> Known {
    let constants = constants.map(|c| c.map(f64::from));
    match (op, constants) {
        (BinaryOp::Add, [_, Some(c)]) => a.affine(1.0, c),
        (BinaryOp::Add, [Some(c), _]) => b.affine(1.0, c),
        (BinaryOp::Add, _) => a.plus(b),
        (BinaryOp::Sub, [_, Some(c)]) => a.affine(1.0, -c),
        (BinaryOp::Sub, [Some(c), _]) => b.affine(-1.0, c),
        (BinaryOp::Sub, _) => a.plus(b.affine(-1.0, 0.0)),
        (BinaryOp::Mul, [_, Some(c)]) => a.affine(c, 0.0),
        (BinaryOp::Mul, [Some(c), _]) => b.affine(c, 0.0),
        (BinaryOp::Div, [_, Some(c)]) if c != 0.0 => a.affine(1.0 / c, 0.0),
        (BinaryOp::Min, [_, Some(c)]) => a.clipped(f64::NEG_INFINITY, c),
        (BinaryOp::Min, [Some(c), _]) => b.clipped(f64::NEG_INFINITY, c),
        (BinaryOp::Max, [_, Some(c)]) => a.clipped(c, f64::INFINITY),
        (BinaryOp::Max, [Some(c), _]) => b.clipped(c, f64::INFINITY),
        _ => Known::NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Tensor;

    struct Chain {
        graph: Graph,
        value: ValueId,
    }

    impl Chain {
        fn new() -> Self {
            let mut graph = Graph::new("chain");
            let value = graph.add_input("x", vec![1, 4]);
            Self { graph, value }
        }

        fn unary(mut self, op: UnaryOp) -> Self {
            self.value = self.graph.push_node("n", Op::Unary(op), [self.value]);
            self
        }

        fn scalar(mut self, op: BinaryOp, c: f32) -> Self {
            let c = self.graph.add_constant("c", Tensor::scalar(c));
            self.value = self.graph.push_node("n", Op::Binary(op), [self.value, c]);
            self
        }

        fn clip(mut self, low: f32, high: f32) -> Self {
            let low = self.graph.add_constant("low", Tensor::scalar(low));
            let high = self.graph.add_constant("high", Tensor::scalar(high));
            self.value = self.graph.push_node("n", Op::Clip, [self.value, low, high]);
            self
        }

        fn code(&self) -> Option<Code> {
            codes(&self.graph)[self.value.index()]
        }
    }

    #[test]
    fn dorefa_activations_are_codes() {
        let chain = Chain::new()
            .clip(0.0, 1.0)
            .scalar(BinaryOp::Mul, 15.0)
            .unary(UnaryOp::Round)
            .scalar(BinaryOp::Div, 15.0);
        let code = chain.code().unwrap();
        assert!((code.scale - 1.0 / 15.0).abs() < 1e-12, "{code:?}");
        assert_eq!((code.offset, code.highest), (0.0, 15));
    }

    #[test]
    fn clipping_may_come_after_rounding() {
        let chain = Chain::new()
            .scalar(BinaryOp::Div, 0.3)
            .unary(UnaryOp::Round)
            .clip(-2.0, 1.0)
            .scalar(BinaryOp::Mul, 0.3);
        let code = chain.code().unwrap();
        assert_eq!(code.highest, 3);
        assert!((code.offset + 0.6).abs() < 1e-6 && (code.scale - 0.3).abs() < 1e-6, "{code:?}");
    }

    #[test]
    fn what_is_not_bounded_or_not_even_is_no_code() {
        assert_eq!(Chain::new().unary(UnaryOp::Round).code(), None);
        assert_eq!(Chain::new().clip(0.0, 3.0).code(), None);
        assert_eq!(Chain::new().unary(UnaryOp::Round).clip(0.0, 2.5).code(), None);
        assert_eq!(Chain::new().unary(UnaryOp::Round).clip(0.0, 255.0).code(), None);
        let relu6 = Chain::new().unary(UnaryOp::Round).clip(0.0, 6.0);
        assert_eq!(relu6.code().map(|c| c.highest), Some(6));
    }

    #[test]
    fn sums_of_steps_are_codes() {
        let mut chain = Chain::new();
        let step = Op::Step { at_least: true, low: 0.0, high: 1.0 };
        let a = chain.graph.push_node("a", step.clone(), [chain.value]);
        let b = chain.graph.push_node("b", step, [chain.value]);
        chain.value = chain.graph.push_node("s", Op::Binary(BinaryOp::Sub), [a, b]);
        let expected = Code { scale: 1.0, offset: -1.0, highest: 2 };
        assert_eq!(chain.code(), Some(expected));
        assert_eq!(
            chain.scalar(BinaryOp::Mul, -0.5).code(),
            Some(Code { scale: 0.5, offset: -0.5, highest: 2 })
        );
    }
}
