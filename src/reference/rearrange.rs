//! Operators that move elements without changing them.

use super::strided::{Positions, row_major_strides, take};
use super::{Operands, Reason};
use crate::graph::shape::{axis_index, pad_amounts, slice_cuts};
use crate::graph::{Data, Tensor};

pub(super) fn transpose(x: &Tensor, perm: &[usize], shape: Vec<usize>) -> Result<Tensor, Reason> {
    let strides = row_major_strides(x.shape());
    let strides = perm.iter().map(|&axis| strides[axis]).collect();
    let data = take(x.data(), Positions::new(&shape, strides, 0));
    Ok(Tensor::new(shape, data)?)
}

pub(super) fn expand(x: &Tensor, shape: Vec<usize>) -> Result<Tensor, Reason> {
    let data = take(x.data(), Positions::broadcast(x.shape(), &shape));
    Ok(Tensor::new(shape, data)?)
}

/// `x, starts, ends, axes?, steps?`.
pub(super) fn slice(operands: &Operands<'_>, shape: Vec<usize>) -> Result<Tensor, Reason> {
    let x = operands.get(0)?;
    let (starts, ends) = (operands.i64(1)?, operands.i64(2)?);
    let (axes, steps) = (operands.optional_i64(3)?, operands.optional_i64(4)?);
    let cuts = slice_cuts(x.shape(), starts, ends, axes, steps)?;
    let whole = row_major_strides(x.shape());
    let offset = cuts.iter().zip(&whole).map(|(cut, &stride)| cut.start * stride as usize).sum();
    let strides = cuts.iter().zip(&whole).map(|(cut, &stride)| cut.step * stride).collect();
    let data = take(x.data(), Positions::new(&shape, strides, offset));
    Ok(Tensor::new(shape, data)?)
}

/// The parts of `x` along an axis.
pub(super) fn split(x: &Tensor, axis: i64, shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, Reason> {
    let axis = axis_index(axis, x.shape().len())?;
    let strides = row_major_strides(x.shape());
    let mut start = 0;
    let mut parts = Vec::with_capacity(shapes.len());
    for shape in shapes {
        let offset = start * strides[axis] as usize;
        let data = take(x.data(), Positions::new(shape, strides.clone(), offset));
        parts.push(Tensor::new(shape.clone(), data)?);
        start += shape[axis];
    }
    Ok(parts)
}

/// Joins tensors along an axis.
pub(super) fn concat(parts: &[&Tensor], axis: i64, shape: Vec<usize>) -> Result<Tensor, Reason> {
    let axis = axis_index(axis, shape.len())?;
    let outer: usize = shape[..axis].iter().product();
    /// For each index before the axis the blocks of all parts in turn.
    fn join<T: Copy>(parts: &[(&[T], usize)], outer: usize) -> Vec<T> {
        let blocks = (0..outer).flat_map(|i| parts.iter().map(move |part| (i, part)));
        blocks.flat_map(|(i, &(values, block))| &values[i * block..][..block]).copied().collect()
    }
    let blocks = parts.iter().map(|part| part.shape()[axis..].iter().product::<usize>());
    let Some(first) = parts.first() else {
        return Err(Reason("has no operands".to_owned()));
    };
    macro_rules! join_as {
        ($kind:ident) => {{
            let mut slices = Vec::with_capacity(parts.len());
            for (part, block) in parts.iter().zip(blocks) {
                let Data::$kind(values) = part.data() else {
                    return Err(Reason("the operands have different element types".to_owned()));
                };
                slices.push((values.as_slice(), block));
            }
            Data::$kind(join(&slices, outer))
        }};
    }
    let data = match first.data() {
        Data::F32(_) => join_as!(F32),
        Data::I64(_) => join_as!(I64),
        Data::Bool(_) => join_as!(Bool),
    };
    Ok(Tensor::new(shape, data)?)
}

/// `x, pads, value?, axes?`: surrounds with a constant; negative pads cut off.
pub(super) fn pad(operands: &Operands<'_>, shape: Vec<usize>) -> Result<Tensor, Reason> {
    let x = operands.get(0)?;
    let amounts = pad_amounts(operands.i64(1)?, operands.optional_i64(3)?, x.shape().len())?;

    /// Copies the part of `x` that stays into its place in a tensor full of the constant.
    fn surround<T: Copy>(
        x: &[T],
        from: Positions,
        to: Positions,
        value: T,
        count: usize,
    ) -> Vec<T> {
        let mut y = vec![value; count];
        for (source, target) in from.zip(to) {
            y[target] = x[source];
        }
        y
    }
    // What stays, where it starts in `x`, and where in the result.
    let mut kept = Vec::with_capacity(shape.len());
    let (mut source, mut target) = (0, 0);
    let (x_strides, y_strides) = (row_major_strides(x.shape()), row_major_strides(&shape));
    for (axis, &[before, after]) in amounts.iter().enumerate() {
        let cut = before.min(0).unsigned_abs() as usize;
        let cut_after = after.min(0).unsigned_abs() as usize;
        kept.push(x.shape()[axis].saturating_sub(cut).saturating_sub(cut_after));
        source += cut * x_strides[axis] as usize;
        target += before.max(0) as usize * y_strides[axis] as usize;
    }
    let from = Positions::new(&kept, x_strides, source);
    let to = Positions::new(&kept, y_strides, target);
    let count = shape.iter().product();
    let value = operands.optional(2);
    let wrong_type = || Reason("the value has another element type than x".to_owned());
    let data = match (x.data(), value.map(Tensor::data)) {
        (Data::F32(x), None) => Data::F32(surround(x, from, to, 0.0, count)),
        (Data::F32(x), Some(Data::F32(v))) => Data::F32(surround(x, from, to, v[0], count)),
        (Data::I64(x), None) => Data::I64(surround(x, from, to, 0, count)),
        (Data::I64(x), Some(Data::I64(v))) => Data::I64(surround(x, from, to, v[0], count)),
        (Data::Bool(x), None) => Data::Bool(surround(x, from, to, false, count)),
        (Data::Bool(x), Some(Data::Bool(v))) => Data::Bool(surround(x, from, to, v[0], count)),
        _ => return Err(wrong_type()),
    };
    Ok(Tensor::new(shape, data)?)
}

/// Entries of an axis by number; negative numbers count from the end.
pub(super) fn gather(
    x: &Tensor,
    indices: &Tensor,
    axis: i64,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let axis = axis_index(axis, x.shape().len())?;
    let size = x.shape()[axis];
    let indices: Vec<usize> = indices
        .i64()?
        .iter()
        .map(|&index| {
            axis_index(index, size)
                .map_err(|_| Reason(format!("index {index} is outside of {size} entries")))
        })
        .collect::<Result<_, _>>()?;
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    let positions = (0..outer).flat_map(|block| {
        indices.iter().flat_map(move |&index| {
            let first = (block * size + index) * inner;
            first..first + inner
        })
    });
    let data = take(x.data(), positions);
    Ok(Tensor::new(shape, data)?)
}

/// The `block * block` channels of each depth become the pixels of a block. In the input they are
/// ordered block row, block column, depth (ONNX "DCR") or depth, block row, block column ("CRD",
/// `column_row_depth`).
pub(super) fn depth_to_space(
    x: &Tensor,
    block: usize,
    column_row_depth: bool,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let &[batch, channels, height, width] = x.shape() else {
        return Err(Reason("x does not have four dimensions".to_owned()));
    };
    let depth = channels / (block * block);
    // As batch, depth, height, block row, width, block column.
    let split = [batch, depth, height, block, width, block];
    let map = (height * width) as isize;
    let (block_size, depth_size) = (block as isize, depth as isize);
    let (depth_stride, row_stride, column_stride) = if column_row_depth {
        (block_size * block_size * map, block_size * map, map)
    } else {
        (map, block_size * depth_size * map, depth_size * map)
    };
    let strides =
        vec![channels as isize * map, depth_stride, width as isize, row_stride, 1, column_stride];
    let data = take(x.data(), Positions::new(&split, strides, 0));
    Ok(Tensor::new(shape, data)?)
}
