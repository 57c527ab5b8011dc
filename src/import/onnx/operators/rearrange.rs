//! Operators that move elements or make them up.

use super::elementwise::exact_float;
use crate::graph::{Data, DataType, Op, Tensor, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

pub(super) fn missing(name: &str) -> Fault {
    Fault::Invalid(format!("attribute `{name}` is missing"))
}

/// An attribute of integers as an operand.
fn ints_operand(
    node: &mut NodeContext<'_, '_>,
    name: &'static str,
) -> Result<Option<ValueId>, Fault> {
    let ints = node.attributes.ints(name)?.map(|ints| Tensor::from_i64(ints.to_vec()));
    Ok(ints.map(|ints| node.add_constant(name, ints)))
}

pub(super) fn concat(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let axis = node.attributes.int("axis")?.ok_or_else(|| missing("axis"))?;
    super::fixed(node, Op::Concat { axis }, node.operand_count())
}

/// Sizes are an attribute before operator set 13.
pub(super) fn split(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let op = Op::Split { axis: node.attributes.int("axis")?.unwrap_or(0) };
    let x = node.operand(0)?;
    if node.operator_set() < 13 {
        node.at_most(1)?;
        let sizes = ints_operand(node, "split")?;
        return node.push_all(op, vec![Some(x), sizes]);
    }
    node.at_most(2)?;
    let parts = node.attributes.int("num_outputs")?;
    if parts.is_some_and(|parts| parts != node.result_count() as i64) {
        let results = node.result_count();
        return Err(Fault::Invalid(format!("num_outputs does not fit {results} results")));
    }
    node.push_all(op, node.operands())
}

/// Bounds are attributes before operator set 10.
pub(super) fn slice(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    if node.operator_set() >= 10 {
        node.at_most(5)?;
        return node.push(Op::Slice, node.operands());
    }
    node.at_most(1)?;
    let x = node.operand(0)?;
    let starts = ints_operand(node, "starts")?.ok_or_else(|| missing("starts"))?;
    let ends = ints_operand(node, "ends")?.ok_or_else(|| missing("ends"))?;
    let axes = ints_operand(node, "axes")?;
    node.push(Op::Slice, vec![Some(x), Some(starts), Some(ends), axes])
}

/// Pads and value are attributes before operator set 11.
pub(super) fn pad(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let mode = node.attributes.string("mode")?.unwrap_or("constant");
    if mode != "constant" {
        return Err(Fault::Unsupported(format!("padding of mode `{mode}`")));
    }
    if node.operator_set() >= 11 {
        node.at_most(4)?;
        return node.push(Op::Pad, node.operands());
    }
    node.at_most(1)?;
    let x = node.operand(0)?;
    let pads = ints_operand(node, "pads")?.ok_or_else(|| missing("pads"))?;
    let value = node.attributes.float("value")?;
    let value = value.map(|value| node.add_constant("value", Tensor::scalar(value)));
    node.push(Op::Pad, vec![Some(x), Some(pads), value])
}

pub(super) fn reshape(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let allow_zero = node.attributes.flag("allowzero")?;
    super::fixed(node, Op::Reshape { allow_zero }, 2)
}

pub(super) fn flatten(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let axis = node.attributes.int("axis")?.unwrap_or(1);
    super::fixed(node, Op::Flatten { axis }, 1)
}

/// Without `perm` the axes are reversed.
pub(super) fn transpose(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let perm = match node.attributes.ints("perm")? {
        Some(perm) => perm
            .iter()
            .map(|&axis| usize::try_from(axis))
            .collect::<Result<_, _>>()
            .map_err(|_| Fault::Invalid(format!("attribute `perm` is {perm:?}")))?,
        None => (0..node.shape(0)?.len()).rev().collect(),
    };
    super::fixed(node, Op::Transpose { perm }, 1)
}

/// Squeeze and Unsqueeze: axes are an attribute before operator set 13.
pub(super) fn with_axes(
    node: &mut NodeContext<'_, '_>,
    op: Op,
    required: bool,
) -> Result<(), Fault> {
    let x = node.operand(0)?;
    let axes = if node.operator_set() < 13 {
        node.at_most(1)?;
        ints_operand(node, "axes")?
    } else {
        node.at_most(2)?;
        node.optional(1)
    };
    if required && axes.is_none() {
        return Err(missing("axes"));
    }
    node.push(op, vec![Some(x), axes])
}

pub(super) fn gather(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let axis = node.attributes.int("axis")?.unwrap_or(0);
    super::fixed(node, Op::Gather { axis }, 2)
}

pub(super) fn shape(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let start = node.attributes.int("start")?.unwrap_or(0);
    let end = node.attributes.int("end")?;
    super::fixed(node, Op::Shape { start, end }, 1)
}

/// The number of elements.
pub(super) fn size(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(1)?;
    // At most 2^31.
    let count = node.shape(0)?.iter().product::<usize>() as i64;
    let count = Tensor::new(Vec::new(), Data::I64(vec![count]))
        .map_err(|error| Fault::Invalid(error.to_string()))?;
    node.define(count);
    Ok(())
}

pub(super) fn depth_to_space(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let block = node.attributes.int("blocksize")?.ok_or_else(|| missing("blocksize"))?;
    let block = usize::try_from(block)
        .map_err(|_| Fault::Invalid(format!("attribute `blocksize` is {block}")))?;
    let column_row_depth = match node.attributes.string("mode")?.unwrap_or("DCR") {
        "DCR" => false,
        "CRD" => true,
        other => return Err(Fault::Invalid(format!("attribute `mode` is `{other}`"))),
    };
    super::fixed(node, Op::DepthToSpace { block, column_row_depth }, 1)
}

/// The value stands in one of several attributes, by its type.
pub(super) fn constant(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(0)?;
    let attributes = &node.attributes;
    for name in ["sparse_value", "value_string", "value_strings"] {
        attributes.ignore(name);
    }
    let scalar = |data| Tensor::new(Vec::new(), data).ok();
    let value = if let Some(tensor) = attributes.tensor("value")? {
        Some(node.read_tensor(tensor)?)
    } else if let Some(value) = attributes.int("value_int")? {
        scalar(Data::I64(vec![value]))
    } else if let Some(values) = attributes.ints("value_ints")? {
        Some(Tensor::from_i64(values.to_vec()))
    } else if let Some(value) = attributes.float("value_float")? {
        Some(Tensor::scalar(value))
    } else if let Some(values) = attributes.floats("value_floats")? {
        Tensor::from_f32(vec![values.len()], values.to_vec()).ok()
    } else {
        None
    };
    let value = value.ok_or_else(|| {
        Fault::Unsupported("neither numbers nor truth values (strings, sparse)".to_owned())
    })?;
    node.define(value);
    Ok(())
}

/// Full of the float 0 unless stated otherwise.
pub(super) fn constant_of_shape(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let (value, data_type) = match node.attributes.tensor("value")? {
        None => (0.0, DataType::F32),
        Some(tensor) => {
            let tensor = node.read_tensor(tensor)?;
            if tensor.len() != 1 {
                let count = tensor.len();
                let reason = format!("attribute `value` has {count} elements, expected 1");
                return Err(Fault::Invalid(reason));
            }
            exact_float(&tensor)
                .ok_or_else(|| Fault::Unsupported("a value that no float holds".to_owned()))?
        }
    };
    super::fixed(node, Op::ConstantOfShape { value, data_type }, 1)
}

pub(super) fn range(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    super::fixed(node, Op::Range, 3)
}
