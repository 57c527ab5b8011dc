//! Pools and reductions.

use super::{BitsPlace, Lowering, builder::PendingOp, grow::Running};
use crate::{
    convert::{
        ConvertError,
        view::{MapSize, View},
    },
    graph::{Op, PoolAttributes, ReduceKind},
    program::{BufferKind, ChannelOp, PoolGeometry, Reduction, StepKind, UnaryFunction},
};

/// The windows of a pool. Where the output size was rounded up, padding at the end makes room for
/// the last windows; it is never read.
pub(super) fn pool_geometry(
    attributes: &PoolAttributes,
    input: MapSize,
    output: MapSize,
) -> PoolGeometry {
    let mut pads = attributes.pads;
    for axis in 0..2 {
        let extent = (attributes.kernel[axis] - 1) * attributes.dilation[axis] + 1;
        let needed = output[axis].saturating_sub(1) * attributes.stride[axis] + extent;
        let there = input[axis] + pads[axis] + pads[axis + 2];
        pads[axis + 2] += needed.saturating_sub(there);
    }
    PoolGeometry {
        kernel: attributes.kernel,
        stride: attributes.stride,
        dilation: attributes.dilation,
        pads,
    }
}

impl Lowering<'_> {
    pub(super) fn lower_pool(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let Some(input) = node.input(0) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let result = node.output();
        let shape = self.shape(result).to_vec();
        if self.shape(input).len() != 4 {
            return Err(self.unsupported(index, "only maps of height and width can be pooled"));
        }
        if let (Op::MaxPool(attributes), Some(place), true) =
            (&node.op, self.bits[input.index()].clone(), self.demand.bits[result.index()])
        {
            let size = self.builder.size(place.buffer);
            if !place.view.is_channels_first(size) || place.padding.is_some() {
                return Err(self.unsupported(index, "its bits lie in another order"));
            }
            let pooled = [shape[2], shape[3], size[2]];
            let output = self.builder.buffer(BufferKind::Bits, pooled);
            let pool = pool_geometry(attributes, size, pooled);
            self.builder.step(
                &node.name,
                StepKind::MaxPoolBits { input: place.buffer, pool, flip: None, output },
            );
            let view = View::channels_first(pooled);
            self.place_bits(result, BitsPlace { buffer: output, view, padding: None })?;
            if !self.demand.floats[result.index()] {
                self.done[index] = true;
                return Ok(());
            }
        }
        let place = self.channels_first_copy(input, &node.name)?;
        self.floats[input.index()] = Some(place.clone());
        let size = self.builder.size(place.buffer);
        let pooled = [shape[2], shape[3], size[2]];
        let whole = PoolAttributes {
            kernel: [size[0], size[1]],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            ceil_mode: false,
            count_include_pad: false,
        };
        let (attributes, maximum) = match &node.op {
            Op::MaxPool(attributes) => (attributes, true),
            Op::AveragePool(attributes) => (attributes, false),
            Op::GlobalMaxPool => (&whole, true),
            _ => (&whole, false),
        };
        let pool = pool_geometry(attributes, size, pooled);
        if attributes.count_include_pad && pool.pads != attributes.pads {
            return Err(
                self.unsupported(index, "an average that counts padding cannot round its size up")
            );
        }
        self.done[index] = true;
        let mut ops = Vec::new();
        let view = View::channels_first(pooled);
        self.grow(Running { value: result, view, size: pooled, stored: None }, &mut ops)?;
        let epilogue = self.builder.epilogue(&node.name, ops);
        let input = place.buffer;
        let kind = if maximum {
            StepKind::MaxPool { input, pool, epilogue }
        } else {
            let count_include_pad = attributes.count_include_pad;
            StepKind::AveragePool { input, pool, count_include_pad, epilogue }
        };
        self.builder.step(&node.name, kind);
        Ok(())
    }

    /// Means over all pixels, and reductions over the channels of each pixel.
    pub(super) fn lower_reduce(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let Op::Reduce { kind, .. } = node.op else {
            return Err(self.unsupported(index, "not a reduction"));
        };
        let Some(input) = node.input(0) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let result = node.output();
        let rank = self.shape(input).len();
        let axes: Vec<usize> = match node.input(1) {
            Some(axes) => {
                let axes = self.graph.constant(axes).and_then(|t| t.i64().ok()).unwrap_or_default();
                axes.iter()
                    .map(|&a| if a < 0 { a + rank as i64 } else { a } as usize)
                    .filter(|&a| a < rank)
                    .collect()
            }
            None => (0..rank).collect(),
        };
        if rank > 1 && axes.contains(&0) {
            return Err(self.unsupported(index, "it would mix the images of a batch"));
        }
        let place = self.float_place(index, input)?;
        let size = self.builder.size(place.buffer);
        let is_channels = |axis: usize| place.view.is_channel_axis(size, axis);
        let channel_axis = match axes[..] {
            [axis] if is_channels(axis) => Some(axis),
            _ => None,
        };
        let over_pixels = (1..rank).any(|channels| {
            is_channels(channels)
                && (1..rank).all(|axis| axes.contains(&axis) == (axis != channels))
        });
        let mut ops: Vec<PendingOp> = Vec::new();
        if let Some(axis) = channel_axis {
            let one = [size[0], size[1], 1];
            let view = place
                .view
                .with_channels(size, axis, 1)
                .and_then(|view| view.reshaped(self.shape(result)))
                .ok_or_else(|| self.unsupported(index, "its operand lies in another order"))?;
            self.done[index] = true;
            self.grow(Running { value: result, view, size: one, stored: None }, &mut ops)?;
            let epilogue = self.builder.epilogue(&node.name, ops);
            self.builder.step(
                &node.name,
                StepKind::ReduceChannels {
                    input: place.buffer,
                    reduction: reduction(kind),
                    epilogue,
                },
            );
            return Ok(());
        }
        let everything = (1..rank).all(|axis| axes.contains(&axis));
        let (mut input, size) = if over_pixels || everything {
            (place.buffer, size)
        } else {
            // What is summed up becomes the pixels of a map, what stays its channels.
            let shape = self.shape(input).to_vec();
            let (gone, kept): (Vec<usize>, Vec<usize>) =
                (0..rank).partition(|axis| axes.contains(axis));
            let extent = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).product::<usize>();
            let size = [extent(&gone), 1, extent(&kept)];
            let order = gone.iter().chain(&kept);
            let (dims, strides) = order.flat_map(|&axis| place.view.axis_strides(axis)).unzip();
            let output = self.builder.buffer(BufferKind::F32, size);
            let kind = StepKind::Gather { input: place.buffer, output, dims, strides, offset: 0 };
            self.builder.step(&format!("{}.order", node.name), kind);
            (output, size)
        };
        self.done[index] = true;
        if kind == ReduceKind::Min {
            // The smallest value is the largest of the negated ones, negated.
            let negated = self.builder.buffer(BufferKind::F32, size);
            let negate = PendingOp::Channel(ChannelOp::Unary(UnaryFunction::Negate));
            let ops = vec![negate, PendingOp::Store(negated)];
            let epilogue = self.builder.epilogue(&node.name, ops);
            self.builder.step(
                &format!("{}.negated", node.name),
                StepKind::Elementwise { input, flatten: false, epilogue },
            );
            input = negated;
        }
        let pool = PoolGeometry {
            kernel: [size[0], size[1]],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
        };
        ops.extend(
            match kind {
                ReduceKind::Min => Some(ChannelOp::Unary(UnaryFunction::Negate)),
                ReduceKind::Sum => Some(ChannelOp::Multiply(vec![(size[0] * size[1]) as f32])),
                ReduceKind::Mean | ReduceKind::Max => None,
            }
            .map(PendingOp::Channel),
        );
        let vector = [1, 1, size[2]];
        let view = View::row_major(self.shape(result));
        let pooled = if everything {
            let buffer = self.builder.buffer(BufferKind::F32, vector);
            ops.push(PendingOp::Store(buffer));
            Some(buffer)
        } else {
            let running = Running { value: result, view: view.clone(), size: vector, stored: None };
            self.grow(running, &mut ops)?;
            None
        };
        let epilogue = self.builder.epilogue(&node.name, ops);
        let step = if matches!(kind, ReduceKind::Max | ReduceKind::Min) {
            StepKind::MaxPool { input, pool, epilogue }
        } else {
            StepKind::AveragePool { input, pool, count_include_pad: false, epilogue }
        };
        self.builder.step(&node.name, step);
        if let Some(input) = pooled {
            let mut ops = Vec::new();
            let running = Running { value: result, view, size: [1, 1, 1], stored: None };
            self.grow(running, &mut ops)?;
            let epilogue = self.builder.epilogue(&node.name, ops);
            let kind = StepKind::ReduceChannels { input, reduction: reduction(kind), epilogue };
            self.builder.step(&format!("{}.channels", node.name), kind);
        }
        Ok(())
    }
}

/// The statistic over the channels of a pixel.
fn reduction(kind: ReduceKind) -> Reduction {
    match kind {
        ReduceKind::Mean => Reduction::Mean,
        ReduceKind::Sum => Reduction::Sum,
        ReduceKind::Max => Reduction::Max,
        ReduceKind::Min => Reduction::Min,
    }
}
