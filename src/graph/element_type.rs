//! Element types of values. A graph does not store them: they follow from its inputs, which are
//! floats, and its constants.

use super::{BinaryOp, DataType, Graph, Op, UnaryOp};

/// The element type of the results of an operator, given those of its operands (absent or left out:
/// not known). `None` where it follows from an operand whose type is not known.
pub fn result_type(op: &Op, operands: &[Option<DataType>]) -> Option<DataType> {
    use BinaryOp::{And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or};
    let operand = |index: usize| operands.get(index).copied().flatten();
    match op {
        Op::Unary(UnaryOp::Not) => Some(DataType::Bool),
        Op::Binary(And | Or | Equal | Greater | GreaterOrEqual | Less | LessOrEqual) => {
            Some(DataType::Bool)
        }
        Op::Cast { to } => Some(*to),
        Op::ConstantOfShape { data_type, .. } => Some(*data_type),
        Op::Shape { .. } | Op::ArgMax { .. } => Some(DataType::I64),
        Op::Where => operand(1).or(operand(2)),
        Op::BipolarQuant
        | Op::Quant(_)
        | Op::Trunc { .. }
        | Op::MultiThreshold { .. }
        | Op::Step { .. } => Some(DataType::F32),
        // Everything else gives what its first operand holds.
        _ => operand(0),
    }
}

/// The element type of every value of a graph, where it is known.
pub fn element_types(graph: &Graph) -> Vec<Option<DataType>> {
    let constant = |value: &super::Value| value.constant.as_ref().map(super::Tensor::data_type);
    let mut types: Vec<Option<DataType>> = graph.values.iter().map(constant).collect();
    for input in &graph.inputs {
        types[input.value.index()] = Some(DataType::F32);
    }
    for node in &graph.nodes {
        let operands: Vec<_> =
            node.inputs.iter().map(|input| input.and_then(|id| types[id.index()])).collect();
        let result = result_type(&node.op, &operands);
        for output in &node.outputs {
            types[output.index()] = result;
        }
    }
    types
}
