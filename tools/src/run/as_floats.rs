//! The binary layers of a network beside the same layers in f32, on the same machine at the same
//! hour: what binarising them saves. Comparing times from two machines, or a binary layer with a float
//! layer of another engine, would compare the machines and the engines.

use super::{one_layer::OneLayer, profile::LayerTime};
use bnn::{
    Error, Session, SessionOptions,
    program::{StepKind, TensorData},
};
use serde::Serialize;
use std::time::Duration;

/// Milliseconds for one image.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct AsFloats {
    /// Of the binary layers, with all that they do to their sums.
    binary_ms: f64,
    /// Of convolutions of the same shapes with ±1 as floats, sums only.
    float_ms: f64,
    /// The second by the first.
    ratio: f64,
}

impl AsFloats {
    /// Times the convolutions for about `time` in all. None if the network has no binary layer.
    ///
    /// # Errors
    /// If the weights as floats do not fit into memory.
    pub(super) fn measure(
        session: &Session,
        layers: &[LayerTime],
        time: Duration,
    ) -> Result<Option<Self>, Error> {
        let program = session.model().program();
        let binary: Vec<_> = program
            .steps
            .iter()
            .filter_map(|step| match &step.kind {
                StepKind::BinaryConv { conv, .. } => Some(conv),
                _ => None,
            })
            .collect();
        let options = SessionOptions::default().isa(session.isa()).threads(session.threads());
        let binary_ms = layers.iter().filter(|layer| layer.is_binary()).map(|layer| layer.ms).sum();
        let mut float_ms = 0.0;
        for conv in &binary {
            let input = program.buffer(conv.input);
            let count = conv.geometry.out_channels * conv.geometry.products();
            let TensorData::Bits(words) = &program.tensor(conv.weights).data else { continue };
            let sign = |at: usize| if words[at / 64] >> (at % 64) & 1 == 1 { 1.0 } else { -1.0 };
            let weights = (0..count).map(sign).collect();
            let size = [input.height, input.width];
            let mut layer = OneLayer::of_floats(&conv.geometry, size, weights, &options)?;
            float_ms += layer.best(time / binary.len() as u32)?;
        }
        let ratio = if binary_ms > 0.0 { float_ms / binary_ms } else { 0.0 };
        Ok((!binary.is_empty()).then_some(Self { binary_ms, float_ms, ratio }))
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        use crate::terminal::milliseconds;
        format!(
            "binary layers {}, the same convolutions of floats {}: {:.1} times as long",
            milliseconds(self.binary_ms),
            milliseconds(self.float_ms),
            self.ratio
        )
    }
}
