//! ONNX files, from the bytes to the answers of the converted network.

use super::exercise::exercise;
use bnn::{
    convert::{ConvertOptions, convert},
    import::onnx::{ImportOptions, from_bytes},
};

/// Imports the file, converts the network, and takes the program through everything.
///
/// # Panics
/// If anything is wrong with the library.
pub fn check(data: &[u8]) {
    let Ok(graph) = from_bytes(data, None, &ImportOptions::default()) else { return };
    if let Ok(conversion) = convert(graph, &ConvertOptions::default()) {
        exercise(&conversion.program);
    }
}
