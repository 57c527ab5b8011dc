//! Reading networks as other programs write them into a [`Graph`](crate::graph::Graph).

pub mod onnx;
pub mod safetensors;
