//! Shapes of operators that move elements without changing them, and what their integer operands
//! mean once negative axes, defaults and clamps are settled.

use super::{ShapeError, element_count};

/// The axis that a possibly negative number names.
pub(crate) fn axis_index(axis: i64, rank: usize) -> Result<usize, ShapeError> {
    let signed_rank = rank as i64;
    if (-signed_rank..signed_rank).contains(&axis) {
        let axis = if axis < 0 { axis + signed_rank } else { axis };
        return Ok(axis as usize);
    }
    Err(ShapeError(format!("axis {axis} is outside of {rank} dimensions")))
}

/// For each axis whether the list names it.
///
/// # Errors
/// If an axis is named twice or does not exist.
fn axis_set(axes: &[i64], rank: usize) -> Result<Vec<bool>, ShapeError> {
    let mut named = vec![false; rank];
    for &axis in axes {
        let index = axis_index(axis, rank)?;
        if std::mem::replace(&mut named[index], true) {
            return Err(ShapeError(format!("axes {axes:?} name axis {index} twice")));
        }
    }
    Ok(named)
}

/// For each axis whether a reduction runs over it: all where none are named.
pub(crate) fn reduced_axes(axes: Option<&[i64]>, rank: usize) -> Result<Vec<bool>, ShapeError> {
    match axes {
        None | Some([]) => Ok(vec![true; rank]),
        Some(axes) => axis_set(axes, rank),
    }
}

/// The shape without the marked axes, or with length 1 there.
pub(super) fn without(shape: &[usize], marked: &[bool], keep: bool) -> Vec<usize> {
    let axes = shape.iter().zip(marked);
    axes.filter(|&(_, &marked)| keep || !marked)
        .map(|(&size, &marked)| if marked { 1 } else { size })
        .collect()
}

/// The part of one axis that a Slice keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// First index kept; 0 where nothing is.
    pub(crate) start: usize,
    /// Distance to the next index.
    pub(crate) step: isize,
    /// Number of indices kept.
    pub(crate) count: usize,
}

/// What a Slice keeps of each axis.
pub(crate) fn slice_cuts(
    shape: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Cut>, ShapeError> {
    let count = starts.len();
    let fits = |list: Option<&[i64]>| list.is_none_or(|list| list.len() == count);
    if ends.len() != count || !fits(axes) || !fits(steps) || count > shape.len() {
        return Err(ShapeError(format!(
            "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} do not cut a tensor \
             of shape {shape:?}"
        )));
    }
    let mut cuts: Vec<Cut> =
        shape.iter().map(|&size| Cut { start: 0, step: 1, count: size }).collect();
    let default_axes: Vec<i64> = (0..count as i64).collect();
    let axes = axes.unwrap_or(&default_axes);
    axis_set(axes, shape.len())?;
    for (index, &axis) in axes.iter().enumerate() {
        let axis = axis_index(axis, shape.len())?;
        let step = steps.map_or(1, |steps| steps[index]);
        cuts[axis] = cut(shape[axis], starts[index], ends[index], step)?;
    }
    Ok(cuts)
}

/// One axis of a Slice, clamped as in ONNX.
fn cut(size: usize, start: i64, end: i64, step: i64) -> Result<Cut, ShapeError> {
    if step == 0 {
        return Err(ShapeError::new("a step is 0"));
    }
    let signed_size =
        i64::try_from(size).map_err(|_| ShapeError(format!("an axis has {size} elements")))?;
    let from_front = |at: i64| {
        if at < 0 { at.saturating_add(signed_size) } else { at }
    };
    let (start, end) = (from_front(start), from_front(end));
    let (start, end) = if step > 0 {
        (start.clamp(0, signed_size), end.clamp(0, signed_size))
    } else {
        (start.clamp(-1, signed_size - 1), end.clamp(-1, signed_size - 1))
    };
    let span = if step > 0 { end - start } else { start - end };
    let stride = step.unsigned_abs();
    let count = u64::try_from(span).map_or(0, |span| span.div_ceil(stride));
    if count == 0 {
        return Ok(Cut { start: 0, step: 1, count: 0 });
    }
    // A step that leads out of the axis is never taken, so its size does not matter.
    let step = if count == 1 { 1 } else { step as isize };
    Ok(Cut { start: start as usize, step, count: count as usize })
}

/// Elements added (or, negative, removed) before and after each axis.
pub(crate) fn pad_amounts(
    pads: &[i64],
    axes: Option<&[i64]>,
    rank: usize,
) -> Result<Vec<[i64; 2]>, ShapeError> {
    let mut amounts = vec![[0; 2]; rank];
    let all: Vec<i64> = (0..rank as i64).collect();
    let axes = axes.unwrap_or(&all);
    axis_set(axes, rank)?;
    if pads.len() != 2 * axes.len() {
        return Err(ShapeError(format!(
            "{} pads for {} axes, expected two each",
            pads.len(),
            axes.len()
        )));
    }
    for (index, &axis) in axes.iter().enumerate() {
        amounts[axis_index(axis, rank)?] = [pads[index], pads[index + axes.len()]];
    }
    Ok(amounts)
}

/// The shape after padding.
pub(super) fn padded(shape: &[usize], amounts: &[[i64; 2]]) -> Result<Vec<usize>, ShapeError> {
    let axes = shape.iter().zip(amounts);
    axes.map(|(&size, &[before, after])| {
        let total = i128::from(before) + i128::from(after) + size as i128;
        usize::try_from(total).map_err(|_| {
            ShapeError(format!("pads {before} and {after} do not fit an axis of {size} elements"))
        })
    })
    .collect()
}

/// Sizes of the parts of a Split.
pub(crate) fn split_sizes(
    given: Option<&[i64]>,
    size: usize,
    parts: usize,
) -> Result<Vec<usize>, ShapeError> {
    let sizes = match given {
        Some(sizes) => super::sizes(sizes, "sizes")?,
        None => {
            // Equal parts; where that does not divide, the last one is smaller (ONNX opset 18).
            let part = size.div_ceil(parts.max(1));
            (0..parts).map(|index| part.min(size.saturating_sub(index * part))).collect()
        }
    };
    let total = sizes.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
    if sizes.len() != parts || total != Some(size) {
        return Err(ShapeError(format!(
            "{size} elements do not split into {parts} parts of sizes {sizes:?}"
        )));
    }
    Ok(sizes)
}

/// The shape of a concatenation.
pub(super) fn concat(parts: &[&[usize]], axis: i64) -> Result<Vec<usize>, ShapeError> {
    let [first, rest @ ..] = parts else {
        return Err(ShapeError::new("has no operands"));
    };
    let axis = axis_index(axis, first.len())?;
    let mut shape = first.to_vec();
    for part in rest {
        let fits = part.len() == shape.len()
            && (0..shape.len()).all(|other| other == axis || part[other] == shape[other]);
        if !fits {
            return Err(ShapeError(format!(
                "shapes {first:?} and {part:?} do not join along axis {axis}"
            )));
        }
        shape[axis] = shape[axis]
            .checked_add(part[axis])
            .ok_or_else(|| ShapeError::new("the joined axis is too long"))?;
    }
    Ok(shape)
}

/// The shape that a Reshape asks for: 0 copies a dimension of the input (unless `allow_zero`), -1 is
/// what is left over.
pub(super) fn reshape(
    shape: &[usize],
    wanted: &[i64],
    allow_zero: bool,
) -> Result<Vec<usize>, ShapeError> {
    let fail = |why: &str| ShapeError(format!("shape {shape:?} cannot become {wanted:?}: {why}"));
    let elements = element_count(shape)?;
    let mut result = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &size) in wanted.iter().enumerate() {
        result.push(match size {
            -1 if open.is_some() => return Err(fail("-1 stands there twice")),
            -1 => {
                open = Some(axis);
                1
            }
            0 if !allow_zero => *shape
                .get(axis)
                .ok_or_else(|| fail("0 copies a dimension that the input does not have"))?,
            size => usize::try_from(size).map_err(|_| fail("a size is negative"))?,
        });
    }
    let fixed = element_count(&result)?;
    if let Some(axis) = open {
        if fixed == 0 || elements % fixed != 0 {
            return Err(fail("the sizes do not divide the number of elements"));
        }
        result[axis] = elements / fixed;
    } else if fixed != elements {
        return Err(fail(&format!(
            "{elements} elements against {fixed} (for a batch of one image)"
        )));
    }
    Ok(result)
}

/// The two dimensions that a Flatten leaves.
pub(super) fn flatten(shape: &[usize], axis: i64) -> Result<Vec<usize>, ShapeError> {
    // Unlike elsewhere, the axis may also be the one past the last.
    let axis =
        if axis == shape.len() as i64 { shape.len() } else { axis_index(axis, shape.len())? };
    Ok(vec![element_count(&shape[..axis])?, element_count(&shape[axis..])?])
}

/// The shape after a permutation of the axes.
pub(super) fn transpose(shape: &[usize], perm: &[usize]) -> Result<Vec<usize>, ShapeError> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..shape.len()) {
        return Err(ShapeError(format!("{perm:?} does not permute the axes of shape {shape:?}")));
    }
    Ok(perm.iter().map(|&axis| shape[axis]).collect())
}

/// The shape without axes of length 1: the ones named, or all.
pub(super) fn squeeze(shape: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, ShapeError> {
    let Some(axes) = axes else {
        return Ok(shape.iter().copied().filter(|&size| size != 1).collect());
    };
    let named = axis_set(axes, shape.len())?;
    if let Some(axis) = (0..shape.len()).find(|&axis| named[axis] && shape[axis] != 1) {
        return Err(ShapeError(format!("axis {axis} of shape {shape:?} does not have length 1")));
    }
    Ok(without(shape, &named, false))
}

/// The shape with new axes of length 1 at the places named in the result.
pub(super) fn unsqueeze(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>, ShapeError> {
    let new = axis_set(axes, shape.len() + axes.len())?;
    let mut old = shape.iter();
    // As many axes are not new as the input has.
    Ok(new.iter().map(|&new| if new { 1 } else { *old.next().unwrap_or(&1) }).collect())
}

/// The shape after blocks of channels became blocks of pixels.
pub(super) fn depth_to_space(shape: &[usize], block: usize) -> Result<Vec<usize>, ShapeError> {
    let fail = || ShapeError(format!("shape {shape:?} does not unfold into blocks of {block}"));
    let &[batch, channels, height, width] = shape else {
        return Err(fail());
    };
    let area = block.checked_mul(block).filter(|&area| area > 0).ok_or_else(fail)?;
    if channels % area != 0 {
        return Err(fail());
    }
    let scaled = |size: usize| size.checked_mul(block).ok_or_else(fail);
    Ok(vec![batch, channels / area, scaled(height)?, scaled(width)?])
}
