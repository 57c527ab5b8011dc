//! Border classes: output pixels grouped by which taps of their window lie inside the map.

use crate::{ConvGeometry, bit_string::count_ones};
use std::{collections::HashMap, ops::Range};

/// Taps of one axis that lie inside the map when the window starts at `start` (padded coordinates):
/// a contiguous range, `0..0` where there are none.
pub(crate) fn taps_inside(
    start: usize,
    kernel: usize,
    dilation: usize,
    pad: usize,
    extent: usize,
) -> Range<usize> {
    let first = pad.saturating_sub(start).div_ceil(dilation);
    let end = (pad + extent)
        .saturating_sub(start)
        .div_ceil(dilation)
        .min(kernel);
    if first < end { first..end } else { 0..0 }
}

/// The classes of one axis.
#[derive(Debug, Clone)]
struct AxisClasses {
    /// Class of each output position.
    of_position: Vec<u32>,
    /// Taps inside the map, per class.
    taps: Vec<Range<usize>>,
}

impl AxisClasses {
    fn new(geometry: &ConvGeometry, axis: usize) -> Self {
        let mut taps = Vec::new();
        let mut known = HashMap::new();
        let of_position = (0..geometry.output()[axis])
            .map(|position| {
                let inside = taps_inside(
                    position * geometry.stride[axis],
                    geometry.kernel[axis],
                    geometry.dilation[axis],
                    geometry.pads[axis],
                    geometry.input[axis],
                );
                *known.entry((inside.start, inside.end)).or_insert_with(|| {
                    taps.push(inside);
                    (taps.len() - 1) as u32
                })
            })
            .collect();
        Self { of_position, taps }
    }
}

/// Output pixels of a convolution grouped by the set of taps inside the map.
///
/// Because windows are rectangles, the set is a product of a set of kernel rows and a set of kernel
/// columns; the classes are the products of the classes of the two axes. A 3x3 kernel with padding 1
/// has 9 on a large map, 1 on a map of one pixel.
#[derive(Debug, Clone)]
pub struct BorderClasses {
    rows: AxisClasses,
    columns: AxisClasses,
    kernel: [usize; 2],
    /// Input channels of a group.
    channels: usize,
    out_channels: usize,
}

#[expect(clippy::len_without_is_empty, reason = "there is always a class")]
impl BorderClasses {
    /// The classes of a layer.
    ///
    /// # Panics
    /// If the geometry is not valid.
    pub fn new(geometry: &ConvGeometry) -> Self {
        Self {
            rows: AxisClasses::new(geometry, 0),
            columns: AxisClasses::new(geometry, 1),
            kernel: geometry.kernel,
            channels: geometry.in_channels / geometry.groups,
            out_channels: geometry.out_channels,
        }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.rows.taps.len() * self.columns.taps.len()
    }

    /// Class of the output pixel in row `y` and column `x`.
    ///
    /// # Panics
    /// If there is no such pixel.
    pub fn class(&self, y: usize, x: usize) -> usize {
        self.rows.of_position[y] as usize * self.columns.taps.len()
            + self.columns.of_position[x] as usize
    }

    /// Kernel rows and kernel columns inside the map.
    fn inside(&self, class: usize) -> [Range<usize>; 2] {
        let columns = self.columns.taps.len();
        [
            self.rows.taps[class / columns].clone(),
            self.columns.taps[class % columns].clone(),
        ]
    }

    /// Number of products that count in a sum: taps inside the map times input channels of a group.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn taps(&self, class: usize) -> usize {
        let [rows, columns] = self.inside(class);
        rows.len() * columns.len() * self.channels
    }

    /// Sum of the weights (±1) under the taps inside the map, per output channel.
    ///
    /// `weights` is one dense bit string `[out_channels, kernel_h, kernel_w, in_channels / groups]`.
    ///
    /// # Panics
    /// If there is no such class, or if `weights` is too short.
    pub fn weight_sums(&self, class: usize, weights: &[u64]) -> Vec<i32> {
        let [rows, columns] = self.inside(class);
        let taps = self.taps(class) as i64;
        (0..self.out_channels)
            .map(|channel| {
                let ones: usize = rows
                    .clone()
                    .map(|row| {
                        let tap = |column| {
                            ((channel * self.kernel[0] + row) * self.kernel[1] + column)
                                * self.channels
                        };
                        count_ones(weights, tap(columns.start)..tap(columns.end))
                    })
                    .sum();
                (2 * ones as i64 - taps) as i32
            })
            .collect()
    }
}
