//! `bnn`: an inference engine for deployed binary neural networks.

pub mod graph;
pub mod import;
pub mod program;
pub mod reference;
