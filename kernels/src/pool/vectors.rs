//! Pools with the channels along vectors: the values of a window are reduced in registers.

use super::{Taps, Windows};
use crate::MapRows;
use crate::simd::{Lanes, vectorised};
use std::ops::Range;

vectorised! {
    /// Maxima over windows. The slices must hold the rows.
    pub(super) unsafe fn maximum_on(
        windows: &Windows,
        input: MapRows<'_, f32>,
        rows: Range<usize>,
        out: &mut [f32],
    ) = maximum;
}

vectorised! {
    /// Means over windows; without a divisor, that of the taps in the map. The slices must
    /// hold the rows.
    pub(super) unsafe fn mean_on(
        windows: &Windows,
        divisor: Option<usize>,
        input: MapRows<'_, f32>,
        rows: Range<usize>,
        out: &mut [f32],
    ) = mean;
}

/// # Safety
/// The processor has the features of the vectors; the slices hold the rows.
#[inline(always)]
unsafe fn maximum<V: Lanes>(
    windows: &Windows,
    input: MapRows<'_, f32>,
    rows: Range<usize>,
    out: &mut [f32],
) {
    // SAFETY: the promises of the caller.
    unsafe { pool::<V, false>(windows, None, input, rows, out) }
}

/// # Safety
/// The processor has the features of the vectors; the slices hold the rows.
#[inline(always)]
unsafe fn mean<V: Lanes>(
    windows: &Windows,
    divisor: Option<usize>,
    input: MapRows<'_, f32>,
    rows: Range<usize>,
    out: &mut [f32],
) {
    // SAFETY: the promises of the caller.
    unsafe { pool::<V, true>(windows, divisor, input, rows, out) }
}

/// Vectors that are reduced side by side.
const WIDE: usize = 4;

/// # Safety
/// The processor has the features of the vectors; the slices hold the rows.
#[inline(always)]
unsafe fn pool<V: Lanes, const MEAN: bool>(
    windows: &Windows,
    divisor: Option<usize>,
    input: MapRows<'_, f32>,
    rows: Range<usize>,
    out: &mut [f32],
) {
    let channels = windows.geometry.channels;
    for (y, row) in rows.zip(out.chunks_exact_mut(windows.output[1] * channels)) {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let taps = windows.taps(input.first, y, x);
            let divisor = divisor.unwrap_or(taps.count()) as f32;
            let mut channel = 0;
            // SAFETY: the taps lie in the input, by the geometry; all channels touched are below the
            // number of channels, which pixels of input and output have.
            unsafe {
                let (input, out) = (input.values.as_ptr(), pixel.as_mut_ptr());
                while channel + WIDE * V::LANES <= channels {
                    let (input, out) = (input.add(channel), out.add(channel));
                    window::<V, MEAN, WIDE>(taps, divisor, input, out, V::LANES);
                    channel += WIDE * V::LANES;
                }
                while channel < channels {
                    let lanes = V::LANES.min(channels - channel);
                    let (input, out) = (input.add(channel), out.add(channel));
                    window::<V, MEAN, 1>(taps, divisor, input, out, lanes);
                    channel += lanes;
                }
            }
        }
    }
}

/// Reduces some channels of one window; only `last_lanes` of the last vector are channels.
///
/// # Safety
/// The processor has the features of the vectors; these channels of all taps can be read and those
/// of the output pixel be written.
#[inline(always)]
unsafe fn window<V: Lanes, const MEAN: bool, const VECTORS: usize>(
    taps: Taps,
    divisor: f32,
    input: *const f32,
    out: *mut f32,
    last_lanes: usize,
) {
    // SAFETY: the promises of the caller.
    unsafe {
        let start = if MEAN { 0.0 } else { f32::NEG_INFINITY };
        let mut reduced = [V::splat(start); VECTORS];
        taps.for_each(|at| {
            for (vector, reduced) in reduced.iter_mut().enumerate() {
                let from = input.add(at + vector * V::LANES);
                let values = if vector + 1 == VECTORS && last_lanes < V::LANES {
                    V::load_first(from, last_lanes)
                } else {
                    V::load(from)
                };
                *reduced = if MEAN { reduced.add(values) } else { values.maximum(*reduced) };
            }
        });
        for (vector, mut reduced) in reduced.into_iter().enumerate() {
            if MEAN {
                reduced = reduced.div(V::splat(divisor));
            }
            let to = out.add(vector * V::LANES);
            if vector + 1 == VECTORS && last_lanes < V::LANES {
                reduced.store_first(to, last_lanes);
            } else {
                reduced.store(to);
            }
        }
    }
}
