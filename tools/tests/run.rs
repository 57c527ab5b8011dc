//! `bnn-run` from the outside: exit codes, messages, documents.

mod support;

use flate2::{Compression, write::GzEncoder};
use safetensors::Dtype;
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
};
use support::{
    COLOURS, SIDE, Scratch, Variant, assert_fails, assert_keys, json, path_of, run, stderr, stdout,
};

#[test]
fn classifies_an_image() {
    let scratch = Scratch::new();
    let model = scratch.model();
    for (index, (name, colour)) in COLOURS.into_iter().enumerate() {
        let image = scratch.png(&format!("{name}.png"), colour);
        let document = json(run().arg(&image).arg("-m").arg(&model).args(["--json", "--top", "2"]));
        assert_keys(&document, &["image", "model", "predictions", "milliseconds"]);
        assert_keys(&document["milliseconds"], &["decode", "preprocess", "run"]);
        assert_eq!(document["image"], image.to_str().unwrap());
        assert_eq!(document["model"], model.to_str().unwrap());
        let predictions = document["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 2);
        assert_eq!(predictions[0]["index"], index);
        assert_eq!(predictions[0]["label"], name);
        // softmax(3, -1, -1)
        let expected = 1.0 / (1.0 + 2.0 * (-4.0_f64).exp());
        let probability = predictions[0]["probability"].as_f64().unwrap();
        assert!((probability - expected).abs() < 1e-6, "{probability}");
    }
}

#[test]
fn probabilities_are_taken_as_they_are() {
    let scratch = Scratch::new();
    let model = scratch.model_of(Variant { softmax: true, ..Variant::default() });
    let image = scratch.png("x.png", [0, 0, 255]);
    let document = json(run().arg(&image).arg("-m").arg(&model).arg("--json"));
    let expected = 1.0 / (1.0 + 2.0 * (-4.0_f64).exp());
    let first = &document["predictions"][0];
    assert_eq!(first["label"], "blue");
    assert!((first["probability"].as_f64().unwrap() - expected).abs() < 1e-6, "{first}");
}

#[test]
fn text_for_people() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = scratch.png("red.png", [255, 0, 0]);
    let output = run().arg(&image).arg("-m").arg(&model).arg("--profile").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    assert!(!text.contains('\x1b'), "no colours into a pipe");
    for part in ["red.png", "96.5 %", "█", "decode", "preprocess", "run", "binary_conv", "total"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn one_broken_image_among_many() {
    let scratch = Scratch::new();
    let model = scratch.model();
    scratch.png("images/a.png", [255, 0, 0]);
    scratch.write("images/b.png", "this is no image");
    scratch.png("images/more/c.PNG", [0, 0, 255]);
    scratch.write("images/notes.txt", "not looked at");
    let output = run()
        .arg(scratch.path("images"))
        .arg(scratch.path("missing.png"))
        .arg("-m")
        .arg(&model)
        .arg("--json")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let labels: Vec<String> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|answer| answer["predictions"][0]["label"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(labels, ["red", "blue"]);
    let messages: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("bnn-run: ") && messages[0].contains("b.png"));
    assert!(messages[1].contains("missing.png"));
}

#[test]
fn standard_input() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = fs::read(scratch.png("x.png", [0, 255, 0])).unwrap();
    let document = json(run().arg("-").arg("-m").arg(&model).arg("--json").write_stdin(image));
    assert_eq!(document["image"], "-");
    assert_eq!(document["predictions"][0]["label"], "green");
    assert_fails(run().arg("-").arg("-m").arg(&model).write_stdin("text"), 3, &["-: "]);
    assert_fails(run().args(["-", "-", "-m"]).arg(&model), 2, &["standard input"]);
}

/// Nobody knows the length of what a pipe brings before its end.
#[cfg(target_os = "linux")]
#[test]
fn a_model_may_come_from_a_pipe() {
    let scratch = Scratch::new();
    let model = fs::read(scratch.model()).unwrap();
    let image = scratch.png("x.png", [0, 255, 0]);
    let mut command = run();
    command.arg(image).args(["-m", "/dev/stdin", "--json"]).write_stdin(model);
    assert_eq!(json(&mut command)["predictions"][0]["label"], "green");
}

#[test]
fn images_and_models_that_cannot_be_read() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = scratch.png("x.png", [0, 0, 0]);
    assert_fails(run().arg(scratch.path("no.png")).arg("-m").arg(&model), 3, &["no.png"]);
    let text = scratch.write("text.png", "text");
    assert_fails(run().arg(text).arg("-m").arg(&model), 3, &["text.png", "PNG"]);
    fs::create_dir(scratch.path("empty")).unwrap();
    assert_fails(run().arg(scratch.path("empty")).arg("-m").arg(&model), 3, &["no images"]);

    let whole = fs::read(&model).unwrap();
    let cut = scratch.write("cut.bnn", &whole[..whole.len() - 1]);
    let mut turned = whole.clone();
    *turned.last_mut().unwrap() ^= 0x10;
    let turned = scratch.write("turned.bnn", turned);
    let garbage = scratch.write("garbage.bnn", "x".repeat(1000));
    let missing = scratch.path("missing.bnn");
    for model in [cut, turned, garbage, missing] {
        let name = model.file_name().unwrap().to_str().unwrap().to_owned();
        for flags in [&[][..], &["--mmap"]] {
            assert_fails(run().arg(&image).arg("-m").arg(&model).args(flags), 3, &[&name]);
        }
        for subcommand in ["bench", "inspect"] {
            let mut command = run();
            command.arg(subcommand);
            if subcommand == "bench" {
                command.arg("-m");
            }
            assert_fails(command.arg(&model), 3, &[&name]);
        }
    }
}

#[test]
fn a_mapped_model_answers_the_same() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = scratch.png("x.png", [255, 0, 0]);
    let read = json(run().arg(&image).arg("-m").arg(&model).arg("--json"));
    let mapped = json(run().arg(&image).arg("-m").arg(&model).args(["--json", "--mmap"]));
    assert_eq!(read["predictions"], mapped["predictions"]);
}

#[test]
fn a_model_without_preprocessing_cannot_take_images() {
    let scratch = Scratch::new();
    let model = scratch.path("plain.bnn");
    support::convert().arg(scratch.onnx(Variant::default())).arg("-o").arg(&model).assert().code(0);
    let image = scratch.png("x.png", [0, 0, 0]);
    assert_fails(run().arg(image).arg("-m").arg(&model), 4, &["plain.bnn", "--resize"]);
}

#[test]
fn instruction_sets_and_threads_are_checked() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = scratch.png("x.png", [255, 0, 0]);
    let classify = || {
        let mut command = run();
        command.arg(&image).arg("-m").arg(&model).arg("--json");
        command
    };
    assert_fails(classify().args(["--isa", "mmx"]), 2, &["--isa", "mmx"]);
    assert_fails(classify().env("BNN_ISA", "mmx"), 2, &["BNN_ISA", "mmx"]);
    assert_fails(classify().args(["--threads", "two"]), 2, &["--threads", "two"]);
    assert_fails(classify().env("BNN_THREADS", "-3"), 2, &["BNN_THREADS", "-3"]);
    let kernels = json(run().args(["kernels", "--json"]));
    let mut answers = Vec::new();
    for isa in kernels["isas"].as_array().unwrap() {
        let name = isa["name"].as_str().unwrap();
        if isa["available"] == true {
            answers.push(json(classify().args(["--isa", name])));
        } else {
            assert_fails(classify().args(["--isa", name]), 2, &["--isa", name]);
            assert_fails(classify().env("BNN_ISA", name), 2, &["BNN_ISA", name]);
        }
    }
    let vectors = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    assert!(answers.len() > 1 || !vectors);
    assert!(answers.iter().all(|answer| answer["predictions"] == answers[0]["predictions"]));
    // The flag wins.
    let mut command = classify();
    command.env("BNN_ISA", "mmx").env("BNN_THREADS", "x");
    json(command.args(["--isa", "scalar", "--threads", "2"]));
}

#[test]
fn wrong_usage() {
    let scratch = Scratch::new();
    let model = scratch.model();
    assert_fails(&mut run(), 2, &["IMAGE"]);
    assert_fails(run().arg("--no-such-flag"), 2, &["--no-such-flag"]);
    assert_fails(run().args(["x.png", "--top", "0"]), 2, &["--top"]);
    assert_fails(run().args(["x.png", "--mmap"]), 2, &["--model"]);
    assert_fails(run().arg("inspect"), 2, &["MODEL"]);
    assert_fails(run().arg("verify").arg(&model), 2, &["GOLDEN"]);
    assert_fails(run().args(["bench", "--batch", "0"]), 2, &["--batch"]);
    assert_fails(run().args(["bench", "--batch", "100000000"]), 2, &["--batch"]);
    assert_fails(run().args(["bench", "--seconds", "-1"]), 2, &["--seconds"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = scratch.png("x.png", [255, 0, 0]);
    let images = vec![image.as_os_str(); 200];
    let mut child = Command::new(path_of("bnn-run"))
        .args(images)
        .arg("-m")
        .arg(&model)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(complaints, "");
}

#[test]
fn a_file_named_like_a_subcommand() {
    let scratch = Scratch::new();
    let model = scratch.model();
    scratch.png("bench", [0, 255, 0]);
    let mut command = run();
    command.current_dir(scratch.path("")).arg("./bench").arg("-m").arg(&model).arg("--json");
    assert_eq!(json(&mut command)["predictions"][0]["label"], "green");
}

#[test]
fn the_default_model_is_built_in() {
    let scratch = Scratch::new();
    let image = scratch.png("x.png", [90, 140, 220]);
    let document = json(run().arg(&image).args(["--json", "--top", "100"]));
    assert_eq!(document["model"], "default");
    let predictions = document["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 10);
    assert!(predictions.iter().all(|prediction| prediction["label"].is_string()));
    let sum: f64 = predictions.iter().map(|p| p["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
}

fn pictures() -> Vec<u8> {
    COLOURS.iter().flat_map(|(_, colour)| colour.repeat(SIDE * SIDE)).collect()
}

fn labels(values: [i64; 3]) -> Vec<u8> {
    values.into_iter().flat_map(i64::to_le_bytes).collect()
}

#[test]
fn eval_takes_folders_named_after_labels() {
    let scratch = Scratch::new();
    let model = scratch.model();
    for (name, colour) in COLOURS {
        scratch.png(&format!("data/{name}/1.png"), colour);
    }
    scratch.png("data/red/2.png", [0, 255, 0]);
    let confusion = scratch.path("confusion.png");
    let mut command = run();
    command.arg("eval").arg(scratch.path("data")).arg("-m").arg(&model).arg("--json");
    let document = json(command.arg("--confusion").arg(&confusion));
    assert_keys(
        &document,
        &["images", "top1", "top5", "correct", "skipped", "images_per_second", "per_class"],
    );
    assert_eq!((&document["images"], &document["correct"]), (&4.into(), &3.into()));
    assert_eq!((&document["top1"], &document["top5"]), (&0.75.into(), &1.0.into()));
    assert_eq!(document["skipped"], 0);
    let red = &document["per_class"][0];
    assert_eq!(
        (&red["label"], &red["images"], &red["correct"]),
        (&"red".into(), &2.into(), &1.into())
    );
    assert!(image::open(&confusion).unwrap().width() > 3);

    let output = run()
        .arg("eval")
        .arg(scratch.path("data"))
        .arg("-m")
        .arg(&model)
        .args(["--threads", "2"])
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(text.contains("top-1 75.00 %") && text.contains("1 times green for red"), "{text}");

    scratch.png("data/purple/1.png", [128, 0, 128]);
    assert_fails(
        run().arg("eval").arg(scratch.path("data")).arg("-m").arg(&model),
        3,
        &["purple", "none of the 3 labels"],
    );
}

#[test]
fn eval_skips_broken_images() {
    let scratch = Scratch::new();
    let model = scratch.model();
    scratch.write("data/a.png", "broken");
    scratch.png("data/b.png", [0, 255, 0]);
    scratch.png("data/c.png", [0, 0, 255]);
    scratch.write("data/labels.csv", "a.png,0\nb.png,1\nc.png,2\nd.png,2\n");
    let output = run()
        .arg("eval")
        .arg(scratch.path("data"))
        .arg("-m")
        .arg(&model)
        .arg("--json")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["images"], &document["correct"]), (&2.into(), &2.into()));
    assert_eq!(document["skipped"], 2);
    assert_eq!(stderr(&output).lines().count(), 2, "{}", stderr(&output));
}

#[test]
fn eval_takes_a_table_of_its_own() {
    let scratch = Scratch::new();
    let model = scratch.model();
    scratch.png("data/b.png", [0, 255, 0]);
    let eval = |labels| {
        let mut command = run();
        command.arg("eval").arg(scratch.path("data")).arg("-m").arg(&model).arg("--json");
        command.arg("--labels").arg(labels);
        command
    };
    let document = json(&mut eval(scratch.write("elsewhere.csv", "b.png,1\n")));
    assert_eq!(document["correct"], 1);
    assert_fails(&mut eval(scratch.path("none.csv")), 3, &["none.csv"]);
    assert_fails(&mut eval(scratch.write("bad.csv", "b.png,green\n")), 3, &["bad.csv", "line 1"]);
    assert_fails(&mut eval(scratch.write("far.csv", "b.png,3\n")), 3, &["label 3"]);
}

#[test]
fn eval_takes_tensors() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let eval = |labels: [i64; 3], shape: &[usize]| {
        let tensors: [(&str, Dtype, &[usize], &[u8]); 2] = [
            ("images", Dtype::U8, shape, &pictures()),
            ("labels", Dtype::I64, &[3], &self::labels(labels)),
        ];
        let data = scratch.safetensors("data.safetensors", &tensors);
        let mut command = run();
        command.arg("eval").arg(data).arg("-m").arg(&model).arg("--json");
        command
    };
    let document = json(&mut eval([0, 1, 0], &[3, SIDE, SIDE, 3]));
    assert_eq!((&document["images"], &document["correct"]), (&3.into(), &2.into()));
    assert_fails(&mut eval([0, -1, 0], &[3, SIDE, SIDE, 3]), 3, &["negative"]);
    assert_fails(&mut eval([0, 1, 0], &[9, SIDE, SIDE, 1]), 3, &["3 labels for 9 images"]);
}

#[test]
fn eval_takes_idx_files() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let idx = |shape: &[u32], data: &[u8]| {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(data);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    // White and black: all channels alike, so all scores are equal and the first class wins.
    let pixels = [[255; SIDE * SIDE], [0; SIDE * SIDE]].concat();
    let side = SIDE as u32;
    let images = scratch.write("data/t10k-images-idx3-ubyte.gz", idx(&[2, side, side], &pixels));
    scratch.write("data/t10k-labels-idx1-ubyte.gz", idx(&[2], &[0, 2]));
    for data in [scratch.path("data"), images] {
        let document = json(run().arg("eval").arg(data).arg("-m").arg(&model).arg("--json"));
        assert_eq!((&document["images"], &document["correct"]), (&2.into(), &1.into()));
    }
}

#[test]
fn bench_measures() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let document = json(
        run()
            .args(["bench", "--seconds", "0", "--batch", "3", "--threads", "2", "--isa", "scalar"])
            .arg("-m")
            .arg(&model)
            .arg("--json"),
    );
    assert_keys(
        &document,
        &[
            "model",
            "isa",
            "threads",
            "batch",
            "median_ms",
            "min_ms",
            "p10_ms",
            "p90_ms",
            "images_per_second",
            "load_ms",
            "arena_bytes",
            "model_bytes",
            "layers",
            "limits",
            "as_floats",
        ],
    );
    assert_keys(&document["limits"], &["binary_gmacs", "float_gmacs"]);
    assert_keys(&document["as_floats"], &["binary_ms", "float_ms", "ratio"]);
    assert_eq!((&document["isa"], &document["threads"]), (&"scalar".into(), &2.into()));
    assert_eq!(document["batch"], 3);
    assert_eq!(document["model_bytes"], fs::metadata(&model).unwrap().len());
    let median = document["median_ms"].as_f64().unwrap();
    let rate = document["images_per_second"].as_f64().unwrap();
    assert!((rate * median / 3000.0 - 1.0).abs() < 1e-9);
    let layers = document["layers"].as_array().unwrap();
    assert!(!layers.is_empty());
    for layer in layers {
        assert_keys(layer, &["name", "kind", "kernel", "ms", "macs", "gmacs", "share_of_limit"]);
        let multiplies = layer["macs"].as_u64() > Some(0);
        assert_eq!(layer["share_of_limit"].as_f64().is_some(), multiplies, "{layer}");
    }
    let output = run().args(["bench", "--seconds", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for part in ["median", "the same convolutions of floats", "of limit"] {
        assert!(stdout(&output).contains(part), "no {part:?} in {}", stdout(&output));
    }
}

#[test]
fn the_profile_is_drawn() {
    let scratch = Scratch::new();
    let (model, image) = (scratch.model(), scratch.png("red.png", [255, 0, 0]));
    let chart = scratch.path("chart.svg");
    let output = run()
        .arg(&image)
        .arg("-m")
        .arg(&model)
        .arg("--profile-chart")
        .arg(&chart)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let svg = fs::read_to_string(&chart).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("of the limit") && svg.contains("class=\"binary\""), "{svg}");
    let chart = scratch.path("chart.png");
    let mut bench = run();
    bench.args(["bench", "--seconds", "0", "--profile-chart"]).arg(&chart).arg("-m").arg(&model);
    assert_eq!(bench.output().unwrap().status.code(), Some(0));
    assert!(fs::read(&chart).unwrap().starts_with(b"\x89PNG"));
    let mut wrong = run();
    wrong.arg(&image).arg("-m").arg(&model).arg("--profile-chart").arg(scratch.path("chart.gif"));
    assert_fails(&mut wrong, 2, &["chart.gif", ".svg or .png"]);
}

#[test]
fn verify_compares() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let verify = |golden: &std::path::Path| {
        let mut command = run();
        command.arg("verify").arg(&model).arg(golden);
        command
    };
    let golden = scratch.golden(|_| {});
    let document = json(verify(&golden).args(["--json", "--tolerance", "0"]));
    assert_keys(
        &document,
        &[
            "rows",
            "rows_exact",
            "rows_within",
            "max_abs_diff",
            "top1_agreement",
            "top1_accuracy",
            "tolerance",
        ],
    );
    assert_eq!((&document["rows"], &document["rows_exact"]), (&3.into(), &3.into()));
    assert_eq!(document["input_u8"]["rows_exact"], 3);
    assert_eq!(document["top1_accuracy"], 1.0);

    // A difference of 2e-4 of the largest logit: too much by default, fine with more tolerance.
    let golden = scratch.golden(|logits| logits[0] = 3.0006);
    let output = verify(&golden).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(stdout(&output).contains("failed") && stdout(&output).contains("1 flipped"));
    assert_eq!(stderr(&output).lines().count(), 1);
    assert!(stderr(&output).contains("row 0"));
    verify(&golden).args(["--tolerance", "1e-3"]).assert().code(0);
    let document = json(verify(&golden).args(["--allow-flips", "1", "--json"]));
    assert_eq!((&document["rows_within"], &document["passed"]), (&2.into(), &true.into()));
}

#[test]
fn verify_sees_behind_a_softmax() {
    let scratch = Scratch::new();
    let model = scratch.model_of(Variant { softmax: true, ..Variant::default() });
    let golden = scratch.golden(|_| {});
    let mut command = run();
    command.arg("verify").arg(&model).arg(&golden).args(["--json", "--tolerance", "0"]);
    let document = json(&mut command);
    assert_eq!((&document["output"], &document["rows_exact"]), (&"logits".into(), &3.into()));
    assert_eq!(document["probabilities"]["rows_within"], 3);
}

#[test]
fn verify_refuses_what_does_not_fit() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let verify = |golden: &std::path::Path| {
        let mut command = run();
        command.arg("verify").arg(&model).arg(golden);
        command
    };
    assert_fails(&mut verify(&scratch.path("no.safetensors")), 3, &["no.safetensors"]);
    let garbage = scratch.write("garbage.safetensors", "garbage");
    assert_fails(&mut verify(&garbage), 3, &["garbage.safetensors"]);
    let zeros = [0_u8; 48 * 4];
    let wrong = |input: usize, classes: usize| {
        scratch.safetensors(
            "wrong.safetensors",
            &[
                ("input_f32", Dtype::F32, &[1, input], &zeros[..4 * input]),
                ("logits", Dtype::F32, &[1, classes], &zeros[..4 * classes]),
            ],
        )
    };
    assert_fails(&mut verify(&wrong(47, 3)), 3, &["input_f32", "47", "48"]);
    assert_fails(&mut verify(&wrong(48, 4)), 3, &["logits", "4", "3"]);
    assert_fails(verify(&scratch.golden(|_| {})).args(["--tolerance", "x"]), 2, &["--tolerance"]);
}

#[test]
fn inspect_shows_everything() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let document = json(run().arg("inspect").arg(&model).arg("--json"));
    assert_keys(
        &document,
        &[
            "model",
            "name",
            "inputs",
            "outputs",
            "preprocessing",
            "labels",
            "layers",
            "file",
            "macs",
        ],
    );
    assert_eq!(document["inputs"][0]["shape"], serde_json::json!([3, SIDE, SIDE]));
    assert_eq!(document["labels"], serde_json::json!(["red", "green", "blue"]));
    assert_eq!(document["file"]["file_bytes"], fs::metadata(&model).unwrap().len());
    assert_eq!(document["binary_layers"], 1);
    assert_keys(&document["file"]["tensors"][0], &["name", "kind", "shape", "bytes", "crc32"]);
    let output = run().arg("inspect").arg(&model).output().unwrap();
    for part in ["binary_conv", "CRC-32", "nearest", "red, green, blue", "3x4x4"] {
        assert!(stdout(&output).contains(part), "no {part:?} in {}", stdout(&output));
    }
}

#[test]
fn kernels_shows_instruction_sets() {
    let document = json(run().args(["kernels", "--json"]));
    assert_keys(&document, &["isas", "chosen", "reason"]);
    let names: Vec<&str> = document["isas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|isa| isa["name"].as_str().unwrap())
        .collect();
    for name in ["scalar", "v2", "avx2", "avx512", "avx512vpopcnt", "amx", "neon"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let document = json(run().args(["kernels", "--json"]).env("BNN_ISA", "scalar"));
    assert_eq!(document["chosen"], "scalar");
    assert!(document["reason"].as_str().unwrap().contains("BNN_ISA"));
    let output = run().arg("kernels").output().unwrap();
    assert!(stdout(&output).contains("is chosen"), "{}", stdout(&output));
}

#[test]
fn an_answer_is_drawn_beside_its_image() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let image = scratch.png("green.png", [0, 255, 0]);
    let out = scratch.path("out.PNG");
    let mut command = run();
    command.arg(&image).arg("-m").arg(&model).arg("--json").arg("--annotate").arg(&out);
    let document = json(&mut command);
    assert_keys(&document, &["image", "model", "predictions", "milliseconds", "annotated"]);
    assert_eq!(document["annotated"], out.to_str().unwrap());
    let drawn = image::open(&out).unwrap().into_rgb8();
    // 6x5 pixels, each of them a square of 80, and the rows to the right of them.
    assert!(drawn.width() > 480 + 200 && drawn.height() == 400, "{:?}", drawn.dimensions());
    assert_eq!(drawn.get_pixel(479, 399).0, [0, 255, 0]);
    assert_eq!(drawn.get_pixel(482, 399).0, [255; 3]);
    let bars = drawn.pixels().filter(|pixel| pixel.0 == [0x00, 0x72, 0xb2]).count();
    assert!(bars > 1000, "{bars}");

    // The same without JSON, and nothing else is printed than without a drawing.
    let text =
        run().arg(&image).arg("-m").arg(&model).arg("--annotate").arg(&out).output().unwrap();
    assert_eq!(text.status.code(), Some(0), "{}", stderr(&text));
    assert!(stdout(&text).contains("green") && stderr(&text).is_empty());
}

#[test]
fn answers_for_several_images_go_into_a_folder() {
    let scratch = Scratch::new();
    let model = scratch.model();
    scratch.png("images/red.png", [255, 0, 0]);
    scratch.png("images/more/red.png", [0, 0, 255]);
    scratch.write("images/broken.png", "this is no image");
    let out = format!("{}/", scratch.path("drawn").display());
    let call = |target: &str| {
        let mut command = run();
        command.arg(scratch.path("images")).arg("-m").arg(&model).arg("--json");
        command.arg("--annotate").arg(target).output().unwrap()
    };
    let output = call(&out);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let names = |folder: &str| {
        let entries = fs::read_dir(scratch.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("drawn"), ["red-2.png", "red.png"], "none for the broken one");
    for line in stdout(&output).lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        let drawn = image::open(document["annotated"].as_str().unwrap()).unwrap().into_rgb8();
        let image = image::open(document["image"].as_str().unwrap()).unwrap().into_rgb8();
        assert_eq!(drawn.get_pixel(0, 0), image.get_pixel(0, 0));
    }

    // One file is not enough, images are not overwritten, and other formats are not written: all
    // of that is said before anything is run.
    let file = scratch.path("one.png");
    let images = scratch.path("images/more");
    for (target, part) in [
        (file.to_str().unwrap(), "one file for 3 images"),
        (images.to_str().unwrap(), "would replace the image"),
        ("drawn.jpg", "ends in .png"),
    ] {
        let output = call(target);
        assert_eq!(output.status.code(), Some(2), "{target}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{target}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{target}");
    }
    assert!(!file.exists());
    assert_eq!(names("images/more"), ["red.png"]);
}

#[test]
fn a_broken_image_leaves_no_drawing() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let broken = scratch.write("broken.png", "this is no image");
    let out = scratch.path("out.png");
    let output =
        run().arg(&broken).arg("-m").arg(&model).arg("--annotate").arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(!out.exists());
}
