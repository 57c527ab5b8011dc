//! Convolution by its definition, one tap of the window and one output channel after the other, on planes of channels
//! as graphs have them.
//!
//! This is what a plain interpreter computes with. It shares no code with [`FloatConv`](crate::FloatConv), so that the
//! one can be checked against the other; vectors are used because whole networks are run this way, and the call of
//! `fmaf` that a fused multiply-add is without them takes ten times as long.

use crate::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::simd::{Lanes, vectorised};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::sync::LazyLock;

/// How convolutions and matrix products add a product to a sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Products {
    /// By a fused multiply-add: what a network means, and what every processor does that can.
    #[default]
    Fused,
    /// Rounded to `f32` before it is added: what the engine computes on processors without fused
    /// multiply-add ([`Isa::fuses_multiply_add`]).
    Rounded,
}

impl Products {
    /// `factor * value + sum`.
    fn add(self, factor: f32, value: f32, sum: f32) -> f32 {
        match self {
            Self::Fused => factor.mul_add(value, sum),
            Self::Rounded => factor * value + sum,
        }
    }

    /// An instruction set of this processor with vectors that add so.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn vectors(self) -> Option<Isa> {
        static FUSED: LazyLock<Option<Isa>> = LazyLock::new(|| {
            Some(Isa::best()).filter(|isa| *isa != Isa::Scalar && isa.fuses_multiply_add())
        });
        static ROUNDED: LazyLock<Option<Isa>> =
            LazyLock::new(|| Some(Isa::V2).filter(|isa| isa.is_available()));
        match self {
            Self::Fused => *FUSED,
            Self::Rounded => *ROUNDED,
        }
    }
}

/// One tap of the window for one output channel: where the pixels that it meets lie in the planes of the input channels,
/// and which sums they are added to. (A row of a matrix times a matrix is the same, with planes of one row.)
#[derive(Debug, Clone, Copy)]
pub struct Tap {
    /// Input channels.
    pub channels: usize,
    /// Floats from the weight of an input channel to that of the next.
    pub weight_step: usize,
    /// Floats from the plane of an input channel to that of the next.
    pub plane: usize,
    /// Rows and columns of sums.
    pub size: [usize; 2],
    /// Floats between the pixels of neighbouring rows and columns.
    pub pixel_steps: [usize; 2],
    /// Floats from a row of sums to the next.
    pub sum_step: usize,
}

impl Tap {
    /// Panics if a pixel, a weight or a sum lies outside of its slice.
    /// Panics, too, if rows of sums lie on one another.
    fn check(&self, weights: usize, pixels: usize, sums: usize) {
        let Self { channels, weight_step, plane, size: [rows, columns], .. } = *self;
        let [row_step, column_step] = self.pixel_steps;
        let within = |extents: &[(usize, usize)], len: usize| {
            // The last element of each extent: a product of two words fits into 128 bits, a sum of them may not.
            let last = extents.iter().map(|&(n, step)| (n as u128 - 1) * step as u128);
            let last = last.fold(0, u128::saturating_add);
            assert!(last < len as u128, "element {last} of {len}");
        };
        within(&[(channels, weight_step)], weights);
        within(&[(channels, plane), (rows, row_step), (columns, column_step)], pixels);
        within(&[(rows, self.sum_step), (columns, 1)], sums);
        assert!(rows == 1 || self.sum_step >= columns, "rows of sums are apart");
    }
}

/// `sums[y][x] += weights[c] * pixels[c][y][x]` for one channel after the other, each product added as `products` says.
///
/// # Panics
/// If the tap reaches out of a slice, or rows of sums lie on one another.
pub fn add_tap_products(
    products: Products,
    tap: &Tap,
    weights: &[f32],
    pixels: &[f32],
    sums: &mut [f32],
) {
    if tap.channels == 0 || tap.size.contains(&0) {
        return;
    }
    tap.check(weights.len(), pixels.len(), sums.len());
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if let Some(isa) = products.vectors() {
        // SAFETY: the processor has the instruction set, and nothing lies outside of its slice.
        unsafe { add_on(isa, tap, weights, pixels, sums) };
        return;
    }
    add_plain(products, tap, weights, pixels, sums);
}

/// The definition.
fn add_plain(products: Products, tap: &Tap, weights: &[f32], pixels: &[f32], sums: &mut [f32]) {
    for y in 0..tap.size[0] {
        for x in 0..tap.size[1] {
            let sum = &mut sums[y * tap.sum_step + x];
            let pixel = y * tap.pixel_steps[0] + x * tap.pixel_steps[1];
            for c in 0..tap.channels {
                let weight = weights[c * tap.weight_step];
                *sum = products.add(weight, pixels[c * tap.plane + pixel], *sum);
            }
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
vectorised! {
    /// All sums of a tap.
    ///
    /// # Safety
    /// The tap stays within the slices.
    unsafe fn add_on(tap: &Tap, weights: &[f32], pixels: &[f32], sums: &mut [f32]) = add_all;
}

/// Vectors of sums that grow at a time: as many as hide the time that an addition takes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const STRIPS: usize = 4;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn add_all<V: Lanes>(tap: &Tap, weights: &[f32], pixels: &[f32], sums: &mut [f32]) {
    let [rows, columns] = tap.size;
    let strips_of_row = columns.div_ceil(V::LANES);
    let strips = rows * strips_of_row;
    let mut strip = 0;
    while strip < strips {
        // SAFETY: strips of the tap, which stays within the slices.
        unsafe {
            if strips - strip >= STRIPS {
                add_strips::<V, STRIPS>(tap, strips_of_row, strip, weights, pixels, sums);
                strip += STRIPS;
            } else {
                add_strips::<V, 1>(tap, strips_of_row, strip, weights, pixels, sums);
                strip += 1;
            }
        }
    }
}

/// Adds the products of all channels to neighbouring strips: parts of rows, a vector each.
///
/// # Safety
/// The strips are some of the tap, which stays within the slices.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn add_strips<V: Lanes, const COUNT: usize>(
    tap: &Tap,
    strips_of_row: usize,
    first: usize,
    weights: &[f32],
    pixels: &[f32],
    sums: &mut [f32],
) {
    let (mut sum_at, mut pixel_at, mut count) = ([0; COUNT], [0; COUNT], [0; COUNT]);
    for strip in 0..COUNT {
        let (y, x) = ((first + strip) / strips_of_row, (first + strip) % strips_of_row * V::LANES);
        sum_at[strip] = y * tap.sum_step + x;
        pixel_at[strip] = y * tap.pixel_steps[0] + x * tap.pixel_steps[1];
        count[strip] = V::LANES.min(tap.size[1] - x);
    }
    // SAFETY: each strip ends where its row does, and rows and channels lie within the slices.
    unsafe {
        let mut grown = [V::splat(0.0); COUNT];
        for strip in 0..COUNT {
            grown[strip] = V::load_first(sums.as_ptr().add(sum_at[strip]), count[strip]);
        }
        for c in 0..tap.channels {
            let weight = V::splat(*weights.get_unchecked(c * tap.weight_step));
            let plane = pixels.as_ptr().add(c * tap.plane);
            for strip in 0..COUNT {
                let from = plane.add(pixel_at[strip]);
                let values = load_every::<V>(from, tap.pixel_steps[1], count[strip]);
                grown[strip] = weight.mul_add(values, grown[strip]);
            }
        }
        for strip in 0..COUNT {
            grown[strip].store_first(sums.as_mut_ptr().add(sum_at[strip]), count[strip]);
        }
    }
}

/// Reads `count` floats, `step` apart.
///
/// # Safety
/// All of them can be read, and `count` is not larger than a vector.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn load_every<V: Lanes>(from: *const f32, step: usize, count: usize) -> V {
    // SAFETY: promised by the caller.
    unsafe {
        if step == 1 {
            return if count == V::LANES { V::load(from) } else { V::load_first(from, count) };
        }
        let mut floats = [0.0; 16];
        const { assert!(V::LANES <= 16) };
        for (index, float) in floats.iter_mut().enumerate().take(count) {
            *float = *from.add(index * step);
        }
        V::load(floats.as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some floats whose products do not fit into a float.
    fn floats(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    proptest! {
        #[test]
        fn vectors_give_the_bits_of_the_definition(
            channels in 1..6_usize,
            weight_step in 1..4_usize,
            size in [1..6_usize, 1..40_usize],
            column_step in 1..4_usize,
            (row_gap, plane_gap, sum_gap) in (0..3_usize, 0..3_usize, 0..3_usize),
            fused in any::<bool>(),
            seed in any::<u32>(),
        ) {
            let [rows, columns] = size;
            let row_step = (columns - 1) * column_step + 1 + row_gap;
            let plane = rows * row_step + plane_gap;
            let sum_step = columns + sum_gap;
            let pixel_steps = [row_step, column_step];
            let tap = Tap { channels, weight_step, plane, size, pixel_steps, sum_step };
            let weights = floats((channels - 1) * weight_step + 1, seed);
            let last_row = (rows - 1) * row_step + (columns - 1) * column_step;
            let pixels = floats((channels - 1) * plane + last_row + 1, seed ^ 7);
            let mut found = floats((rows - 1) * sum_step + columns, seed ^ 99);
            let mut expected = found.clone();
            let products = if fused { Products::Fused } else { Products::Rounded };
            add_plain(products, &tap, &weights, &pixels, &mut expected);
            add_tap_products(products, &tap, &weights, &pixels, &mut found);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&found), bits(&expected));
        }
    }

    #[test]
    fn products_are_rounded_when_asked() {
        let ulp = f32::EPSILON;
        let (factor, value) = (1.0 + ulp, 1.0 - ulp);
        assert_eq!(Products::Fused.add(factor, value, -1.0), -ulp * ulp);
        assert_eq!(Products::Rounded.add(factor, value, -1.0), 0.0);
    }

    /// In a release build a sum that wraps would look small.
    #[test]
    #[should_panic = "of 4"]
    fn taps_of_any_size_are_refused() {
        let most = usize::MAX;
        let (size, pixel_steps) = ([most, most], [most, most]);
        let tap =
            Tap { channels: most, weight_step: 0, plane: most, size, pixel_steps, sum_step: 0 };
        add_tap_products(Products::Fused, &tap, &[1.0; 2], &[1.0; 4], &mut [0.0; 2]);
    }

    #[test]
    #[should_panic = "element 4 of 4"]
    fn taps_stay_within_their_slices() {
        let tap = Tap {
            channels: 2,
            weight_step: 1,
            plane: 3,
            size: [1, 2],
            pixel_steps: [2, 1],
            sum_step: 2,
        };
        add_tap_products(Products::Fused, &tap, &[1.0; 2], &[1.0; 4], &mut [0.0; 2]);
    }
}
