//! Reading a tensor in another order: output element `i_0, i_1, ...` is input element
//! `offset + sum of i_k * stride_k`. Broadcasts, transpositions and slices are all of this form.

use crate::graph::Data;

/// Iterates over input positions in the row-major order of the output.
pub(super) struct Positions {
    /// All axes but the innermost one, outermost first.
    outer: Vec<Axis>,
    inner: Axis,
    position: isize,
    left: usize,
}

/// A loop over positions.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    stride: isize,
    index: usize,
}

impl Axis {
    /// Takes a step; at the end it goes back to the start and says so.
    fn step(&mut self, position: &mut isize) -> bool {
        self.index += 1;
        if self.index < self.extent {
            *position += self.stride;
            return false;
        }
        *position -= self.stride * (self.extent as isize - 1);
        self.index = 0;
        true
    }
}

impl Positions {
    /// Positions for an output of the given shape. The caller vouches that they lie in the input.
    pub(super) fn new(shape: &[usize], strides: Vec<isize>, offset: usize) -> Self {
        debug_assert_eq!(shape.len(), strides.len());
        // Whole networks are interpreted: axes that walk the input evenly are one, so that little is done for an element.
        let mut axes: Vec<Axis> = Vec::new();
        for (&extent, stride) in shape.iter().zip(strides).filter(|(extent, _)| **extent != 1) {
            match axes.last_mut() {
                Some(last) if last.stride == stride.saturating_mul(extent as isize) => {
                    *last = Axis { extent: last.extent * extent, stride, index: 0 };
                }
                _ => axes.push(Axis { extent, stride, index: 0 }),
            }
        }
        Self {
            inner: axes.pop().unwrap_or(Axis { extent: 1, stride: 0, index: 0 }),
            outer: axes,
            position: offset as isize,
            left: shape.iter().product(),
        }
    }

    /// Positions in a tensor of shape `from` that is broadcast to `to`.
    pub(super) fn broadcast(from: &[usize], to: &[usize]) -> Self {
        let new_axes = to.len() - from.len();
        let strides = row_major_strides(from);
        let strides = (0..to.len())
            .map(|axis| match axis.checked_sub(new_axes) {
                Some(axis) if from[axis] != 1 => strides[axis],
                _ => 0,
            })
            .collect();
        Self::new(to, strides, 0)
    }
}

impl Iterator for Positions {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let position = self.position;
        if self.inner.step(&mut self.position) {
            for axis in self.outer.iter_mut().rev() {
                if !axis.step(&mut self.position) {
                    break;
                }
            }
        }
        Some(position as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Positions {}

/// Distance between neighbours along each axis of a dense tensor.
pub(super) fn row_major_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

/// The elements at the given positions.
pub(super) fn take(data: &Data, positions: impl Iterator<Item = usize>) -> Data {
    match data {
        Data::F32(values) => Data::F32(positions.map(|at| values[at]).collect()),
        Data::I64(values) => Data::I64(positions.map(|at| values[at]).collect()),
        Data::Bool(values) => Data::Bool(positions.map(|at| values[at]).collect()),
    }
}
