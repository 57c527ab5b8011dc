//! `bnn`: an inference engine for deployed binary neural networks.

pub mod convert;
pub mod format;
pub mod graph;
pub mod program;
pub mod reference;
pub mod vision;
