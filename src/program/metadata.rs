//! Facts about a model that its arithmetic does not need: how a picture becomes its input, and what
//! its outputs are called.

use serde::{Deserialize, Serialize};

use super::{Block, Detector};

/// Facts about a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// How a picture becomes the input; absent when the model was converted without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// Names of the classes, in the order of the output; of a detector without the background.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How the outputs become boxes, if the network finds objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<Detector>,
    /// Whether the outputs of the original network went through a final softmax.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outputs_are_probabilities: bool,
    /// Whether the weights are random numbers, made for benchmarks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub random_weights: bool,
    /// Named parts of the original network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

/// How a picture becomes the input of a network: decode, resize, centre crop, then
/// `(pixel * range / 255 - mean) / std` per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Resizing; absent: the picture must have the size of the input, or is resized to it when
    /// there is no crop either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Width and height of the centre crop after resizing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<[u32; 2]>,
    /// Resampling filter, antialiased when it shrinks.
    pub interpolation: Interpolation,
    /// How the longer side is rounded when the shorter one is given.
    pub rounding: ResizeRounding,
    /// Channel order of the input.
    pub channels: ChannelOrder,
    /// Largest value of a pixel before normalisation: 1 or 255.
    pub range: f32,
    /// Subtracted, one per channel (or one for all).
    pub mean: Vec<f32>,
    /// Divided by, one per channel (or one for all).
    pub std: Vec<f32>,
}

/// Target size of resizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side gets this length, the longer one follows.
    Shorter(u32),
    /// Exactly this width and height.
    Exact {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// Resampling filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Nearest pixel.
    Nearest,
    /// Triangle filter.
    Bilinear,
    /// Cubic filter with a = -0.5, as Pillow has it.
    Bicubic,
}

/// Rounding of the longer side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeRounding {
    /// To the nearest pixel.
    Round,
    /// Down, as torchvision does.
    Floor,
}

/// Channel order of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel of luminance.
    Gray,
}
