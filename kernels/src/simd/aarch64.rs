//! Vectors of 64-bit Arm.

use super::Lanes;
use std::arch::aarch64::*;

/// Four lanes of NEON. Its multiply-add is fused.
#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

/// Turns one-line bodies of intrinsics into the functions of a [`Lanes`].
macro_rules! operations {
    ($(fn $name:ident($($arguments:tt)*) -> $result:ty = $body:expr;)*) => {
        $(
            #[inline(always)]
            unsafe fn $name($($arguments)*) -> $result {
                // SAFETY: the caller keeps the promises of the trait: features and valid pointers.
                unsafe { $body }
            }
        )*
    };
}

impl Lanes for Neon {
    const LANES: usize = 4;

    operations! {
        fn splat(x: f32) -> Self = Self(vdupq_n_f32(x));
        fn load(from: *const f32) -> Self = Self(vld1q_f32(from));
        fn load_aligned(from: *const f32) -> Self = Self(vld1q_f32(from));
        fn load_first(from: *const f32, count: usize) -> Self = {
            let mut lanes = [0.0; 4];
            lanes.as_mut_ptr().copy_from_nonoverlapping(from, count);
            Self(vld1q_f32(lanes.as_ptr()))
        };
        fn store(self, to: *mut f32) -> () = vst1q_f32(to, self.0);
        fn store_first(self, to: *mut f32, count: usize) -> () = {
            let mut lanes = [0.0; 4];
            vst1q_f32(lanes.as_mut_ptr(), self.0);
            to.copy_from_nonoverlapping(lanes.as_ptr(), count);
        };
        fn mul_add(self, factor: Self, addend: Self) -> Self =
            Self(vfmaq_f32(addend.0, self.0, factor.0));
        fn add(self, other: Self) -> Self = Self(vaddq_f32(self.0, other.0));
        fn sub(self, other: Self) -> Self = Self(vsubq_f32(self.0, other.0));
        fn mul(self, other: Self) -> Self = Self(vmulq_f32(self.0, other.0));
        fn div(self, other: Self) -> Self = Self(vdivq_f32(self.0, other.0));
        // Not `fmin` and `fmax`: of NaN and a number they give NaN, and they order the zeros. Where the
        // comparison fails the second operand is to be returned.
        fn minimum(self, other: Self) -> Self =
            Self(vbslq_f32(vcltq_f32(self.0, other.0), self.0, other.0));
        fn maximum(self, other: Self) -> Self =
            Self(vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0));
        fn select_ge(self, other: Self, yes: Self, no: Self) -> Self =
            Self(vbslq_f32(vcgeq_f32(self.0, other.0), yes.0, no.0));
        fn select_gt(self, other: Self, yes: Self, no: Self) -> Self =
            Self(vbslq_f32(vcgtq_f32(self.0, other.0), yes.0, no.0));
        // Each lane keeps a bit of its own, so that their sum is all of them.
        fn ge_bits(self, other: Self) -> u64 = u64::from(vaddvq_u32(vandq_u32(
            vcgeq_f32(self.0, other.0),
            vld1q_u32([1, 2, 4, 8].as_ptr()),
        )));
        fn neg(self) -> Self = Self(vnegq_f32(self.0));
        fn abs(self) -> Self = Self(vabsq_f32(self.0));
        fn floor(self) -> Self = Self(vrndmq_f32(self.0));
        fn ceil(self) -> Self = Self(vrndpq_f32(self.0));
        fn round_ties_even(self) -> Self = Self(vrndnq_f32(self.0));
        fn sqrt(self) -> Self = Self(vsqrtq_f32(self.0));
        fn of_integers(self) -> Self = Self(vcvtq_f32_s32(vreinterpretq_s32_f32(self.0)));
    }
}
