//! What a layer of a written network can do.

use super::window::{Pads, Pair, Window};
use serde::{Deserialize, Serialize};

/// What a layer does. Shapes leave out the batch: a map is `[channels, height, width]`.
///
/// The variants are named in JSON as here, in `snake_case`, under the key `op`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Operation {
    /// Convolution in full precision; `weight` `[out, in / groups, height, width]`, `bias` `[out]`.
    Convolution(Convolution),
    /// Convolution with weights of one bit, of whatever enters it; `weight` as above.
    BinaryConvolution(BinaryConvolution),
    /// ABC-Net's convolution of several bases of weights and activations.
    AbcConvolution(AbcConvolution),
    /// HORQ's convolution of the signs and of the signs of what they leave over.
    HorqConvolution(HorqConvolution),
    /// Dense layer; `weight` `[out, in]`, `bias` `[out]`.
    Linear {
        /// Length of the result.
        out_features: usize,
        /// Whether there is a bias.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        bias: bool,
    },
    /// Dense layer with weights of one bit; `weight` `[out, in]`.
    BinaryLinear(BinaryLinear),
    /// `(x - running_mean) / sqrt(running_var + epsilon) * weight + bias`, each `[channels]`.
    BatchNormalization {
        /// Added to the variance.
        #[serde(default = "default_epsilon", skip_serializing_if = "is_default_epsilon")]
        epsilon: f32,
        /// Whether there is a `weight` (gamma); else it is 1.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        scale: bool,
        /// Whether there is a `bias` (beta); else it is 0.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        shift: bool,
    },
    /// +1 where `x >= 0`, else -1.
    Sign {},
    /// 1 where `x >= threshold`, else 0.
    Step {
        /// The threshold.
        threshold: f32,
    },
    /// 0, ½ or 1: half the number of the two thresholds that `x` reaches (BinaryDuo, coupled).
    Ternary {
        /// The thresholds.
        thresholds: [f32; 2],
    },
    /// `sign(x)` where `|x| > factor * mean |x|` over the sample, else 0 (TBN).
    TernarySign {
        /// Factor of the mean magnitude.
        factor: f32,
    },
    /// `round(clip(x, 0, 1) * n) / n` with `n = 2^bits - 1`, halves to even (DoReFa).
    Quantize {
        /// Bits of the result, 1 to 8.
        bits: u32,
    },
    /// `x + bias`, `bias` `[channels]` (RSign, RPReLU).
    Shift {},
    /// `x + value`.
    AddConstant {
        /// What is added everywhere.
        value: f32,
    },
    /// `x >= 0 ? x : weight * x`, `weight` `[channels]`, or `[1]`.
    Prelu {
        /// Whether there is a slope for each channel.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        per_channel: bool,
    },
    /// `max(x, 0)`.
    Relu {},
    /// `x >= 0 ? x : slope * x`.
    LeakyRelu {
        /// Slope of the negative side.
        slope: f32,
    },
    /// `clip(x, minimum, maximum)`; hardtanh is -1 to 1, ReLU6 is 0 to 6.
    Clip {
        /// Lower bound.
        minimum: f32,
        /// Upper bound.
        maximum: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid {},
    /// Hyperbolic tangent.
    Tanh {},
    /// `x * clip(x / 6 + 1 / 2, 0, 1)`.
    HardSwish {},
    /// `|x|`.
    Absolute {},
    /// Maximum over windows; padding never wins.
    MaxPool {
        /// Window.
        kernel: Pair,
        /// Steps; those of the window when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<Pair>,
        /// Padding.
        #[serde(default, skip_serializing_if = "Pads::is_none")]
        padding: Pads,
    },
    /// Mean over windows.
    AveragePool {
        /// Window.
        kernel: Pair,
        /// Steps; those of the window when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<Pair>,
        /// Padding.
        #[serde(default, skip_serializing_if = "Pads::is_none")]
        padding: Pads,
        /// Whether padding counts in the divisor.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        count_include_pad: bool,
    },
    /// Mean of each channel over the map: `[channels, height, width]` to `[channels]`.
    GlobalAverage {},
    /// Maximum of each channel over the map.
    GlobalMaximum {},
    /// Mean over the channels: one channel is left.
    ChannelMean {},
    /// Sum of its inputs.
    Add {},
    /// Product of two inputs; one of `[channels]` is repeated over the map of the other.
    Multiply {},
    /// Its inputs one after the other.
    Concat {
        /// Dimension along which they are joined; 0 is the channels.
        #[serde(default, skip_serializing_if = "is_zero")]
        axis: usize,
    },
    /// All channels, then all channels again (BinaryDuo).
    Duplicate {},
    /// Mean of the first and the second half of the channels (BinaryDuo).
    HalfMean {},
    /// Channels of zeros after those of the input.
    PadChannels {
        /// How many.
        after: usize,
    },
    /// Some of the channels.
    SliceChannels {
        /// First channel.
        start: usize,
        /// One past the last channel.
        end: usize,
    },
    /// Channel `g * n + i` of `groups` groups of `n` becomes channel `i * groups + g`.
    ChannelShuffle {
        /// Groups.
        groups: usize,
    },
    /// All values in one dimension.
    Flatten {},
    /// The same values under another shape.
    Reshape {
        /// The shape, without the batch.
        shape: Vec<usize>,
    },
    /// Other order of dimensions: dimension `i` of the result is `order[i]` of the input.
    Transpose {
        /// The order, without the batch.
        order: Vec<usize>,
    },
    /// Softmax over the last dimension.
    Softmax {},
}

/// How the magnitude of the latent weights enters a binary layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Not at all: weights are ±1.
    #[default]
    None,
    /// Weights are ± the mean magnitude of their filter (XNOR-Net, Bi-Real).
    Channel,
    /// Weights are ± the mean magnitude of the layer (DoReFa, BinaryDuo, IGP).
    Layer,
}

/// What padding of a binary convolution holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i8", into = "i8")]
pub enum PadValue {
    /// 0, as in PyTorch, Keras and ONNX.
    #[default]
    Zero,
    /// -1, as in BMXNet.
    Minus,
    /// +1, as in larq's QuickNet.
    Plus,
}

/// Convolution in full precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convolution {
    /// Channels of the result.
    pub out_channels: usize,
    /// Window.
    pub kernel: Pair,
    /// Steps.
    #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
    pub stride: Pair,
    /// Padding with zeros.
    #[serde(default, skip_serializing_if = "Pads::is_none")]
    pub padding: Pads,
    /// Distance of the taps.
    #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
    pub dilation: Pair,
    /// Groups of channels.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Whether there is a bias.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
    /// Weights are cut to this magnitude before use (Hyper-BinaryNet's DPConv).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
}

/// Convolution with weights of one bit. The latent weights' signs are used; 0 counts as +1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinaryConvolution {
    /// Channels of the result.
    pub out_channels: usize,
    /// Window.
    pub kernel: Pair,
    /// Steps.
    #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
    pub stride: Pair,
    /// Padding.
    #[serde(default, skip_serializing_if = "Pads::is_none")]
    pub padding: Pads,
    /// Distance of the taps.
    #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
    pub dilation: Pair,
    /// Groups of channels.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Magnitude of the weights.
    #[serde(default, skip_serializing_if = "is_unscaled")]
    pub scale: Scale,
    /// What padding holds.
    #[serde(default, skip_serializing_if = "is_zero_padded")]
    pub pad_value: PadValue,
    /// Whether there is a bias (in full precision).
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
    /// Whether the result is the number of equal bits, `(dot + products) / 2`, as in BMXNet, rather
    /// than the dot product.
    #[serde(default, skip_serializing_if = "is_false")]
    pub counts: bool,
}

/// Dense layer with weights of one bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinaryLinear {
    /// Length of the result.
    pub out_features: usize,
    /// Magnitude of the weights.
    #[serde(default, skip_serializing_if = "is_unscaled")]
    pub scale: Scale,
    /// Whether there is a bias (in full precision).
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
}

/// ABC-Net's convolution (Lin et al. 2017, sections 3.1 and 3.2): with weight bases `B_i =
/// sign(W - mean W + u_i std W)` and activation bases `A_j = sign(clip(x + v_j, 0, 1) - 1/2)`, it is
/// `sum over j, i of beta_j alpha_i conv(A_j, B_i)`.
///
/// Weights: `weight` `[out, in, height, width]`, `u` and `alpha` `[weight_bases]`, `v` and `beta`
/// `[activation_bases]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbcConvolution {
    /// Channels of the result.
    pub out_channels: usize,
    /// Window.
    pub kernel: Pair,
    /// Steps.
    #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
    pub stride: Pair,
    /// Padding with zeros.
    #[serde(default, skip_serializing_if = "Pads::is_none")]
    pub padding: Pads,
    /// Number of weight bases, M in the paper.
    pub weight_bases: usize,
    /// Number of activation bases, N in the paper.
    pub activation_bases: usize,
}

/// HORQ's convolution of order two (Li et al. 2017): `b1 conv(sign(x), W) + b2 conv(sign(r), W)` with
/// `r = x - b1 sign(x)`, `b1` and `b2` the mean magnitudes of `x` and `r` over the sample, and `W` ± the
/// mean magnitude of its filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HorqConvolution {
    /// Channels of the result.
    pub out_channels: usize,
    /// Window.
    pub kernel: Pair,
    /// Steps.
    #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
    pub stride: Pair,
    /// Padding with zeros.
    #[serde(default, skip_serializing_if = "Pads::is_none")]
    pub padding: Pads,
}

/// The common parts of the convolutions.
macro_rules! windowed {
    ($type:ty, $self:ident => $dilation:expr, $groups:expr) => {
        impl $type {
            pub(super) fn window(&$self) -> Window {
                Window {
                    kernel: $self.kernel,
                    stride: $self.stride,
                    padding: $self.padding,
                    dilation: $dilation,
                    groups: $groups,
                }
            }
        }
    };
}

windowed!(Convolution, self => self.dilation, self.groups);
windowed!(BinaryConvolution, self => self.dilation, self.groups);
windowed!(AbcConvolution, self => Pair::one(), 1);
windowed!(HorqConvolution, self => Pair::one(), 1);

/// PyTorch's, which the networks of the papers use unless they say otherwise.
pub(super) const DEFAULT_EPSILON: f32 = 1e-5;

impl TryFrom<i8> for PadValue {
    type Error = String;

    fn try_from(value: i8) -> Result<Self, String> {
        match value {
            0 => Ok(Self::Zero),
            -1 => Ok(Self::Minus),
            1 => Ok(Self::Plus),
            other => Err(format!("pad_value {other}, expected 0, -1 or 1")),
        }
    }
}

impl From<PadValue> for i8 {
    fn from(value: PadValue) -> Self {
        match value {
            PadValue::Zero => 0,
            PadValue::Minus => -1,
            PadValue::Plus => 1,
        }
    }
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn default_epsilon() -> f32 {
    DEFAULT_EPSILON
}

fn is_default_epsilon(epsilon: &f32) -> bool {
    *epsilon == DEFAULT_EPSILON
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn is_true(flag: &bool) -> bool {
    *flag
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

fn is_unscaled(scale: &Scale) -> bool {
    *scale == Scale::None
}

fn is_zero_padded(value: &PadValue) -> bool {
    *value == PadValue::Zero
}
