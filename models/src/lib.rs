//! Networks of the `bnn` engine: the catalogue of architectures, and the default model.
//!
//! [`families`] has one file for each family of binary networks, [`mod@catalogue`] their members by name, with
//! the figures of their papers. None of them has weights; those come from a safetensors file, or are drawn at
//! random ([`random_weights`]).
//!
//! The default model is a narrow ResNetE-18 that names what is on small colour pictures (the ten
//! classes of CIFAR-10). `models/default/README.md` says how it was trained and what it cannot do.

pub mod catalogue;
mod decouple;
mod default;
pub mod families;
pub mod names;
mod random;

pub use catalogue::{Entry, catalogue, find};
pub use decouple::{DecoupleError, decouple, decouple_weights};
pub use default::{
    BuildError, DEFAULT_NAME, build_default_model, default_graph, default_metadata, default_model,
};
pub use random::{RandomWeightsError, random_weights};

/// The example in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
