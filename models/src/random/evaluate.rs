//! One node for all samples.

use bnn::convert::{ConvertOptions, convert};
use bnn::graph::{Graph, Node, Op, Tensor, ValueId};
use bnn::reference::{EvaluationError, evaluate_node};
use bnn::{Isa, Model, SessionOptions};

/// The result of a node for each sample.
pub(super) fn evaluate(
    graph: &Graph,
    node: &Node,
    values: &[Vec<Tensor>],
    samples: usize,
) -> Result<Vec<Tensor>, EvaluationError> {
    if matches!(node.op, Op::Conv(_) | Op::Gemm { .. })
        && let Some(results) = by_engine(graph, node, values)
    {
        return Ok(results);
    }
    let one = |sample: usize| {
        let operand = |value: &Option<ValueId>| {
            let value = (*value)?;
            graph.constant(value).or_else(|| values[value.index()].get(sample))
        };
        let operands: Vec<Option<&Tensor>> = node.inputs.iter().map(operand).collect();
        let mut results = evaluate_node(node, &operands)?;
        results.pop().ok_or_else(|| EvaluationError::NotComputed { name: node.name.clone() })
    };
    (0..samples).map(one).collect()
}

/// The layers that take most of the time, by the engine: with fused multiply-adds, or else on its scalar
/// path, it gives the same numbers on every machine, as the interpreter does, and is faster by orders of
/// magnitude. The numbers are those of the interpreter, but for the rounding where all weights of a
/// filter have one magnitude other than 1. Nothing where the engine refuses the layer.
fn by_engine(graph: &Graph, node: &Node, values: &[Vec<Tensor>]) -> Option<Vec<Tensor>> {
    let samples = &values[node.input(0)?.index()];
    let shape = samples.first()?.shape().to_vec();
    let mut layer = Graph::new(&node.name);
    let mut operands = vec![layer.add_input("input", shape)];
    for operand in node.inputs.iter().skip(1) {
        let constant = graph.constant((*operand)?)?.clone();
        operands.push(layer.add_constant(operands.len().to_string(), constant));
    }
    let output = layer.push_node(&node.name, node.op.clone(), operands);
    layer.outputs.push(output);

    let program = convert(layer, &ConvertOptions::default()).ok()?.program;
    let model = Model::from_program(program).ok()?;
    let shape: Vec<usize> = [1].iter().chain(&model.outputs().first()?.shape).copied().collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let isa = Some(Isa::best()).filter(|isa| isa.fuses_multiply_add()).unwrap_or(Isa::Scalar);
    let mut session = model.session(&SessionOptions::default().isa(isa).threads(threads)).ok()?;
    let mut results = Vec::with_capacity(samples.len());
    for sample in samples {
        let result = session.run(sample.f32().ok()?).ok()?;
        results.push(Tensor::from_f32(shape.clone(), result).ok()?);
    }
    Some(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bnn::graph::ConvAttributes;

    fn tensor(shape: &[usize], value: impl FnMut(usize) -> f32) -> Tensor {
        let values = (0..shape.iter().product()).map(value).collect();
        Tensor::from_f32(shape.to_vec(), values).unwrap()
    }

    fn wave(index: usize) -> f32 {
        ((index * 37 % 101) as f32 - 50.0) / 17.0
    }

    /// Both ways to evaluate a layer give the same bits.
    fn assert_same(op: Op, input: &[usize], constants: &[Tensor]) {
        let mut graph = Graph::new("layer");
        let mut operands = vec![graph.add_input("x", input.to_vec())];
        for (index, constant) in constants.iter().enumerate() {
            operands.push(graph.add_constant(format!("constant{index}"), constant.clone()));
        }
        let output = graph.push_node("y", op, operands);
        graph.outputs.push(output);
        let samples = [0, 5].map(|start| tensor(input, |index| wave(start + index)));
        let mut values = vec![Vec::new(); graph.values.len()];
        values[0] = samples.to_vec();
        let found = by_engine(&graph, &graph.nodes[0], &values).unwrap();
        for (sample, found) in samples.iter().zip(found) {
            let expected = bnn::reference::run(&graph, std::slice::from_ref(sample)).unwrap();
            assert_eq!(found, expected[0]);
        }
    }

    #[test]
    fn the_engine_gives_the_numbers_of_the_interpreter() {
        let convolution = |groups| {
            let [stride, dilation] = [[2, 1], [1, 2]];
            let pads = [1, 0, 1, 2];
            Op::Conv(ConvAttributes { kernel: [3, 2], stride, dilation, pads, groups })
        };
        let bias = tensor(&[6], wave);
        let input = [1, 4, 7, 9];
        for groups in [1, 2] {
            let shape = [6, 4 / groups, 3, 2];
            assert_same(convolution(groups), &input, &[tensor(&shape, wave), bias.clone()]);
            let two_valued = tensor(&shape, |index| wave(index).signum());
            assert_same(convolution(groups), &input, &[two_valued]);
        }
        let dense = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        assert_same(dense.clone(), &[1, 40], &[tensor(&[6, 40], wave), bias]);
        assert_same(dense, &[1, 40], &[tensor(&[6, 40], |index| wave(index).signum())]);
    }
}
