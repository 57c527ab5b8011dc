//! Matrix products.

use super::elementwise::broadcast_f32;
use super::strided::Positions;
use super::{Operands, Reason};
use crate::graph::Tensor;
use bnn_kernels::{Products, Tap, add_tap_products};

/// A matrix, as a view of its elements that may be transposed: floats between neighbouring rows and columns.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    elements: &'a [f32],
    steps: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Of elements in rows of `width`.
    fn new(elements: &'a [f32], width: usize) -> Self {
        Self { elements, steps: [width, 1] }
    }

    fn transposed_if(self, transposed: bool) -> Self {
        let [rows, columns] = self.steps;
        Self { steps: if transposed { [columns, rows] } else { self.steps }, ..self }
    }
}

/// Adds the product of an `[rows, inner]` and an `[inner, columns]` matrix to zeros, in the order of the
/// inner dimension.
fn product(
    [rows, inner, columns]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    products: Products,
) -> Vec<f32> {
    let mut y = vec![0.0_f32; rows * columns];
    if columns == 0 || inner == 0 {
        return y;
    }
    let tap = Tap {
        channels: inner,
        weight_step: a.steps[1],
        plane: b.steps[0],
        size: [1, columns],
        pixel_steps: [0, b.steps[1]],
        sum_step: columns,
    };
    for (row, sums) in y.chunks_exact_mut(columns).enumerate() {
        add_tap_products(products, &tap, &a.elements[row * a.steps[0]..], b.elements, sums);
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
    let mut y = product(
        [shape[0], inner, shape[1]],
        Matrix::new(a, a_shape[1]).transposed_if(trans_a),
        Matrix::new(b, b_shape[1]).transposed_if(trans_b),
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
        let (a, b) = (Matrix::new(a, inner), Matrix::new(b, columns));
        y.extend(product([rows, inner, columns], a, b, products));
    }
    Ok(Tensor::from_f32(shape, y)?)
}
