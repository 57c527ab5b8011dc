//! Memory of one image in flight, and how a step gets its slices of it.

use super::{RunError, memory::LINE};

/// Words of memory that start at a cache line.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    storage: Vec<u64>,
    /// Words skipped at the beginning of `storage`.
    start: usize,
    len: usize,
}

impl Arena {
    /// Zeroed memory of `len` words.
    ///
    /// # Errors
    /// [`RunError::OutOfMemory`] if the allocator has no such block.
    pub(crate) fn new(len: usize) -> Result<Self, RunError> {
        if len == 0 {
            return Ok(Self::default());
        }
        let mut storage: Vec<u64> = Vec::new();
        let words = len.checked_add(LINE - 1).ok_or(RunError::UNADDRESSABLE)?;
        storage
            .try_reserve_exact(words)
            .map_err(|_| RunError::OutOfMemory { bytes: words.saturating_mul(8) })?;
        storage.resize(words, 0);
        let start = storage.as_ptr().align_offset(LINE * size_of::<u64>());
        // `align_offset` may in principle give up; speed would suffer, nothing else.
        let start = if start < LINE { start } else { 0 };
        Ok(Self { storage, start, len })
    }

    /// All words.
    pub(crate) fn words(&mut self) -> &mut [u64] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_starts_at_a_cache_line() {
        for len in [1, 7, 8, 1000] {
            let mut arena = Arena::new(len).unwrap();
            assert_eq!(arena.words().len(), len);
            assert_eq!(arena.words().as_ptr() as usize % 64, 0);
        }
        assert!(Arena::new(0).unwrap().words().is_empty());
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(matches!(Arena::new(1 << 59), Err(RunError::OutOfMemory { .. })));
    }
}
