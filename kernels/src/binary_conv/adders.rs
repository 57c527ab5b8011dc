//! Addition of words of bits: every bit of a vector counts at its own place.
//!
//! A counter per place is kept in *planes*: bit `k` of the counter of place `i` is bit `i` of plane `k`, and adding
//! a word is binary addition, a full adder for each plane that it reaches. With three-input logic (`vpternlogd`) a
//! full adder takes two instructions and does away with one of three words, so counting costs two instructions a
//! word, whatever the length of the sum.
//!
//! Carry-save addition of words is Harley and Seal's (H. S. Warren, Hacker's Delight, 2nd ed., 5-1).

use std::arch::x86_64::*;

/// `a ^ b ^ c`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// The carry of a full adder, from two of its words and the sum of all three.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn carry(a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
    // `a == b ? a : !sum`: where they differ, the carry is the third word.
    _mm512_ternarylogic_epi32::<0xd4>(a, b, sum)
}

/// A full adder: the sum `a ^ b ^ c` and the carry. Both overwrite an operand, so no register is copied.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn full_adder(a: __m512i, b: __m512i, c: __m512i) -> [__m512i; 2] {
    let sum = xor3(a, b, c);
    [sum, carry(b, c, sum)]
}

/// A half adder: the sum `a ^ b` and the carry.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn half_adder(a: __m512i, b: __m512i) -> [__m512i; 2] {
    let sum = _mm512_xor_si512(a, b);
    // Where `b = 1` the sum is `!a`.
    [sum, _mm512_andnot_si512(sum, b)]
}
