//! Numbers for each weight as training leaves them, and as it seldom leaves them: the rare cases are what an
//! engine has to get right.

use super::generator::Generator;
use bnn::architecture::{Operation, Parameter, ResolvedLayer, Role};

/// Share of gammas below zero: the comparison of a threshold turns around there.
const NEGATIVE: f64 = 0.12;
/// Share of gammas that are next to nothing.
const TINY: f64 = 0.02;
/// Share of gammas that are nothing: channels that always say the same.
const DEAD: f64 = 0.006;
/// Betas are no nearer to zero: a sign that beta alone decides is not left to rounding.
const LEAST_BETA: f64 = 1e-3;

/// The numbers of a weight. `name` is what the layer calls it; running statistics are those of
/// numbers that need no normalisation.
pub(super) fn draw(
    layer: &ResolvedLayer<'_>,
    name: &str,
    parameter: &Parameter,
    generator: &mut Generator,
) -> Vec<f32> {
    let shape = &parameter.shape;
    let count: usize = shape.iter().product();
    let filters = shape.first().copied().unwrap_or(1).max(1);
    match parameter.role {
        Role::Weight => {
            let deviation = match &layer.layer.operation {
                // Few of them are to be cut off.
                Operation::Convolution(convolution) if convolution.clip.is_some() => {
                    0.3 * f64::from(convolution.clip.unwrap_or(1.0).abs())
                }
                // He et al. 2015: what goes in varies as much as what comes out.
                _ => (2.0 * filters as f64 / count.max(1) as f64).sqrt(),
            };
            generator.many(count, |generator| deviation * generator.normal())
        }
        Role::BinaryWeight { .. } => latent(count, count / filters, generator),
        Role::Bias => generator.many(count, |generator| 0.05 * generator.normal()),
        Role::Gamma => generator.many(count, gamma),
        Role::Beta => generator.many(count, beta),
        Role::Mean => vec![0.0; count],
        Role::Variance => vec![1.0; count],
        Role::Shift => generator.many(count, |generator| 0.15 * generator.normal()),
        Role::Slope => generator.many(count, |generator| 0.05 + 0.4 * generator.uniform()),
        // Off the middle: values that are exactly there are common.
        Role::Coefficient if name == "v" => {
            spread(count, 0.6).map(|shift| (shift + 0.013) as f32).collect()
        }
        Role::Coefficient => generator.many(count, |generator| 0.1 + 0.5 * generator.uniform()),
        Role::Constant => spread(count, 1.0).map(|value| value as f32).collect(),
    }
}

/// Latent weights; every filter has a mean and a size of its own, so that signs are not balanced.
fn latent(count: usize, filter_length: usize, generator: &mut Generator) -> Vec<f32> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let mean = 0.25 * generator.normal();
        let size = 0.05 * (0.3 + generator.uniform());
        for _ in 0..filter_length.clamp(1, count - values.len()) {
            let value = (size * (mean + generator.normal())) as f32;
            // Readers of such files do not agree on the sign of 0.
            values.push(if value == 0.0 { 1e-4 } else { value });
        }
    }
    values
}

fn gamma(generator: &mut Generator) -> f64 {
    let size = 0.8 + 0.3 * generator.normal();
    let sign = if generator.uniform() < NEGATIVE { -1.0 } else { 1.0 };
    let kind = generator.uniform();
    let factor = match kind {
        _ if kind < DEAD => 0.0,
        _ if kind < DEAD + TINY => 1e-3,
        _ => 1.0,
    };
    sign * factor * size
}

fn beta(generator: &mut Generator) -> f64 {
    let value = 0.35 * generator.normal();
    if value.abs() < LEAST_BETA { 0.01 } else { value }
}

/// Numbers at equal distances from `-end` to `end`; a single one is 0.
fn spread(count: usize, end: f64) -> impl Iterator<Item = f64> {
    let last = count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |i| if count == 1 { 0.0 } else { end * (2.0 * i as f64 / last - 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gammas_have_their_rare_cases() {
        let gammas = Generator::new(3, "gamma").many(20_000, gamma);
        let share = |case: fn(f32) -> bool| {
            gammas.iter().filter(|&&gamma| case(gamma)).count() as f64 / gammas.len() as f64
        };
        let dead = share(|gamma| gamma == 0.0);
        assert!((0.004..0.008).contains(&dead), "{dead}");
        let tiny = share(|gamma| gamma != 0.0 && gamma.abs() < 2e-3);
        assert!((0.017..0.024).contains(&tiny), "{tiny}");
        let negative = share(|gamma| gamma < 0.0);
        assert!((0.11..0.14).contains(&negative), "{negative}");
        let mean = gammas.iter().map(|gamma| f64::from(gamma.abs())).sum::<f64>() / 20_000.0;
        assert!((0.75..0.82).contains(&mean), "{mean}");
    }

    #[test]
    fn no_beta_is_next_to_zero() {
        let betas = Generator::new(3, "beta").many(20_000, beta);
        assert!(betas.iter().all(|beta| beta.abs() >= 1e-3));
        assert!(betas.iter().any(|beta| *beta > 0.5) && betas.iter().any(|beta| *beta < -0.5));
    }

    #[test]
    fn filters_are_not_balanced() {
        let weights = latent(64 * 576, 576, &mut Generator::new(3, "weight"));
        assert_eq!(weights.len(), 64 * 576);
        assert!(weights.iter().all(|weight| *weight != 0.0));
        let shares = weights.chunks(576).map(|filter| {
            filter.iter().filter(|weight| **weight > 0.0).count() as f64 / filter.len() as f64
        });
        let shares: Vec<f64> = shares.collect();
        let far = shares.iter().filter(|share| (**share - 0.5).abs() > 0.05).count();
        assert!(far > 20, "{far} of 64 filters are far from balance: {shares:?}");
        assert!(shares.iter().all(|share| (0.1..0.9).contains(share)));
    }

    #[test]
    fn thresholds_of_bases_are_spread() {
        assert_eq!(spread(3, 1.0).collect::<Vec<_>>(), [-1.0, 0.0, 1.0]);
        assert_eq!(spread(1, 1.0).collect::<Vec<_>>(), [0.0]);
        assert_eq!(spread(0, 1.0).count(), 0);
    }
}
