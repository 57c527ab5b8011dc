//! The default model's family: a ResNetE for small pictures, with learned shifts.

use super::parts::residual_blocks;
use bnn::architecture::{
    Architecture, ArchitectureError, Network, Operation, Scale, Value, Window,
};

/// ResNetE-18 for small pictures: residual blocks of one binary convolution each.
///
/// ```text
/// stem        conv 3x3 -> BatchNorm -> max pool 2x2, if `pooled`
/// 16 blocks   y = PReLU(BatchNorm(bconv3x3(sign(x + a))) + shortcut(x) + b) + c
/// shortcut    x, or mean 2x2 -> conv 1x1 -> BatchNorm where the shape changes
/// classifier  mean -> dense
/// ```
///
/// `a`, `b`, `c` and the slope of PReLU are learned, one per channel. Sources: Bethge et al., "Back to Simplicity" (2019),
/// for ResNetE; Liu et al., "ReActNet" (2020), for the learned shifts. The network is trained by `tools/train`, where it stands a
/// second time in PyTorch; tensor names agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallResNetE {
    /// Channels of the first stage.
    pub width: usize,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of the input; multiples of 16, or of 8 without the pool, so that every map is halved exactly.
    pub input: [usize; 2],
    /// Whether a max pool follows the stem. Without it every map is twice as high and wide: four times the
    /// operations, and the same weights.
    pub pooled: bool,
}

impl SmallResNetE {
    /// For the pictures of CIFAR-10, with a first stage of 32 channels and a pool. The default model is this without it.
    pub const CIFAR10_32: Self = Self { width: 32, classes: 10, input: [32, 32], pooled: true };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let [height, width] = self.input;
        let mut net = Network::new(name, [3, height, width]);
        let mut x = net.input();
        x = net.scope("stem", |net| {
            let x = net.convolution("conv", x, self.width, Window::square(3).padding(1));
            let x = net.batch_normalization("norm", x);
            if self.pooled { net.max_pool("pool", x, Window::square(2).stride(2)) } else { x }
        });
        for (index, block) in residual_blocks([4; 4], self.width).enumerate() {
            x = net.block(format!("blocks.{index}"), x, |net, x| {
                residual(net, x, block.width, block.stride())
            });
        }
        let x = net.global_average("classifier.mean", x);
        let logits = net.linear("classifier", x, self.classes);
        net.finish([logits])
    }
}

fn residual(net: &mut Network, x: Value, width: usize, stride: usize) -> Value {
    let y = shift(net, "sign.shift", x);
    let y = net.sign("sign", y);
    let window = Window::square(3).stride(stride).padding(1);
    let y = net.binary_convolution("conv", y, width, window, Scale::None);
    let y = net.batch_normalization("norm", y);
    let shortcut = match stride {
        1 => x,
        _ => net.scope("shortcut", |net| {
            let x = net.halve("pool", x);
            let x = net.convolution("conv", x, width, Window::square(1));
            net.batch_normalization("norm", x)
        }),
    };
    let y = net.add("add", &[y, shortcut]);
    net.scope("activation", |net| {
        let y = shift(net, "shift_before", y);
        let slope = net.full_name("slope");
        let prelu = Operation::Prelu { per_channel: true };
        let y = net.operation_with("prelu", &[y], prelu, &[("weight", &slope)]);
        shift(net, "shift_after", y)
    })
}

/// A shift whose tensor has the name itself.
fn shift(net: &mut Network, name: &str, x: Value) -> Value {
    let tensor = net.full_name(name);
    net.operation_with(&format!("{name}.add"), &[x], Operation::Shift {}, &[("bias", &tensor)])
}
