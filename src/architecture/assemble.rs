//! From a written network and its weights to the graph that the converter takes.
//!
//! Every layer becomes the nodes that PyTorch's exporter writes for it, in the same order of operations: what
//! is converted from weights and from an export of the same network then agrees to the bit.

use super::{
    AbcConvolution, BinaryConvolution, HorqConvolution, Operation, PadValue, Pads, Resolved,
    ResolvedLayer, Scale, Weights, Window, quantise,
};
use crate::graph::{
    BinaryOp, Block, ConvAttributes, DataType, Graph, Op, PoolAttributes, ReduceKind, Tensor,
    UnaryOp, ValueId,
};

impl Resolved<'_> {
    /// The network with its weights.
    ///
    /// Each of its [parameters](Resolved::parameters) must be there in its shape; the readers of weights see to
    /// that. A tensor that is missing, or has another number of elements, counts as zeros.
    pub fn assemble(&self, weights: &Weights) -> Graph {
        let mut assembler =
            Assembler { graph: Graph::new(&self.architecture.name), values: Vec::new(), weights };
        for input in &self.architecture.inputs {
            let shape = with_batch(&input.shape);
            let value = assembler.graph.add_input(&input.name, shape);
            assembler.values.push(value);
        }
        for layer in &self.layers {
            let inputs: Vec<ValueId> =
                layer.inputs.iter().map(|&value| assembler.values[value]).collect();
            let input_shape = self.shape(layer.inputs[0]);
            let shapes: Vec<&[usize]> =
                layer.inputs.iter().map(|&value| self.shape(value)).collect();
            let value = LayerAssembler {
                assembler: &mut assembler,
                layer,
                inputs: &inputs,
                input_shape,
                shapes: &shapes,
            }
            .assemble();
            assembler.values.push(value);
        }
        assembler.graph.outputs =
            self.outputs.iter().map(|&value| assembler.values[value]).collect();
        let blocks = self.architecture.blocks.iter().zip(&self.blocks);
        assembler.graph.blocks = blocks
            .map(|(block, &[input, output])| Block {
                name: block.name.clone(),
                input: assembler.values[input],
                output: assembler.values[output],
            })
            .collect();
        assembler.graph
    }
}

fn with_batch(shape: &[usize]) -> Vec<usize> {
    [1].iter().chain(shape).copied().collect()
}

/// The graph so far.
struct Assembler<'a> {
    graph: Graph,
    /// For each value of the architecture the value of the graph.
    values: Vec<ValueId>,
    weights: &'a Weights,
}

/// One layer.
struct LayerAssembler<'a, 'b> {
    assembler: &'a mut Assembler<'b>,
    layer: &'a ResolvedLayer<'a>,
    inputs: &'a [ValueId],
    input_shape: &'a [usize],
    shapes: &'a [&'a [usize]],
}

impl LayerAssembler<'_, '_> {
    fn assemble(&mut self) -> ValueId {
        let x = self.inputs[0];
        match &self.layer.layer.operation {
            Operation::Convolution(convolution) => {
                let mut weight = self.values("weight");
                if let Some(clip) = convolution.clip {
                    let bound = clip.abs();
                    weight.iter_mut().for_each(|value| *value = value.max(-bound).min(bound));
                }
                let weight = self.shaped_constant("weight", weight, self.shape_of("weight"));
                let operands: Vec<ValueId> = [x, weight].into_iter().chain(self.bias()).collect();
                self.result(convolve(convolution.window()), &operands)
            }
            Operation::BinaryConvolution(convolution) => self.binary_convolution(convolution),
            Operation::AbcConvolution(convolution) => self.abc_convolution(convolution),
            Operation::HorqConvolution(convolution) => self.horq_convolution(convolution),
            Operation::Linear { .. } => {
                let weight = self.values("weight");
                self.dense(weight)
            }
            Operation::BinaryLinear(linear) => {
                let weight = self.quantised(linear.out_features, linear.scale);
                self.dense(weight)
            }
            Operation::BatchNormalization { epsilon, .. } => self.batch_normalization(*epsilon),
            Operation::Sign {} => {
                self.result(Op::Step { at_least: true, low: -1.0, high: 1.0 }, &[x])
            }
            Operation::Step { threshold } => {
                let reached = self.reached("reached", x, *threshold);
                self.result(Op::Cast { to: DataType::F32 }, &[reached])
            }
            Operation::Ternary { thresholds: [low, high] } => {
                let parts = [("low", *low), ("high", *high)].map(|(name, threshold)| {
                    let reached = self.reached(&format!("{name}.reached"), x, threshold);
                    self.node(name, Op::Cast { to: DataType::F32 }, &[reached])
                });
                let count = self.node("count", Op::Binary(BinaryOp::Add), &parts);
                let half = self.scalar("half", 0.5);
                self.result(Op::Binary(BinaryOp::Mul), &[count, half])
            }
            Operation::TernarySign { factor } => self.ternary_sign(*factor),
            Operation::Quantize { bits } => {
                let steps = self.scalar("steps", ((1_u32 << bits) - 1) as f32);
                let clipped = self.clipped("clipped", x, 0.0, 1.0);
                let scaled = self.node("scaled", Op::Binary(BinaryOp::Mul), &[clipped, steps]);
                let rounded = self.node("rounded", Op::Unary(UnaryOp::Round), &[scaled]);
                self.result(Op::Binary(BinaryOp::Div), &[rounded, steps])
            }
            Operation::Shift {} => {
                let shift = self.per_channel("bias");
                self.result(Op::Binary(BinaryOp::Add), &[x, shift])
            }
            Operation::AddConstant { value } => {
                let value = self.scalar("value", *value);
                self.result(Op::Binary(BinaryOp::Add), &[x, value])
            }
            Operation::Prelu { .. } => {
                let slope = self.per_channel("weight");
                self.result(Op::PRelu, &[x, slope])
            }
            Operation::Relu {} => self.result(Op::Unary(UnaryOp::Relu), &[x]),
            Operation::LeakyRelu { slope } => {
                self.result(Op::Unary(UnaryOp::LeakyRelu { alpha: *slope }), &[x])
            }
            Operation::Clip { minimum, maximum } => {
                let minimum = self.scalar("minimum", *minimum);
                let maximum = self.scalar("maximum", *maximum);
                self.result(Op::Clip, &[x, minimum, maximum])
            }
            Operation::Sigmoid {} => self.result(Op::Unary(UnaryOp::Sigmoid), &[x]),
            Operation::Tanh {} => self.result(Op::Unary(UnaryOp::Tanh), &[x]),
            Operation::HardSwish {} => self.result(Op::Unary(UnaryOp::HardSwish), &[x]),
            Operation::Absolute {} => self.result(Op::Unary(UnaryOp::Abs), &[x]),
            Operation::MaxPool { kernel, stride, padding } => {
                let pool = pool(kernel.0, stride.unwrap_or(*kernel).0, *padding, false);
                self.result(Op::MaxPool(pool), &[x])
            }
            Operation::AveragePool { kernel, stride, padding, count_include_pad } => {
                let stride = stride.unwrap_or(*kernel).0;
                let pool = pool(kernel.0, stride, *padding, *count_include_pad);
                self.result(Op::AveragePool(pool), &[x])
            }
            Operation::GlobalAverage {} => self.reduce_result(ReduceKind::Mean, &[2, 3], false),
            Operation::GlobalMaximum {} => self.reduce_result(ReduceKind::Max, &[2, 3], false),
            Operation::ChannelMean {} => self.reduce_result(ReduceKind::Mean, &[1], true),
            Operation::Add {} => self.sum(),
            Operation::Multiply {} => self.product(),
            Operation::Concat { axis } => {
                let axis = *axis as i64 + 1;
                self.result(Op::Concat { axis }, self.inputs)
            }
            Operation::Duplicate {} => self.result(Op::Concat { axis: 1 }, &[x, x]),
            Operation::HalfMean {} => {
                let half = self.input_shape[0] / 2;
                let halves = [("first", 0), ("second", half)]
                    .map(|(name, start)| self.channels(Some(name), x, start, start + half));
                let sum = self.node("sum", Op::Binary(BinaryOp::Add), &halves);
                let factor = self.scalar("half", 0.5);
                self.result(Op::Binary(BinaryOp::Mul), &[sum, factor])
            }
            Operation::PadChannels { after } => {
                let pads = self.integers("pads", &[0, 0, 0, 0, 0, *after, 0, 0]);
                self.result(Op::Pad, &[x, pads])
            }
            Operation::SliceChannels { start, end } => self.channels(None, x, *start, *end),
            Operation::ChannelShuffle { groups } => self.channel_shuffle(*groups),
            Operation::Flatten {} => self.result(Op::Flatten { axis: 1 }, &[x]),
            Operation::Reshape { shape } => {
                let shape = self.integers("shape", &with_batch(shape));
                self.result(Op::Reshape { allow_zero: false }, &[x, shape])
            }
            Operation::Transpose { order } => {
                let perm = [0].into_iter().chain(order.iter().map(|axis| axis + 1)).collect();
                self.result(Op::Transpose { perm }, &[x])
            }
            Operation::Softmax {} => self.result(Op::Softmax { axis: -1 }, &[x]),
        }
    }

    fn binary_convolution(&mut self, layer: &BinaryConvolution) -> ValueId {
        let mut x = self.inputs[0];
        let mut window = layer.window();
        let pad_value = f32::from(i8::from(layer.pad_value));
        if layer.pad_value != PadValue::Zero && !window.padding.is_none() {
            let [top, left, bottom, right] = window.padding.0;
            let pads = self.integers("pads", &[0, 0, top, left, 0, 0, bottom, right]);
            let value = self.scalar("pad_value", pad_value);
            x = self.node("pad", Op::Pad, &[x, pads, value]);
            window.padding = Pads::default();
        }
        let weight = self.quantised(layer.out_channels, layer.scale);
        let weight = self.shaped_constant("weight", weight, self.shape_of("weight"));
        let operands: Vec<ValueId> = [x, weight].into_iter().chain(self.bias()).collect();
        if !layer.counts {
            return self.result(convolve(window), &operands);
        }
        // Equal bits: half the products and half their sum.
        let products: usize = self.shape_of("weight")[1..].iter().product();
        let dot = self.node("dot", convolve(window), &operands);
        let half = self.scalar("half", 0.5);
        let halved = self.node("halved", Op::Binary(BinaryOp::Mul), &[dot, half]);
        let offset = self.scalar("offset", products as f32 / 2.0);
        self.result(Op::Binary(BinaryOp::Add), &[halved, offset])
    }

    /// `sum over j, i of beta_j alpha_i conv(sign(clip(x + v_j, 0, 1) - 1/2), B_i)`.
    fn abc_convolution(&mut self, layer: &AbcConvolution) -> ValueId {
        let x = self.inputs[0];
        let bases = quantise::bases(&self.values("weight"), &self.values("u"));
        let bases: Vec<ValueId> = bases
            .into_iter()
            .enumerate()
            .map(|(i, base)| {
                self.shaped_constant(&format!("base{i}"), base, self.shape_of("weight"))
            })
            .collect();
        let [alpha, beta, v] = ["alpha", "beta", "v"].map(|name| self.values(name));
        let mut sum: Option<ValueId> = None;
        for (j, (&beta, &v)) in beta.iter().zip(&v).enumerate() {
            let shift = self.scalar(&format!("activation{j}.shift"), v);
            let shifted = self.node(
                &format!("activation{j}.shifted"),
                Op::Binary(BinaryOp::Add),
                &[x, shift],
            );
            let clipped = self.clipped(&format!("activation{j}.clipped"), shifted, 0.0, 1.0);
            let half = self.scalar(&format!("activation{j}.half"), 0.5);
            let centred = self.node(
                &format!("activation{j}.centred"),
                Op::Binary(BinaryOp::Sub),
                &[clipped, half],
            );
            let signs = self.step(&format!("activation{j}"), centred);
            for (i, (&alpha, &base)) in alpha.iter().zip(&bases).enumerate() {
                let name = format!("product{j}_{i}");
                let dot =
                    self.node(&format!("{name}.dot"), convolve(layer.window()), &[signs, base]);
                let factor = self.scalar(&format!("{name}.factor"), beta * alpha);
                let term = self.node(&name, Op::Binary(BinaryOp::Mul), &[dot, factor]);
                sum = Some(match sum {
                    None => term,
                    Some(sum) => {
                        self.node(&format!("sum{j}_{i}"), Op::Binary(BinaryOp::Add), &[sum, term])
                    }
                });
            }
        }
        // There is at least one base of each kind.
        let sum = sum.unwrap_or(x);
        self.result(Op::Unary(UnaryOp::Identity), &[sum])
    }

    /// `b1 conv(h1, W) + b2 conv(h2, W)`, `h1 = sign(x)`, `h2 = sign(x - b1 h1)`.
    fn horq_convolution(&mut self, layer: &HorqConvolution) -> ValueId {
        let x = self.inputs[0];
        let weight = self.quantised(layer.out_channels, Scale::Channel);
        let weight = self.shaped_constant("weight", weight, self.shape_of("weight"));
        let mut rest = x;
        let mut terms = Vec::new();
        for order in ["first", "second"] {
            let size = self.node(&format!("{order}.absolute"), Op::Unary(UnaryOp::Abs), &[rest]);
            let factor =
                self.reduce(&format!("{order}.factor"), ReduceKind::Mean, size, &[1, 2, 3], true);
            let signs = self.step(&format!("{order}.sign"), rest);
            let dot =
                self.node(&format!("{order}.dot"), convolve(layer.window()), &[signs, weight]);
            terms.push(self.node(order, Op::Binary(BinaryOp::Mul), &[factor, dot]));
            if terms.len() == 1 {
                let taken = self.node(
                    &format!("{order}.taken"),
                    Op::Binary(BinaryOp::Mul),
                    &[factor, signs],
                );
                rest =
                    self.node(&format!("{order}.rest"), Op::Binary(BinaryOp::Sub), &[rest, taken]);
            }
        }
        self.result(Op::Binary(BinaryOp::Add), &terms)
    }

    /// `(x > d) - (x < -d)`, `d` the factor times the mean magnitude of the sample.
    fn ternary_sign(&mut self, factor: f32) -> ValueId {
        let x = self.inputs[0];
        let axes: Vec<i64> = (1..=self.input_shape.len() as i64).collect();
        let size = self.node("absolute", Op::Unary(UnaryOp::Abs), &[x]);
        let mean = self.reduce("mean", ReduceKind::Mean, size, &axes, true);
        let factor = self.scalar("factor", factor);
        let threshold = self.node("threshold", Op::Binary(BinaryOp::Mul), &[mean, factor]);
        let negated = self.node("negated", Op::Unary(UnaryOp::Neg), &[threshold]);
        let above = self.node("above", Op::Binary(BinaryOp::Greater), &[x, threshold]);
        let above = self.node("plus", Op::Cast { to: DataType::F32 }, &[above]);
        let below = self.node("below", Op::Binary(BinaryOp::Less), &[x, negated]);
        let below = self.node("minus", Op::Cast { to: DataType::F32 }, &[below]);
        self.result(Op::Binary(BinaryOp::Sub), &[above, below])
    }

    fn dense(&mut self, weight: Vec<f32>) -> ValueId {
        let weight = self.shaped_constant("weight", weight, self.shape_of("weight"));
        let operands: Vec<ValueId> =
            [self.inputs[0], weight].into_iter().chain(self.bias()).collect();
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        self.result(op, &operands)
    }

    fn batch_normalization(&mut self, epsilon: f32) -> ValueId {
        let channels = self.input_shape[0];
        let mut operands = vec![self.inputs[0]];
        for (role, absent) in
            [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        {
            let present = self.has(role);
            let values = if present { self.values(role) } else { vec![absent; channels] };
            operands.push(self.shaped_constant(role, values, vec![channels]));
        }
        self.result(Op::BatchNormalization { epsilon }, &operands)
    }

    fn sum(&mut self) -> ValueId {
        let inputs = self.inputs.to_vec();
        let [first, middle @ .., last] = &*inputs else {
            return self.result(Op::Unary(UnaryOp::Identity), &inputs);
        };
        let mut sum = *first;
        for (index, term) in middle.iter().enumerate() {
            sum = self.node(&format!("sum{index}"), Op::Binary(BinaryOp::Add), &[sum, *term]);
        }
        self.result(Op::Binary(BinaryOp::Add), &[sum, *last])
    }

    /// A factor of one number per channel is repeated over the map of the other.
    fn product(&mut self) -> ValueId {
        let maps = self.shapes.iter().any(|shape| shape.len() == 3);
        let mut operands = self.inputs.to_vec();
        for (index, operand) in operands.iter_mut().enumerate() {
            if maps && self.shapes[index].len() == 1 {
                let axes = self.integers("axes", &[2, 3]);
                *operand = self.node(&format!("factor{index}"), Op::Unsqueeze, &[*operand, axes]);
            }
        }
        self.result(Op::Binary(BinaryOp::Mul), &operands)
    }

    fn channel_shuffle(&mut self, groups: usize) -> ValueId {
        let [channels, height, width] = [0, 1, 2].map(|axis| self.input_shape[axis]);
        let each = channels / groups;
        let split = self.integers("split_shape", &[1, groups, each, height, width]);
        let joined = self.integers("joined_shape", &[1, channels, height, width]);
        let op = Op::Reshape { allow_zero: false };
        let x = self.node("split", op.clone(), &[self.inputs[0], split]);
        let x = self.node("transposed", Op::Transpose { perm: vec![0, 2, 1, 3, 4] }, &[x]);
        self.result(op, &[x, joined])
    }

    /// Channels `start..end`; the layer's result where `part` is no name.
    fn channels(&mut self, part: Option<&str>, x: ValueId, start: usize, end: usize) -> ValueId {
        let prefix = part.map(|part| format!("{part}.")).unwrap_or_default();
        let start = self.integers(&format!("{prefix}start"), &[start]);
        let end = self.integers(&format!("{prefix}end"), &[end]);
        let axes = self.integers(&format!("{prefix}axes"), &[1]);
        match part {
            Some(part) => self.node(part, Op::Slice, &[x, start, end, axes]),
            None => self.result(Op::Slice, &[x, start, end, axes]),
        }
    }

    fn reached(&mut self, name: &str, x: ValueId, threshold: f32) -> ValueId {
        let threshold = self.scalar(&format!("{name}.threshold"), threshold);
        self.node(name, Op::Binary(BinaryOp::GreaterOrEqual), &[x, threshold])
    }

    fn step(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Step { at_least: true, low: -1.0, high: 1.0 }, &[x])
    }

    fn clipped(&mut self, name: &str, x: ValueId, minimum: f32, maximum: f32) -> ValueId {
        let minimum = self.scalar(&format!("{name}.minimum"), minimum);
        let maximum = self.scalar(&format!("{name}.maximum"), maximum);
        self.node(name, Op::Clip, &[x, minimum, maximum])
    }

    fn reduce(
        &mut self,
        name: &str,
        kind: ReduceKind,
        x: ValueId,
        axes: &[i64],
        keep_dims: bool,
    ) -> ValueId {
        let axes = Tensor::from_i64(axes.to_vec());
        let axes = self.constant(&format!("{name}.axes"), axes);
        self.node(name, Op::Reduce { kind, keep_dims }, &[x, axes])
    }

    fn reduce_result(&mut self, kind: ReduceKind, axes: &[i64], keep_dims: bool) -> ValueId {
        let axes = self.constant("axes", Tensor::from_i64(axes.to_vec()));
        self.result(Op::Reduce { kind, keep_dims }, &[self.inputs[0], axes])
    }

    /// A node inside the layer.
    fn node(&mut self, part: &str, op: Op, operands: &[ValueId]) -> ValueId {
        let name = format!("{}/{part}", self.layer.layer.name);
        self.assembler.graph.push_node(name, op, operands.iter().copied())
    }

    /// The node that ends the layer.
    fn result(&mut self, op: Op, operands: &[ValueId]) -> ValueId {
        self.assembler.graph.push_node(&self.layer.layer.name, op, operands.iter().copied())
    }

    fn has(&self, role: &str) -> bool {
        self.layer.parameters.iter().any(|(known, _)| *known == role)
    }

    fn shape_of(&self, role: &str) -> Vec<usize> {
        let parameter = self.layer.parameters.iter().find(|(known, _)| *known == role);
        parameter.map(|(_, parameter)| parameter.shape.clone()).unwrap_or_default()
    }

    /// The numbers of a weight.
    fn values(&self, role: &str) -> Vec<f32> {
        let Some((_, parameter)) = self.layer.parameters.iter().find(|(known, _)| *known == role)
        else {
            return Vec::new();
        };
        let values = self.assembler.weights.values(&parameter.name);
        let expected = parameter.shape.iter().product();
        if values.len() == expected { values.to_vec() } else { vec![0.0; expected] }
    }

    fn quantised(&self, filters: usize, scale: Scale) -> Vec<f32> {
        quantise::quantised(&self.values("weight"), filters, scale)
    }

    fn bias(&mut self) -> Option<ValueId> {
        self.has("bias").then(|| {
            let values = self.values("bias");
            self.shaped_constant("bias", values, self.shape_of("bias"))
        })
    }

    /// A weight with one number per channel, shaped so that it is repeated over a map.
    fn per_channel(&mut self, role: &str) -> ValueId {
        let values = self.values(role);
        let mut shape = vec![values.len()];
        shape.resize(self.input_shape.len(), 1);
        self.shaped_constant(role, values, shape)
    }

    fn shaped_constant(&mut self, part: &str, values: Vec<f32>, shape: Vec<usize>) -> ValueId {
        // Shapes and lengths agree; see `values`.
        let tensor = Tensor::from_f32(shape, values).unwrap_or_else(|_| Tensor::scalar(0.0));
        self.constant(part, tensor)
    }

    fn scalar(&mut self, part: &str, value: f32) -> ValueId {
        self.constant(part, Tensor::scalar(value))
    }

    fn integers(&mut self, part: &str, values: &[usize]) -> ValueId {
        // Extents are below 2^31; see `MAX_ELEMENTS`.
        let values = values.iter().map(|&value| value as i64).collect();
        self.constant(part, Tensor::from_i64(values))
    }

    fn constant(&mut self, part: &str, tensor: Tensor) -> ValueId {
        let name = format!("{}.{part}", self.layer.layer.name);
        self.assembler.graph.add_constant(name, tensor)
    }
}

fn convolve(window: Window) -> Op {
    Op::Conv(ConvAttributes {
        kernel: window.kernel.0,
        stride: window.stride.0,
        dilation: window.dilation.0,
        pads: window.padding.0,
        groups: window.groups,
    })
}

fn pool(
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Pads,
    count_include_pad: bool,
) -> PoolAttributes {
    PoolAttributes {
        kernel,
        stride,
        dilation: [1; 2],
        pads: padding.0,
        ceil_mode: false,
        count_include_pad,
    }
}
