//! Where the values of the graph ended up.

use super::{BitsPlace, FloatPlace, Levels, Lowering, segments::PlacedSegment};
use crate::{
    convert::trace::{Elements, Plane, Segment, TracedValue},
    graph::ValueId,
    program::BufferId,
};

impl Lowering<'_> {
    /// Every value that lies in a buffer, floats and bits. Values without levels of their own are
    /// left out: what their bits mean is not known.
    pub(super) fn traced_values(&self) -> Vec<TracedValue> {
        let mut traced = Vec::new();
        for index in 0..self.graph.values.len() {
            let value = ValueId(index as u32);
            if let Some(FloatPlace { buffer, view }) = &self.floats[index] {
                let (dims, strides) = view.gather();
                let (buffer, elements) = (*buffer, Elements::F32);
                traced.push(TracedValue { value, buffer, dims, strides, elements, pads: [0; 4] });
            }
            if let Some(place) = &self.segments[index]
                && let Some(last) = place.segments.last()
            {
                let (dims, strides) = place.view.gather();
                let segment = |segment: &PlacedSegment| Segment {
                    buffer: segment.buffer,
                    channels: segment.values.channels,
                };
                let elements = Elements::Segments(place.segments.iter().map(segment).collect());
                let buffer = last.buffer;
                traced.push(TracedValue { value, buffer, dims, strides, elements, pads: [0; 4] });
            }
            if let (Some(BitsPlace { buffer, view, padding }), Some(levels)) =
                (&self.bits[index], self.demand.levels[index])
            {
                let (dims, strides) = view.gather();
                let elements = Elements::Bits { low: levels.low, high: levels.high };
                let pads = padding.map_or([0; 4], |(pads, _)| pads);
                traced.push(TracedValue { value, buffer: *buffer, dims, strides, elements, pads });
            }
        }
        for (&value, planes) in &self.code_places {
            let Some((BitsPlace { buffer, view, .. }, _)) = planes.last() else { continue };
            let (dims, strides) = view.gather();
            let plane = |(place, levels): &(BitsPlace, Levels)| Plane {
                buffer: place.buffer,
                low: levels.low,
                high: levels.high,
            };
            let elements = Elements::Planes(planes.iter().map(plane).collect());
            let (buffer, pads) = (*buffer, [0; 4]);
            traced.push(TracedValue { value, buffer, dims, strides, elements, pads });
        }
        traced
    }
}

/// Follows a renumbering of the buffers; values whose buffer is gone are forgotten.
pub(super) fn renumber(traced: &mut Vec<TracedValue>, buffers: &[Option<BufferId>]) {
    traced.retain_mut(|traced| {
        let renumbered = |id: &mut BufferId| {
            let new = buffers.get(id.index()).copied().flatten();
            new.map(|new| *id = new).is_some()
        };
        let all_are_there = match &mut traced.elements {
            Elements::Planes(planes) => {
                planes.iter_mut().all(|plane| renumbered(&mut plane.buffer))
            }
            Elements::Segments(segments) => {
                segments.iter_mut().all(|segment| renumbered(&mut segment.buffer))
            }
            Elements::F32 | Elements::Bits { .. } => true,
        };
        all_are_there && renumbered(&mut traced.buffer)
    });
}
