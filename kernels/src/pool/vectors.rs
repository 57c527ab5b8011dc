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

/// Most vectors that are reduced side by side.
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
    // What is left behind the wide windows: so many vectors, the last one with so many channels.
    let rest = (channels % (WIDE * V::LANES)).div_ceil(V::LANES);
    let last_lanes = (channels - 1) % V::LANES + 1;
    for (y, row) in rows.zip(out.chunks_exact_mut(windows.output[1] * channels)) {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let taps = windows.taps(input.first, y, x);
            let divisor = divisor.unwrap_or(taps.count()) as f32;
            // SAFETY: the taps lie in the input, by the geometry; all channels touched are below the number
            // of channels, which pixels of input and output have.
            unsafe {
                let (mut input, mut out) = (input.values.as_ptr(), pixel.as_mut_ptr());
                for _ in 0..channels / (WIDE * V::LANES) {
                    window::<V, MEAN, WIDE, false>(taps, divisor, input, out, V::LANES);
                    (input, out) = (input.add(WIDE * V::LANES), out.add(WIDE * V::LANES));
                }
                match (rest, last_lanes == V::LANES) {
                    (0, _) => {}
                    (1, true) => window::<V, MEAN, 1, false>(taps, divisor, input, out, V::LANES),
                    (2, true) => window::<V, MEAN, 2, false>(taps, divisor, input, out, V::LANES),
                    (3, true) => window::<V, MEAN, 3, false>(taps, divisor, input, out, V::LANES),
                    (1, false) => window::<V, MEAN, 1, true>(taps, divisor, input, out, last_lanes),
                    (2, false) => window::<V, MEAN, 2, true>(taps, divisor, input, out, last_lanes),
                    (3, false) => window::<V, MEAN, 3, true>(taps, divisor, input, out, last_lanes),
                    _ => window::<V, MEAN, 4, true>(taps, divisor, input, out, last_lanes),
                }
            }
        }
    }
}

/// Reduces some channels of one window; if `PARTIAL`, only `last_lanes` of the last vector are channels.
///
/// # Safety
/// The processor has the features of the vectors; these channels of all taps can be read and those
/// of the output pixel be written.
#[inline(always)]
unsafe fn window<V: Lanes, const MEAN: bool, const VECTORS: usize, const PARTIAL: bool>(
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
                let values = if PARTIAL && vector + 1 == VECTORS {
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
            if PARTIAL && vector + 1 == VECTORS {
                reduced.store_first(to, last_lanes);
            } else {
                reduced.store(to);
            }
        }
    }
}
