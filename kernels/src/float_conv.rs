//! Convolution and dense layers in f32, or of f32 with weights that are ±1.
//!
//! The sum of one output is defined to the bit, and every path gives it: one accumulator that starts
//! at +0 and takes fused multiply-adds in the order kernel row, kernel column, input channel of the
//! group. Padded taps take part as +0 (in most sums they change nothing, but 0 times an infinite
//! weight is NaN everywhere or nowhere).

mod reference;

use crate::{ConvGeometry, GeometryError, Isa, aligned::AlignedFloats};
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

    /// The weight at a position that is inside.
    fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(values) => values[index],
            Self::Signs(words) => {
                if words[index / 64] >> (index % 64) & 1 == 1 {
                    1.0
                } else {
                    -1.0
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
    /// Height and width of the input with its padding.
    padded: [usize; 2],
    kernel: Kernel,
}

/// How the sums are computed, and the weights in the order this needs.
#[derive(Debug)]
enum Kernel {
    /// Weights as they came.
    Reference(AlignedFloats),
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
        isa.require()
            .map_err(|error| GeometryError(error.to_string()))?;
        geometry.validate()?;
        let count = geometry.out_channels * geometry.products();
        weights.check_len(count)?;
        let mut plain = AlignedFloats::zeroed(count);
        for (index, weight) in plain.as_mut_slice().iter_mut().enumerate() {
            *weight = weights.get(index);
        }
        let kernel = Kernel::Reference(plain);
        let [top, left, bottom, right] = geometry.pads;
        Ok(Self {
            output: geometry.output(),
            padded: [
                geometry.input[0] + top + bottom,
                geometry.input[1] + left + right,
            ],
            geometry,
            kernel,
        })
    }

    /// The shape of the layer.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Name of the code that runs, for profiles.
    pub fn kernel_name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Reference(_) => "f32 scalar",
        }
    }

    /// Bytes of the packed weights.
    pub fn packed_bytes(&self) -> usize {
        let weights = match &self.kernel {
            Kernel::Reference(weights) => weights,
        };
        size_of_val(weights.as_slice())
    }

    /// Floats of scratch that [`prepare`](Self::prepare) fills; 0 without padding, when the input is
    /// read in place.
    pub fn scratch_len(&self) -> usize {
        if self.geometry.pads == [0; 4] {
            0
        } else {
            self.source_len()
        }
    }

    /// Floats of the map that [`accumulate`](Self::accumulate) reads.
    fn source_len(&self) -> usize {
        self.padded[0] * self.padded[1] * self.geometry.in_channels
    }

    /// Copies the input `[height, width, in_channels]` into the scratch and surrounds it with +0. Does
    /// nothing where [`scratch_len`](Self::scratch_len) is 0.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for.
    pub fn prepare(&self, input: &[f32], scratch: &mut [f32]) {
        let [height, width] = self.geometry.input;
        let channels = self.geometry.in_channels;
        assert_eq!(input.len(), height * width * channels, "input map");
        assert_eq!(scratch.len(), self.scratch_len(), "scratch");
        if !scratch.is_empty() {
            crate::gather::pad_map(
                input,
                [height, width],
                channels,
                self.geometry.pads,
                0.0,
                scratch,
            );
        }
    }

    /// Computes the sums of some output rows.
    ///
    /// `source` is the scratch that [`prepare`](Self::prepare) filled, or the input where
    /// [`scratch_len`](Self::scratch_len) is 0; `out` is `[rows][out_width][out_channels]`.
    ///
    /// # Panics
    /// If a slice has another length than the layer asks for, or a row is outside.
    pub fn accumulate(&self, source: &[f32], rows: Range<usize>, out: &mut [f32]) {
        assert_eq!(source.len(), self.source_len(), "padded input map");
        assert!(
            rows.start <= rows.end && rows.end <= self.output[0],
            "output rows"
        );
        assert_eq!(
            out.len(),
            rows.len() * self.output[1] * self.geometry.out_channels,
            "output rows"
        );
        match &self.kernel {
            Kernel::Reference(weights) => reference::accumulate(
                &self.geometry,
                self.padded[1],
                weights.as_slice(),
                source,
                rows,
                out,
            ),
        }
    }
}
