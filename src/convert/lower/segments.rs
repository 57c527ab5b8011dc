//! Values that lie in several maps side by side.
//!
//! In a dense network every unit reads all that came before it, `x <- concat(x, f(sign(bn(x))))`. The
//! concatenations are not executed: their operands stay where they were written, sums of binary
//! convolutions as integers, and a reader that compares channel by channel compares them there. A
//! reader that needs more gets the joined map, as floats, once.

use super::{BitsPlace, FloatPlace, Lowering, Use, grow::PathToStep};
use crate::{
    convert::{
        ConvertError,
        threshold::{
            FloatThreshold, IntegerThreshold, Lattice, float_threshold, integer_threshold,
        },
        view::{MapSize, View},
    },
    graph::{Op, ValueId},
    program::{BufferId, BufferKind, ChannelOp, StepKind, TensorData},
};

/// Where the numbers of a tensor lie, and how it reads the map that they would be together.
#[derive(Debug, Clone)]
pub(super) struct SegmentsPlace {
    pub(super) segments: Vec<PlacedSegment>,
    pub(super) size: MapSize,
    pub(super) view: View,
}

/// One of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlacedSegment {
    pub(super) buffer: BufferId,
    pub(super) values: SegmentValues,
}

/// What a map of a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentValues {
    pub(super) channels: usize,
    /// The integers that it may hold; absent where it holds floats.
    pub(super) lattice: Option<Lattice>,
}

/// A reader that only compares, with its thresholds in the order of the channels.
pub(super) struct SegmentTap {
    path: PathToStep,
    floats: Vec<f32>,
    integers: Vec<i32>,
    flip: Vec<bool>,
    reaches_zero: bool,
}

impl SegmentsPlace {
    fn values(&self) -> Vec<SegmentValues> {
        self.segments.iter().map(|segment| segment.values).collect()
    }

    fn buffers(&self) -> Vec<BufferId> {
        self.segments.iter().map(|segment| segment.buffer).collect()
    }
}

impl Lowering<'_> {
    /// What the readers of a value need besides concatenations of it, if that is comparisons and
    /// nothing else; and whether there are concatenations at all.
    pub(super) fn only_compared(
        &self,
        value: ValueId,
        view: &View,
        size: MapSize,
        values: &[SegmentValues],
    ) -> Option<(Vec<SegmentTap>, bool)> {
        let uses = self.uses(value, view);
        if uses.is_output {
            return None;
        }
        let mut taps = Vec::new();
        let mut is_joined = false;
        for reader in &uses.readers {
            if self.joins_channels(reader, size) {
                is_joined = true;
            } else {
                taps.push(self.segment_tap(reader, size, values)?);
            }
        }
        Some((taps, is_joined))
    }

    /// Whether a reader concatenates along the channels.
    fn joins_channels(&self, reader: &Use, size: MapSize) -> bool {
        let Op::Concat { axis } = self.node(reader.node).op else { return false };
        let axis = if axis < 0 { axis + reader.view.rank() as i64 } else { axis } as usize;
        reader.view.is_channel_axis(size, axis)
    }

    /// The thresholds of a reader that only compares.
    fn segment_tap(
        &self,
        reader: &Use,
        size: MapSize,
        values: &[SegmentValues],
    ) -> Option<SegmentTap> {
        let path = self.path_to_step(reader, size)?;
        if !self.bits_fit(path.result, &path.view, size) {
            return None;
        }
        let uniform = path.operations.iter().flat_map(ChannelOp::parameters).all(|p| p.len() == 1);
        let (mut floats, mut integers) = (Vec::new(), Vec::new());
        let (mut flip, mut reaches_zero) = (Vec::new(), false);
        for &SegmentValues { channels, lattice } in values {
            let first = flip.len();
            let last = if uniform { first + 1 } else { first + channels };
            for channel in first..last {
                match lattice {
                    None => {
                        let found = float_threshold(&path.operations, path.comparison, channel)?;
                        let FloatThreshold { at, flip: falls } = found;
                        floats.push(at);
                        flip.push(falls);
                        reaches_zero = true;
                    }
                    Some(lattice) => {
                        let found =
                            integer_threshold(&path.operations, path.comparison, lattice, channel)?;
                        let IntegerThreshold { at, decreasing } = found.threshold;
                        // `v <= at` is the complement of `v >= at + 1`.
                        integers.push(if decreasing { at.saturating_add(1) } else { at });
                        flip.push(decreasing);
                        reaches_zero |= found.reaches_zero;
                    }
                }
            }
            // The other channels are compared as the first one is.
            let others = first + channels - last;
            flip.extend(repeated(flip.last(), others));
            match lattice {
                None => floats.extend(repeated(floats.last(), others)),
                Some(_) => integers.extend(repeated(integers.last(), others)),
            }
        }
        Some(SegmentTap { path, floats, integers, flip, reaches_zero })
    }

    /// Writes the bits that the readers of a value need, and records where its numbers lie, for it and
    /// for all its aliases.
    pub(super) fn place_segments(
        &mut self,
        value: ValueId,
        place: &SegmentsPlace,
        taps: Vec<SegmentTap>,
    ) -> Result<(), ConvertError> {
        for tap in taps {
            self.write_segment_bits(place, tap)?;
        }
        let uses = self.uses(value, &place.view);
        let maps = place.segments.iter().map(|segment| (segment.buffer, segment.values.channels));
        let maps: Vec<(BufferId, usize)> = maps.collect();
        self.ends.place_segments(value, &maps, place.size, &place.view);
        self.segments[value.index()] = Some(place.clone());
        for (alias, view) in uses.aliases {
            self.ends.place_segments(alias, &maps, place.size, &view);
            self.segments[alias.index()] = Some(SegmentsPlace { view, ..place.clone() });
        }
        for node in uses.structural {
            if !self.demand.bits[self.node(node).output().index()] {
                self.done[node] = true;
            }
        }
        Ok(())
    }

    fn write_segment_bits(
        &mut self,
        place: &SegmentsPlace,
        tap: SegmentTap,
    ) -> Result<(), ConvertError> {
        let SegmentTap { path, floats, integers, flip, reaches_zero } = tap;
        let name = path.nodes.first().map_or("", |&node| self.node(node).name.as_str());
        let output = self.builder.buffer(BufferKind::Bits, place.size);
        let floats =
            (!floats.is_empty()).then(|| self.builder.floats(&format!("{name}.threshold"), floats));
        let integers = (!integers.is_empty()).then(|| {
            let (shape, data) = (vec![integers.len()], TensorData::I32(integers));
            self.builder.tensor(&format!("{name}.integer_threshold"), shape, data)
        });
        let flip = self.builder.flip(&format!("{name}.flip"), &flip);
        let inputs = place.buffers();
        let kind = StepKind::Threshold { inputs, floats, integers, flip, output };
        self.builder.step(name, kind);
        if reaches_zero {
            self.note_ambiguous_sign(path.result);
        }
        for node in path.nodes {
            self.done[node] = true;
        }
        self.place_bits(path.result, BitsPlace { buffer: output, view: path.view, padding: None })
    }

    /// The numbers of an operand of a concatenation: where they lie side by side already, or in the one
    /// map of its floats.
    pub(super) fn operand_segments(
        &mut self,
        index: usize,
        operand: ValueId,
    ) -> Result<SegmentsPlace, ConvertError> {
        if let (None, Some(place)) =
            (&self.floats[operand.index()], &self.segments[operand.index()])
        {
            return Ok(place.clone());
        }
        let place = self.float_place(index, operand)?;
        Ok(self.one_segment(place))
    }

    /// Floats in one map.
    pub(super) fn one_segment(&self, FloatPlace { buffer, view }: FloatPlace) -> SegmentsPlace {
        let size = self.builder.size(buffer);
        let values = SegmentValues { channels: size[2], lattice: None };
        SegmentsPlace { segments: vec![PlacedSegment { buffer, values }], size, view }
    }

    /// A concatenation of numbers that can be joined: nothing is done where all that it is read for are
    /// comparisons and further concatenations.
    pub(super) fn join_or_dissolve(
        &mut self,
        index: usize,
        place: &SegmentsPlace,
    ) -> Result<(), ConvertError> {
        let node = self.node(index);
        let result = node.output();
        let found = self.only_compared(result, &place.view, place.size, &place.values());
        if let Some((taps, is_joined)) = found
            && (is_joined || !taps.is_empty())
        {
            return self.place_segments(result, place, taps);
        }
        let output = self.builder.buffer(BufferKind::F32, place.size);
        self.builder.step(&node.name, StepKind::Concat { inputs: place.buffers(), output });
        self.place_float(result, output, place.view.clone());
        Ok(())
    }

    /// Joins the map of a value that was only meant to be compared or concatenated, for a reader that
    /// turned out to need all of it.
    pub(super) fn join_segments(&mut self, value: ValueId, name: &str) {
        let (None, Some(place)) = (&self.floats[value.index()], &self.segments[value.index()])
        else {
            return;
        };
        let place = place.clone();
        let output = self.builder.buffer(BufferKind::F32, place.size);
        let inputs = place.buffers();
        self.builder.step(&format!("{name}.join"), StepKind::Concat { inputs, output });
        // For the other names of the same data as well.
        for (index, (float, segments)) in self.floats.iter_mut().zip(&self.segments).enumerate() {
            if let (None, Some(other)) = (&*float, segments)
                && other.segments == place.segments
            {
                self.ends.place(ValueId(index as u32), output, &other.view);
                *float = Some(FloatPlace { buffer: output, view: other.view.clone() });
            }
        }
    }
}

/// A value so many times.
fn repeated<T: Copy>(value: Option<&T>, count: usize) -> Vec<T> {
    value.map_or_else(Vec::new, |&value| vec![value; count])
}
