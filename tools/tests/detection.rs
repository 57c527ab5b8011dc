//! A network that finds objects, from its weights to boxes on a picture.
//!
//! It looks at the four quarters of an image of 8x8 pixels and tells red and blue ones from all others; each
//! quarter has one anchor of its own size, and each offset is the number that its bias says.

mod support;

use safetensors::Dtype;
use serde_json::json;
use std::path::{Path, PathBuf};
use support::{Scratch, assert_fails, assert_keys, bytes, convert, run, stderr, stdout};

const BOXES: &str = r#"{"maps": [{"size": [2, 2], "step": [4, 4], "shapes": [[4, 4]]}]}"#;

const GRAPH: &str = r#"{"bnn_graph": 1, "name": "quarters", "inputs": [{"name": "x", "shape": [3, 8, 8]}], "layers": [
    {"name": "conv", "op": "convolution", "out_channels": 7, "kernel": 4, "stride": 4, "bias": true},
    {"name": "turned", "op": "transpose", "order": [1, 2, 0]},
    {"name": "rows", "op": "reshape", "shape": [4, 7]}], "outputs": ["rows"]}"#;

/// Class and place of a shape.
type Drawn = (&'static str, [f64; 4]);

/// What is on the pictures of the example and found by it, left, top, right and bottom as they were drawn.
const EXAMPLES: [(&str, &[Drawn]); 2] = [
    (
        "shapes.png",
        &[
            ("circle", [103.0, 34.0, 128.0, 52.0]),
            ("cross", [25.0, 17.0, 51.0, 39.0]),
            ("square", [46.0, 44.0, 70.0, 76.0]),
        ],
    ),
    ("wide.png", &[("circle", [38.0, 67.0, 103.0, 130.0])]),
];

fn weights(scratch: &Scratch) -> PathBuf {
    // Background; red: the mean of red less those of green and blue; blue likewise; offsets.
    let colours =
        [[0.0; 3], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [0.0; 3], [0.0; 3], [0.0; 3], [0.0; 3]];
    let weight: Vec<f32> =
        colours.iter().flatten().flat_map(|channel| vec![20.0 * channel / 16.0; 16]).collect();
    // A quarter of the width to the right.
    let bias = [0.0, -10.0, -10.0, 2.5, 0.0, 0.0, 0.0];
    scratch.safetensors(
        "net.safetensors",
        &[
            ("conv.weight", Dtype::F32, &[7, 3, 4, 4], &bytes(&weight)),
            ("conv.bias", Dtype::F32, &[7], &bytes(&bias)),
        ],
    )
}

fn conversion(scratch: &Scratch, boxes: &Path, labels: &str) -> assert_cmd::Command {
    let mut command = convert();
    command
        .arg(weights(scratch))
        .arg("--graph")
        .arg(scratch.write("net.json", GRAPH))
        .arg("--detector")
        .arg(boxes)
        .arg("--labels")
        .arg(scratch.write("labels.txt", labels))
        .args(["--resize", "8x8", "--interpolation", "nearest", "-o"])
        .arg(scratch.path("model.bnn"));
    command
}

fn model(scratch: &Scratch) -> PathBuf {
    let boxes = scratch.write("boxes.json", BOXES);
    let output = conversion(scratch, &boxes, "red\nblue\n").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    scratch.path("model.bnn")
}

/// 80x40 pixels: red at the right of the upper half, blue at the left of the lower one.
fn picture(scratch: &Scratch, name: &str) -> PathBuf {
    let path = scratch.path(name);
    let picture = image::RgbImage::from_fn(80, 40, |x, y| match (x < 40, y < 20) {
        (false, true) => image::Rgb([255, 0, 0]),
        (true, false) => image::Rgb([0, 0, 255]),
        _ => image::Rgb([200, 200, 200]),
    });
    picture.save(&path).unwrap();
    path
}

#[test]
fn boxes_are_in_pixels_of_the_picture() {
    let scratch = Scratch::new();
    let model = model(&scratch);
    let document =
        support::json(run().arg(picture(&scratch, "a.png")).arg("-m").arg(&model).arg("--json"));
    assert_keys(&document, &["image", "model", "boxes", "milliseconds"]);
    let boxes = document["boxes"].as_array().unwrap();
    assert_eq!(boxes.len(), 2, "{document}");
    // A quarter of the picture is 40x20; all boxes lie 10 pixels to the right of their quarter.
    let corner = |found: &serde_json::Value, side: &str| found[side].as_f64().unwrap();
    for (label, index, [xmin, ymin]) in [("red", 0, [50.0, 0.0]), ("blue", 1, [10.0, 20.0])] {
        let found = boxes.iter().find(|found| found["label"] == label).unwrap();
        assert_keys(found, &["index", "label", "score", "xmin", "ymin", "xmax", "ymax"]);
        assert_eq!(found["index"], index);
        let place = ["xmin", "ymin", "xmax", "ymax"].map(|side| corner(found, side));
        assert_eq!(place, [xmin, ymin, xmin + 40.0, ymin + 20.0]);
        // softmax(0, 10, -30)
        let expected = 1.0 / (1.0 + (-10.0_f64).exp());
        assert!((corner(found, "score") - expected).abs() < 1e-6, "{found}");
    }
}

#[test]
fn fewer_boxes_where_that_is_asked_for() {
    let scratch = Scratch::new();
    let model = model(&scratch);
    let count = |arguments: &[&str]| {
        let image = picture(&scratch, "a.png");
        let document =
            support::json(run().arg(image).arg("-m").arg(&model).arg("--json").args(arguments));
        document["boxes"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--top", "1"]), 1);
    assert_eq!(count(&["--min-score", "1"]), 0);
    assert_eq!(count(&["--min-score", "0.99"]), 2);
    let image = picture(&scratch, "a.png");
    assert_fails(
        run().arg(&image).arg("-m").arg(&model).args(["--min-score", "2"]),
        2,
        &["0 to 1"],
    );
}

#[test]
fn text_for_people() {
    let scratch = Scratch::new();
    let model = model(&scratch);
    let gray = scratch.png("gray.png", [128; 3]);
    let output =
        run().arg(picture(&scratch, "a.png")).arg(&gray).arg("-m").arg(&model).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("  red   100.0 %  (50, 0) to (90, 20)   "), "{text}");
    assert!(text.contains("  blue  100.0 %  (10, 20) to (50, 40)  "), "{text}");
    assert!(text.contains("gray.png\n  nothing found\n"), "{text}");

    let output = run().arg("inspect").arg(&model).output().unwrap();
    assert!(stdout(&output).contains("detector: 4 anchors on 1 map"), "{}", stdout(&output));
    let inspection = support::json(run().arg("inspect").arg(&model).arg("--json"));
    assert_eq!(inspection["detector"]["maps"][0]["size"], json!([2, 2]));
}

#[test]
fn boxes_are_drawn_where_they_are() {
    let scratch = Scratch::new();
    let model = model(&scratch);
    let drawn = |name: &str, arguments: &[&str]| {
        let path = scratch.path(name);
        let image = picture(&scratch, "a.png");
        let mut command = run();
        command.arg(image).arg("-m").arg(&model).arg("--annotate").arg(&path).args(arguments);
        let document = support::json(command.arg("--json"));
        assert_eq!(document["annotated"], path.to_str().unwrap());
        (document["boxes"].as_array().unwrap().len(), image::open(path).unwrap().to_rgb8())
    };
    let (count, boxes) = drawn("boxes.png", &[]);
    let (none, plain) = drawn("plain.png", &["--min-score", "1"]);
    assert_eq!((count, none), (2, 0));
    assert_eq!(boxes.dimensions(), plain.dimensions());
    // The right side of the blue box runs through gray, from (50, 20) to (50, 40); beside it nothing is drawn.
    let scale = boxes.width() / 80;
    let differs = |x: u32, y: u32| {
        let near = (x * scale).saturating_sub(scale / 2)..=x * scale + scale / 2;
        near.clone().any(|x| boxes.get_pixel(x, y * scale) != plain.get_pixel(x, y * scale))
    };
    assert!(differs(50, 35), "no line");
    assert!(!differs(70, 35) && !differs(2, 35), "something else");
}

#[test]
fn what_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    for (boxes, labels, code, expected) in [
        (BOXES, "red\ngreen\nblue\n", 3, "3 labels, expected 2: the detector has so many classes"),
        (&BOXES.replace("[2, 2]", "[2, 3]"), "red\nblue\n", 3, "its maps have 6 anchors"),
        (&BOXES.replace("step", "steps"), "red\nblue\n", 3, "missing field `step`"),
        (
            &BOXES.replace("]}]}", "]}], \"anchors\": 4}"),
            "red\nblue\n",
            3,
            "unknown field 'anchors'",
        ),
    ] {
        let path = scratch.write("boxes.json", boxes);
        assert_fails(&mut conversion(&scratch, &path, labels), code, &[expected]);
        assert!(!scratch.path("model.bnn").exists());
    }
    let missing = scratch.path("no.json");
    assert_fails(&mut conversion(&scratch, &missing, "red\nblue\n"), 3, &["no.json"]);

    let model = model(&scratch);
    let folder = scratch.path("data");
    for label in ["red", "blue"] {
        std::fs::create_dir_all(folder.join(label)).unwrap();
        picture(&scratch, &format!("data/{label}/a.png"));
    }
    assert_fails(run().arg("eval").arg("-m").arg(&model).arg(&folder), 4, &["finds objects"]);
}

#[test]
fn detectors_of_the_catalogue_know_their_boxes() {
    let scratch = Scratch::new();
    let output = scratch.path("ssd.bnn");
    // Random weights would be calibrated with pictures of 512x512.
    let architecture = bnn_models::find("ssd512_bdn37").unwrap().architecture().unwrap();
    let resolved = architecture.resolve().unwrap();
    let parameters = resolved.parameters();
    let ones: Vec<Vec<u8>> = parameters
        .iter()
        .map(|parameter| 1.0_f32.to_le_bytes().repeat(parameter.shape.iter().product()))
        .collect();
    let tensors: Vec<_> = parameters
        .iter()
        .zip(&ones)
        .map(|(parameter, ones)| (&*parameter.name, Dtype::F32, &*parameter.shape, &**ones))
        .collect();
    let result = convert()
        .args(["--arch", "ssd512_bdn37", "--resize", "512x512", "-o"])
        .arg(&output)
        .arg(scratch.safetensors("ones.safetensors", &tensors))
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", stderr(&result));
    let inspection = support::json(run().arg("inspect").arg(&output).arg("--json"));
    assert_eq!(inspection["labels"].as_array().unwrap().len(), 20);
    let maps = inspection["detector"]["maps"].as_array().unwrap();
    let shapes = |map: &serde_json::Value| map["shapes"].as_array().unwrap().len();
    assert_eq!(maps.iter().map(shapes).collect::<Vec<_>>(), [4, 6, 6, 6, 4, 4]);
}

#[test]
fn the_detector_of_the_examples_finds_what_is_on_its_pictures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/detector");
    let scratch = Scratch::new();
    let model = scratch.path("find_shapes.bnn");
    // As the README there says, but for the places.
    let result = convert()
        .arg(folder.join("find_shapes.onnx"))
        .arg("-o")
        .arg(&model)
        .args(["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--detector"])
        .arg(folder.join("boxes.json"))
        .arg("--labels")
        .arg(folder.join("labels.txt"))
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", stderr(&result));
    for (picture, truth) in EXAMPLES {
        let mut command = run();
        command.arg(folder.join(picture)).arg("-m").arg(&model).args([
            "--min-score",
            "0.5",
            "--json",
        ]);
        let document = support::json(&mut command);
        let found = document["boxes"].as_array().unwrap();
        for (label, [left, top, right, bottom]) in truth {
            let overlaps = |found: &&serde_json::Value| {
                let side = |name: &str| found[name].as_f64().unwrap();
                let common = (side("xmax").min(*right) - side("xmin").max(*left)).max(0.0)
                    * (side("ymax").min(*bottom) - side("ymin").max(*top)).max(0.0);
                let areas = (right - left) * (bottom - top)
                    + (side("xmax") - side("xmin")) * (side("ymax") - side("ymin"));
                found["label"] == *label && common / (areas - common) > 0.5
            };
            assert!(
                found.iter().any(|found| overlaps(&found)),
                "no {label} on {picture}: {document}"
            );
        }
    }
}
