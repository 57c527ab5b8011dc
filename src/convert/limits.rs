//! How large a network may be: what keeps a small file from taking a lot of memory or time.

use crate::graph::{Graph, MAX_NODES, MAX_PORTS};

use super::ConvertError;

/// What constants may come to when each counts as often as it is read, in elements: as many times as much
/// as they are, and this much in any case. Every layer gets weights of its own, so that layers that share
/// theirs would otherwise multiply them.
const MOST_READ: usize = 1 << 26;
const MOST_TIMES_READ: usize = 16;

/// Checks a network before anything is made of it.
///
/// # Errors
/// [`ConvertError::TooLarge`], with the number that is.
pub(super) fn check(graph: &Graph) -> Result<(), ConvertError> {
    let too_large = |what: &str, found: usize, most: usize| {
        Err(ConvertError::TooLarge(format!("{found} {what}, expected at most {most}")))
    };
    for (what, found, most) in [
        ("nodes", graph.nodes.len(), MAX_NODES),
        ("inputs", graph.inputs.len(), MAX_PORTS),
        ("outputs", graph.outputs.len(), MAX_PORTS),
    ] {
        if found > most {
            return too_large(what, found, most);
        }
    }
    let constants = graph.values.iter().filter_map(|value| value.constant.as_ref());
    let held = constants.fold(0_usize, |sum, tensor| sum.saturating_add(tensor.len()));
    let most = held.saturating_mul(MOST_TIMES_READ).max(MOST_READ);
    let operands = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
    let read = operands.filter_map(|&value| graph.constant(value));
    let read = read.fold(0_usize, |sum, tensor| sum.saturating_add(tensor.len()));
    if read > most {
        return too_large("elements of constants, each counted as often as it is read", read, most);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, Op, Tensor, UnaryOp};

    #[test]
    fn chains_are_limited() {
        let mut graph = Graph::new("long");
        let mut last = graph.add_input("x", vec![1, 1]);
        for _ in 0..MAX_NODES {
            last = graph.push_node("relu", Op::Unary(UnaryOp::Relu), [last]);
        }
        assert_eq!(check(&graph), Ok(()));
        graph.push_node("relu", Op::Unary(UnaryOp::Relu), [last]);
        let error = check(&graph).unwrap_err().to_string();
        assert!(error.contains("16385 nodes, expected at most 16384"), "{error}");
    }

    #[test]
    fn shared_weights_count_for_every_reader() {
        let mut graph = Graph::new("shared");
        let mut last = graph.add_input("x", vec![1, 1 << 20]);
        let weights = Tensor::from_f32(vec![1 << 20], vec![1.0; 1 << 20]).unwrap();
        let weights = graph.add_constant("w", weights);
        for _ in 0..64 {
            last = graph.push_node("mul", Op::Binary(BinaryOp::Mul), [last, weights]);
        }
        assert_eq!(check(&graph), Ok(()));
        graph.push_node("mul", Op::Binary(BinaryOp::Mul), [last, weights]);
        let error = check(&graph).unwrap_err().to_string();
        assert!(error.contains("68157440 elements of constants"), "{error}");
    }
}
