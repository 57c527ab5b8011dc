//! One value of a graph, where little work leads to it.

use super::{EvaluationError, budget::Budget, evaluate_constant_node, evaluate_node};
use crate::graph::{Graph, Op, Tensor, ValueId, infer_shapes};

/// Most elements of all results and operands together (half a gigabyte): a hostile graph could otherwise ask for any
/// amount of memory without a single product.
const MOST_ELEMENTS: u64 = 1 << 27;

/// The value `wanted` of a graph for the given inputs, evaluating only what it depends on; `None` if
/// that takes more than `most_products` multiplications in convolutions and matrix products, or a
/// lot of memory.
///
/// # Errors
/// If an input is missing or a node cannot be evaluated.
pub fn evaluate_within(
    graph: &Graph,
    inputs: &[Tensor],
    wanted: ValueId,
    most_products: u64,
) -> Result<Option<Tensor>, EvaluationError> {
    let not_computed =
        |value: ValueId| EvaluationError::NotComputed { name: graph.value_name(value).to_owned() };
    let mut needed = vec![false; graph.values.len()];
    needed[wanted.index()] = true;
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|output| needed[output.index()]) {
            node.inputs.iter().flatten().for_each(|input| needed[input.index()] = true);
        }
    }
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
    // Whether a value is the same for every input.
    let mut constant: Vec<bool> =
        graph.values.iter().map(|value| value.constant.is_some()).collect();
    for (input, tensor) in graph.inputs.iter().zip(inputs) {
        values[input.value.index()] = Some(tensor.clone());
    }
    let mut budget = Budget::new(MOST_ELEMENTS, most_products);
    for node in &graph.nodes {
        if !node.outputs.iter().any(|output| needed[output.index()]) {
            continue;
        }
        let operand = |value: &Option<ValueId>| {
            let Some(value) = *value else { return Ok(None) };
            let found = values[value.index()].as_ref().or_else(|| graph.constant(value));
            found.map(Some).ok_or_else(|| not_computed(value))
        };
        let operands: Vec<Option<&Tensor>> =
            node.inputs.iter().map(operand).collect::<Result<_, _>>()?;
        let shapes: Vec<Option<&[usize]>> =
            operands.iter().map(|operand| operand.map(Tensor::shape)).collect();
        let results = infer_shapes(node, &shapes, &operands)?;
        if !budget.take(node, &shapes, &results) {
            return Ok(None);
        }
        let known = matches!(node.op, Op::Shape { .. })
            || node.inputs.iter().flatten().all(|value| constant[value.index()]);
        let results = if known {
            evaluate_constant_node(node, &operands)?
        } else {
            evaluate_node(node, &operands)?
        };
        for (&output, result) in node.outputs.iter().zip(results) {
            constant[output.index()] = known;
            values[output.index()] = Some(result);
        }
    }
    let found = values[wanted.index()].take().or_else(|| graph.constant(wanted).cloned());
    found.map(Some).ok_or_else(|| not_computed(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::UnaryOp;

    #[test]
    fn only_what_leads_to_a_value_is_counted() {
        let mut graph = Graph::new("two layers");
        let x = graph.add_input("x", vec![1, 4]);
        let layer = |graph: &mut Graph, name: &str, input: ValueId, weights: [f32; 16]| {
            let weights = Tensor::from_f32(vec![4, 4], weights.to_vec()).unwrap();
            let weights = graph.add_constant(format!("{name}.weight"), weights);
            graph.push_node(name, Op::MatMul, [input, weights])
        };
        let first = layer(&mut graph, "first", x, [-1.0; 16]);
        let relu = graph.push_node("relu", Op::Unary(UnaryOp::Relu), [first]);
        let second = layer(&mut graph, "second", relu, [1.0; 16]);
        graph.outputs = vec![second];
        let inputs = [Tensor::from_f32(vec![1, 4], vec![1.0, 2.0, 3.0, 4.0]).unwrap()];
        let within = |value, most| evaluate_within(&graph, &inputs, value, most);
        let zeros = Tensor::from_f32(vec![1, 4], vec![0.0; 4]).unwrap();
        assert_eq!(within(relu, 16), Ok(Some(zeros)));
        assert_eq!(within(relu, 15), Ok(None));
        assert_eq!(within(second, 31), Ok(None));
        assert_eq!(within(x, 0), Ok(Some(inputs[0].clone())));
        assert!(evaluate_within(&graph, &[], relu, 100).is_err());
    }

    #[test]
    fn large_results_are_not_made() {
        let mut graph = Graph::new("large");
        let x = graph.add_input("x", vec![1, 1]);
        let shape = graph.add_constant("shape", Tensor::from_i64(vec![1 << 14, 1 << 14]));
        let large = graph.push_node("large", Op::Expand, [x, shape]);
        graph.outputs = vec![large];
        let inputs = [Tensor::from_f32(vec![1, 1], vec![1.0]).unwrap()];
        assert_eq!(evaluate_within(&graph, &inputs, large, u64::MAX), Ok(None));
    }
}
