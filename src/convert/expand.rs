//! Writes compound operators in terms of simple ones that every later pass and the runtime know.
//!
//! | in the graph | becomes |
//! |---|---|
//! | `Quant(x, s, z, n)` (QONNX) | `(round(clip(x / s + z)) - z) * s` |
//! | `Trunc(x, s, z, n, m)` (QONNX) | `(round(round(x / s + z) / 2^(n - m)) - z) * s` |
//! | `MultiThreshold(x, t)` (QONNX) | a sum of steps `x >= t_i` |
//! | `HardSwish(x)` | `x * clip(x / 6 + 1/2, 0, 1)` |
//! | `Elu(x)` | `relu(x) + alpha * (exp(min(x, 0)) - 1)` |
//! | `Pow(x, c)` with c = 1/2, 1, 2, 3, -1 | a root, products, a reciprocal |
//! | `Where(a >= b, x, y)` on data | `step * x + (1 - step) * y`, both clipped to finite floats |
//!
//! Every piece is rounded as the whole defines it, so the values stay the same to the bit (zeros may
//! change their sign; powers are those of products).

use crate::graph::{
    BinaryOp, Graph, Node, Op, QuantAttributes, RoundingMode, Tensor, UnaryOp, ValueId,
};

use super::{
    chain::uniform_constant,
    rewrite::{Visited, rewrite_nodes},
};

/// Most thresholds that are written out as steps.
const MOST_STEPS: usize = 64;

/// Applies the rewrites wherever they fit.
pub(super) fn expand_compound_operators(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    rewrite_nodes(graph, |graph, visited, node| {
        let mut pieces = Pieces { graph, node, nodes: Vec::new() };
        let result = match &node.op {
            Op::Quant(attributes) => pieces.quant(attributes),
            Op::Trunc { rounding } => pieces.trunc(*rounding),
            Op::MultiThreshold { out_scale, out_bias } => {
                let rank = shapes.get(node.input(0)?.index())?.as_ref()?.len();
                pieces.multi_threshold(*out_scale, *out_bias, rank)
            }
            Op::Unary(UnaryOp::HardSwish) => pieces.hard_swish(),
            Op::Unary(UnaryOp::Elu { alpha }) => pieces.elu(*alpha),
            Op::Binary(BinaryOp::Pow) => pieces.power(),
            Op::Where => pieces.selection(visited),
            _ => return None,
        }?;
        Some(pieces.finish(result))
    });
}

/// The nodes that take the place of one.
struct Pieces<'a> {
    graph: &'a mut Graph,
    node: &'a Node,
    nodes: Vec<Node>,
}

impl Pieces<'_> {
    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = format!("{}.{}", self.node.name, self.nodes.len());
        let output = self.graph.add_value(name.clone());
        let inputs = inputs.iter().copied().map(Some).collect();
        self.nodes.push(Node { name, op, inputs, outputs: vec![output] });
        output
    }

    fn unary(&mut self, op: UnaryOp, x: ValueId) -> ValueId {
        self.op(Op::Unary(op), &[x])
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary(op), &[a, b])
    }

    fn constant(&mut self, value: f32) -> ValueId {
        self.graph.add_constant(format!("{}.constant", self.node.name), Tensor::scalar(value))
    }

    fn scalar(&mut self, op: BinaryOp, x: ValueId, value: f32) -> ValueId {
        let value = self.constant(value);
        self.binary(op, x, value)
    }

    /// `x op p`, or `x` itself where `p` is the neutral element.
    fn unless(&mut self, neutral: f32, op: BinaryOp, x: ValueId, p: ValueId) -> ValueId {
        if uniform_constant(self.graph, p) == Some(neutral) { x } else { self.binary(op, x, p) }
    }

    fn clip(&mut self, x: ValueId, low: f32, high: f32) -> ValueId {
        let (low, high) = (self.constant(low), self.constant(high));
        self.op(Op::Clip, &[x, low, high])
    }

    fn step(&mut self, at_least: bool, low: f32, high: f32, x: ValueId) -> ValueId {
        self.op(Op::Step { at_least, low, high }, &[x])
    }

    /// The operand at an index if it is a constant.
    fn parameter(&self, index: usize) -> Option<ValueId> {
        self.node.input(index).filter(|&id| self.graph.constant(id).is_some())
    }

    fn uniform(&self, index: usize) -> Option<f32> {
        uniform_constant(self.graph, self.node.input(index)?)
    }

    /// The nodes, the last of which gives the result of the original.
    fn finish(mut self, result: ValueId) -> Vec<Node> {
        match self.nodes.last_mut() {
            Some(last) if last.outputs == [result] => {
                last.outputs.clone_from(&self.node.outputs);
                last.name.clone_from(&self.node.name);
            }
            _ => self.nodes.push(Node {
                op: Op::Unary(UnaryOp::Identity),
                inputs: vec![Some(result)],
                ..self.node.clone()
            }),
        }
        self.nodes
    }

    /// `mode(x)` by functions that round up, down and to even.
    fn rounded(&mut self, mode: RoundingMode, x: ValueId) -> ValueId {
        match mode {
            RoundingMode::Round => self.unary(UnaryOp::Round, x),
            RoundingMode::Ceil => self.unary(UnaryOp::Ceil, x),
            RoundingMode::Floor => self.unary(UnaryOp::Floor, x),
            RoundingMode::Down => self.towards_zero(x),
            RoundingMode::Up => {
                let positive = self.scalar(BinaryOp::Max, x, 0.0);
                let negative = self.scalar(BinaryOp::Min, x, 0.0);
                let up = self.unary(UnaryOp::Ceil, positive);
                let down = self.unary(UnaryOp::Floor, negative);
                self.binary(BinaryOp::Add, up, down)
            }
            RoundingMode::HalfUp | RoundingMode::HalfDown => {
                // The fraction is exact, and so is the comparison with one half.
                let at_least = mode == RoundingMode::HalfUp;
                let whole = self.towards_zero(x);
                let fraction = self.binary(BinaryOp::Sub, x, whole);
                let above = self.scalar(BinaryOp::Sub, fraction, 0.5);
                let negated = self.unary(UnaryOp::Neg, fraction);
                let below = self.scalar(BinaryOp::Sub, negated, 0.5);
                let up = self.step(at_least, 0.0, 1.0, above);
                let down = self.step(at_least, 0.0, -1.0, below);
                let raised = self.binary(BinaryOp::Add, whole, up);
                self.binary(BinaryOp::Add, raised, down)
            }
        }
    }

    fn towards_zero(&mut self, x: ValueId) -> ValueId {
        let positive = self.scalar(BinaryOp::Max, x, 0.0);
        let negative = self.scalar(BinaryOp::Min, x, 0.0);
        let positive = self.unary(UnaryOp::Floor, positive);
        let negative = self.unary(UnaryOp::Ceil, negative);
        self.binary(BinaryOp::Add, positive, negative)
    }

    fn quant(&mut self, attributes: &QuantAttributes) -> Option<ValueId> {
        let (x, scale, zero) = (self.node.input(0)?, self.parameter(1)?, self.parameter(2)?);
        let bits = self.uniform(3)?;
        let narrow = f32::from(u8::from(attributes.narrow));
        let scaled = self.unless(1.0, BinaryOp::Div, x, scale);
        let shifted = self.unless(0.0, BinaryOp::Add, scaled, zero);
        let integer = if attributes.signed && bits == 1.0 {
            self.step(true, -1.0, 1.0, shifted)
        } else {
            let (low, high) = if attributes.signed {
                let half = libm::exp2f(bits - 1.0);
                (narrow - half, half - 1.0)
            } else {
                (0.0, libm::exp2f(bits) - 1.0 - narrow)
            };
            let clipped = self.clip(shifted, low, high);
            self.rounded(attributes.rounding, clipped)
        };
        let unshifted = self.unless(0.0, BinaryOp::Sub, integer, zero);
        Some(self.unless(1.0, BinaryOp::Mul, unshifted, scale))
    }

    fn trunc(&mut self, rounding: RoundingMode) -> Option<ValueId> {
        let (x, scale, zero) = (self.node.input(0)?, self.parameter(1)?, self.parameter(2)?);
        let lost = libm::exp2f(self.uniform(3)? - self.uniform(4)?);
        let scaled = self.unless(1.0, BinaryOp::Div, x, scale);
        let shifted = self.unless(0.0, BinaryOp::Add, scaled, zero);
        let integer = self.unary(UnaryOp::Round, shifted);
        let divided = self.scalar(BinaryOp::Div, integer, lost);
        let truncated = self.rounded(rounding, divided);
        let unshifted = self.unless(0.0, BinaryOp::Sub, truncated, zero);
        Some(self.unless(1.0, BinaryOp::Mul, unshifted, scale))
    }

    fn multi_threshold(&mut self, out_scale: f32, out_bias: f32, rank: usize) -> Option<ValueId> {
        let x = self.node.input(0)?;
        let tensor = self.graph.constant(self.node.input(1)?)?;
        let &[rows, steps] = tensor.shape() else { return None };
        let thresholds = tensor.f32().ok()?.to_vec();
        if steps == 0 || steps > MOST_STEPS || rank < 2 {
            return None;
        }
        let mut count = None;
        for step in 0..steps {
            let column = (0..rows).map(|row| thresholds[row * steps + step]).collect();
            // The thresholds run along axis 1.
            let mut shape = vec![1; rank];
            shape[1] = rows;
            let column = Tensor::from_f32(shape, column).ok()?;
            let name = format!("{}.threshold", self.node.name);
            let threshold = self.graph.add_constant(name, column);
            let shifted = self.binary(BinaryOp::Sub, x, threshold);
            let passed = self.step(true, 0.0, 1.0, shifted);
            count = Some(match count {
                Some(count) => self.binary(BinaryOp::Add, count, passed),
                None => passed,
            });
        }
        let mut result = count?;
        if out_scale != 1.0 {
            result = self.scalar(BinaryOp::Mul, result, out_scale);
        }
        if out_bias != 0.0 {
            result = self.scalar(BinaryOp::Add, result, out_bias);
        }
        Some(result)
    }

    fn hard_swish(&mut self) -> Option<ValueId> {
        let x = self.node.input(0)?;
        let sixth = self.scalar(BinaryOp::Div, x, 6.0);
        let shifted = self.scalar(BinaryOp::Add, sixth, 0.5);
        let gate = self.clip(shifted, 0.0, 1.0);
        Some(self.binary(BinaryOp::Mul, x, gate))
    }

    fn elu(&mut self, alpha: f32) -> Option<ValueId> {
        let x = self.node.input(0)?;
        let positive = self.unary(UnaryOp::Relu, x);
        let negative = self.scalar(BinaryOp::Min, x, 0.0);
        let exponential = self.unary(UnaryOp::Exp, negative);
        let shifted = self.scalar(BinaryOp::Sub, exponential, 1.0);
        let scaled = self.scalar(BinaryOp::Mul, shifted, alpha);
        Some(self.binary(BinaryOp::Add, positive, scaled))
    }

    fn power(&mut self) -> Option<ValueId> {
        let x = self.node.input(0)?;
        let exponent = self.uniform(1)?;
        if exponent == 0.5 {
            Some(self.unary(UnaryOp::Sqrt, x))
        } else if exponent == 1.0 {
            Some(x)
        } else if exponent == 2.0 {
            Some(self.binary(BinaryOp::Mul, x, x))
        } else if exponent == 3.0 {
            let square = self.binary(BinaryOp::Mul, x, x);
            Some(self.binary(BinaryOp::Mul, square, x))
        } else if exponent == -1.0 {
            Some(self.unary(UnaryOp::Reciprocal, x))
        } else {
            None
        }
    }

    /// A choice between data by a comparison of floats; one of both products is zero.
    fn selection(&mut self, visited: &Visited) -> Option<ValueId> {
        let (condition, x, y) = (self.node.input(0)?, self.node.input(1)?, self.node.input(2)?);
        let (difference, at_least, holds) = self.comparison(visited, condition)?;
        let other = 1.0 - holds;
        let chosen = self.step(at_least, other, holds, difference);
        let rejected = self.step(at_least, holds, other, difference);
        // What is not chosen may have overflowed or be no number; times 0 it must vanish.
        let x = self.clip(x, f32::MIN, f32::MAX);
        let y = self.clip(y, f32::MIN, f32::MAX);
        let x = self.binary(BinaryOp::Mul, chosen, x);
        let y = self.binary(BinaryOp::Mul, rejected, y);
        Some(self.binary(BinaryOp::Add, x, y))
    }

    /// A truth value as a comparison of a difference with zero: the difference, whether the
    /// comparison includes zero, and 1 if the truth is that it holds, 0 if it is that it does not.
    fn comparison(&mut self, visited: &Visited, value: ValueId) -> Option<(ValueId, bool, f32)> {
        let node = visited.producer(value)?;
        if node.op == Op::Unary(UnaryOp::Not) {
            let (difference, at_least, holds) = self.comparison(visited, node.input(0)?)?;
            return Some((difference, at_least, 1.0 - holds));
        }
        let Op::Binary(op) = node.op else { return None };
        let (at_least, holds) = match op {
            BinaryOp::GreaterOrEqual => (true, 1.0),
            BinaryOp::Greater => (false, 1.0),
            BinaryOp::Less => (true, 0.0),
            BinaryOp::LessOrEqual => (false, 0.0),
            _ => return None,
        };
        let difference = self.binary(BinaryOp::Sub, node.input(0)?, node.input(1)?);
        Some((difference, at_least, holds))
    }
}
