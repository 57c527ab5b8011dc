//! Comparisons on 64-bit Arm: sixteen at a time become a mask of bytes, 64 of these bits one word.

use super::{Compare, Packing, Portable, pack};
use crate::features::Neon;
use std::arch::aarch64::*;

/// Elements that NEON compares.
pub(super) trait Element: Copy + PartialOrd {
    /// Byte `i` is all ones where `values[i] >= thresholds[i]`, else 0.
    ///
    /// # Safety
    /// The processor has NEON.
    unsafe fn at_least_16(values: &[Self; 16], thresholds: &[Self; 16]) -> uint8x16_t;
}

/// `$masks(i)` is the comparison of vector `i`, and `$bytes` makes bytes of them all.
macro_rules! elements {
    ($($element:ty: $lanes:literal, $load:ident, $compare:ident, |$masks:ident| $bytes:expr;)+) => {
        $(impl Element for $element {
            #[inline(always)]
            unsafe fn at_least_16(values: &[$element; 16], thresholds: &[$element; 16]) -> uint8x16_t {
                let (values, thresholds) = (values.as_ptr(), thresholds.as_ptr());
                // SAFETY: the caller promises the features; all vectors lie in the sixteen elements, and
                // the loads may be unaligned.
                unsafe {
                    let $masks = |vector: usize| {
                        let values = $load(values.add(vector * $lanes));
                        $compare(values, $load(thresholds.add(vector * $lanes)))
                    };
                    $bytes
                }
            }
        })+
    };
}

// Masks are all ones or zero, so that the even (low) parts of their lanes say as much.
elements! {
    f32: 4, vld1q_f32, vcgeq_f32, |masks| narrow_32([masks(0), masks(1), masks(2), masks(3)]);
    i32: 4, vld1q_s32, vcgeq_s32, |masks| narrow_32([masks(0), masks(1), masks(2), masks(3)]);
    i16: 8, vld1q_s16, vcgeq_s16, |masks| narrow_16([masks(0), masks(1)]);
}

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn narrow_32([a, b, c, d]: [uint32x4_t; 4]) -> uint8x16_t {
    // SAFETY: the promise of the caller.
    unsafe {
        let halves = |a, b| vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
        narrow_16([halves(a, b), halves(c, d)])
    }
}

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn narrow_16([a, b]: [uint16x8_t; 2]) -> uint8x16_t {
    // SAFETY: the promise of the caller.
    unsafe { vuzp1q_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(b)) }
}

/// Bit `i` of byte `i` of each half.
static BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

impl<T: Element> Compare<T> for Neon {
    #[inline(always)]
    fn at_least(self, values: &[T], thresholds: &[T]) -> u64 {
        let (values, values_rest) = values.as_chunks::<16>();
        let (thresholds, thresholds_rest) = thresholds.as_chunks::<16>();
        // SAFETY: `self` proves the features; there are sixteen bytes of bits.
        let mut word = unsafe {
            let bits = vld1q_u8(BITS.as_ptr());
            let mut masks = [vdupq_n_u8(0); 4];
            for (mask, (values, thresholds)) in masks.iter_mut().zip(values.iter().zip(thresholds))
            {
                *mask = vandq_u8(T::at_least_16(values, thresholds), bits);
            }
            // Three times the sums of neighbours: eight bytes become one, whose bits they were.
            let [a, b, c, d] = masks;
            let pairs = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
            vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)))
        };
        if !values_rest.is_empty() {
            word |= Portable.at_least(values_rest, thresholds_rest) << (16 * values.len());
        }
        word
    }
}

/// Packs with NEON.
pub(super) fn pack_neon<T: Element>(proof: Neon, packing: &Packing<'_, T>, out: &mut [u64]) {
    #[target_feature(enable = "neon")]
    fn compiled<T: Element>(proof: Neon, packing: &Packing<'_, T>, out: &mut [u64]) {
        pack(proof, packing, out);
    }
    // SAFETY: `proof` proves the features.
    unsafe { compiled(proof, packing, out) }
}
