//! Memory that starts at a cache line, so that no vector of packed weights straddles two.

use bytemuck::{Pod, Zeroable};
use memmap2::{MmapMut, MmapOptions};
use std::marker::PhantomData;

/// Bytes of a cache line, which is also the widest vector.
const LINE: usize = 64;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

// SAFETY: 64 bytes without padding (size equals alignment); all zeros is a valid value.
unsafe impl Zeroable for Line {}
// SAFETY: every bit pattern of 64 bytes is valid, there is no padding, and the type is `Copy`.
unsafe impl Pod for Line {}

/// Bytes from which on memory comes from the system in one piece. Page after page would be asked for one by one when
/// it is first written, which takes longer than writing it.
const LARGE: usize = 1 << 17;

/// Zeros that start at a cache line.
#[derive(Debug)]
enum Memory {
    Lines(Vec<Line>),
    Pages(MmapMut),
}

impl Memory {
    fn zeroed(bytes: usize) -> Self {
        if bytes >= LARGE
            && let Ok(pages) = MmapOptions::new().len(bytes).populate().map_anon()
        {
            return Self::Pages(pages);
        }
        // From the allocator, which knows of large pieces that they are zero: nothing is written here.
        Self::Lines(bytemuck::zeroed_vec(bytes.div_ceil(LINE)))
    }
}

/// A fixed number of zero-initialised elements whose first one is aligned to 64 bytes.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    memory: Memory,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    pub(crate) fn zeroed(len: usize) -> Self {
        Self { memory: Memory::zeroed(len * size_of::<T>()), len, elements: PhantomData }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        let bytes: &[u8] = match &self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice(lines),
            Memory::Pages(pages) => pages,
        };
        bytemuck::cast_slice(&bytes[..self.len * size_of::<T>()])
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = match &mut self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Pages(pages) => pages,
        };
        bytemuck::cast_slice_mut(&mut bytes[..self.len * size_of::<T>()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_zero_and_start_at_a_line() {
        for len in [0, 1, 15, 16, 1000, 100_000] {
            let floats = Aligned::<f32>::zeroed(len);
            assert_eq!(floats.as_slice().len(), len);
            assert_eq!(floats.as_slice().as_ptr().addr() % LINE, 0);
            assert!(floats.as_slice().iter().all(|&x| x.to_bits() == 0));
            let mut bytes = Aligned::<i8>::zeroed(len);
            assert_eq!(bytes.as_slice().len(), len);
            bytes.as_mut_slice().fill(-1);
            assert_eq!(bytes.as_slice().as_ptr().addr() % LINE, 0);
        }
    }
}
