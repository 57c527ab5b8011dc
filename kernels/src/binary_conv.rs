//! Convolution of bits with bits.
//!
//! With `s_w = ±1` the weights and `x` the input by its alphabet, the accumulator is the exact integer
//! `v = sum of s_w * x` over the taps of a window.

mod reference;

use crate::{
    Alphabet, ConvGeometry, GeometryError, Isa, KernelError, PadValue, bit_string::count_ones,
    border::taps_inside, words_per_pixel,
};
use reference::Reference;
use std::ops::Range;

/// A binary convolution (or dense layer: kernel as large as the map), with its weights packed for one
/// instruction set.
#[derive(Debug, Clone)]
pub struct BinaryConv {
    geometry: ConvGeometry,
    kernel: Kernel,
}

#[derive(Debug, Clone)]
enum Kernel {
    Reference(Reference),
}

impl BinaryConv {
    /// Packs the weights of a layer: one dense bit string
    /// `[out_channels, kernel_h, kernel_w, in_channels / groups]` in 64-bit words, first bit lowest.
    ///
    /// # Errors
    /// If the geometry is not valid, a sum may exceed `i32`, `weights` has another length, or this
    /// processor lacks `isa`.
    pub fn new(
        isa: Isa,
        geometry: ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Result<Self, KernelError> {
        isa.require()?;
        check(&geometry, weights)?;
        let kernel = Kernel::Reference(Reference::new(&geometry, pad, alphabet, weights));
        Ok(Self { geometry, kernel })
    }

    /// Shape of the layer.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Name of the kernel, for profiles.
    pub fn kernel_name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Reference(_) => "reference",
        }
    }

    /// Bytes that the packed weights take.
    pub fn packed_bytes(&self) -> usize {
        match &self.kernel {
            Kernel::Reference(kernel) => kernel.packed_bytes(),
        }
    }

    /// Words of scratch memory that [`BinaryConv::prepare`] fills.
    pub fn scratch_len(&self) -> usize {
        match &self.kernel {
            Kernel::Reference(kernel) => kernel.scratch_len(),
        }
    }

    /// Brings a map of bits into the private layout of the kernel: once per image, before
    /// [`BinaryConv::accumulate`]. Every word that is read later is written.
    ///
    /// # Panics
    /// If `input` is not one map, or `scratch` is shorter than [`BinaryConv::scratch_len`].
    pub fn prepare(&self, input: &[u64], scratch: &mut [u64]) {
        self.check_input(input);
        assert!(
            scratch.len() >= self.scratch_len(),
            "scratch words of the kernel"
        );
        let scratch = &mut scratch[..self.scratch_len()];
        match &self.kernel {
            Kernel::Reference(_) => scratch.copy_from_slice(input),
        }
    }

    /// Computes the accumulators of some rows of the output, `[rows][out_width][out_channels]`, from
    /// what [`BinaryConv::prepare`] wrote.
    ///
    /// # Panics
    /// If a length does not fit or there are no such rows.
    pub fn accumulate(&self, scratch: &[u64], rows: Range<usize>, out: &mut [i32]) {
        self.check_rows(&rows, self.geometry.out_channels, out);
        assert!(
            scratch.len() >= self.scratch_len(),
            "scratch words of the kernel"
        );
        match &self.kernel {
            Kernel::Reference(kernel) => kernel.accumulate(scratch, rows, out),
        }
    }

    /// Computes `S = sum of s_x` (`s_x = ±1`) over the taps inside the map, for each pixel of some rows
    /// of the output and each group: `[rows][out_width][groups]`. `input` is the whole map of bits.
    ///
    /// # Panics
    /// If a length does not fit or there are no such rows.
    pub fn input_sums(&self, input: &[u64], rows: Range<usize>, out: &mut [i32]) {
        self.check_input(input);
        self.check_rows(&rows, self.geometry.groups, out);
        let ConvGeometry {
            input: [height, width],
            kernel,
            stride,
            dilation,
            pads,
            groups,
            ..
        } = self.geometry;
        let channels = self.geometry.in_channels / groups;
        let words = words_per_pixel(self.geometry.in_channels);
        let out_width = self.geometry.output()[1];
        for (y, out) in rows.zip(out.chunks_exact_mut(out_width * groups)) {
            let top = y * stride[0];
            let kernel_rows = taps_inside(top, kernel[0], dilation[0], pads[0], height);
            for (x, out) in out.chunks_exact_mut(groups).enumerate() {
                let left = x * stride[1];
                let kernel_columns = taps_inside(left, kernel[1], dilation[1], pads[1], width);
                let taps = kernel_rows.len() * kernel_columns.len();
                for (group, out) in out.iter_mut().enumerate() {
                    let mut ones = 0;
                    for row in kernel_rows.clone() {
                        for column in kernel_columns.clone() {
                            let (y, x) = (
                                top + row * dilation[0] - pads[0],
                                left + column * dilation[1] - pads[1],
                            );
                            let first = (y * width + x) * words * 64 + group * channels;
                            ones += count_ones(input, first..first + channels);
                        }
                    }
                    *out = (2 * ones as i64 - (taps * channels) as i64) as i32;
                }
            }
        }
    }

    fn check_input(&self, input: &[u64]) {
        let [height, width] = self.geometry.input;
        let words = words_per_pixel(self.geometry.in_channels);
        assert_eq!(
            input.len(),
            height * width * words,
            "words of the input map"
        );
    }

    fn check_rows(&self, rows: &Range<usize>, channels: usize, out: &[i32]) {
        let [height, width] = self.geometry.output();
        assert!(
            rows.start <= rows.end && rows.end <= height,
            "rows of the output map"
        );
        assert_eq!(
            out.len(),
            rows.len() * width * channels,
            "length of the output rows"
        );
    }
}

fn check(geometry: &ConvGeometry, weights: &[u64]) -> Result<(), KernelError> {
    geometry.validate()?;
    if geometry.products() > i32::MAX as usize {
        let products = geometry.products();
        return Err(GeometryError(format!("sums of {products} products exceed 32 bits")).into());
    }
    let expected = (geometry.out_channels * geometry.products()).div_ceil(64);
    if weights.len() != expected {
        let (tensor, unit, found) = ("binary weights", "64-bit words", weights.len());
        return Err(KernelError::Length {
            tensor,
            unit,
            found,
            expected,
        });
    }
    Ok(())
}
