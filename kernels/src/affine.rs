//! Binary convolutions whose weights or inputs are not centred at zero.
//!
//! With `w = a_w s_w + b_w` and `x = a_x s_x + b_x` and all sums over the taps inside the map,
//!
//! `sum w x = a_w a_x (sum s_w s_x) + a_w b_x (sum s_w) + b_w a_x (sum s_x) + b_w b_x (number of taps)`.
//!
//! The first sum is the accumulator of the binary convolution, the second and the last term are
//! constants of the border class, and the third sum is shared by all output channels of a group.

#[cfg(target_arch = "x86_64")]
use crate::features::{Avx2, Avx512, require};
use crate::{BorderClasses, ConvGeometry, Isa};
use std::ops::Range;

/// Turns accumulators of a binary convolution into the general affine form.
#[derive(Debug, Clone)]
pub struct AffineBinary {
    classes: BorderClasses,
    output: [usize; 2],
    groups: usize,
    dot: Vec<f32>,
    input_sum: Option<Vec<f32>>,
    /// `[class][out_channels]`.
    constants: Vec<f32>,
}

impl AffineBinary {
    /// The form for a layer: `dot` is `a_w a_x`, `weight_sum` is `a_w b_x`, `input_sum` is `b_w a_x`
    /// (absent when `b_w` is zero everywhere) and `count` is `b_w b_x`, one entry per output channel.
    ///
    /// # Panics
    /// If the geometry is not valid or a length does not fit.
    pub fn new(
        conv: &ConvGeometry,
        weights: &[u64],
        dot: &[f32],
        weight_sum: &[f32],
        input_sum: Option<&[f32]>,
        count: &[f32],
    ) -> Self {
        let channels = conv.out_channels;
        for terms in [Some(dot), Some(weight_sum), input_sum, Some(count)].into_iter().flatten() {
            assert_eq!(terms.len(), channels, "one term per output channel");
        }
        let classes = BorderClasses::new(conv);
        let sums = classes.weight_sums(weights);
        let mut constants = Vec::with_capacity(classes.len() * channels);
        for class in 0..classes.len() {
            let taps = classes.taps(class) as f64;
            let sums = &sums[class * channels..][..channels];
            constants.extend(weight_sum.iter().zip(sums).zip(count).map(
                |((&weight_sum, &sum), &count)| {
                    (f64::from(weight_sum) * f64::from(sum) + f64::from(count) * taps) as f32
                },
            ));
        }
        Self {
            classes,
            output: conv.output(),
            groups: conv.groups,
            dot: dot.to_vec(),
            input_sum: input_sum.map(<[f32]>::to_vec),
            constants,
        }
    }

    /// Whether [`AffineBinary::apply`] needs the sums of the inputs.
    pub fn needs_input_sums(&self) -> bool {
        self.input_sum.is_some()
    }

    /// Computes `(dot * v + constant) + input_sum * S`, each operation rounded, for some rows of the
    /// map: `accumulators` and `out` are `[rows][out_width][out_channels]`, `input_sums` is
    /// `[rows][out_width][groups]`, or empty where it is not needed.
    ///
    /// # Panics
    /// If a length does not fit, there are no such rows, or this processor lacks `isa`.
    pub fn apply(
        &self,
        isa: Isa,
        accumulators: &[i32],
        input_sums: &[i32],
        rows: Range<usize>,
        out: &mut [f32],
    ) {
        let [height, width] = self.output;
        assert!(rows.start <= rows.end && rows.end <= height, "rows of the output map");
        let pixels = rows.len() * width;
        assert_eq!(accumulators.len(), pixels * self.dot.len(), "accumulators of the rows");
        assert_eq!(out.len(), accumulators.len(), "one output per accumulator");
        let sums = if self.needs_input_sums() { pixels * self.groups } else { 0 };
        assert_eq!(input_sums.len(), sums, "one input sum per pixel and group");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                let _proof = require(isa, Avx2::detect());
                // SAFETY: the line above proves the features.
                unsafe { self.apply_avx2(accumulators, input_sums, rows, out) }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vpopcnt | Isa::Amx => {
                let _proof = require(isa, Avx512::detect());
                // SAFETY: the line above proves the features.
                unsafe { self.apply_avx512(accumulators, input_sums, rows, out) }
            }
            _ => self.apply_rows(accumulators, input_sums, rows, out),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,popcnt")]
    fn apply_avx2(&self, acc: &[i32], input_sums: &[i32], rows: Range<usize>, out: &mut [f32]) {
        self.apply_rows(acc, input_sums, rows, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
    fn apply_avx512(&self, acc: &[i32], input_sums: &[i32], rows: Range<usize>, out: &mut [f32]) {
        self.apply_rows(acc, input_sums, rows, out);
    }

    /// Inlined into one caller per instruction set and vectorised there by the compiler; it never
    /// fuses or reorders float operations, so that all give the same bits.
    #[inline(always)]
    fn apply_rows(&self, acc: &[i32], input_sums: &[i32], rows: Range<usize>, out: &mut [f32]) {
        let channels = self.dot.len();
        let group = channels / self.groups;
        let pixels = rows.flat_map(|y| (0..self.output[1]).map(move |x| (y, x)));
        for (pixel, (y, x)) in pixels.enumerate() {
            let constants = &self.constants[self.classes.class(y, x) * channels..][..channels];
            let acc = &acc[pixel * channels..][..channels];
            let out = &mut out[pixel * channels..][..channels];
            for (((out, &v), &dot), &constant) in
                out.iter_mut().zip(acc).zip(&self.dot).zip(constants)
            {
                *out = dot * v as f32 + constant;
            }
            if let Some(input_sum) = &self.input_sum {
                let sums = &input_sums[pixel * self.groups..][..self.groups];
                for ((out, input_sum), &sum) in
                    out.chunks_exact_mut(group).zip(input_sum.chunks_exact(group)).zip(sums)
                {
                    let sum = sum as f32;
                    out.iter_mut().zip(input_sum).for_each(|(out, &scale)| *out += scale * sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Alphabet, BinaryConv, MapRows, PadValue,
        bit_string::{bit, last_word_mask},
        words_per_pixel,
    };
    use proptest::prelude::*;

    prop_compose! {
        fn layer()(
            groups in prop_oneof![2 => Just(1_usize), 1 => 2..4_usize],
            group_in in 1..40_usize,
            group_out in 1..20_usize,
            input in [1..6_usize, 1..6_usize],
            kernel in [1..4_usize, 1..4_usize],
            stride in [1..3_usize, 1..3_usize],
            dilation in [1..3_usize, 1..3_usize],
            pads in [0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize],
        ) -> ConvGeometry {
            let mut pads = pads;
            for axis in 0..2 {
                let extent = (kernel[axis] - 1) * dilation[axis] + 1;
                pads[axis + 2] += extent.saturating_sub(input[axis] + pads[axis] + pads[axis + 2]);
            }
            ConvGeometry {
                in_channels: groups * group_in,
                out_channels: groups * group_out,
                input,
                kernel,
                stride,
                dilation,
                pads,
                groups,
            }
        }
    }

    /// `sum of w x` over the taps inside the map, from the real values.
    fn real_convolution(
        geometry: &ConvGeometry,
        weight: impl Fn(usize, usize, usize) -> f64,
        value: impl Fn(usize, usize) -> f64,
    ) -> Vec<f64> {
        let [height, width] = geometry.output();
        let (kernel, [h, w]) = (geometry.kernel, geometry.input);
        let group_in = geometry.in_channels / geometry.groups;
        let group_out = geometry.out_channels / geometry.groups;
        let mut out = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for o in 0..geometry.out_channels {
                    let mut sum = 0.0;
                    for tap in 0..kernel[0] * kernel[1] {
                        let y = (y * geometry.stride[0] + tap / kernel[1] * geometry.dilation[0])
                            .wrapping_sub(geometry.pads[0]);
                        let x = (x * geometry.stride[1] + tap % kernel[1] * geometry.dilation[1])
                            .wrapping_sub(geometry.pads[1]);
                        if y < h && x < w {
                            for c in 0..group_in {
                                sum += weight(o, tap, c)
                                    * value(y * w + x, o / group_out * group_in + c);
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn affine_form_is_the_convolution_of_the_real_values(
            geometry in layer(), centred in any::<bool>(), seed in any::<u64>(),
        ) {
            let mut state = seed;
            let mut word = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state ^ state >> 33
            };
            let words = words_per_pixel(geometry.in_channels);
            let mask = last_word_mask(geometry.in_channels);
            let input: Vec<u64> = (0..geometry.input[0] * geometry.input[1] * words)
                .map(|at| word() & if (at + 1) % words == 0 { mask } else { u64::MAX })
                .collect();
            let products = geometry.products();
            let weights: Vec<u64> =
                (0..(geometry.out_channels * products).div_ceil(64)).map(|_| word()).collect();
            // Multiples of 1/8 below 2: all products and sums are exact in f32.
            let mut eighths = |n| (0..n).map(|_| (word() >> 20 & 31) as f32 / 8.0 - 2.0).collect::<Vec<_>>();
            let a_w = eighths(geometry.out_channels);
            let b_w = if centred { vec![0.0; a_w.len()] } else { eighths(a_w.len()) };
            let (a_x, b_x) = (eighths(1)[0], eighths(1)[0]);
            let times = |by: f32, of: &[f32]| of.iter().map(|of| of * by).collect::<Vec<_>>();
            let input_sum = times(a_x, &b_w);
            let affine = AffineBinary::new(
                &geometry,
                &weights,
                &times(a_x, &a_w),
                &times(b_x, &a_w),
                (!centred).then_some(&input_sum[..]),
                &times(b_x, &b_w),
            );
            prop_assert_eq!(affine.needs_input_sums(), !centred);
            let group_in = geometry.in_channels / geometry.groups;
            let sign = |set: bool| if set { 1.0 } else { -1.0 };
            let expected = real_convolution(
                &geometry,
                |o, tap, c| {
                    let at = (o * geometry.kernel[0] * geometry.kernel[1] + tap) * group_in + c;
                    f64::from(a_w[o]) * sign(bit(&weights, at)) + f64::from(b_w[o])
                },
                |pixel, c| f64::from(a_x) * sign(bit(&input, pixel * words * 64 + c)) + f64::from(b_x),
            );
            let [height, width] = geometry.output();
            for isa in Isa::available() {
                let conv = BinaryConv::new(
                    isa, geometry.clone(), PadValue::Zero, Alphabet::PlusMinus, &weights,
                ).expect("a valid layer");
                let rows = conv.rows_read(0..height);
                let mut layout = vec![0; rows.len() * conv.row_len()];
                conv.fill_rows(&input, rows, &mut layout);
                for y in 0..height {
                    let mut accumulators = vec![0; width * geometry.out_channels];
                    conv.accumulate(MapRows::whole(&layout), y..y + 1, &mut accumulators);
                    let mut sums = vec![0; if centred { 0 } else { width * geometry.groups }];
                    if !centred {
                        conv.input_sums(&input, y..y + 1, &mut sums);
                    }
                    let mut out = vec![f32::NAN; accumulators.len()];
                    affine.apply(isa, &accumulators, &sums, y..y + 1, &mut out);
                    let expected = &expected[y * out.len()..][..out.len()];
                    for (&out, &expected) in out.iter().zip(expected) {
                        prop_assert_eq!(f64::from(out), expected);
                    }
                }
            }
        }

        #[test]
        fn every_operation_is_rounded_on_its_own(
            terms in prop::collection::vec((any::<f32>(), any::<f32>(), any::<i32>(), -999..999_i32), 1..70),
        ) {
            let channels = terms.len();
            let geometry = ConvGeometry {
                in_channels: 1,
                out_channels: channels,
                input: [1, 1],
                kernel: [1, 1],
                stride: [1, 1],
                dilation: [1, 1],
                pads: [0; 4],
                groups: 1,
            };
            let dot: Vec<f32> = terms.iter().map(|term| term.0).collect();
            let scale: Vec<f32> = terms.iter().map(|term| term.1).collect();
            let v: Vec<i32> = terms.iter().map(|term| term.2).collect();
            let sum = terms[0].3;
            let weights = vec![u64::MAX; channels.div_ceil(64)];
            let affine = AffineBinary::new(&geometry, &weights, &dot, &scale, Some(&scale), &dot);
            for isa in Isa::available() {
                let mut out = vec![0.0; channels];
                affine.apply(isa, &v, &[sum], 0..1, &mut out);
                for channel in 0..channels {
                    let constant = (f64::from(scale[channel]) + f64::from(dot[channel])) as f32;
                    let product = dot[channel] * v[channel] as f32;
                    let shifted = product + constant;
                    let expected = shifted + scale[channel] * sum as f32;
                    prop_assert!(
                        out[channel].to_bits() == expected.to_bits()
                            || out[channel].is_nan() && expected.is_nan(),
                        "{isa}: {} is not {expected}", out[channel]
                    );
                }
            }
        }
    }
}
