//! Hyper-BinaryNet: enhanced shortcuts and convolutions that keep one channel in full precision.

use super::parts::{Stem, Task, activated_stem, head, plain_stem, residual_blocks};
use bnn::architecture::{
    Architecture, ArchitectureError, Convolution, Network, Operation, Scale, Value, Window,
};

/// DPConv (eq. 9, fig. 5): channel 0 is a convolution, in full precision and with a single kernel, of the mean of
/// the rectified input; the other channels are a binary convolution.
///
/// That channel 0 comes first, that the mean is of the rectified input and that the kernel is cut to ±1 is from the
/// authors' code.
pub(super) fn depth_preserving_convolution(
    net: &mut Network,
    x: Value,
    out_channels: usize,
    window: Window,
) -> Value {
    let y = net.relu("relu", x);
    let y = net.operation("mean", &[y], Operation::ChannelMean {});
    let kernel = Convolution {
        out_channels: 1,
        kernel: window.kernel,
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        groups: 1,
        bias: false,
        clip: Some(1.0),
    };
    let name = net.full_name("fpk");
    let parameters = [("weight", name.as_str())];
    let real = net.operation_with("fp", &[y], Operation::Convolution(kernel), &parameters);
    let signs = net.sign("sign", x);
    let binary = net.binary_convolution("bin", signs, out_channels - 1, window, Scale::None);
    net.concat("concat", &[real, binary])
}

/// What goes around a convolution where the shape changes (fig. 4 and table 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    /// ReLU, mean 2x2, convolution 1x1 in full precision, BatchNorm.
    FullPrecision,
    /// The same with a convolution of real numbers with weights ±1 and this kernel (3 or 5).
    BinaryWeights(usize),
    /// The same with a binary convolution and this kernel. A sign right behind a ReLU would see nothing
    /// negative; `sign(x - 0.05)` is our choice.
    Binary(usize),
}

/// Inner layers of a [`HyperResNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HyperConvolution {
    /// DPConv.
    DepthPreserving,
    /// Sign, binary convolution.
    Binary,
    /// PReLU, convolution of real numbers with weights ±1 (1/32).
    Real,
}

/// Hyper-BinaryNet's ResNet-18 and 34: `y = BatchNorm(conv(x)) + shortcut(x)` around every convolution,
/// ReLU before the classifier. The hyper-network that generates the signs exists in training only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HyperResNet {
    /// Convolutions of the four stages.
    pub blocks: [usize; 4],
    /// Channels of the first stage.
    pub width: usize,
    /// Shortcuts where the shape changes.
    pub shortcut: Shortcut,
    /// The convolutions.
    pub convolution: HyperConvolution,
    /// Pictures, classes and stem.
    pub task: Task,
}

impl HyperResNet {
    /// ResNet-18 for ImageNet.
    pub const HYPER_RESNET_18: Self = Self {
        blocks: [4; 4],
        width: 64,
        shortcut: Shortcut::FullPrecision,
        convolution: HyperConvolution::DepthPreserving,
        task: Task::IMAGENET,
    };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = plain_stem(&mut net, self.task.stem, x, self.width);
        for (index, block) in residual_blocks(self.blocks, self.width).enumerate() {
            x = net.block(format!("layers.{index}"), x, |net, x| {
                let window = Window::square(3).stride(block.stride()).padding(1);
                let y =
                    net.block("conv", x, |net, x| self.convolution(net, x, block.width, window));
                let y = net.batch_normalization("bn", y);
                let around = if block.shrinks {
                    let stride = block.stride();
                    net.scope("down", |net| shortcut(net, x, block.width, stride, self.shortcut))
                } else {
                    x
                };
                net.add("add", &[y, around])
            });
        }
        x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn convolution(&self, net: &mut Network, x: Value, width: usize, window: Window) -> Value {
        match self.convolution {
            HyperConvolution::DepthPreserving => {
                depth_preserving_convolution(net, x, width, window)
            }
            HyperConvolution::Binary => {
                let x = net.sign("0", x);
                net.binary_convolution("1", x, width, window, Scale::None)
            }
            HyperConvolution::Real => {
                let x = net.operation("0", &[x], Operation::Prelu { per_channel: false });
                net.binary_convolution("1", x, width, window, Scale::None)
            }
        }
    }
}

fn shortcut(net: &mut Network, x: Value, width: usize, stride: usize, kind: Shortcut) -> Value {
    let mut x = net.relu("relu", x);
    if stride == 2 {
        x = net.halve("pool", x);
    }
    x = match kind {
        Shortcut::FullPrecision => net.convolution("conv", x, width, Window::square(1)),
        Shortcut::BinaryWeights(side) => {
            net.binary_convolution("conv", x, width, Window::square(side).same(), Scale::None)
        }
        Shortcut::Binary(side) => {
            let shifted = net.operation("shifted", &[x], Operation::AddConstant { value: -0.05 });
            let signs = net.sign("sign", shifted);
            net.binary_convolution("conv", signs, width, Window::square(side).same(), Scale::None)
        }
    };
    net.batch_normalization("bn", x)
}

/// Hyper-BinaryNet's ResNet-50: bottlenecks of 1x1 in full precision, 3x3 DPConv with a shortcut of its own, 1x1 in
/// full precision. The paper does not place the ReLU; before the second 1x1 is our choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HyperResNet50 {
    /// Bottlenecks of the four stages.
    pub blocks: [usize; 4],
    /// Channels inside the bottlenecks of the first stage.
    pub width: usize,
    /// Pictures, classes and stem.
    pub task: Task,
}

impl HyperResNet50 {
    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = activated_stem(&mut net, self.task.stem, x, self.width);
        for (index, block) in residual_blocks(self.blocks, self.width).enumerate() {
            x = net.block(format!("layers.{index}"), x, |net, x| {
                let a = net.convolution("c1", x, block.width, Window::square(1));
                let a = net.batch_normalization("b1", a);
                let window = Window::square(3).stride(block.stride()).padding(1);
                let b = net
                    .scope("c2", |net| depth_preserving_convolution(net, a, block.width, window));
                let b = net.batch_normalization("b2", b);
                let around = if block.shrinks { net.halve("short2", a) } else { a };
                let b = net.add("add2", &[b, around]);
                let b = net.relu("relu", b);
                let c = net.convolution("c3", b, 4 * block.width, Window::square(1));
                let c = net.batch_normalization("b3", c);
                // The first bottleneck of every stage changes the number of channels.
                let around = if block.index == 0 {
                    net.scope("down", |net| {
                        shortcut(net, x, 4 * block.width, block.stride(), Shortcut::FullPrecision)
                    })
                } else {
                    x
                };
                net.add("add", &[c, around])
            });
        }
        x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }
}

/// Hyper-BinaryNet's ShuffleNet. The paper gives no configuration; version 1 with two groups, 200 - 400 - 800 channels and
/// 4 - 8 - 4 units is our choice.
///
/// ```text
/// unit  sign -> bconv1x1 (groups) -> BatchNorm -> shuffle -> sign -> bconv3x3 (depth-wise) -> BatchNorm -> sign -> bconv1x1 (groups)
///       -> BatchNorm, added to x, or after mean 3x3/2 of x where the map shrinks
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HyperShuffleNet {
    /// Groups of the 1x1 convolutions.
    pub groups: usize,
    /// Channels of the three stages.
    pub widths: [usize; 3],
    /// Units of the three stages.
    pub units: [usize; 3],
    /// Pictures, classes and stem.
    pub task: Task,
}

/// Channels of the ShuffleNet's stem; convolutions of them are not grouped.
const SHUFFLE_STEM: usize = 24;

impl HyperShuffleNet {
    /// Our configuration for CIFAR-10.
    pub const CIFAR10: Self =
        Self { groups: 2, widths: [200, 400, 800], units: [4, 8, 4], task: Task::CIFAR10 };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small or the widths do not make groups.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = net.scope("stem", |net| {
            let x = net.convolution("0", x, SHUFFLE_STEM, Stem::Small.window());
            net.batch_normalization("1", x)
        });
        let (mut channels, mut index) = (SHUFFLE_STEM, 0);
        for (&width, &units) in self.widths.iter().zip(&self.units) {
            for unit in 0..units {
                x = net.block(format!("layers.{index}"), x, |net, x| {
                    self.unit(net, x, channels, width, unit == 0)
                });
                channels = width;
                index += 1;
            }
        }
        x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn unit(
        &self,
        net: &mut Network,
        x: Value,
        channels: usize,
        width: usize,
        shrinks: bool,
    ) -> Value {
        let (new, stride) = if shrinks { (width - channels, 2) } else { (width, 1) };
        let middle = width / 4;
        let first = if channels == SHUFFLE_STEM { 1 } else { self.groups };
        let pointwise = Window::square(1);
        let y = net.sign("s1", x);
        let y = net.binary_convolution("c1", y, middle, pointwise.groups(first), Scale::None);
        let y = net.batch_normalization("b1", y);
        let y = net.operation("shuffle", &[y], Operation::ChannelShuffle { groups: self.groups });
        let y = net.sign("s2", y);
        let depthwise = Window::square(3).stride(stride).padding(1).groups(middle);
        let y = net.binary_convolution("c2", y, middle, depthwise, Scale::None);
        let y = net.batch_normalization("b2", y);
        let y = net.sign("s3", y);
        let y = net.binary_convolution("c3", y, new, pointwise.groups(self.groups), Scale::None);
        let y = net.batch_normalization("b3", y);
        if shrinks {
            let around = net.average_pool("pool", x, Window::square(3).stride(2).padding(1));
            net.concat("concat", &[around, y])
        } else {
            net.add("add", &[y, x])
        }
    }
}
