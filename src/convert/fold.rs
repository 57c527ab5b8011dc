//! Constant folding: everything that does not depend on the input is computed here, once.
//!
//! Training-mode exports leave the binarisation of their latent weights in the graph
//! (`Sign(W) * mean |W|`), and every exporter leaves shape arithmetic in it; after this pass both
//! are constants. Shapes are worked out on the way, for a batch of one.

use crate::{
    graph::{Graph, Op, Tensor, infer_shapes},
    reference::{budget::Budget, evaluate_constant_node},
};

use super::ConvertError;

/// What folding may take, in elements read and written: in any case this much, which a hostile file could
/// ask for again and again, and more the larger the constants of the network are.
const ELEMENTS: u64 = 1 << 25;
const ELEMENTS_FOR_EACH: u64 = 32;

/// Likewise for the multiplications of convolutions and matrix products.
const PRODUCTS: u64 = 1 << 31;
const PRODUCTS_FOR_EACH: u64 = 64;

/// What all folding of a network may take. What goes beyond it stays a node, for which there is then no
/// step.
pub(super) fn budget(graph: &Graph) -> Budget {
    let constants = graph.values.iter().filter_map(|value| value.constant.as_ref());
    let held: u64 = constants.map(|tensor| tensor.len() as u64).sum();
    let total = |fixed: u64, each: u64| fixed.saturating_add(held.saturating_mul(each));
    Budget::new(total(ELEMENTS, ELEMENTS_FOR_EACH), total(PRODUCTS, PRODUCTS_FOR_EACH))
}

/// Folds constants and returns the shape of every value.
///
/// # Errors
/// A node whose operands do not fit its operator.
pub(super) fn fold_constants(
    graph: &mut Graph,
    budget: &mut Budget,
) -> Result<Vec<Option<Vec<usize>>>, ConvertError> {
    let mut shapes: Vec<Option<Vec<usize>>> = vec![None; graph.values.len()];
    for (value, shape) in graph.values.iter().zip(&mut shapes) {
        *shape = value.constant.as_ref().map(|tensor| tensor.shape().to_vec());
    }
    for input in &graph.inputs {
        shapes[input.value.index()] = Some(input.shape.clone());
    }
    let mut nodes = std::mem::take(&mut graph.nodes);
    for node in &nodes {
        let fail = |reason: String| ConvertError::Node { node: node.name.clone(), reason };
        let known: Vec<Option<&[usize]>> = node
            .inputs
            .iter()
            .map(|input| input.and_then(|id| shapes[id.index()].as_deref()))
            .collect();
        let constants: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|input| input.and_then(|id| graph.constant(id))).collect();
        let results = infer_shapes(node, &known, &constants).map_err(|e| fail(e.to_string()))?;

        let all_constant = node
            .inputs
            .iter()
            .zip(&constants)
            .all(|(input, constant)| input.is_none() || constant.is_some());
        let folded: Option<Vec<Tensor>> = match &node.op {
            Op::Shape { start, end } => known
                .first()
                .copied()
                .flatten()
                .map(|shape| vec![shape_tensor(shape, *start, *end)]),
            _ if all_constant && budget.take(node, &known, &results) => {
                Some(evaluate_constant_node(node, &constants).map_err(|e| fail(e.to_string()))?)
            }
            _ => None,
        };
        for (output, shape) in node.outputs.iter().zip(results) {
            shapes[output.index()] = Some(shape);
        }
        if let Some(tensors) = folded {
            for (output, tensor) in node.outputs.iter().zip(tensors) {
                shapes[output.index()] = Some(tensor.shape().to_vec());
                graph.values[output.index()].constant = Some(tensor);
            }
        }
    }
    nodes.retain(|node| !node.outputs.iter().all(|&output| graph.constant(output).is_some()));
    graph.nodes = nodes;
    Ok(shapes)
}

/// Shapes of all values of a graph whose constants are folded.
///
/// # Errors
/// As [`fold_constants`].
pub(super) fn shapes_of(graph: &Graph) -> Result<Vec<Vec<usize>>, ConvertError> {
    let mut copy = graph.clone();
    let shapes = fold_constants(&mut copy, &mut Budget::new(0, 0))?;
    Ok(shapes.into_iter().map(Option::unwrap_or_default).collect())
}

/// What ONNX `Shape` gives for a known shape.
fn shape_tensor(shape: &[usize], start: i64, end: Option<i64>) -> Tensor {
    let rank = shape.len() as i64;
    let clamp = |index: i64| {
        let index = if index < 0 { index.saturating_add(rank) } else { index };
        index.clamp(0, rank) as usize
    };
    let (start, end) = (clamp(start), clamp(end.unwrap_or(rank)));
    let part = shape.get(start..end).unwrap_or_default();
    Tensor::from_i64(part.iter().map(|&d| d as i64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, ReduceKind, UnaryOp};

    #[test]
    fn scales_of_millions_of_weights_keep_their_digits() {
        let mut graph = Graph::new("latent");
        let x = graph.add_input("x", vec![1, 1]);
        let weights: Vec<f32> = (0..1 << 21).map(|i| if i % 3 == 0 { 0.1 } else { -0.1 }).collect();
        let weights = Tensor::from_f32(vec![1 << 21], weights).unwrap();
        let weights = graph.add_constant("w", weights);
        let magnitudes = graph.push_node("abs", Op::Unary(UnaryOp::Abs), [weights]);
        let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: false };
        let scale = graph.push_node("scale", mean, [magnitudes]);
        let scaled = graph.push_node("scaled", Op::Binary(BinaryOp::Mul), [x, scale]);
        graph.outputs = vec![scaled];
        let mut budget = budget(&graph);
        fold_constants(&mut graph, &mut budget).unwrap();
        assert_eq!(graph.nodes.len(), 1);
        assert_eq!(graph.constant(scale), Some(&Tensor::scalar(0.1)));
    }
}
