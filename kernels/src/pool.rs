//! Maximum and mean over windows of an f32 map. Windows are clipped to the map.

mod vectors;

use crate::{GeometryError, Isa, MapRows, PoolGeometry};
use std::ops::Range;

/// Maximum over windows.
///
/// Starts at -∞ and takes each tap, in the order row, column, that is greater: padding and NaN never
/// win, and of -0 and +0 the first stays.
#[derive(Debug, Clone)]
pub struct MaxPool {
    windows: Windows,
}

/// Mean over windows: a sum from +0 in the order row, column, divided once by the number of taps.
#[derive(Debug, Clone)]
pub struct AveragePool {
    windows: Windows,
    count_include_pad: bool,
}

impl MaxPool {
    /// Prepares the pool for an instruction set.
    ///
    /// # Errors
    /// One line about a geometry that makes no sense or an instruction set that this processor lacks.
    pub fn new(isa: Isa, geometry: PoolGeometry) -> Result<Self, GeometryError> {
        Ok(Self { windows: Windows::new(isa, geometry)? })
    }

    /// The shape of the layer.
    pub fn geometry(&self) -> &PoolGeometry {
        &self.windows.geometry
    }

    /// The rows of the input that some rows of the output need.
    pub fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        self.windows.rows_read(rows)
    }

    /// Computes some output rows: `input` holds rows of `[width, channels]`, at least the ones that
    /// are [needed](Self::rows_read), `out` is `[rows][out_width][channels]`.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is missing or outside.
    pub fn run(&self, input: MapRows<'_, f32>, rows: Range<usize>, out: &mut [f32]) {
        self.windows.check(input, &rows, out);
        match self.windows.isa {
            Isa::Scalar => self.windows.each(input.first, rows, out, |taps, out| {
                out.fill(f32::NEG_INFINITY);
                taps.for_each(|at| {
                    for (most, &x) in out.iter_mut().zip(&input.values[at..]) {
                        *most = if x > *most { x } else { *most };
                    }
                });
            }),
            // SAFETY: `new` has made sure that the processor has the instruction set, `check` that the
            // slices hold the rows.
            isa => unsafe { vectors::maximum_on(isa, &self.windows, input, rows, out) },
        }
    }
}

impl AveragePool {
    /// Prepares the pool for an instruction set. The divisor is the number of taps in the map, or with
    /// `count_include_pad` of all taps.
    ///
    /// # Errors
    /// One line about a geometry that makes no sense or an instruction set that this processor lacks.
    pub fn new(
        isa: Isa,
        geometry: PoolGeometry,
        count_include_pad: bool,
    ) -> Result<Self, GeometryError> {
        Ok(Self { windows: Windows::new(isa, geometry)?, count_include_pad })
    }

    /// The shape of the layer.
    pub fn geometry(&self) -> &PoolGeometry {
        &self.windows.geometry
    }

    /// The rows of the input that some rows of the output need.
    pub fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        self.windows.rows_read(rows)
    }

    /// Computes some output rows: `input` holds rows of `[width, channels]`, at least the ones that
    /// are [needed](Self::rows_read), `out` is `[rows][out_width][channels]`.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is missing or outside.
    pub fn run(&self, input: MapRows<'_, f32>, rows: Range<usize>, out: &mut [f32]) {
        self.windows.check(input, &rows, out);
        let [height, width] = self.windows.geometry.kernel;
        let divisor = self.count_include_pad.then_some(height * width);
        match self.windows.isa {
            Isa::Scalar => self.windows.each(input.first, rows, out, |taps, out| {
                out.fill(0.0);
                taps.for_each(|at| {
                    for (sum, x) in out.iter_mut().zip(&input.values[at..]) {
                        *sum += x;
                    }
                });
                let divisor = divisor.unwrap_or(taps.count()) as f32;
                out.iter_mut().for_each(|sum| *sum /= divisor);
            }),
            // SAFETY: `new` has made sure that the processor has the instruction set, `check` that the
            // slices hold the rows.
            isa => unsafe { vectors::mean_on(isa, &self.windows, divisor, input, rows, out) },
        }
    }
}

/// The windows of a pool.
#[derive(Debug, Clone)]
struct Windows {
    isa: Isa,
    geometry: PoolGeometry,
    output: [usize; 2],
    /// For each output row and column, the taps that lie in the map: position of the first, and their
    /// number.
    spans: [Vec<(usize, usize)>; 2],
}

/// The taps of one window that lie in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taps {
    /// Element of the input where the first tap starts.
    first: usize,
    /// Taps in the map, vertically and horizontally.
    count: [usize; 2],
    /// Elements from one tap to the next, vertically and horizontally.
    step: [usize; 2],
}

impl Taps {
    fn count(self) -> usize {
        self.count[0] * self.count[1]
    }

    /// Calls `visit` with the first element of each tap, row by row.
    #[inline(always)]
    fn for_each(self, mut visit: impl FnMut(usize)) {
        for ky in 0..self.count[0] {
            for kx in 0..self.count[1] {
                visit(self.first + ky * self.step[0] + kx * self.step[1]);
            }
        }
    }
}

impl Windows {
    fn new(isa: Isa, geometry: PoolGeometry) -> Result<Self, GeometryError> {
        isa.require().map_err(|error| GeometryError(error.to_string()))?;
        geometry.validate()?;
        let output = geometry.output();
        let spans = [0, 1].map(|axis| {
            (0..output[axis]).map(|position| span(&geometry, axis, position)).collect()
        });
        Ok(Self { isa, geometry, output, spans })
    }

    /// The rows of the input that are bounded by taps in the windows of some rows of the output. A
    /// window whose taps are all padding has none.
    fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        rows.map(|row| self.spans[0][row])
            .filter(|&(_, taps)| taps > 0)
            .map(|(first, taps)| first..first + (taps - 1) * self.geometry.dilation[0] + 1)
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(0..0)
    }

    fn check(&self, input: MapRows<'_, f32>, rows: &Range<usize>, out: &[f32]) {
        let PoolGeometry { channels, input: [_, width], .. } = self.geometry;
        let read = self.rows_read(rows.clone());
        let held = input.first..input.first + input.values.len() / (width * channels);
        assert!(read.is_empty() || held.start <= read.start && read.end <= held.end, "rows read");
        assert!(rows.start <= rows.end && rows.end <= self.output[0], "output rows");
        assert_eq!(out.len(), rows.len() * self.output[1] * channels, "output rows");
    }

    /// Calls `visit` with the taps, in an input that begins at row `first`, and the output of each
    /// window of some rows.
    #[inline(always)]
    fn each(
        &self,
        first: usize,
        rows: Range<usize>,
        out: &mut [f32],
        mut visit: impl FnMut(Taps, &mut [f32]),
    ) {
        let channels = self.geometry.channels;
        for (y, row) in rows.zip(out.chunks_exact_mut(self.output[1] * channels)) {
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                visit(self.taps(first, y, x), pixel);
            }
        }
    }

    /// The taps in the map of the window at an output row and column, where the input begins at row
    /// `first`.
    fn taps(&self, first: usize, y: usize, x: usize) -> Taps {
        let PoolGeometry { channels, input: [_, width], dilation, .. } = self.geometry;
        let ((row, rows), (column, columns)) = (self.spans[0][y], self.spans[1][x]);
        Taps {
            // A window without taps lies nowhere.
            first: (row.saturating_sub(first) * width + column) * channels,
            count: [rows, columns],
            step: [dilation[0] * width * channels, dilation[1] * channels],
        }
    }
}

/// First row (or column) in the map of the window at `position`, and the number of taps in the map.
fn span(geometry: &PoolGeometry, axis: usize, position: usize) -> (usize, usize) {
    let PoolGeometry { input, kernel, stride, dilation, pads, .. } = geometry;
    let (start, dilation) = (position * stride[axis], dilation[axis]);
    // Tap k lies at start + k * dilation - pad; the first one inside is the first k with
    // start + k * dilation >= pad, the end is the first with start + k * dilation >= pad + size.
    let until = |bound: usize| bound.saturating_sub(start).div_ceil(dilation);
    let first = until(pads[axis]).min(kernel[axis]);
    let end = until(pads[axis] + input[axis]).min(kernel[axis]);
    if first == end {
        return (0, 0);
    }
    (start + first * dilation - pads[axis], end - first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some rows of a map and no others.
    fn part<'a>(input: &'a [f32], rows: Range<usize>, geometry: &PoolGeometry) -> MapRows<'a, f32> {
        let row = geometry.input[1] * geometry.channels;
        MapRows { values: &input[rows.start * row..rows.end * row], first: rows.start }
    }

    fn geometry() -> impl Strategy<Value = PoolGeometry> {
        let sizes = (prop_oneof![1..40_usize, 60..140_usize], 1..10_usize, 1..10_usize);
        let window = (1..5_usize, 1..5_usize, 1..4_usize, 1..4_usize, 1..3_usize, 1..3_usize);
        (sizes, window, prop::array::uniform4(0..3_usize)).prop_filter_map(
            "every window holds a pixel",
            |((channels, height, width), (kh, kw, sy, sx, dy, dx), pads)| {
                let geometry = PoolGeometry {
                    channels,
                    input: [height, width],
                    kernel: [kh, kw],
                    stride: [sy, sx],
                    dilation: [dy, dx],
                    pads,
                };
                geometry.validate().is_ok().then_some(geometry)
            },
        )
    }

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => -9.0..9.0_f32,
            1 => prop::sample::select(vec![
                0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45, f32::MAX,
            ]),
        ]
    }

    /// The values of each window in the map, by the definition.
    fn windows(geometry: &PoolGeometry, input: &[f32]) -> Vec<Vec<f32>> {
        let [height, width] = geometry.output();
        let mut windows = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for channel in 0..geometry.channels {
                let mut window = Vec::new();
                for ky in 0..geometry.kernel[0] {
                    for kx in 0..geometry.kernel[1] {
                        let row = (y * geometry.stride[0] + ky * geometry.dilation[0])
                            .wrapping_sub(geometry.pads[0]);
                        let column = (x * geometry.stride[1] + kx * geometry.dilation[1])
                            .wrapping_sub(geometry.pads[1]);
                        if row < geometry.input[0] && column < geometry.input[1] {
                            let pixel = row * geometry.input[1] + column;
                            window.push(input[pixel * geometry.channels + channel]);
                        }
                    }
                }
                windows.push(window);
            }
        }
        windows
    }

    fn assert_same(found: &[f32], expected: &[f32], what: &str) {
        assert_eq!(found.len(), expected.len());
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            assert!(same, "{what}, element {i}: found {a:e}, expected {b:e}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_path_gives_the_statistics_of_the_windows(
            (geometry, input) in geometry().prop_flat_map(|geometry| {
                let len = geometry.input[0] * geometry.input[1] * geometry.channels;
                (Just(geometry), prop::collection::vec(value(), len))
            }),
            count_include_pad in any::<bool>(),
        ) {
            let windows = windows(&geometry, &input);
            let maxima: Vec<f32> = windows.iter()
                .map(|w| w.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m }))
                .collect();
            let all = geometry.kernel[0] * geometry.kernel[1];
            let means: Vec<f32> = windows.iter()
                .map(|window| {
                    let taps = if count_include_pad { all } else { window.len() };
                    window.iter().fold(0.0, |sum, x| sum + x) / taps as f32
                })
                .collect();
            let [height, width] = geometry.output();
            let row = width * geometry.channels;
            let middle = height / 2;
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; height * row];
                let pool = MaxPool::new(isa, geometry.clone()).unwrap();
                for rows in [0..middle, middle..height] {
                    let out = &mut out[rows.start * row..rows.end * row];
                    pool.run(part(&input, pool.rows_read(rows.clone()), &geometry), rows, out);
                }
                assert_same(&out, &maxima, isa.name());
                out.fill(f32::NAN);
                let pool = AveragePool::new(isa, geometry.clone(), count_include_pad).unwrap();
                for rows in [0..middle, middle..height] {
                    let out = &mut out[rows.start * row..rows.end * row];
                    pool.run(part(&input, pool.rows_read(rows.clone()), &geometry), rows, out);
                }
                assert_same(&out, &means, isa.name());
            }
        }
    }

    #[test]
    fn windows_in_the_padding_are_refused() {
        let geometry = PoolGeometry {
            channels: 1,
            input: [2, 2],
            kernel: [2, 2],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [2, 0, 0, 0],
        };
        assert!(MaxPool::new(Isa::Scalar, geometry.clone()).is_err());
        assert!(AveragePool::new(Isa::Scalar, geometry, false).is_err());
    }
}
