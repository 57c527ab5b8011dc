//! Floats that start at a cache line, so that no vector of packed weights straddles two lines.

/// Bytes of a cache line and of the widest vector.
const LINE: usize = 64;

/// A fixed number of zero-initialised floats whose first one is aligned to 64 bytes.
///
/// It is not `Clone`: a copy would live elsewhere, with another distance to the next line.
#[derive(Debug)]
pub(crate) struct AlignedFloats {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedFloats {
    pub(crate) fn zeroed(len: usize) -> Self {
        let slack = LINE / size_of::<f32>();
        let storage = vec![0.0; len + slack];
        // A result beyond the slack is allowed for `align_offset`; then alignment is given up.
        let start = storage.as_ptr().align_offset(LINE).min(slack);
        Self { storage, start, len }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.storage[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..self.start + self.len]
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
            assert_eq!(floats.as_slice().as_ptr().addr() % LINE, 0);
        }
    }
}
