//! Parts that the families share.

use super::Framework;
use bnn::architecture::{Network, Scale, Value, Window};

/// The data set a network is made for: size of its pictures, number of classes, and its first layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Height and width of a picture.
    pub input: [usize; 2],
    /// Number of classes.
    pub classes: usize,
    /// First layers.
    pub stem: Stem,
}

/// First layers of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stem {
    /// For small pictures: convolution 3x3, at every pixel.
    Small,
    /// The same and a max pool 2x2, for a quarter of the operations. No paper's: for networks that were trained here.
    SmallPooled,
    /// For large pictures: convolution 7x7 with stride 2, max pool 3x3 with stride 2.
    Large,
}

impl Task {
    /// ImageNet: 224x224, 1000 classes.
    pub const IMAGENET: Self = Self { input: [224, 224], classes: 1000, stem: Stem::Large };
    /// CIFAR-10: 32x32, 10 classes.
    pub const CIFAR10: Self = Self { input: [32, 32], classes: 10, stem: Stem::Small };
    /// CIFAR-10 with a pool behind the stem.
    pub const CIFAR10_POOLED: Self = Self { stem: Stem::SmallPooled, ..Self::CIFAR10 };
    /// CIFAR-100: 32x32, 100 classes.
    pub const CIFAR100: Self = Self { input: [32, 32], classes: 100, stem: Stem::Small };
    /// Pascal VOC in the resolution of SSD512, 20 classes.
    pub const VOC512: Self = Self { input: [512, 512], classes: 20, stem: Stem::Large };

    /// An empty network for colour pictures of that size.
    pub(crate) fn network(&self, name: &str) -> Network {
        let [height, width] = self.input;
        Network::new(name, [3, height, width])
    }
}

impl Stem {
    /// Window of the first convolution.
    pub(crate) fn window(self) -> Window {
        match self {
            Self::Small | Self::SmallPooled => Window::square(3).padding(1),
            Self::Large => Window::square(7).stride(2).padding(3),
        }
    }

    /// Max pool 3x3 with stride 2 for large pictures, for small ones 2x2 or nothing.
    pub(crate) fn pool(self, net: &mut Network, name: &str, x: Value) -> Value {
        self.pool_as_in(Framework::PyTorch, net, name, x)
    }

    /// [`Stem::pool`] with the padding of a framework.
    pub(crate) fn pool_as_in(
        self,
        framework: Framework,
        net: &mut Network,
        name: &str,
        x: Value,
    ) -> Value {
        match self {
            Self::Small => x,
            Self::SmallPooled => net.max_pool(name, x, Window::square(2).stride(2)),
            Self::Large => {
                let window = Window::square(3).stride(2).padding(1);
                net.max_pool(name, x, framework.window(net, x, window))
            }
        }
    }
}

/// Stem as an unnamed sequence of modules, `stem.0`, `stem.1`, ...: convolution; for large pictures also
/// BatchNorm, ReLU and max pool, for small ones at most a max pool (BinaryDenseNet, ResNetE, XNOR-Net).
pub(crate) fn rectified_stem(
    net: &mut Network,
    framework: Framework,
    stem: Stem,
    x: Value,
    width: usize,
) -> Value {
    net.scope("stem", |net| {
        let x = net.convolution("0", x, width, framework.window(net, x, stem.window()));
        if stem != Stem::Large {
            return stem.pool(net, "1", x);
        }
        let x = net.batch_normalization("1", x);
        let x = net.relu("2", x);
        stem.pool_as_in(framework, net, "3", x)
    })
}

/// Stem `stem.0`, `stem.1`, `stem.2`: convolution, BatchNorm and ReLU, for large pictures also a max pool (the
/// pre-activation networks, ResNet-50).
pub(crate) fn activated_stem(net: &mut Network, stem: Stem, x: Value, width: usize) -> Value {
    net.scope("stem", |net| {
        let x = net.convolution("0", x, width, stem.window());
        let x = net.batch_normalization("1", x);
        let x = net.relu("2", x);
        stem.pool(net, "3", x)
    })
}

/// Stem `stem.0`, `stem.1`: convolution and BatchNorm, a max pool if the stem has one, no ReLU (IGP-ResNet,
/// Hyper-BinaryNet).
pub(crate) fn plain_stem(net: &mut Network, stem: Stem, x: Value, width: usize) -> Value {
    net.scope("stem", |net| {
        let x = net.convolution("0", x, width, stem.window());
        let x = net.batch_normalization("1", x);
        stem.pool(net, "2", x)
    })
}

/// Shortcut where the shape changes, in full precision: mean over 2x2, convolution 1x1, BatchNorm.
pub(crate) fn pooled_shortcut(net: &mut Network, x: Value, out_channels: usize) -> Value {
    pooled_shortcut_as_in(Framework::PyTorch, net, x, out_channels)
}

/// [`pooled_shortcut`] with the epsilon of a framework.
pub(crate) fn pooled_shortcut_as_in(
    framework: Framework,
    net: &mut Network,
    x: Value,
    out_channels: usize,
) -> Value {
    let x = net.halve("0", x);
    let x = net.convolution("1", x, out_channels, Window::square(1));
    net.batch_normalization_with("2", x, framework.epsilon())
}

/// Shortcut where the shape changes, binary: sign, convolution 1x1 with stride 2, BatchNorm.
pub(crate) fn binary_shortcut(net: &mut Network, x: Value, out_channels: usize) -> Value {
    let x = net.sign("0", x);
    let x = net.binary_convolution("1", x, out_channels, Window::square(1).stride(2), Scale::None);
    net.batch_normalization("2", x)
}

/// Mean over the map and a dense layer `head.fc`.
pub(crate) fn head(net: &mut Network, x: Value, classes: usize) -> Value {
    net.scope("head", |net| {
        let x = net.global_average("mean", x);
        net.linear("fc", x, classes)
    })
}

/// Width of a stage and whether a block is the first of it and changes the shape: the four stages of a
/// ResNet, each half as large and twice as wide as the one before.
pub(crate) fn residual_blocks(
    blocks: [usize; 4],
    width: usize,
) -> impl Iterator<Item = ResidualBlock> {
    let stages = blocks.into_iter().enumerate();
    stages.flat_map(move |(stage, count)| {
        (0..count).map(move |index| ResidualBlock {
            stage,
            index,
            width: width << stage,
            shrinks: stage > 0 && index == 0,
        })
    })
}

/// One block of [`residual_blocks`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResidualBlock {
    /// Its stage, from 0.
    pub(crate) stage: usize,
    /// Its place in the stage, from 0.
    pub(crate) index: usize,
    /// Channels of the stage.
    pub(crate) width: usize,
    /// Whether it halves the map and doubles the channels.
    pub(crate) shrinks: bool,
}

impl ResidualBlock {
    /// 2 where the map is halved.
    pub(crate) fn stride(&self) -> usize {
        if self.shrinks { 2 } else { 1 }
    }
}
