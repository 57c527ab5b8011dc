//! `bnn`: an inference engine for deployed binary neural networks.

pub mod convert;
mod error;
pub mod format;
pub mod graph;
pub mod import;
pub mod program;
pub mod reference;
pub mod runtime;
pub mod vision;

pub use bnn_kernels::{Isa, IsaError};
pub use error::Error;
pub use runtime::{Model, Prediction, Profile, RunError, Session, SessionOptions, StepInfo};
