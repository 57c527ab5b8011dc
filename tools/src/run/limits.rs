//! What this machine reaches at best, measured beside what is to be judged by it.

use super::one_layer::OneLayer;
use bnn::{Error, Isa, Session, SessionOptions, program::ConvGeometry};
use serde::Serialize;
use std::time::Duration;

/// For how long each limit is measured.
const TIME: Duration = Duration::from_millis(40);

/// Multiply-accumulates a second, in 10^9, of convolutions that suit the kernels best: weights that
/// stay in the cache, channels that fill all vectors, sums long enough that nothing else counts. They
/// run on the instruction set and the threads of the session.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Limits {
    /// Of bits.
    pub(super) binary_gmacs: f64,
    /// Of floats.
    pub(super) float_gmacs: f64,
}

impl Limits {
    /// # Errors
    /// None that is known.
    pub(super) fn measure(session: &Session) -> Result<Self, Error> {
        let options = SessionOptions::default().isa(session.isa()).threads(session.threads());
        let rate = |geometry: &ConvGeometry, size: [usize; 2], ms: f64| {
            let [height, width] = geometry.output_size(size);
            let products = geometry.products() * geometry.out_channels;
            (height * width * products) as f64 / ms / 1e6
        };
        // The middle of a ResNet: 3x3 over 14x14 pixels of 256 channels. The reference takes bit by bit,
        // wherever it is.
        let side = if session.isa() == Isa::Scalar { 2 } else { 14 };
        let (binary, size) = (convolution(256, 3), [side, side]);
        let words = binary.out_channels * binary.products() / 64;
        let weights = (1..=words as u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let ms = OneLayer::of_bits(&binary, size, weights, &options)?.best(TIME)?;
        let binary_gmacs = rate(&binary, size, ms);
        let (float, size) = (convolution(128, 1), [28, 28]);
        let weights = vec![0.5; float.out_channels * float.products()];
        let ms = OneLayer::of_floats(&float, size, weights, &options)?.best(TIME)?;
        Ok(Self { binary_gmacs, float_gmacs: rate(&float, size, ms) })
    }

    /// The limit of layers of a kind.
    pub(super) fn of(self, kind: &str) -> Option<f64> {
        match kind {
            "binary_conv" => Some(self.binary_gmacs),
            "float_conv" => Some(self.float_gmacs),
            _ => None,
        }
    }
}

fn convolution(channels: usize, kernel: usize) -> ConvGeometry {
    ConvGeometry {
        in_channels: channels,
        out_channels: channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        groups: 1,
    }
}
