//! Binary convolutions whose weights or inputs are not centred at zero.
//!
//! With `w = a_w s_w + b_w` and `x = a_x s_x + b_x` and all sums over the taps inside the map,
//!
//! `sum w x = a_w a_x (sum s_w s_x) + a_w b_x (sum s_w) + b_w a_x (sum s_x) + b_w b_x (number of taps)`.
//!
//! The first sum is the accumulator of the binary convolution, the second and the last term are
//! constants of the border class, and the third sum is shared by all output channels of a group.

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
        for terms in [Some(dot), Some(weight_sum), input_sum, Some(count)]
            .into_iter()
            .flatten()
        {
            assert_eq!(terms.len(), channels, "one term per output channel");
        }
        let classes = BorderClasses::new(conv);
        let mut constants = Vec::with_capacity(classes.len() * channels);
        for class in 0..classes.len() {
            let taps = classes.taps(class) as f64;
            let sums = classes.weight_sums(class, weights);
            constants.extend(weight_sum.iter().zip(&sums).zip(count).map(
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
        assert!(isa.is_available(), "{isa} is not available");
        let [height, width] = self.output;
        assert!(
            rows.start <= rows.end && rows.end <= height,
            "rows of the output map"
        );
        let pixels = rows.len() * width;
        assert_eq!(
            accumulators.len(),
            pixels * self.dot.len(),
            "accumulators of the rows"
        );
        assert_eq!(out.len(), accumulators.len(), "one output per accumulator");
        let sums = if self.needs_input_sums() {
            pixels * self.groups
        } else {
            0
        };
        assert_eq!(input_sums.len(), sums, "one input sum per pixel and group");
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the assertion above established that the processor has AVX2.
            Isa::Avx2 => unsafe { self.apply_avx2(accumulators, input_sums, rows, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the assertion above established that the processor has AVX-512 F, BW, DQ and VL.
            Isa::Avx512 | Isa::Avx512Vpopcnt => unsafe {
                self.apply_avx512(accumulators, input_sums, rows, out);
            },
            _ => self.apply_rows(accumulators, input_sums, rows, out),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn apply_avx2(&self, acc: &[i32], input_sums: &[i32], rows: Range<usize>, out: &mut [f32]) {
        self.apply_rows(acc, input_sums, rows, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
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
                for ((out, input_sum), &sum) in out
                    .chunks_exact_mut(group)
                    .zip(input_sum.chunks_exact(group))
                    .zip(sums)
                {
                    let sum = sum as f32;
                    out.iter_mut()
                        .zip(input_sum)
                        .for_each(|(out, &scale)| *out += scale * sum);
                }
            }
        }
    }
}

/// Converts integers to floats, rounding to nearest.
///
/// # Panics
/// If the lengths differ or this processor lacks `isa`.
pub fn i32_to_f32(isa: Isa, values: &[i32], out: &mut [f32]) {
    assert!(isa.is_available(), "{isa} is not available");
    assert_eq!(values.len(), out.len(), "one float per integer");
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the assertion above established that the processor has AVX2.
        Isa::Avx2 => unsafe { convert_avx2(values, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the assertion above established that the processor has AVX-512 F, BW, DQ and VL.
        Isa::Avx512 | Isa::Avx512Vpopcnt => unsafe { convert_avx512(values, out) },
        _ => convert(values, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn convert_avx2(values: &[i32], out: &mut [f32]) {
    convert(values, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn convert_avx512(values: &[i32], out: &mut [f32]) {
    convert(values, out);
}

#[inline(always)]
fn convert(values: &[i32], out: &mut [f32]) {
    out.iter_mut()
        .zip(values)
        .for_each(|(out, &value)| *out = value as f32);
}
