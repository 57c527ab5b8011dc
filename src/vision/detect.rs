//! From the outputs of a detector to boxes.

use std::cmp::Ordering;

use super::softmax;
use crate::program::{Detector, DetectorOutputs};

/// A box around an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScoredBox {
    /// The class, the background not counted.
    pub(crate) class: usize,
    /// Probability of the class, 0 to 1.
    pub(crate) score: f32,
    /// Left, top, right and bottom, in pixels of the input of the network.
    pub(crate) corners: [f32; 4],
}

/// The boxes that the outputs for one image stand for, best first: of the [`Detector::candidates`] of the highest
/// probability, those that no better one of the same class overlaps. Of equal probabilities the lower class comes first, then
/// the earlier anchor. Boxes of infinite size do not count.
///
/// `layout` says where the numbers lie in `outputs`, which have the lengths that it expects; scores that are
/// `probabilities` already are taken as they are.
pub(crate) fn boxes(
    detector: &Detector,
    layout: &DetectorOutputs,
    outputs: &[&[f32]],
    probabilities: bool,
) -> Vec<ScoredBox> {
    let mut kept: Vec<ScoredBox> = Vec::new();
    for Candidate { class, score, anchor } in candidates(detector, layout, outputs, probabilities) {
        if kept.len() >= detector.boxes as usize {
            break;
        }
        let corners = corners(detector, anchor, layout.offsets.of(outputs, anchor));
        let hidden = |other: &ScoredBox| {
            other.class == class && overlap(other.corners, corners) > detector.overlap_threshold
        };
        if corners.iter().all(|corner| corner.is_finite()) && !kept.iter().any(hidden) {
            kept.push(ScoredBox { class, score, corners });
        }
    }
    kept
}

/// A class at an anchor.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    class: usize,
    score: f32,
    anchor: usize,
}

/// The candidates of the highest probability, best first.
fn candidates(
    detector: &Detector,
    layout: &DetectorOutputs,
    outputs: &[&[f32]],
    probabilities: bool,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (anchor, scores) in layout.scores.rows(outputs).enumerate() {
        let softened;
        let scores = if probabilities {
            scores
        } else {
            softened = softmax(scores);
            &softened
        };
        // The first score is that of the background.
        let above =
            scores[1..].iter().enumerate().filter(|(_, score)| **score > detector.score_threshold);
        candidates.extend(above.map(|(class, &score)| Candidate { class, score, anchor }));
    }
    let order = |a: &Candidate, b: &Candidate| -> Ordering {
        b.score.total_cmp(&a.score).then((a.class, a.anchor).cmp(&(b.class, b.anchor)))
    };
    let count = detector.candidates as usize;
    if candidates.len() > count {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
    candidates
}

/// Left, top, right and bottom of the box at an anchor.
fn corners(detector: &Detector, mut anchor: usize, offsets: &[f32]) -> [f32; 4] {
    let &[dx, dy, dw, dh] = offsets else { return [f32::NAN; 4] };
    for map in &detector.maps {
        let (columns, shapes) = (map.size[1] as usize, map.shapes.len());
        let here = map.size[0] as usize * columns * shapes;
        if anchor >= here {
            anchor -= here;
            continue;
        }
        let (place, [height, width]) = (anchor / shapes, map.shapes[anchor % shapes]);
        let centre = |index: usize, step: f32| (index as f32 + 0.5) * step;
        let y = centre(place / columns, map.step[0]);
        let x = centre(place % columns, map.step[1]);
        let [across, down, wider, higher] = detector.variances;
        let (x, y) = (dx * across * width + x, dy * down * height + y);
        let (width, height) = (libm::expf(dw * wider) * width, libm::expf(dh * higher) * height);
        return [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
    }
    // No output has more rows than there are anchors: `Detector::outputs` has compared them.
    [f32::NAN; 4]
}

/// Intersection over union of two boxes; not a number if both are empty.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area =
        |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common)
}
