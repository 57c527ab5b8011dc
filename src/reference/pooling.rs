//! Pooling over windows.

use super::Reason;
use crate::graph::{PoolAttributes, Tensor};

/// The places that one window covers along one axis.
struct Window {
    /// Pixels of the map.
    pixels: Vec<usize>,
    /// Pixels and padding, without what lies past the padding (`ceil_mode` may reach there).
    counted: usize,
}

/// The windows along one axis (0 vertical, 1 horizontal).
fn windows(attributes: &PoolAttributes, axis: usize, size: usize, outputs: usize) -> Vec<Window> {
    let PoolAttributes { kernel, stride, dilation, pads, .. } = attributes;
    let (before, after) = (pads[axis], pads[axis + 2]);
    let window = |output| {
        let taps = (0..kernel[axis]).map(|tap| output * stride[axis] + tap * dilation[axis]);
        let counted: Vec<usize> = taps.filter(|&at| at < before + size + after).collect();
        let pixels = counted.iter().filter(|&&at| at >= before && at < before + size);
        Window { pixels: pixels.map(|&at| at - before).collect(), counted: counted.len() }
    };
    (0..outputs).map(window).collect()
}

/// Applies a function of a map and the windows over it, rows and columns, to every output.
fn pool(
    attributes: &PoolAttributes,
    x: &Tensor,
    shape: Vec<usize>,
    statistic: impl Fn(&[f32], usize, &Window, &Window) -> f32,
) -> Result<Tensor, Reason> {
    let (height, width) = (x.shape()[2], x.shape()[3]);
    let rows = windows(attributes, 0, height, shape[2]);
    let columns = windows(attributes, 1, width, shape[3]);
    let mut y = Vec::with_capacity(shape.iter().product());
    let maps = x.shape()[0] * x.shape()[1];
    let data = x.f32()?;
    for map in 0..maps {
        let map = &data[map * height * width..][..height * width];
        for row in &rows {
            for column in &columns {
                y.push(statistic(map, width, row, column));
            }
        }
    }
    Ok(Tensor::from_f32(shape, y)?)
}

/// The largest pixel of each window.
pub(super) fn max_pool(
    attributes: &PoolAttributes,
    x: &Tensor,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    pool(attributes, x, shape, |map, width, rows, columns| {
        let mut maximum = f32::NEG_INFINITY;
        for &row in &rows.pixels {
            for &column in &columns.pixels {
                let value = map[row * width + column];
                maximum = if value > maximum { value } else { maximum };
            }
        }
        maximum
    })
}

/// The mean of each window: summed from +0 in the order row, column, then divided by the number of
/// pixels (with `count_include_pad`: pixels and padding).
pub(super) fn average_pool(
    attributes: &PoolAttributes,
    x: &Tensor,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    pool(attributes, x, shape, |map, width, rows, columns| {
        let mut sum = 0.0;
        for &row in &rows.pixels {
            for &column in &columns.pixels {
                sum += map[row * width + column];
            }
        }
        let count = if attributes.count_include_pad {
            rows.counted * columns.counted
        } else {
            rows.pixels.len() * columns.pixels.len()
        };
        sum / count as f32
    })
}
