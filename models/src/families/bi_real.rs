//! Bi-Real Net and ReActNet-18: a shortcut around every binary convolution.

use super::Framework;
use super::parts::{Task, head, pooled_shortcut_as_in, residual_blocks};
use bnn::architecture::{Architecture, ArchitectureError, Network, Scale, Value, Window};

/// Bi-Real Net (Liu et al. 2018, sections 3.1 and 4.1) and, with [`BiReal::shifts`], ReActNet on the same skeleton (Liu et
/// al. 2020, section 4).
///
/// ```text
/// stem        conv 7x7/2 -> BatchNorm -> max pool 3x3/2      (small pictures: conv 3x3 -> BatchNorm)
/// 4 stages    y = BatchNorm(bconv3x3(sign(x))) + shortcut(x),  one convolution a block
///             shortcut: x, or mean 2x2 -> conv 1x1 -> BatchNorm where the shape changes
/// classifier  mean -> dense
/// ```
///
/// There is no ReLU. ReActNet learns shifts before the sign, and `PReLU(y + b1) + b2` after the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiReal {
    /// Blocks of the four stages: 4, 4, 4, 4 is Bi-Real-18; 6, 8, 12, 6 is Bi-Real-34.
    pub blocks: [usize; 4],
    /// Channels of the first stage; each next one has twice as many.
    pub width: usize,
    /// Pictures, classes and stem.
    pub task: Task,
    /// Magnitude of the weights: per channel in the authors' code, per layer in the IGP paper's tables.
    pub scale: Scale,
    /// ReActNet's learned shifts and PReLU.
    pub shifts: bool,
    /// Padding, epsilon and the order of the layers.
    pub framework: Framework,
}

impl BiReal {
    /// Bi-Real-18 for ImageNet.
    pub const BI_REAL_18: Self = Self {
        blocks: [4; 4],
        width: 64,
        task: Task::IMAGENET,
        scale: Scale::Channel,
        shifts: false,
        framework: Framework::PyTorch,
    };
    /// Bi-Real-34 for ImageNet.
    pub const BI_REAL_34: Self = Self { blocks: [6, 8, 12, 6], ..Self::BI_REAL_18 };
    /// ReActNet-18 for ImageNet.
    pub const REACTNET_18: Self = Self { shifts: true, ..Self::BI_REAL_18 };
    /// larq zoo's Bi-Real-18.
    pub const LARQ_18: Self = Self { framework: Framework::TensorFlow, ..Self::BI_REAL_18 };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        let window = self.framework.window(&net, x, self.task.stem.window());
        x = net.convolution("conv1", x, self.width, window);
        x = net.batch_normalization_with("bn1", x, self.framework.epsilon());
        x = self.task.stem.pool_as_in(self.framework, &mut net, "maxpool", x);
        for block in residual_blocks(self.blocks, self.width) {
            let name = format!("layer{}.{}", block.stage + 1, block.index);
            x = net.block(name, x, |net, x| self.block(net, x, block.width, block.stride()));
        }
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn block(&self, net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
        let early = self.framework.shortcut_first().then(|| self.shortcut(net, x, width, stride));
        let mut y = x;
        if self.shifts {
            y = net.shift("move0", y);
        }
        y = net.sign("binary_activation", y);
        let window = Window::square(3).stride(stride).padding(1);
        let window = self.framework.window(net, y, window);
        y = net.binary_convolution("binary_conv", y, width, window, self.scale);
        y = net.batch_normalization_with("bn1", y, self.framework.epsilon());
        let shortcut = early.unwrap_or_else(|| self.shortcut(net, x, width, stride));
        y = net.add("add", &[y, shortcut]);
        if self.shifts {
            y = net.shift("move1", y);
            y = net.prelu("prelu", y);
            y = net.shift("move2", y);
        }
        y
    }

    fn shortcut(&self, net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
        match stride {
            1 => x,
            _ => {
                net.scope("downsample", |net| pooled_shortcut_as_in(self.framework, net, x, width))
            }
        }
    }
}
