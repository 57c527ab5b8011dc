//! Output sizes of convolutions and pools.

use super::ShapeError;
use crate::graph::{ConvAttributes, PoolAttributes};

/// Largest kernel size, stride, dilation or padding: keeps every sum and product below in 64 bits.
const LIMIT: usize = 1 << 24;

fn check_attributes(
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
) -> Result<(), ShapeError> {
    for (what, sizes) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
        if sizes.iter().any(|&size| size == 0 || size > LIMIT) {
            return Err(ShapeError(format!("{what} is {sizes:?}, expected 1 to {LIMIT}")));
        }
    }
    if pads.iter().any(|&pad| pad > LIMIT) {
        return Err(ShapeError(format!("pads are {pads:?}, expected at most {LIMIT}")));
    }
    Ok(())
}

/// Batch, channels, height and width.
fn map_shape(x: &[usize]) -> Result<[usize; 4], ShapeError> {
    let shape = <[usize; 4]>::try_from(x).map_err(|_| {
        ShapeError(format!("x has shape {x:?}, expected batch, channels, height and width"))
    })?;
    if shape[2..].iter().any(|&size| size > super::MAX_ELEMENTS) {
        return Err(ShapeError(format!("x has shape {x:?}, which is too large")));
    }
    Ok(shape)
}

/// Output shape of a convolution: `floor((size + pads - dilated kernel) / stride) + 1` per axis.
pub(super) fn conv_output(
    attributes: &ConvAttributes,
    x: &[usize],
    weights: &[usize],
) -> Result<Vec<usize>, ShapeError> {
    let ConvAttributes { kernel, stride, dilation, pads, groups } = *attributes;
    check_attributes(kernel, stride, dilation, pads)?;
    let [batch, channels, height, width] = map_shape(x)?;
    let [out_channels, group_channels, kernel_height, kernel_width] =
        <[usize; 4]>::try_from(weights).map_err(|_| {
            ShapeError(format!("weights have shape {weights:?}, expected four dimensions"))
        })?;
    if [kernel_height, kernel_width] != kernel {
        return Err(ShapeError(format!(
            "weights have shape {weights:?}, which is not a kernel of {kernel:?}"
        )));
    }
    if groups == 0 || group_channels.checked_mul(groups) != Some(channels) {
        return Err(ShapeError(format!(
            "x has {channels} channels, weights of shape {weights:?} in {groups} groups expect {}",
            group_channels.saturating_mul(groups)
        )));
    }
    if out_channels % groups != 0 {
        return Err(ShapeError(format!(
            "{groups} groups do not divide {out_channels} output channels"
        )));
    }
    let mut output = [0; 2];
    for axis in 0..2 {
        let padded = [height, width][axis] + pads[axis] + pads[axis + 2];
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        if extent > padded {
            return Err(ShapeError(format!(
                "a kernel of {extent} does not fit into {padded} pixels (padding included)"
            )));
        }
        output[axis] = (padded - extent) / stride[axis] + 1;
    }
    Ok(vec![batch, out_channels, output[0], output[1]])
}

/// Output shape of a pool. With `ceil_mode` the number of windows is rounded up, but no window starts
/// in the padding after the map (as in ONNX and PyTorch).
///
/// `need_pixel` asks for at least one pixel of the map in every window.
pub(crate) fn pool_output(
    attributes: &PoolAttributes,
    x: &[usize],
    need_pixel: bool,
) -> Result<Vec<usize>, ShapeError> {
    let PoolAttributes { kernel, stride, dilation, pads, ceil_mode, .. } = *attributes;
    check_attributes(kernel, stride, dilation, pads)?;
    let [batch, channels, height, width] = map_shape(x)?;
    let mut output = [0; 2];
    for axis in 0..2 {
        let size = [height, width][axis];
        let padded = size + pads[axis] + pads[axis + 2];
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        if extent > padded {
            return Err(ShapeError(format!(
                "a window of {extent} does not fit into {padded} pixels (padding included)"
            )));
        }
        let room = padded - extent;
        let mut count = room / stride[axis] + 1;
        if ceil_mode && room % stride[axis] != 0 && count * stride[axis] < size + pads[axis] {
            count += 1;
        }
        if need_pixel {
            // The first window that could miss the map is the first one, the last that could is the
            // last one; windows between them hold a pixel unless they stride over the whole map.
            let holds_pixel = |window: usize| {
                let start = window * stride[axis];
                // The first tap that does not lie before the map.
                let tap = pads[axis].saturating_sub(start).div_ceil(dilation[axis]);
                tap < kernel[axis] && start + tap * dilation[axis] < pads[axis] + size
            };
            if !holds_pixel(0) || !holds_pixel(count - 1) {
                return Err(ShapeError::new("a window lies wholly in the padding"));
            }
        }
        output[axis] = count;
    }
    Ok(vec![batch, channels, output[0], output[1]])
}
