//! Convolution and dense layers in f32, or of f32 with weights that are ±1.
//!
//! The sum of one output is defined to the bit: one accumulator that starts at +0 and takes fused
//! multiply-adds in the order kernel row, kernel column, input channel of the group. Padded taps take
//! part as +0 (in most sums they change nothing, but 0 times an infinite weight is NaN everywhere or
//! nowhere). Every path gives these bits but for [`Isa::V2`]: before FMA a fused multiply-add costs some
//! twenty operations, so there the product is rounded to f32 before it is added, in the same order. With
//! `n` products a sum is then within `(n + 1) eps / 2` of `sum of abs(w x)` from the exact one, where
//! the other paths are within `n eps / 2`. A bias is added at the end, with a rounding of its own.

mod panels;
mod reference;
mod tiles;

use crate::{ConvGeometry, GeometryError, Isa, MapRows, aligned::Aligned, bit_string::bit};
use panels::Panels;
use std::ops::Range;

/// Weights of a [`FloatConv`], `[out_channels, kernel_h, kernel_w, in_channels / groups]`.
#[derive(Debug, Clone, Copy)]
pub enum FloatWeights<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// One dense string of bits in 64-bit words, first one lowest: 1 is +1, 0 is -1.
    Signs(&'a [u64]),
}

impl FloatWeights<'_> {
    fn check_len(&self, weights: usize) -> Result<(), GeometryError> {
        let (found, expected, unit) = match self {
            Self::F32(values) => (values.len(), weights, "floats"),
            Self::Signs(words) => (words.len(), weights.div_ceil(64), "64-bit words"),
        };
        if found == expected {
            Ok(())
        } else {
            Err(GeometryError(format!(
                "convolution weights are {found} {unit}, expected {expected}"
            )))
        }
    }

    /// The weights from a position on, all of which are inside.
    fn read(&self, first: usize, to: &mut [f32]) {
        match self {
            Self::F32(values) => {
                let from = &values[first..][..to.len()];
                // A line is what is asked for nearly always: no call is needed to copy one.
                match <&mut [f32; panels::LINE]>::try_from(&mut *to) {
                    Ok(line) => line.copy_from_slice(from),
                    Err(_) => to.copy_from_slice(from),
                }
            }
            Self::Signs(words) => {
                for (index, to) in (first..).zip(to) {
                    *to = if bit(words, index) { 1.0 } else { -1.0 };
                }
            }
        }
    }
}

/// A convolution in f32, its weights packed for one instruction set.
#[derive(Debug)]
pub struct FloatConv {
    geometry: ConvGeometry,
    /// Height and width of the output.
    output: [usize; 2],
    /// Width of the input with its padding.
    padded_width: usize,
    kernel: Kernel,
    /// One for each output channel, in the order of the kernel.
    bias: Option<Aligned<f32>>,
}

/// How the sums are computed, and the weights in the order this needs.
#[derive(Debug)]
enum Kernel {
    /// Weights as they came.
    Reference(Aligned<f32>),
    Panels(Panels),
}

impl FloatConv {
    /// Packs the weights for an instruction set.
    ///
    /// # Errors
    /// One line about a geometry that makes no sense, weights of another length than it asks for, or
    /// an instruction set that this processor lacks.
    pub fn new(
        isa: Isa,
        geometry: ConvGeometry,
        weights: FloatWeights<'_>,
    ) -> Result<Self, GeometryError> {
        isa.require().map_err(|error| GeometryError(error.to_string()))?;
        geometry.validate()?;
        let count = geometry.out_channels * geometry.products();
        weights.check_len(count)?;
        let kernel = match tiles(isa) {
            // SAFETY: the processor has the instruction set, as was just made sure.
            Some(tiles) => unsafe {
                Kernel::Panels(Panels::new(tiles, &geometry, |first, to| weights.read(first, to)))
            },
            None => {
                let mut plain = Aligned::zeroed(count);
                weights.read(0, plain.as_mut_slice());
                Kernel::Reference(plain)
            }
        };
        Ok(Self {
            output: geometry.output(),
            padded_width: geometry.padded_input()[1],
            geometry,
            kernel,
            bias: None,
        })
    }

    /// The same with a bias for each output channel, which is added to the sums while they are in
    /// registers.
    ///
    /// # Errors
    /// One line about a bias that has not one float for each output channel.
    pub fn with_bias(mut self, bias: &[f32]) -> Result<Self, GeometryError> {
        let (found, expected) = (bias.len(), self.geometry.out_channels);
        if found != expected {
            return Err(GeometryError(format!(
                "convolution bias is {found} floats, expected {expected}"
            )));
        }
        self.bias = Some(match &self.kernel {
            Kernel::Reference(_) => {
                let mut plain = Aligned::zeroed(found);
                plain.as_mut_slice().copy_from_slice(bias);
                plain
            }
            Kernel::Panels(panels) => panels.pack_bias(bias),
        });
        Ok(self)
    }

    /// The shape of the layer.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Name of the code that runs, for profiles.
    pub fn kernel_name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Reference(_) => "f32 scalar",
            Kernel::Panels(panels) => panels.name(),
        }
    }

    /// Bytes of the packed weights.
    pub fn packed_bytes(&self) -> usize {
        let weights = match &self.kernel {
            Kernel::Reference(weights) => weights.as_slice(),
            Kernel::Panels(panels) => panels.weights(),
        };
        size_of_val(weights)
    }

    /// Whether the layer has no padding, so that the input is read in place.
    pub fn reads_in_place(&self) -> bool {
        self.geometry.pads == [0; 4]
    }

    /// Floats of a row of the padded map.
    pub fn row_len(&self) -> usize {
        self.padded_width * self.geometry.in_channels
    }

    /// The rows of the padded map that some rows of the output need.
    pub fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        self.geometry.padded_rows_read(rows)
    }

    /// Copies some rows of the padded map, `[rows][padded width][in_channels]`: those of the input
    /// `[height, width, in_channels]` with +0 around.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is outside.
    pub fn fill_rows(&self, input: &[f32], rows: Range<usize>, padded: &mut [f32]) {
        let [height, width] = self.geometry.input;
        let len = width * self.geometry.in_channels;
        assert_eq!(input.len(), height * len, "input map");
        self.fill_rows_with(rows, padded, |row, inside| {
            inside.copy_from_slice(&input[row * len..][..len]);
        });
    }

    /// As [`fill_rows`](Self::fill_rows), where `write` is called with a row of the input and the place
    /// for its values `[width, in_channels]`: for maps in another order.
    ///
    /// # Panics
    /// If `padded` has another length than the layer asks for, or a row is outside.
    pub fn fill_rows_with(
        &self,
        rows: Range<usize>,
        padded: &mut [f32],
        mut write: impl FnMut(usize, &mut [f32]),
    ) {
        let ConvGeometry { input: [height, width], in_channels, pads: [top, left, ..], .. } =
            self.geometry;
        assert!(rows.start <= rows.end && rows.end <= self.geometry.padded_input()[0], "rows");
        assert_eq!(padded.len(), rows.len() * self.row_len(), "padded rows");
        for (row, padded) in rows.zip(padded.chunks_exact_mut(self.row_len())) {
            let row = row.wrapping_sub(top);
            if row >= height {
                padded.fill(0.0);
                continue;
            }
            let (before, rest) = padded.split_at_mut(left * in_channels);
            let (inside, after) = rest.split_at_mut(width * in_channels);
            before.fill(0.0);
            write(row, inside);
            after.fill(0.0);
        }
    }

    /// Computes the sums of some output rows, with their [bias](Self::with_bias).
    ///
    /// `source` are rows that [`fill_rows`](Self::fill_rows) filled, or those of the input where it is
    /// [read in place](Self::reads_in_place): at least the ones that are
    /// [needed](Self::rows_read). `out` is `[rows][out_width][out_channels]`.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is missing or outside.
    pub fn accumulate(&self, source: MapRows<'_, f32>, rows: Range<usize>, out: &mut [f32]) {
        let read = self.rows_read(rows.clone());
        let held = source.first..source.first + source.values.len() / self.row_len();
        assert!(read.is_empty() || held.start <= read.start && read.end <= held.end, "rows read");
        assert!(rows.start <= rows.end && rows.end <= self.output[0], "output rows");
        assert_eq!(
            out.len(),
            rows.len() * self.output[1] * self.geometry.out_channels,
            "output rows"
        );
        let bias = self.bias.as_ref().map(Aligned::as_slice);
        match &self.kernel {
            Kernel::Reference(weights) => {
                reference::accumulate(
                    &self.geometry,
                    self.padded_width,
                    weights.as_slice(),
                    source,
                    rows,
                    out,
                    |weight, value, sum| weight.mul_add(value, sum),
                );
                if let Some(bias) = bias {
                    for pixel in out.chunks_exact_mut(bias.len()) {
                        pixel.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                    }
                }
            }
            Kernel::Panels(panels) => panels.accumulate(source, bias, rows, out),
        }
    }
}

/// The register tiles of an instruction set; none for the scalar path.
#[cfg(target_arch = "x86_64")]
fn tiles(isa: Isa) -> Option<&'static tiles::Tiles> {
    match isa {
        Isa::Scalar | Isa::Neon => None,
        Isa::V2 => Some(&tiles::V2),
        Isa::Avx2 => Some(&tiles::AVX2),
        Isa::Avx512 | Isa::Avx512Vpopcnt | Isa::Amx => Some(&tiles::AVX512),
    }
}

/// The register tiles of an instruction set; none for the scalar path.
#[cfg(target_arch = "aarch64")]
fn tiles(isa: Isa) -> Option<&'static tiles::Tiles> {
    (isa == Isa::Neon).then_some(&tiles::NEON)
}

/// The register tiles of an instruction set; none for the scalar path.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn tiles(_: Isa) -> Option<&'static tiles::Tiles> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> impl Strategy<Value = ConvGeometry> {
        let channels = || prop_oneof![1 => 1..3_usize, 4 => 1..70_usize];
        let sizes = (channels(), channels(), 1..9_usize, 1..24_usize);
        let window = (1..5_usize, 1..5_usize, 1..4_usize, 1..4_usize, 1..3_usize, 1..3_usize);
        let pads = prop::array::uniform4(0..3_usize);
        let groups = prop_oneof![3 => Just(1_usize), 1 => 2..6_usize, 1 => Just(0)];
        (sizes, window, pads, groups).prop_filter_map(
            "the window fits into the map",
            |((inputs, outputs, height, width), (kh, kw, sy, sx, dy, dx), pads, groups)| {
                // 0 groups stand for a depth-wise convolution.
                let (in_channels, out_channels, groups) = match groups {
                    0 => (outputs, outputs, outputs),
                    n => (inputs.div_ceil(n) * n, outputs.div_ceil(n) * n, n),
                };
                let geometry = ConvGeometry {
                    in_channels,
                    out_channels,
                    input: [height, width],
                    kernel: [kh, kw],
                    stride: [sy, sx],
                    dilation: [dy, dx],
                    pads,
                    groups,
                };
                geometry.validate().is_ok().then_some(geometry)
            },
        )
    }

    /// Numbers between -1 and 1 with all their bits in use.
    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// All rows, some at a time.
    fn run(
        isa: Isa,
        geometry: &ConvGeometry,
        weights: FloatWeights<'_>,
        input: &[f32],
    ) -> Vec<f32> {
        let conv = FloatConv::new(isa, geometry.clone(), weights).unwrap();
        let [height, width] = geometry.output();
        let row = width * geometry.out_channels;
        let mut out = vec![f32::NAN; height * row];
        let middle = height / 2;
        let (top, bottom) = out.split_at_mut(middle * row);
        for (rows, out) in [(middle..height, bottom), (0..middle, top)] {
            // No more rows of the input than needed.
            let read = conv.rows_read(rows.clone());
            let mut padded = vec![f32::NAN; read.len() * conv.row_len()];
            conv.fill_rows(input, read.clone(), &mut padded);
            conv.accumulate(MapRows { values: &padded, first: read.start }, rows.clone(), out);
            if conv.reads_in_place() {
                let mut again = vec![f32::NAN; out.len()];
                conv.accumulate(MapRows::whole(input), rows, &mut again);
                assert!(same(out, &again));
            }
        }
        out
    }

    fn same(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
    }

    /// The sums of the reference, with each product rounded before it is added where the instruction
    /// set cannot fuse them.
    fn expected(isa: Isa, geometry: &ConvGeometry, weights: &[f32], input: &[f32]) -> Vec<f32> {
        if isa.fuses_multiply_add() {
            return run(Isa::Scalar, geometry, FloatWeights::F32(weights), input);
        }
        let conv =
            FloatConv::new(Isa::Scalar, geometry.clone(), FloatWeights::F32(weights)).unwrap();
        let [height, width] = geometry.output();
        let read = conv.rows_read(0..height);
        let mut padded = vec![f32::NAN; read.len() * conv.row_len()];
        conv.fill_rows(input, read, &mut padded);
        let mut out = vec![f32::NAN; height * width * geometry.out_channels];
        let (source, width) = (MapRows::whole(&padded[..]), conv.padded_width);
        reference::accumulate(
            geometry,
            width,
            weights,
            source,
            0..height,
            &mut out,
            |w, x, sum| w * x + sum,
        );
        out
    }

    /// The sums by the formula, in f64 and from the map without padding, and the sums of the absolute
    /// values of the products.
    fn naive(geometry: &ConvGeometry, weights: &[f32], input: &[f32]) -> Vec<(f64, f64)> {
        let [height, width] = geometry.output();
        let group_inputs = geometry.in_channels / geometry.groups;
        let group_outputs = geometry.out_channels / geometry.groups;
        let mut out = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..geometry.out_channels {
                    let (mut sum, mut magnitude) = (0.0, 0.0);
                    for ky in 0..geometry.kernel[0] {
                        for kx in 0..geometry.kernel[1] {
                            let row = (y * geometry.stride[0] + ky * geometry.dilation[0])
                                .checked_sub(geometry.pads[0]);
                            let column = (x * geometry.stride[1] + kx * geometry.dilation[1])
                                .checked_sub(geometry.pads[1]);
                            let (Some(row), Some(column)) = (row, column) else {
                                continue;
                            };
                            if row >= geometry.input[0] || column >= geometry.input[1] {
                                continue;
                            }
                            for c in 0..group_inputs {
                                let from = channel / group_outputs * group_inputs + c;
                                let at = (row * geometry.input[1] + column) * geometry.in_channels;
                                let tap = ky * geometry.kernel[1] + kx;
                                let weight = channel * geometry.products() + tap * group_inputs + c;
                                let product =
                                    f64::from(weights[weight]) * f64::from(input[at + from]);
                                sum += product;
                                magnitude += product.abs();
                            }
                        }
                    }
                    out.push((sum, magnitude));
                }
            }
        }
        out
    }

    fn input_len(geometry: &ConvGeometry) -> usize {
        geometry.input[0] * geometry.input[1] * geometry.in_channels
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_path_gives_the_bits_of_the_reference(
            geometry in geometry(), seed in any::<u64>(), special in 0..12_u8,
        ) {
            let mut input = noise(input_len(&geometry), seed);
            let mut weights = noise(geometry.out_channels * geometry.products(), !seed);
            let extremes = [-0.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45];
            if let Some(&extreme) = extremes.get(usize::from(special)) {
                let (i, w) = (seed as usize % input.len(), seed as usize % weights.len());
                input[i] = extreme;
                weights[w] = -extreme;
            }
            for isa in Isa::available() {
                let expected = expected(isa, &geometry, &weights, &input);
                let found = run(isa, &geometry, FloatWeights::F32(&weights), &input);
                prop_assert!(same(&found, &expected), "{} {:?}", isa, geometry);
            }
        }

        #[test]
        fn every_path_is_a_convolution(geometry in geometry(), seed in any::<u64>()) {
            let input = noise(input_len(&geometry), seed);
            let weights = noise(geometry.out_channels * geometry.products(), !seed);
            let expected = naive(&geometry, &weights, &input);
            // Each of n fused operations errs by half an epsilon of a partial sum; a rounded product
            // by as much of itself. Second-order terms are below a hundredth of that.
            let relative = (geometry.products() + 1) as f64 * 0.505 * f64::from(f32::EPSILON);
            for isa in Isa::available() {
                let found = run(isa, &geometry, FloatWeights::F32(&weights), &input);
                prop_assert_eq!(found.len(), expected.len());
                for (found, (expected, magnitude)) in found.iter().zip(&expected) {
                    let error = (f64::from(*found) - expected).abs();
                    prop_assert!(error <= relative * magnitude, "{isa} {geometry:?}: {error:e}");
                }
            }
        }

        #[test]
        fn signs_are_weights_of_one(geometry in geometry(), seed in any::<u64>()) {
            let input = noise(input_len(&geometry), seed);
            let weights = noise(geometry.out_channels * geometry.products(), !seed);
            let mut words = vec![0; weights.len().div_ceil(64)];
            for (i, weight) in weights.iter().enumerate() {
                words[i / 64] |= u64::from(*weight >= 0.0) << (i % 64);
            }
            let ones: Vec<f32> = weights.iter().map(|w| if *w >= 0.0 { 1.0 } else { -1.0 }).collect();
            for isa in Isa::available() {
                let found = run(isa, &geometry, FloatWeights::Signs(&words), &input);
                let expected = run(isa, &geometry, FloatWeights::F32(&ones), &input);
                prop_assert!(same(&found, &expected), "{} {:?}", isa, geometry);
            }
        }
    }

    fn dense(in_channels: usize, out_channels: usize) -> ConvGeometry {
        ConvGeometry {
            in_channels,
            out_channels,
            input: [1, 1],
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            groups: 1,
        }
    }

    #[test]
    fn dense_layers_of_every_width_agree() {
        let input = noise(37, 5);
        for outputs in (1..300).chain([1000]) {
            let geometry = dense(37, outputs);
            let weights = noise(37 * outputs, 6);
            for isa in Isa::available() {
                let expected = expected(isa, &geometry, &weights, &input);
                let found = run(isa, &geometry, FloatWeights::F32(&weights), &input);
                assert!(same(&found, &expected), "{isa}, {outputs} outputs");
            }
        }
    }

    #[test]
    fn few_channels_agree() {
        for (inputs, outputs, groups) in [(1, 1, 1), (1, 2, 1), (2, 2, 2), (2, 4, 2), (3, 1, 1)] {
            let geometry = ConvGeometry {
                input: [4, 5],
                kernel: [3, 3],
                pads: [1, 0, 2, 1],
                groups,
                ..dense(inputs, outputs)
            };
            let input = noise(input_len(&geometry), 7);
            let weights = noise(outputs * geometry.products(), 8);
            for isa in Isa::available() {
                let expected = expected(isa, &geometry, &weights, &input);
                let found = run(isa, &geometry, FloatWeights::F32(&weights), &input);
                assert!(same(&found, &expected), "{isa}, {inputs} to {outputs} channels");
            }
        }
    }

    #[test]
    fn short_rows_of_many_weights_agree() {
        // More weights than a first-level cache holds, in panels of other widths than elsewhere.
        for width in [6, 7, 8, 14, 16, 17] {
            let geometry = ConvGeometry { input: [3, width], kernel: [3, 1], ..dense(190, 170) };
            let input = noise(input_len(&geometry), 9);
            let weights = noise(170 * geometry.products(), 10);
            for isa in Isa::available() {
                let expected = expected(isa, &geometry, &weights, &input);
                let found = run(isa, &geometry, FloatWeights::F32(&weights), &input);
                assert!(same(&found, &expected), "{isa}, rows of {width}");
            }
        }
    }

    #[test]
    fn sums_are_fused_but_on_v2_and_start_at_plus_zero() {
        // Unfused, the square of 1 + 2^-12 loses its last bit before 1 is subtracted.
        let x = 1.0 + 1.0 / 4096.0;
        let geometry = dense(2, 1);
        for isa in Isa::available() {
            let found = run(isa, &geometry, FloatWeights::F32(&[1.0, x]), &[-1.0, x]);
            let last_bit = if isa == Isa::V2 { 0.0 } else { 1.0 / 16_777_216.0 };
            assert_eq!(found, [2.0 / 4096.0 + last_bit], "{isa}");
            let zero = run(isa, &geometry, FloatWeights::F32(&[0.0, 0.0]), &[-1.0, -1.0]);
            assert_eq!(zero[0].to_bits(), 0, "{isa}");
        }
    }

    #[test]
    fn biases_are_added_to_the_finished_sums() {
        // Panels of one to four vectors, whole and in part, with several groups.
        for (inputs, outputs, groups) in
            [(5, 3, 1), (5, 37, 1), (3, 64, 1), (4, 170, 2), (33, 33, 33)]
        {
            let geometry = ConvGeometry {
                in_channels: inputs,
                out_channels: outputs,
                input: [3, 9],
                groups,
                ..dense(1, 1)
            };
            let input = noise(input_len(&geometry), 1);
            let weights = noise(outputs * geometry.products(), 2);
            let bias = noise(outputs, 3);
            for isa in Isa::available() {
                let weights = FloatWeights::F32(&weights);
                let mut expected = run(isa, &geometry, weights, &input);
                for pixel in expected.chunks_exact_mut(outputs) {
                    pixel.iter_mut().zip(&bias).for_each(|(sum, bias)| *sum += bias);
                }
                let conv = FloatConv::new(isa, geometry.clone(), weights).unwrap();
                let conv = conv.with_bias(&bias).unwrap();
                let mut found = vec![f32::NAN; expected.len()];
                conv.accumulate(MapRows::whole(&input), 0..3, &mut found);
                assert!(same(&found, &expected), "{isa}: {inputs} to {outputs} in {groups} groups");
            }
        }
    }

    #[test]
    fn wrong_weights_and_shapes_are_refused() {
        let new = |geometry, weights: &[f32]| {
            FloatConv::new(Isa::Scalar, geometry, FloatWeights::F32(weights)).map(|_| ())
        };
        assert_eq!(new(dense(2, 2), &[0.0; 4]), Ok(()));
        let error = new(dense(2, 2), &[0.0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "convolution weights are 3 floats, expected 4");
        assert!(new(dense(0, 2), &[]).is_err());
        let signs = FloatConv::new(Isa::Scalar, dense(65, 1), FloatWeights::Signs(&[0]));
        assert_eq!(
            signs.unwrap_err().to_string(),
            "convolution weights are 1 64-bit words, expected 2"
        );
        let conv = FloatConv::new(Isa::best(), dense(1, 2), FloatWeights::F32(&[0.0; 2])).unwrap();
        assert_eq!(
            conv.with_bias(&[0.0; 3]).unwrap_err().to_string(),
            "convolution bias is 3 floats, expected 2"
        );
    }
}
