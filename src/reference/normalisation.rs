//! Batch normalisation and softmax.

use super::{Operands, Reason};
use crate::graph::Tensor;
use crate::graph::shape::axis_index;

/// `inv = 1 / sqrt(variance + epsilon)`, `a = gamma * inv`, `b = beta - mean * a`, `y = a * x + b` for
/// the channels in axis 1, each operation rounded.
pub(super) fn batch_normalization(operands: &Operands<'_>, epsilon: f32) -> Result<Tensor, Reason> {
    let x = operands.get(0)?;
    let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|index| operands.f32(index));
    let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
    let channels = x.shape()[1];
    let pixels: usize = x.shape()[2..].iter().product();
    let mut y = x.f32()?.to_vec();
    for (plane, values) in y.chunks_exact_mut(pixels.max(1)).enumerate() {
        let channel = plane % channels;
        let inv = 1.0 / (variance[channel] + epsilon).sqrt();
        let a = gamma[channel] * inv;
        let b = beta[channel] - mean[channel] * a;
        for value in values {
            *value = a * *value + b;
        }
    }
    Ok(Tensor::from_f32(x.shape().to_vec(), y)?)
}

/// `exp(x - max) / sum of exp(x - max)` along an axis, or its logarithm
/// `(x - max) - ln(sum of exp(x - max))`.
pub(super) fn softmax(x: &Tensor, axis: i64, log: bool) -> Result<Tensor, Reason> {
    let shape = x.shape();
    let axis = axis_index(axis, shape.len())?;
    let (classes, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut y = x.f32()?.to_vec();
    for block in y.chunks_exact_mut((classes * inner).max(1)) {
        for offset in 0..inner {
            let of_class = |class: usize| class * inner + offset;
            let mut maximum = f32::NEG_INFINITY;
            for class in 0..classes {
                let value = block[of_class(class)];
                maximum = if value > maximum { value } else { maximum };
            }
            let mut sum = 0.0;
            for class in 0..classes {
                sum += libm::expf(block[of_class(class)] - maximum);
            }
            for class in 0..classes {
                let shifted = block[of_class(class)] - maximum;
                block[of_class(class)] =
                    if log { shifted - libm::logf(sum) } else { libm::expf(shifted) / sum };
            }
        }
    }
    Ok(Tensor::from_f32(shape.to_vec(), y)?)
}
