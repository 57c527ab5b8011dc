//! A network as its paper writes it down: layers with names, hyper-parameters and the names and shapes
//! of their weights, but no weights.
//!
//! An [`Architecture`] is what a `.safetensors` file of weights lacks. It comes from the catalogue of
//! `bnn-models`, from a [`Network`] builder, or from JSON ([`Architecture::from_json`], schema in
//! `docs/graph.md`), and three things are made of it:
//!
//! - its [`Cost`], counted as the papers count it;
//! - the list of weights it needs, which [`import::safetensors`](crate::import::safetensors) reads from a file and
//!   `bnn-models` can draw at random;
//! - together with such [`Weights`], the [`Graph`](crate::graph::Graph) that the converter takes.
//!
//! ```
//! use bnn::architecture::{Network, Scale, Window};
//!
//! let mut net = Network::new("tiny", [3, 8, 8]);
//! let x = net.input();
//! let x = net.convolution("stem", x, 16, Window::square(3).padding(1));
//! let x = net.batch_normalization("norm", x);
//! let x = net.sign("sign", x);
//! let x = net.binary_convolution("conv", x, 32, Window::square(3).padding(1), Scale::None);
//! let x = net.global_average("mean", x);
//! let logits = net.linear("classifier", x, 10);
//! let architecture = net.finish([logits])?;
//!
//! let cost = architecture.resolve()?.cost();
//! assert_eq!(cost.binary_weights, 16 * 32 * 9);
//! # Ok::<(), bnn::architecture::ArchitectureError>(())
//! ```

mod assemble;
mod builder;
mod cost;
mod error;
mod json;
mod operation;
mod quantise;
mod resolve;
mod weights;
mod window;

pub use builder::{Network, Value};
pub use cost::Cost;
pub use error::ArchitectureError;
pub(crate) use json::KEY as GRAPH_KEY;
pub use operation::{
    AbcConvolution, BinaryConvolution, BinaryLinear, Convolution, HorqConvolution, Operation,
    PadValue, Scale,
};
pub use resolve::{Parameter, Resolved, ResolvedLayer, Role};
pub use weights::Weights;
pub use window::{Pads, Pair, Window};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A network without weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Architecture {
    /// Name of the network, for messages and reports.
    pub name: String,
    /// What the caller hands over.
    pub inputs: Vec<Input>,
    /// The layers; each reads inputs or layers that stand before it.
    pub layers: Vec<Layer>,
    /// Names of the layers whose results the caller gets.
    pub outputs: Vec<String>,
    /// Named parts, to be compared one by one where a whole network cannot be.
    pub blocks: Vec<Block>,
    /// Tensors that its checkpoints hold and nothing uses, as the classifier of a detector's backbone.
    pub unused: Vec<Unused>,
}

/// An input of an [`Architecture`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its shape without the batch: `[channels, height, width]` or `[features]`.
    pub shape: Vec<usize>,
}

/// A layer of an [`Architecture`]; it has one result, named as the layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its name; its weights are called `name.weight` and so on.
    pub name: String,
    /// Names of the inputs or layers that it reads.
    pub inputs: Vec<String>,
    /// What it does.
    pub operation: Operation,
    /// Weights that go by another name than that of their layer: role (`weight`, `bias`, ...) to the
    /// name of the tensor. Two layers may share a tensor.
    pub parameters: BTreeMap<String, String>,
}

/// A named part of a network with one input and one output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Its name, as a rule that of a module of the training program.
    pub name: String,
    /// The layer (or input) whose result enters it.
    pub input: String,
    /// The layer whose result leaves it.
    pub output: String,
}

/// A tensor that checkpoints hold and the network does not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unused {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}
