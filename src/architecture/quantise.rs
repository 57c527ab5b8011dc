//! From latent weights to the weights that a layer computes with.
//!
//! Scales are means of magnitudes. A converted network is to give the float network's answers, and the last
//! bit of a mean depends on the order in which it is summed; so [`mean`] sums in the order of the
//! framework that trained it, PyTorch on x86, which makes `--arch` and an ONNX export of the
//! same weights agree to the bit.

use super::Scale;

/// Sums that run side by side, and the floats in each: what PyTorch's vectors hold.
const LANES: usize = 8;
const PARALLEL: usize = 4;
/// Levels of partial sums, so that no sum has many terms of another magnitude.
const LEVELS: usize = 4;

/// ±1; 0 counts as +1.
pub(super) fn sign(weight: f32) -> f32 {
    if weight >= 0.0 { 1.0 } else { -1.0 }
}

/// Weights of a binary layer of `filters` filters: signs times the scale.
pub(super) fn quantised(latent: &[f32], filters: usize, scale: Scale) -> Vec<f32> {
    let signs = latent.iter().map(|&weight| sign(weight));
    match scale {
        Scale::None => signs.collect(),
        Scale::Layer => {
            let scale = mean_magnitude(latent);
            signs.map(|sign| sign * scale).collect()
        }
        Scale::Channel => {
            let length = latent.len().checked_div(filters).unwrap_or(0).max(1);
            let scaled = latent.chunks(length).flat_map(|filter| {
                let scale = mean_magnitude(filter);
                filter.iter().map(move |&weight| sign(weight) * scale)
            });
            scaled.collect()
        }
    }
}

/// The bases `sign(W - mean W + u std W)` of ABC-Net, one for each `u`.
pub(super) fn bases(latent: &[f32], u: &[f32]) -> Vec<Vec<f32>> {
    let mean = mean(latent);
    let deviation = standard_deviation(latent);
    let base = |&u: &f32| {
        let shift = u * deviation;
        latent.iter().map(|&weight| sign((weight - mean) + shift)).collect()
    };
    u.iter().map(base).collect()
}

/// Weights that are ± one number are already scaled: that number, which a rounded mean could miss.
fn mean_magnitude(values: &[f32]) -> f32 {
    let magnitudes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    match magnitudes.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => *first,
        _ => mean(&magnitudes),
    }
}

/// Root of the unbiased variance, which PyTorch computes in double precision.
fn standard_deviation(values: &[f32]) -> f32 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum();
    (squares / (count - 1.0).max(1.0)).sqrt() as f32
}

/// Mean in single precision.
pub(super) fn mean(values: &[f32]) -> f32 {
    if values.len() < LANES {
        return sum_of_few(values) / values.len() as f32;
    }
    let (vectors, rest) = values.as_chunks::<LANES>();
    let mut sum = 0.0;
    for value in rest {
        sum += value;
    }
    for lane in sum_of_vectors(vectors) {
        sum += lane;
    }
    sum / values.len() as f32
}

/// Fewer numbers than a vector has: the four sums are of single numbers.
fn sum_of_few(values: &[f32]) -> f32 {
    let (rows, rest) = values.as_chunks::<PARALLEL>();
    let [mut sum, others @ ..] = rows.first().copied().unwrap_or_default();
    for value in rest.iter().chain(&others) {
        sum += value;
    }
    sum
}

/// Four sums side by side over every fourth vector, then what is left, then the other three sums.
fn sum_of_vectors(vectors: &[[f32; LANES]]) -> [f32; LANES] {
    let (rows, rest) = vectors.as_chunks::<PARALLEL>();
    let [mut sum, others @ ..] = sum_of_rows(rows);
    for vector in rest.iter().chain(&others) {
        accumulate(&mut sum, vector);
    }
    sum
}

/// Cascaded sums: after `2^power` rows a level is added to the next one and starts anew.
fn sum_of_rows(rows: &[[[f32; LANES]; PARALLEL]]) -> [[f32; LANES]; PARALLEL] {
    let power = (rows.len().next_power_of_two().trailing_zeros() / LEVELS as u32).max(4);
    let step = 1 << power;
    let mut levels = [[[0.0_f32; LANES]; PARALLEL]; LEVELS];
    let (steps, rest) = rows.split_at(rows.len() - rows.len() % step);
    let mut done = 0_usize;
    for step_rows in steps.chunks(step) {
        for row in step_rows {
            accumulate_row(&mut levels[0], row);
        }
        done += step;
        for level in 1..LEVELS {
            let below = std::mem::take(&mut levels[level - 1]);
            accumulate_row(&mut levels[level], &below);
            if done & ((step - 1) << (level as u32 * power)) != 0 {
                break;
            }
        }
    }
    let [mut sum, others @ ..] = levels;
    for row in rest.iter().chain(&others) {
        accumulate_row(&mut sum, row);
    }
    sum
}

fn accumulate_row(sum: &mut [[f32; LANES]; PARALLEL], row: &[[f32; LANES]; PARALLEL]) {
    for (sum, vector) in sum.iter_mut().zip(row) {
        accumulate(sum, vector);
    }
}

fn accumulate(sum: &mut [f32; LANES], vector: &[f32; LANES]) {
    for (sum, value) in sum.iter_mut().zip(vector) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_counts_as_plus_one() {
        assert_eq!(quantised(&[0.0, -0.0, -0.5, 2.0], 2, Scale::None), [1.0, 1.0, -1.0, 1.0]);
        assert_eq!(quantised(&[1.0, -3.0, -0.5, 0.5], 2, Scale::Channel), [2.0, -2.0, -0.5, 0.5]);
        assert_eq!(quantised(&[1.0, -3.0, -1.0, 3.0], 2, Scale::Layer), [2.0, -2.0, -2.0, 2.0]);
        assert!(quantised(&[], 0, Scale::Channel).is_empty());
    }

    #[test]
    fn scaling_what_is_scaled_changes_nothing() {
        let scale = 0.1_f32;
        let stored: Vec<f32> = (0..99).map(|i| if i % 3 == 0 { scale } else { -scale }).collect();
        assert_ne!(mean(&[scale; 99]), scale);
        assert_eq!(quantised(&stored, 1, Scale::Channel), stored);
    }

    #[test]
    fn means_are_those_of_the_training_framework() {
        // torch 2.15 on x86, `x.mean()` with x_i = frac(i * 2654435761 / 2^32), one thread.
        let expected = [
            (1, 0x0),
            (5, 0x3edf_444d),
            (8, 0x3ed3_8455),
            (27, 0x3ef5_3095),
            (31, 0x3efe_1d29),
            (32, 0x3ef8_b7bd),
            (147, 0x3efe_af98),
            (576, 0x3eff_7de4),
            (1152, 0x3eff_dde9),
            (4608, 0x3eff_e532),
            (36864, 0x3eff_ffa5),
            (100_003, 0x3eff_ff9f),
        ];
        for (length, bits) in expected {
            let fraction = |i: u32| {
                (f64::from(i.wrapping_mul(2_654_435_761)) / f64::from(2.0_f32.powi(32))) as f32
            };
            let values: Vec<f32> = (0..length).map(fraction).collect();
            assert_eq!(mean(&values).to_bits(), bits, "{length} values");
        }
    }

    #[test]
    fn bases_shift_the_threshold() {
        // Mean 1, deviation 2 (unbiased variance 4 of -1, 1, 3).
        assert_eq!(
            bases(&[-1.0, 1.0, 3.0], &[-1.0, 0.0, 1.0]),
            [[-1.0, -1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        );
    }
}
