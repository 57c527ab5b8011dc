//! Functions of one value that take few values: where they change, and to what.
//!
//! A binarisation is written in many ways: `Round(Clip((x + 1) / 2, 0, 1))`, `Relu(Sign(x))`,
//! `Cast(x >= 0) - Cast(x < 0)`, `Where(Sign(x) == 0, 1, Sign(x))`. Rather than by its spelling it is
//! recognised by what it does: elementwise nodes that lead from one value to another are a function of
//! one float. Where each of them is monotone, bisection over all floats finds the places where the
//! function changes, if they are few; behind such a function everything stays one, whatever is done
//! with it. The nodes are evaluated by the interpreter, so the result is theirs to the bit.

use std::collections::{HashMap, HashSet};

use crate::{
    graph::{BinaryOp, Data, DataType, Graph, Node, Op, Tensor, UnaryOp, ValueId},
    reference::evaluate_node,
};

use super::rewrite::Visited;

/// Most values that a function is followed with.
const MOST_PIECES: usize = 8;

/// Most nodes between a value and what is known to be a function of it.
const LONGEST_CHAIN: usize = 6;

/// A function of a float that is constant between a few places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pieces {
    /// The value that it is a function of.
    pub(super) source: ValueId,
    /// The first float, by [`key`], of every piece but the first.
    starts: Vec<i32>,
    /// The value of each piece, a tensor of one element without dimensions.
    values: Vec<Tensor>,
}

/// A function of a float with two values: `x >= from` or, which is the same, `x > below`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TwoPieces {
    /// The largest float of the first piece.
    pub(super) below: f32,
    /// The smallest float of the second piece.
    pub(super) from: f32,
    /// Value of the first piece.
    pub(super) low: f32,
    /// Value of the second piece.
    pub(super) high: f32,
}

impl Pieces {
    /// The function, if it has two values and these are floats.
    pub(super) fn two(&self) -> Option<TwoPieces> {
        let (&[start], [low, high]) = (self.starts.as_slice(), self.values.as_slice()) else {
            return None;
        };
        let (low, high) = (low.f32().ok()?[0], high.f32().ok()?[0]);
        Some(TwoPieces { below: float(start - 1), from: float(start), low, high })
    }

    /// The only value of the function, if that is a float.
    pub(super) fn one(&self) -> Option<f32> {
        let [value] = self.values.as_slice() else { return None };
        value.f32().ok().map(|values| values[0])
    }

    /// The value at the float with the given key.
    fn at(&self, key: i32) -> &Tensor {
        &self.values[self.starts.partition_point(|&start| start <= key)]
    }

    fn is_non_negative(&self) -> bool {
        self.values.iter().all(|value| match value.data() {
            Data::F32(values) => values.iter().all(|&v| v >= 0.0),
            Data::I64(values) => values.iter().all(|&v| v >= 0),
            Data::Bool(_) => true,
        })
    }
}

/// The position of a float in the order of all floats; both zeros have position 0.
fn key(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    if bits >= 0 { bits } else { -(bits & i32::MAX) }
}

/// The float at a position.
fn float(key: i32) -> f32 {
    let size = f32::from_bits(key.unsigned_abs());
    if key < 0 { -size } else { size }
}

/// Collects the functions of a graph, node by node in execution order.
pub(super) struct Functions<'a> {
    shapes: &'a [Option<Vec<usize>>],
    types: &'a [Option<DataType>],
    /// Results of `Sign` that are not to be seen through.
    opaque: &'a HashSet<ValueId>,
    known: HashMap<ValueId, Pieces>,
}

impl<'a> Functions<'a> {
    /// None yet. `shapes` and `types` are those of the values of the graph; `opaque` are results that
    /// count as values of their own.
    pub(super) fn new(
        shapes: &'a [Option<Vec<usize>>],
        types: &'a [Option<DataType>],
        opaque: &'a HashSet<ValueId>,
    ) -> Self {
        Self { shapes, types, opaque, known: HashMap::new() }
    }

    /// Takes note of a node and returns what it is a function of, if that has few values.
    pub(super) fn visit(
        &mut self,
        graph: &Graph,
        visited: &Visited,
        node: &Node,
    ) -> Option<&Pieces> {
        let [output] = node.outputs.as_slice() else { return None };
        if self.opaque.contains(output) || !is_elementwise(&node.op) {
            return None;
        }
        let pieces = match self.of_functions(graph, node) {
            Some(pieces) => pieces,
            None if node.op == Op::Binary(BinaryOp::Equal) => self.of_equality(graph, node)?,
            None => self.of_chain(graph, visited, node)?,
        };
        let is_ambiguous =
            node.op == Op::Unary(UnaryOp::Sign) && self.operand_is_non_negative(graph, node);
        if is_ambiguous || self.shape(*output)? != self.shape(pieces.source)? {
            return None;
        }
        self.known.insert(*output, pieces);
        self.known.get(output)
    }

    fn shape(&self, value: ValueId) -> Option<&[usize]> {
        self.shapes.get(value.index())?.as_deref()
    }

    /// Whether the node reads a function without negative values.
    fn operand_is_non_negative(&self, graph: &Graph, node: &Node) -> bool {
        let operand = data_operands(graph, node).next();
        operand.and_then(|id| self.known.get(&id)).is_some_and(Pieces::is_non_negative)
    }

    /// A node whose operands are functions of the same value: their pieces, taken together.
    fn of_functions(&self, graph: &Graph, node: &Node) -> Option<Pieces> {
        let mut starts = Vec::new();
        let mut source = None;
        for operand in data_operands(graph, node) {
            let pieces = self.known.get(&operand)?;
            if *source.get_or_insert(pieces.source) != pieces.source {
                return None;
            }
            starts.extend(&pieces.starts);
        }
        starts.sort_unstable();
        starts.dedup();
        let step = Evaluation::new(graph, node)?;
        let mut pieces = Pieces { source: source?, starts: Vec::new(), values: Vec::new() };
        for start in std::iter::once(i32::MIN).chain(starts) {
            let value = step.value(|id| self.known.get(&id).map(|pieces| pieces.at(start)))?;
            if pieces.values.last() != Some(&value) {
                if !pieces.values.is_empty() {
                    pieces.starts.push(start);
                }
                pieces.values.push(value);
            }
        }
        (pieces.values.len() <= MOST_PIECES).then_some(pieces)
    }

    /// `x == c`, which is not monotone: true for one float (or both zeros).
    fn of_equality(&self, graph: &Graph, node: &Node) -> Option<Pieces> {
        let source = data_operands(graph, node).next()?;
        let constant = node.inputs.iter().flatten().find_map(|&id| graph.constant(id))?;
        let at = key(*uniform(constant)?.f32().ok()?.first().filter(|c| c.is_finite())?);
        let is_float = self.types.get(source.index()) == Some(&Some(DataType::F32));
        let truth = |value| Tensor::new(Vec::new(), Data::Bool(vec![value])).ok();
        let values = [truth(false)?, truth(true)?, truth(false)?].to_vec();
        is_float.then(|| Pieces { source, starts: vec![at, at + 1], values })
    }

    /// The shortest chain of monotone nodes that ends here and has few values.
    fn of_chain<'n>(&self, graph: &Graph, visited: &'n Visited, node: &'n Node) -> Option<Pieces> {
        let mut chain: Vec<(ValueId, Evaluation<'n>)> = Vec::new();
        let mut jumps = false;
        let mut next = Some(node);
        while let Some(node) = next.filter(|_| chain.len() < LONGEST_CHAIN) {
            let running = running_operand(graph, node)?;
            if node.outputs.iter().any(|output| self.opaque.contains(output)) {
                return None;
            }
            jumps |= has_jumps(&node.op);
            chain.push((running, Evaluation::new(graph, node)?));
            let is_float = self.types.get(running.index()) == Some(&Some(DataType::F32));
            if jumps
                && is_float
                && let Some((starts, values)) = bisect(|x| run(&chain, x))
            {
                return Some(Pieces { source: running, starts, values });
            }
            next = visited.producer(running);
        }
        None
    }
}

/// The result of a chain, last node first, for one float.
fn run(chain: &[(ValueId, Evaluation<'_>)], x: f32) -> Option<Tensor> {
    chain.iter().rev().try_fold(Tensor::scalar(x), |x, (running, step)| {
        step.value(|id| (id == *running).then_some(&x))
    })
}

/// The places where a monotone function changes and its values, if they are few.
fn bisect(function: impl Fn(f32) -> Option<Tensor>) -> Option<(Vec<i32>, Vec<Tensor>)> {
    // Most functions are found to take many values without bisection.
    let mut sample: Vec<Tensor> = Vec::new();
    for size in [1e-3, 0.1, 0.3, 0.45, 0.7, 0.9, 1.7, 3.3, 10.4, 50.6, 1e4, 1e9] {
        for x in [-size, size] {
            let value = function(x)?;
            if !sample.contains(&value) {
                sample.push(value);
            }
        }
        if sample.len() > MOST_PIECES {
            return None;
        }
    }
    let (mut from, last) = (key(-f32::MAX), key(f32::MAX));
    let (mut value, last_value) = (function(float(from))?, function(float(last))?);
    let (mut starts, mut values) = (Vec::new(), vec![value.clone()]);
    while value != last_value {
        if values.len() == MOST_PIECES {
            return None;
        }
        let (mut same, mut other) = (i64::from(from), i64::from(last));
        while other - same > 1 {
            let middle = (same + other).div_euclid(2);
            // The middle of two positions is one.
            if function(float(middle as i32))? == value { same = middle } else { other = middle }
        }
        from = other as i32;
        value = function(float(from))?;
        starts.push(from);
        values.push(value.clone());
    }
    Some((starts, values))
}

/// A node with its constants, each of one value, as tensors of one element.
struct Evaluation<'n> {
    node: &'n Node,
    constants: Vec<Option<Tensor>>,
}

impl<'n> Evaluation<'n> {
    /// Nothing if a constant has several values.
    fn new(graph: &Graph, node: &'n Node) -> Option<Self> {
        let constant = |input: &Option<ValueId>| match input.and_then(|id| graph.constant(id)) {
            None => Some(None),
            Some(tensor) => uniform(tensor).map(Some),
        };
        let constants = node.inputs.iter().map(constant).collect::<Option<_>>()?;
        Some(Self { node, constants })
    }

    /// The result for the given data; nothing if it is not a number.
    fn value<'t>(&self, data: impl Fn(ValueId) -> Option<&'t Tensor>) -> Option<Tensor> {
        let operands: Vec<Option<&Tensor>> = self
            .node
            .inputs
            .iter()
            .zip(&self.constants)
            .map(|(input, constant)| constant.as_ref().or_else(|| data((*input)?)))
            .collect();
        let result = evaluate_node(self.node, &operands).ok()?.pop()?;
        let is_number = result.f32().map_or(true, |values| values.iter().all(|v| !v.is_nan()));
        is_number.then_some(result)
    }
}

/// The one value of a tensor, without dimensions.
fn uniform(tensor: &Tensor) -> Option<Tensor> {
    fn first<T: Copy + PartialEq>(values: &[T]) -> Option<Vec<T>> {
        let first = *values.first()?;
        values.iter().all(|&value| value == first).then(|| vec![first])
    }
    let data = match tensor.data() {
        Data::F32(values) => Data::F32(first(values)?),
        Data::I64(values) => Data::I64(first(values)?),
        Data::Bool(values) => Data::Bool(first(values)?),
    };
    Tensor::new(Vec::new(), data).ok()
}

/// The operands of a node that are not constants.
fn data_operands<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = ValueId> + 'a {
    node.inputs.iter().flatten().copied().filter(|&id| graph.constant(id).is_none())
}

/// Whether each element of the result depends on one element of each operand.
fn is_elementwise(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Where
            | Op::Clip
            | Op::Cast { .. }
            | Op::PRelu
            | Op::TwoSlope
            | Op::Step { .. }
            | Op::BipolarQuant
            | Op::Quant(_)
            | Op::Trunc { .. }
    )
}

/// Whether an operator can make steps out of a slope.
fn has_jumps(op: &Op) -> bool {
    use UnaryOp::{Ceil, Floor, Round, Sign};
    match op {
        Op::Unary(function) => matches!(function, Ceil | Floor | Round | Sign),
        Op::Binary(function) => is_comparison(*function),
        Op::Cast { to } => *to == DataType::I64,
        Op::Step { .. } | Op::BipolarQuant | Op::Quant(_) | Op::Trunc { .. } => true,
        _ => false,
    }
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Greater, GreaterOrEqual, Less, LessOrEqual};
    matches!(op, Greater | GreaterOrEqual | Less | LessOrEqual)
}

/// The operand that a node is a monotone function of, rising or falling, all others being constants.
pub(super) fn running_operand(graph: &Graph, node: &Node) -> Option<ValueId> {
    let mut data = node.inputs.iter().enumerate().filter_map(|(index, input)| {
        input.filter(|&id| graph.constant(id).is_none()).map(|id| (index, id))
    });
    let (Some((index, running)), None) = (data.next(), data.next()) else { return None };
    let constant = |index: usize| {
        let tensor = uniform(graph.constant(node.input(index)?)?)?;
        tensor.f32().ok().map(|values| values[0])
    };
    use BinaryOp::{Add, Div, Max, Min, Mul, Sub};
    let is_monotone = match &node.op {
        Op::Unary(function) => match *function {
            UnaryOp::LeakyRelu { alpha } | UnaryOp::Elu { alpha } => alpha >= 0.0,
            UnaryOp::HardSwish
            | UnaryOp::Abs
            | UnaryOp::Sqrt
            | UnaryOp::Reciprocal
            | UnaryOp::Log => false,
            _ => true,
        },
        Op::Binary(Add | Sub | Mul | Min | Max) => true,
        Op::Binary(Div) => index == 0 && constant(1).is_some_and(|divisor| divisor != 0.0),
        Op::Binary(function) => is_comparison(*function),
        Op::Where | Op::Clip | Op::BipolarQuant => index == 0,
        // What is cast to truth is true on both sides of zero.
        Op::Cast { to } => *to != DataType::Bool,
        Op::Step { .. } => true,
        Op::PRelu => index == 0 && constant(1).is_some_and(|slope| slope >= 0.0),
        Op::Quant(_) | Op::Trunc { .. } => {
            index == 0 && constant(1).is_some_and(|scale| scale != 0.0)
        }
        _ => false,
    };
    is_monotone.then_some(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_the_order_of_floats() {
        let floats = [-f32::MAX, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX];
        assert!(floats.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert_eq!(key(-0.0), 0);
        for x in floats {
            assert_eq!(float(key(x)), x);
            assert_eq!(key(float(key(x) - 1)), key(x) - 1);
        }
    }

    #[test]
    fn steps_are_found_and_slopes_are_not() {
        let steps = bisect(|x| Some(Tensor::scalar(x.clamp(-1.0, 1.0).round_ties_even())));
        let (starts, values) = steps.expect("three values");
        assert_eq!(values, [-1.0, 0.0, 1.0].map(Tensor::scalar));
        let starts: Vec<f32> = starts.into_iter().map(float).collect();
        assert_eq!(starts, [-0.5, 0.5_f32.next_up()]);
        assert_eq!(bisect(|x| Some(Tensor::scalar(x.clamp(-1.0, 1.0)))), None);
        assert_eq!(bisect(|x| Some(Tensor::scalar(x.floor()))), None);
        assert_eq!(bisect(|_| None), None);
    }
}
