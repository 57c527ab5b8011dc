//! Steps that move data: copies into another order, slices, joins, padding; and softmax.

use super::{BitsPlace, FloatPlace, Lowering, builder::PendingOp, segments::SegmentsPlace};
use crate::{
    convert::{
        ConvertError,
        chain::uniform_constant,
        pads::pad_amounts,
        view::{MapSize, View},
    },
    graph::{Node, Op, ValueId},
    program::{BinaryOutput, BufferId, BufferKind, ChannelOp, Epilogue, EpilogueOp, StepKind},
};

impl Lowering<'_> {
    /// The floats of a four-dimensional value as a channels-last map; copied if they lie otherwise.
    pub(super) fn channels_first_copy(
        &mut self,
        value: ValueId,
        name: &str,
    ) -> Result<FloatPlace, ConvertError> {
        let missing = |what: &str| ConvertError::Node {
            node: name.to_owned(),
            reason: format!("its operand {what}"),
        };
        let place = self.floats[value.index()].clone().ok_or_else(|| {
            missing(&format!("'{}' is not there as floats", self.graph.value_name(value)))
        })?;
        if place.view.is_channels_first(self.builder.size(place.buffer)) {
            return Ok(place);
        }
        let &[1, channels, height, width] = self.shape(value) else {
            return Err(missing(&format!("of shape {:?} is no feature map", self.shape(value))));
        };
        let size = [height, width, channels];
        let buffer = self.builder.buffer(BufferKind::F32, size);
        let (dims, strides) = [2, 3, 1].iter().flat_map(|&a| place.view.axis_strides(a)).unzip();
        self.builder.step(
            &format!("{name}.order"),
            StepKind::Gather { input: place.buffer, output: buffer, dims, strides, offset: 0 },
        );
        Ok(FloatPlace { buffer, view: View::channels_first(size) })
    }

    /// Writes a constant into a map, where it must be one: any value of the input times 0 plus the
    /// constant, since inputs are finite.
    pub(super) fn place_constant(&mut self, value: ValueId, name: &str) {
        let Some(tensor) = self.graph.constant(value) else { return };
        let (Ok(values), None) = (tensor.f32(), &self.floats[value.index()]) else { return };
        let Some(port) = self.builder.program.inputs.first() else { return };
        let (input, map) = (port.buffer, [1, 1, values.len()]);
        let any = self.builder.buffer(BufferKind::F32, map);
        let (dims, strides) = (vec![values.len()], vec![0]);
        let name = format!("{name}.constant");
        let kind = StepKind::Gather { input, output: any, dims, strides, offset: 0 };
        self.builder.step(&name, kind);
        let constant = self.builder.buffer(BufferKind::F32, map);
        let ops = vec![
            PendingOp::Channel(ChannelOp::Multiply(vec![0.0])),
            PendingOp::Channel(ChannelOp::Add(values.to_vec())),
            PendingOp::Store(constant),
        ];
        let epilogue = self.builder.epilogue(&name, ops);
        self.builder.step(&name, StepKind::Elementwise { input: any, flatten: false, epilogue });
        let view = View::row_major(tensor.shape());
        self.floats[value.index()] = Some(FloatPlace { buffer: constant, view });
    }

    /// Copies a value into one pixel in logical order, so that every element is a channel.
    pub(super) fn vector_copy(&mut self, value: ValueId, name: &str) {
        let Some(place) = self.floats[value.index()].clone() else { return };
        let shape = self.shape(value).to_vec();
        let elements: usize = shape.iter().product();
        if self.builder.size(place.buffer) == [1, 1, elements] && place.view.is_row_major() {
            return;
        }
        let buffer = self.builder.buffer(BufferKind::F32, [1, 1, elements]);
        let (dims, strides) = place.view.gather();
        self.builder.step(
            &format!("{name}.order"),
            StepKind::Gather { input: place.buffer, output: buffer, dims, strides, offset: 0 },
        );
        self.floats[value.index()] = Some(FloatPlace { buffer, view: View::row_major(&shape) });
    }

    /// A reshape or transposition that no view expresses: the data are copied into logical order
    /// first.
    pub(super) fn lower_regrouping(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let Some(input) = node.input(0) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let output = node.output();
        if self.demand.floats[output.index()] || self.bits[output.index()].is_none() {
            let place = self.float_place(index, input)?;
            let place = match self.through_structural(index, 0, &place.view) {
                Some(view) => FloatPlace { buffer: place.buffer, view },
                None => {
                    let elements: usize = self.shape(input).iter().product();
                    let buffer = self.builder.buffer(BufferKind::F32, [1, 1, elements]);
                    let (dims, strides) = place.view.gather();
                    let kind = StepKind::Gather {
                        input: place.buffer,
                        output: buffer,
                        dims,
                        strides,
                        offset: 0,
                    };
                    self.builder.step(&node.name, kind);
                    FloatPlace { buffer, view: View::row_major(self.shape(output)) }
                }
            };
            self.done[index] = true;
            self.place_float(output, place.buffer, place.view);
        }
        self.done[index] = true;
        Ok(())
    }

    pub(super) fn lower_concat(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let Op::Concat { axis } = node.op else {
            return Err(self.unsupported(index, "not a concatenation"));
        };
        let result = node.output();
        let operands: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        let rank = self.shape(result).len();
        let axis = if axis < 0 { axis + rank as i64 } else { axis } as usize;
        if self.demand.bits[result.index()] {
            let places: Option<Vec<BitsPlace>> =
                operands.iter().map(|id| self.bits[id.index()].clone()).collect();
            let places =
                places.ok_or_else(|| self.unsupported(index, "an operand is not there as bits"))?;
            let maps: Vec<(MapSize, View)> =
                places.iter().map(|p| (self.builder.size(p.buffer), p.view.clone())).collect();
            let (size, view) = self.join(index, axis, &maps)?;
            let inputs = places.iter().map(|p| p.buffer).collect();
            let output = self.builder.buffer(BufferKind::Bits, size);
            self.builder.step(&node.name, StepKind::Concat { inputs, output });
            self.place_bits(result, BitsPlace { buffer: output, view, padding: None })?;
        }
        self.done[index] = true;
        if self.demand.floats[result.index()] {
            let mut places = Vec::new();
            for &operand in &operands {
                self.place_constant(operand, &node.name);
                if rank == 4 && axis == 1 && self.floats[operand.index()].is_some() {
                    let place = self.channels_first_copy(operand, &node.name)?;
                    self.floats[operand.index()] = Some(place);
                }
                places.push(self.operand_segments(index, operand)?);
            }
            let joined = match self.side_by_side(index, axis, &places) {
                Ok(joined) => joined,
                // Any axis is one of channels in another order.
                Err(_) => {
                    places.clear();
                    for &operand in &operands {
                        self.join_segments(operand, &node.name);
                        let place = self.axis_last(index, operand, axis)?;
                        places.push(self.one_segment(place));
                    }
                    self.side_by_side(index, axis, &places)?
                }
            };
            self.join_or_dissolve(index, &joined)?;
        }
        Ok(())
    }

    /// Maps of numbers as one, if they can be joined along their channels.
    fn side_by_side(
        &self,
        index: usize,
        axis: usize,
        places: &[SegmentsPlace],
    ) -> Result<SegmentsPlace, ConvertError> {
        let maps: Vec<(MapSize, View)> =
            places.iter().map(|place| (place.size, place.view.clone())).collect();
        let (size, view) = self.join(index, axis, &maps)?;
        let segments = places.iter().flat_map(|place| place.segments.iter().copied()).collect();
        Ok(SegmentsPlace { segments, size, view })
    }

    /// A copy of a value in which one of its dimensions is the channels.
    fn axis_last(
        &mut self,
        index: usize,
        value: ValueId,
        axis: usize,
    ) -> Result<FloatPlace, ConvertError> {
        let place = self.float_place(index, value)?;
        let shape = self.shape(value).to_vec();
        let mut order: Vec<usize> = (0..shape.len()).filter(|&other| other != axis).collect();
        order.push(axis);
        let (dims, strides) = order.iter().flat_map(|&a| place.view.axis_strides(a)).unzip();
        let pixels = shape.iter().product::<usize>() / shape[axis].max(1);
        let output = self.builder.buffer(BufferKind::F32, [1, pixels, shape[axis]]);
        let kind = StepKind::Gather { input: place.buffer, output, dims, strides, offset: 0 };
        self.builder.step(&format!("{}.order", self.node(index).name), kind);
        let moved: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        // Dimension `a` of the value is the place of `a` in the order.
        let back: Vec<usize> =
            (0..shape.len()).map(|a| order.iter().position(|&o| o == a).unwrap_or(a)).collect();
        Ok(FloatPlace { buffer: output, view: View::row_major(&moved).transposed(&back) })
    }

    /// Whether a node changes the extent of a dimension of its first operand.
    fn shapes_differ(&self, node: &Node, axis: usize) -> bool {
        let extent = |id: ValueId| self.shape(id).get(axis).copied();
        node.input(0).is_some_and(|x| node.outputs.iter().any(|&y| extent(x) != extent(y)))
    }

    /// Checks that maps can be joined along their channels; the size and the view of the result.
    fn join(
        &self,
        index: usize,
        axis: usize,
        maps: &[(MapSize, View)],
    ) -> Result<(MapSize, View), ConvertError> {
        let mut channels = 0;
        let mut common: Option<([usize; 2], View)> = None;
        for (size, view) in maps {
            // One channel in front of every map must give the same order of pixels.
            let Some(pixels) = view.with_channels(*size, axis, 1) else {
                return Err(self.unsupported(
                    index,
                    format!("axis {axis} is not the channels of its operands"),
                ));
            };
            channels += size[2];
            let extent = [size[0], size[1]];
            match &common {
                None => common = Some((extent, pixels)),
                Some((first, order)) if *first == extent && order.same_order(&pixels) => {}
                Some(_) => {
                    return Err(self.unsupported(index, "the operands lie in different orders"));
                }
            }
        }
        let (Some(([height, width], _)), Some((size, view))) = (common, maps.first()) else {
            return Err(self.unsupported(index, "there is nothing to join"));
        };
        let view = view
            .with_channels(*size, axis, channels)
            .ok_or_else(|| self.unsupported(index, "the operands lie in another order"))?;
        Ok(([height, width, channels], view))
    }

    /// What a `Pad` adds to a map under a view: top, left, bottom, right; channels before and after.
    pub(super) fn map_padding(
        &self,
        index: usize,
        view: &View,
        size: MapSize,
    ) -> Option<([usize; 4], [usize; 2])> {
        let node = self.node(index);
        let amounts = pad_amounts(self.graph, node, self.shape(node.input(0)?).len())?;
        let [height, width, channels] = view.map_axes(size)?.map(|axis| amounts[axis]);
        let pads = [height.0, width.0, height.1, width.1];
        (amounts[0] == (0, 0)).then_some((pads, [channels.0, channels.1]))
    }

    pub(super) fn lower_pad(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let (Some(input), result) = (node.input(0), node.output()) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let value = match node.input(2) {
            Some(id) => uniform_constant(self.graph, id)
                .ok_or_else(|| self.unsupported(index, "the value is not constant"))?,
            None => 0.0,
        };
        let refused = "only height, width and channels of a map can be padded, by constant amounts";
        self.done[index] = true;
        if self.demand.bits[result.index()] && self.bits[result.index()].is_none() {
            let place = self.bits[input.index()].clone();
            let levels = self.demand.levels[input.index()];
            let (Some(place), Some(levels)) = (place, levels) else {
                return Err(self.unsupported(index, "its operand is not there as bits"));
            };
            let size = self.builder.size(place.buffer);
            let (pads, channels) = self
                .map_padding(index, &place.view, size)
                .ok_or_else(|| self.unsupported(index, refused))?;
            let grown = grown(size, pads, channels);
            let is_level = value == levels.high || value == levels.low;
            if !is_level || place.padding.is_some() || channels != [0, 0] {
                return Err(self.unsupported(
                    index,
                    format!(
                        "bits of the values {} and {} cannot be padded with {value} here",
                        levels.low, levels.high
                    ),
                ));
            }
            let output = self.builder.buffer(BufferKind::Bits, grown);
            // For bits a positive constant means bit 1.
            let bit = if value == levels.high { 1.0 } else { -1.0 };
            let kind = StepKind::Pad { input: place.buffer, output, pads, channels, value: bit };
            self.builder.step(&node.name, kind);
            let view =
                place.view.resized(size, grown).ok_or_else(|| self.unsupported(index, refused))?;
            self.place_bits(result, BitsPlace { buffer: output, view, padding: None })?;
        }
        if self.demand.floats[result.index()] {
            let mut place = self.float_place(index, input)?;
            if place.view.map_axes(self.builder.size(place.buffer)).is_none() {
                place = self.channels_first_copy(input, &node.name)?;
            }
            let FloatPlace { mut buffer, view } = place;
            let size = self.builder.size(buffer);
            let (pads, channels) = self
                .map_padding(index, &view, size)
                .ok_or_else(|| self.unsupported(index, refused))?;
            // Height and width first, then channels: a step pads one or the other.
            let grown = grown(size, pads, channels);
            if pads != [0; 4] {
                let output = self.builder.buffer(BufferKind::F32, [grown[0], grown[1], size[2]]);
                let kind = StepKind::Pad { input: buffer, output, pads, channels: [0, 0], value };
                self.builder.step(&node.name, kind);
                buffer = output;
            }
            if channels != [0, 0] {
                let output = self.builder.buffer(BufferKind::F32, grown);
                let kind = StepKind::Pad { input: buffer, output, pads: [0; 4], channels, value };
                self.builder.step(&node.name, kind);
                buffer = output;
            }
            let view = view.resized(size, grown).ok_or_else(|| self.unsupported(index, refused))?;
            self.place_float(result, buffer, view);
        }
        Ok(())
    }

    /// The map that a tensor of a given shape is kept in, with the dimensions in the order of another
    /// tensor.
    fn map_like(&self, place: &FloatPlace, shape: &[usize]) -> (MapSize, View) {
        match (place.view.map_axes(self.builder.size(place.buffer)), shape) {
            (Some([1, 2, 3]), &[1, height, width, channels]) => {
                ([height, width, channels], View::row_major(shape))
            }
            _ => map_of(shape),
        }
    }

    /// A map that is repeated along some dimensions.
    pub(super) fn lower_expand(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let Some(input) = node.input(0) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let place = self.float_place(index, input)?;
        let shape = self.shape(node.output()).to_vec();
        let (size, view) = self.map_like(&place, &shape);
        let (dims, strides) = view
            .spread(&place.view, self.shape(input))
            .ok_or_else(|| self.unsupported(index, "its operand lies in another order"))?;
        let output = self.builder.buffer(BufferKind::F32, size);
        let kind = StepKind::Gather { input: place.buffer, output, dims, strides, offset: 0 };
        self.builder.step(&node.name, kind);
        self.done[index] = true;
        self.place_float(node.output(), output, view);
        Ok(())
    }

    /// `Slice` with constant bounds and positive steps, and `Split`.
    pub(super) fn lower_slices(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let Some(input) = node.input(0) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let place = self.float_place(index, input)?;
        let shape = self.shape(input).to_vec();
        let rank = shape.len();
        let normalise = |axis: i64| if axis < 0 { axis + rank as i64 } else { axis } as usize;
        let integers = |operand: usize| -> Option<Vec<i64>> {
            Some(self.graph.constant(node.input(operand)?)?.i64().ok()?.to_vec())
        };
        // For every output: the first index and the step along each dimension.
        let mut cuts: Vec<Vec<(usize, usize)>> = Vec::new();
        match &node.op {
            Op::Slice => {
                let bounds = integers(1).zip(integers(2));
                let (starts, ends) =
                    bounds.ok_or_else(|| self.unsupported(index, "the bounds are not constant"))?;
                let axes = integers(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
                let steps = integers(4).unwrap_or_else(|| vec![1; starts.len()]);
                let mut cut = vec![(0, 1); rank];
                for (position, &axis) in axes.iter().enumerate() {
                    let axis = normalise(axis);
                    let (Some(&start), Some(&step), Some(_)) =
                        (starts.get(position), steps.get(position), ends.get(position))
                    else {
                        return Err(self.unsupported(index, "bounds and axes differ in number"));
                    };
                    if step < 1 || axis >= rank {
                        return Err(self.unsupported(index, "steps must be positive"));
                    }
                    let extent = shape[axis] as i64;
                    let start = if start < 0 { start.saturating_add(extent) } else { start };
                    cut[axis] = (start.clamp(0, extent) as usize, step as usize);
                }
                cuts.push(cut);
            }
            Op::Split { axis } => {
                let axis = normalise(*axis);
                let mut start = 0;
                for &output in &node.outputs {
                    let mut cut = vec![(0, 1); rank];
                    cut[axis] = (start, 1);
                    cuts.push(cut);
                    start += self.shape(output)[axis];
                }
            }
            _ => return Err(self.unsupported(index, "not a slice")),
        }
        // Extents that a cut would go through are first brought into logical order.
        let is_cut = |axis: usize| {
            cuts.iter().any(|cut| cut[axis] != (0, 1)) || self.shapes_differ(node, axis)
        };
        let place = if (0..rank).any(|axis| is_cut(axis) && place.view.axis_strides(axis).len() > 1)
        {
            self.vector_copy(input, &node.name);
            self.float_place(index, input)?
        } else {
            place
        };
        self.done[index] = true;
        for (&result, cut) in node.outputs.iter().zip(&cuts) {
            let out_shape = self.shape(result).to_vec();
            // Feature maps stay channels-last; anything else is copied in logical order.
            let axes = place.view.map_axes(self.builder.size(place.buffer));
            let order: Vec<usize> = match axes {
                Some([1, 2, 3]) => vec![0, 1, 2, 3],
                _ if rank == 4 => vec![0, 2, 3, 1],
                _ => (0..rank).collect(),
            };
            let (mut dims, mut strides, mut offset) = (Vec::new(), Vec::new(), 0_isize);
            for &axis in &order {
                let (first, step) = cut[axis];
                let extents = place.view.axis_strides(axis);
                match extents[..] {
                    [] => {}
                    [(_, stride)] => {
                        dims.push(out_shape[axis]);
                        strides.push(stride * step as isize);
                        offset += stride * first as isize;
                    }
                    _ if (first, step) == (0, 1) && out_shape[axis] == shape[axis] => {
                        for (extent, stride) in extents {
                            dims.push(extent);
                            strides.push(stride);
                        }
                    }
                    _ => {
                        return Err(self.unsupported(index, "its operand lies in another order"));
                    }
                }
            }
            let (size, view) = self.map_like(&place, &out_shape);
            let output = self.builder.buffer(BufferKind::F32, size);
            let kind = StepKind::Gather {
                input: place.buffer,
                output,
                dims,
                strides,
                offset: offset as usize,
            };
            self.builder.step(&node.name, kind);
            self.place_float(result, output, view);
        }
        Ok(())
    }

    pub(super) fn lower_softmax(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let (axis, log) = match node.op {
            Op::Softmax { axis } => (axis, false),
            Op::LogSoftmax { axis } => (axis, true),
            _ => return Err(self.unsupported(index, "not a softmax")),
        };
        let Some(input) = node.input(0) else {
            return Err(self.unsupported(index, "the operand is missing"));
        };
        let result = node.output();
        let rank = self.shape(input).len();
        let axis = if axis < 0 { axis + rank as i64 } else { axis } as usize;
        let place = self.float_place(index, input)?;
        let size = self.builder.size(place.buffer);
        if !place.view.is_channel_axis(size, axis) {
            return Err(self.unsupported(index, format!("axis {axis} is not the channels")));
        }
        self.done[index] = true;
        let output = self.builder.buffer(BufferKind::F32, size);
        self.builder.step(&node.name, StepKind::Softmax { input: place.buffer, output, log });
        if self.graph.outputs.contains(&result) && !log {
            self.builder.program.metadata.outputs_are_probabilities = true;
        }
        self.place_float(result, output, place.view);
        Ok(())
    }
}

/// The size of a padded map.
fn grown(size: MapSize, pads: [usize; 4], channels: [usize; 2]) -> MapSize {
    let [top, left, bottom, right] = pads;
    let [front, back] = channels;
    [size[0] + top + bottom, size[1] + left + right, size[2] + front + back]
}

/// The map that a tensor of a given shape is kept in: four dimensions are channels and pixels.
fn map_of(shape: &[usize]) -> (MapSize, View) {
    match *shape {
        [1, channels, height, width] => {
            let size = [height, width, channels];
            (size, View::channels_first(size))
        }
        _ => ([1, 1, shape.iter().product()], View::row_major(shape)),
    }
}

/// Whether a step reads a buffer.
pub(super) fn reads(kind: &StepKind, buffer: BufferId) -> bool {
    let in_epilogue = |epilogue: &Epilogue| {
        epilogue
            .ops
            .iter()
            .any(|op| matches!(op, EpilogueOp::Combine { operand, .. } if *operand == buffer))
    };
    match kind {
        StepKind::BinaryConv { conv, output } => {
            conv.input == buffer
                || matches!(output, BinaryOutput::Float(epilogue) if in_epilogue(epilogue))
        }
        StepKind::FloatConv { conv, epilogue } => conv.input == buffer || in_epilogue(epilogue),
        StepKind::Elementwise { input, epilogue, .. }
        | StepKind::MaxPool { input, epilogue, .. }
        | StepKind::AveragePool { input, epilogue, .. }
        | StepKind::ReduceChannels { input, epilogue, .. } => {
            *input == buffer || in_epilogue(epilogue)
        }
        StepKind::Concat { inputs, .. } | StepKind::Threshold { inputs, .. } => {
            inputs.contains(&buffer)
        }
        StepKind::MaxPoolBits { input, .. }
        | StepKind::Gather { input, .. }
        | StepKind::Pad { input, .. }
        | StepKind::Softmax { input, .. } => *input == buffer,
    }
}

/// Visits every buffer id of a step.
pub(super) fn for_each_buffer(kind: &mut StepKind, visit: &mut impl FnMut(&mut BufferId)) {
    fn epilogue(epilogue: &mut Epilogue, visit: &mut impl FnMut(&mut BufferId)) {
        for op in &mut epilogue.ops {
            match op {
                EpilogueOp::Channel(_) => {}
                EpilogueOp::Combine { operand, .. } => visit(operand),
                EpilogueOp::Store { output } | EpilogueOp::StoreBits { output, .. } => {
                    visit(output)
                }
            }
        }
    }
    match kind {
        StepKind::BinaryConv { conv, output } => {
            visit(&mut conv.input);
            match output {
                BinaryOutput::Threshold { output, .. } | BinaryOutput::Integers { output } => {
                    visit(output);
                }
                BinaryOutput::Float(ops) => epilogue(ops, visit),
            }
        }
        StepKind::FloatConv { conv, epilogue: ops } => {
            visit(&mut conv.input);
            epilogue(ops, visit);
        }
        StepKind::Elementwise { input, epilogue: ops, .. }
        | StepKind::MaxPool { input, epilogue: ops, .. }
        | StepKind::AveragePool { input, epilogue: ops, .. }
        | StepKind::ReduceChannels { input, epilogue: ops, .. } => {
            visit(input);
            epilogue(ops, visit);
        }
        StepKind::Concat { inputs, output } | StepKind::Threshold { inputs, output, .. } => {
            inputs.iter_mut().for_each(&mut *visit);
            visit(output);
        }
        StepKind::MaxPoolBits { input, output, .. }
        | StepKind::Gather { input, output, .. }
        | StepKind::Pad { input, output, .. }
        | StepKind::Softmax { input, output, .. } => {
            visit(input);
            visit(output);
        }
    }
}
