//! The operators of QONNX.
//!
//! Semantics after the operator descriptions of the QONNX project: values are divided by the scale,
//! shifted by the zero point, brought to integers, and shifted and scaled back, each operation rounded
//! to `f32`.

use super::elementwise::broadcast_f32;
use super::{Operands, Reason};
use crate::graph::{QuantAttributes, RoundingMode, Tensor};

/// `x >= 0 ? scale : -scale`.
pub(super) fn bipolar_quant(
    x: &Tensor,
    scale: &Tensor,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let (x, scale) = (broadcast_f32(x, &shape)?, broadcast_f32(scale, &shape)?);
    let values = x.iter().zip(&scale).map(|(&x, &scale)| if x >= 0.0 { scale } else { -scale });
    Ok(Tensor::from_f32(shape, values.collect())?)
}

/// `2 ^ bits`; exact where the number of bits is whole.
fn power_of_two(bits: f32) -> f32 {
    libm::exp2f(bits)
}

/// Smallest and largest integer of a quantiser.
fn integer_range(attributes: &QuantAttributes, bits: f32) -> (f32, f32) {
    let narrow = if attributes.narrow { 1.0 } else { 0.0 };
    if attributes.signed {
        let half = power_of_two(bits - 1.0);
        (-half + narrow, half - 1.0)
    } else {
        (0.0, power_of_two(bits) - 1.0 - narrow)
    }
}

/// `x, scale, zero_point, bit_width`: `(round(clamp(x / scale + zero_point)) - zero_point) * scale`. A
/// signed integer of one bit is -1 or +1, by `>= 0`.
pub(super) fn quant(
    attributes: &QuantAttributes,
    operands: &Operands<'_>,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let mut y = broadcast_f32(operands.get(0)?, &shape)?;
    let [scale, zero_point, bits] =
        [1, 2, 3].map(|index| operands.get(index).and_then(|t| broadcast_f32(t, &shape)));
    let parameters = scale?.into_iter().zip(zero_point?).zip(bits?);
    for (y, ((scale, zero_point), bits)) in y.iter_mut().zip(parameters) {
        let shifted = *y / scale + zero_point;
        let integer = if attributes.signed && bits == 1.0 {
            if shifted >= 0.0 { 1.0 } else { -1.0 }
        } else {
            let (minimum, maximum) = integer_range(attributes, bits);
            let clamped = if shifted > maximum { maximum } else { shifted };
            let clamped = if clamped < minimum { minimum } else { clamped };
            attributes.rounding.apply(clamped)
        };
        *y = (integer - zero_point) * scale;
    }
    Ok(Tensor::from_f32(shape, y)?)
}

/// `x, scale, zero_point, in_bit_width, out_bit_width`: the integer loses its lowest
/// `in_bit_width - out_bit_width` bits, `y = (round(integer / 2^lost) - zero_point) * scale`.
pub(super) fn trunc(
    rounding: RoundingMode,
    operands: &Operands<'_>,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let mut y = broadcast_f32(operands.get(0)?, &shape)?;
    let [scale, zero_point, bits_in, bits_out] =
        [1, 2, 3, 4].map(|index| operands.get(index).and_then(|t| broadcast_f32(t, &shape)));
    let parameters = scale?.into_iter().zip(zero_point?).zip(bits_in?.into_iter().zip(bits_out?));
    for (y, ((scale, zero_point), (bits_in, bits_out))) in y.iter_mut().zip(parameters) {
        let integer = (*y / scale + zero_point).round_ties_even();
        let truncated = rounding.apply(integer / power_of_two(bits_in - bits_out));
        *y = (truncated - zero_point) * scale;
    }
    Ok(Tensor::from_f32(shape, y)?)
}

/// `out_scale * count(x >= threshold) + out_bias`, with a row of thresholds per channel (axis 1) or one
/// for all.
pub(super) fn multi_threshold(
    x: &Tensor,
    thresholds: &Tensor,
    out_scale: f32,
    out_bias: f32,
) -> Result<Tensor, Reason> {
    let (rows, steps) = (thresholds.shape()[0], thresholds.shape()[1]);
    let thresholds = thresholds.f32()?;
    let shape = x.shape();
    let pixels: usize = shape.iter().skip(2).product();
    let channels = shape.get(1).copied().unwrap_or(1);
    let value = |(index, &x): (usize, &f32)| {
        let channel = index / pixels.max(1) % channels.max(1);
        let row = if rows == 1 { 0 } else { channel };
        let passed = thresholds[row * steps..][..steps].iter().filter(|&&t| x >= t).count();
        out_scale * passed as f32 + out_bias
    };
    let values = x.f32()?.iter().enumerate().map(value).collect();
    Ok(Tensor::from_f32(shape.to_vec(), values)?)
}
