//! Operators that repeat what is there: they become concatenations of the same tensor.

use super::rearrange::missing;
use crate::graph::{Op, Tensor, ValueId};
use crate::import::onnx::node::{Fault, NodeContext};

/// Most copies of a tensor; a file that asks for more has something else in mind.
const MOST_COPIES: usize = 256;

/// So many copies of a value, joined along an axis.
fn copies(
    node: &mut NodeContext<'_, '_>,
    x: ValueId,
    count: usize,
    axis: i64,
) -> Result<ValueId, Fault> {
    if count > MOST_COPIES {
        return Err(Fault::Unsupported(format!("{count} copies, at most {MOST_COPIES} are")));
    }
    node.push_part(Op::Concat { axis }, vec![Some(x); count])
}

fn identity(node: &mut NodeContext<'_, '_>, x: ValueId) -> Result<(), Fault> {
    node.push(Op::Unary(crate::graph::UnaryOp::Identity), vec![Some(x)])
}

/// A shape as an operand. Sizes are at most 2^31.
fn shape_operand(node: &mut NodeContext<'_, '_>, shape: &[usize]) -> ValueId {
    let sizes = shape.iter().map(|&size| size as i64).collect();
    node.add_constant("shape", Tensor::from_i64(sizes))
}

pub(super) fn tile(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(2)?;
    let (mut x, rank) = (node.operand(0)?, node.shape(0)?.len());
    let repeats = node.constant(1).and_then(|repeats| repeats.i64().ok());
    let Some(repeats) = repeats.map(<[i64]>::to_vec) else {
        return Err(Fault::Unsupported("repeats that are not constant".to_owned()));
    };
    if repeats.len() != rank || repeats.iter().any(|&count| count < 1) {
        return Err(Fault::Invalid(format!("repeats {repeats:?} do not fit {rank} dimensions")));
    }
    for (axis, &count) in repeats.iter().enumerate().filter(|&(_, &count)| count > 1) {
        x = copies(node, x, usize::try_from(count).unwrap_or(usize::MAX), axis as i64)?;
    }
    identity(node, x)
}

/// Upsample (operator sets 7 to 9): scales are an attribute before operator set 9.
pub(super) fn upsample(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let mode = node.attributes.string("mode")?.unwrap_or("nearest");
    if mode != "nearest" {
        return Err(Fault::Unsupported(format!("interpolation `{mode}`")));
    }
    let scales = match node.attributes.floats("scales")? {
        Some(scales) => {
            node.at_most(1)?;
            Some(scales.to_vec())
        }
        None => {
            node.at_most(2)?;
            floats(node, 1)
        }
    };
    let scales = scales.ok_or_else(|| missing("scales"))?;
    repeat_pixels(node, &scales, |index, scale| (index as f64 / scale).floor())
}

/// The contents of an operand of floats, if there are any.
fn floats(node: &NodeContext<'_, '_>, index: usize) -> Option<Vec<f32>> {
    let values = node.constant(index)?.f32().ok()?;
    (!values.is_empty()).then(|| values.to_vec())
}

/// Which pixel of the source the pixel of an enlarged axis is nearest to.
type Nearest = fn(usize, f64) -> f64;

/// Resize: `x, scales` in operator set 10, `x, roi, scales, sizes` from then on.
pub(super) fn resize(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    let attributes = &node.attributes;
    let mode = attributes.string("mode")?.unwrap_or("nearest");
    let transformation =
        attributes.string("coordinate_transformation_mode")?.unwrap_or("half_pixel");
    let rounding = attributes.string("nearest_mode")?.unwrap_or("round_prefer_floor");
    // These concern other interpolations than the nearest pixel.
    for name in ["antialias", "cubic_coeff_a", "exclude_outside", "extrapolation_value"] {
        attributes.ignore(name);
    }
    if attributes.ints("axes")?.is_some() {
        return Err(Fault::Unsupported("a choice of axes".to_owned()));
    }
    attributes.ignore("keep_aspect_ratio_policy");
    if mode != "nearest" {
        return Err(Fault::Unsupported(format!("interpolation `{mode}`")));
    }
    if node.operator_set() < 11 {
        node.at_most(2)?;
        let scales = floats(node, 1).ok_or_else(|| missing("scales"))?;
        return repeat_pixels(node, &scales, |index, scale| (index as f64 / scale).floor());
    }
    node.at_most(4)?;
    let shape = node.shape(0)?;
    let sizes = node.constant(3).and_then(|sizes| sizes.i64().ok());
    let scales = match (floats(node, 2), sizes) {
        (Some(scales), _) => scales,
        (None, Some(sizes)) if sizes.len() == shape.len() && !shape.contains(&0) => {
            sizes.iter().zip(&shape).map(|(&to, &from)| to as f32 / from as f32).collect()
        }
        _ => return Err(Fault::Unsupported("sizes that are not constant".to_owned())),
    };
    let nearest: Nearest = match (transformation, rounding) {
        ("asymmetric", "floor") => |index, scale| (index as f64 / scale).floor(),
        ("asymmetric", "round_prefer_floor") => |index, scale| (index as f64 / scale - 0.5).ceil(),
        ("half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric", "round_prefer_floor") => {
            |index, scale| ((index as f64 + 0.5) / scale - 1.0).ceil()
        }
        ("half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric", "round_prefer_ceil") => {
            |index, scale| ((index as f64 + 0.5) / scale).floor()
        }
        _ => {
            let reason = format!("nearest pixels by `{transformation}` and `{rounding}`");
            return Err(Fault::Unsupported(reason));
        }
    };
    repeat_pixels(node, &scales, nearest)
}

/// Repeats every pixel of a map so many times in both directions, if that is what the scales and the
/// rule mean: copies of the map in channels of their own, which become the pixels of blocks.
fn repeat_pixels(
    node: &mut NodeContext<'_, '_>,
    scales: &[f32],
    nearest: impl Fn(usize, f64) -> f64,
) -> Result<(), Fault> {
    let (x, shape) = (node.operand(0)?, node.shape(0)?);
    let &[batch, channels, height, width] = shape.as_slice() else {
        return Err(Fault::Unsupported(format!("{} dimensions; four are", shape.len())));
    };
    let refused = || {
        Fault::Unsupported(format!("scales {scales:?}; pixels can be repeated whole times only"))
    };
    let &[batch_scale, channel_scale, rows, columns] = scales else { return Err(refused()) };
    let whole = |scale: f32| {
        let count = if (1.0..=16.0).contains(&scale) { scale as usize } else { 0 };
        let repeats = (0..2 * count).all(|at| nearest(at, f64::from(scale)) == (at / count) as f64);
        (count as f32 == scale && repeats).then_some(count).ok_or_else(refused)
    };
    if [batch_scale, channel_scale] != [1.0, 1.0] {
        return Err(refused());
    }
    let (rows, columns) = (whole(rows)?, whole(columns)?);
    if rows * columns == 1 {
        return identity(node, x);
    }
    let blocks = copies(node, x, rows * columns, 1)?;
    let split = shape_operand(node, &[batch, rows, columns, channels, height, width]);
    let reshape = Op::Reshape { allow_zero: true };
    let blocks = node.push_part(reshape.clone(), vec![Some(blocks), Some(split)])?;
    let op = Op::Transpose { perm: vec![0, 3, 4, 1, 5, 2] };
    let blocks = node.push_part(op, vec![Some(blocks)])?;
    let joined = shape_operand(node, &[batch, channels, height * rows, width * columns]);
    node.push(reshape, vec![Some(blocks), Some(joined)])
}

/// Blocks of pixels become blocks of channels.
pub(super) fn space_to_depth(node: &mut NodeContext<'_, '_>) -> Result<(), Fault> {
    node.at_most(1)?;
    let block = node.attributes.int("blocksize")?.ok_or_else(|| missing("blocksize"))?;
    let (x, shape) = (node.operand(0)?, node.shape(0)?);
    let block = usize::try_from(block).ok().filter(|&block| block > 0);
    let (Some(block), &[batch, channels, height, width]) = (block, shape.as_slice()) else {
        return Err(Fault::Invalid(format!("shape {shape:?} has no blocks of {block:?}")));
    };
    if height % block != 0 || width % block != 0 {
        return Err(Fault::Invalid(format!("blocks of {block} do not divide shape {shape:?}")));
    }
    let (rows, columns) = (height / block, width / block);
    let split = shape_operand(node, &[batch, channels, rows, block, columns, block]);
    let reshape = Op::Reshape { allow_zero: true };
    let pixels = node.push_part(reshape.clone(), vec![Some(x), Some(split)])?;
    let op = Op::Transpose { perm: vec![0, 3, 5, 1, 2, 4] };
    let pixels = node.push_part(op, vec![Some(pixels)])?;
    let joined = shape_operand(node, &[batch, channels * block * block, rows, columns]);
    node.push(reshape, vec![Some(pixels), Some(joined)])
}
