//! The default model: its trained weights, and the file that is embedded.

use crate::families::SmallResNetE;
use bnn::architecture::ArchitectureError;
use bnn::convert::{ConvertError, ConvertOptions, convert};
use bnn::format::{self, FormatError};
use bnn::graph::Graph;
use bnn::import::safetensors::{WeightsError, WeightsFile};
use bnn::program::{ChannelOrder, Interpolation, Metadata, Preprocessing, Resize, ResizeRounding};
use thiserror::Error;

/// Name of the default model.
pub const DEFAULT_NAME: &str = "resnete18-full-w32-cifar10";

/// The default model's layers.
const NETWORK: SmallResNetE = SmallResNetE { pooled: false, ..SmallResNetE::CIFAR10_32 };

/// Trained weights of the default model, signs packed.
static DEFAULT_WEIGHTS: &[u8] = include_bytes!("../default/resnete18-full-w32-cifar10.safetensors");

/// The default model, converted.
static DEFAULT_MODEL: &[u8] = include_bytes!("../default/resnete18-full-w32-cifar10.bnn");

/// Why the default model cannot be converted afresh.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Its layers do not fit.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Its weights are not those of its layers.
    #[error(transparent)]
    Weights(#[from] WeightsError),
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
pub fn default_graph() -> Result<Graph, BuildError> {
    let architecture = NETWORK.architecture(DEFAULT_NAME)?;
    let resolved = architecture.resolve()?;
    let file = WeightsFile::parse(DEFAULT_WEIGHTS)?;
    let read = file.weights(&resolved, |name| Some(name.into()))?;
    Ok(resolved.assemble(&read.weights))
}

/// How the default model wants its pictures, and what its outputs are called.
///
/// Pictures of any size are squeezed to 32x32 as a whole: the network was trained on pictures that
/// their object fills, and a crop could lose it.
pub fn default_metadata() -> Metadata {
    let [height, width] = NETWORK.input.map(|extent| extent as u32);
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
