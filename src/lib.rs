//! `bnn`: an inference engine for deployed binary neural networks.

pub mod format;
pub mod graph;
pub mod program;
pub mod vision;
