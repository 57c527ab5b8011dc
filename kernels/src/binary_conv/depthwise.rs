//! Depth-wise convolutions: one input channel per group.
//!
//! There is nothing to sum but the taps, so 64 channels are counted at once, in the bits of a word:
//! counter `c` is bit `c` of every one of a few words, the planes, and adding a word of mismatches is a
//! ripple of half adders through the planes.

use super::{
    PackedKernel,
    bases::Bases,
    padded_map::{PaddedMap, runs},
};
use crate::{Alphabet, ConvGeometry, MapRows, PadValue, bit_string::bit, words_per_pixel};
use std::ops::Range;

#[cfg(target_arch = "aarch64")]
use crate::features::Neon;
#[cfg(target_arch = "x86_64")]
use crate::features::{Avx2, Avx512, V2};

/// The instruction set that the compiler may use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Level {
    /// POPCNT and SSE4.1.
    #[cfg(target_arch = "x86_64")]
    V2(V2),
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// A depth-wise convolution with `multiplier` output channels for each input channel.
#[derive(Debug)]
pub(super) struct Depthwise {
    level: Level,
    geometry: ConvGeometry,
    /// All channels as one group of words.
    map: PaddedMap,
    /// Words from the start of a window to each tap.
    taps: Vec<usize>,
    /// `[multiplier][words][taps]`, one bit per input channel.
    weights: Vec<u64>,
    multiplier: usize,
    bases: Bases,
}

impl Depthwise {
    /// Packs validated weights of a layer with one input channel per group.
    pub(super) fn new(
        level: Level,
        geometry: &ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Self {
        let multiplier = geometry.out_channels / geometry.groups;
        let map = PaddedMap::new::<u64>(
            &ConvGeometry { groups: 1, ..geometry.clone() },
            pad == PadValue::Plus,
        );
        let taps: Vec<_> = runs(geometry, &map)
            .iter()
            .flat_map(|run| (0..run.steps).step_by(map.units()).map(|step| run.offset + step))
            .collect();
        let words = words_per_pixel(geometry.in_channels);
        let mut packed = vec![0; multiplier * words * taps.len()];
        for channel in 0..geometry.out_channels {
            let (input, pass) = (channel / multiplier, channel % multiplier);
            let row = (pass * words + input / 64) * taps.len();
            for tap in 0..taps.len() {
                let weight = u64::from(bit(weights, channel * taps.len() + tap));
                packed[row + tap] |= weight << (input % 64);
            }
        }
        let bases = Bases::new(geometry, pad, alphabet, weights, multiplier);
        Self { level, geometry: geometry.clone(), map, taps, weights: packed, multiplier, bases }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,popcnt")]
    fn accumulate_avx2(&self, map: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        self.accumulate_rows(map, rows, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
    fn accumulate_avx512(&self, map: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        self.accumulate_rows(map, rows, out);
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    fn accumulate_neon(&self, map: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        self.accumulate_rows(map, rows, out);
    }

    /// Inlined into one caller per instruction set and vectorised there by the compiler.
    #[inline(always)]
    fn accumulate_rows(&self, map: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        let ConvGeometry { in_channels, out_channels, stride, .. } = self.geometry;
        let width = self.geometry.output()[1];
        let words = words_per_pixel(in_channels);
        let scale = if self.bases.double() { 2 } else { 1 };
        let pixels = rows.flat_map(|y| (0..width).map(move |x| (y, x)));
        for ((y, x), out) in pixels.zip(out.chunks_exact_mut(out_channels)) {
            let bases = &self.bases.table()[self.bases.at(y, x)..][..out_channels];
            let first = self.map.offset(y * stride[0] - map.first, x * stride[1]);
            let window = &map.values[first..];
            for (row, weights) in self.weights.chunks_exact(self.taps.len()).enumerate() {
                let (pass, word) = (row / words, row % words);
                let counts = self.mismatches(&window[word..], weights);
                let channels = (in_channels - word * 64).min(64);
                let first = word * 64 * self.multiplier + pass;
                if self.multiplier == 1 {
                    let (out, bases) = (&mut out[first..][..channels], &bases[first..]);
                    for ((out, base), count) in out.iter_mut().zip(bases).zip(&counts) {
                        *out = base - scale * count;
                    }
                } else {
                    for (channel, count) in counts[..channels].iter().enumerate() {
                        let at = first + channel * self.multiplier;
                        out[at] = bases[at] - scale * count;
                    }
                }
            }
        }
    }

    /// Number of differing taps for each of 64 channels.
    #[inline(always)]
    fn mismatches(&self, window: &[u64], weights: &[u64]) -> [i32; 64] {
        // As many planes as a count of 32 bits can need.
        let mut planes = [0_u64; 32];
        let mut used = 0;
        for (&tap, &weight) in self.taps.iter().zip(weights) {
            let mut carry = window[tap] ^ weight;
            let mut plane = 0;
            while carry != 0 {
                (planes[plane], carry) = (planes[plane] ^ carry, planes[plane] & carry);
                plane += 1;
            }
            used = used.max(plane);
        }
        let mut counts = [0; 64];
        for (index, &plane) in planes[..used].iter().enumerate() {
            for (channel, count) in counts.iter_mut().enumerate() {
                *count |= ((plane >> channel & 1) as i32) << index;
            }
        }
        counts
    }
}

impl PackedKernel for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise-planes"
    }

    fn packed_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + self.bases.bytes()
    }

    fn row_len(&self) -> usize {
        self.map.row_len::<u64>()
    }

    fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]) {
        self.map.fill_rows(input, rows, layout);
    }

    fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::V2(_) => self.accumulate_rows(layout, rows, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level holds the proof of the features.
            Level::Avx2(_) => unsafe { self.accumulate_avx2(layout, rows, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level holds the proof of the features.
            Level::Avx512(_) => unsafe { self.accumulate_avx512(layout, rows, out) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the level holds the proof of the features.
            Level::Neon(_) => unsafe { self.accumulate_neon(layout, rows, out) },
        }
    }
}
