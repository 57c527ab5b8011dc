//! Integers as other numbers, and numbers of both kinds side by side.

use crate::Isa;
#[cfg(target_arch = "x86_64")]
use crate::features::{Avx2, Avx512, require};

/// The values of a map, of either kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MapValues<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Integers.
    I16(&'a [i16]),
}

impl MapValues<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes from a plain loop one function for each instruction set, vectorised by the compiler, and a
/// choice among them. None of the loops has a result that depends on the vectors.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),+) = $plain:ident;) => {
        $(#[$doc])*
        $visibility fn $name(isa: Isa, $($argument: $kind),+) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,popcnt")]
            fn on_avx2($($argument: $kind),+) {
                $plain($($argument),+);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
            fn on_avx512($($argument: $kind),+) {
                $plain($($argument),+);
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => {
                    let _proof = require(isa, Avx2::detect());
                    // SAFETY: the line above proves the features.
                    unsafe { on_avx2($($argument),+) }
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Vpopcnt | Isa::Amx => {
                    let _proof = require(isa, Avx512::detect());
                    // SAFETY: the line above proves the features.
                    unsafe { on_avx512($($argument),+) }
                }
                _ => $plain($($argument),+),
            }
        }
    };
}

for_each_isa! {
    /// Converts integers to floats, rounding to nearest.
    ///
    /// # Panics
    /// If the lengths differ or this processor lacks `isa`.
    pub fn i32_to_f32(values: &[i32], out: &mut [f32]) = floats;
}

for_each_isa! {
    fn to_bits_of_floats(values: &mut [i32]) = bits_of_floats;
}

/// Converts integers to floats where they are, rounding to nearest.
///
/// # Panics
/// If this processor lacks `isa`.
pub(crate) fn i32_to_f32_in_place(isa: Isa, values: &mut [i32]) -> &mut [f32] {
    to_bits_of_floats(isa, values);
    bytemuck::cast_slice_mut(values)
}

for_each_isa! {
    /// Converts integers to shorter ones, which hold them: the caller knows that none is larger than
    /// 32767 in size. Of one that is, the lower half is kept.
    ///
    /// # Panics
    /// If the lengths differ or this processor lacks `isa`.
    pub fn i32_to_i16(values: &[i32], out: &mut [i16]) = shorter;
}

for_each_isa! {
    /// Writes the channels of one map into a wider one: `values` are `[pixels][channels]`, `out` is
    /// `[pixels][width]`, in which the channels start at `first`. Integers are exact as floats.
    fn join(values: MapValues<'_>, channels: usize, first: usize, width: usize, out: &mut [f32])
        = joined;
}

/// Inlined into one caller for each instruction set.
#[inline(always)]
fn floats(values: &[i32], out: &mut [f32]) {
    assert_eq!(values.len(), out.len(), "one float per integer");
    out.iter_mut().zip(values).for_each(|(out, &value)| *out = value as f32);
}

/// Inlined into one caller for each instruction set.
#[inline(always)]
fn bits_of_floats(values: &mut [i32]) {
    values.iter_mut().for_each(|value| *value = (*value as f32).to_bits() as i32);
}

/// Inlined into one caller for each instruction set.
#[inline(always)]
fn shorter(values: &[i32], out: &mut [i16]) {
    assert_eq!(values.len(), out.len(), "one short integer per integer");
    out.iter_mut().zip(values).for_each(|(out, &value)| *out = value as i16);
}

/// Inlined into one caller for each instruction set.
#[inline(always)]
fn joined(values: MapValues<'_>, channels: usize, first: usize, width: usize, out: &mut [f32]) {
    let pixels = out.chunks_exact_mut(width).map(|pixel| &mut pixel[first..first + channels]);
    match values {
        MapValues::F32(values) => {
            for (from, to) in values.chunks_exact(channels).zip(pixels) {
                to.copy_from_slice(from);
            }
        }
        MapValues::I16(values) => {
            for (from, to) in values.chunks_exact(channels).zip(pixels) {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = f32::from(from));
            }
        }
    }
}

/// Joins maps along their channels as floats: each input is `[pixels][its channels]`, `out` is
/// `[pixels][all channels]`.
///
/// # Panics
/// If a length does not fit, or this processor lacks `isa`.
pub fn concat_channels(
    isa: Isa,
    inputs: &[(MapValues<'_>, usize)],
    pixels: usize,
    out: &mut [f32],
) {
    let width: usize = inputs.iter().map(|(_, channels)| channels).sum();
    assert_eq!(out.len(), pixels * width, "joined map");
    let mut first = 0;
    for &(values, channels) in inputs {
        assert_eq!(values.len(), pixels * channels, "input map");
        if channels > 0 {
            join(isa, values, channels, first, width, out);
        }
        first += channels;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_round_to_the_nearest_float(values in prop::collection::vec(any::<i32>(), 0..70)) {
            let expected: Vec<f32> = values.iter().map(|&value| f64::from(value) as f32).collect();
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; values.len()];
                i32_to_f32(isa, &values, &mut out);
                prop_assert_eq!(&out, &expected);
                let mut converted = values.clone();
                let converted = i32_to_f32_in_place(isa, &mut converted);
                prop_assert_eq!(&converted[..], &expected[..]);
            }
        }

        #[test]
        fn short_integers_are_the_same(values in prop::collection::vec(any::<i16>(), 0..150)) {
            let long: Vec<i32> = values.iter().map(|&value| value.into()).collect();
            for isa in Isa::available() {
                let mut out = vec![0x55; values.len()];
                i32_to_i16(isa, &long, &mut out);
                prop_assert_eq!(&out, &values);
            }
        }

        #[test]
        fn maps_of_both_kinds_are_joined_pixel_by_pixel(
            maps in prop::collection::vec((1..70_usize, any::<bool>()), 0..5),
            pixels in 0..5_usize,
            seed in any::<i16>(),
        ) {
            // Every value tells its map, pixel and channel.
            let value = |map: usize, pixel: usize, channel: usize| {
                seed.wrapping_add((map * 5000 + pixel * 1000 + channel) as i16)
            };
            let all = |map: usize, channels: usize| {
                let places = (0..pixels).flat_map(move |p| (0..channels).map(move |c| (p, c)));
                places.map(|(pixel, channel)| value(map, pixel, channel)).collect::<Vec<_>>()
            };
            let integers: Vec<Vec<i16>> =
                maps.iter().enumerate().map(|(map, &(channels, _))| all(map, channels)).collect();
            let floats: Vec<Vec<f32>> = integers
                .iter()
                .map(|values| values.iter().map(|&value| value.into()).collect())
                .collect();
            let inputs: Vec<_> = maps
                .iter()
                .enumerate()
                .map(|(map, &(channels, short))| {
                    let values = if short {
                        MapValues::I16(&integers[map])
                    } else {
                        MapValues::F32(&floats[map])
                    };
                    (values, channels)
                })
                .collect();
            let mut expected = Vec::new();
            for pixel in 0..pixels {
                for (map, &(channels, _)) in maps.iter().enumerate() {
                    expected.extend((0..channels).map(|c| f32::from(value(map, pixel, c))));
                }
            }
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; expected.len()];
                concat_channels(isa, &inputs, pixels, &mut out);
                prop_assert_eq!(&out, &expected);
            }
        }
    }
}
