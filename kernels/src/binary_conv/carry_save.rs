//! Carry-save counting: full adders over whole words instead of population counts.
//!
//! Sixty-four output channels stand in the bytes of a vector. A step compares eight bits of an input
//! pixel, broadcast to all bytes, with eight weight bits of each channel; every one of the 512 bits of
//! the exclusive or is counted at its place, in [planes](super::adders).
//!
//! - Lowest plane: two words `x = w ^ a`, `x' = w' ^ a'` are added to the plane `o` in three
//!   instructions, exclusive or of input and weights included: `t = o ^ w ^ a`, `s = t ^ w' ^ a'` and
//!   the carry `t ? !s : o` (where `t = 0`, `o` and `x` agree, so the carry is `o`; where `t = 1` they
//!   differ, so it is `x' = s ^ 1`).
//! - Planes above: full adders.
//!
//! Plane `k` sees one word for `2^k` steps: 3/2 + 2/4 + 2/8 + ... = 2.5 instructions per step of 512
//! products, on two ports: 410 products a cycle. A population count of the finished planes by table
//! look-ups ends a sum, once for 64 channels because lanes are but a byte wide.

use super::{
    adders::{full_adder, half_adder, xor3},
    padded_map::{PaddedMap, Run, runs},
    tiled::{Block, TileKernel, Window},
    transpose,
};
use crate::{ConvGeometry, features::Avx512};
use std::{arch::x86_64::*, mem::MaybeUninit};

/// Steps that are added together: as many as there are words until a carry leaves the third plane.
const STEPS: usize = 8;
/// Bytes of a vector.
const CHANNELS: usize = 64;
/// Planes above the first three.
const HIGHER: usize = 7;
/// Words of weight 8 after which the counters may be full.
const WORDS_IN_PLANES: usize = (1 << HIGHER) - 1;

/// The carry-save kernel.
#[derive(Debug)]
pub(super) struct CarrySave {
    /// Of the processor.
    _proof: Avx512,
    /// Runs of at most [`STEPS`]; the counters hold the sums of each part.
    parts: Vec<Vec<Run>>,
    /// Units from the start of a window to the end of its last run.
    reach: usize,
}

impl CarrySave {
    pub(super) fn new(proof: Avx512, geometry: &ConvGeometry) -> Self {
        let runs = runs(geometry, &PaddedMap::new::<[u8; 4]>(geometry, false));
        let reach = runs.iter().map(|run| run.offset + run.steps).max().unwrap_or(0);
        Self { _proof: proof, parts: schedule(&runs), reach }
    }
}

/// Cuts runs into pieces of at most [`STEPS`], and pieces into parts that the counters can hold.
fn schedule(runs: &[Run]) -> Vec<Vec<Run>> {
    let pieces: Vec<Run> = runs
        .iter()
        .flat_map(|run| {
            (0..run.steps).step_by(STEPS).map(|start| Run {
                offset: run.offset + start,
                steps: STEPS.min(run.steps - start),
            })
        })
        .collect();
    pieces.chunks(WORDS_IN_PLANES).map(<[Run]>::to_vec).collect()
}

/// Adds `COUNT` words to a plane; half as many carries (rounded up) are left in front.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_words<const COUNT: usize>(plane: &mut __m512i, words: &mut [__m512i; 4]) {
    for pair in 0..COUNT / 2 {
        [*plane, words[pair]] = full_adder(*plane, words[2 * pair], words[2 * pair + 1]);
    }
    if COUNT % 2 == 1 {
        [*plane, words[COUNT / 2]] = half_adder(*plane, words[COUNT - 1]);
    }
}

/// The three lowest planes of a pixel.
#[derive(Clone, Copy)]
struct Low {
    ones: __m512i,
    twos: __m512i,
    fours: __m512i,
}

/// Adds the exclusive or of `COUNT` units and weights to the planes and returns the carry, of
/// weight 8.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_steps<const COUNT: usize>(
    low: &mut Low,
    units: &[[u8; 4]; COUNT],
    weights: &[__m512i; STEPS],
) -> __m512i {
    let unit = |step: usize| _mm512_set1_epi32(i32::from_ne_bytes(units[step]));
    let mut words = [_mm512_setzero_si512(); 4];
    #[expect(clippy::needless_range_loop, reason = "it indexes two other arrays too")]
    for pair in 0..COUNT / 2 {
        let (first, second) = (2 * pair, 2 * pair + 1);
        let one = xor3(low.ones, weights[first], unit(first));
        let both = xor3(one, weights[second], unit(second));
        // `one ? !both : ones`
        words[pair] = _mm512_ternarylogic_epi32::<0x74>(low.ones, one, both);
        low.ones = both;
    }
    if COUNT % 2 == 1 {
        let both = xor3(low.ones, weights[COUNT - 1], unit(COUNT - 1));
        // Where `ones = 1` the sum is the complement of what was added.
        words[COUNT / 2] = _mm512_andnot_si512(both, low.ones);
        low.ones = both;
    }
    match COUNT {
        1 | 2 => {
            add_words::<1>(&mut low.twos, &mut words);
            add_words::<1>(&mut low.fours, &mut words);
        }
        3 | 4 => {
            add_words::<2>(&mut low.twos, &mut words);
            add_words::<1>(&mut low.fours, &mut words);
        }
        5 | 6 => {
            add_words::<3>(&mut low.twos, &mut words);
            add_words::<2>(&mut low.fours, &mut words);
        }
        _ => {
            add_words::<4>(&mut low.twos, &mut words);
            add_words::<2>(&mut low.fours, &mut words);
        }
    }
    words[0]
}

/// Adds `COUNT` steps to the planes of each pixel and returns the carries, of weight 8.
///
/// # Safety
/// From `offset` on, each input has at least `COUNT` units.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_piece<const COUNT: usize, const PIXELS: usize>(
    low: &mut [Low; PIXELS],
    inputs: &[&[[u8; 4]]; PIXELS],
    offset: usize,
    weights: &[[u8; CHANNELS]],
) -> [__m512i; PIXELS] {
    let weights = weights.first_chunk::<COUNT>().expect("weights for each step");
    let mut rows = [_mm512_setzero_si512(); STEPS];
    for (row, weights) in rows.iter_mut().zip(weights) {
        // SAFETY: there are 64 bytes; the load may be unaligned.
        *row = unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) };
    }
    let mut words = [_mm512_setzero_si512(); PIXELS];
    for (pixel, word) in words.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let units: &[[u8; 4]; COUNT] = unsafe { &*inputs[pixel].as_ptr().add(offset).cast() };
        *word = add_steps::<COUNT>(&mut low[pixel], units, &rows);
    }
    words
}

/// The planes from weight 8 on, and the words that wait for a second one: a full adder takes two, so
/// plane `level` is worked on only for every `2^level`-th word.
struct Higher<const PIXELS: usize> {
    /// Written for the levels that have had a word.
    planes: [[MaybeUninit<__m512i>; PIXELS]; HIGHER],
    /// Written for the levels that have had two words.
    waiting: [[MaybeUninit<__m512i>; PIXELS]; HIGHER],
    /// Words of weight 8 so far.
    count: usize,
}

impl<const PIXELS: usize> Higher<PIXELS> {
    #[inline(always)]
    fn new() -> Self {
        let empty = [[MaybeUninit::uninit(); PIXELS]; HIGHER];
        Self { planes: empty, waiting: empty, count: 0 }
    }

    /// Adds a word of weight 8 for each pixel, at most [`WORDS_IN_PLANES`] times.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add(&mut self, mut words: [__m512i; PIXELS]) {
        let mut count = self.count;
        self.count += 1;
        for level in 0..HIGHER {
            let (planes, waiting) = (&mut self.planes[level], &mut self.waiting[level]);
            if count == 0 {
                write(planes, &words);
                return;
            }
            if count % 2 == 1 {
                write(waiting, &words);
                return;
            }
            for pixel in 0..PIXELS {
                // SAFETY: the level has had `count >= 2` words, so both are written.
                let (plane, waiting) =
                    unsafe { (planes[pixel].assume_init(), waiting[pixel].assume_init()) };
                let [sum, carry] = full_adder(plane, waiting, words[pixel]);
                planes[pixel] = MaybeUninit::new(sum);
                words[pixel] = carry;
            }
            // Levels above see the third word, the fifth, ...
            count = count / 2 - 1;
        }
    }

    /// Adds the words that still wait. Returns the number of planes that are written.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn finish(&mut self) -> usize {
        let mut count = self.count;
        let mut carries: Option<[__m512i; PIXELS]> = None;
        for level in 0..HIGHER {
            let (planes, waiting) = (&mut self.planes[level], &self.waiting[level]);
            if count == 0 {
                let Some(words) = carries else { return level };
                write(planes, &words);
                return level + 1;
            }
            // Of an even number the last one has found no second one.
            let waits = count.is_multiple_of(2);
            if waits || carries.is_some() {
                let mut next = [_mm512_setzero_si512(); PIXELS];
                for pixel in 0..PIXELS {
                    // SAFETY: the level has had `count >= 1` words.
                    let plane = unsafe { planes[pixel].assume_init() };
                    let [sum, carry] = match (waits, carries) {
                        // SAFETY: the last word of the level waits, so it is written.
                        (true, Some(words)) => unsafe {
                            full_adder(plane, waiting[pixel].assume_init(), words[pixel])
                        },
                        // SAFETY: as above.
                        (true, None) => unsafe { half_adder(plane, waiting[pixel].assume_init()) },
                        (false, Some(words)) => half_adder(plane, words[pixel]),
                        (false, None) => unreachable!("there is a word to add"),
                    };
                    planes[pixel] = MaybeUninit::new(sum);
                    next[pixel] = carry;
                }
                carries = Some(next);
            }
            count = (count - 1) / 2;
        }
        // The sums fit, so the carries of the last level are zero.
        HIGHER
    }
}

/// Writes a word for each pixel.
#[inline(always)]
fn write<const PIXELS: usize>(to: &mut [MaybeUninit<__m512i>; PIXELS], words: &[__m512i; PIXELS]) {
    for (to, word) in to.iter_mut().zip(words) {
        to.write(*word);
    }
}

/// `SCALED[k][i] = 2^k * popcount(i)`.
static SCALED: [[u8; 16]; 5] = {
    let mut tables = [[0; 16]; 5];
    let mut at = 0;
    while at < 5 * 16 {
        tables[at / 16][at % 16] = ((at % 16).count_ones() << (at / 16)) as u8;
        at += 1;
    }
    tables
};

/// Adds `2^scale` times the number of ones in each byte of a plane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_ones(count: __m512i, plane: __m512i, scale: usize) -> __m512i {
    let table = &SCALED[scale];
    // SAFETY: a table has 16 bytes; the load may be unaligned.
    let table = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
    let nibble = _mm512_set1_epi8(15);
    let low = _mm512_shuffle_epi8(table, _mm512_and_si512(plane, nibble));
    let high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16::<4>(plane), nibble));
    _mm512_add_epi8(_mm512_add_epi8(count, low), high)
}

/// Computes one tile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn tile<const PIXELS: usize>(
    kernel: &CarrySave,
    block: &Block<'_, CarrySave>,
    windows: &[Window; PIXELS],
    out: &mut [i32],
) {
    let mut inputs = [block.map; PIXELS];
    for (input, window) in inputs.iter_mut().zip(windows) {
        *input = &block.map[window.map..][..kernel.reach];
    }
    let zero = _mm512_setzero_si512();
    let (mut weights, rest) = block.weights.as_chunks::<CHANNELS>();
    debug_assert!(rest.is_empty());
    for (index, part) in kernel.parts.iter().enumerate() {
        let mut low = [Low { ones: zero, twos: zero, fours: zero }; PIXELS];
        let mut higher = Higher::<PIXELS>::new();
        for &Run { offset, steps } in part {
            let (now, later) = weights.split_at(steps);
            weights = later;
            // SAFETY: every run ends within `reach`, the length of each input.
            let words = unsafe {
                match steps {
                    8 => add_piece::<8, PIXELS>(&mut low, &inputs, offset, now),
                    7 => add_piece::<7, PIXELS>(&mut low, &inputs, offset, now),
                    6 => add_piece::<6, PIXELS>(&mut low, &inputs, offset, now),
                    5 => add_piece::<5, PIXELS>(&mut low, &inputs, offset, now),
                    4 => add_piece::<4, PIXELS>(&mut low, &inputs, offset, now),
                    3 => add_piece::<3, PIXELS>(&mut low, &inputs, offset, now),
                    2 => add_piece::<2, PIXELS>(&mut low, &inputs, offset, now),
                    _ => add_piece::<1, PIXELS>(&mut low, &inputs, offset, now),
                }
            };
            higher.add(words);
        }
        let levels = higher.finish();
        // Each plane adds up to 8 to a byte: the first five are at most 8 * 31, the others, in
        // units of 32, likewise.
        let mut units = [zero; PIXELS];
        let mut multiples = [zero; PIXELS];
        for pixel in 0..PIXELS {
            units[pixel] = add_ones(units[pixel], low[pixel].ones, 0);
            units[pixel] = add_ones(units[pixel], low[pixel].twos, 1);
            units[pixel] = add_ones(units[pixel], low[pixel].fours, 2);
        }
        for level in 0..levels.min(2) {
            for (pixel, units) in units.iter_mut().enumerate() {
                // SAFETY: `finish` has counted the planes that are written.
                let plane = unsafe { higher.planes[level][pixel].assume_init() };
                *units = add_ones(*units, plane, 3 + level);
            }
        }
        for level in 2..levels {
            for (pixel, multiples) in multiples.iter_mut().enumerate() {
                // SAFETY: as above.
                let plane = unsafe { higher.planes[level][pixel].assume_init() };
                *multiples = add_ones(*multiples, plane, level - 2);
            }
        }
        let factor: i16 = if block.double { -2 } else { -1 };
        // Pairs of bytes: one of the units and one of their multiples.
        let factors = _mm512_set1_epi16((factor * 32) << 8 | factor & 0xff);
        for pixel in 0..PIXELS {
            let window = windows[pixel];
            let out = &mut out[window.out..][..block.channels];
            let base = &block.bases[window.base..][..CHANNELS];
            let base = if index == 0 { Some(base) } else { None };
            let front = _mm512_unpacklo_epi8(units[pixel], multiples[pixel]);
            let front = _mm512_maddubs_epi16(front, factors);
            let back = _mm512_unpackhi_epi8(units[pixel], multiples[pixel]);
            let back = _mm512_maddubs_epi16(back, factors);
            let (even, odd) = (_mm512_set1_epi32(1), _mm512_set1_epi32(1 << 16));
            add_base(_mm512_madd_epi16(front, even), 0, base, out);
            add_base(_mm512_madd_epi16(front, odd), 16, base, out);
            add_base(_mm512_madd_epi16(back, even), 32, base, out);
            add_base(_mm512_madd_epi16(back, odd), 48, base, out);
        }
    }
}

/// Writes the accumulators of the 16 channels from `first` on, as far as there are so many: the sum
/// added to a base, or to the accumulators that are there already.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_base(sum: __m512i, first: usize, base: Option<&[i32]>, out: &mut [i32]) {
    let Some(out) = out.get_mut(first..) else { return };
    let from = match base {
        Some(base) => &base[first..],
        None => &*out,
    };
    if let (Some(from), true) = (from.first_chunk::<16>(), out.len() >= 16) {
        // SAFETY: both have 16 integers; load and store may be unaligned.
        unsafe {
            let base = _mm512_loadu_si512(from.as_ptr().cast());
            _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_add_epi32(base, sum));
        }
        return;
    }
    let count = out.len().min(from.len());
    let mask = (1 << count) - 1;
    // SAFETY: only the first `count` integers are read and written, and both have as many.
    unsafe {
        let base = _mm512_maskz_loadu_epi32(mask, from.as_ptr());
        _mm512_mask_storeu_epi32(out.as_mut_ptr(), mask, _mm512_add_epi32(base, sum));
    }
}

impl TileKernel for CarrySave {
    type Unit = [u8; 4];
    type Weight = u8;
    const CHANNELS: usize = CHANNELS;
    const VECTORS: usize = 1;
    const PIXELS: usize = 4;
    const NAMES: &'static [&'static str] = &["carry-save-4x1"];

    /// Sums are widened by halves of 128 bits, then by even and odd bytes.
    fn position(channel: usize) -> usize {
        let (quarter, lane, pair) = (channel / 16, channel % 16 / 4, channel % 4);
        16 * lane + quarter / 2 * 8 + 2 * pair + quarter % 2
    }

    fn weights(words: &mut [u64], rows: &mut [u8]) {
        transpose::bytes(words, rows);
    }

    fn tile(&self, block: &Block<'_, Self>, windows: &[Window], out: &mut [i32]) {
        macro_rules! tile {
            ($count:literal) => {{
                let windows = windows.first_chunk::<$count>().expect("chosen by their number");
                // SAFETY: `self.proof` proves the features.
                unsafe { tile::<$count>(self, block, windows, out) }
            }};
        }
        match windows.len() {
            1 => tile!(1),
            2 => tile!(2),
            3 => tile!(3),
            4 => tile!(4),
            other => unreachable!("tiles have no {other} pixels"),
        }
    }
}
