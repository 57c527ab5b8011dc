//! Convolution.

use super::{Operands, Reason};
use crate::graph::{ConvAttributes, Tensor};
use bnn_kernels::{Products, Tap, add_tap_products};
use std::ops::Range;

/// `y[o][oy][ox] = bias[o] + sum over ky, kx, c of w[o][c][ky][kx] * x[c][iy][ix]` with
/// `iy = oy * stride + ky * dilation - pad`, over the taps that lie in the map: each product is added
/// as `products` says, in the order in which the sum is written, starting at +0; the bias comes last.
pub(super) fn convolve(
    attributes: &ConvAttributes,
    operands: &Operands<'_>,
    shape: Vec<usize>,
    products: Products,
) -> Result<Tensor, Reason> {
    let ConvAttributes { kernel, stride, dilation, pads, groups } = *attributes;
    let (x, weights) = (operands.f32(0)?, operands.f32(1)?);
    let bias = operands.optional(2).map(Tensor::f32).transpose()?;
    let (x_shape, weights_shape) = (operands.get(0)?.shape(), operands.get(1)?.shape());
    let (in_channels, height, width) = (x_shape[1], x_shape[2], x_shape[3]);
    let (out_channels, group_inputs) = (weights_shape[0], weights_shape[1]);
    let (out_height, out_width) = (shape[2], shape[3]);
    let map = height * width;
    let taps = kernel[0] * kernel[1];

    let mut y = vec![0.0_f32; shape.iter().product()];
    if y.is_empty() {
        return Ok(Tensor::from_f32(shape, y)?);
    }
    for (plane, sums) in y.chunks_exact_mut(out_height * out_width).enumerate() {
        let (image, o) = (plane / out_channels, plane % out_channels);
        let first_input = o / (out_channels / groups) * group_inputs;
        for ky in 0..kernel[0] {
            let rows = inside(height, ky * dilation[0], pads[0], stride[0], out_height);
            for kx in 0..kernel[1] {
                let columns = inside(width, kx * dilation[1], pads[1], stride[1], out_width);
                if rows.is_empty() || columns.is_empty() || group_inputs == 0 {
                    continue;
                }
                let iy = rows.start * stride[0] + ky * dilation[0] - pads[0];
                let ix = columns.start * stride[1] + kx * dilation[1] - pads[1];
                let tap = Tap {
                    channels: group_inputs,
                    weight_step: taps,
                    plane: map,
                    size: [rows.len(), columns.len()],
                    pixel_steps: [stride[0] * width, stride[1]],
                    sum_step: out_width,
                };
                let weights = &weights[o * group_inputs * taps + ky * kernel[1] + kx..];
                let first_plane = (image * in_channels + first_input) * map;
                let pixels = &x[first_plane + iy * width + ix..];
                let sums = &mut sums[rows.start * out_width + columns.start..];
                add_tap_products(products, &tap, weights, pixels, sums);
            }
        }
        if let Some(bias) = bias {
            for sum in sums {
                *sum += bias[o];
            }
        }
    }
    Ok(Tensor::from_f32(shape, y)?)
}

/// The output positions at which the tap `offset` pixels into the window lies in the map.
fn inside(size: usize, offset: usize, pad: usize, stride: usize, outputs: usize) -> Range<usize> {
    // pad <= output * stride + offset < size + pad
    let first = pad.saturating_sub(offset).div_ceil(stride);
    let end = (size + pad).saturating_sub(offset).div_ceil(stride).min(outputs);
    first..end.max(first)
}
