//! Words of channels, side by side, to rows of units.
//!
//! A file has the bits of one output channel after the other; the tiled kernels read a unit of every channel of a
//! block at a time. Turning one into the other is a good part of loading a network, so it is done eight
//! channels at once, as a transposition of 8 x 8 bytes.

/// Words turned at a time, and bytes of a word.
const SIDE: usize = 8;

/// Lets the blocks of `BYTES` bytes that lie across the diagonal change places; `low` are the lower ones of a word.
#[inline(always)]
fn swap_blocks<const BYTES: usize>(words: &mut [u64; SIDE], low: u64) {
    for pair in 0..SIDE / 2 {
        let first = pair / BYTES * 2 * BYTES + pair % BYTES;
        let (upper, lower) = (words[first], words[first + BYTES]);
        let changed = (upper >> (8 * BYTES) ^ lower) & low;
        words[first] = upper ^ changed << (8 * BYTES);
        words[first + BYTES] = lower ^ changed;
    }
}

/// Word `k` of the result has byte `k` of all words, that of word `i` as its byte `i` (Warren, "Hacker's Delight", 7-3).
#[inline(always)]
fn transposed(mut words: [u64; SIDE]) -> [u64; SIDE] {
    swap_blocks::<1>(&mut words, 0x00ff_00ff_00ff_00ff);
    swap_blocks::<2>(&mut words, 0x0000_ffff_0000_ffff);
    swap_blocks::<4>(&mut words, 0x0000_0000_ffff_ffff);
    words
}

/// Writes the bits of each word, four or eight at a time, as bytes: `rows[row][i]` is part `row` of word `i`, lowest
/// bits first. The words are used up.
///
/// The number of words is a multiple of eight, the length of `rows` one of the number of words; parts behind its end
/// are left out.
#[inline(always)]
fn bytes_of<const BITS: usize>(words: &mut [u64], rows: &mut [u8]) {
    debug_assert!(words.len().is_multiple_of(SIDE) && rows.len().is_multiple_of(words.len()));
    let lanes = words.len();
    let (blocks, _) = words.as_chunks_mut();
    for block in &mut *blocks {
        *block = transposed(*block);
    }
    for (part, row) in rows.chunks_exact_mut(lanes).enumerate().take(64 / BITS) {
        let (places, _) = row.as_chunks_mut();
        for (place, block) in places.iter_mut().zip(&*blocks) {
            let mut bytes = block[part * BITS / 8];
            if BITS == 4 {
                // Bits that come from the next byte are masked away.
                bytes = bytes >> (part % 2 * 4) & 0x0f0f_0f0f_0f0f_0f0f;
            }
            *place = bytes.to_le_bytes();
        }
    }
}

/// Rows of four bits, in a byte each.
#[cfg(any(target_arch = "x86_64", test))]
pub(super) fn nibbles(words: &mut [u64], rows: &mut [u8]) {
    bytes_of::<4>(words, rows);
}

/// Rows of eight bits.
pub(super) fn bytes(words: &mut [u64], rows: &mut [u8]) {
    bytes_of::<8>(words, rows);
}

/// Rows of 32 bits.
#[cfg(any(target_arch = "x86_64", test))]
pub(super) fn halves(words: &mut [u64], rows: &mut [u32]) {
    for (half, row) in rows.chunks_exact_mut(words.len()).enumerate() {
        for (unit, word) in row.iter_mut().zip(&*words) {
            *unit = (word >> (32 * half)) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of all three.
    fn expected(words: &[u64], bits: usize, count: usize) -> Vec<u64> {
        let parts = (0..count).map(|row| row * bits);
        parts.flat_map(|at| words.iter().map(move |word| word >> at & ((1 << bits) - 1))).collect()
    }

    proptest! {
        #[test]
        fn rows_hold_the_parts_of_the_words(
            eights in prop::collection::vec(any::<[u64; SIDE]>(), 1..9), rows in 1..17_usize,
        ) {
            let words = eights.as_flattened();
            let wide = |rows: Vec<u8>| rows.into_iter().map(u64::from).collect::<Vec<_>>();

            let mut found = vec![0; words.len() * rows];
            nibbles(&mut words.to_vec(), &mut found);
            prop_assert_eq!(wide(found), expected(words, 4, rows));

            let rows = rows.min(8);
            let mut found = vec![0; words.len() * rows];
            bytes(&mut words.to_vec(), &mut found);
            prop_assert_eq!(wide(found), expected(words, 8, rows));

            let rows = rows.min(2);
            let mut found = vec![0; words.len() * rows];
            halves(&mut words.to_vec(), &mut found);
            let found: Vec<u64> = found.into_iter().map(u64::from).collect();
            prop_assert_eq!(found, expected(words, 32, rows));
        }
    }
}
