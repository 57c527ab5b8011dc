//! Named parts of the original network, and where their ends lie.

use serde::{Deserialize, Serialize};

use super::{BufferId, BufferKind, Program};

/// Most dimensions of a part.
const MAX_RANK: usize = 16;

/// A named part of the original network, such as a module `layer1.0`, with one input and one output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its name in the original network.
    pub name: String,
    /// What it reads; absent where the program does not keep it as floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<BlockTensor>,
    /// What it computes; absent where the program does not keep it as floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BlockTensor>,
}

/// A tensor of the original network in the buffers of a program: row-major, it is its parts one after
/// the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTensor {
    /// Its shape in the original network, without the batch.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub parts: Vec<BlockPart>,
}

/// A whole `f32` or `i16` buffer as a part of a tensor: element `i_0, i_1, ...` (row-major over `dims`) of the
/// part is element `sum of i_k * strides_k` of the buffer, and every element of the buffer is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockPart {
    /// The buffer.
    pub buffer: BufferId,
    /// Extents, outermost first.
    pub dims: Vec<usize>,
    /// Distance in elements of the buffer along each of `dims`.
    pub strides: Vec<isize>,
}

impl Block {
    /// Checks it against the buffers of its program.
    pub(super) fn check(&self, program: &Program) -> Result<(), String> {
        for (end, tensor) in [("input", &self.input), ("output", &self.output)] {
            if let Some(tensor) = tensor {
                tensor.check(program).map_err(|what| format!("{end}: {what}"))?;
            }
        }
        Ok(())
    }
}

impl BlockTensor {
    /// Number of elements. The tensor has been checked.
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Checks it against the buffers of its program, which have been checked.
    pub(crate) fn check(&self, program: &Program) -> Result<(), String> {
        let mut elements = 0_usize;
        for part in &self.parts {
            let count = program.buffers.len();
            let buffer = program.buffers.get(part.buffer.index());
            let buffer = buffer
                .ok_or_else(|| format!("buffer {}, expected less than {count}", part.buffer.0))?;
            if buffer.kind == BufferKind::Bits {
                return Err(format!("buffer {} is Bits, expected F32 or I16", part.buffer.0));
            }
            // The extents of buffers are checked: no product overflows.
            let size = buffer.height * buffer.width * buffer.channels;
            if part.reversed(size).is_none() {
                return Err(format!(
                    "dims {:?} with strides {:?} are not the {size} elements of buffer {}, each once",
                    part.dims, part.strides, part.buffer.0
                ));
            }
            elements = elements.saturating_add(size);
        }
        let product =
            self.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        if product != Some(elements) {
            return Err(format!(
                "shape {:?} does not have the {elements} elements of its parts",
                self.shape
            ));
        }
        Ok(())
    }
}

impl BlockPart {
    /// The other way round: dims in the order of a buffer of that many elements, and for each of them the
    /// distance in the part; `None` if the part is not the whole buffer, each element once.
    pub(super) fn reversed(&self, elements: usize) -> Option<(Vec<usize>, Vec<isize>)> {
        if self.dims.len() != self.strides.len() || self.dims.len() > MAX_RANK {
            return None;
        }
        // Extent, distance in the buffer, distance in the part.
        let mut axes = Vec::with_capacity(self.dims.len());
        let mut count = 1_usize;
        for (&extent, &stride) in self.dims.iter().zip(&self.strides).rev() {
            if extent != 1 {
                axes.push((extent, usize::try_from(stride).ok()?, isize::try_from(count).ok()?));
            }
            count = count.checked_mul(extent)?;
        }
        if count != elements {
            return None;
        }
        axes.sort_unstable_by_key(|&(_, stride, _)| stride);
        let mut next = 1;
        for &(extent, stride, _) in &axes {
            if stride != next {
                return None;
            }
            next *= extent;
        }
        Some(axes.iter().rev().map(|&(extent, _, distance)| (extent, distance)).unzip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(dims: &[usize], strides: &[isize]) -> BlockPart {
        BlockPart { buffer: BufferId(0), dims: dims.to_vec(), strides: strides.to_vec() }
    }

    #[test]
    fn channels_first_reversed_is_channels_last() {
        // [3, 2, 5] over a map of 2x5x3.
        let reversed = part(&[3, 1, 2, 5], &[1, 0, 15, 3]).reversed(30);
        assert_eq!(reversed, Some((vec![2, 5, 3], vec![5, 1, 10])));
        assert_eq!(part(&[1], &[7]).reversed(1), Some((vec![], vec![])));
    }

    #[test]
    fn parts_are_whole_buffers() {
        for (dims, strides, elements) in [
            (&[3, 2][..], &[2, 1][..], 7),
            (&[3, 2], &[1, 2], 6),
            (&[3, 2], &[2], 6),
            (&[3, 2], &[-2, 1], 6),
            (&[3, 3], &[3, 0], 9),
            (&[0], &[1], 1),
            (&[usize::MAX, 2], &[2, 1], 6),
        ] {
            let whole = part(dims, strides).reversed(elements);
            assert!(whole.is_none(), "{dims:?} {strides:?}: {whole:?}");
        }
    }
}
