//! `bnn`: an inference engine for deployed binary neural networks.
//!
//! The weights and activations of a binary network are ±1, so that a convolution is an exclusive or
//! and a count of bits. A trained network is converted once (by the tool `bnn-convert`, or with
//! [`import`] and [`convert`]) to a `.bnn` file; this crate loads such files and runs them on the CPU.
//! The results are those of the float network that was trained, and they are the same to the bit on
//! every instruction set, with any number of threads and in any batch; only processors without fused
//! multiply-add round the sums of float layers otherwise ([`Isa::fuses_multiply_add`]).
//!
//! # Classify a picture
//!
//! The file knows how a picture becomes an input and what the classes are called:
//!
//! ```
//! use bnn::{Model, SessionOptions, vision};
//!
//! # fn main() -> Result<(), bnn::Error> {
//! let model = Model::open("models/default/resnete18-full-w32-cifar10.bnn")?;
//! let mut session = model.session(&SessionOptions::default())?;
//! let image = vision::decode_file("examples/airplane.png")?;
//! let best = &session.classify(&image, 5)?[0];
//! assert_eq!(best.label.as_deref(), Some("airplane"));
//! assert!(best.probability > 0.9);
//! # Ok(())
//! # }
//! ```
//!
//! Networks that find objects give boxes in the same way: [`Session::detect`].
//!
//! # Run tensors
//!
//! Values go in and come out in the layout of the original graph, images of a batch one after the
//! other. [`Session::run_into`] writes to memory of the caller and allocates nothing:
//!
//! ```
//! use bnn::{Model, SessionOptions};
//!
//! # fn main() -> Result<(), bnn::Error> {
//! let model = Model::open("models/default/resnete18-full-w32-cifar10.bnn")?;
//! let mut session = model.session(&SessionOptions::default().threads(2))?;
//! let (image, scores) = (model.inputs()[0].elements(), model.outputs()[0].elements());
//!
//! let input = vec![0.0; 8 * image];
//! let mut output = vec![0.0; 8 * scores];
//! session.run_into(&[&input], &mut [&mut output])?;
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! A [`Model`] is `Send + Sync` and cheap to clone. A [`Session`] runs one call at a time; a server
//! makes one per worker, and they share the packed weights.

pub mod architecture;
#[cfg(feature = "capi")]
pub mod capi;
pub mod compare;
pub mod convert;
mod error;
pub mod format;
pub mod graph;
pub mod import;
pub mod program;
pub mod reference;
pub mod runtime;
mod unsupported;
pub mod vision;

pub use bnn_kernels::{Isa, IsaError};
pub use error::Error;
pub use runtime::{
    Detection, Model, Prediction, Profile, RunError, Session, SessionOptions, StepInfo,
};
