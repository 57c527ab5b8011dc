//! Shapes of convolutions and pools, checked once so that kernels need not.

use std::ops::Range;
use thiserror::Error;

/// 64-bit words that the bits of one pixel take.
pub const fn words_per_pixel(channels: usize) -> usize {
    channels.div_ceil(64)
}

/// What a padded tap of a binary convolution holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadValue {
    /// Nothing: the tap adds 0 to the sum.
    Zero,
    /// The high value (bit 1).
    Plus,
    /// The low value (bit 0).
    Minus,
}

/// The two values that input bits stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Bit 1 is +1, bit 0 is -1.
    PlusMinus,
    /// Bit 1 is 1, bit 0 is 0.
    ZeroOne,
}

/// A shape that no kernel can work on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct GeometryError(pub(crate) String);

/// Largest extent of anything: keeps products of a few extents within 64 bits.
const LIMIT: usize = 1 << 24;

/// Geometry of a convolution over one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the input map.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
}

impl ConvGeometry {
    /// Checks that the shape makes sense: nothing zero, groups divide the channels, the kernel fits
    /// into the padded map, no product overflows.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn validate(&self) -> Result<(), GeometryError> {
        let fail = |what: String| Err(GeometryError(what));
        let positive = [
            ("input channels", self.in_channels),
            ("output channels", self.out_channels),
            ("groups", self.groups),
            ("input height", self.input[0]),
            ("input width", self.input[1]),
            ("kernel height", self.kernel[0]),
            ("kernel width", self.kernel[1]),
            ("vertical stride", self.stride[0]),
            ("horizontal stride", self.stride[1]),
            ("vertical dilation", self.dilation[0]),
            ("horizontal dilation", self.dilation[1]),
        ];
        for (name, value) in positive {
            if value == 0 || value > LIMIT {
                return fail(format!("{name} is {value}, expected 1 to {LIMIT}"));
            }
        }
        if let Some(pad) = self.pads.iter().find(|&&pad| pad > LIMIT) {
            return fail(format!("padding of {pad} is larger than {LIMIT}"));
        }
        let divides = |channels: usize| channels.is_multiple_of(self.groups);
        if !divides(self.in_channels) || !divides(self.out_channels) {
            return fail(format!(
                "{} groups do not divide {} input and {} output channels",
                self.groups, self.in_channels, self.out_channels
            ));
        }
        window_output(self.input, self.kernel, self.stride, self.dilation, self.pads)?;
        let elements = |dims: &[usize]| dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        let sizes = [
            elements(&[self.out_channels, self.kernel[0], self.kernel[1], self.in_channels]),
            elements(&[
                self.input[0] + self.pads[0] + self.pads[2],
                self.input[1] + self.pads[1] + self.pads[3],
                self.in_channels,
            ]),
        ];
        for size in sizes {
            if size.is_none_or(|n| n > isize::MAX as usize / 64) {
                return fail("the layer is too large to address".to_owned());
            }
        }
        Ok(())
    }

    /// Height and width of the output map.
    ///
    /// # Panics
    /// If the geometry is not valid.
    pub fn output(&self) -> [usize; 2] {
        window_output(self.input, self.kernel, self.stride, self.dilation, self.pads)
            .expect("validated geometry")
    }

    /// Height and width of the input map with its padding.
    pub fn padded_input(&self) -> [usize; 2] {
        let ([height, width], [top, left, bottom, right]) = (self.input, self.pads);
        [height + top + bottom, width + left + right]
    }

    /// The rows of the padded input map in the windows of some rows of the output.
    pub fn padded_rows_read(&self, rows: Range<usize>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let last = (rows.end - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0];
        rows.start * self.stride[0]..last + 1
    }

    /// Taps of a full window times input channels of a group: the number of products in one sum.
    pub fn products(&self) -> usize {
        self.kernel[0] * self.kernel[1] * (self.in_channels / self.groups)
    }

    /// Multiply-accumulates of the whole layer, padded taps counted.
    pub fn macs(&self) -> u64 {
        let [height, width] = self.output();
        height as u64 * width as u64 * self.out_channels as u64 * self.products() as u64
    }
}

/// Geometry of a pooling window over one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Channels of the map.
    pub channels: usize,
    /// Height and width of the input map.
    pub input: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pads: [usize; 4],
}

impl PoolGeometry {
    /// Checks that the shape makes sense and that every window holds at least one pixel of the map.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn validate(&self) -> Result<(), GeometryError> {
        ConvGeometry {
            in_channels: self.channels,
            out_channels: self.channels,
            input: self.input,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pads: self.pads,
            groups: self.channels,
        }
        .validate()?;
        let output = self.output();
        for (axis, extent) in output.into_iter().enumerate() {
            for position in [0, extent - 1] {
                let start = position * self.stride[axis];
                let touches = (0..self.kernel[axis]).any(|tap| {
                    let at = start + tap * self.dilation[axis];
                    at >= self.pads[axis] && at < self.pads[axis] + self.input[axis]
                });
                if !touches {
                    return Err(GeometryError(
                        "a pooling window lies wholly in the padding".into(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Height and width of the output map.
    ///
    /// # Panics
    /// If the geometry is not valid.
    pub fn output(&self) -> [usize; 2] {
        window_output(self.input, self.kernel, self.stride, self.dilation, self.pads)
            .expect("validated geometry")
    }
}

/// Number of window positions: `floor((input + pads - dilated kernel) / stride) + 1` per axis.
fn window_output(
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
) -> Result<[usize; 2], GeometryError> {
    let mut output = [0; 2];
    for axis in 0..2 {
        let padded = input[axis] + pads[axis] + pads[axis + 2];
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        if extent > padded {
            return Err(GeometryError(format!(
                "a window of {extent} does not fit into {padded} pixels (padding included)"
            )));
        }
        output[axis] = (padded - extent) / stride[axis] + 1;
    }
    Ok(output)
}
