//! Networks of the `bnn` engine: the default model, and the architecture it is built from.
//!
//! The default model is a narrow ResNetE-18 that names what is on small colour pictures (the ten
//! classes of CIFAR-10). `models/default/README.md` says how it was trained and what it cannot do.

mod resnet_e;
mod weights;

pub use resnet_e::ResNetE18;
pub use weights::{ModelError, TensorProblem};

use bnn::convert::{ConvertError, ConvertOptions, convert};
use bnn::format::{self, FormatError};
use bnn::graph::Graph;
use bnn::program::{ChannelOrder, Interpolation, Metadata, Preprocessing, Resize, ResizeRounding};
use thiserror::Error;

/// Name of the default model.
pub const DEFAULT_NAME: &str = "resnete18-w32-cifar10";

/// Trained weights of the default model, signs packed; see [`ResNetE18::build`].
static DEFAULT_WEIGHTS: &[u8] = include_bytes!("../default/resnete18-w32-cifar10.safetensors");

/// The default model, converted.
static DEFAULT_MODEL: &[u8] = include_bytes!("../default/resnete18-w32-cifar10.bnn");

/// Height and width of the default model's input.
const DEFAULT_INPUT: [u32; 2] = [32, 32];

/// Why the default model cannot be converted afresh.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Its graph cannot be built.
    #[error(transparent)]
    Weights(#[from] ModelError),
    /// Its graph cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The program cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// The default model as a `.bnn` file, for `bnn::Model::from_bytes`.
pub fn default_model() -> &'static [u8] {
    DEFAULT_MODEL
}

/// Converts the default model afresh from its trained weights, in strict mode and with full-precision
/// floats. The result is [`default_model`], byte for byte, unless the converter or the format has
/// changed since that file was written (`cargo xtask default-model` writes it).
///
/// # Errors
/// If the graph cannot be built, converted or written.
pub fn build_default_model() -> Result<Vec<u8>, BuildError> {
    let options =
        ConvertOptions { strict: true, metadata: default_metadata(), ..ConvertOptions::default() };
    let conversion = convert(default_graph()?, &options)?;
    Ok(format::write(&conversion.program)?)
}

/// What the default model means: its graph with the trained weights.
///
/// # Errors
/// Never with the weights this crate ships.
pub fn default_graph() -> Result<Graph, ModelError> {
    let [height, width] = DEFAULT_INPUT;
    let network = ResNetE18 {
        width: 32,
        classes: default_labels().count(),
        input: [height as usize, width as usize],
    };
    network.build(DEFAULT_NAME, DEFAULT_WEIGHTS)
}

/// How the default model wants its pictures, and what its outputs are called.
///
/// Pictures of any size are squeezed to 32x32 as a whole: the network was trained on pictures that
/// their object fills, and a crop could lose it.
pub fn default_metadata() -> Metadata {
    let [height, width] = DEFAULT_INPUT;
    Metadata {
        preprocessing: Some(Preprocessing {
            resize: Some(Resize::Exact { width, height }),
            crop: None,
            interpolation: Interpolation::Bilinear,
            rounding: ResizeRounding::Round,
            channels: ChannelOrder::Rgb,
            range: 1.0,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }),
        labels: default_labels().map(str::to_owned).collect(),
        ..Metadata::default()
    }
}

fn default_labels() -> impl Iterator<Item = &'static str> {
    include_str!("../default/labels.txt").lines()
}

/// The example in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
