//! Statistics over the channels of each pixel, in channel order.

/// Statistics over channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Sum from +0, divided by the number of channels.
    Mean,
    /// Sum from +0.
    Sum,
    /// Largest value; -∞ where all are NaN.
    Max,
    /// Smallest value; ∞ where all are NaN.
    Min,
}

/// Reduces `[pixels][channels]` to one value per pixel.
///
/// # Panics
/// If `channels` is 0 or a length does not fit.
pub fn reduce_channels(reduction: Reduction, input: &[f32], channels: usize, out: &mut [f32]) {
    check(input, channels);
    assert_eq!(input.len() / channels, out.len(), "one output per pixel");
    for (pixel, out) in input.chunks_exact(channels).zip(out) {
        *out = match reduction {
            Reduction::Mean => sum(pixel) / channels as f32,
            Reduction::Sum => sum(pixel),
            Reduction::Max => maximum(pixel),
            Reduction::Min => {
                pixel.iter().fold(f32::INFINITY, |least, &x| if x < least { x } else { least })
            }
        };
    }
}

/// Softmax over the channels of each pixel of `[pixels][channels]`.
///
/// With `m` the maximum, `e = expf(x - m)` and `s` the sum of `e` in channel order, the result is
/// `e / s`, or `(x - m) - logf(s)` for the logarithm; the functions are those of `libm`.
///
/// # Panics
/// If `channels` is 0 or a length does not fit.
pub fn softmax(input: &[f32], channels: usize, log: bool, out: &mut [f32]) {
    check(input, channels);
    assert_eq!(input.len(), out.len(), "output has the size of the input");
    for (pixel, out) in input.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
        let maximum = maximum(pixel);
        if log {
            let sum = pixel.iter().fold(0.0, |sum, x| sum + libm::expf(x - maximum));
            let log_sum = libm::logf(sum);
            for (out, x) in out.iter_mut().zip(pixel) {
                *out = (x - maximum) - log_sum;
            }
        } else {
            let mut sum = 0.0;
            for (out, x) in out.iter_mut().zip(pixel) {
                *out = libm::expf(x - maximum);
                sum += *out;
            }
            out.iter_mut().for_each(|x| *x /= sum);
        }
    }
}

fn check(input: &[f32], channels: usize) {
    assert!(channels > 0 && input.len().is_multiple_of(channels), "input is whole pixels");
}

/// In channel order from +0. `Iterator::sum` starts at -0.
fn sum(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |sum, x| sum + x)
}

fn maximum(values: &[f32]) -> f32 {
    values.iter().fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_go_in_channel_order() {
        // 1e8 + 1 rounds to 1e8: another order would give 1 or 2.
        let input = [1e8, 1.0, -1e8, 1.0, -0.0, -0.0, -0.0, -0.0];
        let reduced = |reduction| {
            let mut out = [f32::NAN; 2];
            reduce_channels(reduction, &input, 4, &mut out);
            out.map(f32::to_bits)
        };
        assert_eq!(reduced(Reduction::Sum), [1.0_f32, 0.0].map(f32::to_bits));
        assert_eq!(reduced(Reduction::Mean), [0.25_f32, 0.0].map(f32::to_bits));
        assert_eq!(reduced(Reduction::Max), [1e8_f32, -0.0].map(f32::to_bits));
        assert_eq!(reduced(Reduction::Min), [-1e8_f32, -0.0].map(f32::to_bits));
    }

    #[test]
    fn softmax_is_a_distribution_even_of_large_values() {
        let input = [1000.0, 999.0, -1000.0, 0.0, 0.0, 0.0];
        let mut out = [0.0; 6];
        softmax(&input, 3, false, &mut out);
        let e = (-1.0_f64).exp();
        for (found, expected) in
            out.iter().zip([1.0 / (1.0 + e), e / (1.0 + e), 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0])
        {
            assert!((f64::from(*found) - expected).abs() < 1e-7, "{out:?}");
        }
        let mut logarithms = [0.0; 6];
        softmax(&input, 3, true, &mut logarithms);
        assert_eq!(logarithms[2], -2000.0 - libm::logf(1.0 + libm::expf(-1.0)));
        assert_eq!(logarithms[3], -libm::logf(3.0));
    }
}
