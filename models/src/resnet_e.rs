//! ResNetE-18 for small pictures: residual blocks of one binary convolution each.
//!
//! ```text
//! stem        conv 3x3 (float) -> BatchNorm -> max pool 2x2
//! 16 blocks   y = PReLU(BatchNorm(bconv3x3(sign(x + a))) + shortcut(x) + b) + c
//! classifier  mean over the map -> dense (float)
//! ```
//!
//! Four stages of four blocks; the first has [`ResNetE18::width`] channels, each next one twice as
//! many. The first block of stages two to four has stride 2 and the shortcut average pool 2x2 ->
//! conv 1x1 (float) -> BatchNorm; all others hand `x` on. `a`, `b`, `c` and the slope of PReLU are
//! learned, one per channel. Convolutions have zero padding 1.
//!
//! Sources: Bethge et al., "Back to Simplicity: How to Train Accurate BNNs from Scratch?" (2019), for
//! ResNetE; Liu et al., "ReActNet" (2020), for the learned shifts. The network is trained by
//! `tools/train`, where it stands a second time in PyTorch; tensor names agree.

use bnn::graph::{BinaryOp, ConvAttributes, Graph, Op, PoolAttributes, Tensor, ValueId};

use crate::weights::{ModelError, WeightReader};

const STAGES: usize = 4;
const BLOCKS_PER_STAGE: usize = 4;
/// PyTorch's default, which training used.
const EPSILON: f32 = 1e-5;

/// One size of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResNetE18 {
    /// Channels of the first stage.
    pub width: usize,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of the input; multiples of 16, so that every stage halves its map exactly.
    pub input: [usize; 2],
}

impl ResNetE18 {
    /// Builds the network with the weights in a safetensors file.
    ///
    /// The file holds, in f32 or f16 unless stated otherwise, with `C` and `O` the input and output
    /// channels of a block:
    ///
    /// | tensor | shape |
    /// |---|---|
    /// | `stem.conv.weight` | `[width, 3, 3, 3]` |
    /// | `stem.norm.{weight,bias,running_mean,running_var}` | `[width]` |
    /// | `blocks.N.sign.shift` | `[C]` |
    /// | `blocks.N.conv.bits` (U64) | signs of `[O, C, 3, 3]` in the order O, row, column, C |
    /// | `blocks.N.norm.{weight,bias,running_mean,running_var}` | `[O]` |
    /// | `blocks.N.activation.{shift_before,slope,shift_after}` | `[O]` |
    /// | `blocks.{4,8,12}.shortcut.conv.weight` | `[O, C, 1, 1]` |
    /// | `blocks.{4,8,12}.shortcut.norm.{weight,bias,running_mean,running_var}` | `[O]` |
    /// | `classifier.weight`, `classifier.bias` | `[classes, 8 * width]`, `[classes]` |
    ///
    /// The graph has one input, `image` `[1, 3, height, width]`, and one output, the logits
    /// `[1, classes]`.
    ///
    /// # Errors
    /// [`ModelError::Container`] if the bytes are no safetensors file, and [`ModelError::Tensors`]
    /// with every tensor that is missing, unknown, or of another shape or type.
    pub fn build(&self, name: &str, weights: &[u8]) -> Result<Graph, ModelError> {
        let mut builder = Builder { graph: Graph::new(name), weights: WeightReader::new(weights)? };
        let [height, width] = self.input;
        let mut x = builder.graph.add_input("image", vec![1, 3, height, width]);
        x = builder.convolution("stem.conv", x, [self.width, 3, 3, 3], 1);
        x = builder.batch_norm("stem.norm", x, self.width);
        x = builder.graph.push_node("stem.pool", Op::MaxPool(halving()), [x]);

        let mut channels = self.width;
        for stage in 0..STAGES {
            for index in 0..BLOCKS_PER_STAGE {
                let block = format!("blocks.{}", stage * BLOCKS_PER_STAGE + index);
                let out_channels = self.width << stage;
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                x = builder.block(&block, x, channels, out_channels, stride);
                channels = out_channels;
            }
        }

        let graph = &mut builder.graph;
        x = graph.push_node("classifier.mean", Op::GlobalAveragePool, [x]);
        x = graph.push_node("classifier.flatten", Op::Flatten { axis: 1 }, [x]);
        let logits = builder.dense("classifier", x, channels, self.classes);
        builder.graph.outputs.push(logits);
        builder.weights.finish(name)?;
        Ok(builder.graph)
    }
}

/// The graph so far, and the weights it is filled with. Nodes are named as the module of the training
/// network that they come from, constants as their tensors.
struct Builder<'a> {
    graph: Graph,
    weights: WeightReader<'a>,
}

impl Builder<'_> {
    /// `PReLU(BN(bconv3x3(sign(x + a))) + shortcut(x) + b) + c`.
    fn block(
        &mut self,
        name: &str,
        x: ValueId,
        channels: usize,
        out_channels: usize,
        stride: usize,
    ) -> ValueId {
        let shifted = self.shift(&format!("{name}.sign.shift"), x, channels);
        let sign = Op::Step { at_least: true, low: -1.0, high: 1.0 };
        let bits = self.graph.push_node(format!("{name}.sign"), sign, [shifted]);

        let conv = format!("{name}.conv");
        let shape = [out_channels, channels, 3, 3];
        let weights = self.weights.signs(&format!("{conv}.bits"), shape);
        let y = self.push_convolution(&conv, bits, weights, [3, 3], stride);
        let y = self.batch_norm(&format!("{name}.norm"), y, out_channels);

        let shortcut = if stride == 1 {
            x
        } else {
            let pooled = format!("{name}.shortcut.pool");
            let pooled = self.graph.push_node(pooled, Op::AveragePool(halving()), [x]);
            let shape = [out_channels, channels, 1, 1];
            let mapped = self.convolution(&format!("{name}.shortcut.conv"), pooled, shape, 1);
            self.batch_norm(&format!("{name}.shortcut.norm"), mapped, out_channels)
        };
        let sum = Op::Binary(BinaryOp::Add);
        let y = self.graph.push_node(format!("{name}.add"), sum, [y, shortcut]);

        let activation = format!("{name}.activation");
        let y = self.shift(&format!("{activation}.shift_before"), y, out_channels);
        let slope = self.per_channel(&format!("{activation}.slope"), out_channels);
        let y = self.graph.push_node(activation.clone(), Op::PRelu, [y, slope]);
        self.shift(&format!("{activation}.shift_after"), y, out_channels)
    }

    /// Float convolution `[out, in, height, width]` with zero padding that keeps the map's size at
    /// stride 1.
    fn convolution(&mut self, name: &str, x: ValueId, shape: [usize; 4], stride: usize) -> ValueId {
        let weights = self.weights.float(&format!("{name}.weight"), &shape);
        self.push_convolution(name, x, weights, [shape[2], shape[3]], stride)
    }

    fn push_convolution(
        &mut self,
        name: &str,
        x: ValueId,
        weights: Tensor,
        kernel: [usize; 2],
        stride: usize,
    ) -> ValueId {
        let weights = self.graph.add_constant(format!("{name}.weight"), weights);
        let [vertical, horizontal] = kernel.map(|length| length / 2);
        let op = Op::Conv(ConvAttributes {
            kernel,
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [vertical, horizontal, vertical, horizontal],
            groups: 1,
        });
        self.graph.push_node(name, op, [x, weights])
    }

    fn batch_norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let mut operands = vec![x];
        for parameter in ["weight", "bias", "running_mean", "running_var"] {
            let parameter = format!("{name}.{parameter}");
            let tensor = self.weights.float(&parameter, &[channels]);
            operands.push(self.graph.add_constant(parameter, tensor));
        }
        self.graph.push_node(name, Op::BatchNormalization { epsilon: EPSILON }, operands)
    }

    /// `x + shift`, the shift named like its tensor.
    fn shift(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let shift = self.per_channel(name, channels);
        self.graph.push_node(format!("{name}.add"), Op::Binary(BinaryOp::Add), [x, shift])
    }

    /// A constant per channel, shaped so that it broadcasts over a map.
    fn per_channel(&mut self, name: &str, channels: usize) -> ValueId {
        let tensor = self.weights.float(name, &[channels]);
        // Only the stand-in for a tensor at fault has another number of elements.
        let tensor = tensor.reshaped(vec![channels, 1, 1]).unwrap_or(Tensor::scalar(0.0));
        self.graph.add_constant(name, tensor)
    }

    fn dense(&mut self, name: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let weight = self.weights.float(&format!("{name}.weight"), &[outputs, inputs]);
        let weight = self.graph.add_constant(format!("{name}.weight"), weight);
        let bias = self.weights.float(&format!("{name}.bias"), &[outputs]);
        let bias = self.graph.add_constant(format!("{name}.bias"), bias);
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        self.graph.push_node(name, op, [x, weight, bias])
    }
}

/// Windows of 2x2 that do not overlap.
fn halving() -> PoolAttributes {
    PoolAttributes {
        kernel: [2; 2],
        stride: [2; 2],
        dilation: [1; 2],
        pads: [0; 4],
        ceil_mode: false,
        count_include_pad: false,
    }
}
