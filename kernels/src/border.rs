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
    let end = (pad + extent).saturating_sub(start).div_ceil(dilation).min(kernel);
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
        [self.rows.taps[class / columns].clone(), self.columns.taps[class % columns].clone()]
    }

    /// Number of products that count in a sum: taps inside the map times input channels of a group.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn taps(&self, class: usize) -> usize {
        let [rows, columns] = self.inside(class);
        rows.len() * columns.len() * self.channels
    }

    /// Sums of the weights (±1) under the taps inside the map, `[class][out_channels]`.
    ///
    /// `weights` is one dense bit string `[out_channels, kernel_h, kernel_w, in_channels / groups]`.
    ///
    /// # Panics
    /// If `weights` is too short.
    pub fn weight_sums(&self, weights: &[u64]) -> Vec<i32> {
        self.sums_of_taps(&self.tap_ones(weights))
    }

    /// Number of weights +1 of each tap, `[out_channels][kernel_h][kernel_w]`.
    pub(crate) fn tap_ones(&self, weights: &[u64]) -> Vec<u32> {
        let taps = self.out_channels * self.kernel[0] * self.kernel[1];
        if self.channels.is_multiple_of(64) {
            let words = self.channels / 64;
            let taps = weights[..taps * words].chunks_exact(words);
            return taps.map(|words| words.iter().map(|word| word.count_ones()).sum()).collect();
        }
        (0..taps)
            .map(|tap| count_ones(weights, tap * self.channels..(tap + 1) * self.channels) as u32)
            .collect()
    }

    /// [`BorderClasses::weight_sums`] from [`BorderClasses::tap_ones`].
    ///
    /// With `P(y, x)` the ones of all taps above `y` and left of `x`, a rectangle has
    /// `P(y1, x1) - P(y0, x1) - P(y1, x0) + P(y0, x0)` of them.
    pub(crate) fn sums_of_taps(&self, tap_ones: &[u32]) -> Vec<i32> {
        let [height, width] = self.kernel;
        let at = |y: usize, x: usize| y * (width + 1) + x;
        let corners: Vec<([usize; 4], i64)> = (0..self.len())
            .map(|class| {
                let [rows, columns] = self.inside(class);
                let corners = [
                    at(rows.end, columns.end),
                    at(rows.start, columns.end),
                    at(rows.end, columns.start),
                    at(rows.start, columns.start),
                ];
                (corners, self.taps(class) as i64)
            })
            .collect();
        let mut sums = vec![0; corners.len() * self.out_channels];
        let mut before = vec![0; (height + 1) * (width + 1)];
        for (channel, ones) in tap_ones.chunks_exact(height * width).enumerate() {
            for (y, ones) in ones.chunks_exact(width).enumerate() {
                let mut row = 0;
                for (x, &ones) in ones.iter().enumerate() {
                    row += i64::from(ones);
                    before[at(y + 1, x + 1)] = before[at(y, x + 1)] + row;
                }
            }
            for (class, &([all, above, left, both], taps)) in corners.iter().enumerate() {
                let ones = before[all] - before[above] - before[left] + before[both];
                sums[class * self.out_channels + channel] = (2 * ones - taps) as i32;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bit_string::bit;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn geometry(input: [usize; 2], kernel: [usize; 2], pads: [usize; 4]) -> ConvGeometry {
        ConvGeometry {
            in_channels: 3,
            out_channels: 2,
            input,
            kernel,
            stride: [1, 1],
            dilation: [1, 1],
            pads,
            groups: 1,
        }
    }

    #[test]
    fn numbers_of_classes() {
        let classes =
            |input, kernel, pads| BorderClasses::new(&geometry(input, kernel, pads)).len();
        assert_eq!(classes([9, 9], [3, 3], [1; 4]), 9);
        assert_eq!(classes([1, 1], [3, 3], [1; 4]), 1);
        assert_eq!(classes([2, 9], [3, 3], [1; 4]), 6);
        assert_eq!(classes([9, 9], [3, 3], [0; 4]), 1);
        assert_eq!(classes([9, 9], [3, 3], [0, 0, 1, 1]), 4);
        assert_eq!(classes([9, 9], [5, 5], [2; 4]), 25);
        let strided = ConvGeometry { stride: [2, 2], ..geometry([8, 8], [3, 3], [1; 4]) };
        assert_eq!(BorderClasses::new(&strided).len(), 4);
        let dilated = ConvGeometry { dilation: [4, 4], ..geometry([9, 9], [3, 3], [4; 4]) };
        assert_eq!(BorderClasses::new(&dilated).len(), 9);
    }

    proptest! {
        #[test]
        fn classes_are_the_distinct_sets_of_taps(
            input in [1..7_usize, 1..7_usize],
            kernel in [1..5_usize, 1..5_usize],
            stride in [1..4_usize, 1..4_usize],
            dilation in [1..4_usize, 1..4_usize],
            pads in [0..5_usize, 0..5_usize, 0..5_usize, 0..5_usize],
            words in [any::<u64>(), any::<u64>()],
        ) {
            let geometry = ConvGeometry { stride, dilation, ..geometry(input, kernel, pads) };
            prop_assume!(geometry.validate().is_ok());
            let products = geometry.products();
            prop_assert!(2 * products <= 128);
            let classes = BorderClasses::new(&geometry);
            let [height, width] = geometry.output();
            let mut seen = vec![None; classes.len()];
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let taps: BTreeSet<_> = (0..kernel[0] * kernel[1])
                    .filter(|tap| {
                        let y = y * stride[0] + tap / kernel[1] * dilation[0];
                        let x = x * stride[1] + tap % kernel[1] * dilation[1];
                        (pads[0]..pads[0] + input[0]).contains(&y)
                            && (pads[1]..pads[1] + input[1]).contains(&x)
                    })
                    .collect();
                let class = classes.class(y, x);
                prop_assert_eq!(classes.taps(class), taps.len() * 3);
                let sums: Vec<i32> = (0..2)
                    .map(|o| {
                        let bits = taps.iter().flat_map(|tap| (0..3).map(move |c| tap * 3 + c));
                        bits.map(|at| if bit(&words, o * products + at) { 1 } else { -1 }).sum()
                    })
                    .collect();
                prop_assert_eq!(&classes.weight_sums(&words)[2 * class..][..2], sums);
                match &seen[class] {
                    None => seen[class] = Some(taps),
                    Some(others) => prop_assert_eq!(others, &taps),
                }
            }
            // Every class occurs, and different classes have different taps (an empty row or column
            // set empties the product, whatever the other axis holds).
            let sets: Vec<_> = seen.into_iter().collect::<Option<_>>().expect("every class occurs");
            let filled: Vec<_> = sets.iter().filter(|taps| !taps.is_empty()).collect();
            prop_assert_eq!(filled.iter().collect::<BTreeSet<_>>().len(), filled.len());
        }
    }
}
