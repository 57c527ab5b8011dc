//! From scores to an answer.

use std::cmp::Ordering;

/// The `k` largest scores with their positions, largest first. Of equal scores the earlier one comes
/// first; NaN comes last.
pub fn top_k(scores: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    // Stable, so that equal scores stay in order.
    order.sort_by(|(_, a), (_, b)| descending(*a, *b));
    order.truncate(k);
    order
}

fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The probabilities that logits stand for: `exp(x_i) / sum of exp(x_j)`, with the largest logit
/// subtracted first so that nothing overflows.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut values: Vec<f32> = logits.iter().map(|logit| libm::expf(logit - largest)).collect();
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_ties_in_order() {
        let scores = [0.5, 2.0, -1.0, 2.0, 0.0, -0.0];
        assert_eq!(top_k(&scores, 3), [(1, 2.0), (3, 2.0), (0, 0.5)]);
        let order: Vec<usize> = top_k(&scores, 100).iter().map(|&(index, _)| index).collect();
        assert_eq!(order, [1, 3, 0, 4, 5, 2]);
        assert!(top_k(&scores, 0).is_empty());
        assert!(top_k(&[], 5).is_empty());
    }

    #[test]
    fn not_a_number_comes_last() {
        let scores = [f32::NAN, f32::NEG_INFINITY, 1.0, -f32::NAN, f32::INFINITY];
        let order: Vec<usize> = top_k(&scores, 5).iter().map(|&(index, _)| index).collect();
        assert_eq!(order, [4, 2, 1, 0, 3]);
    }

    #[test]
    fn probabilities_add_up_and_nothing_overflows() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(softmax(&[3.0]), [1.0]);
        assert_eq!(softmax(&[0.0, f32::NEG_INFINITY]), [1.0, 0.0]);
        assert!(softmax(&[]).is_empty());
        let probabilities = softmax(&[0.0, 1.0, 2.0]);
        // e^x / (1 + e + e^2)
        for (probability, expected) in
            probabilities.iter().zip([0.090_030_57, 0.244_728_47, 0.665_240_96])
        {
            assert!((probability - expected).abs() < 1e-6, "{probability} {expected}");
        }
    }
}
