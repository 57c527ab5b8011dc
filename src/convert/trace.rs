//! Which values of the original graph the buffers of a program hold.
//!
//! Values keep their ids through the passes, so what a buffer holds can be looked up in the graph as it
//! was imported. Only what is known for certain is recorded: values that exist in the rewritten graph
//! alone have no entry, and neither have integers inside a step.

use crate::{graph::ValueId, program::BufferId};

/// Where the values of the original graph can be found while the program runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In no particular order; a buffer may hold several values (a map and its flattened form), and a
    /// value may lie in several buffers (as floats and as bits).
    pub values: Vec<TracedValue>,
    /// Results of ONNX `Sign` that were taken as +1 where the operand is 0.
    pub signs: Vec<ValueId>,
    /// Layers, by their position in [`Report::layers`](super::Report::layers), that are not binary
    /// because a value that some operator computes for them takes more values than two, with that value.
    /// Values with a few evenly spaced levels are not among them, and neither are inputs of the network.
    pub not_two_valued: Vec<(usize, ValueId)>,
    /// Whether float weights were rounded to f16.
    pub f16: bool,
}

/// A value of the original graph in a buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedValue {
    /// The value.
    pub value: ValueId,
    /// The buffer.
    pub buffer: BufferId,
    /// Extents that enumerate the buffer in the row-major order of the value.
    pub dims: Vec<usize>,
    /// Distance in elements (height, width, channels) along each of `dims`.
    pub strides: Vec<isize>,
    /// What the elements stand for.
    pub elements: Elements,
    /// Border of the value (top, left, bottom, right) that the buffer leaves out, because the reader
    /// adds it.
    pub pads: [usize; 4],
}

/// What the elements of a buffer stand for.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Themselves.
    F32,
    /// Themselves, floats or integers, in several buffers side by side along the channels, the last
    /// of which is [`TracedValue::buffer`]. `strides` are those of the map that they would be together.
    Segments(Vec<Segment>),
    /// Bits that stand for two values.
    Bits {
        /// Value of bit 0.
        low: f32,
        /// Value of bit 1.
        high: f32,
    },
    /// Bits of several buffers of one size, the last of which is [`TracedValue::buffer`]: the values
    /// that they stand for add up.
    Planes(Vec<Plane>),
}

/// One of several buffers whose channels together are a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The buffer, of f32 or i16.
    pub buffer: BufferId,
    /// Its channels.
    pub channels: usize,
}

/// One of several buffers of bits that a value is the sum of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plane {
    /// The buffer.
    pub buffer: BufferId,
    /// Value of bit 0.
    pub low: f32,
    /// Value of bit 1.
    pub high: f32,
}

impl TracedValue {
    /// All buffers that the value is read from.
    pub fn buffers(&self) -> Vec<BufferId> {
        match &self.elements {
            Elements::Planes(planes) => planes.iter().map(|plane| plane.buffer).collect(),
            Elements::Segments(segments) => segments.iter().map(|part| part.buffer).collect(),
            Elements::F32 | Elements::Bits { .. } => vec![self.buffer],
        }
    }
}
