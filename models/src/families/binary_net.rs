//! BinaryNet (BNN): its ConvNet, AlexNet and ResNet-18; the ConvNet also as Hyper-BinaryNet runs it.

use super::Framework;
use super::hyper_binary_net::depth_preserving_convolution;
use super::parts::{Task, residual_blocks};
use bnn::architecture::{
    Architecture, ArchitectureError, Network, Operation, Scale, Value, Window,
};

/// BinaryNet's ConvNet for CIFAR-10, "VGG-small" (Courbariaux et al. 2016, section 2.1.2).
///
/// ```text
/// 2x128C3 - MP2 - 2x256C3 - MP2 - 2x512C3 - MP2 - 1024 FC - 1024 FC - classes
/// each  conv3x3 -> (max pool 2x2) -> BatchNorm -> sign
/// ```
///
/// In the paper the first layer has weights ±1 on the pixels themselves and the last one is binary with a BatchNorm without
/// gamma and beta; later papers keep both in full precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvNet {
    /// Channels of the six convolutions (BinaryNet.pytorch triples all but the last).
    pub widths: [usize; 6],
    /// Length of the two hidden dense layers.
    pub dense_width: usize,
    /// What stands before each inner layer.
    pub activations: ConvNetActivations,
    /// Whether the first layer's weights are binary.
    pub binary_first: bool,
    /// Whether the last layer is binary.
    pub binary_last: bool,
    /// Pictures and classes.
    pub task: Task,
}

/// Inner layers of a [`ConvNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvNetActivations {
    /// Sign, binary convolution.
    Binary,
    /// Hyper-BinaryNet's convolution with one channel in full precision.
    DepthPreserving,
    /// PReLU, convolution of real numbers with weights ±1 (1/32).
    Real,
}

impl ConvNet {
    /// As in the paper.
    pub const BINARY_NET: Self = Self {
        widths: [128, 128, 256, 256, 512, 512],
        dense_width: 1024,
        activations: ConvNetActivations::Binary,
        binary_first: true,
        binary_last: true,
        task: Task::CIFAR10,
    };

    /// The network.
    ///
    /// # Errors
    /// If the picture is smaller than 8x8.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut row = Row { next: 0 };
        let window = Window::square(3).padding(1);
        let width = self.widths[0];
        let mut x = net.input();
        x = if self.binary_first {
            net.binary_convolution(&row.name(), x, width, window, Scale::None)
        } else {
            net.convolution(&row.name(), x, width, window)
        };
        x = net.batch_normalization(&row.name(), x);
        for (&width, pooled) in self.widths[1..].iter().zip([true, false, true, false, true]) {
            if self.activations == ConvNetActivations::DepthPreserving {
                x = net.block(row.name(), x, |net, x| {
                    depth_preserving_convolution(net, x, width, window)
                });
            } else {
                x = self.activation(&mut net, &row.name(), x);
                x = net.binary_convolution(&row.name(), x, width, window, Scale::None);
            }
            if pooled {
                x = net.max_pool(&row.name(), x, Window::square(2).stride(2));
            }
            x = net.batch_normalization(&row.name(), x);
        }
        x = self.activation(&mut net, &row.name(), x);
        x = net.operation(&row.name(), &[x], Operation::Flatten {});
        x = net.binary_linear(&row.name(), x, self.dense_width);
        x = net.batch_normalization(&row.name(), x);
        x = self.activation(&mut net, &row.name(), x);
        x = net.binary_linear(&row.name(), x, self.dense_width);
        x = net.batch_normalization(&row.name(), x);
        let logits = if self.binary_last {
            x = self.activation(&mut net, &row.name(), x);
            x = net.binary_linear(&row.name(), x, self.task.classes);
            let norm = Operation::BatchNormalization { epsilon: 1e-5, scale: false, shift: false };
            net.operation(&row.name(), &[x], norm)
        } else {
            x = net.relu(&row.name(), x);
            net.linear(&row.name(), x, self.task.classes)
        };
        net.finish([logits])
    }

    /// PReLU has one slope for all channels here.
    fn activation(&self, net: &mut Network, name: &str, x: Value) -> Value {
        match self.activations {
            ConvNetActivations::Real => {
                net.operation(name, &[x], Operation::Prelu { per_channel: false })
            }
            ConvNetActivations::Binary | ConvNetActivations::DepthPreserving => net.sign(name, x),
        }
    }
}

/// Names of modules in a row: their numbers.
struct Row {
    next: usize,
}

impl Row {
    fn name(&mut self) -> String {
        self.next += 1;
        (self.next - 1).to_string()
    }
}

/// BinaryNet's AlexNet: 64 - 192 - 384 - 384 - 256 - 4096 - 4096 - classes, every weight binary; sign before every
/// layer but the first, conv -> (max pool 3x3/2) -> BatchNorm, and a BatchNorm after the last.
///
/// larq zoo's has no gammas, and convolutions 1x1 for dense layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryAlexNet {
    /// Channels of the five convolutions.
    pub widths: [usize; 5],
    /// Lengths of the two hidden dense layers.
    pub dense_widths: [usize; 2],
    /// Pictures and classes.
    pub task: Task,
    /// Padding, epsilon, gammas, and the order of the values that the first dense layer reads.
    pub framework: Framework,
}

impl BinaryAlexNet {
    /// The paper's network for ImageNet.
    pub const IMAGENET: Self = Self {
        widths: [64, 192, 384, 384, 256],
        dense_widths: [4096; 2],
        task: Task::IMAGENET,
        framework: Framework::PyTorch,
    };
    /// larq zoo's network.
    pub const LARQ: Self = Self { framework: Framework::TensorFlow, ..Self::IMAGENET };

    /// The network.
    ///
    /// # Errors
    /// If the picture is smaller than the network's windows.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut row = Row { next: 0 };
        let mut x = net.input();
        let layers = [
            (Window::square(11).stride(4).padding(2), true),
            (Window::square(5).padding(2), true),
            (Window::square(3).padding(1), false),
            (Window::square(3).padding(1), false),
            (Window::square(3).padding(1), true),
        ];
        for (index, (window, pooled)) in layers.into_iter().enumerate() {
            let width = self.widths[index];
            if index > 0 {
                x = net.sign(&row.name(), x);
            }
            let window = self.framework.window(&net, x, window);
            x = net.binary_convolution(&row.name(), x, width, window, Scale::None);
            if pooled {
                x = net.max_pool(&row.name(), x, Window::square(3).stride(2));
            }
            x = self.framework.alexnet_norm(&mut net, &row.name(), x, self.framework.epsilon());
        }
        let [first, second] = self.dense_widths;
        let widths = [first, second, self.task.classes];
        let x = match self.framework {
            Framework::PyTorch => dense_layers(&mut net, &mut row, x, widths),
            Framework::TensorFlow => convolutions_1x1(&mut net, &mut row, x, widths),
        };
        net.finish([x])
    }
}

/// Sign, dense layer and BatchNorm for each width.
fn dense_layers(net: &mut Network, row: &mut Row, x: Value, widths: [usize; 3]) -> Value {
    let mut x = net.operation(&row.name(), &[x], Operation::Flatten {});
    for width in widths {
        x = net.sign(&row.name(), x);
        x = net.binary_linear(&row.name(), x, width);
        x = net.batch_normalization(&row.name(), x);
    }
    x
}

/// The same as larq zoo has it: all values of the map as the channels of one pixel, in TensorFlow's order.
fn convolutions_1x1(net: &mut Network, row: &mut Row, x: Value, widths: [usize; 3]) -> Value {
    let (mut x, features) = Framework::TensorFlow.flatten(net, x, &row.name());
    x = net.operation(&row.name(), &[x], Operation::Reshape { shape: vec![features, 1, 1] });
    for width in widths {
        x = net.sign(&row.name(), x);
        x = net.binary_convolution(&row.name(), x, width, Window::square(1), Scale::None);
        let epsilon = Framework::TensorFlow.epsilon();
        x = Framework::TensorFlow.alexnet_norm(net, &row.name(), x, epsilon);
    }
    net.operation(&row.name(), &[x], Operation::Flatten {})
}

/// BinaryNet's ResNet-18, blocks of two convolutions.
///
/// ```text
/// stem     conv -> (max pool 3x3/2) -> BatchNorm -> hardtanh
/// block    o = hardtanh(BatchNorm(bconv(sign(x)))),  y = hardtanh(BatchNorm(bconv(sign(o)) + shortcut(x)))
/// shortcut x, or sign -> bconv1x1/2 -> BatchNorm where the shape changes
/// head     mean -> dense
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryResNet18 {
    /// Channels of the first stage.
    pub width: usize,
    /// Pictures, classes and stem.
    pub task: Task,
}

impl BinaryResNet18 {
    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = net.convolution("conv1", x, self.width, self.task.stem.window());
        x = self.task.stem.pool(&mut net, "pool", x);
        x = net.batch_normalization("bn1", x);
        x = net.hardtanh("hardtanh", x);
        for (index, block) in residual_blocks([2; 4], self.width).enumerate() {
            x = net.block(format!("layers.{index}"), x, |net, x| {
                let window = Window::square(3).padding(1);
                let first = window.stride(block.stride());
                let y = net.sign("s1", x);
                let y = net.binary_convolution("c1", y, block.width, first, Scale::None);
                let y = net.batch_normalization("b1", y);
                let y = net.hardtanh("h1", y);
                let y = net.sign("s2", y);
                let y = net.binary_convolution("c2", y, block.width, window, Scale::None);
                let shortcut = if block.shrinks {
                    net.scope("down", |net| super::parts::binary_shortcut(net, x, block.width))
                } else {
                    x
                };
                let y = net.add("add", &[y, shortcut]);
                let y = net.batch_normalization("b2", y);
                net.hardtanh("h2", y)
            });
        }
        x = net.global_average("mean", x);
        let logits = net.linear("fc", x, self.task.classes);
        net.finish([logits])
    }
}
