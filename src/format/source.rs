//! The bytes of a file in their order, from memory or from a disk.

use std::io::Read;

use bytemuck::Pod;

use super::FormatError;

/// What is left of a file. Tensors are read to where they stay: a copy of the whole file would cost twice the memory,
/// and touching memory for the first time is a large part of loading.
pub(super) struct Source<R> {
    reader: R,
    /// Length of the file.
    length: u64,
    /// Bytes that have been read.
    position: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self { reader, length, position: 0 }
    }

    /// Length of the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that have been read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes; `None` if the file ends before.
    pub(super) fn take(&mut self, count: u64) -> Result<Option<Vec<u8>>, FormatError> {
        if count > self.length - self.position {
            return Ok(None);
        }
        self.elements(count).map(Some)
    }

    /// The next numbers, as they lie in the file. The caller has made sure that there are as many.
    pub(super) fn elements<T: Pod>(&mut self, count: u64) -> Result<Vec<T>, FormatError> {
        // A sparse file may be longer than the memory.
        let elements = usize::try_from(count)
            .ok()
            .and_then(|count| bytemuck::allocation::try_zeroed_slice_box(count).ok())
            .ok_or_else(|| FormatError::Read(std::io::ErrorKind::OutOfMemory.into()))?;
        let mut elements = Vec::from(elements);
        let bytes = bytemuck::cast_slice_mut(&mut elements);
        self.reader.read_exact(bytes).map_err(FormatError::Read)?;
        self.position += bytes.len() as u64;
        Ok(elements)
    }
}
