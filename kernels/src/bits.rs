//! Packing of floats and integers into bits by comparison with thresholds.

use crate::{
    Isa,
    bit_string::{last_word_mask, low_mask},
    words_per_pixel,
};

/// Packs `(value >= threshold) xor flip` of every pixel and channel.
///
/// The comparison is ordered: NaN gives false (before the flip), and -0 equals +0. `values` is
/// `[pixels][channels]`, `thresholds` holds one entry per channel or one for all, `flip` holds
/// `words_per_pixel(channels)` words, `out` is `[pixels][words_per_pixel(channels)]`. Bits past the
/// last channel are written as 0, whatever `flip` says.
///
/// # Panics
/// If a length does not fit, or if this processor lacks `isa`.
pub fn pack_f32(
    isa: Isa,
    values: &[f32],
    channels: usize,
    thresholds: &[f32],
    flip: Option<&[u64]>,
    out: &mut [u64],
) {
    let packing = Packing::new(values, channels, thresholds, flip, None, out);
    pack_for(isa, &packing, out);
}

/// Packs `(value >= threshold) xor flip` of every pixel and channel.
///
/// Layouts are those of [`pack_f32`]; `thresholds` holds one entry per channel. The threshold
/// `i32::MIN` is always reached, `i32::MAX` only by itself.
///
/// # Panics
/// If a length does not fit, or if this processor lacks `isa`.
pub fn pack_i32(
    isa: Isa,
    values: &[i32],
    channels: usize,
    thresholds: &[i32],
    flip: Option<&[u64]>,
    out: &mut [u64],
) {
    assert_eq!(thresholds.len(), channels, "one threshold per channel");
    let packing = Packing::new(values, channels, thresholds, flip, None, out);
    pack_for(isa, &packing, out);
}

/// Where in a pixel of several words the bits of some channels lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BitPlace {
    /// Words of a pixel.
    pub(crate) words: usize,
    /// The bit of the first channel.
    pub(crate) first: usize,
}

/// Packs `(value >= threshold) xor flip` of every pixel and channel into a part of wider pixels, whose
/// other bits stay as they are.
///
/// Layouts are those of [`pack_f32`], but `out` is `[pixels][place.words]`; there is one threshold per
/// channel.
///
/// # Panics
/// If a length does not fit, or if this processor lacks `isa`.
pub(crate) fn pack_f32_beside(
    isa: Isa,
    values: &[f32],
    channels: usize,
    thresholds: &[f32],
    flip: Option<&[u64]>,
    place: BitPlace,
    out: &mut [u64],
) {
    let packing = Packing::new(values, channels, thresholds, flip, Some(place), out);
    pack_for(isa, &packing, out);
}

/// As [`pack_f32_beside`], for integers.
///
/// # Panics
/// If a length does not fit, or if this processor lacks `isa`.
pub(crate) fn pack_i16_beside(
    isa: Isa,
    values: &[i16],
    channels: usize,
    thresholds: &[i16],
    flip: Option<&[u64]>,
    place: BitPlace,
    out: &mut [u64],
) {
    let packing = Packing::new(values, channels, thresholds, flip, Some(place), out);
    pack_for(isa, &packing, out);
}

/// What is compared with what; lengths are checked.
#[derive(Clone, Copy)]
struct Packing<'a, T> {
    values: &'a [T],
    channels: usize,
    thresholds: &'a [T],
    flip: Option<&'a [u64]>,
    /// Absent: the channels are whole pixels.
    place: Option<BitPlace>,
}

impl<'a, T> Packing<'a, T> {
    fn new(
        values: &'a [T],
        channels: usize,
        thresholds: &'a [T],
        flip: Option<&'a [u64]>,
        place: Option<BitPlace>,
        out: &[u64],
    ) -> Self {
        assert!(channels > 0 && values.len().is_multiple_of(channels), "values are whole pixels");
        let words = words_per_pixel(channels);
        let of_pixel = place.map_or(words, |place| place.words);
        assert_eq!(out.len(), values.len() / channels * of_pixel, "words of the packed map");
        let ends_inside = |place: BitPlace| place.first + channels <= place.words * 64;
        assert!(place.is_none_or(ends_inside), "bits of a pixel");
        let shared = thresholds.len() == 1 && place.is_none();
        assert!(thresholds.len() == channels || shared, "one threshold per channel");
        assert!(flip.is_none_or(|flip| flip.len() == words), "one flip word per word of a pixel");
        Self { values, channels, thresholds, flip, place }
    }
}

/// Compares up to 64 values with as many thresholds; the proof of an instruction set.
trait Compare<T>: Copy {
    /// Bit `i` is `values[i] >= thresholds[i]`.
    fn at_least(self, values: &[T], thresholds: &[T]) -> u64;
}

/// Plain Rust.
#[derive(Clone, Copy)]
struct Portable;

impl<T: Copy + PartialOrd> Compare<T> for Portable {
    #[inline(always)]
    fn at_least(self, values: &[T], thresholds: &[T]) -> u64 {
        let bits = values.iter().zip(thresholds).map(|(value, threshold)| value >= threshold);
        bits.enumerate().fold(0, |word, (index, bit)| word | u64::from(bit) << index)
    }
}

/// Packs word by word. Inlined into one caller per instruction set.
#[inline(always)]
fn pack<T: Copy, C: Compare<T>>(compare: C, packing: &Packing<'_, T>, out: &mut [u64]) {
    let Packing { values, channels, thresholds, flip, place } = *packing;
    if let Some(place) = place {
        return pack_part(compare, packing, place, out);
    }
    let words = words_per_pixel(channels);
    let shared_by_all = thresholds.len() == 1;
    let shared = &[thresholds[0]; 64];
    if shared_by_all && channels.is_multiple_of(64) && flip.is_none() {
        for (values, out) in values.chunks_exact(64).zip(out) {
            *out = compare.at_least(values, shared);
        }
        return;
    }
    let mask = last_word_mask(channels);
    let (whole_thresholds, last_thresholds) = thresholds.as_chunks::<64>();
    for (pixel, out) in values.chunks_exact(channels).zip(out.chunks_exact_mut(words)) {
        let (whole, last) = pixel.as_chunks::<64>();
        for (index, (values, out)) in whole.iter().zip(out.iter_mut()).enumerate() {
            let thresholds = if shared_by_all { shared } else { &whole_thresholds[index] };
            *out = compare.at_least(values, thresholds);
        }
        if !last.is_empty() {
            let thresholds = if shared_by_all { &shared[..last.len()] } else { last_thresholds };
            out[words - 1] = compare.at_least(last, thresholds);
        }
        if let Some(flip) = flip {
            out.iter_mut().zip(flip).for_each(|(out, flip)| *out ^= flip);
            out[words - 1] &= mask;
        }
    }
}

/// Packs a part of each pixel. Inlined as [`pack`] is.
#[inline(always)]
fn pack_part<T: Copy, C: Compare<T>>(
    compare: C,
    packing: &Packing<'_, T>,
    BitPlace { words, first }: BitPlace,
    out: &mut [u64],
) {
    let Packing { values, channels, thresholds, flip, .. } = *packing;
    let pixels = values.chunks_exact(channels).zip(out.chunks_exact_mut(words));
    if first.is_multiple_of(64) && channels.is_multiple_of(64) {
        // Whole words, of which nothing is to be kept.
        let (thresholds, _) = thresholds.as_chunks::<64>();
        for (pixel, out) in pixels {
            let out = &mut out[first / 64..][..thresholds.len()];
            let (pixel, _) = pixel.as_chunks::<64>();
            for ((values, thresholds), out) in pixel.iter().zip(thresholds).zip(&mut *out) {
                *out = compare.at_least(values, thresholds);
            }
            if let Some(flip) = flip {
                out.iter_mut().zip(flip).for_each(|(out, flip)| *out ^= flip);
            }
        }
        return;
    }
    if channels <= 64 {
        // One chunk, at the same place in all pixels: what follows, with all of that found once.
        let (mask, flip) = (low_mask(channels), flip.map_or(0, |flip| flip[0]));
        let (word, shift) = (first / 64, first % 64);
        let beyond = shift + channels > 64;
        for (values, out) in pixels {
            let bits = (compare.at_least(values, thresholds) ^ flip) & mask;
            out[word] = out[word] & !(mask << shift) | bits << shift;
            if beyond {
                let (mask, bits) = (mask >> (64 - shift), bits >> (64 - shift));
                out[word + 1] = out[word + 1] & !mask | bits;
            }
        }
        return;
    }
    for (pixel, out) in pixels {
        for (index, values) in pixel.chunks(64).enumerate() {
            let thresholds = &thresholds[index * 64..][..values.len()];
            let flip = flip.map_or(0, |flip| flip[index]);
            let mask = low_mask(values.len());
            let bits = (compare.at_least(values, thresholds) ^ flip) & mask;
            let at = first + index * 64;
            let (word, shift) = (at / 64, at % 64);
            out[word] = out[word] & !(mask << shift) | bits << shift;
            if shift + values.len() > 64 {
                let (mask, bits) = (mask >> (64 - shift), bits >> (64 - shift));
                out[word + 1] = out[word + 1] & !mask | bits;
            }
        }
    }
}

/// Chooses the comparison.
#[cfg(target_arch = "x86_64")]
fn pack_for<T: x86_64::Element>(isa: Isa, packing: &Packing<'_, T>, out: &mut [u64]) {
    use crate::features::{Avx2, Avx512, V2, require};
    match isa {
        Isa::Scalar => pack(Portable, packing, out),
        Isa::V2 => T::pack_v2(require(isa, V2::detect()), packing, out),
        Isa::Avx2 => T::pack_avx2(require(isa, Avx2::detect()), packing, out),
        Isa::Avx512 | Isa::Avx512Vpopcnt | Isa::Amx => {
            T::pack_avx512(require(isa, Avx512::detect()), packing, out);
        }
        Isa::Neon => panic!("{isa} is not available"),
    }
}

/// Chooses the comparison.
#[cfg(target_arch = "aarch64")]
fn pack_for<T: aarch64::Element>(isa: Isa, packing: &Packing<'_, T>, out: &mut [u64]) {
    use crate::features::{Neon, require};
    match isa {
        Isa::Scalar => pack(Portable, packing, out),
        Isa::Neon => aarch64::pack_neon(require(isa, Neon::detect()), packing, out),
        _ => panic!("{isa} is not available"),
    }
}

/// There is but one comparison.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn pack_for<T: Copy + PartialOrd>(isa: Isa, packing: &Packing<'_, T>, out: &mut [u64]) {
    assert!(isa == Isa::Scalar, "{isa} is not available");
    pack(Portable, packing, out);
}

#[cfg(target_arch = "aarch64")]
mod aarch64;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::{Compare, Packing, Portable, pack};
    use crate::{
        bit_string::low_mask,
        features::{Avx2, Avx512, V2},
    };
    use std::arch::x86_64::*;

    /// Elements that all instruction sets can compare.
    pub(super) trait Element: Copy + PartialOrd {
        fn pack_v2(proof: V2, packing: &Packing<'_, Self>, out: &mut [u64]);
        fn pack_avx2(proof: Avx2, packing: &Packing<'_, Self>, out: &mut [u64]);
        fn pack_avx512(proof: Avx512, packing: &Packing<'_, Self>, out: &mut [u64]);
    }

    /// Whole vectors through `$lanes`, the rest one by one.
    macro_rules! by_vectors {
        ($proof:ty, $element:ty, $lanes:literal, |$values:ident, $thresholds:ident| $mask:expr) => {
            impl Compare<$element> for $proof {
                #[inline(always)]
                fn at_least(self, values: &[$element], thresholds: &[$element]) -> u64 {
                    let (values, values_rest) = values.as_chunks::<$lanes>();
                    let (thresholds, thresholds_rest) = thresholds.as_chunks::<$lanes>();
                    let mut word = 0;
                    let mut at = 0;
                    for ($values, $thresholds) in values.iter().zip(thresholds) {
                        let ($values, $thresholds) = ($values.as_ptr(), $thresholds.as_ptr());
                        // SAFETY: `self` proves the features; both pointers are to whole vectors,
                        // and the loads may be unaligned.
                        let mask: u64 = unsafe { $mask };
                        word |= mask << at;
                        at += $lanes;
                    }
                    if !values_rest.is_empty() {
                        word |= Portable.at_least(values_rest, thresholds_rest) << at;
                    }
                    word
                }
            }
        };
    }

    by_vectors!(V2, f32, 4, |values, thresholds| {
        _mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps(values), _mm_loadu_ps(thresholds))) as u64
    });
    by_vectors!(Avx2, f32, 8, |values, thresholds| {
        let (values, thresholds) = (_mm256_loadu_ps(values), _mm256_loadu_ps(thresholds));
        _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(values, thresholds)) as u64
    });
    // There is no "at least" for integers before AVX-512: the complement of "less".
    by_vectors!(V2, i32, 4, |values, thresholds| {
        let (values, thresholds) =
            (_mm_loadu_si128(values.cast()), _mm_loadu_si128(thresholds.cast()));
        let less = _mm_cmplt_epi32(values, thresholds);
        _mm_movemask_ps(_mm_castsi128_ps(less)) as u64 ^ low_mask(4)
    });
    by_vectors!(Avx2, i32, 8, |values, thresholds| {
        let (values, thresholds) =
            (_mm256_loadu_si256(values.cast()), _mm256_loadu_si256(thresholds.cast()));
        let less = _mm256_cmpgt_epi32(thresholds, values);
        _mm256_movemask_ps(_mm256_castsi256_ps(less)) as u64 ^ low_mask(8)
    });

    by_vectors!(V2, i16, 8, |values, thresholds| {
        let (values, thresholds) =
            (_mm_loadu_si128(values.cast()), _mm_loadu_si128(thresholds.cast()));
        let less = _mm_cmplt_epi16(values, thresholds);
        _mm_movemask_epi8(_mm_packs_epi16(less, _mm_setzero_si128())) as u64 ^ low_mask(8)
    });
    by_vectors!(Avx2, i16, 16, |values, thresholds| {
        let (values, thresholds) =
            (_mm256_loadu_si256(values.cast()), _mm256_loadu_si256(thresholds.cast()));
        let less = _mm256_cmpgt_epi16(thresholds, values);
        let (first, last) = (_mm256_castsi256_si128(less), _mm256_extracti128_si256::<1>(less));
        _mm_movemask_epi8(_mm_packs_epi16(first, last)) as u64 ^ low_mask(16)
    });

    /// Whole vectors, then one masked vector for the rest.
    macro_rules! by_masks {
        ($element:ty, $count:literal, $mask_type:ty, |$values:ident, $thresholds:ident| $mask:expr, load: $load:ident) => {
            impl Compare<$element> for Avx512 {
                #[inline(always)]
                fn at_least(self, values: &[$element], thresholds: &[$element]) -> u64 {
                    let (values, values_rest) = values.as_chunks::<$count>();
                    let (thresholds, thresholds_rest) = thresholds.as_chunks::<$count>();
                    let mut word = 0;
                    let mut at = 0;
                    for ($values, $thresholds) in values.iter().zip(thresholds) {
                        // SAFETY: `self` proves the features; both are whole vectors, and the loads may be unaligned.
                        let mask = unsafe {
                            let $values = $load(<$mask_type>::MAX, $values.as_ptr());
                            let $thresholds = $load(<$mask_type>::MAX, $thresholds.as_ptr());
                            $mask
                        };
                        word |= u64::from(mask) << at;
                        at += $count;
                    }
                    let count = values_rest.len().min(thresholds_rest.len());
                    if count > 0 {
                        let lanes = low_mask(count) as $mask_type;
                        // SAFETY: `self` proves the features; the masked loads touch `count` elements of each slice
                        // only, and may be unaligned.
                        let mask = unsafe {
                            let $values = $load(lanes, values_rest.as_ptr());
                            let $thresholds = $load(lanes, thresholds_rest.as_ptr());
                            $mask
                        };
                        word |= u64::from(mask & lanes) << at;
                    }
                    word
                }
            }
        };
    }

    by_masks!(
        f32,
        16,
        u16,
        |values, thresholds| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(values, thresholds),
        load: _mm512_maskz_loadu_ps
    );
    by_masks!(
        i32,
        16,
        u16,
        |values, thresholds| _mm512_cmpge_epi32_mask(values, thresholds),
        load: _mm512_maskz_loadu_epi32
    );
    by_masks!(
        i16,
        32,
        u32,
        |values, thresholds| _mm512_cmpge_epi16_mask(values, thresholds),
        load: _mm512_maskz_loadu_epi16
    );

    macro_rules! compiled {
        ($name:ident, $proof:ty, $features:literal) => {
            fn $name(proof: $proof, packing: &Packing<'_, Self>, out: &mut [u64]) {
                #[target_feature(enable = $features)]
                fn compiled<T: Copy>(proof: $proof, packing: &Packing<'_, T>, out: &mut [u64])
                where
                    $proof: Compare<T>,
                {
                    pack(proof, packing, out);
                }
                // SAFETY: `proof` proves the features.
                unsafe { compiled(proof, packing, out) }
            }
        };
    }

    macro_rules! element {
        ($($element:ty),+) => {
            $(impl Element for $element {
                compiled!(pack_v2, V2, "ssse3,sse4.1,popcnt");
                compiled!(pack_avx2, Avx2, "avx2,popcnt");
                compiled!(pack_avx512, Avx512, "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl");
            })+
        };
    }

    element!(f32, i32, i16);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bit_string::bit;
    use proptest::prelude::*;

    /// Values where comparisons go wrong most easily, and any others.
    fn float() -> impl Strategy<Value = f32> {
        let special = [
            0.0,
            -0.0,
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::from_bits(1),
            -f32::from_bits(1),
            f32::MIN_POSITIVE,
            1.0,
            -1.0,
        ];
        prop_oneof![prop::sample::select(special.to_vec()), any::<u32>().prop_map(f32::from_bits)]
    }

    fn integer() -> impl Strategy<Value = i32> {
        prop_oneof![
            prop::sample::select(vec![i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX]),
            -9..9,
            any::<i32>()
        ]
    }

    /// Channels, values, thresholds per channel, flip words.
    fn case<T: Clone + std::fmt::Debug, S: Strategy<Value = T> + Clone>(
        value: impl Fn() -> S,
    ) -> impl Strategy<Value = (usize, Vec<T>, Vec<T>, Vec<u64>)> {
        let channels = [1_usize, 3, 15, 16, 22, 31, 33, 63, 64, 65, 127, 128, 129];
        let (a, b) = (value(), value());
        (prop::sample::select(channels.to_vec()), 0..5_usize).prop_flat_map(
            move |(channels, pixels)| {
                (
                    Just(channels),
                    prop::collection::vec(a.clone(), pixels * channels),
                    prop::collection::vec(b.clone(), channels),
                    prop::collection::vec(any::<u64>(), words_per_pixel(channels)),
                )
            },
        )
    }

    fn check<T: Copy + PartialOrd + std::fmt::Debug>(
        pack: impl Fn(Isa, &mut [u64]),
        channels: usize,
        values: &[T],
        threshold: impl Fn(usize) -> T,
        flip: Option<&[u64]>,
    ) {
        let words = words_per_pixel(channels);
        for isa in Isa::available() {
            let mut out = vec![0x5555_5555_5555_5555; values.len() / channels * words];
            pack(isa, &mut out);
            for at in 0..out.len() * 64 {
                let (pixel, channel) = (at / (words * 64), at % (words * 64));
                let expected = channel < channels && {
                    let reached = values[pixel * channels + channel] >= threshold(channel);
                    reached != flip.is_some_and(|flip| bit(flip, channel))
                };
                assert_eq!(bit(&out, at), expected, "{isa}, pixel {pixel}, channel {channel}");
            }
        }
    }

    proptest! {
        #[test]
        fn packed_floats_are_ordered_comparisons(
            (channels, values, thresholds, flip) in case(|| float().boxed()),
        ) {
            for flip in [None, Some(&flip[..])] {
                let pack = |isa, out: &mut [u64]| pack_f32(isa, &values, channels, &thresholds, flip, out);
                check(pack, channels, &values, |channel| thresholds[channel], flip);
                let pack = |isa, out: &mut [u64]| pack_f32(isa, &values, channels, &thresholds[..1], flip, out);
                check(pack, channels, &values, |_| thresholds[0], flip);
            }
        }

        #[test]
        fn packed_integers_are_comparisons(
            (channels, values, thresholds, flip) in case(|| integer().boxed()),
        ) {
            for flip in [None, Some(&flip[..])] {
                let pack = |isa, out: &mut [u64]| pack_i32(isa, &values, channels, &thresholds, flip, out);
                check(pack, channels, &values, |channel| thresholds[channel], flip);
            }
        }
    }

    #[test]
    fn zero_is_high_and_nan_is_low() {
        let values =
            [0.0, -0.0, f32::NAN, f32::from_bits(1), -f32::from_bits(1), f32::NEG_INFINITY];
        for isa in Isa::available() {
            let mut out = [0];
            pack_f32(isa, &values, 6, &[0.0], None, &mut out);
            assert_eq!(out, [0b00_1011], "{isa}");
            pack_f32(isa, &values, 6, &[-0.0], Some(&[u64::MAX]), &mut out);
            assert_eq!(out, [0b11_0100], "{isa}");
        }
    }

    #[test]
    fn extreme_integer_thresholds() {
        let values = [i32::MIN, -1, i32::MAX, i32::MAX - 1, i32::MIN, 7, 7, 7];
        let thresholds = [i32::MIN, i32::MIN, i32::MAX, i32::MAX, i32::MIN + 1, 6, 7, 8];
        for isa in Isa::available() {
            let mut out = [0];
            pack_i32(isa, &values, 8, &thresholds, None, &mut out);
            assert_eq!(out, [0b0110_0111], "{isa}");
        }
    }
}
