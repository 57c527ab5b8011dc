//! Random numbers that are the same on every machine.

/// SplitMix64 (Steele, Lea and Flood 2014): one stream of numbers for each seed and name.
///
/// Whatever it gives is made of integers and one rounded product: no function of the platform's
/// mathematical library, whose last bits differ, takes part.
#[derive(Debug, Clone)]
pub(super) struct Generator {
    state: u64,
}

impl Generator {
    /// The stream of that name. Streams depend on nothing else, so that a layer more or less leaves the
    /// numbers of the others as they are.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let mut generator = Self { state: seed };
        for byte in name.bytes() {
            generator.state = generator.next() ^ u64::from(byte);
        }
        generator
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal, mean 0 and deviation 1, within ±4.9: the sum of eight uniform integers of 16 bits. Box
    /// and Muller's transformation would need a logarithm and a cosine.
    pub(super) fn normal(&mut self) -> f64 {
        /// Root of eight times the variance of one, `(2^32 - 1) / 12`.
        const DEVIATION: f64 = 53_509.919_921_450_08;
        let sum: u64 = [self.next(), self.next()]
            .into_iter()
            .flat_map(|bits| [bits, bits >> 16, bits >> 32, bits >> 48])
            .map(|bits| bits & 0xffff)
            .sum();
        (sum as f64 - 8.0 * 32_767.5) / DEVIATION
    }

    /// That many numbers.
    pub(super) fn many(
        &mut self,
        count: usize,
        mut draw: impl FnMut(&mut Self) -> f64,
    ) -> Vec<f32> {
        (0..count).map(|_| draw(self) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_published_generator() {
        // The first numbers for the seed 1234567, as Vigna's program and its many copies give them.
        let mut generator = Generator { state: 1_234_567 };
        let found: Vec<u64> = (0..3).map(|_| generator.next()).collect();
        assert_eq!(
            found,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn seeds_and_names_have_streams_of_their_own() {
        let first = |seed, name| Generator::new(seed, name).next();
        let mut all =
            vec![first(1, "a"), first(2, "a"), first(1, "b"), first(1, "ab"), first(1, "ba")];
        assert_eq!(all[0], first(1, "a"));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn numbers_are_distributed_as_stated() {
        let mut generator = Generator::new(7, "");
        let count = 100_000;
        let normal: Vec<f64> = (0..count).map(|_| generator.normal()).collect();
        let moment = |power| normal.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(count);
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "variance {}", moment(2));
        // 3 for a normal distribution, 2.85 for eight uniform numbers.
        assert!((moment(4) - 2.85).abs() < 0.1, "fourth moment {}", moment(4));

        let uniform: Vec<f64> = (0..count).map(|_| generator.uniform()).collect();
        assert!(uniform.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = uniform.iter().sum::<f64>() / f64::from(count);
        assert!((mean - 0.5).abs() < 0.005, "mean {mean}");
    }
}
