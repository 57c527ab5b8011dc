//! The inner loop: the sums of some octets of pixels for a block of channels.
//!
//! Four steps leave a word of weight 32 for each octet. These words wait for eight of them, so that the planes above are
//! read and written rarely; a chain of half adders takes what these carry to the top, which costs no branch.

use super::{
    super::adders::{carry, full_adder, half_adder},
    BitMatrix, Block, CHANNELS, Octet, STEPS, TAPS, slots,
    transpose::{self, Counts},
};
use crate::bit_string::low_mask;
use std::arch::x86_64::*;

/// Planes that are worked on in every step.
pub(super) const LOWER: usize = 5;

/// Planes: as many as hold the largest count, and one so that there are twice eight.
const LEVELS: usize = 16;

/// Words above the lower planes that wait in memory until they are added together.
const WORDS: usize = 8;

/// Planes that these reach before one word is left.
const WORD_LEVELS: usize = 3;

/// What a step adds, for each octet: words of weight 2 and 4.
type Step<const OCTETS: usize> = [[__m512i; OCTETS]; 2];

/// Where the input of a tile is.
struct Inputs<'a, const OCTETS: usize> {
    windows: [&'a [u8]; OCTETS],
    /// From one plane to the next.
    plane: usize,
}

impl<const OCTETS: usize> Inputs<'_, OCTETS> {
    /// A byte for each pixel, for eight vectors of weights.
    ///
    /// # Safety
    /// Each window has eight bytes at `offset`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn pixels(&self, octet: usize, offset: usize) -> __m512i {
        // SAFETY: the caller's promise; the load may be unaligned.
        let pixels =
            unsafe { self.windows[octet].as_ptr().add(offset).cast::<i64>().read_unaligned() };
        _mm512_set1_epi64(pixels)
    }

    /// The parity of a tap.
    ///
    /// # Safety
    /// Each window has eight bytes at `offset`.
    #[inline]
    #[target_feature(enable = "avx512f,gfni")]
    unsafe fn parity(&self, offset: usize, weights: &[u8; CHANNELS]) -> [__m512i; OCTETS] {
        let weights = load(weights);
        let mut words = [weights; OCTETS];
        for (octet, word) in words.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let pixels = unsafe { self.pixels(octet, offset) };
            *word = _mm512_gf2p8affine_epi64_epi8::<0>(pixels, weights);
        }
        words
    }

    /// The products of a step.
    ///
    /// # Safety
    /// Each window has eight bytes at `offset` and a plane behind.
    #[inline]
    #[target_feature(enable = "avx512f,gfni")]
    unsafe fn step(
        &self,
        offset: usize,
        weights: &[[u8; CHANNELS]; slots::WEIGHTS],
    ) -> Step<OCTETS> {
        let [a, b, all] = [load(&weights[0]), load(&weights[1]), load(&weights[2])];
        let mut step = [[_mm512_setzero_si512(); OCTETS]; 2];
        #[expect(clippy::needless_range_loop, reason = "it indexes two other arrays too")]
        for octet in 0..OCTETS {
            // SAFETY: the caller's promise.
            let [first, second] =
                unsafe { [self.pixels(octet, offset), self.pixels(octet, offset + self.plane)] };
            let a = _mm512_gf2p8affine_epi64_epi8::<0>(first, a);
            let b = _mm512_gf2p8affine_epi64_epi8::<0>(first, b);
            let all = _mm512_gf2p8affine_epi64_epi8::<0>(second, all);
            step[0][octet] = all;
            step[1][octet] = carry(a, b, all);
        }
        step
    }
}

/// Bases and the products of every second count.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn sums(base: &[i32; 16], counts: __m512i, factors: __m512i) -> __m512i {
    // SAFETY: there are 16 integers; the load may be unaligned.
    let base = unsafe { _mm512_loadu_si512(base.as_ptr().cast()) };
    _mm512_dpwssd_epi32(base, counts, factors)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(row: &[u8; CHANNELS]) -> __m512i {
    // SAFETY: there are 64 bytes; the load may be unaligned.
    unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
}

/// Adds a word to each sum and returns the carries.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_one<const OCTETS: usize>(
    sums: &mut [__m512i; OCTETS],
    words: [__m512i; OCTETS],
) -> [__m512i; OCTETS] {
    let mut carries = words;
    for octet in 0..OCTETS {
        [sums[octet], carries[octet]] = half_adder(sums[octet], words[octet]);
    }
    carries
}

/// Adds two words to each sum and returns the carries.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const OCTETS: usize>(
    sums: &mut [__m512i; OCTETS],
    first: [__m512i; OCTETS],
    second: [__m512i; OCTETS],
) -> [__m512i; OCTETS] {
    let mut carries = first;
    for octet in 0..OCTETS {
        [sums[octet], carries[octet]] = full_adder(sums[octet], first[octet], second[octet]);
    }
    carries
}

/// Adds up to [`WORDS`] words to each sum and returns the carries.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_words<const OCTETS: usize>(
    planes: &mut [[__m512i; OCTETS]],
    words: &mut [[__m512i; OCTETS]; WORDS],
    mut count: usize,
) -> [__m512i; OCTETS] {
    for plane in &mut planes[..WORD_LEVELS] {
        for pair in 0..count / 2 {
            words[pair] = add(plane, words[2 * pair], words[2 * pair + 1]);
        }
        if count % 2 == 1 {
            words[count / 2] = add_one(plane, words[count - 1]);
        }
        count = count.div_ceil(2);
    }
    words[0]
}

/// Adds a word to each sum, and what it carries to the planes above.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_carries<const OCTETS: usize>(
    planes: &mut [[__m512i; OCTETS]],
    mut words: [__m512i; OCTETS],
) {
    for plane in planes {
        words = add_one(plane, words);
    }
}

/// Computes the accumulators of some octets.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,gfni")]
fn tile<const OCTETS: usize>(
    kernel: &BitMatrix,
    block: &Block<'_>,
    octets: &[Octet; OCTETS],
    out: &mut [i32],
) {
    let mut windows = [block.map; OCTETS];
    for (window, octet) in windows.iter_mut().zip(octets) {
        *window = &block.map[octet.map..][..kernel.reach];
    }
    let inputs = Inputs { windows, plane: kernel.planes.plane() };
    let (parities, weights) = block.weights.split_at(kernel.parities.len());
    let (weights, _) = weights.as_chunks::<{ slots::WEIGHTS }>();
    let zero = [_mm512_setzero_si512(); OCTETS];
    let [mut ones, mut twos, mut fours, mut eights, mut sixteens] = [zero; 5];
    let mut upper = [zero; LEVELS - LOWER];
    // Planes that no count reaches stay 0.
    let top = (kernel.levels - LOWER).max(WORD_LEVELS);

    let (offsets, _) = kernel.parities.as_chunks::<TAPS>();
    let (parities, _) = parities.as_chunks::<TAPS>();
    for (offsets, weights) in offsets.iter().zip(parities) {
        // SAFETY: `reach` is behind all offsets, their planes and eight bytes there.
        let (mut sum, second, third) = unsafe {
            (
                inputs.parity(offsets[0], &weights[0]),
                inputs.parity(offsets[1], &weights[1]),
                inputs.parity(offsets[2], &weights[2]),
            )
        };
        let two = add(&mut sum, second, third);
        let next_two = add_one(&mut ones, sum);
        let four = add(&mut twos, two, next_two);
        let eight = add_one(&mut fours, four);
        let sixteen = add_one(&mut eights, eight);
        let carries = add_one(&mut sixteens, sixteen);
        if kernel.parities.len() >= 1 << LOWER {
            add_carries(&mut upper[..top], carries);
        }
    }

    let (offsets, _) = kernel.steps.as_chunks::<STEPS>();
    let (weights, _) = weights.as_chunks::<STEPS>();
    let mut words = [zero; WORDS];
    for (offsets, weights) in offsets.chunks(WORDS).zip(weights.chunks(WORDS)) {
        for ((offsets, weights), word) in offsets.iter().zip(weights).zip(&mut words) {
            for step in weights {
                let row = step.as_ptr().cast::<u8>().wrapping_add(block.ahead);
                _mm_prefetch::<_MM_HINT_T1>(row.cast());
            }
            // SAFETY: as above.
            let [first, second] = unsafe {
                [inputs.step(offsets[0], &weights[0]), inputs.step(offsets[1], &weights[1])]
            };
            let four = add(&mut twos, first[0], second[0]);
            let eight = add(&mut fours, first[1], second[1]);
            // SAFETY: as above.
            let [first, second] = unsafe {
                [inputs.step(offsets[2], &weights[2]), inputs.step(offsets[3], &weights[3])]
            };
            let next_four = add(&mut twos, first[0], second[0]);
            let next_eight = add(&mut fours, first[1], second[1]);
            let last_eight = add(&mut fours, four, next_four);
            let sixteen = add(&mut eights, eight, next_eight);
            let next_sixteen = add_one(&mut eights, last_eight);
            *word = add(&mut sixteens, sixteen, next_sixteen);
        }
        let count = offsets.len();
        let carries = if count == WORDS {
            // The same with the number known.
            add_words(&mut upper, &mut words, WORDS)
        } else {
            add_words(&mut upper, &mut words, count)
        };
        add_carries(&mut upper[WORD_LEVELS..top], carries);
    }
    for (octet, place) in octets.iter().enumerate() {
        let low = [
            ones[octet],
            twos[octet],
            fours[octet],
            eights[octet],
            sixteens[octet],
            upper[0][octet],
            upper[1][octet],
            upper[2][octet],
        ];
        let mut high = [_mm512_setzero_si512(); 8];
        for (high, planes) in high.iter_mut().zip(&upper[WORD_LEVELS..]) {
            *high = planes[octet];
        }
        // Most layers have no counts of more than 10 or 12 bits.
        let counts = match kernel.levels {
            ..=10 => transpose::counts(&low, &[high[0], high[1]]),
            11 | 12 => transpose::counts(&low, &[high[0], high[1], high[2], high[3]]),
            _ => transpose::counts(&low, &high),
        };
        kernel.write(block, place, &counts, out);
    }
}

impl BitMatrix {
    /// Makes accumulators from counts.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,gfni")]
    fn write(&self, block: &Block<'_>, octet: &Octet, counts: &Counts, out: &mut [i32]) {
        let factor = if self.bases.double() { -2 } else { -1 };
        let first = _mm512_set1_epi32(factor & 0xffff);
        let second = _mm512_set1_epi32(factor << 16);
        let stride = self.geometry.out_channels;
        let out = &mut out[octet.out + block.first_channel..]
            [..(octet.pixels - 1) * stride + block.channels];
        let table = self.bases.table();
        for (pixel, [even, odd]) in counts.iter().enumerate().take(octet.pixels) {
            let (base, _) =
                table[octet.bases[pixel] + block.first_base..][..CHANNELS].as_chunks::<16>();
            let sums = [
                sums(&base[0], *even, first),
                sums(&base[1], *even, second),
                sums(&base[2], *odd, first),
                sums(&base[3], *odd, second),
            ];
            // SAFETY: what is cut out of `out` ends with the channels of the last pixel.
            let out = unsafe { out.as_mut_ptr().add(pixel * stride) };
            for (quarter, sums) in sums.into_iter().enumerate() {
                let first = quarter * 16;
                let mask = low_mask(block.channels.saturating_sub(first)) as u16;
                // SAFETY: only as many integers are written as there are channels.
                unsafe { _mm512_mask_storeu_epi32(out.wrapping_add(first), mask, sums) };
            }
        }
    }

    /// Computes the accumulators of 1 to [`OCTETS`](super::OCTETS) octets.
    pub(super) fn tile(&self, block: &Block<'_>, octets: &[Octet], out: &mut [i32]) {
        macro_rules! tile {
            ($count:literal) => {{
                let octets = octets.first_chunk().expect("chosen by their number");
                // SAFETY: `self` holds the proof of the features.
                unsafe { tile::<$count>(self, block, octets, out) }
            }};
        }
        match octets.len() {
            1 => tile!(1),
            2 => tile!(2),
            3 => tile!(3),
            other => unreachable!("tiles have no {other} octets"),
        }
    }
}
