//! Decides, before any step is made, which layers are binary and which tensors are wanted as bits,
//! which as floats.

use std::collections::HashMap;

use crate::graph::{Graph, Node, Op, ValueId};

use super::{
    fallback::FloatLayers,
    planes::{Planes, planes},
};
use crate::convert::{
    chain::{channel_operations, uniform_constant},
    describe::{describe_source, is_computed},
    facts::Levels,
    lattice::codes,
    view::View,
    weights::{BinaryWeights, binary_weights},
};

/// A convolution, `Gemm` or `MatMul` with constant weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerKind {
    /// Weights `[out, in / groups, height, width]`.
    Conv,
    /// Weights `[out, in]`.
    DenseTransposed,
    /// Weights `[in, out]`.
    Dense,
}

/// The kind of layer a node is, if it is one.
pub(super) fn layer_kind(graph: &Graph, node: &Node) -> Option<LayerKind> {
    let weights = graph.constant(node.input(1)?)?;
    weights.f32().ok()?;
    match node.op {
        Op::Conv(_) if weights.shape().len() == 4 => Some(LayerKind::Conv),
        Op::Gemm { trans_a: false, trans_b, .. } if weights.shape().len() == 2 => {
            Some(if trans_b { LayerKind::DenseTransposed } else { LayerKind::Dense })
        }
        Op::MatMul if weights.shape().len() == 2 => Some(LayerKind::Dense),
        _ => None,
    }
}

/// Operators that move data without changing them.
pub(in crate::convert) fn is_structural(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
    )
}

/// What is known and wanted of every value and node.
pub(super) struct Demand {
    /// The two values of binary tensors.
    pub(super) levels: Vec<Option<Levels>>,
    /// The planes of tensors with a few values.
    pub(super) planes: Vec<Option<Planes>>,
    /// Weights of the layers that run bit by bit, by node.
    pub(super) binary: HashMap<usize, BinaryWeights>,
    /// Weights of the layers that run plane by plane, by node.
    pub(super) multi: HashMap<usize, BinaryWeights>,
    /// Weights of the layers whose weights alone are bits, by node.
    pub(super) sign_weights: HashMap<usize, BinaryWeights>,
    /// Why a layer is not binary, by node.
    pub(super) reasons: HashMap<usize, String>,
    /// The input that is the reason, by node: neither an input of the network nor one with a few
    /// evenly spaced values.
    pub(super) not_two_valued: HashMap<usize, ValueId>,
    /// Whether a value is wanted as bits.
    pub(super) bits: Vec<bool>,
    /// Whether a value is wanted as floats.
    pub(super) floats: Vec<bool>,
}

impl Demand {
    pub(super) fn new(graph: &Graph, shapes: &[Vec<usize>], float_layers: &FloatLayers) -> Self {
        let levels = two_valued(graph);
        let codes = codes(graph);
        let planes = planes(graph, &levels, &codes, shapes);
        let mut demand = Self {
            binary: HashMap::new(),
            multi: HashMap::new(),
            planes,
            sign_weights: HashMap::new(),
            reasons: HashMap::new(),
            not_two_valued: HashMap::new(),
            bits: vec![false; graph.values.len()],
            floats: vec![false; graph.values.len()],
            levels,
        };
        let producers = graph.producers();
        demand.find_binary_layers(graph, &producers, float_layers);
        let few_values = |id: ValueId| codes[id.index()].is_some();
        demand
            .not_two_valued
            .retain(|_, input| !few_values(*input) && is_computed(graph, &producers, *input));
        demand.propagate(graph);
        demand
    }

    fn find_binary_layers(
        &mut self,
        graph: &Graph,
        producers: &[Option<usize>],
        float_layers: &FloatLayers,
    ) {
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(kind) = layer_kind(graph, node) else { continue };
            let Some(weights) = node.input(1).and_then(|id| graph.constant(id)) else { continue };
            let Ok(values) = weights.f32() else { continue };
            let shape = weights.shape();
            let found = match kind {
                LayerKind::Conv | LayerKind::DenseTransposed => binary_weights(values, shape[0]),
                LayerKind::Dense => {
                    binary_weights(&transposed(values, shape[0], shape[1]), shape[1])
                }
            };
            let input_is_binary = node.input(0).is_some_and(|id| self.levels[id.index()].is_some());
            match found {
                Ok(weights) if float_layers.contains_key(&index) => {
                    let why = &float_layers[&index];
                    self.reasons
                        .insert(index, format!("its input does not reach it as bits: {why}"));
                    if weights.centred() {
                        self.sign_weights.insert(index, weights);
                    }
                }
                Ok(weights) if input_is_binary => {
                    self.binary.insert(index, weights);
                }
                Ok(weights)
                    if node.input(0).is_some_and(|id| self.planes[id.index()].is_some()) =>
                {
                    self.multi.insert(index, weights);
                }
                Ok(weights) => {
                    let source = node
                        .input(0)
                        .map_or_else(String::new, |id| describe_source(graph, producers, id));
                    let mut reason = format!("the input is not two-valued: it is {source}");
                    if weights.centred() {
                        reason.push_str("; its weights are stored as bits");
                        self.sign_weights.insert(index, weights);
                    }
                    self.reasons.insert(index, reason);
                    self.not_two_valued.extend(node.input(0).map(|input| (index, input)));
                }
                Err(reason) => {
                    self.reasons.insert(index, reason.to_string());
                }
            }
        }
    }

    /// Walks the graph backwards from what must be there.
    fn propagate(&mut self, graph: &Graph) {
        for output in &graph.outputs {
            self.floats[output.index()] = true;
        }
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            let outputs = |wanted: &[bool]| node.outputs.iter().any(|o| wanted[o.index()]);
            let (bits, floats) = (outputs(&self.bits), outputs(&self.floats));
            for (operand, input) in node.inputs.iter().enumerate() {
                let Some(input) = input else { continue };
                if graph.constant(*input).is_some() {
                    continue;
                }
                let two_valued = self.levels[input.index()].is_some();
                let passes_bits = two_valued
                    && node.outputs.iter().all(|o| self.levels[o.index()].is_some())
                    && !matches!(node.op, Op::Step { .. });
                if operand == 0 && self.binary.contains_key(&index) {
                    self.bits[input.index()] = true;
                } else if operand == 0
                    && self.multi.contains_key(&index)
                    && let Some(Planes::Sum(terms)) = &self.planes[input.index()]
                {
                    for (term, _) in terms {
                        self.bits[term.index()] = true;
                    }
                } else if passes_bits {
                    self.bits[input.index()] |= bits;
                    self.floats[input.index()] |= floats;
                } else {
                    self.floats[input.index()] = true;
                }
            }
        }
    }
}

/// Rows and columns exchanged.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

/// The two values of every tensor that takes just two.
fn two_valued(graph: &Graph) -> Vec<Option<Levels>> {
    let mut levels: Vec<Option<Levels>> = vec![None; graph.values.len()];
    for node in &graph.nodes {
        let of = |index: usize| node.input(index).and_then(|id| levels[id.index()]);
        let found = match &node.op {
            Op::Step { low, high, .. } => {
                (low != high).then_some(Levels { low: *low, high: *high })
            }
            op if is_structural(op) => of(0),
            // Maxima are ORs of bits where bit 1 is the larger value.
            Op::MaxPool(_) => of(0).filter(|levels| levels.high > levels.low),
            Op::Pad => of(0).filter(|levels| {
                let value = node.input(2).map_or(Some(0.0), |id| uniform_constant(graph, id));
                value.is_some_and(|v| v == levels.low || v == levels.high || v == 0.0)
            }),
            Op::Concat { .. } => {
                let all: Option<Vec<Levels>> = (0..node.inputs.len()).map(of).collect();
                all.filter(|all| all.windows(2).all(|w| w[0] == w[1]))
                    .and_then(|all| all.first().copied())
            }
            _ => elementwise_levels(graph, node, &levels),
        };
        if let (Some(found), [output]) = (found, node.outputs.as_slice()) {
            levels[output.index()] = Some(found);
        }
    }
    levels
}

/// The levels behind an elementwise node with the same constants in all channels.
fn elementwise_levels(graph: &Graph, node: &Node, levels: &[Option<Levels>]) -> Option<Levels> {
    let (operand, before) = node
        .inputs
        .iter()
        .enumerate()
        .find_map(|(i, input)| input.and_then(|id| levels[id.index()]).map(|l| (i, l)))?;
    let others_constant = node
        .inputs
        .iter()
        .enumerate()
        .all(|(i, input)| i == operand || input.is_none_or(|id| graph.constant(id).is_some()));
    if !others_constant {
        return None;
    }
    let one = View::row_major(&[1, 1, 1, 1]);
    let operations = channel_operations(graph, node, operand, &one, [1, 1, 1])?;
    before.through(&operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, Tensor};

    #[test]
    fn levels_follow_affine_maps_of_signs() {
        let mut graph = Graph::new("levels");
        let x = graph.add_input("x", vec![1, 4]);
        let step = graph.push_node("s", Op::Step { at_least: true, low: -1.0, high: 1.0 }, [x]);
        let half = graph.add_constant("half", Tensor::scalar(0.5));
        let shifted = graph.push_node("a", Op::Binary(BinaryOp::Add), [step, half]);
        let negative = graph.add_constant("negative", Tensor::scalar(-2.0));
        let scaled = graph.push_node("m", Op::Binary(BinaryOp::Mul), [negative, shifted]);
        let squared = graph.push_node("q", Op::Binary(BinaryOp::Mul), [step, step]);
        graph.outputs = vec![scaled, squared];
        let levels = two_valued(&graph);
        assert_eq!(levels[scaled.index()], Some(Levels { low: 1.0, high: -3.0 }));
        assert_eq!(levels[squared.index()], None);
    }
}
