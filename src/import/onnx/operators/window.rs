//! Convolutions and pools. Those over one dimension become those over maps of one row.

use crate::graph::{ConvAttributes, Op, PoolAttributes, Tensor, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

/// What convolutions and pools have in common.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
}

/// Non-negative entries of a list of a given length, or the default where there is no list.
fn entries<const N: usize>(
    node: &NodeContext<'_, '_>,
    name: &'static str,
    default: Option<usize>,
) -> Result<[usize; N], Fault> {
    let Some(list) = node.attributes.ints(name)? else {
        let default =
            default.ok_or_else(|| Fault::Invalid(format!("attribute `{name}` is missing")))?;
        return Ok([default; N]);
    };
    if list.iter().any(|&entry| entry < 0) {
        return Err(Fault::Unsupported(format!("attribute `{name}` is {list:?}")));
    }
    let list: Vec<usize> = list.iter().map(|&entry| entry as usize).collect();
    <[usize; N]>::try_from(list).map_err(|list| {
        Fault::Invalid(format!("attribute `{name}` is {list:?}, expected {N} entries"))
    })
}

/// An entry for rows and one for columns; over one dimension there is no entry for rows.
fn pair(
    node: &NodeContext<'_, '_>,
    name: &'static str,
    default: Option<usize>,
    dimensions: usize,
) -> Result<[usize; 2], Fault> {
    if dimensions == 1 {
        let [entry] = entries(node, name, default)?;
        return Ok([1, entry]);
    }
    entries(node, name, default)
}

/// The window of a node; paddings that are only implied are worked out.
fn window(
    node: &NodeContext<'_, '_>,
    kernel: [usize; 2],
    dimensions: usize,
) -> Result<Window, Fault> {
    let mut shape = node.shape(0)?;
    if dimensions == 1 {
        shape.insert(2, 1);
    }
    let stride = pair(node, "strides", Some(1), dimensions)?;
    let dilation = pair(node, "dilations", Some(1), dimensions)?;
    let explicit: [usize; 4] = if dimensions == 1 {
        let [before, after] = entries(node, "pads", Some(0))?;
        [0, before, 0, after]
    } else {
        entries(node, "pads", Some(0))?
    };
    let auto_pad = node.attributes.string("auto_pad")?.unwrap_or("NOTSET");
    let pads = match auto_pad {
        "NOTSET" | "" => explicit,
        "VALID" => [0; 4],
        "SAME_UPPER" | "SAME_LOWER" => {
            let mut pads = [0; 4];
            for axis in 0..2 {
                let total =
                    same_padding(shape[2 + axis], kernel[axis], stride[axis], dilation[axis])
                        .ok_or_else(|| Fault::Invalid("the window is too large".to_owned()))?;
                let (less, more) = (total / 2, total - total / 2);
                let upper = auto_pad == "SAME_UPPER";
                (pads[axis], pads[axis + 2]) = if upper { (less, more) } else { (more, less) };
            }
            pads
        }
        other => return Err(Fault::Invalid(format!("auto_pad is `{other}`"))),
    };
    Ok(Window { kernel, stride, dilation, pads })
}

/// Padding along one axis so that there are `ceil(size / stride)` windows; nothing on overflow.
fn same_padding(size: usize, kernel: usize, stride: usize, dilation: usize) -> Option<usize> {
    if stride == 0 {
        return None;
    }
    let outputs = size.div_ceil(stride);
    let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let covered = outputs.saturating_sub(1).checked_mul(stride)?.checked_add(extent)?;
    Some(covered.saturating_sub(size))
}

/// The number of dimensions that windows run over: two, or one.
fn dimensions(node: &NodeContext<'_, '_>) -> Result<usize, Fault> {
    match node.shape(0)?.len() {
        rank @ (3 | 4) => Ok(rank - 2),
        rank @ 5.. => Err(Fault::Unsupported(format!(
            "windows over {} dimensions; only one or two are supported",
            rank - 2
        ))),
        rank => Err(Fault::Invalid(format!("x has {rank} dimensions, expected 3 or 4"))),
    }
}

/// A tensor `[a, b, length]` as a map of one row, `[a, b, 1, length]`.
fn as_row(node: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId, Fault> {
    let axes = node.add_constant("row", Tensor::from_i64(vec![2]));
    node.push_part(Op::Unsqueeze, vec![Some(x), Some(axes)])
}

/// Adds the operator, with its operands and result as maps of one row where there is one dimension.
/// `maps` is the number of operands that are such maps.
fn push(
    node: &mut NodeContext<'_, '_>,
    op: Op,
    dimensions: usize,
    maps: usize,
) -> Result<(), Fault> {
    let mut operands = node.operands();
    if dimensions == 2 {
        return node.push(op, operands);
    }
    for operand in operands.iter_mut().take(maps) {
        *operand = match *operand {
            Some(x) => Some(as_row(node, x)?),
            None => None,
        };
    }
    let row = node.push_part(op, operands)?;
    let axes = node.add_constant("row", Tensor::from_i64(vec![2]));
    node.push(Op::Squeeze, vec![Some(row), Some(axes)])
}

pub(super) fn conv(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(3)?;
    let dimensions = dimensions(node)?;
    let weights = node.shape(1)?;
    let extents = match (dimensions, weights.as_slice()) {
        (1, &[_, _, width]) => [1, width],
        (2, &[_, _, height, width]) => [height, width],
        _ => return Err(Fault::Invalid(format!("weights have shape {weights:?}"))),
    };
    // The attribute only repeats what the weights say; a contradiction is found with the shapes.
    let kernel = match node.attributes.ints("kernel_shape")? {
        Some(_) => pair(node, "kernel_shape", None, dimensions)?,
        None => extents,
    };
    let Window { kernel, stride, dilation, pads } = window(node, kernel, dimensions)?;
    let groups = node.attributes.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups)
        .map_err(|_| Fault::Invalid(format!("attribute `group` is {groups}")))?;
    let op = Op::Conv(ConvAttributes { kernel, stride, dilation, pads, groups });
    push(node, op, dimensions, 2)
}

fn pool(node: &NodeContext<'_, '_>, dimensions: usize) -> Result<PoolAttributes, Fault> {
    node.at_most(1)?;
    let kernel = pair(node, "kernel_shape", None, dimensions)?;
    let Window { kernel, stride, dilation, pads } = window(node, kernel, dimensions)?;
    let ceil_mode = node.attributes.flag("ceil_mode")?;
    let count_include_pad = node.attributes.flag("count_include_pad")?;
    Ok(PoolAttributes { kernel, stride, dilation, pads, ceil_mode, count_include_pad })
}

pub(super) fn max_pool(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    // Concerns the indices of the maxima, a second result that is not provided.
    node.attributes.ignore("storage_order");
    let dimensions = dimensions(node)?;
    let op = Op::MaxPool(pool(node, dimensions)?);
    push(node, op, dimensions, 1)
}

pub(super) fn average_pool(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let dimensions = dimensions(node)?;
    let op = Op::AveragePool(pool(node, dimensions)?);
    push(node, op, dimensions, 1)
}
