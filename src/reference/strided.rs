//! Reading a tensor in another order: output element `i_0, i_1, ...` is input element
//! `offset + sum of i_k * stride_k`. Broadcasts, transpositions and slices are all of this form.

use crate::graph::Data;

/// Iterates over input positions in the row-major order of the output.
pub(super) struct Positions {
    shape: Vec<usize>,
    strides: Vec<isize>,
    index: Vec<usize>,
    position: isize,
    left: usize,
}

impl Positions {
    /// Positions for an output of the given shape. The caller vouches that they lie in the input.
    pub(super) fn new(shape: &[usize], strides: Vec<isize>, offset: usize) -> Self {
        debug_assert_eq!(shape.len(), strides.len());
        Self {
            shape: shape.to_vec(),
            strides,
            index: vec![0; shape.len()],
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
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.position += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.position -= self.strides[axis] * self.shape[axis] as isize;
            self.index[axis] = 0;
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
