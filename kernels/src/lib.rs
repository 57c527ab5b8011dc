//! Kernels of the `bnn` engine: bit packing, binary and float convolution, fused epilogues and
//! pooling, each for several instruction sets and each checked against a scalar reference.
//!
//! This crate knows slices and strides; it knows no graph, no file and no threads. Feature maps are
//! in height, width, channels order. A map of bits takes `ceil(channels / 64)` little-endian 64-bit
//! words per pixel, first channel in bit 0, unused bits 0.

mod affine;
mod binary_conv;
mod bit_string;
mod bits;
mod border;
mod error;
#[cfg(target_arch = "x86_64")]
mod features;
mod geometry;
mod isa;
mod pool_bits;

pub use affine::{AffineBinary, i32_to_f32};
pub use binary_conv::BinaryConv;
pub use bits::{pack_f32, pack_i32};
pub use border::BorderClasses;
pub use error::KernelError;
pub use geometry::{
    Alphabet, ConvGeometry, GeometryError, PadValue, PoolGeometry, words_per_pixel,
};
pub use isa::{Isa, IsaError};
pub use pool_bits::{MaxPoolBits, concat_bits};
