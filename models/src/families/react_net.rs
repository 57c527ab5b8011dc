//! ReActNet-A: MobileNet's shape with binary 3x3 and 1x1 convolutions.

use super::parts::{Task, head};
use bnn::architecture::{Architecture, ArchitectureError, Network, Scale, Value, Window};

/// ReActNet-A (Liu et al. 2020, section 4.1, and the authors' code). ReActNet-18 is
/// [`BiReal::REACTNET_18`](super::BiReal::REACTNET_18).
///
/// ```text
/// stem        conv 3x3/2 3->32 -> BatchNorm
/// block       o = BatchNorm(bconv3x3(sign(x + b11))) + (x, or its mean 2x2)
///             o = PReLU(o + b12) + b13,  q = sign(o + b21)
///             y = BatchNorm(bconv1x1(q)) + o,  or two of these side by side where the channels double
///             PReLU(y + b22) + b23
/// classifier  mean -> dense
/// ```
///
/// The map shrinks where the channels double, but not in the first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReActNetA<'a> {
    /// Channels before the first block and after each; 14 numbers make the paper's 13 blocks.
    pub widths: &'a [usize],
    /// Pictures and classes.
    pub task: Task,
}

impl ReActNetA<'static> {
    /// For ImageNet.
    pub const IMAGENET: Self = Self {
        widths: &[32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024],
        task: Task::IMAGENET,
    };
}

impl ReActNetA<'_> {
    /// The network.
    ///
    /// # Errors
    /// If the picture is too small, or the widths neither stay nor double.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = net.scope("feature.0", |net| {
            let width = self.widths.first().copied().unwrap_or(0);
            let x = net.convolution("0", x, width, Window::square(3).stride(2).padding(1));
            net.batch_normalization("1", x)
        });
        for (index, pair) in self.widths.windows(2).enumerate() {
            let doubles = pair[0] != pair[1];
            let stride = if doubles && index > 0 { 2 } else { 1 };
            x = net.block(format!("feature.{}", index + 1), x, |net, x| {
                block(net, x, pair[0], stride, doubles)
            });
        }
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }
}

fn block(net: &mut Network, x: Value, channels: usize, stride: usize, doubles: bool) -> Value {
    let y = net.shift("move11", x);
    let y = net.sign("sign1", y);
    let window = Window::square(3).stride(stride).padding(1);
    let y = net.binary_convolution("binary_3x3", y, channels, window, Scale::Channel);
    let y = net.batch_normalization("bn1", y);
    let around = if stride == 2 { net.halve("pool", x) } else { x };
    let o = net.add("add1", &[y, around]);
    let o = net.shift("move12", o);
    let o = net.prelu("prelu1", o);
    let o = net.shift("move13", o);
    let q = net.shift("move21", o);
    let q = net.sign("sign2", q);
    let mut pointwise = |convolution: &str, norm: &str, sum: &str| {
        let y = net.binary_convolution(convolution, q, channels, Window::square(1), Scale::Channel);
        let y = net.batch_normalization(norm, y);
        net.add(sum, &[y, o])
    };
    let y = if doubles {
        let first = pointwise("binary_pw_down1", "bn2_1", "add2_1");
        let second = pointwise("binary_pw_down2", "bn2_2", "add2_2");
        net.concat("concat", &[first, second])
    } else {
        pointwise("binary_pw", "bn2", "add2")
    };
    let y = net.shift("move22", y);
    let y = net.prelu("prelu2", y);
    net.shift("move23", y)
}
