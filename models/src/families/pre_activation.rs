//! ResNet-18 with BatchNorm before each convolution, on which XNOR-Net, BWN, TBN, ABC-Net, DoReFa, HORQ
//! and the full-precision network differ in their convolutions alone; and XNOR-Net's AlexNet.

use super::Framework;
use super::parts::{Task, activated_stem, binary_shortcut, head, pooled_shortcut, residual_blocks};
use bnn::architecture::{
    AbcConvolution, Architecture, ArchitectureError, HorqConvolution, Network, Operation, Scale,
    Value, Window,
};

/// What takes the place of a convolution in [`PreActivation`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// ReLU, full precision.
    FullPrecision,
    /// XNOR-Net (Rastegari et al. 2016, section 3.2): signs times signs, times the mean magnitude of each filter, and,
    /// where `k_map` is set, times K, the mean magnitude of the input under each window. The authors' published
    /// code leaves K out.
    Xnor {
        /// Whether K is there.
        k_map: bool,
    },
    /// BWN (section 3.1 of the same paper): ReLU, real input, binary weights.
    BinaryWeights,
    /// TBN (Wan et al. 2018): ternary activations, thresholds at 0.4 times the mean magnitude of the sample.
    Tbn,
    /// ABC-Net (Lin et al. 2017) with that many bases of weights and of activations.
    Abc {
        /// M in the paper.
        weight_bases: usize,
        /// N in the paper.
        activation_bases: usize,
    },
    /// DoReFa-Net (Zhou et al. 2016) with binary weights and activations of that many bits.
    DoReFa {
        /// Bits of the activations.
        bits: u32,
    },
    /// HORQ (Li et al. 2017) of order two, with one factor per sample as in a network that runs (the paper's
    /// derivation has one per window).
    Horq,
}

/// Shortcuts where the shape changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeShortcut {
    /// Mean 2x2, convolution 1x1 in full precision, BatchNorm.
    FullPrecision,
    /// Sign, binary 1x1 with stride 2, BatchNorm.
    Binary,
    /// BatchNorm, then XNOR-Net's convolution 1x1 with stride 2.
    Xnor,
}

/// ResNet-18 in the order BatchNorm, activation, convolution, two convolutions a block.
///
/// ```text
/// stem        conv 7x7/2 -> BatchNorm -> ReLU -> max pool 3x3/2    (small pictures: conv 3x3 -> BatchNorm -> ReLU)
/// block       y = conv(BatchNorm(conv(BatchNorm(x)))) + shortcut(x),  conv as the method says
/// classifier  BatchNorm -> ReLU -> mean -> dense
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreActivation {
    /// The convolutions.
    pub method: Method,
    /// Shortcuts where the shape changes.
    pub shortcut: ShapeShortcut,
    /// Channels of the first stage.
    pub width: usize,
    /// Pictures, classes and stem.
    pub task: Task,
}

/// Epsilon of the BatchNorms before XNOR-Net's convolutions.
const XNOR_EPSILON: f32 = 1e-4;

impl PreActivation {
    /// ResNet-18 for ImageNet by that method, with shortcuts in full precision.
    pub const fn resnet_18(method: Method) -> Self {
        Self { method, shortcut: ShapeShortcut::FullPrecision, width: 64, task: Task::IMAGENET }
    }

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = activated_stem(&mut net, self.task.stem, x, self.width);
        for (index, block) in residual_blocks([2; 4], self.width).enumerate() {
            x = net.block(format!("layers.{index}"), x, |net, x| {
                let window = Window::square(3).padding(1);
                let first = window.stride(block.stride());
                let y = net.batch_normalization("b1", x);
                let y = self.convolution(net, "c1", y, block.width, first);
                let y = net.batch_normalization("b2", y);
                let y = self.convolution(net, "c2", y, block.width, window);
                let around = if block.shrinks {
                    net.scope("down", |net| self.shortcut(net, x, block.width))
                } else {
                    x
                };
                net.add("add", &[y, around])
            });
        }
        x = net.batch_normalization("bn", x);
        x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn shortcut(&self, net: &mut Network, x: Value, width: usize) -> Value {
        match self.shortcut {
            ShapeShortcut::FullPrecision => pooled_shortcut(net, x, width),
            ShapeShortcut::Binary => binary_shortcut(net, x, width),
            ShapeShortcut::Xnor => {
                let k_map = matches!(self.method, Method::Xnor { k_map: true });
                let x = net.batch_normalization_with("bn", x, XNOR_EPSILON);
                let window = Window::square(1).stride(2);
                xnor_convolution(net, "conv", x, width, window, k_map)
            }
        }
    }

    fn convolution(
        &self,
        net: &mut Network,
        name: &str,
        x: Value,
        width: usize,
        window: Window,
    ) -> Value {
        let Window { kernel, stride, padding, .. } = window;
        let out_channels = width;
        match self.method {
            Method::Xnor { k_map } => xnor_convolution(net, name, x, width, window, k_map),
            Method::Horq => {
                let layer = HorqConvolution { out_channels, kernel, stride, padding };
                net.operation(name, &[x], Operation::HorqConvolution(layer))
            }
            Method::Abc { weight_bases, activation_bases } => {
                let layer = AbcConvolution {
                    out_channels,
                    kernel,
                    stride,
                    padding,
                    weight_bases,
                    activation_bases,
                };
                net.operation(name, &[x], Operation::AbcConvolution(layer))
            }
            // The rest are an activation and a convolution, modules 0 and 1.
            Method::FullPrecision => net.scope(name, |net| {
                let x = net.relu("0", x);
                net.convolution("1", x, width, window)
            }),
            Method::BinaryWeights => net.scope(name, |net| {
                let x = net.relu("0", x);
                net.binary_convolution("1", x, width, window, Scale::Channel)
            }),
            Method::Tbn => net.scope(name, |net| {
                let x = net.operation("0", &[x], Operation::TernarySign { factor: 0.4 });
                net.binary_convolution("1", x, width, window, Scale::Channel)
            }),
            Method::DoReFa { bits } => net.scope(name, |net| {
                let x = net.operation("0", &[x], Operation::Quantize { bits });
                net.binary_convolution("1", x, width, window, Scale::Layer)
            }),
        }
    }
}

/// `bconv(sign(x)) * alpha * K`, K the mean over each window, zeros outside the map counted, of the mean magnitude of
/// the channels (section 3.2, eq. 11).
fn xnor_convolution(
    net: &mut Network,
    name: &str,
    x: Value,
    width: usize,
    window: Window,
    k_map: bool,
) -> Value {
    let part = |part: &str| format!("{name}.{part}");
    let signs = net.sign(&part("sign"), x);
    if !k_map {
        return net.binary_convolution(name, signs, width, window, Scale::Channel);
    }
    let weight = net.full_name(&part("weight"));
    let y = {
        let dot = part("dot");
        net.named_binary_convolution(&dot, signs, width, window, Scale::Channel, &weight)
    };
    let size = net.operation(&part("absolute"), &[x], Operation::Absolute {});
    let size = net.operation(&part("mean"), &[size], Operation::ChannelMean {});
    let k = net.average_pool(&part("k"), size, window);
    net.multiply(name, y, k)
}

/// XNOR-Net's AlexNet (one tower): 96 - 256 - 384 - 384 - 256 - 4096 - 4096 - classes, max pools behind the binary
/// convolutions, first and last layer in full precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XnorAlexNet {
    /// Whether the K map is there.
    pub k_map: bool,
    /// Widths of the seven layers before the classifier.
    pub widths: [usize; 7],
    /// Pictures and classes.
    pub task: Task,
    /// Padding of the first layer; larq zoo's network has no gammas and no bias.
    pub framework: Framework,
}

impl XnorAlexNet {
    /// The paper's network for ImageNet.
    pub const IMAGENET: Self = Self {
        k_map: true,
        widths: [96, 256, 384, 384, 256, 4096, 4096],
        task: Task::IMAGENET,
        framework: Framework::PyTorch,
    };
    /// larq zoo's network.
    pub const LARQ: Self =
        Self { k_map: false, framework: Framework::TensorFlow, ..Self::IMAGENET };

    /// The network.
    ///
    /// # Errors
    /// If the picture is smaller than the network's windows.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut next = 0;
        let mut number = || {
            next += 1;
            (next - 1).to_string()
        };
        let pool = Window::square(3).stride(2);
        let mut x = net.input();
        let window = Window::square(11).stride(4).padding(2);
        let window = self.framework.window(&net, x, window);
        x = net.convolution(&number(), x, self.widths[0], window);
        x = self.framework.alexnet_norm(&mut net, &number(), x, 1e-5);
        x = net.relu(&number(), x);
        x = net.max_pool(&number(), x, pool);
        let layers = [
            (Window::square(5).padding(2), true),
            (Window::square(3).padding(1), false),
            (Window::square(3).padding(1), false),
            (Window::square(3).padding(1), true),
            (Window::square(6), false),
            (Window::square(1), false),
        ];
        for ((window, pooled), &width) in layers.into_iter().zip(&self.widths[1..]) {
            x = net.block(number(), x, |net, x| {
                let x = self.framework.alexnet_norm(net, "bn", x, XNOR_EPSILON);
                xnor_convolution(net, "conv", x, width, window, self.k_map)
            });
            if pooled {
                x = net.max_pool(&number(), x, pool);
            }
        }
        x = self.framework.alexnet_norm(&mut net, &number(), x, 1e-3);
        x = net.relu(&number(), x);
        x = net.operation(&number(), &[x], Operation::Flatten {});
        let bias = self.framework == Framework::PyTorch;
        let classifier = Operation::Linear { out_features: self.task.classes, bias };
        let logits = net.operation(&number(), &[x], classifier);
        net.finish([logits])
    }
}
