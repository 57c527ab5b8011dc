//! Vectors of x86-64.

use super::Lanes;
use std::arch::x86_64::*;

/// Four lanes of SSE4.1, which has no fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct Sse4(__m128);

/// Eight lanes of AVX2 with FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// Sixteen lanes of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

// The instructions `minps` and `maxps` are exactly `a < b ? a : b` and `a > b ? a : b`: where the
// comparison fails, for NaN and equal zeros too, they return the second operand.

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

impl Lanes for Sse4 {
    const LANES: usize = 4;

    operations! {
        fn splat(x: f32) -> Self = Self(_mm_set1_ps(x));
        fn load(from: *const f32) -> Self = Self(_mm_loadu_ps(from));
        fn load_aligned(from: *const f32) -> Self = Self(_mm_load_ps(from));
        fn load_first(from: *const f32, count: usize) -> Self = {
            let mut lanes = [0.0; 4];
            lanes.as_mut_ptr().copy_from_nonoverlapping(from, count);
            Self(_mm_loadu_ps(lanes.as_ptr()))
        };
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller keeps the promises of the trait.
        unsafe { _mm_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller keeps the promises of the trait; `lanes` holds a vector.
        unsafe {
            _mm_storeu_ps(lanes.as_mut_ptr(), self.0);
            to.copy_from_nonoverlapping(lanes.as_ptr(), count);
        }
    }

    operations! {
        fn mul_add(self, factor: Self, addend: Self) -> Self =
            Self(_mm_add_ps(_mm_mul_ps(self.0, factor.0), addend.0));
        fn add(self, other: Self) -> Self = Self(_mm_add_ps(self.0, other.0));
        fn sub(self, other: Self) -> Self = Self(_mm_sub_ps(self.0, other.0));
        fn mul(self, other: Self) -> Self = Self(_mm_mul_ps(self.0, other.0));
        fn div(self, other: Self) -> Self = Self(_mm_div_ps(self.0, other.0));
        fn minimum(self, other: Self) -> Self = Self(_mm_min_ps(self.0, other.0));
        fn maximum(self, other: Self) -> Self = Self(_mm_max_ps(self.0, other.0));
        fn select_ge(self, other: Self, yes: Self, no: Self) -> Self =
            Self(_mm_blendv_ps(no.0, yes.0, _mm_cmpge_ps(self.0, other.0)));
        fn select_gt(self, other: Self, yes: Self, no: Self) -> Self =
            Self(_mm_blendv_ps(no.0, yes.0, _mm_cmpgt_ps(self.0, other.0)));
        fn ge_bits(self, other: Self) -> u64 =
            _mm_movemask_ps(_mm_cmpge_ps(self.0, other.0)) as u64;
        fn neg(self) -> Self = Self(_mm_xor_ps(self.0, _mm_set1_ps(-0.0)));
        fn abs(self) -> Self = Self(_mm_andnot_ps(_mm_set1_ps(-0.0), self.0));
        fn floor(self) -> Self = Self(_mm_floor_ps(self.0));
        fn ceil(self) -> Self = Self(_mm_ceil_ps(self.0));
        fn round_ties_even(self) -> Self =
            Self(_mm_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0));
        fn sqrt(self) -> Self = Self(_mm_sqrt_ps(self.0));
        fn of_integers(self) -> Self = Self(_mm_cvtepi32_ps(_mm_castps_si128(self.0)));
    }
}

/// All ones in the first `count` of eight lanes.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn first_lanes(count: usize) -> __m256i {
    // SAFETY: the caller has the features.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(count as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

impl Lanes for Avx2 {
    const LANES: usize = 8;

    operations! {
        fn splat(x: f32) -> Self = Self(_mm256_set1_ps(x));
        fn load(from: *const f32) -> Self = Self(_mm256_loadu_ps(from));
        fn load_aligned(from: *const f32) -> Self = Self(_mm256_load_ps(from));
        fn load_first(from: *const f32, count: usize) -> Self =
            Self(_mm256_maskload_ps(from, first_lanes(count)));
        fn store(self, to: *mut f32) -> () = _mm256_storeu_ps(to, self.0);
        fn store_first(self, to: *mut f32, count: usize) -> () =
            _mm256_maskstore_ps(to, first_lanes(count), self.0);
        fn mul_add(self, factor: Self, addend: Self) -> Self =
            Self(_mm256_fmadd_ps(self.0, factor.0, addend.0));
        fn add(self, other: Self) -> Self = Self(_mm256_add_ps(self.0, other.0));
        fn sub(self, other: Self) -> Self = Self(_mm256_sub_ps(self.0, other.0));
        fn mul(self, other: Self) -> Self = Self(_mm256_mul_ps(self.0, other.0));
        fn div(self, other: Self) -> Self = Self(_mm256_div_ps(self.0, other.0));
        fn minimum(self, other: Self) -> Self = Self(_mm256_min_ps(self.0, other.0));
        fn maximum(self, other: Self) -> Self = Self(_mm256_max_ps(self.0, other.0));
        fn select_ge(self, other: Self, yes: Self, no: Self) -> Self = Self(_mm256_blendv_ps(
            no.0, yes.0, _mm256_cmp_ps::<_CMP_GE_OQ>(self.0, other.0)
        ));
        fn select_gt(self, other: Self, yes: Self, no: Self) -> Self = Self(_mm256_blendv_ps(
            no.0, yes.0, _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)
        ));
        fn ge_bits(self, other: Self) -> u64 =
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(self.0, other.0)) as u64;
        fn neg(self) -> Self = Self(_mm256_xor_ps(self.0, _mm256_set1_ps(-0.0)));
        fn abs(self) -> Self = Self(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0));
        fn floor(self) -> Self = Self(_mm256_floor_ps(self.0));
        fn ceil(self) -> Self = Self(_mm256_ceil_ps(self.0));
        fn round_ties_even(self) -> Self =
            Self(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0));
        fn sqrt(self) -> Self = Self(_mm256_sqrt_ps(self.0));
        fn of_integers(self) -> Self = Self(_mm256_cvtepi32_ps(_mm256_castps_si256(self.0)));
    }
}

/// The first `count` of sixteen lanes.
#[inline(always)]
fn first_mask(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

impl Lanes for Avx512 {
    const LANES: usize = 16;

    operations! {
        fn splat(x: f32) -> Self = Self(_mm512_set1_ps(x));
        fn load(from: *const f32) -> Self = Self(_mm512_loadu_ps(from));
        fn load_aligned(from: *const f32) -> Self = Self(_mm512_load_ps(from));
        fn load_first(from: *const f32, count: usize) -> Self =
            Self(_mm512_maskz_loadu_ps(first_mask(count), from));
        fn store(self, to: *mut f32) -> () = _mm512_storeu_ps(to, self.0);
        fn store_first(self, to: *mut f32, count: usize) -> () =
            _mm512_mask_storeu_ps(to, first_mask(count), self.0);
        fn mul_add(self, factor: Self, addend: Self) -> Self =
            Self(_mm512_fmadd_ps(self.0, factor.0, addend.0));
        fn add(self, other: Self) -> Self = Self(_mm512_add_ps(self.0, other.0));
        fn sub(self, other: Self) -> Self = Self(_mm512_sub_ps(self.0, other.0));
        fn mul(self, other: Self) -> Self = Self(_mm512_mul_ps(self.0, other.0));
        fn div(self, other: Self) -> Self = Self(_mm512_div_ps(self.0, other.0));
        fn minimum(self, other: Self) -> Self = Self(_mm512_min_ps(self.0, other.0));
        fn maximum(self, other: Self) -> Self = Self(_mm512_max_ps(self.0, other.0));
        fn select_ge(self, other: Self, yes: Self, no: Self) -> Self = Self(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, other.0), no.0, yes.0
        ));
        fn select_gt(self, other: Self, yes: Self, no: Self) -> Self = Self(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0), no.0, yes.0
        ));
        fn ge_bits(self, other: Self) -> u64 =
            u64::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, other.0));
        fn neg(self) -> Self = Self(_mm512_xor_ps(self.0, _mm512_set1_ps(-0.0)));
        fn abs(self) -> Self = Self(_mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0));
        fn floor(self) -> Self =
            Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0));
        fn ceil(self) -> Self =
            Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0));
        fn round_ties_even(self) -> Self =
            Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0));
        fn sqrt(self) -> Self = Self(_mm512_sqrt_ps(self.0));
        fn of_integers(self) -> Self = Self(_mm512_cvtepi32_ps(_mm512_castps_si512(self.0)));
    }
}
