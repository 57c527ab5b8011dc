//! Random parts of a network as blocks: where one can run by itself, it gives on the reference's input
//! what the reference has behind it.

use bnn::{
    Isa, Model, SessionOptions,
    graph::{Block, Graph, Tensor, ValueId},
    program::BlockError,
    reference::{Interpreter, Products},
};

use crate::random::Random;

/// Blocks of each network.
const BLOCKS: usize = 6;

/// Names random parts of a graph.
pub(crate) fn name_some(graph: &mut Graph, seed: u64) {
    let mut random = Random::new(seed ^ 0xb10c);
    let inputs = graph.inputs.iter().map(|input| input.value);
    let values: Vec<ValueId> =
        inputs.chain(graph.nodes.iter().flat_map(|node| node.outputs.iter().copied())).collect();
    if values.len() < 2 {
        return;
    }
    graph.blocks = (0..BLOCKS)
        .map(|index| {
            let last = random.between(1, values.len() - 1);
            // Most parts of a network that somebody names are short.
            let first = last.saturating_sub(random.between(1, 12));
            Block { name: index.to_string(), input: values[first], output: values[last] }
        })
        .collect();
}

/// Runs the blocks that can run by themselves.
pub(crate) fn check(
    graph: &Graph,
    model: &Model,
    image: Tensor,
    is_exact: bool,
) -> Result<(), String> {
    let fuses = Isa::best().fuses_multiply_add();
    let products = if fuses { Products::Fused } else { Products::Rounded };
    let interpreter = Interpreter::new(graph).with_products(products);
    let values = interpreter.run_all(&[image]).map_err(|error| error.to_string())?;
    for block in &graph.blocks {
        let (input, output) = (graph.value_name(block.input), graph.value_name(block.output));
        let fail = |what: String| Err(format!("block from '{input}' to '{output}': {what}"));
        let part = match model.block(&block.name) {
            Ok(part) => part,
            Err(error @ (BlockError::Program(_) | BlockError::Unknown)) => {
                return fail(error.to_string());
            }
            Err(_) => continue,
        };
        let value = |id: ValueId| values[id.index()].as_ref().and_then(|value| value.f32().ok());
        let (Some(given), Some(expected)) = (value(block.input), value(block.output)) else {
            return fail("its ends are no floats".to_owned());
        };
        let mut session = match part.session(&SessionOptions::default()) {
            Ok(session) => session,
            Err(error) => return fail(error.to_string()),
        };
        let found = match session.run(given) {
            Ok(found) => found,
            Err(error) => return fail(error.to_string()),
        };
        if found.len() != expected.len() {
            return fail(format!("{} elements, expected {}", found.len(), expected.len()));
        }
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let tolerance = if is_exact { 0.0 } else { 1e-4 * largest };
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            if (f - e).abs() > tolerance || f.is_nan() {
                return fail(format!("element {index} is {f}, expected {e}"));
            }
        }
    }
    Ok(())
}
