//! How the outputs of a network that finds objects become boxes: the anchors of an SSD and its thresholds.

use serde::{Deserialize, Serialize};

use super::Port;

/// Most anchors of a detector: a hundred times those of SSD512.
const MAX_ANCHORS: u64 = 1 << 20;

/// Most maps of a detector.
const MAX_MAPS: usize = 64;

/// Most candidates: each is compared with every box that is kept.
const MAX_CANDIDATES: u32 = 1 << 13;

/// Offsets of a box: centre and size.
const OFFSETS: usize = 4;

/// How the outputs of a network become boxes, as in SSD (Liu et al. 2016, section 2).
///
/// The network gives a row of numbers for each *anchor*, a box of fixed place and size: a score for the
/// background, one for each class, and four offsets `dx, dy, dw, dh`. Scores become probabilities by softmax;
/// with the variances `v` and an anchor of centre `(x, y)`, width `w` and height `h` the box has
///
/// ```text
/// centre (x + dx * v[0] * w, y + dy * v[1] * h)    width w * exp(dw * v[2])    height h * exp(dh * v[3])
/// ```
///
/// The rows are one output `[anchors, 1 + classes + 4]`, or two, `[anchors, 1 + classes]` and `[anchors, 4]`.
/// They are in the order of the maps, then of the rows of a map, its columns, and its shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    /// The maps that predict boxes, in the order of the output.
    pub maps: Vec<AnchorMap>,
    /// What the offsets are multiplied by.
    #[serde(default = "variances")]
    pub variances: [f32; 4],
    /// Boxes count from probabilities above this one on.
    #[serde(default = "score_threshold")]
    pub score_threshold: f32,
    /// A box goes if it overlaps a better one of its class by more than this: intersection over union.
    #[serde(default = "overlap_threshold")]
    pub overlap_threshold: f32,
    /// Boxes that are looked at, those of the highest scores of all classes.
    #[serde(default = "candidates")]
    pub candidates: u32,
    /// Boxes that are kept at most.
    #[serde(default = "boxes")]
    pub boxes: u32,
}

/// The anchors of one feature map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnchorMap {
    /// Rows and columns of the map.
    pub size: [u32; 2],
    /// Distance from a place of the map to the next one, in pixels of the input: vertical, horizontal. The
    /// anchors of row `r` and column `c` have their centres at `((r + 0.5) * vertical, (c + 0.5) * horizontal)`.
    pub step: [f32; 2],
    /// Height and width of the anchors at each place, in pixels of the input.
    pub shapes: Vec<[f32; 2]>,
}

fn variances() -> [f32; 4] {
    [0.1, 0.1, 0.2, 0.2]
}

fn score_threshold() -> f32 {
    0.01
}

fn overlap_threshold() -> f32 {
    0.45
}

fn candidates() -> u32 {
    400
}

fn boxes() -> u32 {
    100
}

/// Where the numbers of an anchor lie in the outputs of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DetectorOutputs {
    /// The score of the background, then one for each class.
    pub(crate) scores: Columns,
    /// `dx, dy, dw, dh`.
    pub(crate) offsets: Columns,
}

/// Some columns of an output that has a row for each anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Which output it is.
    output: usize,
    /// Length of its rows.
    row: usize,
    /// The first column.
    first: usize,
    /// Number of columns.
    count: usize,
}

impl Columns {
    /// The numbers of each anchor, in order.
    pub(crate) fn rows<'o>(self, outputs: &[&'o [f32]]) -> impl Iterator<Item = &'o [f32]> {
        let rows = outputs[self.output].chunks_exact(self.row);
        rows.map(move |row| &row[self.first..self.first + self.count])
    }

    /// The numbers of an anchor.
    pub(crate) fn of<'o>(self, outputs: &[&'o [f32]], anchor: usize) -> &'o [f32] {
        &outputs[self.output][anchor * self.row + self.first..][..self.count]
    }
}

impl Detector {
    /// With these maps, and the variances and thresholds of GluonCV's SSD: 0.1 and 0.2, scores from 0.01 on,
    /// overlaps up to 0.45, the best 400 boxes looked at, 100 kept.
    pub fn new(maps: Vec<AnchorMap>) -> Self {
        Self {
            maps,
            variances: variances(),
            score_threshold: score_threshold(),
            overlap_threshold: overlap_threshold(),
            candidates: candidates(),
            boxes: boxes(),
        }
    }

    /// Number of anchors. Saturates.
    pub fn anchors(&self) -> u64 {
        self.maps.iter().fold(0, |sum, map| {
            let [rows, columns] = map.size.map(u64::from);
            sum.saturating_add((rows * columns).saturating_mul(map.shapes.len() as u64))
        })
    }

    /// Number of classes without the background, if the outputs of the network have the shapes of this detector.
    pub fn classes(&self, outputs: &[Port]) -> Option<usize> {
        self.outputs(outputs).ok().map(|found| found.scores.count - 1)
    }

    /// Checks the numbers by themselves and against the outputs of the network, without the batch.
    pub(super) fn check(&self, outputs: &[Port]) -> Result<(), String> {
        if self.maps.len() > MAX_MAPS {
            return Err(format!("{} maps, expected at most {MAX_MAPS}", self.maps.len()));
        }
        let positive = |value: f32| value.is_finite() && value > 0.0;
        for (index, map) in self.maps.iter().enumerate() {
            let lengths = map.step.iter().chain(map.shapes.as_flattened());
            if let Some(length) = lengths.copied().find(|&length| !positive(length)) {
                return Err(format!("map {index}: a length of {length}, expected more than 0"));
            }
            if map.size.contains(&0) || map.shapes.is_empty() {
                return Err(format!("map {index} has no anchors"));
            }
        }
        if let Some(variance) = self.variances.iter().find(|&&variance| !positive(variance)) {
            return Err(format!("a variance of {variance}, expected more than 0"));
        }
        for (name, value) in [
            ("score_threshold", self.score_threshold),
            ("overlap_threshold", self.overlap_threshold),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} {value}, expected 0 to 1"));
            }
        }
        if !(1..=MAX_CANDIDATES).contains(&self.candidates) {
            return Err(format!("{} candidates, expected 1 to {MAX_CANDIDATES}", self.candidates));
        }
        if self.boxes == 0 {
            return Err("0 boxes, expected 1 or more".into());
        }
        let anchors = self.anchors();
        if !(1..=MAX_ANCHORS).contains(&anchors) {
            return Err(format!("{anchors} anchors, expected 1 to {MAX_ANCHORS}"));
        }
        self.outputs(outputs).map(drop)
    }

    /// Finds scores and offsets in the outputs of the network.
    pub(crate) fn outputs(&self, outputs: &[Port]) -> Result<DetectorOutputs, String> {
        let anchors = self.anchors();
        let row = |output: &Port, least: usize| match *output.shape {
            [rows, values] if rows as u64 == anchors && values >= least => Ok(values),
            _ => Err(format!(
                "output '{}' has shape {:?}, expected [{anchors}, {least} or more]: its maps have \
                 {anchors} anchors",
                output.name, output.shape
            )),
        };
        match outputs {
            [output] => {
                let row = row(output, 2 + OFFSETS)?;
                let scores = Columns { output: 0, row, first: 0, count: row - OFFSETS };
                let offsets = Columns { first: scores.count, count: OFFSETS, ..scores };
                Ok(DetectorOutputs { scores, offsets })
            }
            [first, second] => {
                // Where both have four columns the scores come first, as they do in one output.
                let swapped = row(first, 2)? == OFFSETS && row(second, 2)? != OFFSETS;
                let [scores, offsets] = if swapped { [1, 0] } else { [0, 1] };
                let found = row(&outputs[offsets], OFFSETS)?;
                if found != OFFSETS {
                    return Err(format!(
                        "outputs '{}' and '{}' have {} and {found} columns, expected {OFFSETS} in one of them",
                        first.name,
                        second.name,
                        row(first, 2)?
                    ));
                }
                let whole =
                    |output: usize, row: usize| Columns { output, row, first: 0, count: row };
                Ok(DetectorOutputs {
                    scores: whole(scores, row(&outputs[scores], 2)?),
                    offsets: whole(offsets, OFFSETS),
                })
            }
            _ => Err(format!("the network has {} outputs, expected 1 or 2", outputs.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::BufferId;

    fn detector() -> Detector {
        let map = |rows, columns, shapes: &[[f32; 2]]| AnchorMap {
            size: [rows, columns],
            step: [8.0, 8.0],
            shapes: shapes.to_vec(),
        };
        Detector::new(vec![map(2, 3, &[[8.0, 8.0], [4.0, 16.0]]), map(1, 1, &[[16.0, 16.0]])])
    }

    fn outputs(shapes: &[&[usize]]) -> Vec<Port> {
        let port = |(index, shape): (usize, &&[usize])| Port {
            name: index.to_string(),
            shape: shape.to_vec(),
            buffer: BufferId(index as u32),
        };
        shapes.iter().enumerate().map(port).collect()
    }

    #[test]
    fn scores_and_offsets_are_found_in_one_or_two_outputs() {
        let find = |shapes: &[&[usize]]| {
            let DetectorOutputs { scores, offsets } = detector().outputs(&outputs(shapes))?;
            let place =
                |columns: Columns| [columns.output, columns.row, columns.first, columns.count];
            Ok::<_, String>((place(scores), place(offsets)))
        };
        assert_eq!(detector().anchors(), 13);
        assert_eq!(find(&[&[13, 7]]), Ok(([0, 7, 0, 3], [0, 7, 3, 4])));
        assert_eq!(find(&[&[13, 3], &[13, 4]]), Ok(([0, 3, 0, 3], [1, 4, 0, 4])));
        assert_eq!(find(&[&[13, 4], &[13, 3]]), Ok(([1, 3, 0, 3], [0, 4, 0, 4])));
        assert_eq!(find(&[&[13, 4], &[13, 4]]), Ok(([0, 4, 0, 4], [1, 4, 0, 4])));
        for wrong in [
            &[&[12, 7][..]][..],
            &[&[13, 5]],
            &[&[13 * 7]],
            &[&[13, 3], &[13, 5]],
            &[&[13, 3], &[12, 4]],
            &[],
            &[&[13, 3], &[13, 4], &[1]],
        ] {
            assert!(find(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let outputs = outputs(&[&[13, 7]]);
        assert_eq!(detector().check(&outputs), Ok(()));
        let changes: [fn(&mut Detector); 13] = [
            |d| d.maps = vec![d.maps[1].clone(); 100],
            |d| d.maps.clear(),
            |d| d.maps[0].size[1] = 0,
            |d| d.maps[0].size = [u32::MAX; 2],
            |d| d.maps[1].shapes.clear(),
            |d| d.maps[0].shapes[1][0] = 0.0,
            |d| d.maps[0].step[0] = f32::NAN,
            |d| d.maps[0].step[1] = f32::INFINITY,
            |d| d.variances[3] = -0.1,
            |d| d.score_threshold = 1.5,
            |d| d.overlap_threshold = f32::NAN,
            |d| d.candidates = 1_000_000,
            |d| d.boxes = 0,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut detector = detector();
            change(&mut detector);
            assert!(detector.check(&outputs).is_err(), "{index}");
        }
    }

    #[test]
    fn only_the_maps_must_be_written_down() {
        let text = r#"{"maps": [
            {"size": [2, 3], "step": [8, 8], "shapes": [[8, 8], [4, 16]]},
            {"size": [1, 1], "step": [8, 8], "shapes": [[16, 16]]}]}"#;
        assert_eq!(serde_json::from_str::<Detector>(text).unwrap(), detector());
    }
}
