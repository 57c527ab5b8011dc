//! Growing an epilogue along the graph.

use super::{BitsPlace, FloatPlace, Lowering, Use, Uses, builder::PendingOp};
use crate::{
    convert::{
        ConvertError,
        chain::Operation,
        threshold::{Comparison, float_threshold},
        view::{MapSize, View},
    },
    graph::{BinaryOp, Op, ValueId},
    program::{BufferId, BufferKind, ChannelOp, CombineOp, StepKind},
};

/// Longest epilogue of one step; longer chains continue in a step of their own.
const LONGEST: usize = 48;

/// The value that an epilogue holds at some point.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) value: ValueId,
    pub(super) view: View,
    pub(super) size: MapSize,
    /// The buffer that already holds it, if there is one.
    pub(super) stored: Option<BufferId>,
}

/// A way from a value to a step, through elementwise nodes with one reader each.
pub(super) struct PathToStep {
    pub(super) operations: Vec<Operation>,
    pub(super) nodes: Vec<usize>,
    pub(super) comparison: Comparison,
    /// The result of the step, and how it lies in the map.
    pub(super) result: ValueId,
    pub(super) view: View,
}

/// How the running value goes on.
struct Continuation {
    node: usize,
    ops: Vec<PendingOp>,
    /// The map that is combined with the running value, if it must first be brought to its size.
    spread: Option<Spread>,
    next: ValueId,
    view: View,
}

impl Continuation {
    /// The maps that it reads.
    fn operands(&self) -> impl Iterator<Item = BufferId> {
        let combined = self.ops.iter().filter_map(|op| match op {
            PendingOp::Combine { operand, .. } => Some(*operand),
            _ => None,
        });
        combined.chain(self.spread.iter().map(|spread| spread.input))
    }
}

/// A map that is repeated along some dimensions, or lies in another order.
struct Spread {
    input: BufferId,
    dims: Vec<usize>,
    strides: Vec<isize>,
    op: CombineOp,
}

/// The other operand of a node.
enum Operand {
    /// It lies as the running value does.
    Buffer(BufferId),
    /// It is copied into the shape of the running value first.
    Spread(BufferId, Vec<usize>, Vec<isize>),
}

impl Lowering<'_> {
    /// Extends an epilogue from a running value for as long as the graph allows.
    pub(super) fn grow(
        &mut self,
        mut running: Running,
        ops: &mut Vec<PendingOp>,
    ) -> Result<(), ConvertError> {
        loop {
            let uses = self.uses(running.value, &running.view);
            let mut readers = Vec::new();
            for reader in &uses.readers {
                if !self.tap(reader, running.size, ops)? {
                    readers.push(reader.clone());
                }
            }
            if running.stored.is_none()
                && !uses.is_output
                && self.write_digits(&readers, running.size, ops)
            {
                self.pass_structural(&uses);
                return Ok(());
            }
            // Bits of the value itself are wanted where it is the result of a step.
            let continuations: Vec<Continuation> = if ops.len() < LONGEST {
                // A map that this very step writes is not there yet.
                let there = |buffer: BufferId| !ops.contains(&PendingOp::Store(buffer));
                readers
                    .iter()
                    .filter_map(|reader| self.continuation(reader, &running))
                    .filter(|continuation| continuation.operands().all(there))
                    .collect()
            } else {
                Vec::new()
            };
            let only_way = readers.len() == 1 && continuations.len() == 1;
            let wanted = !readers.is_empty() || uses.is_output;
            if running.stored.is_none() && wanted && (!only_way || uses.is_output) {
                let buffer = self.builder.buffer(BufferKind::F32, running.size);
                ops.push(PendingOp::Store(buffer));
                self.place_float(running.value, buffer, running.view.clone());
            } else if running.stored.is_none() {
                self.pass_structural(&uses);
            }
            let Some(mut next) = continuations.into_iter().next() else { return Ok(()) };
            ops.append(&mut next.ops);
            if let Some(Spread { input, dims, strides, op }) = next.spread.take() {
                let operand = self.builder.buffer(BufferKind::F32, running.size);
                let name = format!("{}.spread", self.node(next.node).name);
                let kind = StepKind::Gather { input, output: operand, dims, strides, offset: 0 };
                self.builder.step(&name, kind);
                ops.push(PendingOp::Combine { op, operand });
            }
            self.done[next.node] = true;
            self.write_step_bits(&next, running.size, ops)?;
            running =
                Running { value: next.next, view: next.view, size: running.size, stored: None };
        }
    }

    /// Marks structural nodes as done whose data went on inside the epilogue.
    fn pass_structural(&mut self, uses: &Uses) {
        for &node in &uses.structural {
            if !self.demand.bits[self.node(node).output().index()] {
                self.done[node] = true;
            }
        }
    }

    /// A step whose result is wanted as floats and as bits: the bits are written from the floats.
    fn write_step_bits(
        &mut self,
        next: &Continuation,
        size: MapSize,
        ops: &mut Vec<PendingOp>,
    ) -> Result<(), ConvertError> {
        let Op::Step { low, high, .. } = self.node(next.node).op else { return Ok(()) };
        if !self.demand.bits[next.next.index()] {
            return Ok(());
        }
        let output = self.builder.buffer(BufferKind::Bits, size);
        // Bit 1 is `high`, which lies above or below the middle.
        let middle = low + (high - low) / 2.0;
        let (threshold, flip) = if high > low {
            (if middle > low { middle } else { high }, false)
        } else {
            (if middle > high { middle } else { low }, true)
        };
        ops.push(PendingOp::StoreBits {
            thresholds: vec![threshold],
            flip: vec![flip; size[2]],
            output,
        });
        self.place_bits(
            next.next,
            BitsPlace { buffer: output, view: next.view.clone(), padding: None },
        )
    }

    /// If a reader leads to a step whose result is only wanted as bits, writes those bits.
    fn tap(
        &mut self,
        reader: &Use,
        size: MapSize,
        ops: &mut Vec<PendingOp>,
    ) -> Result<bool, ConvertError> {
        let Some(path) = self.path_to_step(reader, size) else { return Ok(false) };
        if !self.bits_fit(path.result, &path.view, size) {
            return Ok(false);
        }
        let uniform = path.operations.iter().flat_map(ChannelOp::parameters).all(|p| p.len() == 1);
        let channels = if uniform { 1 } else { size[2] };
        let thresholds: Option<Vec<_>> = (0..channels)
            .map(|channel| float_threshold(&path.operations, path.comparison, channel))
            .collect();
        let Some(mut thresholds) = thresholds else { return Ok(false) };
        if thresholds.iter().any(|t| t.flip) {
            thresholds.resize(size[2], thresholds[0]);
        }
        let output = self.builder.buffer(BufferKind::Bits, size);
        ops.push(PendingOp::StoreBits {
            thresholds: thresholds.iter().map(|t| t.at).collect(),
            flip: thresholds.iter().map(|t| t.flip).collect(),
            output,
        });
        self.note_ambiguous_sign(path.result);
        for node in path.nodes {
            self.done[node] = true;
        }
        let place = BitsPlace { buffer: output, view: path.view, padding: None };
        self.place_bits(path.result, place)?;
        Ok(true)
    }

    /// Whether every convolution that reads bits finds them in channels-last order: bits of a pixel
    /// cannot be reordered later.
    pub(super) fn bits_fit(&self, result: ValueId, view: &View, size: MapSize) -> bool {
        self.uses(result, view).readers.iter().all(|reader| {
            !matches!(self.node(reader.node).op, Op::Conv(_)) || reader.view.is_channels_first(size)
        })
    }

    /// A note for a `Sign` on floats, which ONNX takes as 0 at zero and the engine as +1.
    pub(super) fn note_ambiguous_sign(&mut self, result: ValueId) {
        if self.ambiguous_signs.contains(&result) {
            let name = self.graph.value_name(result);
            self.notes.notes.push(format!(
                "sign '{name}': an input of exactly 0 gives +1 (ONNX Sign would give 0)"
            ));
        }
    }

    /// The way from a reader to a step that is only wanted as bits, if every node on it is
    /// elementwise and has one reader.
    pub(super) fn path_to_step(&self, reader: &Use, size: MapSize) -> Option<PathToStep> {
        let mut reader = reader.clone();
        let mut operations = Vec::new();
        let mut nodes = Vec::new();
        loop {
            let node = self.node(reader.node);
            nodes.push(reader.node);
            if nodes.len() > LONGEST {
                return None;
            }
            let result = node.outputs.first().copied()?;
            if let Op::Step { at_least, .. } = node.op {
                let wanted =
                    self.demand.bits[result.index()] && !self.demand.floats[result.index()];
                let comparison = if at_least { Comparison::AtLeast } else { Comparison::Above };
                return wanted.then_some(PathToStep {
                    operations,
                    nodes,
                    comparison,
                    result,
                    view: reader.view,
                });
            }
            operations.extend(self.operations(&reader, size)?);
            let uses = self.uses(result, &reader.view);
            let [only] = uses.readers.as_slice() else { return None };
            if uses.is_output {
                return None;
            }
            nodes.extend(&uses.structural);
            reader = only.clone();
        }
    }

    /// How a reader would continue the epilogue: by operations per channel, or by combining the
    /// running value with a map that is already there.
    fn continuation(&self, reader: &Use, running: &Running) -> Option<Continuation> {
        let node = self.node(reader.node);
        let next = node.outputs.first().copied()?;
        let make = |ops, spread| {
            let view = reader.view.clone();
            Some(Continuation { node: reader.node, ops, spread, next, view })
        };
        let is_step = matches!(node.op, Op::Step { .. });
        if is_step
            && self.demand.bits[next.index()]
            && !self.bits_fit(next, &reader.view, running.size)
        {
            return None;
        }
        if let Some(operations) = self.operations(reader, running.size) {
            return make(operations.into_iter().map(PendingOp::Channel).collect(), None);
        }
        let Op::Binary(op) = node.op else { return None };
        let first = reader.operand == 0;
        let op = match op {
            BinaryOp::Add => CombineOp::Add,
            BinaryOp::Mul => CombineOp::Multiply,
            BinaryOp::Sub if first => CombineOp::Subtract,
            BinaryOp::Sub => CombineOp::SubtractFrom,
            BinaryOp::Div if first => CombineOp::Divide,
            BinaryOp::Div => CombineOp::DivideInto,
            BinaryOp::Min => CombineOp::Minimum,
            BinaryOp::Max => CombineOp::Maximum,
            _ => return None,
        };
        let other = node.input(1 - reader.operand)?;
        match self.matching_operand(other, next, reader, running)? {
            Operand::Buffer(operand) => make(vec![PendingOp::Combine { op, operand }], None),
            Operand::Spread(input, dims, strides) => {
                make(Vec::new(), Some(Spread { input, dims, strides, op }))
            }
        }
    }

    /// Another operand, if it is there: as it is where it lies as the running value does or has one
    /// pixel that all pixels share, else as a copy that does.
    fn matching_operand(
        &self,
        other: ValueId,
        result: ValueId,
        reader: &Use,
        running: &Running,
    ) -> Option<Operand> {
        let FloatPlace { buffer, view } = self.floats[other.index()].as_ref()?;
        let shape = self.shape(reader.value);
        if self.shape(result) != shape {
            return None;
        }
        let size = self.builder.size(*buffer);
        let other = self.shape(other);
        if other == shape && size == running.size && view.same_order(&reader.view) {
            return Some(Operand::Buffer(*buffer));
        }
        // [1, C, 1, 1] against [1, C, H, W].
        let is_vector = size == [1, 1, running.size[2]]
            && other.len() == shape.len()
            && (0..shape.len()).any(|axis| {
                reader.view.is_channel_axis(running.size, axis) && other[axis] == running.size[2]
            });
        if is_vector {
            return Some(Operand::Buffer(*buffer));
        }
        let (dims, strides) = reader.view.spread(view, other)?;
        Some(Operand::Spread(*buffer, dims, strides))
    }

    /// An elementwise node whose operand is already in a buffer.
    pub(super) fn lower_elementwise(&mut self, index: usize) -> Result<(), ConvertError> {
        let elements =
            |lowering: &Self, value: ValueId| -> usize { lowering.shape(value).iter().product() };
        let node = self.node(index);
        let result = node.output();
        // The operand as large as the result is the running one.
        let operands: Vec<ValueId> = node
            .inputs
            .iter()
            .flatten()
            .copied()
            .filter(|&id| {
                self.graph.constant(id).is_none()
                    && self.floats[id.index()].is_some()
                    && elements(self, id) == elements(self, result)
            })
            .collect();
        for value in operands {
            if self.start_until_done(value, index)? {
                return Ok(());
            }
            // A per-channel constant may only be one once the map is in channels-last order, or once
            // a flattened map is one pixel.
            if self.shape(value).len() == 4 {
                let place = self.channels_first_copy(value, &node.name)?;
                self.floats[value.index()] = Some(place);
            } else {
                self.vector_copy(value, &node.name);
            }
            if self.start_until_done(value, index)? {
                return Ok(());
            }
            // A constant that differs from pixel to pixel.
            for constant in node.inputs.iter().flatten() {
                self.place_constant(*constant, &node.name);
            }
            if self.start_until_done(value, index)? {
                return Ok(());
            }
            // A map that the next layer reads as one row of features.
            self.vector_copy(value, &node.name);
            if self.start_until_done(value, index)? {
                return Ok(());
            }
        }
        let shapes: Vec<String> =
            node.inputs.iter().flatten().map(|id| format!("{:?}", self.shape(*id))).collect();
        Err(self.unsupported(
            index,
            format!("operands {} cannot be combined per channel", shapes.join(", ")),
        ))
    }

    /// Opens steps on a map until one of them has taken a given node; `false` if none can.
    fn start_until_done(&mut self, value: ValueId, index: usize) -> Result<bool, ConvertError> {
        let name = &self.node(index).name;
        loop {
            let before = self.done.iter().filter(|&&done| done).count();
            self.start_elementwise(value, name)?;
            if self.done[index] {
                return Ok(true);
            }
            if self.done.iter().filter(|&&done| done).count() == before {
                return Ok(false);
            }
        }
    }

    /// Opens a step on a map that is already there and grows it as far as it goes; nothing is left
    /// behind if it goes nowhere.
    fn start_elementwise(&mut self, value: ValueId, name: &str) -> Result<(), ConvertError> {
        let Some(FloatPlace { buffer, view }) = self.floats[value.index()].clone() else {
            return Ok(());
        };
        let stored_size = self.builder.size(buffer);
        let (view, size) = self.flattened_for_bits(value, &view, stored_size);
        let mut ops = Vec::new();
        let running = Running { value, view, size, stored: Some(buffer) };
        self.grow(running, &mut ops)?;
        if !ops.is_empty() {
            let epilogue = self.builder.epilogue(name, ops);
            self.builder.step(
                name,
                StepKind::Elementwise { input: buffer, flatten: size != stored_size, epilogue },
            );
        }
        Ok(())
    }

    /// A map that is only read as one row of features, in memory order, is taken as one pixel:
    /// its bits then fill words even where a pixel has few channels.
    fn flattened_for_bits(&self, value: ValueId, view: &View, size: MapSize) -> (View, MapSize) {
        let elements = size.iter().product::<usize>();
        let vector = View::vector(elements);
        if size[2].is_multiple_of(64) || size[2] == elements {
            return (view.clone(), size);
        }
        let uses = self.uses(value, view);
        let flat = !uses.readers.is_empty()
            && uses.readers.iter().all(|reader| reader.view.same_order(&vector));
        if flat && self.shape(value).len() == 2 {
            (vector, [1, 1, elements])
        } else {
            (view.clone(), size)
        }
    }
}
