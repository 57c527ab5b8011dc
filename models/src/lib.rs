//! Networks of the `bnn` engine: the default model, and the architecture it is built from.
//!
//! The default model is a narrow ResNetE-18 that names what is on small colour pictures (the ten
//! classes of CIFAR-10). `models/default/README.md` says how it was trained and what it cannot do.

mod resnet_e;
mod weights;

pub use resnet_e::ResNetE18;
pub use weights::{ModelError, TensorProblem};

use bnn::graph::Graph;
use bnn::program::{ChannelOrder, Interpolation, Metadata, Preprocessing, Resize, ResizeRounding};

/// Name of the default model.
pub const DEFAULT_NAME: &str = "resnete18-w32-cifar10";

/// Trained weights of the default model, signs packed; see [`ResNetE18::build`].
static DEFAULT_WEIGHTS: &[u8] = include_bytes!("../default/resnete18-w32-cifar10.safetensors");

/// Height and width of the default model's input.
const DEFAULT_INPUT: [u32; 2] = [32, 32];

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
