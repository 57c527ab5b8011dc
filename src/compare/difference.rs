//! What a comparison found, tensor by tensor.

use std::collections::HashMap;

use serde::Serialize;

use crate::graph::ValueId;

/// Bounds are worked out in floats themselves.
const SLACK: f32 = 1.0 + 1e-4;

/// Behind a step function floats that differ by more than this, relative to the largest of the tensor, took
/// another step; less is rounding.
const STEP: f32 = 5e-5;

/// How a tensor came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every element is the same.
    Equal,
    /// Floats differ as far as rounding explains.
    Rounding,
    /// Bits differ where the sum lay within rounding of the threshold, or floats where a value lay that
    /// near to the next level of a quantiser.
    OnTheFence,
    /// Elements differ because bits before them did.
    AfterFlip,
    /// Something differs that nothing explains.
    Differs,
}

/// How far sums were from the threshold where their bits differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distances {
    /// The smallest.
    pub smallest: f64,
    /// The largest.
    pub largest: f64,
    /// Standard deviation of all sums around their mean, to compare with.
    pub spread: f64,
}

/// One compared tensor, over all rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDifference {
    /// Name of the tensor in the graph.
    pub tensor: String,
    /// Name of the node that computes it there.
    pub node: String,
    /// Operator of that node.
    pub op: &'static str,
    /// Name of the converted layer that computes it: often that of a layer before the node, whose
    /// sums become these bits.
    pub layer: String,
    /// `bits` or `f32`.
    pub kind: &'static str,
    /// Elements that were compared.
    pub elements: usize,
    /// Elements that differ.
    pub differing: usize,
    /// Elements that differ by more than is explained.
    pub unexplained: usize,
    /// Largest difference.
    #[serde(serialize_with = "finite_or_null")]
    pub max_difference: f64,
    /// Largest difference by the largest magnitude of the tensor.
    #[serde(serialize_with = "finite_or_null")]
    pub max_relative: f64,
    /// Of the difference that exceeds its bound by most (if none does, comes closest): the bound.
    #[serde(serialize_with = "finite_or_null")]
    pub explained: f64,
    /// For bits that differ: how near to the threshold their sums were.
    pub distances: Option<Distances>,
    /// The outcome.
    pub verdict: Verdict,
}

/// Everything that was compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerComparison {
    /// Rows of inputs that were run.
    pub rows: usize,
    /// Whether no tensor differs beyond what is explained.
    pub passed: bool,
    /// Operands of exactly 0 of an ONNX `Sign` that the conversion takes as +1, in all rows.
    pub zeros_at_signs: usize,
    /// The tensors, in the order of the graph.
    pub tensors: Vec<TensorDifference>,
}

impl LayerComparison {
    /// The first tensor that differs beyond what is explained.
    pub fn first_failure(&self) -> Option<&TensorDifference> {
        self.tensors.iter().find(|tensor| tensor.verdict == Verdict::Differs)
    }

    /// The first tensor in which any bit differs, or any float beyond what is explained.
    pub fn first_difference(&self) -> Option<&TensorDifference> {
        let parts = |tensor: &&TensorDifference| {
            !matches!(tensor.verdict, Verdict::Equal | Verdict::Rounding)
        };
        self.tensors.iter().find(parts)
    }

    /// How many tensors came out like that.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.tensors.iter().filter(|tensor| tensor.verdict == verdict).count()
    }
}

/// JSON has no infinity.
fn finite_or_null<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    value.is_finite().then_some(*value).serialize(serializer)
}

/// What is compared.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) tensor: String,
    pub(super) node: String,
    pub(super) op: &'static str,
}

/// One tensor in one row.
pub(super) struct Sample<'a> {
    /// For bits: the distance of the two values that they stand for.
    pub(super) gap: Option<f32>,
    pub(super) expected: &'a [f32],
    pub(super) actual: &'a [f32],
    pub(super) bound: Option<&'a [f32]>,
    pub(super) margin: Option<&'a [f32]>,
    pub(super) after_flip: bool,
    pub(super) may_step: bool,
}

/// What one sample showed.
pub(super) struct Found {
    pub(super) differing: usize,
    /// Bits that differ, and floats that took another step.
    pub(super) turned: usize,
    /// Of each element.
    pub(super) distances: Vec<f32>,
}

#[derive(Debug)]
struct Tally {
    subject: Subject,
    step: usize,
    is_bits: bool,
    elements: usize,
    differing: usize,
    unexplained: usize,
    /// Differing elements that are explained by bits before them.
    after_flip: usize,
    turned: usize,
    max_difference: f64,
    largest: f64,
    /// Difference by bound, and that bound, where the ratio is largest.
    tightest: (f64, f64),
    nearest: f64,
    farthest: f64,
    /// Number, sum and sum of squares of the margins.
    margins: (f64, f64, f64),
}

/// Differences of all tensors over all rows.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    places: HashMap<(ValueId, bool, usize), usize>,
    tallies: Vec<Tally>,
}

impl Statistics {
    /// Takes in one tensor of one row. `key` tells tensors apart: the value, whether as bits, and
    /// the step that wrote it.
    pub(super) fn add(
        &mut self,
        key: (ValueId, bool, usize),
        subject: impl FnOnce() -> Subject,
        sample: &Sample<'_>,
    ) -> Found {
        let (_, is_bits, step) = key;
        let tallies = &mut self.tallies;
        let index = *self.places.entry(key).or_insert_with(|| {
            tallies.push(Tally::new(subject(), step, is_bits));
            tallies.len() - 1
        });
        tallies[index].add(sample)
    }

    pub(super) fn finish<'s>(
        self,
        rows: usize,
        zeros_at_signs: usize,
        step_name: impl Fn(usize) -> &'s str,
    ) -> LayerComparison {
        let tensors: Vec<TensorDifference> =
            self.tallies.into_iter().map(|tally| tally.finish(&step_name)).collect();
        let passed = tensors.iter().all(|tensor| tensor.verdict != Verdict::Differs);
        LayerComparison { rows, passed, zeros_at_signs, tensors }
    }
}

impl Tally {
    fn new(subject: Subject, step: usize, is_bits: bool) -> Self {
        Self {
            subject,
            step,
            is_bits,
            elements: 0,
            differing: 0,
            unexplained: 0,
            after_flip: 0,
            turned: 0,
            max_difference: 0.0,
            largest: 0.0,
            tightest: (0.0, 0.0),
            nearest: f64::INFINITY,
            farthest: 0.0,
            margins: (0.0, 0.0, 0.0),
        }
    }

    fn add(&mut self, sample: &Sample<'_>) -> Found {
        let mut found =
            Found { differing: 0, turned: 0, distances: Vec::with_capacity(sample.expected.len()) };
        let magnitude = |largest: f32, x: &f32| largest.max(x.abs());
        let step = STEP * sample.expected.iter().fold(0.0_f32, magnitude);
        for (index, (&expected, &actual)) in sample.expected.iter().zip(sample.actual).enumerate() {
            let distance = distance(expected, actual);
            found.distances.push(distance);
            self.elements += 1;
            self.largest = self.largest.max(f64::from(expected.abs()));
            let margin = sample.margin.map(|margin| f64::from(margin[index]));
            if let Some(margin) = margin.filter(|margin| margin.is_finite()) {
                let (count, sum, squares) = &mut self.margins;
                (*count, *sum, *squares) =
                    (*count + 1.0, *sum + margin, *squares + margin * margin);
            }
            if distance == 0.0 {
                continue;
            }
            self.max_difference = self.max_difference.max(f64::from(distance));
            let bound = sample.bound.map_or(0.0, |bound| bound[index]);
            // A bit counts as the other one where it is nearer to the other value; less is rounding
            // of the graph, as straight-through estimators leave it.
            let differs = sample.gap.is_none_or(|gap| distance > 0.25 * gap);
            let explained = bound.is_nan() || distance <= bound * SLACK || !differs;
            let ratio = f64::from(distance) / f64::from(bound);
            if ratio > self.tightest.0 {
                self.tightest = (ratio, f64::from(bound));
            }
            found.differing += usize::from(differs);
            let turned = if self.is_bits { differs } else { sample.may_step && distance > step };
            found.turned += usize::from(turned);
            self.unexplained += usize::from(!explained);
            self.after_flip += usize::from(differs && explained && sample.after_flip);
            if let Some(margin) = margin.filter(|_| differs) {
                self.nearest = self.nearest.min(margin.abs());
                self.farthest = self.farthest.max(margin.abs());
            }
        }
        self.differing += found.differing;
        self.turned += found.turned;
        found
    }

    fn finish<'s>(self, step_name: &impl Fn(usize) -> &'s str) -> TensorDifference {
        let verdict = if self.unexplained > 0 {
            Verdict::Differs
        } else if self.differing == 0 {
            Verdict::Equal
        } else if self.after_flip > 0 {
            Verdict::AfterFlip
        } else if self.turned > 0 {
            Verdict::OnTheFence
        } else {
            Verdict::Rounding
        };
        let (count, sum, squares) = self.margins;
        let mean = sum / count;
        let distances = (self.is_bits && self.nearest.is_finite()).then(|| Distances {
            smallest: self.nearest,
            largest: self.farthest,
            spread: (squares / count - mean * mean).max(0.0).sqrt(),
        });
        let Subject { tensor, node, op } = self.subject;
        TensorDifference {
            tensor,
            node,
            op,
            layer: step_name(self.step).to_owned(),
            kind: if self.is_bits { "bits" } else { "f32" },
            elements: self.elements,
            differing: self.differing,
            unexplained: self.unexplained,
            max_difference: self.max_difference,
            max_relative: if self.largest > 0.0 { self.max_difference / self.largest } else { 0.0 },
            explained: self.tightest.1,
            distances,
            verdict,
        }
    }
}

/// How far apart two values are; NaN equals NaN only.
fn distance(expected: f32, actual: f32) -> f32 {
    if expected == actual || expected.is_nan() && actual.is_nan() {
        return 0.0;
    }
    let distance = (expected - actual).abs();
    if distance.is_nan() { f32::INFINITY } else { distance }
}
