//! Recognises a binarisation in all its spellings and writes it as [`Op::Step`].
//!
//! | in the graph | becomes |
//! |---|---|
//! | any elementwise function of `x` with two values (`pieces`): `Where(x >= c, high, low)`, `Cast(x > c)`, `Round(Clip(x, 0, 1))`, `Relu(Sign(x))`, `Sign(Sign(x) + c)` (tf2onnx of larq's sign), one-bit `Quant`, `BipolarQuant` ... | `Step(x - t)`, where `t` is the place where it changes |
//! | `Where` and `Cast` of a comparison with constants that differ from channel to channel, or with data | `Step(x - c)` |
//! | `Sign(x)` | `Step(x)`: +1 at zero |
//! | `BipolarQuant(x, s)` (QONNX), `s` different from channel to channel | `Step(x) * s` |
//! | `(s - o) + o`, `o + (s - o)`, `(s + o) - o`, `s + (o - o)` ... (straight-through estimator) | `s` |
//!
//! `x >= c` is `x - c >= 0` exactly: with subnormals, a difference of two floats rounds to zero only
//! if it is zero.

use std::collections::{HashMap, HashSet};

use crate::graph::{BinaryOp, DataType, Graph, Node, Op, Tensor, UnaryOp, ValueId, element_types};

use super::{
    ConvertError,
    chain::uniform_constant,
    clean::drop_dead_nodes,
    describe::describe_source,
    facts::non_negative,
    pieces::{Functions, Pieces, TwoPieces, running_operand},
    rewrite::{Visited, replace_uses, rewrite_nodes},
};

/// Most elements of all values that are written out because they do not depend on the input.
const LARGEST_CONSTANTS: usize = 1 << 24;

/// Rewrites all spellings; see the module. `shapes` are those of the values. Returns the results of
/// those that were a bare ONNX `Sign`, whose value at zero is 0 there and +1 here.
///
/// # Errors
/// A `Sign` of values that are never negative: it would be 0 or +1, not -1 or +1.
pub(super) fn canonicalise_signs(
    graph: &mut Graph,
    shapes: &[Option<Vec<usize>>],
) -> Result<HashSet<ValueId>, ConvertError> {
    let doubtful = signs_of_non_negative(graph);
    let types = element_types(graph);
    let mut functions = Functions::new(shapes, &types, &doubtful);
    let mut room = LARGEST_CONSTANTS;
    // Steps, and what scales and shifts one: the layers that read these take care of it.
    let mut scaled_steps = HashSet::new();
    rewrite_nodes(graph, |graph, visited, node| {
        let function = functions.visit(graph, visited, node);
        if let Some(value) = function.and_then(Pieces::one)
            && let Some(shape) = shapes.get(node.output().index()).cloned().flatten()
            && let Some(left) = room.checked_sub(shape.iter().product::<usize>())
        {
            room = left;
            // Nothing of the input is left: two thresholds of which one hides the other.
            let count = shape.iter().product();
            let constant = Tensor::from_f32(shape, vec![value; count]).ok();
            graph.values[node.output().index()].constant = constant;
            return Some(Vec::new());
        }
        let two = function.and_then(|pieces| Some((pieces.source, pieces.two()?)));
        if matches!(node.op, Op::Step { .. }) || scales_step(graph, node, &scaled_steps) {
            scaled_steps.extend(&node.outputs);
            return None;
        }
        let nodes = two
            .map(|(source, two)| step_of_function(graph, node, source, two))
            .or_else(|| step_of_comparison(graph, visited, shapes, node))
            .or_else(|| step_of_bipolar_quant(graph, shapes, node))?;
        scaled_steps.extend(&node.outputs);
        Some(nodes)
    });
    // The inner one of two signs is not read any more, so what it says at zero does not matter.
    drop_dead_nodes(graph);
    let mut ambiguous = HashSet::new();
    let producers = graph.producers();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if node.op != Op::Unary(UnaryOp::Sign) {
            continue;
        }
        let Some(x) = node.input(0) else { continue };
        if doubtful.contains(&node.output()) || non_negative(graph, &producers, x) {
            return Err(ConvertError::NonNegativeSign {
                node: node.name.clone(),
                input: graph.value_name(x).to_owned(),
                origin: describe_source(graph, &producers, x),
            });
        }
        ambiguous.insert(node.output());
        graph.nodes[index].op = Op::Step { at_least: true, low: -1.0, high: 1.0 };
    }
    collapse_straight_through(graph);
    Ok(ambiguous)
}

/// The results of every `Sign` of values that are never negative.
fn signs_of_non_negative(graph: &Graph) -> HashSet<ValueId> {
    let signs = graph.nodes.iter().filter(|node| node.op == Op::Unary(UnaryOp::Sign));
    let producers = graph.producers();
    signs
        .filter(|node| node.input(0).is_some_and(|x| non_negative(graph, &producers, x)))
        .map(Node::output)
        .collect()
}

/// Whether a node is arithmetic on a step and constants.
fn scales_step(graph: &Graph, node: &Node, scaled_steps: &HashSet<ValueId>) -> bool {
    use BinaryOp::{Add, Div, Max, Min, Mul, Sub};
    let is_arithmetic = matches!(
        node.op,
        Op::Binary(Add | Sub | Mul | Div | Min | Max)
            | Op::Unary(UnaryOp::Neg | UnaryOp::Relu | UnaryOp::Identity)
            | Op::Clip
    );
    let mut data = node.inputs.iter().flatten().filter(|&&id| graph.constant(id).is_none());
    is_arithmetic
        && data.next().is_some_and(|id| scaled_steps.contains(id))
        && data.next().is_none()
}

/// The step that a function with two values is.
fn step_of_function(graph: &mut Graph, node: &Node, source: ValueId, two: TwoPieces) -> Vec<Node> {
    let TwoPieces { below, from, low, high } = two;
    let step = |at_least| Op::Step { at_least, low, high };
    if from == 0.0 {
        return vec![replaced(node, step(true), source)];
    }
    if below == 0.0 {
        return vec![replaced(node, step(false), source)];
    }
    // Of the two spellings the one with the rounder constant, which is that of the graph.
    let at_least = from.to_bits().trailing_zeros() >= below.to_bits().trailing_zeros();
    let constant = Tensor::scalar(if at_least { from } else { below });
    let constant = graph.add_constant(format!("{}.threshold", node.name), constant);
    let (difference, shifted) = shift(graph, node, source, constant);
    vec![difference, replaced(node, step(at_least), shifted)]
}

/// A node that subtracts a constant, on behalf of another node, and its result.
fn shift(graph: &mut Graph, node: &Node, x: ValueId, constant: ValueId) -> (Node, ValueId) {
    let name = format!("{}.shift", node.name);
    let shifted = graph.add_value(name.clone());
    let op = Op::Binary(BinaryOp::Sub);
    let inputs = vec![Some(x), Some(constant)];
    (Node { name, op, inputs, outputs: vec![shifted] }, shifted)
}

/// The node with another operator on one operand; its results keep their ids.
fn replaced(node: &Node, op: Op, input: ValueId) -> Node {
    Node { op, inputs: vec![Some(input)], ..node.clone() }
}

/// `Where` or `Cast` of a comparison with constants.
fn step_of_comparison(
    graph: &mut Graph,
    visited: &Visited,
    shapes: &[Option<Vec<usize>>],
    node: &Node,
) -> Option<Vec<Node>> {
    let (if_true, if_false) = match &node.op {
        Op::Where => {
            (uniform_constant(graph, node.input(1)?)?, uniform_constant(graph, node.input(2)?)?)
        }
        Op::Cast { to: DataType::F32 } => (1.0, 0.0),
        _ => return None,
    };
    let comparison = visited.producer(node.input(0)?)?;
    let Op::Binary(mut op) = comparison.op else { return None };
    let (mut x, mut c) = (comparison.input(0)?, comparison.input(1)?);
    if graph.constant(x).is_some() {
        // `c < x` is `x > c`.
        std::mem::swap(&mut x, &mut c);
        op = match op {
            BinaryOp::Greater => BinaryOp::Less,
            BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
            BinaryOp::Less => BinaryOp::Greater,
            BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
            _ => return None,
        };
    }
    if let Some(constant) = graph.constant(c) {
        constant.f32().ok()?;
    }
    // The branches may be larger than the comparison; the step would not be.
    let shape = |id: ValueId| shapes.get(id.index())?.as_ref();
    if shape(comparison.output())? != shape(node.output())? {
        return None;
    }
    // `x < c` is "not x >= c": the same step with the values exchanged.
    let (at_least, low, high) = match op {
        BinaryOp::GreaterOrEqual => (true, if_false, if_true),
        BinaryOp::Greater => (false, if_false, if_true),
        BinaryOp::Less => (true, if_true, if_false),
        BinaryOp::LessOrEqual => (false, if_true, if_false),
        _ => return None,
    };
    let (difference, shifted) = shift(graph, node, x, c);
    Some(vec![difference, replaced(node, Op::Step { at_least, low, high }, shifted)])
}

/// QONNX `BipolarQuant` with scales that differ: the signs, scaled.
fn step_of_bipolar_quant(
    graph: &mut Graph,
    shapes: &[Option<Vec<usize>>],
    node: &Node,
) -> Option<Vec<Node>> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let is_same_shape = shapes.get(x.index())? == shapes.get(node.output().index())?;
    if node.op != Op::BipolarQuant || graph.constant(scale).is_none() || !is_same_shape {
        return None;
    }
    let name = format!("{}.sign", node.name);
    let sign = graph.add_value(name.clone());
    let op = Op::Step { at_least: true, low: -1.0, high: 1.0 };
    let step = Node { name, op, inputs: vec![Some(x)], outputs: vec![sign] };
    let op = Op::Binary(BinaryOp::Mul);
    Some(vec![step, Node { op, inputs: vec![Some(sign), Some(scale)], ..node.clone() }])
}

/// Most terms of a sum that is looked through for a straight-through estimator.
const MOST_TERMS: usize = 8;

/// Sums in which everything cancels but one quantised term, `(s - o) + o` in any order: what a
/// straight-through estimator leaves in a traced graph. In exact arithmetic, and for ±1 and values of
/// its size in floats, the sum is that term.
fn collapse_straight_through(graph: &mut Graph) {
    let mut replacements: HashMap<ValueId, ValueId> = HashMap::new();
    // Of the sums visited so far.
    let mut sums: HashMap<ValueId, Vec<Term>> = HashMap::new();
    rewrite_nodes(graph, |graph, visited, node| {
        let terms = terms_of(graph, visited, node, &sums)?;
        let mut left: Vec<Term> = Vec::new();
        for &(value, positive) in &terms {
            match left.iter().position(|&term| term == (value, !positive)) {
                Some(opposite) => {
                    left.swap_remove(opposite);
                }
                None => left.push((value, positive)),
            }
        }
        if let &[(term, true)] = left.as_slice()
            && terms.len() > 1
            && is_quantised(graph, visited, term)
        {
            // What was replaced itself is named as what it became.
            let term = replacements.get(&term).copied().unwrap_or(term);
            replacements.insert(node.output(), term);
        }
        sums.insert(node.output(), terms);
        None
    });
    replace_uses(graph, &replacements);
}

/// A term of a sum, and whether it is added or subtracted.
type Term = (ValueId, bool);

/// The terms of a sum, where operands that are sums stand as their terms unless there are too many;
/// nothing if the node is no sum.
fn terms_of(
    graph: &Graph,
    visited: &Visited,
    node: &Node,
    sums: &HashMap<ValueId, Vec<Term>>,
) -> Option<Vec<Term>> {
    let second = match node.op {
        Op::Binary(BinaryOp::Add) => true,
        Op::Binary(BinaryOp::Sub) => false,
        _ => return None,
    };
    let mut terms = Vec::new();
    for (value, positive) in [(node.input(0)?, true), (node.input(1)?, second)] {
        let others = MOST_TERMS - terms.len();
        match sums.get(&value).filter(|inner| inner.len() <= others) {
            Some(inner) if !is_quantised(graph, visited, value) => {
                terms.extend(inner.iter().map(|&(value, sign)| (value, sign == positive)));
            }
            _ => terms.push((value, positive)),
        }
    }
    (terms.len() <= MOST_TERMS).then_some(terms)
}

/// Whether a value comes out of a quantiser, scaled and shifted perhaps.
fn is_quantised(graph: &Graph, visited: &Visited, mut value: ValueId) -> bool {
    for _ in 0..6 {
        let Some(node) = visited.producer(value) else { return false };
        match node.op {
            Op::Step { .. }
            | Op::Quant(_)
            | Op::MultiThreshold { .. }
            | Op::Unary(UnaryOp::Round | UnaryOp::Floor | UnaryOp::Ceil) => return true,
            _ => {}
        }
        match running_operand(graph, node) {
            Some(running) => value = running,
            None => return false,
        }
    }
    false
}
