//! Reading networks as other programs write them into a [`Graph`](crate::graph::Graph).

pub mod onnx;
mod permute;
pub mod safetensors;
