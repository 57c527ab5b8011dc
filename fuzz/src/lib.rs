//! What the fuzz targets do with their bytes: each module has a function `check` that must come back,
//! whatever it is given.
//!
//! The integration test `fuzz_corpus` of the library includes this file, so that it replays the corpora
//! without a fuzzer.

#[cfg(feature = "capi")]
pub mod c_interface;
mod exercise;
pub mod model_file;
pub mod onnx;
pub mod picture;
pub mod weights;
