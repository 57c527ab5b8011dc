//! Recognises a binarisation in all its spellings and writes it as [`Op::Step`].
//!
//! | in the graph | becomes |
//! |---|---|
//! | `Where(x >= c, high, low)`, also `>`, `<`, `<=`, and with the operands exchanged | `Step(x - c)` |
//! | `Cast(x >= c)` | `Step(x - c)` with values 0 and 1 |
//! | `Sign(Sign(x) + c)`, `0 < abs(c) < 1` (tf2onnx of larq's sign) | `Step(x)` |
//! | `Sign(x)` | `Step(x)`: +1 at zero |
//! | `BipolarQuant(x, s)` (QONNX) | `Step(x)` with values -s and s |
//! | `(s - o) + o`, `o + (s - o)` (straight-through estimator) | `s` |
//!
//! `x >= c` is `x - c >= 0` exactly: with subnormals, a difference of two floats rounds to zero only
//! if it is zero.

use std::collections::{HashMap, HashSet};

use crate::graph::{BinaryOp, DataType, Graph, Node, Op, UnaryOp, ValueId};

use super::{
    ConvertError,
    chain::uniform_constant,
    clean::drop_dead_nodes,
    facts::non_negative,
    rewrite::{Visited, replace_uses, rewrite_nodes},
};

/// Rewrites all spellings; see the module. Returns the results of those that were a bare ONNX
/// `Sign`, whose value at zero is 0 there and +1 here.
///
/// # Errors
/// A `Sign` of values that are never negative: it would be 0 or +1, not -1 or +1.
pub(super) fn canonicalise_signs(graph: &mut Graph) -> Result<HashSet<ValueId>, ConvertError> {
    rewrite_nodes(graph, |graph, visited, node| {
        step_of_comparison(graph, visited, node)
            .or_else(|| step_of_double_sign(graph, visited, node))
            .or_else(|| step_of_bipolar_quant(graph, node))
    });
    // The inner one of two signs is not read any more, so what it says at zero does not matter.
    drop_dead_nodes(graph);
    let mut ambiguous = HashSet::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if node.op != Op::Unary(UnaryOp::Sign) {
            continue;
        }
        let Some(x) = node.input(0) else { continue };
        if non_negative(graph, x) {
            return Err(ConvertError::NonNegativeSign {
                node: node.name.clone(),
                input: graph.value_name(x).to_owned(),
            });
        }
        ambiguous.insert(node.output());
        graph.nodes[index].op = Op::Step { at_least: true, low: -1.0, high: 1.0 };
    }
    collapse_straight_through(graph);
    Ok(ambiguous)
}

/// The node with another operator on one operand; its results keep their ids.
fn replaced(node: &Node, op: Op, input: ValueId) -> Node {
    Node { op, inputs: vec![Some(input)], ..node.clone() }
}

/// `Where` or `Cast` of a comparison with a constant.
fn step_of_comparison(graph: &mut Graph, visited: &Visited, node: &Node) -> Option<Vec<Node>> {
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
    graph.constant(c)?.f32().ok()?;
    // `x < c` is "not x >= c": the same step with the values exchanged.
    let (at_least, low, high) = match op {
        BinaryOp::GreaterOrEqual => (true, if_false, if_true),
        BinaryOp::Greater => (false, if_false, if_true),
        BinaryOp::Less => (true, if_true, if_false),
        BinaryOp::LessOrEqual => (false, if_true, if_false),
        _ => return None,
    };
    let op = Op::Step { at_least, low, high };
    if uniform_constant(graph, c) == Some(0.0) {
        return Some(vec![replaced(node, op, x)]);
    }
    let name = format!("{}.shift", node.name);
    let shifted = graph.add_value(name.clone());
    let difference = Node {
        name,
        op: Op::Binary(BinaryOp::Sub),
        inputs: vec![Some(x), Some(c)],
        outputs: vec![shifted],
    };
    Some(vec![difference, replaced(node, op, shifted)])
}

/// `Sign(Sign(x) + c)` with `0 < |c| < 1`: the shift only decides what zero becomes.
fn step_of_double_sign(graph: &Graph, visited: &Visited, node: &Node) -> Option<Vec<Node>> {
    if node.op != Op::Unary(UnaryOp::Sign) {
        return None;
    }
    let sum = visited.producer(node.input(0)?)?;
    let (inner, shift) = match (&sum.op, sum.input(0)?, sum.input(1)) {
        (Op::Binary(BinaryOp::Add), a, Some(b)) => match uniform_constant(graph, b) {
            Some(shift) => (a, shift),
            None => (b, uniform_constant(graph, a)?),
        },
        (Op::Binary(BinaryOp::Sub), a, Some(b)) => (a, -uniform_constant(graph, b)?),
        _ => return None,
    };
    let inner = visited.producer(inner)?;
    if inner.op != Op::Unary(UnaryOp::Sign) || shift == 0.0 || shift.abs() >= 1.0 {
        return None;
    }
    let op = Op::Step { at_least: shift > 0.0, low: -1.0, high: 1.0 };
    Some(vec![replaced(node, op, inner.input(0)?)])
}

/// QONNX `BipolarQuant` with one scale.
fn step_of_bipolar_quant(graph: &Graph, node: &Node) -> Option<Vec<Node>> {
    if node.op != Op::BipolarQuant {
        return None;
    }
    let scale = uniform_constant(graph, node.input(1)?)?;
    let op = Op::Step { at_least: true, low: -scale, high: scale };
    Some(vec![replaced(node, op, node.input(0)?)])
}

/// `(s - o) + o`, where `s` is a step: what a straight-through estimator leaves in a traced graph.
/// In exact arithmetic, and for ±1 in floats, it is `s`.
fn collapse_straight_through(graph: &mut Graph) {
    let mut replacements = HashMap::new();
    rewrite_nodes(graph, |_, visited, node| {
        if node.op == Op::Binary(BinaryOp::Add)
            && let (Some(a), Some(b)) = (node.input(0), node.input(1))
        {
            let step = [(a, b), (b, a)].into_iter().find_map(|(difference, o)| {
                let difference = visited.producer(difference)?;
                let fits =
                    difference.op == Op::Binary(BinaryOp::Sub) && difference.input(1) == Some(o);
                let step = difference.input(0).filter(|_| fits)?;
                matches!(visited.producer(step)?.op, Op::Step { .. }).then_some(step)
            });
            if let Some(step) = step {
                replacements.insert(node.output(), step);
            }
        }
        None
    });
    replace_uses(graph, &replacements);
}
