//! From planes of counters to counts.

use std::arch::x86_64::*;

/// Counts of the pixels of an octet as 16-bit integers: for each pixel those of the even and of the odd 64-bit
/// lanes of the planes.
pub(super) type Counts = [[__m512i; 2]; 8];

/// Turns 8 planes, lowest first, and up to 8 more above them into counts.
///
/// In a plane, byte `j` of 64-bit lane `q` has pixel `j`, and its bit `i` channel `8 q + i`. In the counts, 128-bit lane
/// `l` has the channels of lane `2 l` or `2 l + 1` in this order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub(super) fn counts<const HIGH: usize>(low: &[__m512i; 8], high: &[__m512i; HIGH]) -> Counts {
    let [even_low, odd_low] = bytes(low);
    let [even_high, odd_high] = bytes(high);
    let mut counts = [[low[0]; 2]; 8];
    for pair in 0..4 {
        counts[2 * pair] = [
            _mm512_unpacklo_epi8(even_low[pair], even_high[pair]),
            _mm512_unpacklo_epi8(odd_low[pair], odd_high[pair]),
        ];
        counts[2 * pair + 1] = [
            _mm512_unpackhi_epi8(even_low[pair], even_high[pair]),
            _mm512_unpackhi_epi8(odd_low[pair], odd_high[pair]),
        ];
    }
    counts
}

/// Turns up to eight planes into bytes: for the even and the odd lanes, four pairs of neighbouring pixels, one in
/// each half of 128 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn bytes<const LEVELS: usize>(planes: &[__m512i; LEVELS]) -> [[__m512i; 4]; 2] {
    const { assert!(LEVELS == 2 || LEVELS == 4 || LEVELS == 8) };
    let zero = _mm512_setzero_si512();
    // A product with the unit matrix transposes a matrix of which the rows are taken from the last one on, so
    // the highest level comes first.
    let mut pairs = [[zero; 2]; 4];
    for pair in 0..LEVELS / 2 {
        let (upper, lower) = (planes[2 * pair + 1], planes[2 * pair]);
        pairs[pair] = [_mm512_unpacklo_epi8(upper, lower), _mm512_unpackhi_epi8(upper, lower)];
    }
    let unit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let mut lanes = [[zero; 4]; 2];
    for (odd, lanes) in lanes.iter_mut().enumerate() {
        let [p10, p32, p54, p76] = [pairs[0][odd], pairs[1][odd], pairs[2][odd], pairs[3][odd]];
        let (mut front, mut back) = ([zero; 2], [zero; 2]);
        front[1] = _mm512_unpacklo_epi16(p32, p10);
        back[1] = _mm512_unpackhi_epi16(p32, p10);
        if LEVELS > 4 {
            front[0] = _mm512_unpacklo_epi16(p76, p54);
            back[0] = _mm512_unpackhi_epi16(p76, p54);
        }
        *lanes = [
            _mm512_unpacklo_epi32(front[0], front[1]),
            _mm512_unpackhi_epi32(front[0], front[1]),
            _mm512_unpacklo_epi32(back[0], back[1]),
            _mm512_unpackhi_epi32(back[0], back[1]),
        ];
        for matrix in lanes {
            *matrix = _mm512_gf2p8affine_epi64_epi8::<0>(unit, *matrix);
        }
    }
    lanes
}
