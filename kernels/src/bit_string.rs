//! Reading from dense strings of bits: little-endian 64-bit words, first bit lowest.

use std::ops::Range;

/// The lowest `count` bits set, `count <= 64`.
pub(crate) const fn low_mask(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// Bits of the last word of a pixel that belong to a channel, `channels >= 1`.
pub(crate) const fn last_word_mask(channels: usize) -> u64 {
    low_mask((channels - 1) % 64 + 1)
}

/// One bit.
pub(crate) fn bit(words: &[u64], index: usize) -> bool {
    words[index / 64] >> (index % 64) & 1 == 1
}

/// `count <= 64` bits from `start` on, in the low bits of a word; the others are 0.
pub(crate) fn extract(words: &[u64], start: usize, count: usize) -> u64 {
    if count == 0 {
        return 0;
    }
    let (word, shift) = (start / 64, start % 64);
    let mut bits = words[word] >> shift;
    if shift + count > 64 {
        bits |= words[word + 1] << (64 - shift);
    }
    bits & low_mask(count)
}

/// Number of ones among the bits of a range.
#[inline(always)]
pub(crate) fn count_ones(words: &[u64], range: Range<usize>) -> usize {
    let mut ones = 0;
    let mut at = range.start;
    while at < range.end {
        let count = (64 - at % 64).min(range.end - at);
        ones += (words[at / 64] >> (at % 64) & low_mask(count)).count_ones() as usize;
        at += count;
    }
    ones
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_agree_with_single_bits(
            words in prop::collection::vec(any::<u64>(), 1..5), a in 0..320_usize, b in 0..320_usize,
        ) {
            let bits = words.len() * 64;
            let (start, end) = (a.min(b) % (bits + 1), a.max(b) % (bits + 1));
            let range = start.min(end)..start.max(end);
            let ones = range.clone().filter(|&i| bit(&words, i)).count();
            prop_assert_eq!(count_ones(&words, range.clone()), ones);
            let count = range.len().min(64);
            let extracted = extract(&words, range.start, count);
            for i in 0..64 {
                prop_assert_eq!(extracted >> i & 1 == 1, i < count && bit(&words, range.start + i));
            }
        }
    }
}
