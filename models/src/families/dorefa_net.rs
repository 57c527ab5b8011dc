//! DoReFa-Net's AlexNet as larq zoo publishes it.

use super::Framework;
use super::parts::Task;
use bnn::architecture::{
    Architecture, ArchitectureError, BinaryLinear, Network, Operation, Scale, Value, Window,
};

/// DoReFa-Net (Zhou et al. 2016) on AlexNet: weights of one bit with one scale per layer, activations of few bits.
///
/// ```text
/// conv 12x12/4 with bias
/// 4 times  quantise -> bconv -> BatchNorm (no gamma) -> (max pool 3x3/2)
/// twice    quantise -> binary dense -> BatchNorm (no gamma)
/// clip to [0, 1] -> dense
/// ```
///
/// Only larq zoo's version is here, in [`Framework::TensorFlow`]'s order and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoReFaAlexNet {
    /// Bits of the activations.
    pub bits: u32,
    /// Channels of the five convolutions.
    pub widths: [usize; 5],
    /// Lengths of the two hidden dense layers.
    pub dense_widths: [usize; 2],
    /// Pictures and classes.
    pub task: Task,
}

/// Epsilon of the normalisations.
const EPSILON: f32 = 1e-4;

impl DoReFaAlexNet {
    /// larq zoo's network.
    pub const LARQ: Self = Self {
        bits: 2,
        widths: [96, 256, 384, 384, 256],
        dense_widths: [4096; 2],
        task: Task::IMAGENET,
    };

    /// The network.
    ///
    /// # Errors
    /// If the picture is smaller than the network's windows.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        let [first, inner @ ..] = self.widths;
        x = net.convolution_with_bias("conv1", x, first, Window::square(12).stride(4));
        let pool = Window::square(3).stride(2);
        let same = Framework::TensorFlow;
        let kernels = [5, 3, 3, 3];
        for (index, (width, kernel)) in inner.into_iter().zip(kernels).enumerate() {
            x = net.block(format!("features.{index}"), x, |net, x| {
                let x = self.quantised(net, x);
                let window = same.window(net, x, Window::square(kernel));
                let x = net.binary_convolution("conv", x, width, window, Scale::Layer);
                let x = same.alexnet_norm(net, "bn", x, EPSILON);
                match index {
                    0 | 1 => net.max_pool("pool", x, same.window(net, x, pool)),
                    2 => x,
                    _ => net.max_pool("pool", x, pool),
                }
            });
        }
        x = same.flatten(&mut net, x, "flatten").0;
        for (index, out_features) in self.dense_widths.into_iter().enumerate() {
            x = net.block(format!("dense.{index}"), x, |net, x| {
                let x = self.quantised(net, x);
                let layer = BinaryLinear { out_features, scale: Scale::Layer, bias: false };
                let x = net.operation("fc", &[x], Operation::BinaryLinear(layer));
                same.alexnet_norm(net, "bn", x, EPSILON)
            });
        }
        x = net.operation("clip", &[x], Operation::Clip { minimum: 0.0, maximum: 1.0 });
        let logits = net.linear("fc", x, self.task.classes);
        net.finish([logits])
    }

    fn quantised(&self, net: &mut Network, x: Value) -> Value {
        net.operation("quantise", &[x], Operation::Quantize { bits: self.bits })
    }
}
