//! Memory that starts at a cache line, so that vector loads of packed weights never straddle two.

use bytemuck::{Pod, Zeroable};

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: 64 bytes without padding (size equals alignment); all zeros is a valid value.
unsafe impl Zeroable for Line {}
// SAFETY: every bit pattern of 64 bytes is valid, there is no padding, and the type is `Copy`.
unsafe impl Pod for Line {}

/// A buffer that starts at a cache line.
#[derive(Debug)]
pub(super) struct AlignedBuffer {
    lines: Vec<Line>,
}

impl AlignedBuffer {
    /// Zeros: at least `len` elements, up to the end of a line.
    pub(super) fn zeroed<T: Pod>(len: usize) -> Self {
        Self { lines: vec![Line::zeroed(); (len * size_of::<T>()).div_ceil(size_of::<Line>())] }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }

    pub(super) fn as_slice<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(super) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}
