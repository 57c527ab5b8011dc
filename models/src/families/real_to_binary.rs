//! Real-to-Binary Net: gates computed from the real-valued input.

use super::Framework;
use super::parts::{Task, head, pooled_shortcut_as_in, residual_blocks};
use bnn::architecture::{
    Architecture, ArchitectureError, Network, Operation, Scale, Value, Window,
};

/// Real-to-Binary Net (Martinez et al. 2020, section 4.2).
///
/// ```text
/// stem   conv 7x7/2 -> BatchNorm -> PReLU -> max pool 3x3/2
/// unit   z = BatchNorm(x),  y = PReLU(bconv3x3(sign(z)) * g) + shortcut(x)
///        g = sigmoid(W2 relu(W1 mean(z))),  W1: C -> C / 8, no biases
/// head   mean -> dense
/// ```
///
/// The stem's PReLU is that of the code whose parameter count larq zoo publishes; the paper's text says ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealToBinary {
    /// Units of the four stages.
    pub blocks: [usize; 4],
    /// Channels of the first stage.
    pub width: usize,
    /// Factor by which the gate's hidden layer is narrower.
    pub reduction: usize,
    /// Pictures, classes and stem.
    pub task: Task,
    /// Padding, epsilon and the order of the layers.
    pub framework: Framework,
}

impl RealToBinary {
    /// ResNet-18 for ImageNet.
    pub const RESNET_18: Self = Self {
        blocks: [4; 4],
        width: 64,
        reduction: 8,
        task: Task::IMAGENET,
        framework: Framework::PyTorch,
    };
    /// larq zoo's ResNet-18.
    pub const LARQ_18: Self = Self { framework: Framework::TensorFlow, ..Self::RESNET_18 };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = net.scope("stem", |net| {
            let window = self.framework.window(net, x, self.task.stem.window());
            let x = net.convolution("0", x, self.width, window);
            let x = net.batch_normalization_with("1", x, self.framework.epsilon());
            let x = net.prelu("2", x);
            self.task.stem.pool_as_in(self.framework, net, "3", x)
        });
        let mut channels = self.width;
        for (index, block) in residual_blocks(self.blocks, self.width).enumerate() {
            x = net.block(format!("layers.{index}"), x, |net, x| {
                let hidden = (channels / self.reduction).max(1);
                self.unit(net, x, block.width, hidden, block.stride())
            });
            channels = block.width;
        }
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn unit(
        &self,
        net: &mut Network,
        x: Value,
        width: usize,
        hidden: usize,
        stride: usize,
    ) -> Value {
        let early = self.framework.shortcut_first().then(|| self.shortcut(net, x, width, stride));
        let z = net.batch_normalization_with("bn", x, self.framework.epsilon());
        let gate = net.global_average("gate.mean", z);
        let gate = net.linear_without_bias("fc1", gate, hidden);
        let gate = net.relu("gate.relu", gate);
        let gate = net.linear_without_bias("fc2", gate, width);
        let gate = net.operation("gate.sigmoid", &[gate], Operation::Sigmoid {});
        let y = net.sign("sign", z);
        let window = Window::square(3).stride(stride).padding(1);
        let window = self.framework.window(net, y, window);
        let y = net.binary_convolution("conv", y, width, window, Scale::None);
        let y = net.multiply("gated", y, gate);
        let y = net.prelu("prelu", y);
        let around = early.unwrap_or_else(|| self.shortcut(net, x, width, stride));
        net.add("add", &[y, around])
    }

    fn shortcut(&self, net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
        match stride {
            1 => x,
            _ => net.scope("down", |net| pooled_shortcut_as_in(self.framework, net, x, width)),
        }
    }
}
