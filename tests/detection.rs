//! Boxes from the outputs of a detector, against a second implementation in plain loops and double precision.

mod random_numbers;
mod sample;

use bnn::{
    Detection, Error, Model, RunError, SessionOptions,
    program::{Detector, Resize},
    vision::Image,
};
use proptest::prelude::*;
use random_numbers::Random;
use sample::detector as network;

/// Of the network.
const CLASSES: usize = 3;
const ROWS: usize = 6;
const COLUMNS: usize = 8;

/// Class, score, and the corners in pixels of the input.
type Found = (usize, f64, [f64; 4]);

/// What the specification says, step by step.
fn specified(
    detector: &Detector,
    scores: &[f32],
    offsets: &[f32],
    probabilities: bool,
) -> Vec<Found> {
    let mut anchors = Vec::new();
    for map in &detector.maps {
        for row in 0..map.size[0] {
            for column in 0..map.size[1] {
                for &[height, width] in &map.shapes {
                    let y = (f64::from(row) + 0.5) * f64::from(map.step[0]);
                    let x = (f64::from(column) + 0.5) * f64::from(map.step[1]);
                    anchors.push([x, y, f64::from(width), f64::from(height)]);
                }
            }
        }
    }
    let mut found: Vec<Found> = Vec::new();
    for (index, &[x, y, width, height]) in anchors.iter().enumerate() {
        let v = detector.variances.map(f64::from);
        let d: Vec<f64> = offsets[4 * index..4 * index + 4].iter().map(|&d| f64::from(d)).collect();
        let (x, y) = (x + d[0] * v[0] * width, y + d[1] * v[1] * height);
        let (width, height) = (width * (d[2] * v[2]).exp(), height * (d[3] * v[3]).exp());
        let corners = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
        let columns = scores.len() / anchors.len();
        let row = &scores[columns * index..columns * (index + 1)];
        let exp: Vec<f64> = row.iter().map(|&score| f64::from(score).exp()).collect();
        let sum: f64 = exp.iter().sum();
        for class in 1..columns {
            let score = if probabilities { f64::from(row[class]) } else { exp[class] / sum };
            if score > f64::from(detector.score_threshold) {
                found.push((class - 1, score, corners));
            }
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(detector.candidates as usize);
    let mut kept: Vec<Found> = Vec::new();
    for one in found {
        let overlaps = |other: &&Found| {
            let (a, b) = (one.2, other.2);
            let side =
                |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
            let common = side(0, 2) * side(1, 3);
            let area = |c: [f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
            common / (area(a) + area(b) - common) > f64::from(detector.overlap_threshold)
        };
        if !kept.iter().any(|other| other.0 == one.0 && overlaps(&other)) {
            kept.push(one);
        }
    }
    kept.truncate(detector.boxes as usize);
    kept
}

fn assert_agree(found: &[Detection], expected: &[Found], [across, down]: [f64; 2], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (found, (class, score, [left, top, right, bottom])) in found.iter().zip(expected) {
        assert_eq!(found.index, *class, "{case}");
        let values = [found.score, found.xmin, found.ymin, found.xmax, found.ymax];
        let expected = [*score, left * across, top * down, right * across, bottom * down];
        for (value, expected) in values.into_iter().zip(expected) {
            let error = (f64::from(value) - expected).abs();
            assert!(error < 1e-4 * expected.abs().max(1.0), "{case}: {found:?} {expected}");
        }
    }
}

#[test]
fn boxes_are_those_of_the_specification() {
    let anchors = 2 * ROWS * COLUMNS;
    let mut random = Random(7);
    let mut counts = Vec::new();
    for case in 0..60 {
        let split = case % 2 == 1;
        let mut program = network(split);
        let detector = program.metadata.detector.as_mut().unwrap();
        detector.candidates = [400, 37, 5][case % 3];
        detector.boxes = [100, 4][case / 2 % 2];
        detector.score_threshold = [0.01, 0.3, 0.9][case / 4 % 3];
        detector.overlap_threshold = [0.45, 0.0, 1.0, 0.2][case / 3 % 4];
        let detector = detector.clone();
        let probabilities = case % 5 == 4;
        program.metadata.outputs_are_probabilities = probabilities;
        let model = Model::from_program(program).unwrap();

        let scores: Vec<f32> = if probabilities {
            random.floats(anchors * (1 + CLASSES)).iter().map(|x| x.abs()).collect()
        } else {
            random.floats(anchors * (1 + CLASSES)).iter().map(|x| 5.0 * x).collect()
        };
        let offsets: Vec<f32> = random.floats(anchors * 4).iter().map(|x| 4.0 * x).collect();
        let joined: Vec<f32> = scores
            .chunks(1 + CLASSES)
            .zip(offsets.chunks(4))
            .flat_map(|(scores, offsets)| [scores, offsets].concat())
            .collect();
        let outputs: Vec<&[f32]> = if split { vec![&scores, &offsets] } else { vec![&joined] };
        let found = model.detections(&outputs, 80, 30).unwrap();
        let expected = specified(&detector, &scores, &offsets, probabilities);
        assert_agree(&found, &expected, [10.0, 5.0], &format!("case {case}"));
        for detection in &found {
            assert_eq!(detection.label.as_deref(), Some(["cat", "dog", "bird"][detection.index]));
        }
        counts.push(found.len());
    }
    // The cases are of all kinds: nothing found, a few, as many as are allowed.
    assert!(counts.contains(&100) || counts.iter().any(|&count| count > 40), "{counts:?}");
    assert!(counts.contains(&4), "{counts:?}");
}

#[test]
fn a_session_finds_what_its_outputs_say() {
    for split in [false, true] {
        let model = Model::from_program(network(split)).unwrap();
        let mut session = model.session(&SessionOptions::default()).unwrap();
        let pixels = (0..20 * 9 * 3).map(|index| (index * 37 % 251) as u8).collect();
        let image = Image::new(20, 9, pixels).unwrap();
        let found = session.detect(&image).unwrap();
        assert!(!found.is_empty());

        let input = model.preprocess(&image).unwrap();
        let mut outputs: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
        let mut places: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        session.run_into(&[&input], &mut places).unwrap();
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        assert_eq!(model.detections(&outputs, 20, 9).unwrap(), found);
        assert!(matches!(session.classify(&image, 5), Err(Error::Run(RunError::NotAClassifier))));
    }
}

#[test]
fn boxes_lie_where_the_crop_was_taken() {
    let mut program = network(true);
    let preprocessing = program.metadata.preprocessing.as_mut().unwrap();
    // 40x24 becomes 20x12, of which the middle 8x6 starts at (6, 3).
    preprocessing.resize = Some(Resize::Shorter(12));
    preprocessing.crop = Some([COLUMNS as u32, ROWS as u32]);
    let model = Model::from_program(program).unwrap();
    let anchors = 2 * ROWS * COLUMNS;
    let mut scores = vec![0.0; anchors * (1 + CLASSES)];
    // The first anchor has its centre at (0.5, 0.5), and a width of 2 and a height of 1.5.
    scores[2] = 50.0;
    for row in scores.chunks_mut(1 + CLASSES).skip(1) {
        row[0] = 50.0;
    }
    let found = model.detections(&[&scores, &vec![0.0; anchors * 4]], 40, 24).unwrap();
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.index, found.label.as_deref()), (1, Some("dog")));
    assert_eq!([found.xmin, found.ymin, found.xmax, found.ymax], [11.0, 5.5, 15.0, 8.5]);
}

#[test]
fn outputs_that_are_no_numbers_give_no_boxes() {
    let model = Model::from_program(network(true)).unwrap();
    let anchors = 2 * ROWS * COLUMNS;
    let none = |scores: f32, offsets: f32| {
        let outputs = [vec![scores; anchors * (1 + CLASSES)], vec![offsets; anchors * 4]];
        model.detections(&[&outputs[0], &outputs[1]], 8, 6).unwrap().is_empty()
    };
    assert!(none(f32::NAN, 0.0));
    assert!(none(0.0, f32::NAN));
    assert!(none(0.0, f32::MAX));
    assert!(none(f32::INFINITY, 0.0));
    assert!(!none(0.0, 0.0));
    // Boxes that vanish are boxes still.
    assert!(!none(0.0, -3000.0));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let model = Model::from_program(network(true)).unwrap();
    let (scores, offsets) = (vec![0.0; 96 * 4], vec![0.0; 96 * 4]);
    let error = |outputs: &[&[f32]]| model.detections(outputs, 8, 6).unwrap_err().to_string();
    assert!(error(&[&scores]).contains("room for 1 outputs"), "{}", error(&[&scores]));
    assert!(error(&[&scores, &offsets[1..]]).contains("'y1' has 383 values"));

    let mut program = network(true);
    program.metadata.detector = None;
    let model = Model::from_program(program).unwrap();
    let missing = model.detections(&[&scores, &offsets], 8, 6);
    assert!(matches!(missing, Err(Error::Run(RunError::NoDetector))));

    let mut program = network(false);
    program.metadata.detector.as_mut().unwrap().maps.pop();
    let error = Model::from_program(program).unwrap_err().to_string();
    assert!(error.contains("detector: output 'y0' has shape [96, 8]"), "{error}");
}

/// Numbers of every size, most of them sensible.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![4 => 0.01_f32..2.0, 1 => prop::num::f32::ANY]
}

proptest! {
    #[test]
    fn whatever_a_file_says_is_refused_or_done(
        step in [number(), number()],
        shape in [number(), number()],
        variances in [number(), number(), number(), number()],
        thresholds in [number(), number()],
        counts in (0_u32..9, prop::num::u32::ANY, prop::num::u32::ANY),
        (scores, offsets) in (prop::num::f32::ANY, prop::num::f32::ANY),
        picture in [1_u32.., 1_u32..],
    ) {
        let mut program = network(true);
        let detector = program.metadata.detector.as_mut().unwrap();
        let map = &mut detector.maps[counts.0 as usize % 2];
        (map.step, map.shapes[0]) = (step, shape);
        detector.variances = variances;
        [detector.score_threshold, detector.overlap_threshold] = thresholds;
        // Half of them are few enough.
        [detector.candidates, detector.boxes] = [counts.1 >> (counts.0 * 3), counts.2];
        let most = detector.boxes as usize;
        if let Ok(model) = Model::from_program(program) {
            let (scores, offsets) = ([scores, 1.0, 0.5, 0.0].repeat(96), [offsets, 0.0].repeat(192));
            let found = model.detections(&[&scores, &offsets], picture[0], picture[1]).unwrap();
            prop_assert!(found.len() <= most);
            prop_assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}

#[test]
fn a_detector_is_kept_in_the_file() {
    let program = network(false);
    let bytes = bnn::format::write(&program).unwrap();
    assert_eq!(bnn::format::read(&bytes).unwrap(), program);
}
