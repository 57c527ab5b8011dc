//! Where the values of the graph ended up.

use super::{BitsPlace, FloatPlace, Lowering};
use crate::{
    convert::trace::{Elements, TracedValue},
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
            if let (Some(BitsPlace { buffer, view, padding }), Some(levels)) =
                (&self.bits[index], self.demand.levels[index])
            {
                let (dims, strides) = view.gather();
                let elements = Elements::Bits { low: levels.low, high: levels.high };
                let pads = padding.map_or([0; 4], |(pads, _)| pads);
                traced.push(TracedValue { value, buffer: *buffer, dims, strides, elements, pads });
            }
        }
        traced
    }
}

/// Follows a renumbering of the buffers; values whose buffer is gone are forgotten.
pub(super) fn renumber(traced: &mut Vec<TracedValue>, buffers: &[Option<BufferId>]) {
    traced.retain_mut(|traced| {
        let renumbered = buffers.get(traced.buffer.index()).copied().flatten();
        renumbered.map(|buffer| traced.buffer = buffer).is_some()
    });
}
