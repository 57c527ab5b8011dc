//! Floats that start at a cache line, so that no vector of packed weights straddles two lines.

use bytemuck::{Pod, Zeroable};

/// Floats in a cache line, which is also the widest vector.
const LINE: usize = 16;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

// SAFETY: floats may have any bits, all of them 0 too.
unsafe impl Zeroable for Line {}

// SAFETY: sixteen floats fill a line, so it has no padding, and they may have any bits.
unsafe impl Pod for Line {}

/// A fixed number of zero-initialised floats whose first one is aligned to 64 bytes.
#[derive(Debug)]
pub(crate) struct AlignedFloats {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedFloats {
    pub(crate) fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line::zeroed(); len.div_ceil(LINE)], len }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_start_at_a_line() {
        for len in [0, 1, 15, 16, 1000] {
            let floats = AlignedFloats::zeroed(len);
            assert_eq!(floats.as_slice().len(), len);
            assert_eq!(floats.as_slice().as_ptr().addr() % 64, 0);
        }
    }
}
