//! What the machine does: fused steps over packed tensors, with no framework left in them.
//!
//! A [`Program`] works on one image at a time. Every feature map is a [`Buffer`] in
//! height, width, channels order: `f32`, 16-bit integers, or bits, where each pixel takes
//! `ceil(channels / 64)` little-endian 64-bit words with the first channel in bit 0 of the first
//! word, bit 1 meaning "high" (+1) and unused bits 0. A [`Step`] reads buffers that earlier steps
//! (or the caller) wrote and writes its own. Most steps compute rows of accumulators and hand them
//! to an [`Epilogue`], a short list of per-channel operations that runs while the row is in cache.
//!
//! The arithmetic is part of the contract: every operation below is rounded to `f32` on its own, in
//! the order written, except the multiply-add of float convolutions, which is fused.

mod block;
mod channel_op;
mod detector;
pub(crate) mod ids;
mod metadata;
mod part;
mod tensor;
mod validate;

pub use block::{Block, BlockPart, BlockTensor};
pub use channel_op::{ChannelOp, UnaryFunction};
pub(crate) use detector::DetectorOutputs;
pub use detector::{AnchorMap, Detector};
pub use metadata::{ChannelOrder, Interpolation, Metadata, Preprocessing, Resize, ResizeRounding};
pub use part::BlockError;
pub use tensor::{Tensor, TensorData, TensorId, TensorKind};
pub use validate::ProgramError;

use serde::{Deserialize, Serialize};

/// Names one buffer of a [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u32);

impl BufferId {
    /// The position of the buffer in [`Program::buffers`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Element kind of a [`Buffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferKind {
    /// 32-bit floats.
    F32,
    /// 16-bit integers, none of them -32768: sums of binary convolutions.
    I16,
    /// One bit per channel, padded to 64-bit words per pixel.
    Bits,
}

/// A feature map of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Element kind.
    pub kind: BufferKind,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

/// A tensor that the caller hands over or gets back, in the layout of the original graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name in the original graph.
    pub name: String,
    /// Shape of one image in the original graph, without the batch.
    pub shape: Vec<usize>,
    /// The `f32` buffer that holds it, row-major in the order of `shape`.
    pub buffer: BufferId,
}

impl Port {
    /// Number of values of one image.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Geometry of a convolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    #[serde(default = "ones", skip_serializing_if = "are_ones")]
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    #[serde(default = "ones", skip_serializing_if = "are_ones")]
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pads: [usize; 4],
    /// Groups; both channel counts are multiples of it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
}

impl ConvGeometry {
    /// Taps of a full window times input channels of a group: the number of products in one sum.
    ///
    /// # Panics
    /// If there are no groups.
    pub fn products(&self) -> usize {
        self.kernel[0] * self.kernel[1] * (self.in_channels / self.groups)
    }

    /// Height and width of the output for an input of this height and width; 0 where the kernel is
    /// larger than the padded input.
    ///
    /// # Panics
    /// If a stride or an extent of the kernel is 0.
    pub fn output_size(&self, input: [usize; 2]) -> [usize; 2] {
        let [top, left, bottom, right] = self.pads;
        [(top + bottom, 0), (left + right, 1)].map(|(pads, axis)| {
            let reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            (input[axis] + pads).checked_sub(reach).map_or(0, |rest| rest / self.stride[axis] + 1)
        })
    }
}

/// Geometry of a pooling window. Windows are clipped to the map; padding never wins a maximum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolGeometry {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    #[serde(default = "ones", skip_serializing_if = "are_ones")]
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    #[serde(default = "ones", skip_serializing_if = "are_ones")]
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pads: [usize; 4],
}

/// What a padded tap of a binary convolution holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadValue {
    /// Nothing: the tap adds 0 to the sum.
    #[default]
    Zero,
    /// The high value (bit 1).
    Plus,
    /// The low value (bit 0).
    Minus,
}

/// The two values that the input bits of a binary convolution stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// Bit 1 is +1, bit 0 is -1.
    #[default]
    PlusMinus,
    /// Bit 1 is 1, bit 0 is 0.
    ZeroOne,
}

/// A convolution (or dense layer: kernel as large as the map) of bits with bits.
///
/// With `s_w = ±1` the weight bits and `x` the input by its alphabet, the accumulator is the exact
/// integer `v = sum of s_w * x` over the taps of the window. Outside the map `x` is what `pad` says;
/// with [`PadValue::Zero`] such taps add nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinaryConv {
    /// Bits buffer.
    pub input: BufferId,
    /// Shape of the layer.
    pub geometry: ConvGeometry,
    /// What padded taps hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pad: PadValue,
    /// What input bits mean.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alphabet: Alphabet,
    /// Weight bits, one dense string `[out_channels, kernel_h, kernel_w, in_channels / groups]`.
    pub weights: TensorId,
    /// For weights or inputs that are not centred at zero: the accumulator is replaced, before the
    /// epilogue, by a real affine form of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affine: Option<AffineTerms>,
}

/// The general affine form of a binary convolution, with `w = a_w s_w + b_w` per output channel and
/// `x = a_x s_x + b_x`: all sums run over the taps inside the map,
///
/// `y = (dot * v + constant) + input_sum * S`, where `S = sum of s_x` is shared by the output
/// channels of a group, `v = sum of s_w s_x`, and for each border class
/// `constant = weight_sum * (sum of s_w) + count * (number of taps)`, computed in f64 and rounded to
/// f32 once. The alphabet is [`Alphabet::PlusMinus`] and the padding [`PadValue::Zero`] here; each
/// tensor holds one f32 per output channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AffineTerms {
    /// `a_w a_x`.
    pub dot: TensorId,
    /// `a_w b_x`.
    pub weight_sum: TensorId,
    /// `b_w a_x`; absent when `b_w` is zero everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_sum: Option<TensorId>,
    /// `b_w b_x`.
    pub count: TensorId,
}

/// A convolution (or dense layer) in f32: one accumulator per output, starting at +0, fused
/// multiply-adds in the order kernel row, kernel column, input channel; padded taps take part as
/// zeros. The bias is left to the epilogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FloatConv {
    /// F32 buffer.
    pub input: BufferId,
    /// Shape of the layer.
    pub geometry: ConvGeometry,
    /// Weights `[out_channels, kernel_h, kernel_w, in_channels / groups]`, f32, f16, or bits
    /// (±1: a weight-only binary layer; its scale is in the epilogue).
    pub weights: TensorId,
}

/// What becomes of the integer accumulators of a binary convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryOutput {
    /// One bit per channel: `(v >= thresholds[channel]) xor flip[channel]`.
    Threshold {
        /// I32 tensor, one entry per channel. `i32::MIN` is always true, `i32::MAX` never.
        thresholds: TensorId,
        /// Bits tensor, one per channel; absent when no channel is flipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flip: Option<TensorId>,
        /// Bits buffer.
        output: BufferId,
    },
    /// The accumulators (or their affine form) as f32, through an epilogue.
    Float(Epilogue),
    /// The accumulators as they are: where they are only joined with others and compared later, and
    /// where there are at most [`MAX_SHORT_PRODUCTS`] products in one sum and no affine form.
    Integers {
        /// I16 buffer.
        output: BufferId,
    },
}

/// Most products of ±1 whose sum certainly fits an i16 buffer.
pub const MAX_SHORT_PRODUCTS: usize = i16::MAX as usize;

/// Operations on rows of f32 accumulators, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epilogue {
    /// The operations.
    pub ops: Vec<EpilogueOp>,
}

/// One operation of an [`Epilogue`] on the running value `x` of every pixel and channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpilogueOp {
    /// A function of `x` and of constants per channel.
    Channel(ChannelOp<TensorId>),
    /// A function of `x` and the same pixel and channel of an f32 buffer.
    Combine {
        /// The function.
        op: CombineOp,
        /// F32 buffer of the same size, or 1x1 with the same channels (broadcast over pixels).
        operand: BufferId,
    },
    /// Writes `x` to an f32 buffer; `x` stays as it is.
    Store {
        /// F32 buffer.
        output: BufferId,
    },
    /// Writes `(x >= thresholds[channel]) xor flip[channel]` to a bits buffer; `x` stays as it is.
    /// The comparison is ordered: false for NaN.
    StoreBits {
        /// F32 tensor, one entry per channel or one for all.
        thresholds: TensorId,
        /// Bits tensor, one per channel; absent when no channel is flipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flip: Option<TensorId>,
        /// Bits buffer.
        output: BufferId,
    },
}

/// Functions of two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CombineOp {
    /// `x + operand`.
    Add,
    /// `x - operand`.
    Subtract,
    /// `operand - x`.
    SubtractFrom,
    /// `x * operand`.
    Multiply,
    /// `x / operand`.
    Divide,
    /// `operand / x`.
    DivideInto,
    /// The smaller one.
    Minimum,
    /// The larger one.
    Maximum,
}

/// One step of a [`Program`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the layer in the original graph.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
}

/// What a [`Step`] does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Bits times bits.
    BinaryConv {
        /// The layer.
        conv: BinaryConv,
        /// What becomes of its accumulators.
        output: BinaryOutput,
    },
    /// Floats times floats (or times ±1).
    FloatConv {
        /// The layer.
        conv: FloatConv,
        /// What becomes of its accumulators.
        epilogue: Epilogue,
    },
    /// Per-channel operations on a map.
    Elementwise {
        /// F32 buffer.
        input: BufferId,
        /// Whether the map is taken as one pixel that has all its elements, in memory order, as
        /// channels.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        flatten: bool,
        /// The operations.
        epilogue: Epilogue,
    },
    /// Maximum over windows.
    MaxPool {
        /// F32 buffer.
        input: BufferId,
        /// The windows.
        pool: PoolGeometry,
        /// What becomes of the maxima.
        epilogue: Epilogue,
    },
    /// Mean over windows: values are summed in the order row, column from +0, then divided by the
    /// number of taps (those in the map, or all with `count_include_pad`).
    AveragePool {
        /// F32 buffer.
        input: BufferId,
        /// The windows.
        pool: PoolGeometry,
        /// Whether padding counts in the divisor.
        count_include_pad: bool,
        /// What becomes of the means.
        epilogue: Epilogue,
    },
    /// `(or of the bits of a window) xor flip`: a maximum, or a minimum by complements.
    MaxPoolBits {
        /// Bits buffer.
        input: BufferId,
        /// The windows.
        pool: PoolGeometry,
        /// Bits tensor, one per channel, applied to the result; absent when no channel is flipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flip: Option<TensorId>,
        /// Bits buffer.
        output: BufferId,
    },
    /// Reduction over the channels of each pixel in channel order (mean: sum from +0, then divided).
    ReduceChannels {
        /// F32 buffer.
        input: BufferId,
        /// The statistic.
        reduction: Reduction,
        /// What becomes of the one channel that is left.
        epilogue: Epilogue,
    },
    /// Compares maps of equal size, each channel with a threshold of its own, and joins the bits along
    /// the channels: `(x >= threshold) xor flip`, an ordered comparison.
    Threshold {
        /// F32 and i16 buffers.
        inputs: Vec<BufferId>,
        /// F32 tensor, one entry for each channel of the f32 inputs, in their order; absent when there
        /// are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        floats: Option<TensorId>,
        /// I32 tensor, likewise for the i16 inputs. `i32::MIN` is always true, `i32::MAX` never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        integers: Option<TensorId>,
        /// Bits tensor, one per channel of the output; absent when no channel is flipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flip: Option<TensorId>,
        /// Bits buffer.
        output: BufferId,
    },
    /// Joins maps of equal size along their channels.
    Concat {
        /// Bits buffers for an output of bits; f32 and i16 buffers, whose integers are converted, for
        /// an output of floats.
        inputs: Vec<BufferId>,
        /// F32 or bits buffer.
        output: BufferId,
    },
    /// General strided copy of floats: output element `i_0, i_1, ...` (row-major over `dims`) is
    /// input element `offset + sum of i_k * strides_k`. Serves transpositions, slices, channel
    /// shuffles and broadcasts.
    Gather {
        /// F32 buffer.
        input: BufferId,
        /// F32 buffer.
        output: BufferId,
        /// Extents, outermost first; their product is the size of the output.
        dims: Vec<usize>,
        /// Distance in input elements for each of `dims`.
        strides: Vec<isize>,
        /// First input element.
        offset: usize,
    },
    /// Surrounds a map with a constant.
    Pad {
        /// F32 or bits buffer.
        input: BufferId,
        /// Buffer of the same kind.
        output: BufferId,
        /// Top, left, bottom, right.
        pads: [usize; 4],
        /// Channels of the constant before and after those of the input; none for bits, and none
        /// where `pads` are not all zero.
        #[serde(default, skip_serializing_if = "is_zero")]
        channels: [usize; 2],
        /// The constant; for bits, positive means 1.
        value: f32,
    },
    /// Softmax over the channels of each pixel.
    Softmax {
        /// F32 buffer.
        input: BufferId,
        /// F32 buffer.
        output: BufferId,
        /// Whether the logarithm is taken.
        log: bool,
    },
}

// Values that serialised programs leave out.

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == one()
}

fn ones() -> [usize; 2] {
    [1, 1]
}

fn are_ones(values: &[usize; 2]) -> bool {
    *values == ones()
}

fn is_zero<const N: usize>(values: &[usize; N]) -> bool {
    *values == [0; N]
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Statistics over channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Arithmetic mean.
    Mean,
    /// Sum.
    Sum,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
}

/// A converted network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Name of the network.
    pub name: String,
    /// What the caller hands over. Its buffers are written by no step.
    pub inputs: Vec<Port>,
    /// What the caller gets back. Each is written by exactly one step and read by none.
    pub outputs: Vec<Port>,
    /// All feature maps.
    pub buffers: Vec<Buffer>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Preprocessing, labels and other facts about the model.
    pub metadata: Metadata,
    /// Weights, thresholds and per-channel constants.
    #[serde(skip)]
    pub tensors: Vec<Tensor>,
}

impl Program {
    /// The buffer with the given id.
    ///
    /// # Panics
    /// If the program has no such buffer.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.index()]
    }

    /// The tensor with the given id.
    ///
    /// # Panics
    /// If the program has no such tensor.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }
}
