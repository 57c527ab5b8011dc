//! Networks that others trained and published, from their files to their published accuracy.
//!
//! They are not part of the project: the tests look for them in `shared/data` beside the workspace,
//! and say so and pass where there is none. Accuracies are those of the networks' own float
//! evaluation: exact for networks of integers, within half a point for the others, where a sign may
//! turn over by rounding.

mod support;

use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use support::{Scratch, convert, json, run};

/// One published network.
struct Network {
    /// Name of its folder.
    name: &'static str,
    preprocessing: &'static [&'static str],
    labels: Option<&'static str>,
    /// Of the golden logits; 0 for integers.
    tolerance: &'static str,
    flips: &'static str,
    /// Golden rows that the scalar reference has the time for.
    scalar_rows: usize,
    /// Images, and how many of them are recognised.
    data: &'static str,
    images: u64,
    correct: u64,
    /// How far from that the count may be.
    slack: u64,
}

/// The shared data, or `None` after a message.
fn shared() -> Option<PathBuf> {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    if shared.join("nets").is_dir() {
        return Some(shared.to_owned());
    }
    eprintln!("skipped: no published networks at {}", shared.display());
    None
}

/// The network as an ONNX file, unpacked if need be; `None` after a message if there is no `xz`.
fn unpacked(folder: &Path, scratch: &Scratch) -> Option<PathBuf> {
    let plain = folder.join("model.onnx");
    if plain.is_file() {
        return Some(plain);
    }
    let path = scratch.path("model.onnx");
    let status = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(folder.join("model.onnx.xz"))
        .stdout(Stdio::from(File::create(&path).unwrap()))
        .status();
    match status {
        Ok(status) => {
            assert!(status.success(), "{} cannot be unpacked", folder.display());
            Some(path)
        }
        Err(error) => {
            eprintln!("skipped: xz cannot be run: {error}");
            None
        }
    }
}

/// A golden file with the first rows of another one.
fn first_rows(golden: &Path, rows: usize, scratch: &Scratch) -> PathBuf {
    let bytes = std::fs::read(golden).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views = tensors.iter().map(|(name, view)| {
        let mut shape = view.shape().to_vec();
        let length = view.data().len() / shape[0];
        shape[0] = rows.min(shape[0]);
        let data = &view.data()[..shape[0] * length];
        (name, TensorView::new(view.dtype(), shape, data).unwrap())
    });
    scratch.write("golden.safetensors", safetensors::serialize(views, None).unwrap())
}

fn available_isas() -> Vec<String> {
    json(run().args(["kernels", "--json"]))["isas"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|isa| isa["available"] == true)
        .map(|isa| isa["name"].as_str().unwrap().to_owned())
        .collect()
}

impl Network {
    /// Converts it strictly, verifies it on every instruction set, and measures its accuracy.
    /// Returns the conversion's document and the model with the folder that it lies in.
    fn check(&self) -> Option<(Value, PathBuf, Scratch)> {
        let shared = shared()?;
        let scratch = Scratch::new();
        let folder = shared.join("nets").join(self.name);
        let onnx = unpacked(&folder, &scratch)?;
        let golden = folder.join("golden.safetensors");
        let model = scratch.path("model.bnn");

        let mut command = convert();
        command.arg(onnx).arg("-o").arg(&model).args(self.preprocessing).arg("--strict");
        if let Some(labels) = self.labels {
            command.arg("--labels").arg(shared.join("images").join(labels));
        }
        command.arg("--verify").arg(&golden).args(["--tolerance", self.tolerance]);
        command.args(["--verify-layers", "--verify-rows", "1"]);
        let document = json(command.args(["--allow-flips", self.flips, "--json"]));
        assert_eq!(document["verification"]["passed"], true);
        assert_eq!(document["layer_comparison"]["passed"], true);
        assert!(document["binary_layers"].as_u64().unwrap() > 0, "{document}");

        let few = first_rows(&golden, self.scalar_rows, &scratch);
        for isa in available_isas() {
            let golden = if isa == "scalar" { &few } else { &golden };
            let mut command = run();
            command.arg("verify").arg(&model).arg(golden).args(["--tolerance", self.tolerance]);
            let verified =
                json(command.args(["--allow-flips", self.flips, "--isa", &isa, "--json"]));
            assert_eq!(verified["passed"], true, "{isa}: {verified}");
            assert!(verified["input_u8"].is_object(), "{isa}: {verified}");
            println!(
                "{} on {isa}: {} of {} rows equal to the bit, {} within {}, largest difference {}",
                self.name,
                verified["rows_exact"],
                verified["rows"],
                verified["rows_within"],
                self.tolerance,
                verified["max_abs_diff"]
            );
        }

        let data = shared.join("images").join(self.data);
        let accuracy = json(run().arg("eval").arg(data).arg("-m").arg(&model).arg("--json"));
        println!("{}: {} of {} right", self.name, accuracy["correct"], accuracy["images"]);
        assert_eq!(accuracy["images"], self.images);
        assert_eq!(accuracy["skipped"], 0);
        let correct = accuracy["correct"].as_u64().unwrap();
        assert!(
            correct.abs_diff(self.correct) <= self.slack,
            "{correct} of {} images right, expected {} within {}",
            self.images,
            self.correct,
            self.slack
        );
        Some((document, model, scratch))
    }
}

const CIFAR10: &str = "cifar10/test_first1000.safetensors";

#[test]
fn adabin_resnet20() {
    let network = Network {
        name: "adabin-resnet20-cifar10",
        preprocessing: &["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"],
        labels: Some("cifar10/classes.txt"),
        tolerance: "1e-4",
        flips: "1",
        scalar_rows: 2,
        data: CIFAR10,
        images: 1000,
        correct: 888,
        slack: 5,
    };
    network.check();
}

#[test]
fn bmxnet_imagenet_resnet18() {
    let network = Network {
        name: "bmxnet-imagenet-resnet18",
        preprocessing: &[
            "--resize",
            "256",
            "--crop",
            "224",
            "--range",
            "255",
            "--mean",
            "123.68,116.779,103.939",
        ],
        labels: Some("imagenet/classes.txt"),
        tolerance: "1e-4",
        flips: "1",
        scalar_rows: 1,
        data: "imagenet",
        images: 100,
        correct: 41,
        slack: 1,
    };
    let Some((document, model, _scratch)) = network.check() else { return };
    let bytes = document["bytes"].as_u64().unwrap();
    println!("{bytes} bytes");
    assert!(bytes <= 3_700_000, "{bytes} bytes");

    let photos = shared().unwrap().join("images/photos");
    for (photo, label) in [
        ("elephant.jpg", "African elephant"),
        ("airplane.jpg", "airliner"),
        ("bird.jpg", "indigo bunting"),
    ] {
        let answer = json(run().arg(photos.join(photo)).arg("-m").arg(&model).arg("--json"));
        assert_eq!(answer["predictions"][0]["label"], label, "{answer}");
    }
}

#[test]
fn bmxnet_mnist_lenet() {
    let network = Network {
        name: "bmxnet-mnist-lenet",
        preprocessing: &["--channels", "gray"],
        labels: None,
        tolerance: "1e-4",
        flips: "1",
        scalar_rows: 4,
        data: "mnist",
        images: 10_000,
        correct: 9740,
        slack: 50,
    };
    network.check();
}

#[test]
fn finn_cnv() {
    let network = Network {
        name: "finn-cnv-cifar10",
        preprocessing: &["--mean", "0.5", "--std", "0.5"],
        labels: Some("cifar10/classes.txt"),
        tolerance: "0",
        flips: "0",
        scalar_rows: 4,
        data: CIFAR10,
        images: 1000,
        correct: 805,
        slack: 0,
    };
    network.check();
}

#[test]
fn finn_lfc() {
    let network = Network {
        name: "finn-lfc-mnist",
        preprocessing: &["--channels", "gray"],
        labels: None,
        tolerance: "0",
        flips: "0",
        scalar_rows: 64,
        data: "mnist",
        images: 10_000,
        correct: 9834,
        slack: 0,
    };
    network.check();
}

#[test]
fn gtsrb_30() {
    let network = Network {
        name: "gtsrb-30",
        preprocessing: &["--resize", "30x30", "--interpolation", "bicubic", "--range", "255"],
        labels: Some("gtsrb/classes.txt"),
        tolerance: "0",
        flips: "0",
        scalar_rows: 64,
        data: "gtsrb",
        images: 1000,
        correct: 807,
        slack: 0,
    };
    network.check();
}

#[test]
fn gtsrb_48() {
    let network = Network {
        name: "gtsrb-48",
        preprocessing: &["--resize", "48x48", "--interpolation", "bicubic", "--range", "255"],
        labels: Some("gtsrb/classes.txt"),
        tolerance: "0",
        flips: "0",
        scalar_rows: 8,
        data: "gtsrb",
        images: 1000,
        correct: 952,
        slack: 0,
    };
    network.check();
}

#[test]
fn tfc_qonnx() {
    let network = Network {
        name: "tfc-mnist-qonnx",
        preprocessing: &["--channels", "gray"],
        labels: None,
        tolerance: "1e-4",
        flips: "1",
        scalar_rows: 64,
        data: "mnist",
        images: 10_000,
        correct: 9296,
        slack: 50,
    };
    network.check();
}
