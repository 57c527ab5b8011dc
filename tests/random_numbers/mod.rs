//! Random numbers for tests.

#![allow(dead_code, unreachable_pub, reason = "a module of a test is private to it")]

/// Numbers that look random and are the same every time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Uniform in -1..1.
    pub fn float(&mut self) -> f32 {
        self.next() as f32 / (1_u64 << 30) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    pub fn signs(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| if self.float() < 0.0 { scale } else { -scale }).collect()
    }
}
