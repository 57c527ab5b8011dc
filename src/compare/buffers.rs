//! What the engine's buffers held in one run, in the order of the graph.

use std::collections::{HashMap, HashSet};

use crate::{
    Error, Session,
    convert::{Elements, Plane, Segment, TracedValue},
    program::BufferId,
    runtime::{BufferContents, TracedWrite},
};

/// A copy of one buffer.
#[derive(Debug)]
enum Copied {
    F32(Vec<f32>),
    I16(Vec<i16>),
    /// Words, and channels of a pixel.
    Bits(Vec<u64>, usize),
}

impl Copied {
    /// A value, if the buffer has it and its values are numbers.
    fn number(&self, at: usize) -> Option<f32> {
        match self {
            Self::F32(values) => values.get(at).copied(),
            Self::I16(values) => values.get(at).map(|&value| value.into()),
            Self::Bits(..) => None,
        }
    }

    /// Values, or words of bits.
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::Bits(words, _) => words.len(),
        }
    }
}

/// The traced buffers of one run, with the steps that wrote them.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    copies: HashMap<BufferId, (usize, Copied)>,
}

impl Buffers {
    /// Runs the model on one row of inputs and keeps what is traced.
    pub(super) fn of_run(
        session: &mut Session,
        inputs: &[Vec<f32>],
        traced: &[TracedValue],
    ) -> Result<Self, Error> {
        let wanted: HashSet<BufferId> = traced.iter().flat_map(TracedValue::buffers).collect();
        let model = session.model().clone();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let mut buffers = Self::default();
        session.run_traced(&inputs, &mut outputs, &mut |write| {
            let TracedWrite { step, buffer, contents, .. } = write;
            if wanted.contains(&buffer) {
                let copied = match contents {
                    BufferContents::F32(values) => Copied::F32(values.to_vec()),
                    BufferContents::I16(values) => Copied::I16(values.to_vec()),
                    BufferContents::Bits(words) => {
                        Copied::Bits(words.to_vec(), model.program().buffer(buffer).channels)
                    }
                };
                buffers.copies.insert(buffer, (step, copied));
            }
        })?;
        Ok(buffers)
    }

    /// The elements of a traced value in its row-major order, and the step that wrote them; nothing
    /// if no step did or they do not fit the buffer.
    pub(super) fn elements(&self, traced: &TracedValue) -> Option<(usize, Vec<f32>)> {
        let (step, copied) = self.copies.get(&traced.buffer)?;
        let positions = || positions(&traced.dims, &traced.strides);
        let bits = |copied: &Copied, low: f32, high: f32| -> Option<Vec<f32>> {
            let Copied::Bits(words, channels) = copied else { return None };
            let channels = (*channels).max(1);
            let of_pixel = channels.div_ceil(64);
            positions()
                .map(|at| {
                    let (pixel, channel) = (at / channels, at % channels);
                    let word = words.get(pixel * of_pixel + channel / 64)?;
                    Some(if word >> (channel % 64) & 1 == 1 { high } else { low })
                })
                .collect()
        };
        let elements = match (&traced.elements, copied) {
            (Elements::F32, copied) => positions().map(|at| copied.number(at)).collect(),
            (Elements::Segments(segments), _) => {
                let joined = self.joined(segments)?;
                positions().map(|at| joined.get(at).copied()).collect()
            }
            (&Elements::Bits { low, high }, copied) => bits(copied, low, high),
            (Elements::Planes(planes), _) => {
                planes.iter().try_fold(Vec::new(), |sums, &Plane { buffer, low, high }| {
                    let values = bits(&self.copies.get(&buffer)?.1, low, high)?;
                    Some(if sums.is_empty() { values } else { added(sums, &values) })
                })
            }
        };
        Some((*step, elements?))
    }

    /// The map that several buffers are together.
    fn joined(&self, segments: &[Segment]) -> Option<Vec<f32>> {
        let mut maps = Vec::with_capacity(segments.len());
        for segment in segments {
            maps.push((&self.copies.get(&segment.buffer)?.1, segment.channels));
        }
        let &(first, channels) = maps.first()?;
        let pixels = first.len().checked_div(channels)?;
        let mut joined = Vec::new();
        for pixel in 0..pixels {
            for &(map, channels) in &maps {
                for channel in 0..channels {
                    joined.push(map.number(pixel * channels + channel)?);
                }
            }
        }
        Some(joined)
    }
}

fn added(mut sums: Vec<f32>, values: &[f32]) -> Vec<f32> {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    sums
}

/// Positions in memory in row-major order over `dims`.
fn positions<'a>(dims: &'a [usize], strides: &'a [isize]) -> impl Iterator<Item = usize> + 'a {
    let count = dims.iter().product();
    let mut index = vec![0; dims.len()];
    let mut position = 0_isize;
    (0..count).map(move |_| {
        let here = position as usize;
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            position += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            position -= strides[axis] * dims[axis] as isize;
            index[axis] = 0;
        }
        here
    })
}

/// The places of the graph's tensor of the given shape that a buffer of `count` elements holds: all of
/// them, or those inside the border that it leaves out.
pub(super) fn expected_elements(
    traced: &TracedValue,
    shape: &[usize],
    count: usize,
) -> Option<Vec<usize>> {
    let [top, left, bottom, right] = traced.pads;
    if traced.pads == [0; 4] {
        return (shape.iter().product::<usize>() == count).then(|| (0..count).collect());
    }
    let &[images, channels, height, width] = shape else { return None };
    let rows = top..height.checked_sub(bottom)?;
    let columns = left..width.checked_sub(right)?;
    let inside: Vec<usize> = (0..images * channels)
        .flat_map(|plane| rows.clone().map(move |row| (plane * height + row) * width))
        .flat_map(|row| columns.clone().map(move |column| row + column))
        .collect();
    (inside.len() == count).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ValueId;

    fn traced(dims: &[usize], strides: &[isize], pads: [usize; 4]) -> TracedValue {
        TracedValue {
            value: ValueId(0),
            buffer: BufferId(0),
            dims: dims.to_vec(),
            strides: strides.to_vec(),
            elements: Elements::Bits { low: -1.0, high: 1.0 },
            pads,
        }
    }

    #[test]
    fn bits_are_read_in_the_order_of_the_graph() {
        // Two pixels of 65 channels, of which the last one is set in the second pixel.
        let copies = [(BufferId(0), (3, Copied::Bits(vec![0b10, 0, 0, 1], 65)))];
        let buffers = Buffers { copies: copies.into_iter().collect() };
        let (step, elements) = buffers.elements(&traced(&[65, 2], &[1, 65], [0; 4])).unwrap();
        assert_eq!(step, 3);
        let set: Vec<usize> = (0..130).filter(|&at| elements[at] == 1.0).collect();
        assert_eq!(set, [2, 129]);
        // A buffer that is too small is not read.
        assert!(buffers.elements(&traced(&[66, 2], &[1, 65], [0; 4])).is_none());
    }

    #[test]
    fn planes_add_up() {
        let bits = |word: u64| Copied::Bits(vec![word], 3);
        let copies = [(BufferId(0), (3, bits(0b001))), (BufferId(1), (4, bits(0b011)))];
        let buffers = Buffers { copies: copies.into_iter().collect() };
        let plane = |buffer: u32, high: f32| Plane { buffer: BufferId(buffer), low: 0.0, high };
        let planes = |top| TracedValue {
            buffer: BufferId(1),
            elements: Elements::Planes(vec![plane(top, 2.0), plane(1, 1.0)]),
            ..traced(&[3], &[1], [0; 4])
        };
        assert_eq!(buffers.elements(&planes(0)), Some((4, vec![3.0, 1.0, 0.0])));
        assert_eq!(buffers.elements(&planes(7)), None);
    }

    #[test]
    fn segments_are_read_side_by_side() {
        // Two pixels: one channel of floats, two of integers.
        let copies = [
            (BufferId(4), (3, Copied::F32(vec![0.5, 1.5]))),
            (BufferId(2), (6, Copied::I16(vec![-1, 7, -2, 8]))),
        ];
        let buffers = Buffers { copies: copies.into_iter().collect() };
        let segment = |buffer, channels| Segment { buffer: BufferId(buffer), channels };
        let joined = |last| TracedValue {
            buffer: BufferId(2),
            elements: Elements::Segments(vec![segment(4, 1), segment(last, 2)]),
            ..traced(&[3, 2], &[1, 3], [0; 4])
        };
        let expected = vec![0.5, 1.5, -1.0, -2.0, 7.0, 8.0];
        assert_eq!(buffers.elements(&joined(2)), Some((6, expected)));
        assert_eq!(buffers.elements(&joined(7)), None);
        // Integers alone are floats as well.
        let alone = TracedValue {
            elements: Elements::F32,
            buffer: BufferId(2),
            ..traced(&[4], &[1], [0; 4])
        };
        assert_eq!(buffers.elements(&alone), Some((6, vec![-1.0, 7.0, -2.0, 8.0])));
    }

    #[test]
    fn borders_that_the_reader_adds_are_left_out() {
        let border = traced(&[], &[], [1, 0, 0, 2]);
        assert_eq!(expected_elements(&border, &[1, 2, 2, 3], 2), Some(vec![3, 9]));
        assert_eq!(expected_elements(&border, &[1, 2, 2, 3], 3), None);
        assert_eq!(expected_elements(&border, &[1, 2, 0, 1], 0), None);
        assert_eq!(expected_elements(&traced(&[], &[], [0; 4]), &[1, 2], 2), Some(vec![0, 1]));
    }
}
