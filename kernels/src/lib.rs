//! Kernels of the `bnn` engine: bit packing, binary and float convolution, fused epilogues and
//! pooling, each for several instruction sets and each checked against a scalar reference. All give the
//! bits of that reference but for [`FloatConv`] on [`Isa::V2`], which has no fused multiply-add.
//!
//! This crate knows slices and strides; it knows no graph, no file and no threads. Feature maps are
//! in height, width, channels order. A map of bits takes `ceil(channels / 64)` little-endian 64-bit
//! words per pixel, first channel in bit 0, unused bits 0.

mod affine;
mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
mod binary_conv;
mod bit_string;
mod bits;
mod border;
mod epilogue;
mod error;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod features;
mod float_conv;
mod float_environment;
mod gather;
mod geometry;
mod isa;
mod map_rows;
mod numbers;
mod pool;
mod pool_bits;
mod reduce;
mod segments;
mod simd;
mod tap_products;

pub use affine::AffineBinary;
pub use binary_conv::BinaryConv;
pub use bits::{pack_f32, pack_i32};
pub use border::BorderClasses;
pub use epilogue::{
    ChannelOp, CombineOp, Epilogue, EpilogueError, EpilogueOp, Operand, OutputSlice, UnaryFunction,
};
pub use error::KernelError;
pub use float_conv::{FloatConv, FloatWeights};
pub use float_environment::DefaultFloatEnvironment;
pub use gather::{gather, pad_map, pad_map_bits};
pub use geometry::{
    Alphabet, ConvGeometry, GeometryError, PadValue, PoolGeometry, words_per_pixel,
};
pub use isa::{Isa, IsaError};
pub use map_rows::MapRows;
pub use numbers::{MapValues, concat_channels, i32_to_f32, i32_to_i16};
pub use pool::{AveragePool, MaxPool};
pub use pool_bits::{MaxPoolBits, concat_bits};
pub use reduce::{Reduction, reduce_channels, softmax};
pub use segments::SegmentBits;
pub use tap_products::{Products, Tap, add_tap_products};
