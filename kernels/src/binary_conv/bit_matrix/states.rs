//! The states of all steps of eight strings of bits at once: eight pixels of a row, or eight output channels of a tap.

use super::slots;
use crate::bit_string::low_mask;
use std::{arch::x86_64::*, hint::black_box};

/// Steps whose states are made at a time.
pub(super) const AT_ONCE: usize = 8;

/// Bits that these steps take.
const BITS: usize = AT_ONCE * slots::CHANNELS;

/// Eight strings of equally many bits, each somewhere in a slice of words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strings<'a> {
    words: &'a [u64],
    /// Position of the first bit of each.
    starts: __m512i,
    /// Whether all of them are those of whole words.
    aligned: bool,
    /// Position of the first word, if the strings are neighbouring words.
    neighbours: Option<isize>,
    /// Bits of each.
    bits: usize,
    /// Which of them there are, bit by bit. These lie inside the words.
    present: u8,
    /// The words of the others, as far as they have bits.
    other: u64,
}

/// Bits that lie side by side in each pixel of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct PixelBits<'a> {
    /// The row.
    pub(super) words: &'a [u64],
    /// Words of a pixel.
    pub(super) pixel: usize,
    /// Position of the first bit in a pixel.
    pub(super) first: usize,
    /// Their number.
    pub(super) bits: usize,
}

impl<'a> Strings<'a> {
    /// Strings of `bits` bits that start at these positions of `words`.
    ///
    /// # Panics
    /// If a string ends behind the words.
    pub(super) fn new(words: &'a [u64], starts: &[u64; 8], bits: usize) -> Self {
        let last = starts.iter().max().map_or(0, |&last| last as usize);
        assert!(last + bits <= words.len() * 64, "the string ends behind the words");
        // SAFETY: any 64 bytes are a vector.
        let starts = unsafe { std::mem::transmute::<[u64; 8], __m512i>(*starts) };
        Self { words, starts, aligned: false, neighbours: None, bits, present: u8::MAX, other: 0 }
    }

    /// Of every `stride`-th pixel of a row, from `x` on. In pixels outside of the row, which may be before its start,
    /// all bits are `outside`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) fn of_pixels(row: PixelBits<'a>, x: isize, stride: usize, outside: bool) -> Self {
        let PixelBits { words, pixel, first, bits } = row;
        assert!(first + bits <= pixel * 64, "bits of a pixel");
        let width = words.len() / pixel;
        let neighbours = (pixel == 1 && first == 0 && stride == 1).then_some(x);
        let lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
        let x = _mm512_add_epi64(
            _mm512_set1_epi64(x as i64),
            _mm512_mullo_epi64(lanes, _mm512_set1_epi64(stride as i64)),
        );
        let present = _mm512_cmplt_epu64_mask(x, _mm512_set1_epi64(width as i64));
        let starts = _mm512_add_epi64(
            _mm512_mullo_epi64(x, _mm512_set1_epi64(pixel as i64 * 64)),
            _mm512_set1_epi64(first as i64),
        );
        Self {
            words,
            starts,
            aligned: first.is_multiple_of(64),
            neighbours,
            bits,
            present,
            other: if outside { u64::MAX } else { 0 },
        }
    }
}

/// Makes the states step by step.
#[derive(Debug)]
pub(super) struct States<'a> {
    strings: Strings<'a>,
    /// Two words of parities of each string, the first of them number `word`.
    low: __m512i,
    high: __m512i,
    word: usize,
    /// All ones where the number of ones in all words so far is odd.
    odd: __m512i,
    /// Position of the next step.
    bit: usize,
}

impl<'a> States<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) fn new(strings: Strings<'a>) -> Self {
        let zero = _mm512_setzero_si512();
        let mut states = Self { strings, low: zero, high: zero, word: 0, odd: zero, bit: 0 };
        states.low = states.parities(0);
        states.high = states.parities(1);
        states
    }

    /// A word of each string, zeros behind its end.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn fetch(&self, word: usize) -> __m512i {
        let Strings { words, starts, aligned, neighbours, bits, present, other } = self.strings;
        let Some(left) = bits.checked_sub(word * 64).filter(|&left| left > 0) else {
            return _mm512_setzero_si512();
        };
        let mask = _mm512_set1_epi64(low_mask(left) as i64);
        let other = _mm512_set1_epi64(other as i64);
        let from: *const i64 = words.as_ptr().cast();
        if let Some(first) = neighbours {
            // SAFETY: only words of strings that are present are read, and these lie inside the slice.
            let fetched =
                unsafe { _mm512_mask_loadu_epi64(other, present, from.wrapping_offset(first)) };
            return _mm512_and_si512(fetched, mask);
        }
        let index =
            _mm512_add_epi64(_mm512_srli_epi64::<6>(starts), _mm512_set1_epi64(word as i64));
        // SAFETY: a string that is present lies inside the words, so this one exists.
        let first = unsafe { _mm512_mask_i64gather_epi64::<8>(other, present, index, from) };
        if aligned {
            return _mm512_and_si512(first, mask);
        }
        let shift = _mm512_and_si512(starts, _mm512_set1_epi64(63));
        let first = _mm512_mask_srlv_epi64(first, present, first, shift);
        // Lanes of which the bits go on in the next word.
        let inside = 64 - left.min(64) as i64;
        let split = _mm512_mask_cmpgt_epi64_mask(present, shift, _mm512_set1_epi64(inside));
        let next = _mm512_add_epi64(index, _mm512_set1_epi64(1));
        // SAFETY: the string does not end before these words.
        let second =
            unsafe { _mm512_mask_i64gather_epi64::<8>(_mm512_setzero_si512(), split, next, from) };
        let up = _mm512_sub_epi64(_mm512_set1_epi64(64), shift);
        _mm512_and_si512(_mm512_or_si512(first, _mm512_sllv_epi64(second, up)), mask)
    }

    /// The parities of everything before each bit of a word, which is the one after the last one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn parities(&mut self, word: usize) -> __m512i {
        let mut parity = self.fetch(word);
        parity = _mm512_xor_si512(parity, _mm512_slli_epi64::<1>(parity));
        parity = _mm512_xor_si512(parity, _mm512_slli_epi64::<2>(parity));
        parity = _mm512_xor_si512(parity, _mm512_slli_epi64::<4>(parity));
        parity = _mm512_xor_si512(parity, _mm512_slli_epi64::<8>(parity));
        parity = _mm512_xor_si512(parity, _mm512_slli_epi64::<16>(parity));
        parity = _mm512_xor_si512(parity, _mm512_slli_epi64::<32>(parity));
        let before = _mm512_xor_si512(_mm512_slli_epi64::<1>(parity), self.odd);
        self.odd = _mm512_xor_si512(self.odd, _mm512_srai_epi64::<63>(parity));
        before
    }

    /// The states of the next [`AT_ONCE`] steps, `[step][string]`, in the low seven bits of a byte.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) fn next(&mut self) -> __m512i {
        if self.bit / 64 > self.word {
            self.low = self.high;
            self.word += 1;
            self.high = self.parities(self.word + 1);
        }
        let shift = (self.bit % 64) as i64;
        self.bit += BITS;
        let piece = _mm512_or_si512(
            _mm512_srl_epi64(self.low, _mm_cvtsi64_si128(shift)),
            _mm512_sll_epi64(self.high, _mm_cvtsi64_si128(64 - shift)),
        );
        // Every step starts six bits behind the one before.
        let from = _mm512_set1_epi64(0x2a24_1e18_120c_0600);
        let by_string = _mm512_multishift_epi64_epi8(from, piece);
        // SAFETY: there are 64 bytes; the load may be unaligned.
        let order = unsafe { _mm512_loadu_si512(TRANSPOSED.as_ptr().cast()) };
        _mm512_permutexvar_epi8(order, by_string)
    }

    /// Of each string, when all its states are made, the byte of a channel that gives the parity of a tap.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) fn parity_slots(&self) -> __m512i {
        let odd = _mm512_movepi64_mask(self.odd);
        let [even, odd_slots] = [false, true].map(slots::parity_slots).map(i64::from);
        let bytes =
            _mm512_mask_mov_epi64(_mm512_set1_epi64(even), odd, _mm512_set1_epi64(odd_slots));
        _mm512_zextsi128_si512(_mm512_cvtepi64_epi8(bytes))
    }
}

/// Position of each byte of a transposed matrix of 8 x 8 bytes.
static TRANSPOSED: [u8; 64] = {
    let mut order = [0; 64];
    let mut at = 0;
    while at < 64 {
        order[at] = (at % 8 * 8 + at / 8) as u8;
        at += 1;
    }
    order
};

/// The bytes of states in a table.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
pub(super) fn lookup(table: &[u8; 128], states: __m512i) -> __m512i {
    // SAFETY: there are 128 bytes; the loads may be unaligned.
    let [low, high] = unsafe {
        [
            _mm512_loadu_si512(table.as_ptr().cast()),
            _mm512_loadu_si512(table.as_ptr().add(64).cast()),
        ]
    };
    _mm512_permutex2var_epi8(low, states, high)
}

/// Writes the first 64-bit lanes of a vector, `distance` bytes from one to the next.
///
/// # Panics
/// If there are more than eight, or `out` is too short.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn scatter(vector: __m512i, count: usize, out: &mut [u8], distance: usize) {
    assert!(
        (1..=8).contains(&count) && (count - 1) * distance + 8 <= out.len(),
        "room for all lanes"
    );
    let mut lanes = [0_u64; 8];
    // SAFETY: there are 64 bytes; the store may be unaligned.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), vector) };
    // By way of memory: a compiler that sees through it takes the vector apart with shuffles, which have one port.
    let lanes = black_box(&lanes);
    let to = out.as_mut_ptr();
    for (lane, value) in lanes.iter().enumerate().take(count) {
        // SAFETY: the last lane ends inside of `out`.
        unsafe { to.add(lane * distance).cast::<u64>().write_unaligned(*value) };
    }
}
