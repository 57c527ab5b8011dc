//! Vectors of f32 with one face for all instruction sets, so that a kernel is written once.
//!
//! A kernel is a generic `#[inline(always)] unsafe fn kernel<V: Lanes>(..)`; [`vectorised!`] makes from
//! it a function for each instruction set, compiled with the features of that set, and a choice among
//! them at run time.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Avx2, Avx512, Sse4};

/// A vector of f32.
///
/// Every operation is the IEEE one, rounded to nearest even, in each lane, and gives the same bits in
/// every instruction set but for [`mul_add`](Self::mul_add). Comparisons are ordered: false where a side
/// is NaN.
///
/// # Safety
/// All functions may only be called where the processor has the features of the instruction set;
/// pointers must be valid for the number of floats that a function names, and need no alignment.
pub(crate) trait Lanes: Copy {
    /// Floats in a vector.
    const LANES: usize;

    /// The same value in all lanes.
    unsafe fn splat(x: f32) -> Self;
    /// Reads [`LANES`](Self::LANES) floats.
    unsafe fn load(from: *const f32) -> Self;
    /// Reads `count` floats, at most [`LANES`](Self::LANES); the other lanes are 0.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// Reads [`LANES`](Self::LANES) floats that start at a multiple of the size of a vector. Before AVX
    /// only such a read can be part of another instruction.
    unsafe fn load_aligned(from: *const f32) -> Self;
    /// Writes [`LANES`](Self::LANES) floats.
    unsafe fn store(self, to: *mut f32);
    /// Writes the first `count` lanes, at most [`LANES`](Self::LANES).
    unsafe fn store_first(self, to: *mut f32, count: usize);

    /// `self * factor + addend`: rounded once, but on `v2` after the product too
    /// ([`Isa::fuses_multiply_add`](crate::Isa::fuses_multiply_add)).
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// `self < other ? self : other`.
    unsafe fn minimum(self, other: Self) -> Self;
    /// `self > other ? self : other`.
    unsafe fn maximum(self, other: Self) -> Self;
    /// `self >= other ? yes : no`.
    unsafe fn select_ge(self, other: Self, yes: Self, no: Self) -> Self;
    /// `self > other ? yes : no`.
    unsafe fn select_gt(self, other: Self, yes: Self, no: Self) -> Self;
    /// `self >= other` as bits, first lane lowest.
    unsafe fn ge_bits(self, other: Self) -> u64;
    /// `-self`.
    unsafe fn neg(self) -> Self;
    /// Without its sign.
    unsafe fn abs(self) -> Self;
    /// Largest integer not above.
    unsafe fn floor(self) -> Self;
    /// Smallest integer not below.
    unsafe fn ceil(self) -> Self;
    /// Nearest integer, halves to even.
    unsafe fn round_ties_even(self) -> Self;
    /// Square root.
    unsafe fn sqrt(self) -> Self;
    /// The lanes, which hold integers (i32), as floats.
    unsafe fn of_integers(self) -> Self;
}

/// Makes from a generic kernel over [`Lanes`] a function that takes the instruction set first and
/// runs the kernel compiled for it.
///
/// The function is unsafe: beyond what the kernel asks for, the processor must have the instruction
/// set, and it must not be [`Isa::Scalar`](crate::Isa::Scalar), which has no vectors.
macro_rules! vectorised {
    (
        $(#[$meta:meta])*
        $visibility:vis unsafe fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $kernel:ident;
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "the arguments of the kernel")]
        $visibility unsafe fn $name(isa: $crate::Isa, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "ssse3,sse4.1,popcnt")]
                unsafe fn v2($($argument: $type),*) {
                    // SAFETY: this function has the features of the vectors; the rest is the caller's.
                    unsafe { $kernel::<$crate::simd::Sse4>($($argument),*) }
                }
                #[target_feature(enable = "avx2,fma,popcnt")]
                unsafe fn avx2($($argument: $type),*) {
                    // SAFETY: this function has the features of the vectors; the rest is the caller's.
                    unsafe { $kernel::<$crate::simd::Avx2>($($argument),*) }
                }
                #[target_feature(enable = "avx2,fma,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
                unsafe fn avx512($($argument: $type),*) {
                    // SAFETY: this function has the features of the vectors; the rest is the caller's.
                    unsafe { $kernel::<$crate::simd::Avx512>($($argument),*) }
                }
                // SAFETY: the caller has made sure that the processor has the instruction set, and keeps
                // the promises that the kernel asks for.
                unsafe {
                    match isa {
                        $crate::Isa::V2 => v2($($argument),*),
                        $crate::Isa::Avx2 => avx2($($argument),*),
                        $crate::Isa::Avx512 | $crate::Isa::Avx512Vpopcnt | $crate::Isa::Amx => avx512($($argument),*),
                        $crate::Isa::Scalar | $crate::Isa::Neon => {
                            unreachable!("{isa} has no vectors on this processor")
                        }
                    }
                }
            }
            #[cfg(target_arch = "aarch64")]
            {
                #[target_feature(enable = "neon")]
                unsafe fn neon($($argument: $type),*) {
                    // SAFETY: this function has the features of the vectors; the rest is the caller's.
                    unsafe { $kernel::<$crate::simd::Neon>($($argument),*) }
                }
                match isa {
                    // SAFETY: the caller has made sure that the processor has the instruction set, and
                    // keeps the promises that the kernel asks for.
                    $crate::Isa::Neon => unsafe { neon($($argument),*) },
                    _ => unreachable!("{isa} has no vectors on this processor"),
                }
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            {
                let _ = ($($argument),*);
                unreachable!("{isa} has no vectors on this processor")
            }
        }
    };
}
pub(crate) use vectorised;

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use crate::Isa;
    use proptest::prelude::*;

    /// Writes `a * b + c` of all lanes, in as many vectors as fit.
    #[inline(always)]
    unsafe fn multiply_add<V: Lanes>(a: &[f32], b: &[f32], c: &[f32], out: &mut [f32]) {
        for at in (0..out.len()).step_by(V::LANES) {
            let count = V::LANES.min(out.len() - at);
            // SAFETY: all slices have the length of `out`, and `count` floats are left of it.
            unsafe {
                let load = |from: &[f32]| V::load_first(from.as_ptr().add(at), count);
                load(a).mul_add(load(b), load(c)).store_first(out.as_mut_ptr().add(at), count);
            }
        }
    }

    vectorised! {
        unsafe fn multiply_add_on(
            a: &[f32],
            b: &[f32],
            c: &[f32],
            out: &mut [f32],
        ) = multiply_add;
    }

    /// Each operation of one operand or two, by its number; `select_ge` and `select_gt` choose between the
    /// operands, `ge_bits` gives the bits as a float.
    #[inline(always)]
    unsafe fn operation<V: Lanes>(number: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
        for at in (0..out.len()).step_by(V::LANES) {
            let count = V::LANES.min(out.len() - at);
            // SAFETY: all slices have the length of `out`, and `count` floats are left of it.
            unsafe {
                let x = V::load_first(a.as_ptr().add(at), count);
                let y = V::load_first(b.as_ptr().add(at), count);
                let result = match number {
                    0 => x.add(y),
                    1 => x.sub(y),
                    2 => x.mul(y),
                    3 => x.div(y),
                    4 => x.minimum(y),
                    5 => x.maximum(y),
                    6 => x.select_ge(y, x, y),
                    7 => x.select_gt(y, y, x),
                    8 => x.neg(),
                    9 => x.abs(),
                    10 => x.floor(),
                    11 => x.ceil(),
                    12 => x.round_ties_even(),
                    13 => x.sqrt(),
                    15 => x.of_integers(),
                    _ => {
                        let bits = x.ge_bits(y);
                        assert_eq!(bits >> V::LANES, 0, "no bit but those of the lanes");
                        for lane in 0..count {
                            out[at + lane] = (bits >> lane & 1) as f32;
                        }
                        continue;
                    }
                };
                if count == V::LANES {
                    result.store(out.as_mut_ptr().add(at));
                } else {
                    result.store_first(out.as_mut_ptr().add(at), count);
                }
            }
        }
    }

    vectorised! {
        unsafe fn operation_on(
            number: usize,
            a: &[f32],
            b: &[f32],
            out: &mut [f32],
        ) = operation;
    }

    /// What [`operation`] is to give, as the trait has it.
    const DEFINITIONS: [fn(f32, f32) -> f32; 16] = [
        |x, y| x + y,
        |x, y| x - y,
        |x, y| x * y,
        |x, y| x / y,
        |x, y| if x < y { x } else { y },
        |x, y| if x > y { x } else { y },
        |x, y| if x >= y { x } else { y },
        |x, y| if x > y { y } else { x },
        |x, _| -x,
        |x, _| x.abs(),
        |x, _| x.floor(),
        |x, _| x.ceil(),
        |x, _| x.round_ties_even(),
        |x, _| x.sqrt(),
        |x, y| f32::from(u8::from(x >= y)),
        |x, _| x.to_bits() as i32 as f32,
    ];

    /// Floats of all magnitudes, many with few significant bits so that sums meet ties.
    fn float() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<u32>().prop_map(f32::from_bits),
            (any::<u32>(), 0..23_u32).prop_map(|(bits, cut)| f32::from_bits(bits >> cut << cut)),
            (-64..64_i32, -140..120_i32).prop_map(|(n, e)| n as f32 * libm::exp2f(e as f32)),
            (0x3f7f_fff0..0x3f80_0010_u32).prop_map(f32::from_bits),
        ]
    }

    /// Floats where comparisons and roundings go wrong most easily, and any others.
    fn any_float() -> impl Strategy<Value = f32> {
        let special = [
            0.0,
            -0.0,
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::from_bits(1),
            0.5,
            -0.5,
            1.5,
            2.5,
            8_388_607.5,
            8_388_609.0,
        ];
        prop_oneof![
            prop::sample::select(special.to_vec()),
            (-64..64_i32).prop_map(|n| n as f32 / 4.0),
            any::<u32>().prop_map(f32::from_bits),
        ]
    }

    proptest! {
        #[test]
        fn every_operation_is_that_of_the_scalars(
            pairs in prop::collection::vec((any_float(), any_float()), 1..40),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
                for (number, definition) in DEFINITIONS.iter().enumerate() {
                    let mut out = vec![f32::NAN; a.len()];
                    // SAFETY: the processor has the instruction set, and the lengths agree.
                    unsafe { operation_on(isa, number, &a, &b, &mut out) };
                    for (i, found) in out.iter().enumerate() {
                        let expected = definition(a[i], b[i]);
                        prop_assert!(
                            found.to_bits() == expected.to_bits()
                                || (found.is_nan() && expected.is_nan()),
                            "{isa}, operation {number} of {:e} and {:e} is {expected:e}, found {found:e}",
                            a[i], b[i],
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn multiply_add_rounds_once_where_it_is_fused(
            triples in prop::collection::vec((float(), float(), float(), any::<bool>()), 1..40),
        ) {
            let a: Vec<f32> = triples.iter().map(|t| t.0).collect();
            let b: Vec<f32> = triples.iter().map(|t| t.1).collect();
            // Half of the addends are about as large as the product.
            let c: Vec<f32> = triples.iter()
                .map(|t| if t.3 { -(t.0 * t.1) * (1.0 + t.2 % 4.0) } else { t.2 })
                .collect();
            for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
                let mut out = vec![0.0; a.len()];
                let fuses = isa.fuses_multiply_add();
                // SAFETY: the processor has the instruction set, and the lengths agree.
                unsafe { multiply_add_on(isa, &a, &b, &c, &mut out) };
                for (i, found) in out.iter().enumerate() {
                    let expected =
                        if fuses { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
                    prop_assert!(
                        found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                        "{isa}: {:e} * {:e} + {:e} is {expected:e}, found {found:e}", a[i], b[i], c[i],
                    );
                }
            }
        }
    }
}
