//! Comparing outputs with golden ones.

use serde::Serialize;

/// How two sets of rows differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of rows.
    pub rows: usize,
    /// Rows that are equal to the bit.
    pub rows_exact: usize,
    /// Rows that pass: `max |difference| <= tolerance * max |expected|`, taken over the row; with
    /// tolerance 0, rows that are equal to the bit.
    pub rows_within: usize,
    /// Largest difference of all; infinite if a value is NaN or infinite on one side only.
    #[serde(serialize_with = "finite_or_null")]
    pub max_abs_diff: f64,
    /// Fraction of rows whose largest value stands at the same place (the first one of equals).
    pub top1_agreement: f64,
    /// Fraction of rows whose largest value is at the label; `None` without labels.
    pub top1_accuracy: Option<f64>,
    /// What was allowed, relative to the largest value of a row.
    pub tolerance: f64,
    /// Rows that do not pass, and their differences relative to the largest value of the row.
    #[serde(skip)]
    pub missed: Vec<(usize, f64)>,
}

/// JSON has no infinity.
fn finite_or_null<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    value.is_finite().then_some(*value).serialize(serializer)
}

impl Comparison {
    /// Compares rows of `classes` values each.
    ///
    /// # Panics
    /// If the lengths differ, are not multiples of `classes`, or the labels are not one a row.
    pub fn new(
        expected: &[f32],
        actual: &[f32],
        classes: usize,
        labels: Option<&[i64]>,
        tolerance: f64,
    ) -> Self {
        assert_eq!(expected.len(), actual.len());
        assert_eq!(expected.len() % classes, 0);
        let rows = expected.len() / classes;
        assert!(labels.is_none_or(|labels| labels.len() == rows));
        let mut comparison = Self {
            rows,
            rows_exact: 0,
            rows_within: 0,
            max_abs_diff: 0.0,
            top1_agreement: 0.0,
            top1_accuracy: None,
            tolerance,
            missed: Vec::new(),
        };
        let (mut agreeing, mut right) = (0, 0);
        let pairs = expected.chunks_exact(classes).zip(actual.chunks_exact(classes));
        for (row, (expected, actual)) in pairs.enumerate() {
            let exact = expected.iter().zip(actual).all(|(e, a)| e.to_bits() == a.to_bits());
            let difference = expected.iter().zip(actual).map(|(&e, &a)| distance(e, a)).fold(0.0, f64::max);
            let scale = expected.iter().map(|&e| f64::from(e).abs()).fold(0.0, f64::max);
            comparison.rows_exact += usize::from(exact);
            comparison.max_abs_diff = comparison.max_abs_diff.max(difference);
            if exact || (tolerance > 0.0 && difference <= tolerance * scale) {
                comparison.rows_within += 1;
            } else {
                comparison.missed.push((row, difference / scale));
            }
            agreeing += usize::from(largest(expected) == largest(actual));
            if let Some(labels) = labels {
                right += usize::from(usize::try_from(labels[row]) == Ok(largest(actual)));
            }
        }
        comparison.top1_agreement = agreeing as f64 / rows as f64;
        comparison.top1_accuracy = labels.map(|_| right as f64 / rows as f64);
        comparison
    }

    /// Whether at most `flips` rows miss the tolerance.
    pub fn passes(&self, flips: usize) -> bool {
        self.missed.len() <= flips
    }
}

/// `|a - b|`, where values that are not finite are equal or infinitely far apart.
fn distance(a: f32, b: f32) -> f64 {
    if a.is_finite() && b.is_finite() {
        (f64::from(a) - f64::from(b)).abs()
    } else if a.to_bits() == b.to_bits() {
        0.0
    } else {
        f64::INFINITY
    }
}

/// Index of the largest value, the first one of equals; NaN is never the largest.
pub fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, &value) in row.iter().enumerate() {
        if value > row[best] || row[best].is_nan() && !value.is_nan() {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerance_is_relative_to_the_largest_of_the_row() {
        let expected = [100.0, 0.0, 1.0, 0.0];
        let actual = [100.0, 0.01, 1.0, 0.01];
        let comparison = Comparison::new(&expected, &actual, 2, Some(&[0, 1]), 1e-3);
        assert_eq!((comparison.rows, comparison.rows_exact, comparison.rows_within), (2, 0, 1));
        assert_eq!(comparison.missed.len(), 1);
        assert_eq!(comparison.missed[0].0, 1);
        assert!((comparison.max_abs_diff - 0.01).abs() < 1e-9);
        assert_eq!(comparison.top1_agreement, 1.0);
        assert_eq!(comparison.top1_accuracy, Some(0.5));
        assert!(!comparison.passes(0));
        assert!(comparison.passes(1));
    }

    #[test]
    fn tolerance_zero_means_the_same_bits() {
        let comparison = Comparison::new(&[0.0, 1.0], &[-0.0, 1.0], 1, None, 0.0);
        assert_eq!((comparison.rows_exact, comparison.rows_within), (1, 1));
        assert_eq!(comparison.max_abs_diff, 0.0);
        assert_eq!(comparison.top1_accuracy, None);
    }

    #[test]
    fn values_that_are_not_numbers_never_pass() {
        let comparison = Comparison::new(&[1.0, 2.0], &[1.0, f32::NAN], 2, None, 1e30);
        assert_eq!(comparison.rows_within, 0);
        assert_eq!(serde_json::to_value(&comparison).unwrap()["max_abs_diff"], serde_json::Value::Null);
        let comparison = Comparison::new(&[f32::NAN], &[1.0], 1, None, 1e30);
        assert_eq!(comparison.rows_within, 0);
    }

    #[test]
    fn the_first_of_equals_is_the_largest() {
        assert_eq!(largest(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(largest(&[f32::NAN, -1.0]), 1);
        assert_eq!(largest(&[-5.0]), 0);
    }
}
