//! Convolutions and pools.

use crate::graph::{ConvAttributes, Op, PoolAttributes};
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

/// The window of a node; paddings that are only implied are worked out.
fn window(node: &NodeContext<'_, '_>, kernel: [usize; 2]) -> Result<Window, Fault> {
    let shape = node.shape(0)?;
    let stride: [usize; 2] = entries(node, "strides", Some(1))?;
    let dilation: [usize; 2] = entries(node, "dilations", Some(1))?;
    let explicit: [usize; 4] = entries(node, "pads", Some(0))?;
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

/// Refuses maps that do not have rows and columns.
fn check_map(node: &NodeContext<'_, '_>) -> Result<(), Fault> {
    match node.shape(0)?.len() {
        4 => Ok(()),
        rank @ (3 | 5..) => Err(Fault::Unsupported(format!(
            "windows over {} dimensions; only two are supported",
            rank - 2
        ))),
        rank => Err(Fault::Invalid(format!("x has {rank} dimensions, expected 4"))),
    }
}

pub(super) fn conv(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(3)?;
    check_map(node)?;
    let weights = node.shape(1)?;
    let &[_, _, height, width] = weights.as_slice() else {
        return Err(Fault::Invalid(format!("weights have shape {weights:?}")));
    };
    // The attribute only repeats what the weights say; a contradiction is found with the shapes.
    let kernel = match node.attributes.ints("kernel_shape")? {
        Some(_) => entries(node, "kernel_shape", None)?,
        None => [height, width],
    };
    let Window { kernel, stride, dilation, pads } = window(node, kernel)?;
    let groups = node.attributes.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups)
        .map_err(|_| Fault::Invalid(format!("attribute `group` is {groups}")))?;
    let op = Op::Conv(ConvAttributes { kernel, stride, dilation, pads, groups });
    node.push(op, node.operands())
}

fn pool(node: &NodeContext<'_, '_>) -> Result<PoolAttributes, Fault> {
    node.at_most(1)?;
    check_map(node)?;
    let Window { kernel, stride, dilation, pads } =
        window(node, entries(node, "kernel_shape", None)?)?;
    let ceil_mode = node.attributes.flag("ceil_mode")?;
    let count_include_pad = node.attributes.flag("count_include_pad")?;
    Ok(PoolAttributes { kernel, stride, dilation, pads, ceil_mode, count_include_pad })
}

pub(super) fn max_pool(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    // Concerns the indices of the maxima, a second result that is not provided.
    node.attributes.ignore("storage_order");
    let op = Op::MaxPool(pool(node)?);
    node.push(op, node.operands())
}

pub(super) fn average_pool(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let op = Op::AveragePool(pool(node)?);
    node.push(op, node.operands())
}
