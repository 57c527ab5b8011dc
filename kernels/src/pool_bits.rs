//! Maximum pooling and concatenation of maps of bits.

use crate::{
    GeometryError, PoolGeometry,
    bit_string::{last_word_mask, low_mask},
    border::taps_inside,
    words_per_pixel,
};
use std::ops::Range;

/// Maximum pooling over bits: the OR of a window, then a flip per channel.
///
/// Taps outside the map do not count. With the flip this also serves minima, by complements:
/// `min(a, b) = not max(not a, not b)`.
#[derive(Debug, Clone)]
pub struct MaxPoolBits {
    geometry: PoolGeometry,
    /// Per word of a pixel; bits past the last channel are 0.
    flip: Vec<u64>,
}

impl MaxPoolBits {
    /// A pooling layer; `flip` holds one bit per channel, `words_per_pixel(channels)` words.
    ///
    /// # Errors
    /// If the geometry is not valid or `flip` has another length.
    pub fn new(geometry: PoolGeometry, flip: Option<&[u64]>) -> Result<Self, GeometryError> {
        geometry.validate()?;
        let words = words_per_pixel(geometry.channels);
        let mut flip = flip.map_or_else(|| vec![0; words], <[u64]>::to_vec);
        if flip.len() != words {
            return Err(GeometryError(format!(
                "{} flip words for {} channels, expected {words}",
                flip.len(),
                geometry.channels
            )));
        }
        flip[words - 1] &= last_word_mask(geometry.channels);
        Ok(Self { geometry, flip })
    }

    /// Shape of the layer.
    pub fn geometry(&self) -> &PoolGeometry {
        &self.geometry
    }

    /// Computes some rows of the output. `input` is the whole map, `out` holds only those rows.
    ///
    /// # Panics
    /// If a length does not fit or there are no such rows.
    pub fn run(&self, input: &[u64], rows: Range<usize>, out: &mut [u64]) {
        let PoolGeometry { input: [height, width], kernel, stride, dilation, pads, .. } =
            self.geometry;
        let [out_height, out_width] = self.geometry.output();
        let words = self.flip.len();
        assert_eq!(input.len(), height * width * words, "words of the input map");
        assert!(rows.start <= rows.end && rows.end <= out_height, "rows of the output map");
        assert_eq!(out.len(), rows.len() * out_width * words, "words of the output rows");
        for (y, out) in rows.zip(out.chunks_exact_mut(out_width * words)) {
            let top = y * stride[0];
            let kernel_rows = taps_inside(top, kernel[0], dilation[0], pads[0], height);
            for (x, out) in out.chunks_exact_mut(words).enumerate() {
                out.fill(0);
                let left = x * stride[1];
                let kernel_columns = taps_inside(left, kernel[1], dilation[1], pads[1], width);
                for row in kernel_rows.clone() {
                    for column in kernel_columns.clone() {
                        let (y, x) = (
                            top + row * dilation[0] - pads[0],
                            left + column * dilation[1] - pads[1],
                        );
                        let pixel = &input[(y * width + x) * words..][..words];
                        out.iter_mut().zip(pixel).for_each(|(word, input)| *word |= input);
                    }
                }
                out.iter_mut().zip(&self.flip).for_each(|(word, flip)| *word ^= flip);
            }
        }
    }
}

/// Joins maps of bits of the same size along their channels. Each input is a map with its number of
/// channels, of any size; `out` is `[pixels][words_per_pixel(sum of channels)]`.
///
/// # Panics
/// If a length does not fit.
pub fn concat_bits(inputs: &[(&[u64], usize)], pixels: usize, out: &mut [u64]) {
    let channels: usize = inputs.iter().map(|(_, channels)| channels).sum();
    let out_words = words_per_pixel(channels);
    assert_eq!(out.len(), pixels * out_words, "words of the joined map");
    for (map, channels) in inputs {
        assert_eq!(map.len(), pixels * words_per_pixel(*channels), "words of a map to join");
    }
    if out_words == 0 {
        return;
    }
    for (pixel, out) in out.chunks_exact_mut(out_words).enumerate() {
        out.fill(0);
        let mut at = 0;
        for &(map, channels) in inputs {
            let words = words_per_pixel(channels);
            for (index, &word) in map[pixel * words..][..words].iter().enumerate() {
                let count = (channels - index * 64).min(64);
                let word = word & low_mask(count);
                out[at / 64] |= word << (at % 64);
                if at % 64 + count > 64 {
                    out[at / 64 + 1] |= word >> (64 - at % 64);
                }
                at += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bit_string::{bit, extract};
    use proptest::prelude::*;

    fn random_bits(channels: usize, pixels: usize, seed: u64) -> Vec<u64> {
        let words = words_per_pixel(channels);
        let mut state = seed;
        (0..pixels * words)
            .map(|index| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let sparse = (state ^ state >> 29) & state.rotate_left(17);
                sparse
                    & if index % words + 1 == words { last_word_mask(channels) } else { u64::MAX }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn pooling_is_a_maximum_over_the_taps_inside(
            channels in prop::sample::select(vec![1_usize, 22, 63, 64, 65, 129]),
            input in [1..7_usize, 1..7_usize],
            kernel in [1..4_usize, 1..4_usize],
            stride in [1..3_usize, 1..3_usize],
            dilation in [1..3_usize, 1..3_usize],
            pads in [0..2_usize, 0..2_usize, 0..2_usize, 0..2_usize],
            flipped in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let geometry = PoolGeometry { channels, input, kernel, stride, dilation, pads };
            let words = words_per_pixel(channels);
            let flip = vec![0xaaaa_aaaa_aaaa_aaaa_u64; words];
            let Ok(pool) = MaxPoolBits::new(geometry, flipped.then_some(&flip[..])) else {
                return Ok(());
            };
            let map = random_bits(channels, input[0] * input[1], seed);
            let [height, width] = pool.geometry().output();
            let first = height / 2;
            let mut out = vec![u64::MAX; height * width * words];
            let (upper, lower) = out.split_at_mut(first * width * words);
            pool.run(&map, 0..first, upper);
            pool.run(&map, first..height, lower);
            for y in 0..height {
                for x in 0..width {
                    for channel in 0..words * 64 {
                        let mut expected = false;
                        for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx))) {
                            let at_y = (y * stride[0] + ky * dilation[0]).wrapping_sub(pads[0]);
                            let at_x = (x * stride[1] + kx * dilation[1]).wrapping_sub(pads[1]);
                            if at_y < input[0] && at_x < input[1] {
                                expected |= bit(&map, (at_y * input[1] + at_x) * words * 64 + channel);
                            }
                        }
                        expected ^= flipped && channel % 2 == 1;
                        let found = bit(&out, (y * width + x) * words * 64 + channel);
                        prop_assert_eq!(found, expected && channel < channels);
                    }
                }
            }
        }

        #[test]
        fn joined_maps_hold_every_bit_in_order(
            channels in prop::collection::vec(1..140_usize, 0..5), pixels in 0..4_usize, seed in any::<u64>(),
        ) {
            let maps: Vec<_> = channels
                .iter()
                .enumerate()
                .map(|(index, &channels)| (random_bits(channels, pixels, seed ^ index as u64), channels))
                .collect();
            let inputs: Vec<_> = maps.iter().map(|(map, channels)| (&map[..], *channels)).collect();
            let words = words_per_pixel(channels.iter().sum());
            let mut out = vec![u64::MAX; pixels * words];
            concat_bits(&inputs, pixels, &mut out);
            for pixel in 0..pixels {
                let mut at = 0;
                for (map, channels) in &inputs {
                    for channel in 0..*channels {
                        let expected = bit(map, pixel * words_per_pixel(*channels) * 64 + channel);
                        prop_assert_eq!(bit(&out, pixel * words * 64 + at), expected);
                        at += 1;
                    }
                }
                let rest = words * 64 - at;
                if rest > 0 {
                    prop_assert_eq!(extract(&out, pixel * words * 64 + at, rest), 0);
                }
            }
        }
    }

    #[test]
    fn flip_words_are_counted() {
        let geometry = PoolGeometry {
            channels: 65,
            input: [2, 2],
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            pads: [0; 4],
        };
        assert!(MaxPoolBits::new(geometry, Some(&[0])).is_err());
    }
}
