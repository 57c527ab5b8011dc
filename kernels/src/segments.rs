//! Bits of several maps of one size, side by side in the pixels of one map: a concatenation and the
//! comparisons behind it, without the concatenated map.

use crate::{
    Isa, IsaError, MapValues,
    bits::{BitPlace, pack_f32_beside, pack_i16_beside},
    words_per_pixel,
};

/// The comparisons of one of the maps, and the place of its bits.
#[derive(Debug, Clone)]
pub struct SegmentBits {
    isa: Isa,
    thresholds: Thresholds,
    /// Absent where no bit is turned over.
    flip: Option<Vec<u64>>,
    place: BitPlace,
}

/// One threshold per channel.
#[derive(Debug, Clone)]
enum Thresholds {
    F32(Vec<f32>),
    I16(Vec<i16>),
}

impl SegmentBits {
    /// A map of floats: bit `(value >= threshold) xor flip`, an ordered comparison. Its first channel
    /// becomes bit `first` of pixels that have `channels` bits in all; `flip` holds
    /// `words_per_pixel(thresholds.len())` words.
    ///
    /// # Errors
    /// If this processor lacks `isa`.
    ///
    /// # Panics
    /// If there are no thresholds, the bits end behind those of the pixel, or `flip` has another
    /// length.
    pub fn of_f32(
        isa: Isa,
        thresholds: Vec<f32>,
        flip: Option<&[u64]>,
        first: usize,
        channels: usize,
    ) -> Result<Self, IsaError> {
        Self::new(isa, Thresholds::F32(thresholds), flip.map(<[u64]>::to_vec), first, channels)
    }

    /// As [`SegmentBits::of_f32`], for a map of integers. No value is as small as -32768, so that
    /// every threshold has an equal among 16-bit integers and their complement.
    ///
    /// # Errors
    /// If this processor lacks `isa`.
    ///
    /// # Panics
    /// As [`SegmentBits::of_f32`].
    pub fn of_i16(
        isa: Isa,
        thresholds: &[i32],
        flip: Option<&[u64]>,
        first: usize,
        channels: usize,
    ) -> Result<Self, IsaError> {
        let mut flips = flip.map(<[u64]>::to_vec);
        let mut short = Vec::with_capacity(thresholds.len());
        for (channel, &threshold) in thresholds.iter().enumerate() {
            let Ok(threshold) = i16::try_from(threshold.max(i16::MIN.into())) else {
                // Never true: the complement of always.
                let words = words_per_pixel(thresholds.len());
                let flips = flips.get_or_insert_with(|| vec![0; words]);
                flips[channel / 64] ^= 1 << (channel % 64);
                short.push(i16::MIN);
                continue;
            };
            short.push(threshold);
        }
        Self::new(isa, Thresholds::I16(short), flips, first, channels)
    }

    fn new(
        isa: Isa,
        thresholds: Thresholds,
        flip: Option<Vec<u64>>,
        first: usize,
        channels: usize,
    ) -> Result<Self, IsaError> {
        isa.require()?;
        let place = BitPlace { words: words_per_pixel(channels), first };
        let segment = Self { isa, thresholds, flip, place };
        let own = segment.channels();
        assert!(own > 0, "a segment has channels");
        assert!(first.checked_add(own).is_some_and(|end| end <= channels), "bits of the pixel");
        let words = segment.flip.as_ref().map(Vec::len);
        assert!(words.is_none_or(|words| words == words_per_pixel(own)), "one flip per channel");
        Ok(segment)
    }

    /// Channels of the map.
    pub fn channels(&self) -> usize {
        match &self.thresholds {
            Thresholds::F32(thresholds) => thresholds.len(),
            Thresholds::I16(thresholds) => thresholds.len(),
        }
    }

    /// Writes the bits of some pixels, `[pixels][own channels]`, to `out`, which is
    /// `[pixels][words_per_pixel(all channels)]`. Bits of other channels stay as they are.
    ///
    /// # Panics
    /// If the values are not of the kind of the thresholds, or a length does not fit.
    pub fn pack(&self, values: MapValues<'_>, out: &mut [u64]) {
        let (isa, place, flip) = (self.isa, self.place, self.flip.as_deref());
        match (values, &self.thresholds) {
            (MapValues::F32(values), Thresholds::F32(thresholds)) => {
                pack_f32_beside(isa, values, thresholds.len(), thresholds, flip, place, out);
            }
            (MapValues::I16(values), Thresholds::I16(thresholds)) => {
                pack_i16_beside(isa, values, thresholds.len(), thresholds, flip, place, out);
            }
            _ => panic!("values are not of the kind of their thresholds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bit_string::bit;
    use proptest::prelude::*;

    /// One map of a case: values of all pixels, thresholds, flips.
    #[derive(Debug, Clone)]
    enum Segment {
        F32(Vec<f32>, Vec<f32>, Option<Vec<bool>>),
        I16(Vec<i16>, Vec<i32>, Option<Vec<bool>>),
    }

    impl Segment {
        fn channels(&self) -> usize {
            match self {
                Self::F32(_, thresholds, _) => thresholds.len(),
                Self::I16(_, thresholds, _) => thresholds.len(),
            }
        }

        fn expected(&self, pixel: usize, channel: usize) -> bool {
            let at = pixel * self.channels() + channel;
            let (reached, flip) = match self {
                Self::F32(values, thresholds, flip) => (values[at] >= thresholds[channel], flip),
                Self::I16(values, thresholds, flip) => {
                    (i32::from(values[at]) >= thresholds[channel], flip)
                }
            };
            reached != flip.as_ref().is_some_and(|flip| flip[channel])
        }

        fn prepared(&self, isa: Isa, first: usize, all: usize) -> SegmentBits {
            let packed = |flip: &Option<Vec<bool>>| {
                flip.as_ref().map(|flip| {
                    let mut words = vec![0; words_per_pixel(flip.len())];
                    for (channel, &flip) in flip.iter().enumerate() {
                        words[channel / 64] |= u64::from(flip) << (channel % 64);
                    }
                    words
                })
            };
            match self {
                Self::F32(_, thresholds, flip) => {
                    let flip = packed(flip);
                    SegmentBits::of_f32(isa, thresholds.clone(), flip.as_deref(), first, all)
                }
                Self::I16(_, thresholds, flip) => {
                    let flip = packed(flip);
                    SegmentBits::of_i16(isa, thresholds, flip.as_deref(), first, all)
                }
            }
            .expect("an instruction set that is there")
        }

        fn values(&self) -> MapValues<'_> {
            match self {
                Self::F32(values, ..) => MapValues::F32(values),
                Self::I16(values, ..) => MapValues::I16(values),
            }
        }
    }

    fn float() -> impl Strategy<Value = f32> + Clone {
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -1.0];
        prop_oneof![
            prop::sample::select(special.to_vec()),
            any::<u32>().prop_map(f32::from_bits).boxed()
        ]
    }

    fn segment(pixels: usize) -> impl Strategy<Value = Segment> {
        let some = [1_usize, 3, 16, 22, 32, 33, 48, 53, 63, 64, 65, 128, 130, 192];
        prop::sample::select(some.to_vec()).prop_flat_map(move |channels| {
            let flip = || prop::option::of(prop::collection::vec(any::<bool>(), channels));
            let floats = (
                prop::collection::vec(float(), pixels * channels),
                prop::collection::vec(float(), channels),
                flip(),
            );
            let value = prop_oneof![-9..9_i16, -32767..=32767_i16];
            let limits =
                [i32::MIN, -32769, -32768, -32767, 32767, 32768, i32::MAX - 1, i32::MAX, 0];
            let threshold = prop_oneof![
                3 => -9..9_i32,
                2 => -40_000..40_000_i32,
                2 => prop::sample::select(limits.to_vec()),
            ];
            let integers = (
                prop::collection::vec(value, pixels * channels),
                prop::collection::vec(threshold, channels),
                flip(),
            );
            prop_oneof![
                floats
                    .prop_map(|(values, thresholds, flip)| Segment::F32(values, thresholds, flip)),
                integers
                    .prop_map(|(values, thresholds, flip)| Segment::I16(values, thresholds, flip)),
            ]
        })
    }

    fn segments() -> impl Strategy<Value = (usize, Vec<Segment>)> {
        (0..5_usize).prop_flat_map(|pixels| {
            (Just(pixels), prop::collection::vec(segment(pixels).boxed(), 1..6))
        })
    }

    proptest! {
        /// Every bit is its comparison, and no other bit is touched, whichever map comes first.
        #[test]
        fn maps_side_by_side_are_compared_channel_by_channel(
            (pixels, segments) in segments(),
            garbage in any::<u64>(),
            backwards in any::<bool>(),
        ) {
            let all: usize = segments.iter().map(Segment::channels).sum();
            let words = words_per_pixel(all);
            for isa in Isa::available() {
                let mut out = vec![garbage; pixels * words];
                let mut first = 0;
                let mut prepared: Vec<_> = segments
                    .iter()
                    .map(|segment| {
                        let bits = segment.prepared(isa, first, all);
                        first += segment.channels();
                        (bits, segment)
                    })
                    .collect();
                if backwards {
                    prepared.reverse();
                }
                for (bits, segment) in &prepared {
                    bits.pack(segment.values(), &mut out);
                }
                for pixel in 0..pixels {
                    let mut at = pixel * words * 64;
                    for (index, segment) in segments.iter().enumerate() {
                        for channel in 0..segment.channels() {
                            let expected = segment.expected(pixel, channel);
                            prop_assert_eq!(
                                bit(&out, at), expected,
                                "{}, segment {}, pixel {}, channel {}", isa, index, pixel, channel
                            );
                            at += 1;
                        }
                    }
                    for at in at..(pixel + 1) * words * 64 {
                        prop_assert_eq!(bit(&out, at), garbage >> (at % 64) & 1 == 1);
                    }
                }
            }
        }
    }

    #[test]
    fn thresholds_beyond_short_integers_are_always_or_never_reached() {
        let thresholds = [i32::MIN, -32768, 32767, 32768, i32::MAX];
        for isa in Isa::available() {
            for (flip, expected) in [(None, 0b00111), (Some(&[0b11111][..]), 0b11000)] {
                let bits = SegmentBits::of_i16(isa, &thresholds, flip, 0, 5).unwrap();
                let mut out = [0];
                bits.pack(MapValues::I16(&[32767; 5]), &mut out);
                assert_eq!(out, [expected], "{isa}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "bits of the pixel")]
    fn a_segment_lies_within_the_pixel() {
        let _ = SegmentBits::of_f32(Isa::Scalar, vec![0.0; 5], None, 60, 64);
    }
}
