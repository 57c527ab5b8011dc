//! Convolutions and dense layers.

use super::{
    BitsPlace, FloatPlace, Lowering,
    builder::{PendingOp, pack},
    demand::{LayerKind, layer_kind, transposed},
    grow::{PathToStep, Running},
    pool::pool_geometry,
    segments::{PlacedSegment, SegmentTap, SegmentValues, SegmentsPlace},
};
use crate::{
    convert::{
        ConvertError,
        chain::{Direction, Operation, direction},
        facts::Levels,
        report::LayerReport,
        threshold::{IntegerThreshold, Lattice, integer_threshold},
        view::{MapSize, View},
        weights::BinaryWeights,
    },
    graph::{Node, Op, ValueId},
    program::{
        AffineTerms, Alphabet, BinaryConv, BinaryOutput, BufferId, BufferKind, ChannelOp,
        ConvGeometry, FloatConv, MAX_SHORT_PRODUCTS, PadValue, PoolGeometry, StepKind, TensorData,
    },
};

/// A layer as a convolution over a map, whatever it was in the graph.
pub(super) struct Layer {
    pub(super) geometry: ConvGeometry,
    /// For each weight in `[out, kernel_h, kernel_w, in / groups]` order its place in
    /// `[out, ...]` order of the graph (dense matrices already transposed).
    pub(super) order: Vec<usize>,
    /// Size of the map that is read.
    pub(super) input: MapSize,
    /// Size and view of the result.
    pub(super) output: MapSize,
    pub(super) view: View,
    pub(super) kind: String,
    /// What follows the sums: factor and bias of the node itself.
    pub(super) tail: Vec<Operation>,
}

impl Lowering<'_> {
    pub(super) fn lower_layer(&mut self, index: usize) -> Result<(), ConvertError> {
        if let Some(weights) = self.demand.binary.remove(&index) {
            return self.lower_binary_layer(index, weights);
        }
        if let Some(weights) = self.demand.multi.get(&index).cloned() {
            return self.lower_plane_layer(index, weights);
        }
        self.lower_float_layer(index)
    }

    /// The layer as a convolution over a map of the given size under the given view.
    pub(super) fn layer(
        &self,
        index: usize,
        size: MapSize,
        view: &View,
    ) -> Result<Layer, ConvertError> {
        let node = self.node(index);
        let kind = layer_kind(self.graph, node)
            .ok_or_else(|| self.unsupported(index, "the weights are not constant"))?;
        let weights = node.input(1).map(|id| self.shape(id).to_vec()).unwrap_or_default();
        let result = self.shape(node.output());
        let [height, width, channels] = size;
        match (&node.op, kind) {
            (Op::Conv(conv), LayerKind::Conv) => {
                let [out, per_group, kernel_h, kernel_w] = weights[..] else {
                    return Err(self.unsupported(index, "the kernel is not two-dimensional"));
                };
                if !view.is_channels_first(size) {
                    return Err(self.unsupported(index, "the input lies in another order"));
                }
                let taps = kernel_h * kernel_w;
                let order = (0..out)
                    .flat_map(|o| (0..taps).map(move |tap| (o, tap)))
                    .flat_map(|(o, tap)| {
                        (0..per_group).map(move |c| (o * per_group + c) * taps + tap)
                    })
                    .collect();
                let output = [result[2], result[3], out];
                let depth = if conv.groups == channels && per_group == 1 && channels > 1 {
                    "depth-wise conv"
                } else if conv.groups > 1 {
                    "grouped conv"
                } else {
                    "conv"
                };
                Ok(Layer {
                    geometry: ConvGeometry {
                        in_channels: channels,
                        out_channels: out,
                        kernel: [kernel_h, kernel_w],
                        stride: conv.stride,
                        dilation: conv.dilation,
                        pads: conv.pads,
                        groups: conv.groups,
                    },
                    order,
                    input: size,
                    output,
                    view: View::channels_first(output),
                    kind: format!("{depth} {kernel_h}x{kernel_w}"),
                    tail: self.bias(node, &View::channels_first(output), output)?,
                })
            }
            _ => {
                let (features, out) = match kind {
                    LayerKind::DenseTransposed => (weights[1], weights[0]),
                    _ => (weights[0], weights[1]),
                };
                let rank = view.rank();
                let (kernel, order, output, out_view) = if features == height * width * channels {
                    // The whole map: a kernel as large as the map.
                    let logical = view.logical_indices();
                    let order = (0..out)
                        .flat_map(|o| logical.iter().map(move |&feature| o * features + feature))
                        .collect();
                    let output = [1, 1, out];
                    ([height, width], order, output, View::row_major(result))
                } else if rank > 0 && view.is_channel_axis(size, rank - 1) && features == channels {
                    // The last dimension of several rows: a 1x1 kernel.
                    let out_view = view.with_channels(size, rank - 1, out).ok_or_else(|| {
                        self.unsupported(index, "the input lies in another order")
                    })?;
                    ([1, 1], (0..out * features).collect(), [height, width, out], out_view)
                } else {
                    return Err(self.unsupported(
                        index,
                        format!(
                            "{features} features do not match a map of {height}x{width}x{channels}"
                        ),
                    ));
                };
                Ok(Layer {
                    geometry: ConvGeometry {
                        in_channels: channels,
                        out_channels: out,
                        kernel,
                        stride: [1, 1],
                        dilation: [1, 1],
                        pads: [0; 4],
                        groups: 1,
                    },
                    order,
                    input: size,
                    output,
                    tail: self.bias(node, &out_view, output)?,
                    view: out_view,
                    kind: "dense".to_owned(),
                })
            }
        }
    }

    /// Factor and bias that the node applies to its sums.
    fn bias(
        &self,
        node: &Node,
        view: &View,
        size: MapSize,
    ) -> Result<Vec<Operation>, ConvertError> {
        let mut tail = Vec::new();
        let mut factor = 1.0;
        if let Op::Gemm { alpha, beta, .. } = node.op {
            if alpha != 1.0 {
                tail.push(ChannelOp::Multiply(vec![alpha]));
            }
            factor = beta;
        }
        let fail = |reason: &str| ConvertError::Node {
            node: node.name.clone(),
            reason: reason.to_owned(),
        };
        if let Some(bias) = node.input(2) {
            let tensor =
                self.graph.constant(bias).ok_or_else(|| fail("the bias is not a constant"))?;
            let values = tensor.f32().map_err(|e| fail(&e.to_string()))?;
            let shape: Vec<usize> = match node.op {
                // The bias of a convolution runs along the channels.
                Op::Conv(_) => vec![1, tensor.len(), 1, 1],
                _ => tensor.shape().to_vec(),
            };
            let bias = view
                .per_channel(size, &shape, values)
                .ok_or_else(|| fail("the bias varies from pixel to pixel"))?;
            if factor != 0.0 && bias.iter().any(|&b| b != 0.0) {
                tail.push(ChannelOp::Add(bias.iter().map(|b| b * factor).collect()));
            }
        }
        Ok(tail)
    }

    fn lower_float_layer(&mut self, index: usize) -> Result<(), ConvertError> {
        let node = self.node(index);
        let input = self.data_operand(index)?;
        if matches!(node.op, Op::Conv(_)) {
            let place = self.channels_first_copy(input, &node.name)?;
            self.floats[input.index()] = Some(place);
        }
        let place = self.float_place(index, input)?;
        let size = self.builder.size(place.buffer);
        let layer = self.layer(index, size, &place.view)?;
        let graph_weights = self.graph_weights(index)?;
        let mut tail = Vec::new();
        let count = graph_weights.len();
        let signs = self.demand.sign_weights.remove(&index);
        let binary_weights = signs.is_some();
        if let Some(signs) = &signs
            && signs.scales.iter().any(|&s| s != 1.0)
        {
            tail.push(ChannelOp::Multiply(signs.scales.clone()));
        }
        tail.extend(layer.tail.iter().cloned());
        let mut ops: Vec<PendingOp> = tail.into_iter().map(PendingOp::Channel).collect();
        self.done[index] = true;
        let running = Running {
            value: node.output(),
            view: layer.view.clone(),
            size: layer.output,
            stored: None,
        };
        self.grow(running, &mut ops)?;
        let (data, bytes) = match signs {
            Some(mut signs) => {
                signs.signs = layer.order.iter().map(|&at| signs.signs[at]).collect();
                make_first_scales_positive(&mut signs, &mut ops);
                turn_comparisons_up(&mut signs, &mut ops);
                let words = pack(signs.signs.iter().copied());
                let bytes = words.len() * 8;
                (TensorData::Bits(words), bytes)
            }
            None => {
                let values: Vec<f32> = layer.order.iter().map(|&at| graph_weights[at]).collect();
                if self.options.f16 {
                    let halves: Vec<u16> =
                        values.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
                    (TensorData::F16(halves), count * 2)
                } else {
                    (TensorData::F32(values), count * 4)
                }
            }
        };
        let shape = weight_shape(&layer.geometry);
        let weights = self.builder.tensor(&format!("{}.weight", node.name), shape, data);
        let reason = self.demand.reasons.remove(&index);
        self.report(
            index,
            &layer,
            false,
            binary_weights,
            reason,
            count * 4,
            bytes,
            output_kind(&ops),
        );
        let epilogue = self.builder.epilogue(&node.name, ops);
        let conv = FloatConv { input: place.buffer, geometry: layer.geometry, weights };
        self.builder.step(&node.name, StepKind::FloatConv { conv, epilogue });
        Ok(())
    }

    fn lower_binary_layer(
        &mut self,
        index: usize,
        mut weights: BinaryWeights,
    ) -> Result<(), ConvertError> {
        let node = self.node(index);
        let input = self.data_operand(index)?;
        let place = self.bits[input.index()]
            .clone()
            .ok_or_else(|| self.unsupported(index, "its input could not be kept as bits"))?;
        let levels = self.demand.levels[input.index()]
            .ok_or_else(|| self.unsupported(index, "its input is not two-valued"))?;
        let size = self.builder.size(place.buffer);
        let mut layer = self.layer(index, size, &place.view)?;
        let mut pad = PadValue::Zero;
        if let Some((pads, value)) = place.padding {
            layer.geometry.pads = pads;
            pad = value;
        }
        if layer.geometry.pads == [0; 4] {
            pad = PadValue::Zero;
        }
        let (input_scale, input_centre, alphabet) = alphabet(levels);
        // x is `input_scale * bit` with bits 0 and 1, or `input_scale * s + input_centre`.
        let plain = weights.centred() && input_centre == 0.0;
        if !plain && pad != PadValue::Zero {
            return Err(self.unsupported(
                index,
                "values with a centre cannot be combined with a padding of bits",
            ));
        }
        let mut head = Vec::new();
        let affine = if plain {
            let scales: Vec<f32> = weights
                .scales
                .iter()
                .map(|&s| (f64::from(s) * f64::from(input_scale)) as f32)
                .collect();
            if scales.iter().any(|&s| s != 1.0) {
                head.push(ChannelOp::Multiply(scales));
            }
            None
        } else {
            Some(self.affine_terms(&node.name, &weights, levels))
        };
        head.extend(layer.tail.iter().cloned());
        self.done[index] = true;
        let pending = PendingBinary {
            name: node.name.clone(),
            input: place.buffer,
            pad,
            alphabet: if plain { alphabet } else { Alphabet::PlusMinus },
            affine,
        };
        let thresholded = if plain {
            self.try_threshold(index, &layer, &pending, &mut weights, &head)?
        } else {
            None
        };
        let integers = if thresholded.is_none() && plain && head.is_empty() {
            self.integer_segment(index, &layer, &pending)
        } else {
            None
        };
        if let Some((buffer, place, taps)) = integers {
            let output = SumsOutput::Integers(buffer);
            self.emit_binary(index, layer, pending, &weights, output);
            return self.place_segments(node.output(), &place, taps);
        }
        let output = match thresholded {
            Some(output) => output,
            None => {
                let mut ops: Vec<PendingOp> = head.into_iter().map(PendingOp::Channel).collect();
                let running = Running {
                    value: node.output(),
                    view: layer.view.clone(),
                    size: layer.output,
                    stored: None,
                };
                self.grow(running, &mut ops)?;
                if plain && layer.geometry.products() <= 1 << 22 {
                    scale_before_shift(&mut ops);
                }
                if plain {
                    make_first_scales_positive(&mut weights, &mut ops);
                }
                SumsOutput::Float(ops)
            }
        };
        self.emit_binary(index, layer, pending, &weights, output);
        Ok(())
    }

    /// Constants of the general affine form, per output channel.
    pub(super) fn affine_terms(
        &mut self,
        name: &str,
        weights: &BinaryWeights,
        levels: Levels,
    ) -> AffineTerms {
        // The general form knows signs only: `high` and `low` are `scale * s + centre`.
        let (low, high) = (f64::from(levels.low), f64::from(levels.high));
        let input_scale = ((high - low) / 2.0) as f32;
        let input_centre = ((high + low) / 2.0) as f32;
        let product = |of: &[f32], factor: f32| -> Vec<f32> {
            of.iter().map(|&a| (f64::from(a) * f64::from(factor)) as f32).collect()
        };
        let builder = &mut self.builder;
        let mut tensor =
            |role: &str, values: Vec<f32>| builder.floats(&format!("{name}.{role}"), values);
        AffineTerms {
            dot: tensor("dot_scale", product(&weights.scales, input_scale)),
            weight_sum: tensor("weight_sum_scale", product(&weights.scales, input_centre)),
            input_sum: (!weights.centred())
                .then(|| tensor("input_sum_scale", product(&weights.centres, input_scale))),
            count: tensor("count_scale", product(&weights.centres, input_centre)),
        }
    }

    /// If everything behind the layer leads to one step, through max pools at most, finds integer
    /// thresholds for it.
    fn try_threshold(
        &mut self,
        index: usize,
        layer: &Layer,
        pending: &PendingBinary,
        weights: &mut BinaryWeights,
        head: &[Operation],
    ) -> Result<Option<SumsOutput>, ConvertError> {
        let result = self.node(index).output();
        let Some(path) = self.pooled_path(result, layer) else { return Ok(None) };
        let last = path.pools.last().map_or(layer.output, |pool| pool.2);
        if !self.bits_fit(path.to_step.result, &path.to_step.view, last) {
            return Ok(None);
        }
        let lattice = lattice(&layer.geometry, pending);
        let channels = layer.geometry.out_channels;
        let mut before: Vec<Operation> = head.to_vec();
        before.extend(path.segments[0].iter().cloned());
        let whole: Vec<Operation> =
            before.iter().chain(path.segments[1..].iter().flatten()).cloned().collect();
        let mut thresholds = Vec::with_capacity(channels);
        let mut pool_flip = vec![false; channels];
        let mut negated = vec![false; channels];
        let mut idle = vec![false; channels];
        let mut reaches_zero = false;
        for channel in 0..channels {
            let Some(found) = integer_threshold(&whole, path.to_step.comparison, lattice, channel)
            else {
                self.notes.notes.push(format!(
                    "layer '{}': what follows it is not monotone in channel {channel}, it runs as a \
                     float epilogue",
                    pending.name
                ));
                return Ok(None);
            };
            reaches_zero |= found.reaches_zero;
            let IntegerThreshold { at, decreasing } = found.threshold;
            let constant =
                [IntegerThreshold::ALWAYS, IntegerThreshold::NEVER].contains(&found.threshold);
            if path.pools.is_empty() || constant {
                // `v <= at` is `-v >= -at`: flipping the weights makes the comparison "at least".
                negated[channel] = decreasing;
                idle[channel] = constant;
                thresholds.push(if decreasing { -at } else { at });
                continue;
            }
            // The maximum of a pool is taken over values before it, so those must grow with the
            // accumulator v' (negated where they fall with v). What lies between pools must grow.
            let falls = match direction(&before, channel) {
                Some(Direction::Increasing) => false,
                Some(Direction::Decreasing) => true,
                _ => return Ok(None),
            };
            let between = &path.segments[1..path.segments.len() - 1];
            if between.iter().any(|s| direction(s, channel) != Some(Direction::Increasing)) {
                return Ok(None);
            }
            negated[channel] = falls;
            // In terms of v' the outcome is high above or below the threshold.
            let (at, decreasing) = if falls { (-at, !decreasing) } else { (at, decreasing) };
            if decreasing {
                // max <= at is not (max >= at + 1): pool the complement and turn the result over.
                thresholds.push(at + 1);
                pool_flip[channel] = true;
            } else {
                thresholds.push(at);
            }
        }
        negate_filters(weights, &negated);
        forget_filters(weights, &idle);
        if reaches_zero {
            self.note_ambiguous_sign(path.to_step.result);
        }
        for &node in path.to_step.nodes.iter().chain(&path.nodes) {
            self.done[node] = true;
        }
        let mut buffer = self.builder.buffer(BufferKind::Bits, layer.output);
        let output = buffer;
        let mut pools = Vec::new();
        for (position, (pool, name, size)) in path.pools.iter().enumerate() {
            let pooled = self.builder.buffer(BufferKind::Bits, *size);
            let last = position + 1 == path.pools.len();
            pools.push(PendingPool {
                name: name.clone(),
                input: buffer,
                pool: pool.clone(),
                flip: if last { pool_flip.clone() } else { Vec::new() },
                output: pooled,
            });
            buffer = pooled;
        }
        let place = BitsPlace { buffer, view: path.to_step.view.clone(), padding: None };
        self.place_bits(path.to_step.result, place)?;
        Ok(Some(SumsOutput::Threshold { thresholds, output, pools }))
    }

    /// Room for the sums of a layer as integers, if they are small and only compared and concatenated;
    /// and what is compared.
    fn integer_segment(
        &mut self,
        index: usize,
        layer: &Layer,
        pending: &PendingBinary,
    ) -> Option<(BufferId, SegmentsPlace, Vec<SegmentTap>)> {
        if layer.geometry.products() > MAX_SHORT_PRODUCTS {
            return None;
        }
        let (view, size) = (layer.view.clone(), layer.output);
        let lattice = Some(lattice(&layer.geometry, pending));
        let values = SegmentValues { channels: size[2], lattice };
        let result = self.node(index).output();
        let (taps, is_joined) = self.only_compared(result, &view, size, &[values])?;
        if !is_joined {
            // Bits alone are written by the layer itself.
            return None;
        }
        let buffer = self.builder.buffer(BufferKind::I16, size);
        let segments = vec![PlacedSegment { buffer, values }];
        Some((buffer, SegmentsPlace { segments, size, view }, taps))
    }

    /// The way from a layer's result to a step, cut where max pools lie on it.
    fn pooled_path(&self, result: ValueId, layer: &Layer) -> Option<PooledPath> {
        let mut path_nodes = Vec::new();
        let mut pools = Vec::new();
        let mut segments = vec![Vec::new()];
        let (mut value, mut view, mut size) = (result, layer.view.clone(), layer.output);
        loop {
            let uses = self.uses(value, &view);
            let [only] = uses.readers.as_slice() else { return None };
            if uses.is_output {
                return None;
            }
            if let Some(to_step) = self.path_to_step(only, size) {
                segments.last_mut()?.extend(to_step.operations.iter().cloned());
                path_nodes.extend(uses.structural);
                return Some(PooledPath { segments, pools, nodes: path_nodes, to_step });
            }
            path_nodes.extend(uses.structural);
            path_nodes.push(only.node);
            let node = self.node(only.node);
            let next = node.outputs.first().copied()?;
            match &node.op {
                Op::MaxPool(attributes) if only.view.is_channels_first(size) => {
                    let out = self.shape(next);
                    let pooled = [*out.get(2)?, *out.get(3)?, size[2]];
                    let geometry = pool_geometry(attributes, size, pooled);
                    pools.push((geometry, node.name.clone(), pooled));
                    segments.push(Vec::new());
                    view = View::channels_first(pooled);
                    size = pooled;
                }
                _ => {
                    segments.last_mut()?.extend(self.operations(only, size)?);
                    view = only.view.clone();
                }
            }
            value = next;
        }
    }

    fn emit_binary(
        &mut self,
        index: usize,
        layer: Layer,
        pending: PendingBinary,
        weights: &BinaryWeights,
        output: SumsOutput,
    ) {
        let name = &pending.name;
        let words = pack(layer.order.iter().map(|&at| weights.signs[at]));
        let bytes = words.len() * 8;
        let kind = match &output {
            SumsOutput::Threshold { .. } => "bits",
            SumsOutput::Integers(_) => "i16",
            SumsOutput::Float(ops) => output_kind(ops),
        };
        self.report(index, &layer, true, true, None, weights.signs.len() * 4, bytes, kind);
        let tensor = self.builder.tensor(
            &format!("{name}.weight"),
            weight_shape(&layer.geometry),
            TensorData::Bits(words),
        );
        let conv = BinaryConv {
            input: pending.input,
            geometry: layer.geometry,
            pad: pending.pad,
            alphabet: pending.alphabet,
            weights: tensor,
            affine: pending.affine,
        };
        match output {
            SumsOutput::Float(ops) => {
                let output = BinaryOutput::Float(self.builder.epilogue(name, ops));
                self.builder.step(name, StepKind::BinaryConv { conv, output });
            }
            SumsOutput::Integers(output) => {
                let output = BinaryOutput::Integers { output };
                self.builder.step(name, StepKind::BinaryConv { conv, output });
            }
            SumsOutput::Threshold { thresholds, output, pools } => {
                let thresholds = self.builder.tensor(
                    &format!("{name}.threshold"),
                    vec![thresholds.len()],
                    TensorData::I32(thresholds),
                );
                let output = BinaryOutput::Threshold { thresholds, flip: None, output };
                self.builder.step(name, StepKind::BinaryConv { conv, output });
                for PendingPool { name, input, pool, flip, output } in pools {
                    let flip = self.builder.flip(&format!("{name}.flip"), &flip);
                    self.builder.step(&name, StepKind::MaxPoolBits { input, pool, flip, output });
                }
            }
        }
    }

    pub(super) fn data_operand(&self, index: usize) -> Result<ValueId, ConvertError> {
        self.node(index).input(0).ok_or_else(|| self.unsupported(index, "the operand is missing"))
    }

    pub(super) fn float_place(
        &self,
        index: usize,
        value: ValueId,
    ) -> Result<FloatPlace, ConvertError> {
        self.floats[value.index()].clone().ok_or_else(|| {
            self.unsupported(
                index,
                format!("its operand '{}' is not there as floats", self.graph.value_name(value)),
            )
        })
    }

    /// Weights of a layer with the filters first.
    fn graph_weights(&self, index: usize) -> Result<Vec<f32>, ConvertError> {
        let node = self.node(index);
        let tensor = node.input(1).and_then(|id| self.graph.constant(id));
        let values = tensor.and_then(|t| t.f32().ok().map(|v| (t.shape(), v)));
        let (shape, values) =
            values.ok_or_else(|| self.unsupported(index, "the weights are not constant floats"))?;
        Ok(match layer_kind(self.graph, node) {
            Some(LayerKind::Dense) => transposed(values, shape[0], shape[1]),
            _ => values.to_vec(),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "one row of the report, written in two places")]
    pub(super) fn report(
        &mut self,
        index: usize,
        layer: &Layer,
        binary: bool,
        binary_weights: bool,
        reason: Option<String>,
        bytes_before: usize,
        bytes_after: usize,
        output: &str,
    ) {
        let per_output = layer.geometry.products();
        if let Some(&input) = self.demand.not_two_valued.get(&index) {
            self.not_two_valued.push((self.layers.len(), input));
        }
        self.layers.push(LayerReport {
            name: self.node(index).name.clone(),
            kind: layer.kind.clone(),
            binary,
            binary_weights,
            reason,
            input_zeros: None,
            input_shape: layer.input,
            output_shape: layer.output,
            bytes_before,
            bytes_after,
            macs: layer.output.iter().product::<usize>() as u64 * per_output as u64,
            output: output.to_owned(),
        });
    }
}

/// A binary layer whose output is not decided yet.
struct PendingBinary {
    name: String,
    input: BufferId,
    pad: PadValue,
    alphabet: Alphabet,
    affine: Option<AffineTerms>,
}

struct PendingPool {
    name: String,
    input: BufferId,
    pool: PoolGeometry,
    flip: Vec<bool>,
    output: BufferId,
}

/// What becomes of the sums of a binary layer.
enum SumsOutput {
    Threshold { thresholds: Vec<i32>, output: BufferId, pools: Vec<PendingPool> },
    Integers(BufferId),
    Float(Vec<PendingOp>),
}

/// Operations before, between and after the max pools on the way to a step.
struct PooledPath {
    segments: Vec<Vec<Operation>>,
    pools: Vec<(PoolGeometry, String, MapSize)>,
    /// Nodes before the last segment; those of the last one are in `to_step`.
    nodes: Vec<usize>,
    to_step: PathToStep,
}

pub(super) fn weight_shape(geometry: &ConvGeometry) -> Vec<usize> {
    let [height, width] = geometry.kernel;
    vec![geometry.out_channels, height, width, geometry.in_channels / geometry.groups]
}

/// How `x` reads bits: scale, centre and alphabet.
pub(super) fn alphabet(levels: Levels) -> (f32, f32, Alphabet) {
    let Levels { low, high } = levels;
    if low == -high {
        (high, 0.0, Alphabet::PlusMinus)
    } else if low == 0.0 {
        (high, 0.0, Alphabet::ZeroOne)
    } else {
        let (low, high) = (f64::from(low), f64::from(high));
        (((high - low) / 2.0) as f32, ((high + low) / 2.0) as f32, Alphabet::PlusMinus)
    }
}

/// The integers that the accumulators of a layer can take. With zero padding of ±1 a window at the
/// border has fewer taps, so both parities occur.
fn lattice(geometry: &ConvGeometry, pending: &PendingBinary) -> Lattice {
    let products = i32::try_from(geometry.products()).unwrap_or(i32::MAX);
    let fixed_parity = pending.alphabet == Alphabet::PlusMinus
        && (pending.pad != PadValue::Zero || geometry.pads == [0; 4]);
    Lattice { low: -products, high: products, step: if fixed_parity { 2 } else { 1 } }
}

/// Gives the filters of channels whose outcome does not depend on them one form, whichever form the
/// network was exported in.
fn forget_filters(weights: &mut BinaryWeights, idle: &[bool]) {
    let per_filter = weights.signs.len() / idle.len().max(1);
    for (filter, &idle) in weights.signs.chunks_mut(per_filter.max(1)).zip(idle) {
        if idle {
            filter.fill(true);
        }
    }
}

/// Negates the filters of the given channels: their accumulators change sign.
fn negate_filters(weights: &mut BinaryWeights, negated: &[bool]) {
    let per_filter = weights.signs.len() / negated.len().max(1);
    for (filter, &negate) in weights.signs.chunks_mut(per_filter.max(1)).zip(negated) {
        if negate {
            filter.iter_mut().for_each(|sign| *sign = !*sign);
        }
    }
}

/// Where integers are added to the accumulators and the sum is scaled by powers of two (BMXNet's
/// `(v + K) / 2`), scales first: `(v + t) * p` is `v * p + t * p`, all of it exact. That is the order
/// of every other epilogue, which the kernels run in one pass.
fn scale_before_shift(ops: &mut [PendingOp]) {
    let [PendingOp::Channel(first), PendingOp::Channel(second), ..] = ops else { return };
    let (ChannelOp::Add(shift), ChannelOp::Multiply(scale)) = (&*first, &*second) else { return };
    // With the accumulators below 2^22 as well, sums stay below 2^24.
    let integer = |t: &f32| t.fract() == 0.0 && t.abs() <= 4_194_304.0;
    let power_of_two = |p: &f32| p.to_bits() & 0x7f_ffff == 0 && (2e-10..2e10).contains(&p.abs());
    if !shift.iter().all(integer) || !scale.iter().all(power_of_two) {
        return;
    }
    let at = |values: &[f32], channel: usize| values[if values.len() == 1 { 0 } else { channel }];
    let channels = shift.len().max(scale.len());
    let scaled = (0..channels).map(|c| at(shift, c) * at(scale, c)).collect();
    (*first, *second) = (ChannelOp::Multiply(scale.clone()), ChannelOp::Add(scaled));
}

/// Makes the scales that the accumulators are first multiplied by positive, by negating filters where their
/// product is negative: `b * (a * v)` is `|b| * (|a| * -v)` then, to the bit. So a network gives the same
/// weights and the same bits whether its batch normalisation was folded into the weights by the exporter or
/// not.
pub(super) fn make_first_scales_positive(weights: &mut BinaryWeights, ops: &mut [PendingOp]) {
    let channels = weights.scales.len();
    let mut negated = vec![false; channels];
    for op in ops {
        let PendingOp::Channel(ChannelOp::Multiply(scale)) = op else { break };
        if scale.len() == 1 {
            *scale = vec![scale[0]; channels];
        }
        for (scale, negated) in scale.iter_mut().zip(&mut negated) {
            *negated ^= *scale < 0.0;
            *scale = scale.abs();
        }
    }
    negate_filters(weights, &negated);
}

/// Where sums are only compared, makes every comparison "at least" by negating filters: `v < t` is
/// `-v >= t'`, `t'` the float next above `-t`.
pub(super) fn turn_comparisons_up(weights: &mut BinaryWeights, ops: &mut [PendingOp]) {
    let [PendingOp::StoreBits { thresholds, flip, .. }] = ops else { return };
    let channels = weights.scales.len();
    if flip.len() != channels {
        return;
    }
    if let [threshold] = **thresholds {
        *thresholds = vec![threshold; channels];
    }
    for (threshold, &flip) in thresholds.iter_mut().zip(&*flip) {
        if flip {
            *threshold = (-*threshold).next_up();
        }
    }
    negate_filters(weights, flip);
    flip.fill(false);
}

/// What a report says of an epilogue's outputs.
pub(super) fn output_kind(ops: &[PendingOp]) -> &'static str {
    let floats = ops.iter().any(|op| matches!(op, PendingOp::Store(_)));
    let bits = ops.iter().any(|op| matches!(op, PendingOp::StoreBits { .. }));
    match (floats, bits) {
        (true, true) => "bits and f32",
        (false, true) => "bits",
        _ => "f32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::chain::evaluate;

    fn channel(operation: Operation) -> PendingOp {
        PendingOp::Channel(operation)
    }

    fn operations(ops: &[PendingOp]) -> Vec<Operation> {
        let operation = |op: &PendingOp| match op {
            PendingOp::Channel(operation) => operation.clone(),
            _ => unreachable!("only channel operations were given"),
        };
        ops.iter().map(operation).collect()
    }

    #[test]
    fn exact_shifts_and_scales_change_places_without_changing_a_value() {
        let before =
            [channel(ChannelOp::Add(vec![576.0])), channel(ChannelOp::Multiply(vec![0.5, -2.0]))];
        let mut after = before.to_vec();
        scale_before_shift(&mut after);
        assert_eq!(after[0], channel(ChannelOp::Multiply(vec![0.5, -2.0])));
        assert_eq!(after[1], channel(ChannelOp::Add(vec![288.0, -1152.0])));
        let (before, after) = (operations(&before), operations(&after));
        for v in -576..=576 {
            for channel in 0..2 {
                let x = v as f32;
                assert_eq!(evaluate(&before, x, channel), evaluate(&after, x, channel));
            }
        }
    }

    #[test]
    fn shifts_and_scales_that_round_stay_where_they_are() {
        for (shift, scale) in [(0.5, 0.5), (3.0, 0.3), (3.0, 0.0), (1e9, 0.5), (3.0, 1e-38)] {
            let before =
                [channel(ChannelOp::Add(vec![shift])), channel(ChannelOp::Multiply(vec![scale]))];
            let mut after = before.to_vec();
            scale_before_shift(&mut after);
            assert_eq!(before[..], after[..], "({shift}, {scale})");
        }
    }

    #[test]
    fn comparisons_are_turned_up() {
        let mut weights = BinaryWeights {
            signs: vec![true, false, true, true],
            scales: vec![1.0; 2],
            centres: vec![0.0; 2],
        };
        let output = BufferId(0);
        let mut ops =
            [PendingOp::StoreBits { thresholds: vec![1.5, -2.0], flip: vec![false, true], output }];
        turn_comparisons_up(&mut weights, &mut ops);
        assert_eq!(weights.signs, [true, false, false, false]);
        // v < -2 where -v > 2, that is from the float after 2 on.
        let thresholds = vec![1.5, 2.0_f32.next_up()];
        assert_eq!(ops[0], PendingOp::StoreBits { thresholds, flip: vec![false; 2], output });
    }

    #[test]
    fn the_first_scales_become_positive_with_their_filters() {
        let mut weights = BinaryWeights {
            signs: vec![true, false, true, true],
            scales: vec![1.0; 2],
            centres: vec![0.0; 2],
        };
        let scales = [vec![2.0, 3.0], vec![-1.0, -1.0], vec![-4.0, 5.0]];
        let mut ops = scales.map(|scale| channel(ChannelOp::Multiply(scale)));
        make_first_scales_positive(&mut weights, &mut ops);
        assert_eq!(weights.signs, [true, false, false, false]);
        let scales = [vec![2.0, 3.0], vec![1.0, 1.0], vec![4.0, 5.0]];
        assert_eq!(ops, scales.map(|scale| channel(ChannelOp::Multiply(scale))));
    }
}
