//! Mean and variance of each channel.

use bnn::graph::{Tensor, TensorError};

/// Variances are at least this share of the mean variance: a channel that hardly moves in a few pictures would
/// drown all others in the next one.
const LEAST_SHARE: f64 = 0.05;

/// `[channels]` each.
pub(super) struct Statistics {
    pub(super) mean: Tensor,
    pub(super) variance: Tensor,
}

/// Statistics over samples of shape `[1, channels, ...]`.
pub(super) fn statistics(samples: &[Tensor]) -> Result<Statistics, TensorError> {
    let channels = samples.first().and_then(|sample| sample.shape().get(1)).copied().unwrap_or(0);
    let samples: Vec<&[f32]> = samples.iter().map(Tensor::f32).collect::<Result<_, _>>()?;
    let places = samples.first().map_or(0, |sample| sample.len() / channels.max(1));
    let count = (samples.len() * places) as f64;
    let (mut means, mut variances) = (Vec::new(), Vec::new());
    for channel in 0..channels {
        let values = || {
            let planes = samples.iter().map(|sample| &sample[channel * places..][..places]);
            planes.flatten().map(|&value| f64::from(value))
        };
        let mean = values().sum::<f64>() / count;
        let squares: f64 = values().map(|value| (value - mean) * (value - mean)).sum();
        means.push(mean);
        variances.push(squares / (count - 1.0).max(1.0));
    }
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let mut least = LEAST_SHARE * average(&variances);
    if least == 0.0 {
        // One number for each channel, or none that moves: as far as the channels lie apart.
        let centre = average(&means);
        let apart: Vec<f64> = means.iter().map(|mean| (mean - centre) * (mean - centre)).collect();
        least = average(&apart);
    }
    if least == 0.0 {
        least = 1.0;
    }
    // Numbers that have exploded in a network without normalisation stay as they are.
    let or = |value: f64, otherwise: f32| match value as f32 {
        value if value.is_finite() => value,
        _ => otherwise,
    };
    let mean = means.into_iter().map(|mean| or(mean, 0.0)).collect();
    let variance = variances.into_iter().map(|variance| or(variance.max(least), 1.0)).collect();
    let vector = |values: Vec<f32>| Tensor::from_f32(vec![channels], values);
    Ok(Statistics { mean: vector(mean)?, variance: vector(variance)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[&[f32]], channels: usize) -> [Vec<f32>; 2] {
        let tensor = |sample: &&[f32]| {
            Tensor::from_f32(vec![1, channels, sample.len() / channels], sample.to_vec()).unwrap()
        };
        let samples: Vec<Tensor> = samples.iter().map(tensor).collect();
        let found = statistics(&samples).unwrap();
        [found.mean, found.variance].map(|tensor| tensor.f32().unwrap().to_vec())
    }

    #[test]
    fn channels_are_measured_over_places_and_samples() {
        let [mean, variance] = of(&[&[1.0, 3.0, 10.0, 10.0], &[5.0, 7.0, 20.0, 20.0]], 2);
        assert_eq!(mean, [4.0, 15.0]);
        assert_eq!(variance, [20.0 / 3.0, 100.0 / 3.0]);
    }

    #[test]
    fn channels_that_do_not_move_get_a_variance() {
        let [mean, variance] = of(&[&[1.0, 3.0, 10.0, 10.0]], 2);
        assert_eq!((mean, variance), (vec![2.0, 10.0], vec![2.0, 0.05]));
        let [mean, variance] = of(&[&[1.0, 5.0]], 2);
        assert_eq!((mean, variance), (vec![1.0, 5.0], vec![4.0, 4.0]));
        let [mean, variance] = of(&[&[2.0, 2.0]], 1);
        assert_eq!((mean, variance), (vec![2.0], vec![1.0]));
    }

    #[test]
    fn what_exploded_gets_finite_statistics() {
        let [mean, variance] = of(&[&[f32::INFINITY, 1.0, f32::MAX, -f32::MAX]], 2);
        assert!(mean.iter().chain(&variance).all(|value| value.is_finite()));
    }
}
