//! Integer vectors of the x86-64 instruction sets, as far as the binary kernels need them.

use crate::{
    bit_string::low_mask,
    features::{Avx2, Avx512, Avx512Bitalg, V2},
};
use std::{arch::x86_64::*, fmt::Debug};

/// Integer vectors of one width. The implementing type proves that the processor has them.
pub(super) trait Integers: Copy + Debug + Send + Sync + 'static {
    /// A vector.
    type Vector: Copy;
    /// Its bytes.
    const BYTES: usize;

    /// All zeros.
    fn zero(self) -> Self::Vector;
    /// The first [`Integers::BYTES`] bytes.
    fn load_u8(self, from: &[u8]) -> Self::Vector;
    /// The first `BYTES / 4` integers.
    fn load_i32(self, from: &[i32]) -> Self::Vector;
    /// Writes the first `BYTES / 4` integers.
    fn store_i32(self, vector: Self::Vector, to: &mut [i32]);
    /// `a + b` by bytes, wrapping.
    fn add_u8(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a + b` by 16 bits, wrapping.
    fn add_u16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a + b` by 32 bits, wrapping.
    fn add_i32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b` by 32 bits, wrapping.
    fn sub_i32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The second, fourth, ... byte as 16 bits each.
    fn high_u8(self, a: Self::Vector) -> Self::Vector;
    /// The low and the high half of each byte.
    fn halves(self, a: Self::Vector) -> [Self::Vector; 2];
    /// From 16-bit sums the first, second, third and fourth one of each 32-bit lane of bytes, as 32 bits. `pairs` are
    /// sums of bytes that were taken by twos as 16 bits, which may have wrapped, `seconds` those of the second
    /// bytes alone.
    fn widen(self, pairs: Self::Vector, seconds: Self::Vector) -> [Self::Vector; 4];
    /// A table of 16 bytes, as [`Integers::lookup`] takes it.
    fn table(self, row: &[u8; 16]) -> Self::Vector;
    /// For each byte of `indices` (0 to 15) the entry of the table.
    fn lookup(self, table: Self::Vector, indices: Self::Vector) -> Self::Vector;
}

/// Vectors of sixteen 32-bit words with a population count.
pub(super) trait CountingLanes: Integers {
    /// The first 16 words.
    fn load_u32(self, from: &[u32]) -> Self::Vector;
    /// One word in every lane.
    fn broadcast_u32(self, word: u32) -> Self::Vector;
    /// One byte in every place.
    fn splat_i8(self, byte: i8) -> Self::Vector;
    /// `sums + factor * ones of (a xor b)`, by 32 bits; `factor` is a [splat](Self::splat_i8).
    fn count(
        self,
        sums: Self::Vector,
        a: Self::Vector,
        b: Self::Vector,
        factor: Self::Vector,
    ) -> Self::Vector;
    /// Writes as many integers as there is room for, at most 16.
    fn store_first_i32(self, vector: Self::Vector, to: &mut [i32]);
}

/// Methods are compiled into callers that have the features of the type; see `inline(always)`.
macro_rules! integers {
    (
        $proof:ty, $vector:ty, $bytes:literal,
        zero: $zero:ident, load: $load:ident, store: $store:ident,
        add: $add8:ident $add16:ident $add32:ident,
        sub: $sub16:ident $sub32:ident, and: $and:ident, splat: $splat32:ident, shift left: $left16:ident,
        shift right: $right16:ident $right32:ident,
        table: |$row:ident| $table_body:expr, lookup: $lookup:ident,
    ) => {
        impl Integers for $proof {
            type Vector = $vector;
            const BYTES: usize = $bytes;

            #[inline(always)]
            fn zero(self) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $zero() }
            }

            #[inline(always)]
            fn load_u8(self, from: &[u8]) -> $vector {
                let from: &[u8; $bytes] = from.first_chunk().expect("a whole vector");
                // SAFETY: `self` proves the features; `from` is as long as the vector; the load may
                // be unaligned.
                unsafe { $load(from.as_ptr().cast()) }
            }

            #[inline(always)]
            fn load_i32(self, from: &[i32]) -> $vector {
                let from: &[i32; $bytes / 4] = from.first_chunk().expect("a whole vector");
                // SAFETY: as for `load_u8`.
                unsafe { $load(from.as_ptr().cast()) }
            }

            #[inline(always)]
            fn store_i32(self, vector: $vector, to: &mut [i32]) {
                let to: &mut [i32; $bytes / 4] = to.first_chunk_mut().expect("a whole vector");
                // SAFETY: `self` proves the features; `to` is as long as the vector; the store may
                // be unaligned.
                unsafe { $store(to.as_mut_ptr().cast(), vector) }
            }

            #[inline(always)]
            fn add_u8(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $add8(a, b) }
            }

            #[inline(always)]
            fn add_u16(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $add16(a, b) }
            }

            #[inline(always)]
            fn add_i32(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $add32(a, b) }
            }

            #[inline(always)]
            fn sub_i32(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $sub32(a, b) }
            }

            #[inline(always)]
            fn high_u8(self, a: $vector) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $right16::<8>(a) }
            }

            #[inline(always)]
            fn halves(self, a: $vector) -> [$vector; 2] {
                // SAFETY: `self` proves the features.
                unsafe {
                    let low = $splat32(0x0f0f_0f0f);
                    [$and(a, low), $and($right16::<4>(a), low)]
                }
            }

            #[inline(always)]
            fn widen(self, pairs: $vector, seconds: $vector) -> [$vector; 4] {
                // SAFETY: `self` proves the features.
                unsafe {
                    let firsts = $sub16(pairs, $left16::<8>(seconds));
                    let low = $splat32(0xffff);
                    [
                        $and(firsts, low),
                        $and(seconds, low),
                        $right32::<16>(firsts),
                        $right32::<16>(seconds),
                    ]
                }
            }

            #[inline(always)]
            fn table(self, $row: &[u8; 16]) -> $vector {
                // SAFETY: `self` proves the features; the load of 16 bytes may be unaligned.
                unsafe { $table_body }
            }

            #[inline(always)]
            fn lookup(self, table: $vector, indices: $vector) -> $vector {
                // SAFETY: `self` proves the features.
                unsafe { $lookup(table, indices) }
            }
        }
    };
}

integers! {
    V2, __m128i, 16,
    zero: _mm_setzero_si128, load: _mm_loadu_si128, store: _mm_storeu_si128,
    add: _mm_add_epi8 _mm_add_epi16 _mm_add_epi32,
    sub: _mm_sub_epi16 _mm_sub_epi32, and: _mm_and_si128, splat: _mm_set1_epi32, shift left: _mm_slli_epi16,
    shift right: _mm_srli_epi16 _mm_srli_epi32,
    table: |row| _mm_loadu_si128(row.as_ptr().cast()),
    lookup: _mm_shuffle_epi8,
}

integers! {
    Avx2, __m256i, 32,
    zero: _mm256_setzero_si256, load: _mm256_loadu_si256, store: _mm256_storeu_si256,
    add: _mm256_add_epi8 _mm256_add_epi16 _mm256_add_epi32,
    sub: _mm256_sub_epi16 _mm256_sub_epi32, and: _mm256_and_si256, splat: _mm256_set1_epi32,
    shift left: _mm256_slli_epi16, shift right: _mm256_srli_epi16 _mm256_srli_epi32,
    table: |row| _mm256_broadcastsi128_si256(_mm_loadu_si128(row.as_ptr().cast())),
    lookup: _mm256_shuffle_epi8,
}

macro_rules! integers_512 {
    ($proof:ty) => {
        integers! {
            $proof, __m512i, 64,
            zero: _mm512_setzero_si512, load: _mm512_loadu_si512, store: _mm512_storeu_si512,
            add: _mm512_add_epi8 _mm512_add_epi16 _mm512_add_epi32,
            sub: _mm512_sub_epi16 _mm512_sub_epi32, and: _mm512_and_si512, splat: _mm512_set1_epi32,
            shift left: _mm512_slli_epi16, shift right: _mm512_srli_epi16 _mm512_srli_epi32,
            table: |row| _mm512_broadcast_i32x4(_mm_loadu_si128(row.as_ptr().cast())),
            lookup: _mm512_shuffle_epi8,
        }
    };
}

macro_rules! counting_lanes {
    ($proof:ty, |$sums:ident, $ones_of:ident, $factor:ident| $count:expr) => {
        impl CountingLanes for $proof {
            #[inline(always)]
            fn load_u32(self, from: &[u32]) -> __m512i {
                let from: &[u32; 16] = from.first_chunk().expect("a whole vector");
                // SAFETY: `self` proves the features; `from` is as long as the vector; the load may
                // be unaligned.
                unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
            }

            #[inline(always)]
            fn broadcast_u32(self, word: u32) -> __m512i {
                // SAFETY: `self` proves the features.
                unsafe { _mm512_set1_epi32(word as i32) }
            }

            #[inline(always)]
            fn splat_i8(self, byte: i8) -> __m512i {
                // SAFETY: `self` proves the features.
                unsafe { _mm512_set1_epi8(byte) }
            }

            #[inline(always)]
            fn count(self, $sums: __m512i, a: __m512i, b: __m512i, $factor: __m512i) -> __m512i {
                // SAFETY: `self` proves the features.
                unsafe {
                    let $ones_of = _mm512_xor_si512(a, b);
                    $count
                }
            }

            #[inline(always)]
            fn store_first_i32(self, vector: __m512i, to: &mut [i32]) {
                let mask = low_mask(to.len().min(16)) as u16;
                // SAFETY: `self` proves the features; no more is written than there is room for.
                unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr(), mask, vector) }
            }
        }
    };
}

integers_512!(Avx512);
integers_512!(Avx512Bitalg);
counting_lanes!(Avx512Bitalg, |sums, x, factor| {
    _mm512_dpbusd_epi32(sums, _mm512_popcnt_epi8(x), factor)
});

/// Counts bits by table look-ups, for testing the 32-bit lanes without BITALG and VNNI.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(super) struct EmulatedBitalg(pub(super) Avx512);

#[cfg(test)]
integers_512!(EmulatedBitalg);
#[cfg(test)]
counting_lanes!(EmulatedBitalg, |sums, x, factor| {
    let nibbles = _mm512_set1_epi8(15);
    let ones =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    let bytes = _mm512_add_epi8(
        _mm512_shuffle_epi8(ones, _mm512_and_si512(x, nibbles)),
        _mm512_shuffle_epi8(ones, _mm512_and_si512(_mm512_srli_epi16::<4>(x), nibbles)),
    );
    let pairs = _mm512_maddubs_epi16(bytes, factor);
    _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
});

/// Turns the mismatches of `BYTES / 4` channels into accumulators: `base - m` or `base - 2 m`, where
/// without a base the accumulators that are there already are used. `out` may be shorter than the
/// vector: the last channels are then padding.
#[inline(always)]
pub(super) fn emit<S: Integers>(
    simd: S,
    mismatches: S::Vector,
    double: bool,
    base: Option<&[i32]>,
    out: &mut [i32],
) {
    let lanes = S::BYTES / 4;
    let subtrahend = if double { simd.add_i32(mismatches, mismatches) } else { mismatches };
    if out.len() >= lanes {
        let base = simd.load_i32(base.unwrap_or(out));
        simd.store_i32(simd.sub_i32(base, subtrahend), out);
    } else {
        let mut whole = [0; 16];
        match base {
            Some(base) => whole[..lanes].copy_from_slice(&base[..lanes]),
            None => whole[..out.len()].copy_from_slice(out),
        }
        let base = simd.load_i32(&whole);
        simd.store_i32(simd.sub_i32(base, subtrahend), &mut whole);
        out.copy_from_slice(&whole[..out.len()]);
    }
}
