//! Maximum and mean over windows of an f32 map. Windows are clipped to the map.

use crate::{GeometryError, Isa, PoolGeometry};
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
        Ok(Self {
            windows: Windows::new(isa, geometry)?,
        })
    }

    /// The shape of the layer.
    pub fn geometry(&self) -> &PoolGeometry {
        &self.windows.geometry
    }

    /// Computes some output rows: `input` is `[height, width, channels]`, `out` is
    /// `[rows][out_width][channels]`.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is outside.
    pub fn run(&self, input: &[f32], rows: Range<usize>, out: &mut [f32]) {
        self.windows.check(input, &rows, out);
        self.windows.each(rows, out, |taps, out| {
            out.fill(f32::NEG_INFINITY);
            taps.for_each(|at| {
                for (most, &x) in out.iter_mut().zip(&input[at..]) {
                    *most = if x > *most { x } else { *most };
                }
            });
        });
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
        Ok(Self {
            windows: Windows::new(isa, geometry)?,
            count_include_pad,
        })
    }

    /// The shape of the layer.
    pub fn geometry(&self) -> &PoolGeometry {
        &self.windows.geometry
    }

    /// Computes some output rows: `input` is `[height, width, channels]`, `out` is
    /// `[rows][out_width][channels]`.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is outside.
    pub fn run(&self, input: &[f32], rows: Range<usize>, out: &mut [f32]) {
        self.windows.check(input, &rows, out);
        let [height, width] = self.windows.geometry.kernel;
        self.windows.each(rows, out, |taps, out| {
            let divisor = if self.count_include_pad {
                height * width
            } else {
                taps.count()
            };
            out.fill(0.0);
            taps.for_each(|at| {
                for (sum, x) in out.iter_mut().zip(&input[at..]) {
                    *sum += x;
                }
            });
            out.iter_mut().for_each(|sum| *sum /= divisor as f32);
        });
    }
}

/// The windows of a pool.
#[derive(Debug, Clone)]
struct Windows {
    isa: Isa,
    geometry: PoolGeometry,
    output: [usize; 2],
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
        isa.require()
            .map_err(|error| GeometryError(error.to_string()))?;
        geometry.validate()?;
        Ok(Self {
            isa,
            output: geometry.output(),
            geometry,
        })
    }

    fn check(&self, input: &[f32], rows: &Range<usize>, out: &[f32]) {
        let PoolGeometry {
            channels,
            input: [height, width],
            ..
        } = self.geometry;
        assert_eq!(input.len(), height * width * channels, "input map");
        assert!(
            rows.start <= rows.end && rows.end <= self.output[0],
            "output rows"
        );
        assert_eq!(
            out.len(),
            rows.len() * self.output[1] * channels,
            "output rows"
        );
    }

    /// Calls `visit` with the taps and the output of each window of some rows.
    #[inline(always)]
    fn each(&self, rows: Range<usize>, out: &mut [f32], mut visit: impl FnMut(Taps, &mut [f32])) {
        let channels = self.geometry.channels;
        for (y, row) in rows.zip(out.chunks_exact_mut(self.output[1] * channels)) {
            let vertical = self.taps(0, y);
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                visit(self.window(vertical, self.taps(1, x)), pixel);
            }
        }
    }

    /// First row (or column) in the map of the window at `position`, and how many follow.
    fn taps(&self, axis: usize, position: usize) -> (usize, usize) {
        let PoolGeometry {
            input,
            kernel,
            stride,
            dilation,
            pads,
            ..
        } = &self.geometry;
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

    fn window(&self, (y, rows): (usize, usize), (x, columns): (usize, usize)) -> Taps {
        let PoolGeometry {
            channels,
            input: [_, width],
            dilation,
            ..
        } = self.geometry;
        Taps {
            first: (y * width + x) * channels,
            count: [rows, columns],
            step: [dilation[0] * width * channels, dilation[1] * channels],
        }
    }
}
