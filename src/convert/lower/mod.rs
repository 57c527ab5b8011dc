//! From a canonical graph to a program.
//!
//! Nodes are taken in order. A layer, pool or other source opens a step; the step's epilogue then
//! grows along the graph for as long as the running value has one float reader that is elementwise
//! (`grow`). Readers that lead to a sign become taps on the way: they write bits and do not stop the
//! growth. Tensors live in height, width, channels maps and are read through views.

mod builder;
mod demand;
mod ends;
mod fallback;
mod grow;
mod layer;
mod movement;
mod planes;
mod pool;
mod segments;
mod trace;

use std::collections::{HashMap, HashSet};

use super::{
    Conversion, ConvertError, ConvertOptions, UnsupportedNode,
    chain::channel_operations,
    facts::Levels,
    fold::shapes_of,
    report::{LayerReport, Notes, Report},
    trace::Trace,
    view::{MapSize, View},
};
use crate::{
    graph::{Graph, Node, Op, ValueId},
    program::{BufferId, BufferKind, PadValue, Port, StepKind},
    unsupported::nearest,
};
use builder::Builder;
use demand::Demand;
use ends::Ends;
use fallback::{FloatLayers, MOST_ATTEMPTS, add_readers};
use segments::SegmentsPlace;

pub(super) use demand::is_structural;

/// Where the floats of a tensor lie.
#[derive(Debug, Clone)]
struct FloatPlace {
    buffer: BufferId,
    view: View,
}

/// Where the bits of a tensor lie, and the padding that its reader adds.
#[derive(Debug, Clone)]
struct BitsPlace {
    buffer: BufferId,
    view: View,
    padding: Option<([usize; 4], PadValue)>,
}

/// A reader of a value, seen through the structural nodes between them.
#[derive(Debug, Clone)]
struct Use {
    node: usize,
    operand: usize,
    /// The value as this reader names it.
    value: ValueId,
    /// How the reader sees the map.
    view: View,
}

/// All readers of a value.
#[derive(Debug, Default)]
struct Uses {
    readers: Vec<Use>,
    /// Names of the same data under other views.
    aliases: Vec<(ValueId, View)>,
    /// Structural nodes passed on the way.
    structural: Vec<usize>,
    /// Whether the data are an output of the network.
    is_output: bool,
}

struct Lowering<'a> {
    graph: &'a Graph,
    options: &'a ConvertOptions,
    ambiguous_signs: &'a HashSet<ValueId>,
    shapes: Vec<Vec<usize>>,
    consumers: Vec<Vec<(usize, usize)>>,
    /// For each value whether it is an output of the network.
    is_output: Vec<bool>,
    demand: Demand,
    floats: Vec<Option<FloatPlace>>,
    segments: Vec<Option<SegmentsPlace>>,
    /// Where the ends of blocks lie.
    ends: Ends,
    bits: Vec<Option<BitsPlace>>,
    /// Digits of codes, highest first, by the value whose code they are.
    code_places: HashMap<ValueId, Vec<(BitsPlace, Levels)>>,
    done: Vec<bool>,
    builder: Builder,
    layers: Vec<LayerReport>,
    /// For the trace.
    not_two_valued: Vec<(usize, ValueId)>,
    notes: Notes,
}

/// Lowers a canonical graph.
///
/// # Errors
/// All nodes that no step can express, at once where that is known beforehand.
pub(super) fn lower(
    graph: &Graph,
    options: &ConvertOptions,
    ambiguous_signs: &HashSet<ValueId>,
) -> Result<Conversion, ConvertError> {
    refuse_unsupported(graph, &shapes_of(graph)?)?;
    let mut float_layers = FloatLayers::new();
    for _ in 0..MOST_ATTEMPTS {
        match attempt(graph, options, ambiguous_signs, &float_layers) {
            // What the first attempt could not express may be due to bits alone.
            Err(error) if add_readers(graph, &error, &mut float_layers) => {}
            outcome => return outcome,
        }
    }
    attempt(graph, options, ambiguous_signs, &float_layers)
}

/// Lowers a graph with some of the layers in floats.
fn attempt(
    graph: &Graph,
    options: &ConvertOptions,
    ambiguous_signs: &HashSet<ValueId>,
    float_layers: &FloatLayers,
) -> Result<Conversion, ConvertError> {
    let mut consumers = vec![Vec::new(); graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for (operand, input) in node.inputs.iter().enumerate() {
            if let Some(input) = input {
                consumers[input.index()].push((index, operand));
            }
        }
    }
    let mut is_output = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|output| is_output[output.index()] = true);
    let shapes = shapes_of(graph)?;
    let demand = Demand::new(graph, &shapes, float_layers);
    // What nobody wants as floats or bits (sums whose terms are planes) is not computed.
    let wanted = |id: &ValueId| demand.floats[id.index()] || demand.bits[id.index()];
    let done = graph.nodes.iter().map(|node| !node.outputs.iter().any(wanted)).collect();
    let mut lowering = Lowering {
        graph,
        options,
        ambiguous_signs,
        shapes,
        consumers,
        is_output,
        demand,
        floats: vec![None; graph.values.len()],
        segments: vec![None; graph.values.len()],
        ends: Ends::new(graph),
        bits: vec![None; graph.values.len()],
        code_places: HashMap::new(),
        done,
        builder: Builder::default(),
        layers: Vec::new(),
        not_two_valued: Vec::new(),
        notes: Notes::default(),
    };
    if options.f16 {
        let warning = "float weights are stored as f16, rounded to 11 bits";
        lowering.notes.warnings.push(warning.to_owned());
    }
    lowering.builder.program.name.clone_from(&graph.name);
    lowering.builder.program.metadata = options.metadata.clone();
    lowering.place_inputs()?;
    lowering.lower_nodes()?;
    lowering.place_outputs()?;
    let mut values = lowering.traced_values();
    let mut blocks = lowering.ends.blocks(graph, &lowering.shapes);
    let mut program = lowering.builder.program;
    let buffers = drop_unread_buffers(&mut program);
    trace::renumber(&mut values, &buffers);
    ends::renumber(&mut blocks, &buffers, &program);
    program.metadata.blocks = blocks;
    let not_two_valued = lowering.not_two_valued;
    let trace = Trace { values, signs: Vec::new(), not_two_valued, f16: options.f16 };
    Ok(Conversion { program, report: Report::new(lowering.layers, lowering.notes), trace })
}

impl<'a> Lowering<'a> {
    fn node(&self, index: usize) -> &'a Node {
        &self.graph.nodes[index]
    }

    fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.index()]
    }

    fn unsupported(&self, index: usize, reason: impl Into<String>) -> ConvertError {
        ConvertError::Unsupported {
            nodes: vec![unsupported_node(self.node(index), &self.shapes, reason.into())],
        }
    }

    /// Readers of a value, seen through transpositions and reshapes that its view can express.
    fn uses(&self, value: ValueId, view: &View) -> Uses {
        let mut uses = Uses { is_output: self.is_output[value.index()], ..Uses::default() };
        // Not by recursion: a chain of transpositions may be longer than the stack is deep.
        let mut open: Vec<(ValueId, View, usize)> = vec![(value, view.clone(), 0)];
        while let Some((value, view, next)) = open.last_mut() {
            let Some(&(node, operand)) = self.consumers[value.index()].get(*next) else {
                open.pop();
                continue;
            };
            *next += 1;
            if self.done[node] {
                continue;
            }
            match self.through_structural(node, operand, view) {
                Some(view) => {
                    let output = self.node(node).output();
                    uses.structural.push(node);
                    uses.aliases.push((output, view.clone()));
                    uses.is_output |= self.is_output[output.index()];
                    open.push((output, view, 0));
                }
                None => {
                    let (value, view) = (*value, view.clone());
                    uses.readers.push(Use { node, operand, value, view });
                }
            }
        }
        uses
    }

    /// The view behind a structural node, if the view can express it.
    fn through_structural(&self, node: usize, operand: usize, view: &View) -> Option<View> {
        let node = self.node(node);
        if operand != 0 || !is_structural(&node.op) {
            return None;
        }
        match &node.op {
            Op::Transpose { perm } => Some(view.transposed(perm)),
            _ => view.reshaped(self.shape(node.output())),
        }
    }

    /// Records where the floats of a value lie, for it and for all its aliases.
    fn place_float(&mut self, value: ValueId, buffer: BufferId, view: View) {
        let uses = self.uses(value, &view);
        self.ends.place(value, buffer, &view);
        self.floats[value.index()] = Some(FloatPlace { buffer, view });
        for (alias, view) in uses.aliases {
            self.ends.place(alias, buffer, &view);
            self.floats[alias.index()] = Some(FloatPlace { buffer, view });
        }
        // A structural node stays open while its bits are still to come.
        for node in uses.structural {
            if !self.demand.bits[self.node(node).output().index()] {
                self.done[node] = true;
            }
        }
    }

    /// Records where the bits of a value lie, for it and for everything that only renames them:
    /// views, other levels for the same bits, padding.
    fn place_bits(&mut self, value: ValueId, place: BitsPlace) -> Result<(), ConvertError> {
        // Not by recursion, as in `uses`.
        let mut open = vec![(value, place)];
        while let Some((value, place)) = open.pop() {
            let first = open.len();
            for (index, operand) in self.consumers[value.index()].clone() {
                if let Some(named) = self.bits_behind(index, operand, value, &place)? {
                    open.push(named);
                }
            }
            open[first..].reverse();
            self.bits[value.index()] = Some(place);
        }
        Ok(())
    }

    /// The result of a reader that only renames bits, and its place.
    fn bits_behind(
        &mut self,
        index: usize,
        operand: usize,
        value: ValueId,
        place: &BitsPlace,
    ) -> Result<Option<(ValueId, BitsPlace)>, ConvertError> {
        let node = self.node(index);
        let &[output] = node.outputs.as_slice() else { return Ok(None) };
        if self.done[index]
            || operand != 0 && !matches!(node.op, Op::Binary(_))
            || self.demand.levels[output.index()].is_none()
            || !self.demand.bits[output.index()]
        {
            return Ok(None);
        }
        let next = if is_structural(&node.op) {
            let view = self
                .through_structural(index, operand, &place.view)
                .ok_or_else(|| self.unsupported(index, "bits cannot be regrouped like that"))?;
            BitsPlace { view, ..place.clone() }
        } else if matches!(node.op, Op::Pad) {
            match self.absorbed_padding(index, value, place) {
                Some(padding) => BitsPlace { padding: Some(padding), ..place.clone() },
                None => return Ok(None),
            }
        } else if matches!(node.op, Op::MaxPool(_) | Op::Concat { .. } | Op::Step { .. }) {
            return Ok(None);
        } else {
            place.clone()
        };
        if !self.demand.floats[output.index()] {
            self.done[index] = true;
        }
        Ok(Some((output, next)))
    }

    /// The padding that a `Pad` node adds to bits, if every reader of its result is a binary
    /// convolution without padding of its own, which can take it over.
    fn absorbed_padding(
        &self,
        index: usize,
        value: ValueId,
        place: &BitsPlace,
    ) -> Option<([usize; 4], PadValue)> {
        if place.padding.is_some() {
            return None;
        }
        let node = self.node(index);
        let (pads, padding) =
            self.spatial_padding(index, self.demand.levels[value.index()]?, place)?;
        let mut pending = vec![node.output()];
        while let Some(value) = pending.pop() {
            if self.is_output[value.index()] {
                return None;
            }
            for &(reader, operand) in &self.consumers[value.index()] {
                let node = self.node(reader);
                match &node.op {
                    Op::Conv(conv)
                        if operand == 0
                            && conv.pads == [0; 4]
                            && self.demand.binary.contains_key(&reader) => {}
                    op if is_structural(op) => pending.push(node.output()),
                    // Other levels for the same bits; a padding that adds nothing must stay zero.
                    Op::Binary(_)
                        if padding != PadValue::Zero
                            && self.demand.levels[node.output().index()].is_some() =>
                    {
                        pending.push(node.output());
                    }
                    _ => return None,
                }
            }
        }
        Some((pads, padding))
    }

    /// Amounts (top, left, bottom, right) and value of a `Pad` of bits over height and width.
    fn spatial_padding(
        &self,
        index: usize,
        levels: Levels,
        place: &BitsPlace,
    ) -> Option<([usize; 4], PadValue)> {
        let node = self.node(index);
        let size = self.builder.size(place.buffer);
        let ([top, left, bottom, right], [0, 0]) = self.map_padding(index, &place.view, size)?
        else {
            return None;
        };
        let constant = match node.input(2) {
            Some(id) => super::chain::uniform_constant(self.graph, id)?,
            None => 0.0,
        };
        let value = if constant == levels.high {
            PadValue::Plus
        } else if constant == levels.low {
            PadValue::Minus
        } else if constant == 0.0 {
            PadValue::Zero
        } else {
            return None;
        };
        Some(([top, left, bottom, right], value))
    }

    fn place_inputs(&mut self) -> Result<(), ConvertError> {
        for input in &self.graph.inputs {
            let value = input.value;
            let shape = &input.shape;
            let size = match shape[..] {
                // One channel: both orders are the same, and the map is one of pixels.
                [1, 1, height, width] => [height, width, 1],
                [1, a, b, c] => [a, b, c],
                [1, a, b] => [1, a, b],
                _ => [1, 1, shape.iter().product()],
            };
            let buffer = self.builder.buffer(BufferKind::F32, size);
            self.builder.program.inputs.push(Port {
                name: self.graph.value_name(value).to_owned(),
                shape: shape.iter().skip(1).copied().collect(),
                buffer,
            });
            let view = View::row_major(shape);
            if shape.len() == 4 && !self.is_channels_last_input(value) {
                self.ends.place(value, buffer, &view);
                self.floats[value.index()] = Some(FloatPlace { buffer, view });
                let place = self.channels_first_copy(value, "input")?;
                self.place_float(value, place.buffer, place.view);
            } else {
                self.place_float(value, buffer, view);
            }
        }
        Ok(())
    }

    /// Whether the first transposition behind an input says that its channels come last.
    fn is_channels_last_input(&self, input: ValueId) -> bool {
        let mut pending = vec![input];
        let mut seen = HashSet::new();
        while let Some(value) = pending.pop() {
            for &(index, _) in &self.consumers[value.index()] {
                let node = self.node(index);
                match &node.op {
                    Op::Transpose { perm } => return perm[..] == [0, 3, 1, 2],
                    Op::Unary(_)
                    | Op::Binary(_)
                    | Op::Clip
                    | Op::PRelu
                    | Op::TwoSlope
                    | Op::Step { .. }
                    | Op::Quant(_)
                    | Op::Pad
                    | Op::Slice
                    | Op::Split { .. }
                    | Op::Concat { .. }
                        if seen.insert(node.output()) =>
                    {
                        pending.extend(&node.outputs);
                    }
                    _ => {}
                }
            }
        }
        false
    }

    /// Lowers all nodes. Where one is not supported, those that need its results are passed over, and
    /// the others tried, so that everything that is not supported is told at once.
    fn lower_nodes(&mut self) -> Result<(), ConvertError> {
        let mut unsupported: Vec<UnsupportedNode> = Vec::new();
        let mut missing: HashSet<ValueId> = HashSet::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let outcome = if node.inputs.iter().flatten().any(|id| missing.contains(id)) {
                Ok(false)
            } else {
                self.lower_node(index).map(|()| true)
            };
            match outcome {
                Ok(true) => continue,
                Ok(false) => {}
                Err(ConvertError::Unsupported { nodes }) => {
                    // A step may grow into a node that is tried again by itself.
                    let new = nodes.into_iter().filter(|node| !unsupported.contains(node));
                    unsupported.extend(new.collect::<Vec<_>>());
                }
                Err(error) => return Err(error),
            }
            missing.extend(&node.outputs);
        }
        if unsupported.is_empty() {
            Ok(())
        } else {
            Err(ConvertError::Unsupported { nodes: unsupported })
        }
    }

    fn lower_node(&mut self, index: usize) -> Result<(), ConvertError> {
        if self.done[index] {
            return Ok(());
        }
        let node = self.node(index);
        if !matches!(node.op, Op::Concat { .. }) {
            node.inputs.iter().flatten().for_each(|&input| self.join_segments(input, &node.name));
        }
        if demand::layer_kind(self.graph, node).is_some() {
            return self.lower_layer(index);
        }
        match &node.op {
            op if is_structural(op) => self.lower_regrouping(index),
            Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool | Op::GlobalMaxPool => {
                self.lower_pool(index)
            }
            Op::Reduce { .. } => self.lower_reduce(index),
            Op::Concat { .. } => self.lower_concat(index),
            Op::Pad => self.lower_pad(index),
            Op::Slice | Op::Split { .. } => self.lower_slices(index),
            Op::Expand => self.lower_expand(index),
            Op::Softmax { .. } | Op::LogSoftmax { .. } => self.lower_softmax(index),
            _ => self.lower_elementwise(index),
        }
    }

    /// Gives every output of the network a buffer in the order of the original graph.
    fn place_outputs(&mut self) -> Result<(), ConvertError> {
        let graph = self.graph;
        for &output in &graph.outputs {
            self.join_segments(output, graph.value_name(output));
        }
        // Maps that are an output under several views: none of these may read another.
        let mut seen = HashSet::new();
        let places = graph.outputs.iter().filter_map(|output| self.floats[output.index()].as_ref());
        let shared: HashSet<BufferId> =
            places.map(|place| place.buffer).filter(|&buffer| !seen.insert(buffer)).collect();
        for &output in &graph.outputs {
            let name = graph.value_name(output).to_owned();
            let shape = self.shape(output).to_vec();
            let elements: usize = shape.iter().product();
            let Some(place) = self.floats[output.index()].clone() else {
                return Err(ConvertError::Node {
                    node: name,
                    reason: "the output of the network is a constant".to_owned(),
                });
            };
            let taken = |ports: &[Port]| ports.iter().any(|port| port.buffer == place.buffer);
            let program = &self.builder.program;
            let in_place = place.view.is_row_major()
                && !taken(&program.inputs)
                && !shared.contains(&place.buffer)
                && !program.steps.iter().any(|step| movement::reads(&step.kind, place.buffer));
            let buffer = if in_place {
                place.buffer
            } else {
                let buffer = self.builder.buffer(BufferKind::F32, [1, 1, elements]);
                let (dims, strides) = place.view.gather();
                let kind = StepKind::Gather {
                    input: place.buffer,
                    output: buffer,
                    dims,
                    strides,
                    offset: 0,
                };
                self.builder.step(&name, kind);
                buffer
            };
            self.builder.program.outputs.push(Port {
                name,
                shape: shape.into_iter().skip(1).collect(),
                buffer,
            });
        }
        Ok(())
    }

    /// Operations that a reader applies to the value it reads, if it is elementwise.
    fn operations(&self, reader: &Use, size: MapSize) -> Option<Vec<super::chain::Operation>> {
        let node = self.node(reader.node);
        channel_operations(self.graph, node, reader.operand, &reader.view, size)
    }
}

/// Names every operator that has no step, all at once.
fn refuse_unsupported(graph: &Graph, shapes: &[Vec<usize>]) -> Result<(), ConvertError> {
    let nodes: Vec<UnsupportedNode> = graph
        .nodes
        .iter()
        .filter_map(|node| {
            let reason = match &node.op {
                Op::Conv(_) | Op::Gemm { .. } | Op::MatMul
                    if demand::layer_kind(graph, node).is_none() =>
                {
                    "the weights are not a constant matrix or a constant 2-D kernel"
                }
                Op::Where
                | Op::Gather { .. }
                | Op::Shape { .. }
                | Op::Cast { .. }
                | Op::ConstantOfShape { .. }
                | Op::Range
                | Op::ArgMax { .. }
                | Op::DepthToSpace { .. }
                | Op::Trunc { .. }
                | Op::MultiThreshold { .. }
                | Op::BipolarQuant => "the engine has no step for it on data",
                _ => return None,
            };
            Some(unsupported_node(node, shapes, reason.to_owned()))
        })
        .collect();
    if nodes.is_empty() { Ok(()) } else { Err(ConvertError::Unsupported { nodes }) }
}

fn unsupported_node(node: &Node, shapes: &[Vec<usize>], reason: String) -> UnsupportedNode {
    let op = node.op.name();
    let shape = |id: &Option<ValueId>| Some(shapes[(*id)?.index()].clone());
    UnsupportedNode {
        node: node.name.clone(),
        input_shapes: node.inputs.iter().map(shape).collect(),
        reason,
        nearest: nearest::listed(op),
        op: op.to_owned(),
        domain: String::new(),
    }
}

/// Renumbers buffers so that none is left that no step and no caller touches; returns the new ids.
fn drop_unread_buffers(program: &mut crate::program::Program) -> Vec<Option<BufferId>> {
    let mut used = vec![false; program.buffers.len()];
    for port in program.inputs.iter().chain(&program.outputs) {
        used[port.buffer.index()] = true;
    }
    for step in &mut program.steps {
        movement::for_each_buffer(&mut step.kind, &mut |id| used[id.index()] = true);
    }
    let mut next = 0;
    let renumbered: Vec<u32> = used
        .iter()
        .map(|&used| {
            let id = next;
            next += u32::from(used);
            id
        })
        .collect();
    let rename = |id: &mut BufferId| *id = BufferId(renumbered[id.index()]);
    for step in &mut program.steps {
        movement::for_each_buffer(&mut step.kind, &mut |id| rename(id));
    }
    for port in program.inputs.iter_mut().chain(&mut program.outputs) {
        rename(&mut port.buffer);
    }
    let ids = renumbered.iter().zip(&used).map(|(&id, &used)| used.then_some(BufferId(id)));
    let ids = ids.collect();
    let mut used = used.into_iter();
    program.buffers.retain(|_| used.next().unwrap_or(true));
    ids
}
