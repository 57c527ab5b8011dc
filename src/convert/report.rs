//! What the conversion made of each layer.

use serde::Serialize;

/// Warnings and notes that the passes leave.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Steps that are approximate or guessed: errors under `strict`.
    pub(super) warnings: Vec<String>,
    /// Facts worth knowing that change no number.
    pub(super) notes: Vec<String>,
}

/// One convolution or dense layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// Name in the original graph.
    pub name: String,
    /// What it is: `conv 3x3`, `depthwise conv 3x3`, `dense`.
    pub kind: String,
    /// Whether weights and inputs are both bits.
    pub binary: bool,
    /// Whether at least the weights are bits.
    pub binary_weights: bool,
    /// Why it is not binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Height, width and channels of the input.
    pub input_shape: [usize; 3],
    /// Height, width and channels of the output.
    pub output_shape: [usize; 3],
    /// Bytes of the weights as 32-bit floats.
    pub bytes_before: usize,
    /// Bytes of the weights in the model file.
    pub bytes_after: usize,
    /// Multiply-accumulates for one image, padding counted.
    pub macs: u64,
    /// How the result leaves the layer: `bits`, `f32`, `bits and f32`.
    pub output: String,
}

/// Multiply-accumulates for one image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MacCount {
    /// Float times float, or float times ±1.
    pub float: u64,
    /// Bit times bit.
    pub binary: u64,
}

/// What became of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Convolutions and dense layers, in order.
    pub layers: Vec<LayerReport>,
    /// How many of them are binary.
    pub binary_layers: usize,
    /// How many are not.
    pub float_layers: usize,
    /// Storage of the weights in 10^6 bits: 1 for a binary weight, 32 for a float.
    pub storage_mbit: f64,
    /// Multiply-accumulates.
    pub macs: MacCount,
    /// Approximate or guessed steps.
    pub warnings: Vec<String>,
    /// Other facts.
    pub notes: Vec<String>,
}

impl Report {
    /// Sums up the layers.
    pub(super) fn new(layers: Vec<LayerReport>, notes: Notes) -> Self {
        let mut report = Self {
            binary_layers: layers.iter().filter(|layer| layer.binary).count(),
            warnings: notes.warnings,
            notes: notes.notes,
            ..Self::default()
        };
        report.float_layers = layers.len() - report.binary_layers;
        let mut bits = 0.0;
        for layer in &layers {
            let weights = layer.bytes_before as f64 / 4.0;
            bits += if layer.binary_weights { weights } else { 32.0 * weights };
            if layer.binary {
                report.macs.binary += layer.macs;
            } else {
                report.macs.float += layer.macs;
            }
        }
        report.storage_mbit = bits / 1e6;
        report.layers = layers;
        report
    }
}
