//! ResNetE: the BinaryDenseNet paper's ResNet with full-precision shortcuts.

use super::Framework;
use super::parts::{Stem, Task, head, rectified_stem, residual_blocks};
use bnn::architecture::{Architecture, ArchitectureError, Network, PadValue, Scale, Value, Window};

/// ResNetE (Bethge et al. 2019, "Back to Simplicity", sections 3.3 and 4), as the authors' BMXNet code has it.
///
/// ```text
/// input       BatchNorm (3 channels, epsilon 2e-5)
/// stem        conv 7x7/2 -> BatchNorm -> ReLU -> max pool 3x3/2 -> BatchNorm  (small pictures: conv 3x3 -> BatchNorm)
/// 4 stages    version 1: y = BatchNorm(bconv3x3(sign(x))) + shortcut(x)
///             version 2: z = BatchNorm(x), y = bconv3x3(sign(z)) + (x or shortcut(z))
///             shortcut: mean 2x2 -> conv 1x1 (-> BatchNorm in version 1)
/// classifier  (BatchNorm in version 2) -> ReLU -> mean -> dense
/// ```
///
/// Weights are ±1 without a scale. Which version belongs to which row of the paper's tables is said in
/// the authors' experiment notes: 1 for ImageNet, 2 for CIFAR-10.
///
/// larq zoo's network is version 1 without the BatchNorm of the input and, for small pictures, without that of the stem;
/// its epsilon is 1e-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResNetE {
    /// Blocks of the four stages.
    pub blocks: [usize; 4],
    /// Channels of the first stage.
    pub width: usize,
    /// Pictures, classes and stem.
    pub task: Task,
    /// Where the normalisation stands.
    pub version: Version,
    /// Whether the shortcuts that change the shape are in full precision; else sign and binary 1x1.
    pub full_precision_shortcuts: bool,
    /// What padding of the binary convolutions holds: -1 in checkpoints of BMXNet.
    pub pad_value: PadValue,
    /// Padding, first normalisations and the order of the layers.
    pub framework: Framework,
}

/// Versions of [`ResNetE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// BatchNorm after the convolution.
    One,
    /// BatchNorm before the sign.
    Two,
}

impl ResNetE {
    /// ResNetE-18 for ImageNet.
    pub const RESNET_E_18: Self = Self {
        blocks: [4; 4],
        width: 64,
        task: Task::IMAGENET,
        version: Version::One,
        full_precision_shortcuts: true,
        pad_value: PadValue::Zero,
        framework: Framework::PyTorch,
    };
    /// larq zoo's ResNetE-18.
    pub const LARQ_18: Self = Self { framework: Framework::TensorFlow, ..Self::RESNET_E_18 };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        let is_larq = self.framework == Framework::TensorFlow;
        if !is_larq {
            x = net.batch_normalization_with("bn_in", x, 2e-5);
        }
        x = rectified_stem(&mut net, self.framework, self.task.stem, x, self.width);
        if self.version == Version::One && !(is_larq && self.task.stem != Stem::Large) {
            x = net.batch_normalization("bn_stem", x);
        }
        for (index, block) in residual_blocks(self.blocks, self.width).enumerate() {
            x = net.block(format!("features.{index}"), x, |net, x| match self.version {
                Version::One => self.block(net, x, block.width, block.stride()),
                Version::Two => self.block_2(net, x, block.width, block.stride()),
            });
        }
        if self.version == Version::Two {
            x = net.batch_normalization("bn_last", x);
        }
        x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn convolution(
        &self,
        net: &mut Network,
        name: &str,
        x: Value,
        width: usize,
        stride: usize,
    ) -> Value {
        let window = Window::square(3).stride(stride).padding(1);
        let window = self.framework.window(net, x, window);
        net.padded_binary_convolution(name, x, width, window, Scale::None, self.pad_value)
    }

    fn block(&self, net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
        let early = self.framework.shortcut_first().then(|| self.around(net, x, width, stride));
        let y = net.sign("binary_activation", x);
        let y = self.convolution(net, "binary_conv", y, width, stride);
        let y = net.batch_normalization("bn1", y);
        let shortcut = early.unwrap_or_else(|| self.around(net, x, width, stride));
        net.add("add", &[y, shortcut])
    }

    /// What leads around a block of version 1.
    fn around(&self, net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
        match stride {
            1 => x,
            _ => net.scope("downsample", |net| {
                let norm = if self.full_precision_shortcuts { "2" } else { "3" };
                let y = self.shortcut(net, x, width);
                net.batch_normalization(norm, y)
            }),
        }
    }

    fn block_2(&self, net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
        let z = net.batch_normalization("bn", x);
        let y = net.sign("sign", z);
        let y = self.convolution(net, "conv", y, width, stride);
        let shortcut = match stride {
            1 => x,
            _ => net.scope("down", |net| self.shortcut(net, z, width)),
        };
        net.add("add", &[y, shortcut])
    }

    /// Mean over 2x2, then 1x1 in full precision, or sign and binary 1x1.
    fn shortcut(&self, net: &mut Network, x: Value, width: usize) -> Value {
        let x = net.halve("0", x);
        if self.full_precision_shortcuts {
            return net.convolution("1", x, width, Window::square(1));
        }
        let x = net.sign("1", x);
        net.binary_convolution("2", x, width, Window::square(1), Scale::None)
    }
}
