//! Where a converted network parts from the graph that it was made of.
//!
//! The graph, as it was imported, runs in the plain interpreter ([`reference`](crate::reference)); the
//! converted model runs with the kernels of always, step by step, and is looked at after each
//! ([`Session::run_traced`](crate::Session::run_traced)). Every value of the graph that lies in some buffer ([`Trace`]) is compared.
//!
//! Floats are rounded, so two right evaluations differ. Beside each value therefore runs a bound
//! (`bounds`) on the difference that is explained: by the rounding of the operations since the last
//! compared value, and by the difference that was *measured* there. So every layer answers for itself:
//! a bit that turned because its sum lay within the bound is "on the fence"; what lies behind it is
//! allowed exactly the difference that this bit makes, and a layer that is wrong is found even
//! behind others that are.
//!
//! A bit that differs although its sum is farther from the threshold than the bound, or a float
//! that differs by more than the bound, is a failure.

mod bounds;
mod buffers;
mod difference;

pub use difference::{Distances, LayerComparison, TensorDifference, Verdict};

use std::collections::{HashMap, HashSet};

use thiserror::Error;

use crate::{
    Model, SessionOptions,
    convert::{Elements, Trace, TracedValue},
    graph::{BinaryOp, Graph, Op, Tensor, UnaryOp, ValueId},
    program::BufferId,
    reference::{Evaluated, EvaluationError, Interpreter, evaluate_node},
};
use bounds::{Bound, Evaluation, weight_loss};
use buffers::{Buffers, expected_elements};
use difference::Statistics;

/// Why nothing can be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The interpreter cannot run the graph.
    #[error("the float graph cannot be run: {0}")]
    Reference(#[from] EvaluationError),
    /// The model cannot run.
    #[error(transparent)]
    Model(#[from] crate::Error),
    /// A row of inputs does not fit.
    #[error("row {row} of the inputs does not fit the network")]
    Inputs {
        /// The row.
        row: usize,
    },
}

/// Runs a graph and the model it was converted to on the same inputs, and compares all that the
/// trace says is comparable.
///
/// Each of `rows` has one slice for each input, in the layout of the graph.
///
/// ```
/// use bnn::{Model, SessionOptions, compare::compare_layers, convert::{ConvertOptions, convert}};
/// use bnn::graph::{Graph, Op, UnaryOp};
///
/// let mut graph = Graph::new("tiny");
/// let x = graph.add_input("x", vec![1, 4]);
/// graph.outputs = vec![graph.push_node("relu", Op::Unary(UnaryOp::Relu), [x])];
/// let conversion = convert(graph.clone(), &ConvertOptions::default())?;
/// let model = Model::from_program(conversion.program)?;
/// let rows = [vec![vec![1.0, -1.0, 0.0, 2.0]]];
/// let options = SessionOptions::default();
/// let comparison = compare_layers(&graph, &conversion.trace, &model, &rows, &options)?;
/// assert!(comparison.passed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CompareError`]; differences are none.
pub fn compare_layers(
    graph: &Graph,
    trace: &Trace,
    model: &Model,
    rows: &[Vec<Vec<f32>>],
    options: &SessionOptions,
) -> Result<LayerComparison, CompareError> {
    let mut graph = graph.clone();
    let mut signs = HashSet::new();
    for (index, node) in graph.nodes.iter_mut().enumerate() {
        // Where ONNX says 0 the engine says +1, and says so; what follows is compared all the same.
        if node.op == Op::Unary(UnaryOp::Sign) && trace.signs.contains(&node.output()) {
            node.op = Op::Step { at_least: true, low: -1.0, high: 1.0 };
            signs.insert(index);
        }
    }
    let mut traced: HashMap<ValueId, Vec<&TracedValue>> = HashMap::new();
    for value in &trace.values {
        traced.entry(value.value).or_default().push(value);
    }
    let interpreter = Interpreter::new(&graph);
    let mut comparison = Comparison {
        graph: &graph,
        interpreter: &interpreter,
        traced,
        signs,
        losses: HashMap::new(),
        f16: trace.f16,
        readers: readers(&graph),
        statistics: Statistics::default(),
        zeros_at_signs: 0,
    };
    let mut session = model.session(options)?;
    for (row, inputs) in rows.iter().enumerate() {
        let tensors: Option<Vec<Tensor>> = graph
            .inputs
            .iter()
            .zip(inputs)
            .map(|(input, values)| Tensor::from_f32(input.shape.clone(), values.clone()).ok())
            .collect();
        let tensors = tensors.filter(|tensors| tensors.len() == graph.inputs.len());
        let tensors = tensors.ok_or(CompareError::Inputs { row })?;
        let buffers = Buffers::of_run(&mut session, inputs, &trace.values)?;
        comparison.row(&tensors, &buffers)?;
    }
    let steps = &model.program().steps;
    let step_name = |step: usize| steps.get(step).map_or("", |step| step.name.as_str());
    Ok(comparison.statistics.finish(rows.len(), comparison.zeros_at_signs, step_name))
}

/// For each value the index of the last node that reads it.
fn readers(graph: &Graph) -> Vec<Option<usize>> {
    let mut readers = vec![None; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for value in node.inputs.iter().flatten() {
            readers[value.index()] = Some(index);
        }
    }
    readers
}

/// What runs beside a value of the interpreter.
#[derive(Debug, Clone, Default)]
struct Beside {
    /// The difference to the engine that is explained.
    bound: Bound,
    /// For what comes of a comparison: how far it was from turning over.
    margin: Option<Tensor>,
    /// Whether a bit that turned over may be the reason of a difference.
    after_flip: bool,
    /// Whether a step function since the last comparison may have taken another step: a quantiser to
    /// several levels, or a sign that is not stored.
    may_step: bool,
}

struct Comparison<'a> {
    graph: &'a Graph,
    interpreter: &'a Interpreter<'a>,
    traced: HashMap<ValueId, Vec<&'a TracedValue>>,
    /// Nodes that were an ONNX `Sign`.
    signs: HashSet<usize>,
    /// What the weights of each layer lost, by node.
    losses: HashMap<usize, Option<Tensor>>,
    f16: bool,
    readers: Vec<Option<usize>>,
    statistics: Statistics,
    zeros_at_signs: usize,
}

impl Comparison<'_> {
    fn row(&mut self, inputs: &[Tensor], buffers: &Buffers) -> Result<(), EvaluationError> {
        let mut beside: HashMap<ValueId, Beside> = HashMap::new();
        let mut compared = HashSet::new();
        let interpreter = self.interpreter;
        interpreter.run_observed(inputs, &mut |evaluated| {
            self.node(evaluated, buffers, &mut beside, &mut compared)
        })?;
        Ok(())
    }

    fn node(
        &mut self,
        evaluated: Evaluated<'_>,
        buffers: &Buffers,
        beside: &mut HashMap<ValueId, Beside>,
        compared: &mut HashSet<(Vec<BufferId>, bool)>,
    ) -> Result<(), EvaluationError> {
        let Evaluated { index, operands, results } = evaluated;
        let node = &self.graph.nodes[index];
        if node.outputs.iter().all(|&output| self.interpreter.is_constant(output)) {
            return Ok(());
        }
        if self.signs.contains(&index)
            && let Some(x) = operands[0].and_then(|x| x.f32().ok())
        {
            self.zeros_at_signs += x.iter().filter(|&&x| x == 0.0).count();
        }
        let of = |input: &Option<ValueId>| input.and_then(|id| beside.get(&id));
        let bounds_of: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|input| of(input)?.bound.as_ref()).collect();
        let after_flip = node.inputs.iter().any(|input| of(input).is_some_and(|b| b.after_flip));
        let may_step = is_step_function(&node.op) && bounds_of.iter().any(Option::is_some)
            || node.inputs.iter().any(|input| of(input).is_some_and(|b| b.may_step));
        let margins: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|input| of(input)?.margin.as_ref()).collect();
        if let (Op::Conv(_) | Op::Gemm { .. } | Op::MatMul, Some(weights)) =
            (&node.op, operands.get(1).copied().flatten())
        {
            let f16 = self.f16;
            let loss = || weight_loss(&node.op, weights, f16);
            self.losses.entry(index).or_insert_with(loss);
        }
        let weight_loss = self.losses.get(&index).and_then(Option::as_ref);
        let evaluation = Evaluation { node, operands, results, weight_loss };
        let bounds = evaluation.bounds(&bounds_of)?;
        let margin = margin(&evaluation, &margins)?;
        for (position, (&output, bound)) in node.outputs.iter().zip(bounds).enumerate() {
            let margin = if node.outputs.len() == 1 { margin.clone() } else { None };
            let moves = bound.is_some();
            let (after_flip, may_step) = (after_flip && moves, may_step && moves);
            let entry = Beside { bound, margin, after_flip, may_step };
            let entry = self.compare(output, index, &results[position], entry, buffers, compared);
            beside.insert(output, entry);
        }
        for value in node.inputs.iter().flatten() {
            if self.readers[value.index()] == Some(index) {
                beside.remove(value);
            }
        }
        Ok(())
    }

    /// Compares a value with the buffers that hold it; from then on the difference is measured.
    fn compare(
        &mut self,
        value: ValueId,
        node: usize,
        expected: &Tensor,
        beside: Beside,
        buffers: &Buffers,
        compared: &mut HashSet<(Vec<BufferId>, bool)>,
    ) -> Beside {
        let Some(places) = self.traced.get(&value) else { return beside };
        let (mut measured, mut flipped): (Option<Vec<f32>>, bool) = (None, false);
        for place in places {
            let gap = match &place.elements {
                Elements::Bits { low, high } => Some((high - low).abs()),
                // The graph rounds each level on its own; a plane is exact.
                Elements::Planes(planes) => {
                    planes.iter().map(|plane| (plane.high - plane.low).abs()).reduce(f32::min)
                }
                Elements::F32 | Elements::Segments(_) => None,
            };
            let is_bits = matches!(place.elements, Elements::Bits { .. });
            // The same buffers under another view were compared where they came from.
            let key = match &place.elements {
                Elements::Segments(_) => (place.buffers(), is_bits),
                _ => (vec![place.buffer], is_bits),
            };
            if compared.contains(&key) {
                continue;
            }
            let Some((step, actual)) = buffers.elements(place) else { continue };
            let Some(at) = expected_elements(place, expected.shape(), actual.len()) else {
                continue;
            };
            let Ok(expected) = expected.f32() else { continue };
            compared.insert(key);
            let values = |of: &[f32]| -> Vec<f32> { at.iter().map(|&at| of[at]).collect() };
            let float = |of: &Tensor| of.f32().ok().map(values);
            let difference = self.statistics.add(
                (value, is_bits, step),
                || difference::Subject {
                    tensor: self.graph.value_name(value).to_owned(),
                    node: self.graph.nodes[node].name.clone(),
                    op: self.graph.nodes[node].op.name(),
                },
                &difference::Sample {
                    gap,
                    expected: &values(expected),
                    actual: &actual,
                    bound: beside.bound.as_ref().and_then(float).as_deref(),
                    margin: beside.margin.as_ref().and_then(float).as_deref(),
                    after_flip: beside.after_flip,
                    may_step: beside.may_step,
                },
            );
            flipped |= difference.turned > 0;
            // A border that the buffer leaves out is the same in both.
            let measured = measured.get_or_insert_with(|| vec![0.0; expected.len()]);
            for (&at, distance) in at.iter().zip(difference.distances) {
                measured[at] = measured[at].max(distance);
            }
        }
        let Some(measured) = measured else { return beside };
        let differs = measured.iter().any(|&distance| distance != 0.0);
        let bound = Tensor::from_f32(expected.shape().to_vec(), measured).ok();
        Beside {
            bound: bound.filter(|_| differs),
            margin: beside.margin,
            after_flip: differs && (flipped || beside.after_flip),
            may_step: false,
        }
    }
}

/// Whether a function jumps, so that a rounding error before it can become a step behind it.
fn is_step_function(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Sign)
            | Op::Where
            | Op::Cast { .. }
            | Op::Step { .. }
            | Op::BipolarQuant
            | Op::Quant(_)
            | Op::Trunc { .. }
            | Op::MultiThreshold { .. }
    )
}

/// For what a comparison decided, how far it was from deciding otherwise: what is compared with
/// zero. Follows bits that are moved, renamed or pooled.
fn margin(
    evaluation: &Evaluation<'_>,
    margins: &[Option<&Tensor>],
) -> Result<Option<Tensor>, EvaluationError> {
    let Evaluation { node, operands, results, .. } = evaluation;
    let apply = |operands: &[Option<&Tensor>]| {
        let node = crate::graph::Node {
            inputs: operands.iter().map(|x| x.map(|_| node.output())).collect(),
            ..(*node).clone()
        };
        evaluate_node(&node, operands)
    };
    let inherited = margins.first().copied().flatten();
    Ok(match &node.op {
        Op::Binary(
            BinaryOp::Greater | BinaryOp::GreaterOrEqual | BinaryOp::Less | BinaryOp::LessOrEqual,
        ) => {
            let floats = operands.iter().flatten().all(|x| x.f32().is_ok());
            let difference =
                crate::graph::Node { op: Op::Binary(BinaryOp::Sub), ..(*node).clone() };
            if floats { evaluate_node(&difference, operands)?.pop() } else { None }
        }
        // The inner one of two signs decides.
        Op::Unary(UnaryOp::Sign) | Op::Step { .. } | Op::BipolarQuant => {
            inherited.or(operands[0]).cloned()
        }
        Op::Where | Op::Cast { .. } | Op::Unary(_) | Op::Clip => inherited.cloned(),
        Op::Binary(_) => {
            // A constant renames the two values.
            let with_margin: Vec<&Tensor> = margins.iter().flatten().copied().collect();
            match with_margin[..] {
                [margin] if margin.len() == results[0].len() => Some(margin.clone()),
                _ => None,
            }
        }
        Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Transpose { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::MaxPool(_) => {
            let Some(margin) = inherited else { return Ok(None) };
            let mut operands = operands.to_vec();
            operands[0] = Some(margin);
            apply(&operands)?.pop()
        }
        Op::Concat { .. } if !margins.is_empty() && margins.iter().all(Option::is_some) => {
            apply(margins)?.pop()
        }
        _ => None,
    }
    .filter(|margin| margin.shape() == results[0].shape()))
}
