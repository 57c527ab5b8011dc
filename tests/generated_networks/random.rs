//! A source of choices that is all one number: a network can be made again from its seed.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn many<T: Copy>(&mut self, count: usize, choices: &[T]) -> Vec<T> {
        (0..count).map(|_| self.of(choices)).collect()
    }

    /// Multiples of `1 / parts` between `-limit` and `limit`.
    pub(crate) fn dyadic(&mut self, count: usize, limit: usize, parts: usize) -> Vec<f32> {
        let steps = limit * parts;
        (0..count)
            .map(|_| (self.below(2 * steps + 1) as f32 - steps as f32) / parts as f32)
            .collect()
    }
}
