//! Register tiles: a few output pixels of one row times a few vectors of output channels.
//!
//! A tile keeps all its sums in registers, loads each weight vector once for all its pixels and
//! broadcasts each input value once for all its vectors. Its pixels lie `pixel_step` floats apart in
//! the padded input, so a convolution costs what a matrix product costs and needs no copy of windows.

use crate::simd::Lanes;

/// The inputs of one sum, as contiguous runs of floats in the padded map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// Kernel rows, and floats from one to the next.
    pub(super) rows: usize,
    pub(super) row_step: usize,
    /// Runs in a kernel row, and floats from one to the next.
    pub(super) runs: usize,
    pub(super) run_step: usize,
    /// Floats in a run.
    pub(super) run_len: usize,
    /// Floats from one output pixel to the next.
    pub(super) pixel_step: usize,
}

/// One call of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) walk: &'a Walk,
    /// First input of the first pixel.
    pub(super) source: *const f32,
    /// `[products][vectors][lanes]`, where the tile has `vectors`; aligned to a vector.
    pub(super) weights: *const f32,
    /// What is added to the sums of each pixel, `[vectors][lanes]`; or null.
    pub(super) bias: *const f32,
    /// First output of the first pixel.
    pub(super) out: *mut f32,
    /// Floats from one output pixel to the next.
    pub(super) out_step: usize,
    /// Lanes of the last vector that are channels.
    pub(super) last_lanes: usize,
}

/// A tile of a fixed shape.
///
/// # Safety
/// The processor has the instruction set of the tile. The input of all its pixels, the weights and
/// the biases can be read, the weights are aligned to a vector, its outputs can be written.
pub(super) type TileFunction = unsafe fn(&Tile<'_>);

/// The tiles of an instruction set.
#[derive(Debug)]
pub(super) struct Tiles {
    /// Shown in profiles.
    pub(super) name: &'static str,
    /// Floats in a vector.
    pub(super) lanes: usize,
    /// Most vectors in a panel of weights, where there are several pixels.
    pub(super) panel: usize,
    /// `full[v - 1][p - 1]` is the tile of `v` vectors and `p` pixels. The rows beyond `panel` serve
    /// single pixels: dense layers, whose weights stream through once.
    pub(super) full: &'static [&'static [TileFunction]],
    /// The same for depth-wise convolutions, where each channel has its own input.
    pub(super) depthwise: &'static [&'static [TileFunction]],
}

/// Sums of `PIXELS` pixels and `VECTORS` vectors of channels that share their inputs.
///
/// # Safety
/// See [`TileFunction`].
#[inline(always)]
unsafe fn full<V: Lanes, const PIXELS: usize, const VECTORS: usize, const UNROLL: usize>(
    tile: &Tile<'_>,
) {
    let walk = tile.walk;
    // SAFETY: the caller promises the features and that everything the walk touches can be read.
    let sums = unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; PIXELS];
        let mut weights = tile.weights;
        for row in 0..walk.rows {
            for run in 0..walk.runs {
                let source = tile.source.add(row * walk.row_step + run * walk.run_step);
                let step = walk.pixel_step;
                // Several at a time: the arithmetic of the loop itself would otherwise fill issue slots
                // that the narrow tiles need.
                let mut at = 0;
                while at + UNROLL <= walk.run_len {
                    // A range from 0: one from `at` the compiler leaves as a loop.
                    for next in 0..UNROLL {
                        let source = source.add(at + next);
                        multiply::<V, PIXELS, VECTORS>(&mut sums, source, step, weights);
                        weights = weights.add(VECTORS * V::LANES);
                    }
                    at += UNROLL;
                }
                // Of two at a time one is left at most; without the break that would be a loop, and slower.
                while at < walk.run_len {
                    multiply::<V, PIXELS, VECTORS>(&mut sums, source.add(at), step, weights);
                    weights = weights.add(VECTORS * V::LANES);
                    at += 1;
                    if UNROLL == 2 {
                        break;
                    }
                }
            }
        }
        sums
    };
    // SAFETY: the caller promises that the outputs can be written.
    unsafe { store(tile, sums) }
}

/// Adds one product to each sum: the inputs lie `pixel_step` apart, the weights side by side.
///
/// # Safety
/// The processor has the features of the vectors; the inputs and the weights can be read, and the weights
/// are aligned to a vector.
#[inline(always)]
unsafe fn multiply<V: Lanes, const PIXELS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; PIXELS],
    source: *const f32,
    pixel_step: usize,
    weights: *const f32,
) {
    // SAFETY: the promises of the caller.
    unsafe {
        let mut factors = [V::splat(0.0); VECTORS];
        for (vector, factor) in factors.iter_mut().enumerate() {
            *factor = V::load_aligned(weights.add(vector * V::LANES));
        }
        for (pixel, sums) in sums.iter_mut().enumerate() {
            let value = V::splat(*source.add(pixel * pixel_step));
            for (sum, factor) in sums.iter_mut().zip(factors) {
                *sum = value.mul_add(factor, *sum);
            }
        }
    }
}

/// Sums of `PIXELS` pixels and `VECTORS` vectors of channels, each channel with its own input.
///
/// # Safety
/// See [`TileFunction`].
#[inline(always)]
unsafe fn depthwise<V: Lanes, const PIXELS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
    let walk = tile.walk;
    // SAFETY: the caller promises the features and that everything the walk touches can be read; of
    // the last vector only the lanes that are channels are.
    let sums = unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; PIXELS];
        let mut weights = tile.weights;
        for row in 0..walk.rows {
            for run in 0..walk.runs {
                let source = tile.source.add(row * walk.row_step + run * walk.run_step);
                let mut factors = [V::splat(0.0); VECTORS];
                for (vector, factor) in factors.iter_mut().enumerate() {
                    *factor = V::load_aligned(weights.add(vector * V::LANES));
                }
                weights = weights.add(VECTORS * V::LANES);
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let source = source.add(pixel * walk.pixel_step);
                    for (vector, (sum, factor)) in sums.iter_mut().zip(factors).enumerate() {
                        let source = source.add(vector * V::LANES);
                        let values = if vector + 1 == VECTORS && tile.last_lanes < V::LANES {
                            V::load_first(source, tile.last_lanes)
                        } else {
                            V::load(source)
                        };
                        *sum = values.mul_add(factor, *sum);
                    }
                }
            }
        }
        sums
    };
    // SAFETY: the caller promises that the outputs can be written.
    unsafe { store(tile, sums) }
}

/// # Safety
/// The processor has the features of the vectors; the outputs of the tile can be written, and its biases be read.
#[inline(always)]
unsafe fn store<V: Lanes, const PIXELS: usize, const VECTORS: usize>(
    tile: &Tile<'_>,
    mut sums: [[V; VECTORS]; PIXELS],
) {
    if !tile.bias.is_null() {
        for vector in 0..VECTORS {
            // SAFETY: the caller promises that the biases can be read.
            unsafe {
                let bias = V::load(tile.bias.add(vector * V::LANES));
                for sums in &mut sums {
                    sums[vector] = sums[vector].add(bias);
                }
            }
        }
    }
    for (pixel, sums) in sums.into_iter().enumerate() {
        for (vector, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller promises that the outputs can be written; of the last vector only the
            // lanes that are channels are.
            unsafe {
                let out = tile.out.add(pixel * tile.out_step + vector * V::LANES);
                if vector + 1 == VECTORS && tile.last_lanes < V::LANES {
                    sum.store_first(out, tile.last_lanes);
                } else {
                    sum.store(out);
                }
            }
        }
    }
}

/// Instantiates the tiles of an instruction set: for each number of vectors, the numbers of pixels. `unroll`
/// is the number of products of a sum in a turn of the loop.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! tiles {
    (
        $constant:ident in $module:ident: $vector:ty, $features:literal, $name:literal, panel $panel:literal, unroll $unroll:literal,
        full { $($full:literal => [$($full_pixels:literal)*],)* }
        depthwise { $($deep:literal => [$($deep_pixels:literal)*],)* }
    ) => {
        mod $module {
            use super::{Lanes, Tile, Tiles};

            #[target_feature(enable = $features)]
            unsafe fn full<const PIXELS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
                // SAFETY: this function has the features; the rest is the caller's promise.
                unsafe { super::full::<$vector, PIXELS, VECTORS, $unroll>(tile) }
            }

            #[target_feature(enable = $features)]
            unsafe fn depthwise<const PIXELS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
                // SAFETY: this function has the features; the rest is the caller's promise.
                unsafe { super::depthwise::<$vector, PIXELS, VECTORS>(tile) }
            }

            pub(in super::super) static TILES: Tiles = Tiles {
                name: $name,
                lanes: <$vector>::LANES,
                panel: $panel,
                full: &[$(&[$(full::<$full_pixels, $full>),*]),*],
                depthwise: &[$(&[$(depthwise::<$deep_pixels, $deep>),*]),*],
            };
        }
        pub(super) use $module::TILES as $constant;
    };
}

// Sixteen registers: 3 x 4 sums, 1 input, 1 product; the weights are read where they are multiplied.
#[cfg(target_arch = "x86_64")]
tiles! {
    V2 in v2: crate::simd::Sse4, "ssse3,sse4.1,popcnt", "f32 v2", panel 4, unroll 2,
    full {
        1 => [1 2 3 4 5 6 7 8],
        2 => [1 2 3 4 5 6],
        3 => [1 2 3 4],
        4 => [1 2 3],
        5 => [1],
        6 => [1],
        7 => [1],
        8 => [1],
    }
    depthwise { 1 => [1 2 3 4 5 6], 2 => [1 2 3 4], }
}

// Sixteen registers: 6 x 2 sums, 2 weights, 1 input. Eight sums hide the latency of two units.
#[cfg(target_arch = "x86_64")]
tiles! {
    AVX2 in avx2: crate::simd::Avx2, "avx2,fma,popcnt", "f32 avx2", panel 2, unroll 3,
    full {
        1 => [1 2 3 4 5 6 7 8],
        2 => [1 2 3 4 5 6],
        3 => [1],
        4 => [1],
        5 => [1],
        6 => [1],
        7 => [1],
        8 => [1],
    }
    depthwise { 1 => [1 2 3 4 5 6], 2 => [1 2 3 4], }
}

// Thirty-two registers: 6 x 4 sums, 4 weights, 1 input. With 12 x 2 the compiler runs out of them.
#[cfg(target_arch = "x86_64")]
tiles! {
    AVX512 in avx512: crate::simd::Avx512, "avx2,fma,popcnt,avx512f,avx512bw,avx512dq,avx512vl", "f32 avx512",
    panel 4, unroll 2,
    full {
        1 => [1 2 3 4 5 6 7 8 9 10 11 12],
        2 => [1 2 3 4 5 6 7 8 9 10 11],
        3 => [1 2 3 4 5 6 7 8],
        4 => [1 2 3 4 5 6],
        5 => [1],
        6 => [1],
        7 => [1],
        8 => [1],
    }
    depthwise { 1 => [1 2 3 4 5 6], 2 => [1 2 3 4 5 6], 3 => [1 2 3 4], 4 => [1 2 3 4], }
}

// Thirty-two registers: 6 x 4 sums, 4 weights, 1 input.
#[cfg(target_arch = "aarch64")]
tiles! {
    NEON in neon: crate::simd::Neon, "neon", "f32 neon", panel 4, unroll 2,
    full {
        1 => [1 2 3 4 5 6 7 8 9 10 11 12],
        2 => [1 2 3 4 5 6 7 8 9 10 11],
        3 => [1 2 3 4 5 6 7 8],
        4 => [1 2 3 4 5 6],
        5 => [1],
        6 => [1],
        7 => [1],
        8 => [1],
    }
    depthwise { 1 => [1 2 3 4 5 6], 2 => [1 2 3 4 5 6], 3 => [1 2 3 4], 4 => [1 2 3 4], }
}
