//! Numbers of buffers and tensors relative to those named before.
//!
//! Networks repeat themselves: a block of layers reads what the block before it wrote and brings its own
//! weights. With `next` one more than the largest number named so far (0 at the start), the header has
//! `next - number` in the place of a number: 0 for whatever comes new, and how far back for the rest. So
//! equal blocks become equal text, which compresses to almost nothing.

/// How far the numbers of one kind have come.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u32,
}

impl Numbers {
    /// What stands for `number` in the header: `next - number` modulo 2^32, which leaves no number without
    /// a code, not even one beyond `next`.
    pub(super) fn code(&mut self, number: u32) -> u32 {
        let code = self.next.wrapping_sub(number);
        self.name(number);
        code
    }

    /// The number that a code stands for. Any code stands for some number; whether there is such a buffer
    /// or tensor, the validation of the program finds out.
    pub(super) fn number(&mut self, code: u32) -> u32 {
        let number = self.next.wrapping_sub(code);
        self.name(number);
        number
    }

    fn name(&mut self, number: u32) {
        self.next = self.next.max(number.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(numbers: &[u32]) -> Vec<u32> {
        let mut state = Numbers::default();
        numbers.iter().map(|&number| state.code(number)).collect()
    }

    #[test]
    fn new_numbers_are_zero_and_others_count_back() {
        assert_eq!(codes(&[0, 1, 2, 1, 0, 3]), [0, 0, 0, 2, 3, 0]);
        // What is skipped wraps around, and what comes after it is told from there.
        assert_eq!(codes(&[2, 3, 0]), [u32::MAX - 1, 0, 4]);
    }

    #[test]
    fn every_number_comes_back() {
        let numbers = [0, 5, 4, 4, 6, u32::MAX, 0, u32::MAX - 1, u32::MAX, 7];
        let mut state = Numbers::default();
        let back: Vec<u32> = codes(&numbers).into_iter().map(|code| state.number(code)).collect();
        assert_eq!(back, numbers);
    }
}
