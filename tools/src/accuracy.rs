//! Counting right answers.

use serde::Serialize;
use std::collections::BTreeMap;

/// Right and wrong answers of a classifier.
#[derive(Debug, Clone)]
pub struct Accuracy {
    classes: usize,
    images: usize,
    top1: usize,
    top5: usize,
    /// How often an image of the first class was taken for one of the second.
    confusion: BTreeMap<(usize, usize), usize>,
}

/// The images of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassAccuracy {
    /// The class.
    pub index: usize,
    /// Its label, if the model has one.
    pub label: Option<String>,
    /// Images of this class.
    pub images: usize,
    /// Those that were recognised.
    pub correct: usize,
    /// Fraction of the images that were recognised.
    pub top1: f64,
}

impl Accuracy {
    /// Of a network that tells apart `classes` classes, before the first image.
    pub fn new(classes: usize) -> Self {
        Self { classes, images: 0, top1: 0, top5: 0, confusion: BTreeMap::new() }
    }

    /// Adds an image of class `label` for which the network gave `scores`. Of equal scores the first
    /// one wins; scores that are not numbers lose.
    ///
    /// # Panics
    /// If `label` or the number of scores does not fit the classes.
    pub fn add(&mut self, label: usize, scores: &[f32]) {
        assert!(scores.len() == self.classes && label < self.classes);
        let own = scores[label];
        let before = |(index, &other): (usize, &f32)| {
            other > own
                || (other == own && index < label)
                || (own.is_nan() && (!other.is_nan() || index < label))
        };
        let rank = scores.iter().enumerate().filter(|&score| before(score)).count();
        self.images += 1;
        self.top1 += usize::from(rank == 0);
        self.top5 += usize::from(rank < 5);
        *self.confusion.entry((label, crate::comparison::largest(scores))).or_default() += 1;
    }

    /// Images so far.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Images whose class came first.
    pub fn correct(&self) -> usize {
        self.top1
    }

    /// Fraction of the images whose class came first; 0 without images.
    pub fn top1(&self) -> f64 {
        fraction(self.top1, self.images)
    }

    /// Fraction of the images whose class was among the first five; 0 without images.
    pub fn top5(&self) -> f64 {
        fraction(self.top5, self.images)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often an image of class `label` was taken for one of class `answer`.
    pub fn count(&self, label: usize, answer: usize) -> usize {
        self.confusion.get(&(label, answer)).copied().unwrap_or(0)
    }

    /// The classes that have images; `labels` are the names of the classes, or empty.
    pub fn per_class(&self, labels: &[String]) -> Vec<ClassAccuracy> {
        let mut images = BTreeMap::<usize, usize>::new();
        for (&(label, _), &count) in &self.confusion {
            *images.entry(label).or_default() += count;
        }
        images
            .into_iter()
            .map(|(index, images)| {
                let correct = self.count(index, index);
                let top1 = fraction(correct, images);
                ClassAccuracy { index, label: labels.get(index).cloned(), images, correct, top1 }
            })
            .collect()
    }

    /// What images of a class were taken for, wrongly and most often first: answer, how many times.
    pub fn taken_for(&self, label: usize) -> Vec<(usize, usize)> {
        let mut answers: Vec<(usize, usize)> = self
            .confusion
            .range((label, 0)..=(label, usize::MAX))
            .filter(|&(&(_, answer), _)| answer != label)
            .map(|(&(_, answer), &count)| (answer, count))
            .collect();
        answers.sort_by_key(|&(answer, count)| (std::cmp::Reverse(count), answer));
        answers
    }

    /// The mistakes made most often: class, answer, how many times.
    pub fn mistakes(&self) -> Vec<(usize, usize, usize)> {
        let mut mistakes: Vec<_> = self
            .confusion
            .iter()
            .filter(|((label, answer), _)| label != answer)
            .map(|(&(label, answer), &count)| (label, answer, count))
            .collect();
        mistakes.sort_by_key(|&(label, answer, count)| (std::cmp::Reverse(count), label, answer));
        mistakes
    }
}

fn fraction(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_ties() {
        let mut accuracy = Accuracy::new(7);
        accuracy.add(1, &[0.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0]); // first
        accuracy.add(2, &[0.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0]); // second: a tie goes to the first
        accuracy.add(6, &[1.0; 7]); // seventh
        accuracy.add(4, &[1.0; 7]); // fifth
        assert_eq!((accuracy.images(), accuracy.correct()), (4, 1));
        assert_eq!((accuracy.top1(), accuracy.top5()), (0.25, 0.75));
        assert_eq!(accuracy.count(2, 1), 1);
        assert_eq!(accuracy.count(6, 0), 1);
        assert_eq!(accuracy.mistakes(), [(2, 1, 1), (4, 0, 1), (6, 0, 1)]);
        assert_eq!((accuracy.taken_for(2), accuracy.taken_for(1)), (vec![(1, 1)], vec![]));
        accuracy.add(2, &[5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        accuracy.add(2, &[5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(accuracy.taken_for(2), [(0, 2), (1, 1)]);
    }

    #[test]
    fn scores_that_are_not_numbers_lose() {
        let mut accuracy = Accuracy::new(2);
        accuracy.add(0, &[f32::NAN, 1.0]);
        accuracy.add(1, &[f32::NAN, 1.0]);
        assert_eq!(accuracy.correct(), 1);
    }

    #[test]
    fn classes_without_images_are_left_out() {
        let mut accuracy = Accuracy::new(3);
        accuracy.add(2, &[0.0, 0.0, 1.0]);
        accuracy.add(2, &[1.0, 0.0, 0.0]);
        let labels = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            accuracy.per_class(&labels),
            [ClassAccuracy { index: 2, label: Some("c".into()), images: 2, correct: 1, top1: 0.5 }]
        );
        assert_eq!(Accuracy::new(3).top1(), 0.0);
    }
}
