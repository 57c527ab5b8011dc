//! Order statistics of measured times.

use serde::Serialize;

/// Typical and extreme values of repeated measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the measurements are below it.
    pub median: f64,
    /// The smallest.
    pub minimum: f64,
    /// A tenth of the measurements are below it.
    pub p10: f64,
    /// Nine tenths of the measurements are below it.
    pub p90: f64,
}

impl Spread {
    /// The spread of at least one measurement, none of them NaN; `None` for an empty list.
    pub fn of(measurements: &[f64]) -> Option<Self> {
        let mut sorted = measurements.to_vec();
        sorted.sort_by(f64::total_cmp);
        let minimum = *sorted.first()?;
        Some(Self {
            median: quantile(&sorted, 0.5),
            minimum,
            p10: quantile(&sorted, 0.1),
            p90: quantile(&sorted, 0.9),
        })
    }
}

/// The value below which the fraction `q` of the sorted values lies, linear between neighbours.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!(spread.median, 3.0);
        assert_eq!(spread.minimum, 1.0);
        assert!((spread.p10 - 1.4).abs() < 1e-12);
        assert!((spread.p90 - 4.6).abs() < 1e-12);
        let spread = Spread::of(&[7.0]).unwrap();
        assert_eq!((spread.median, spread.p10, spread.p90), (7.0, 7.0, 7.0));
        assert_eq!(Spread::of(&[]), None);
    }
}
