//! Makes visible where an operand makes a tensor larger: `x + c`, `c` having more entries or more
//! dimensions than `x`, is `x` repeated (or with another shape) `+ c`, and so is the sum of a row and a
//! column. Everything behind this pass may take one of the operands to have the shape of the result,
//! and a constant for one that leaves the shape alone.

use crate::graph::{Graph, Node, Op, Tensor, ValueId};

use super::rewrite::rewrite_nodes;

/// Applies the rewrite wherever it fits. `shapes` are those of the values.
pub(super) fn repeat_smaller_operands(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    rewrite_nodes(graph, |graph, _, node| {
        let Op::Binary(_) = node.op else { return None };
        let shape = |id: ValueId| shapes.get(id.index())?.as_ref();
        let (a, b) = (node.input(0)?, node.input(1)?);
        let (position, x) = match (graph.constant(a), graph.constant(b)) {
            (None, Some(_)) => (0, a),
            (Some(_), None) => (1, b),
            (None, None) if shape(b)? != shape(node.output())? => (0, a),
            _ => return None,
        };
        let (before, after) = (shape(x)?, shape(node.output())?);
        if before == after {
            return None;
        }
        let same_count = before.iter().product::<usize>() == after.iter().product::<usize>();
        let op = if same_count { Op::Reshape { allow_zero: true } } else { Op::Expand };
        // Sizes are at most 2^31.
        let sizes = Tensor::from_i64(after.iter().map(|&size| size as i64).collect());
        let sizes = graph.add_constant(format!("{}.shape", node.name), sizes);
        let name = format!("{}.repeated", node.name);
        let repeated = graph.add_value(name.clone());
        let inputs = vec![Some(x), Some(sizes)];
        let larger = Node { name, op, inputs, outputs: vec![repeated] };
        let mut node = node.clone();
        node.inputs[position] = Some(repeated);
        Some(vec![larger, node])
    });
}
