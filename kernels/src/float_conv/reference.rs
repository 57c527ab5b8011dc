//! The definition of the sums, in plain Rust.

use crate::{ConvGeometry, MapRows};
use std::ops::Range;

/// See [`FloatConv::accumulate`](super::FloatConv::accumulate), which has checked the lengths.
/// `weights` are `[out_channels, kernel_h, kernel_w, in_channels / groups]`; `add_product` gets a weight,
/// an input and the sum so far.
pub(super) fn accumulate(
    geometry: &ConvGeometry,
    padded_width: usize,
    weights: &[f32],
    source: MapRows<'_, f32>,
    rows: Range<usize>,
    out: &mut [f32],
    add_product: impl Fn(f32, f32, f32) -> f32,
) {
    let channels = geometry.in_channels;
    let [kernel_height, kernel_width] = geometry.kernel;
    let group_inputs = channels / geometry.groups;
    let group_outputs = geometry.out_channels / geometry.groups;
    let width = geometry.output()[1];
    let positions = rows.flat_map(|y| (0..width).map(move |x| (y, x)));
    for ((y, x), out) in positions.zip(out.chunks_exact_mut(geometry.out_channels)) {
        let filters = weights.chunks_exact(geometry.products());
        for (channel, (out, filter)) in out.iter_mut().zip(filters).enumerate() {
            let group = channel / group_outputs;
            let mut sum = 0.0_f32;
            for ky in 0..kernel_height {
                let row = y * geometry.stride[0] + ky * geometry.dilation[0] - source.first;
                for kx in 0..kernel_width {
                    let column = x * geometry.stride[1] + kx * geometry.dilation[1];
                    let at = (row * padded_width + column) * channels + group * group_inputs;
                    let tap = (ky * kernel_width + kx) * group_inputs;
                    for (value, weight) in source.values[at..at + group_inputs]
                        .iter()
                        .zip(&filter[tap..tap + group_inputs])
                    {
                        sum = add_product(*weight, *value, sum);
                    }
                }
            }
            *out = sum;
        }
    }
}
