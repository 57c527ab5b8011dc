//! Packing of floats and integers into bits by comparison with thresholds.

use crate::{Isa, bit_string::last_word_mask, words_per_pixel};

/// Packs `(value >= threshold) xor flip` of every pixel and channel.
///
/// The comparison is ordered: NaN gives false (before the flip), and -0 equals +0. `values` is
/// `[pixels][channels]`, `thresholds` holds one entry per channel or one for all, `flip` holds
/// `words_per_pixel(channels)` words, `out` is `[pixels][words_per_pixel(channels)]`. Bits past the
/// last channel are written as 0, whatever `flip` says.
///
/// # Panics
/// If a length does not fit, or if this processor lacks `isa`.
pub fn pack_f32(
    isa: Isa,
    values: &[f32],
    channels: usize,
    thresholds: &[f32],
    flip: Option<&[u64]>,
    out: &mut [u64],
) {
    pack(isa, values, channels, thresholds, flip, out);
}

/// Packs `(value >= threshold) xor flip` of every pixel and channel.
///
/// Layouts are those of [`pack_f32`]; `thresholds` holds one entry per channel. The threshold
/// `i32::MIN` is always reached, `i32::MAX` only by itself.
///
/// # Panics
/// If a length does not fit, or if this processor lacks `isa`.
pub fn pack_i32(
    isa: Isa,
    values: &[i32],
    channels: usize,
    thresholds: &[i32],
    flip: Option<&[u64]>,
    out: &mut [u64],
) {
    pack(isa, values, channels, thresholds, flip, out);
}

fn pack<T: Copy + PartialOrd>(
    isa: Isa,
    values: &[T],
    channels: usize,
    thresholds: &[T],
    flip: Option<&[u64]>,
    out: &mut [u64],
) {
    assert!(isa.is_available(), "{isa} is not available");
    assert!(
        channels > 0 && values.len().is_multiple_of(channels),
        "values are whole pixels"
    );
    let words = words_per_pixel(channels);
    assert_eq!(
        out.len(),
        values.len() / channels * words,
        "words of the packed map"
    );
    assert!(
        thresholds.len() == channels || thresholds.len() == 1,
        "one threshold per channel"
    );
    assert!(
        flip.is_none_or(|flip| flip.len() == words),
        "one flip word per word of a pixel"
    );
    let mask = last_word_mask(channels);
    for (pixel, out) in values
        .chunks_exact(channels)
        .zip(out.chunks_exact_mut(words))
    {
        out.fill(0);
        for (channel, &value) in pixel.iter().enumerate() {
            let threshold = thresholds[channel % thresholds.len()];
            out[channel / 64] |= u64::from(value >= threshold) << (channel % 64);
        }
        if let Some(flip) = flip {
            out.iter_mut()
                .zip(flip)
                .for_each(|(word, flip)| *word ^= flip);
            out[words - 1] &= mask;
        }
    }
}
