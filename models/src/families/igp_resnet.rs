//! IGP-ResNet: fractal blocks of binary convolutions, all of one width and stride 1 within a stage.

use super::parts::{Task, head, plain_stem, pooled_shortcut};
use bnn::architecture::{Architecture, ArchitectureError, Network, Scale, Value, Window};

/// IGP-ResNet ("Improved Gradient Propagation", its appendix and poster) and GP-ResNet.
///
/// ```text
/// stem        conv 7x7/2 -> BatchNorm -> max pool 3x3/2           (small pictures: conv 3x3 -> BatchNorm)
/// 4 stages    fractal blocks; each stage but the first is entered by mean 2x2 -> conv 1x1 -> BatchNorm
/// block       f_1(x) = conv(x),  f_n+1(x) = conv(x) + f_n(f_n(x)),  conv = BatchNorm(bconv3x3(sign(x)))
/// classifier  mean -> dense
/// ```
///
/// The paper's figures of the wiring are missing. That the residual goes with the one-conv column of each node is read from
/// its memory figures, which count columns + 1 maps; see [`Residual`]. No ReLU stands between convolution and BatchNorm
/// (as in Bi-Real) unless [`IgpResNet::rectified`] asks for the order of the authors' full-precision pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IgpResNet {
    /// Channels of the first stage; each next one has twice as many.
    pub width: usize,
    /// Columns of the fractal: 3, 4 or 5 for 7, 15 or 31 convolutions a block.
    pub columns: usize,
    /// Blocks of the four stages.
    pub blocks: [usize; 4],
    /// Where the input of a convolution is added to its result.
    pub residual: Residual,
    /// Whether a ReLU stands between convolution and BatchNorm.
    pub rectified: bool,
    /// Pictures, classes and stem.
    pub task: Task,
}

/// Where [`IgpResNet`] adds residuals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// Around the one-conv column of every fractal node: IGP-ResNet.
    Columns,
    /// Around every convolution.
    Everywhere,
    /// Nowhere: GP-ResNet.
    Nowhere,
}

/// Blocks of IGP-ResNet21, 37 and 69.
pub const ONE_BLOCK: [usize; 4] = [1; 4];
/// Blocks of IGP-ResNet41, 77 and 149.
pub const MORE_BLOCKS: [usize; 4] = [2, 2, 3, 2];

impl IgpResNet {
    /// IGP-ResNet with one block a stage.
    pub const fn new(width: usize, columns: usize, blocks: [usize; 4], task: Task) -> Self {
        Self { width, columns, blocks, residual: Residual::Columns, rectified: false, task }
    }

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = plain_stem(&mut net, self.task.stem, x, self.width);
        let mut index = 0;
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            let width = self.width << stage;
            if stage > 0 {
                x = net.scope(format!("features.{index}"), |net| pooled_shortcut(net, x, width));
                index += 1;
            }
            for _ in 0..blocks {
                x = net.block(format!("features.{index}"), x, |net, x| {
                    self.fractal(net, x, width, self.columns, true)
                });
                index += 1;
            }
        }
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn fractal(
        &self,
        net: &mut Network,
        x: Value,
        width: usize,
        columns: usize,
        outermost: bool,
    ) -> Value {
        let residual = match self.residual {
            Residual::Columns => columns >= 2 || outermost,
            Residual::Everywhere => true,
            Residual::Nowhere => false,
        };
        let y = net.scope("conv", |net| self.convolution(net, x, width, residual));
        if columns == 1 {
            return y;
        }
        let a = net.scope("a", |net| self.fractal(net, x, width, columns - 1, false));
        let b = net.scope("b", |net| self.fractal(net, a, width, columns - 1, false));
        net.add("add", &[y, b])
    }

    fn convolution(&self, net: &mut Network, x: Value, width: usize, residual: bool) -> Value {
        let y = net.sign("sign", x);
        let window = Window::square(3).padding(1);
        let y = net.binary_convolution("conv", y, width, window, Scale::Layer);
        let y = if self.rectified { net.relu("act", y) } else { y };
        let y = net.batch_normalization("bn", y);
        if residual { net.add("add", &[y, x]) } else { y }
    }
}
