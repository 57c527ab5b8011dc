//! Running a whole graph, node by node.

use super::{EvaluationError, Products, evaluate_constant_node, evaluate_with};
use crate::graph::{Graph, Op, Tensor, ValueId};

/// Evaluates the nodes of a graph in order.
#[derive(Debug)]
pub struct Interpreter<'g> {
    graph: &'g Graph,
    /// For each value the index of the last node that reads it, if the graph does not return it.
    last_reader: Vec<Option<usize>>,
    /// Whether each value is the same for every input.
    constant: Vec<bool>,
    products: Products,
}

/// A node that was just evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated<'a> {
    /// Its place in [`Graph::nodes`].
    pub index: usize,
    /// What it read; `None` where an operand is left out.
    pub operands: &'a [Option<&'a Tensor>],
    /// What it computed.
    pub results: &'a [Tensor],
}

/// What is called after each node.
type Observer<'a> = dyn FnMut(Evaluated<'_>) -> Result<(), EvaluationError> + 'a;

impl<'g> Interpreter<'g> {
    /// An interpreter of the graph.
    pub fn new(graph: &'g Graph) -> Self {
        let mut last_reader = vec![None; graph.values.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            for value in node.inputs.iter().flatten() {
                last_reader[value.index()] = Some(index);
            }
        }
        for output in &graph.outputs {
            last_reader[output.index()] = None;
        }
        let mut constant: Vec<bool> =
            graph.values.iter().map(|value| value.constant.is_some()).collect();
        for node in &graph.nodes {
            // The shape of a value is the same for every input, its contents are not.
            let known = matches!(node.op, Op::Shape { .. })
                || node.inputs.iter().flatten().all(|value| constant[value.index()]);
            for output in &node.outputs {
                constant[output.index()] = known;
            }
        }
        Self { graph, last_reader, constant, products: Products::default() }
    }

    /// The same interpreter with another way to add products; constants stay as the converter
    /// computes them.
    pub fn with_products(self, products: Products) -> Self {
        Self { products, ..self }
    }

    /// Whether a value is the same for every input: a constant, or computed from constants alone.
    pub fn is_constant(&self, value: ValueId) -> bool {
        self.constant[value.index()]
    }

    /// The outputs of the graph for the given inputs, in order.
    ///
    /// # Errors
    /// If the inputs do not fit the graph in number or shape, or if a node cannot be evaluated.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvaluationError> {
        self.run_observed(inputs, &mut |_| Ok(()))
    }

    /// As [`Interpreter::run`], and shows every node to `observer` as soon as it is evaluated.
    ///
    /// # Errors
    /// As [`Interpreter::run`], and those of `observer`.
    pub fn run_observed(
        &self,
        inputs: &[Tensor],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<Tensor>, EvaluationError> {
        let mut values = self.evaluate(inputs, false, observer)?;
        let mut outputs = Vec::with_capacity(self.graph.outputs.len());
        for (index, output) in self.graph.outputs.iter().enumerate() {
            // An output may be listed twice, or be a constant.
            let again = self.graph.outputs[index + 1..].contains(output);
            let slot = &mut values[output.index()];
            let computed = if again { slot.clone() } else { slot.take() };
            let constant = || self.graph.constant(*output).cloned();
            outputs.push(computed.or_else(constant).ok_or_else(|| self.not_computed(*output))?);
        }
        Ok(outputs)
    }

    /// Every value that is computed for the given inputs, and the inputs themselves, by
    /// [`ValueId`]; `None` for constants.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn run_all(&self, inputs: &[Tensor]) -> Result<Vec<Option<Tensor>>, EvaluationError> {
        self.evaluate(inputs, true, &mut |_| Ok(()))
    }

    fn evaluate(
        &self,
        inputs: &[Tensor],
        keep: bool,
        observer: &mut Observer<'_>,
    ) -> Result<Vec<Option<Tensor>>, EvaluationError> {
        let graph = self.graph;
        if inputs.len() != graph.inputs.len() {
            let (expected, found) = (graph.inputs.len(), inputs.len());
            return Err(EvaluationError::InputCount { expected, found });
        }
        let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
        for (input, tensor) in graph.inputs.iter().zip(inputs) {
            if tensor.shape() != input.shape {
                return Err(EvaluationError::InputShape {
                    name: graph.value_name(input.value).to_owned(),
                    expected: input.shape.clone(),
                    found: tensor.shape().to_vec(),
                });
            }
            values[input.value.index()] = Some(tensor.clone());
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            let operand = |value: &Option<ValueId>| {
                let Some(value) = *value else { return Ok(None) };
                let found = values[value.index()].as_ref().or_else(|| graph.constant(value));
                found.map(Some).ok_or_else(|| self.not_computed(value))
            };
            let operands: Vec<Option<&Tensor>> =
                node.inputs.iter().map(operand).collect::<Result<_, _>>()?;
            let is_constant = node.outputs.iter().all(|&output| self.is_constant(output));
            let results = if is_constant {
                evaluate_constant_node(node, &operands)?
            } else {
                evaluate_with(node, &operands, self.products)?
            };
            observer(Evaluated { index, operands: &operands, results: &results })?;
            for (&output, result) in node.outputs.iter().zip(results) {
                values[output.index()] = Some(result);
            }
            if !keep {
                for value in node.inputs.iter().flatten() {
                    if self.last_reader[value.index()] == Some(index) {
                        values[value.index()] = None;
                    }
                }
            }
        }
        Ok(values)
    }

    fn not_computed(&self, value: ValueId) -> EvaluationError {
        EvaluationError::NotComputed { name: self.graph.value_name(value).to_owned() }
    }
}

/// The outputs of a graph for the given inputs; see [`Interpreter::run`].
///
/// # Errors
/// As [`Interpreter::run`].
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvaluationError> {
    Interpreter::new(graph).run(inputs)
}

/// Every value of a graph that is computed for the given inputs; see [`Interpreter::run_all`].
///
/// # Errors
/// As [`Interpreter::run`].
pub fn run_all(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Option<Tensor>>, EvaluationError> {
    Interpreter::new(graph).run_all(inputs)
}
