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

/// How much of a layer is bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Weights and inputs are bits.
    Binary,
    /// Only the weights are bits; the inputs are floats.
    WeightsOnly,
    /// Neither.
    Float,
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
    /// Share of the input, 0 to 1, that is exactly 0, where the reason is that the input is not
    /// two-valued. The conversion runs nothing and leaves it open; whoever runs the model may fill it in
    /// (see [`Trace::not_two_valued`](super::Trace::not_two_valued)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_zeros: Option<f32>,
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
    /// How the result leaves the layer: `bits`, `i16` (the sums themselves), `f32`, `bits and f32`.
    pub output: String,
}

impl LayerReport {
    /// How much of the layer is bits.
    pub fn precision(&self) -> Precision {
        match (self.binary, self.binary_weights) {
            (true, _) => Precision::Binary,
            (false, true) => Precision::WeightsOnly,
            (false, false) => Precision::Float,
        }
    }
}

/// Bytes of all weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WeightBytes {
    /// As 32-bit floats.
    pub before: u64,
    /// In the model file.
    pub after: u64,
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
    /// How many of those that are not have binary weights.
    pub weight_only_layers: usize,
    /// Bytes of the weights of all layers.
    pub weight_bytes: WeightBytes,
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
            report.weight_only_layers += usize::from(layer.precision() == Precision::WeightsOnly);
            report.weight_bytes.before += layer.bytes_before as u64;
            report.weight_bytes.after += layer.bytes_after as u64;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(binary: bool, binary_weights: bool) -> LayerReport {
        LayerReport {
            name: "layer".to_owned(),
            kind: "dense".to_owned(),
            binary,
            binary_weights,
            reason: None,
            input_zeros: None,
            input_shape: [1, 1, 64],
            output_shape: [1, 1, 2],
            bytes_before: 512,
            bytes_after: if binary_weights { 16 } else { 512 },
            macs: 128,
            output: "f32".to_owned(),
        }
    }

    #[test]
    fn layers_with_binary_weights_alone_are_counted_apart() {
        let layers = vec![layer(true, true), layer(false, true), layer(false, false)];
        let report = Report::new(layers, Notes::default());
        let precisions: Vec<_> = report.layers.iter().map(LayerReport::precision).collect();
        assert_eq!(precisions, [Precision::Binary, Precision::WeightsOnly, Precision::Float]);
        assert_eq!((report.binary_layers, report.float_layers), (1, 2));
        assert_eq!(report.weight_only_layers, 1);
        assert_eq!(report.weight_bytes, WeightBytes { before: 3 * 512, after: 2 * 16 + 512 });
        assert_eq!(report.macs, MacCount { float: 256, binary: 128 });
        assert_eq!(report.storage_mbit, (2.0 * 128.0 + 32.0 * 128.0) / 1e6);
    }
}
