//! Kernels of the `bnn` engine: bit packing, binary and float convolution, fused epilogues and
//! pooling, each for several instruction sets and each checked against a scalar reference.
//!
//! This crate knows slices and strides; it knows no graph, no file and no threads. Feature maps are
//! in height, width, channels order. A map of bits takes `ceil(channels / 64)` little-endian 64-bit
//! words per pixel, first channel in bit 0, unused bits 0.

mod float_environment;
mod geometry;
mod isa;

pub use float_environment::DefaultFloatEnvironment;
pub use geometry::{Alphabet, ConvGeometry, GeometryError, PadValue, PoolGeometry, words_per_pixel};
pub use isa::{Isa, IsaError};
