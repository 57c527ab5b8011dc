//! Matrix products.

use super::elementwise::broadcast_f32;
use super::strided::Positions;
use super::{Operands, Products, Reason};
use crate::graph::Tensor;

/// Adds the product of an `[rows, inner]` and an `[inner, columns]` matrix to zeros, in the order of the
/// inner dimension. Operands are given by functions of row and column, so that transposition is the
/// caller's matter.
fn product(
    [rows, inner, columns]: [usize; 3],
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    products: Products,
) -> Vec<f32> {
    let mut y = vec![0.0_f32; rows * columns];
    if columns == 0 {
        return y;
    }
    for (row, sums) in y.chunks_exact_mut(columns).enumerate() {
        for k in 0..inner {
            let left = a(row, k);
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = products.add(left, b(k, column), *sum);
            }
        }
    }
    y
}

/// `alpha * a' b' + beta * c`.
pub(super) fn gemm(
    operands: &Operands<'_>,
    shape: Vec<usize>,
    [alpha, beta]: [f32; 2],
    [trans_a, trans_b]: [bool; 2],
    products: Products,
) -> Result<Tensor, Reason> {
    let (a, b) = (operands.f32(0)?, operands.f32(1)?);
    let (a_shape, b_shape) = (operands.get(0)?.shape(), operands.get(1)?.shape());
    let inner = if trans_a { a_shape[0] } else { a_shape[1] };
    let (a_width, b_width) = (a_shape[1], b_shape[1]);
    let mut y = product(
        [shape[0], inner, shape[1]],
        |row, k| {
            if trans_a { a[k * a_width + row] } else { a[row * a_width + k] }
        },
        |k, column| {
            if trans_b { b[column * b_width + k] } else { b[k * b_width + column] }
        },
        products,
    );
    if alpha != 1.0 {
        y.iter_mut().for_each(|y| *y *= alpha);
    }
    if let Some(c) = operands.optional(2) {
        for (y, c) in y.iter_mut().zip(broadcast_f32(c, &shape)?) {
            *y += beta * c;
        }
    }
    Ok(Tensor::from_f32(shape, y)?)
}

/// NumPy `matmul`; see the shape rule for the treatment of one-dimensional operands and batches.
pub(super) fn matmul(
    a: &Tensor,
    b: &Tensor,
    shape: Vec<usize>,
    products: Products,
) -> Result<Tensor, Reason> {
    let (a_data, b_data) = (a.f32()?, b.f32()?);
    let (a_batch, rows, inner) = match a.shape() {
        [batch @ .., rows, inner] => (batch, *rows, *inner),
        other => (&other[..0], 1, a.len()),
    };
    let (b_batch, columns) = match b.shape() {
        [batch @ .., _, columns] => (batch, *columns),
        other => (&other[..0], 1),
    };
    let batch = crate::graph::broadcast_shapes(a_batch, b_batch)?;
    let mut y = Vec::with_capacity(shape.iter().product());
    let pairs = Positions::broadcast(a_batch, &batch).zip(Positions::broadcast(b_batch, &batch));
    for (i, j) in pairs {
        let (a, b) = (&a_data[i * rows * inner..], &b_data[j * inner * columns..]);
        y.extend(product(
            [rows, inner, columns],
            |row, k| a[row * inner + k],
            |k, column| b[k * columns + column],
            products,
        ));
    }
    Ok(Tensor::from_f32(shape, y)?)
}
