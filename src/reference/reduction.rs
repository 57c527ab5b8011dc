//! Statistics over whole axes.

use super::Reason;
use super::strided::{Positions, row_major_strides};
use crate::graph::shape::{axis_index, reduced_axes};
use crate::graph::{Data, ReduceKind, Tensor};

/// For each element of `x`, in row-major order, the position of the result that it belongs to.
fn results_of_elements(shape: &[usize], reduced: &[bool]) -> Positions {
    let kept: Vec<usize> =
        shape.iter().zip(reduced).map(|(&size, &reduced)| if reduced { 1 } else { size }).collect();
    let strides = row_major_strides(&kept);
    let strides = strides.into_iter().zip(reduced).map(|(s, &reduced)| if reduced { 0 } else { s });
    Positions::new(shape, strides.collect(), 0)
}

/// How floats are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Summation {
    /// In f32, one after the other, as the engine sums data.
    InOrder,
    /// In f64, rounded once: what is known before the network runs need not lose digits. The scale
    /// of a binary layer is the mean over millions of latent weights.
    Wide,
}

/// Reduction over all axes from the third on.
pub(super) fn global(
    kind: ReduceKind,
    x: &Tensor,
    shape: Vec<usize>,
    summation: Summation,
) -> Result<Tensor, Reason> {
    let reduced: Vec<bool> = (0..x.shape().len()).map(|axis| axis >= 2).collect();
    over(kind, x, &reduced, shape, summation)
}

/// Reduction over the axes named, or over all. Sums over more than two axes are taken in two steps, the
/// last two axes first: the pixels of each channel, then the channels. That is the order of the
/// engine, and it keeps digits that one long sum would lose.
pub(super) fn reduce(
    kind: ReduceKind,
    x: &Tensor,
    axes: Option<&[i64]>,
    shape: Vec<usize>,
    summation: Summation,
) -> Result<Tensor, Reason> {
    let reduced = reduced_axes(axes, x.shape().len())?;
    let is_sum = matches!(kind, ReduceKind::Mean | ReduceKind::Sum);
    let pixels: Vec<usize> =
        (0..reduced.len()).rev().filter(|&axis| reduced[axis]).take(2).collect();
    let rest = reduced.iter().filter(|&&reduced| reduced).count() - pixels.len();
    if !is_sum || rest == 0 || summation == Summation::Wide {
        return over(kind, x, &reduced, shape, summation);
    }
    let is_pixel = |axis: usize| pixels.contains(&axis);
    let extent = |axis: usize| if is_pixel(axis) { 1 } else { x.shape()[axis] };
    let between = (0..reduced.len()).map(extent).collect();
    let inner: Vec<bool> = (0..reduced.len()).map(is_pixel).collect();
    let sums = over(kind, x, &inner, between, summation)?;
    over(kind, &sums, &reduced, shape, summation)
}

/// Takes one more element into a statistic; nothing on overflow.
type Step<T> = fn(T, T) -> Option<T>;

/// Elements are taken in row-major order; sums start at +0; a mean is a sum divided by the count.
fn over(
    kind: ReduceKind,
    x: &Tensor,
    reduced: &[bool],
    shape: Vec<usize>,
    summation: Summation,
) -> Result<Tensor, Reason> {
    let results = shape.iter().product::<usize>();
    let positions = results_of_elements(x.shape(), reduced);
    let is_sum = matches!(kind, ReduceKind::Mean | ReduceKind::Sum);
    let data = match x.data() {
        Data::F32(values) if is_sum && summation == Summation::Wide => {
            let mut y = vec![0.0_f64; results];
            for (&value, at) in values.iter().zip(positions) {
                y[at] += f64::from(value);
            }
            let count = match kind {
                ReduceKind::Mean if results > 0 => (values.len() / results) as f64,
                _ => 1.0,
            };
            Data::F32(y.into_iter().map(|sum| (sum / count) as f32).collect())
        }
        Data::F32(values) => {
            let (start, step): (f32, fn(f32, f32) -> f32) = match kind {
                ReduceKind::Mean | ReduceKind::Sum => (0.0, |sum, v| sum + v),
                ReduceKind::Max => (f32::NEG_INFINITY, |best, v| if v > best { v } else { best }),
                ReduceKind::Min => (f32::INFINITY, |best, v| if v < best { v } else { best }),
            };
            let mut y = vec![start; results];
            for (&value, at) in values.iter().zip(positions) {
                y[at] = step(y[at], value);
            }
            if kind == ReduceKind::Mean && results > 0 {
                let count = (values.len() / results) as f32;
                y.iter_mut().for_each(|y| *y /= count);
            }
            Data::F32(y)
        }
        Data::I64(values) => {
            let (start, step): (i64, Step<i64>) = match kind {
                ReduceKind::Mean | ReduceKind::Sum => (0, i64::checked_add),
                ReduceKind::Max => (i64::MIN, |best, v| Some(best.max(v))),
                ReduceKind::Min => (i64::MAX, |best, v| Some(best.min(v))),
            };
            let mut y = vec![start; results];
            for (&value, at) in values.iter().zip(positions) {
                y[at] = step(y[at], value).ok_or_else(|| Reason("integer overflow".to_owned()))?;
            }
            if kind == ReduceKind::Mean && results > 0 {
                let count = (values.len() / results) as i64;
                y.iter_mut().for_each(|y| *y /= count.max(1));
            }
            Data::I64(y)
        }
        Data::Bool(_) => return Err(Reason("truth values cannot be reduced".to_owned())),
    };
    Ok(Tensor::new(shape, data)?)
}

/// The index of the first of the largest elements along an axis.
pub(super) fn arg_max(x: &Tensor, axis: i64, shape: Vec<usize>) -> Result<Tensor, Reason> {
    fn first_of_largest<T: Copy + PartialOrd>(
        values: &[T],
        classes: usize,
        inner: usize,
    ) -> Vec<i64> {
        let outer = values.len() / (classes * inner).max(1);
        let places = (0..outer * inner).map(|place| (place / inner, place % inner));
        places
            .map(|(block, offset)| {
                let at = |class: usize| values[(block * classes + class) * inner + offset];
                let best = (1..classes).fold(
                    0,
                    |best, class| {
                        if at(class) > at(best) { class } else { best }
                    },
                );
                // Sizes are at most 2^31.
                best as i64
            })
            .collect()
    }
    let axis = axis_index(axis, x.shape().len())?;
    let (classes, inner) = (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>());
    let indices = match x.data() {
        Data::F32(values) => first_of_largest(values, classes, inner),
        Data::I64(values) => first_of_largest(values, classes, inner),
        Data::Bool(values) => first_of_largest(values, classes, inner),
    };
    Ok(Tensor::new(shape, Data::I64(indices))?)
}
