//! A small network, images and golden files for it, and ways to call the tools.
//!
//! The network tells red, green and blue images of 4x4 pixels apart: a float convolution compares
//! each channel with one half, a binary one looks for one channel set and the others not, and the mean
//! over the image is the score: 3 for a match of all pixels, -1 where two channels differ.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unreachable_pub, reason = "a module of a test is private to it")]

use assert_cmd::Command;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::LazyLock,
};
use tempfile::TempDir;

/// Width and height of the images.
pub const SIDE: usize = 4;

/// What the network says to red, green and blue.
pub const LOGITS: [[f32; 3]; 3] = [[3.0, -1.0, -1.0], [-1.0, 3.0, -1.0], [-1.0, -1.0, 3.0]];

pub const COLOURS: [(&str, [u8; 3]); 3] =
    [("red", [255, 0, 0]), ("green", [0, 255, 0]), ("blue", [0, 0, 255])];

/// What may be different about the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Variant {
    /// Height and width are left open.
    pub open_shape: bool,
    /// A softmax follows.
    pub softmax: bool,
    /// A node that no engine for binary networks runs.
    pub unsupported: bool,
    /// What the names of the layers end in.
    pub suffix: &'static str,
}

/// A folder that is removed at the end of the test.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders that lead to it.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    /// Writes the network as ONNX.
    pub fn onnx(&self, variant: Variant) -> PathBuf {
        self.write("model.onnx", network(variant))
    }

    /// Writes the labels.
    pub fn labels(&self) -> PathBuf {
        self.write("labels.txt", "red\ngreen\nblue\n")
    }

    /// Converts the network with labels and preprocessing.
    pub fn model(&self) -> PathBuf {
        self.model_of(Variant::default())
    }

    /// Converts a variant of the network with labels and preprocessing.
    pub fn model_of(&self, variant: Variant) -> PathBuf {
        let output = self.path("model.bnn");
        let result = convert()
            .arg(self.onnx(variant))
            .arg("-o")
            .arg(&output)
            .arg("--labels")
            .arg(self.labels())
            .args(["--resize", "4x4", "--interpolation", "nearest", "--range", "1"])
            .output()
            .unwrap();
        assert!(result.status.success(), "{}", stderr(&result));
        output
    }

    /// Writes a PNG image of one colour.
    pub fn png(&self, name: &str, colour: [u8; 3]) -> PathBuf {
        let path = self.write(name, "");
        image::RgbImage::from_pixel(6, 5, image::Rgb(colour))
            .save_with_format(&path, image::ImageFormat::Png)
            .unwrap();
        path
    }

    /// Writes golden inputs and outputs; the logits are changed by `change`.
    pub fn golden(&self, change: impl FnOnce(&mut [f32])) -> PathBuf {
        let mut logits = LOGITS.concat();
        change(&mut logits);
        let pictures: Vec<u8> =
            COLOURS.iter().flat_map(|(_, colour)| colour.repeat(SIDE * SIDE)).collect();
        let inputs: Vec<f32> = COLOURS
            .iter()
            .flat_map(|(_, colour)| colour.map(|value| vec![f32::from(value) / 255.0; SIDE * SIDE]))
            .flatten()
            .collect();
        let labels: Vec<u8> = (0..3_i64).flat_map(i64::to_le_bytes).collect();
        self.safetensors(
            "golden.safetensors",
            &[
                ("input_f32", Dtype::F32, &[3, 3, SIDE, SIDE], &bytes(&inputs)),
                ("input_u8", Dtype::U8, &[3, SIDE, SIDE, 3], &pictures),
                ("logits", Dtype::F32, &[3, 3], &bytes(&logits)),
                ("labels", Dtype::I64, &[3], &labels),
            ],
        )
    }

    pub fn safetensors(&self, name: &str, tensors: &[(&str, Dtype, &[usize], &[u8])]) -> PathBuf {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        self.write(name, safetensors::serialize(views, None).unwrap())
    }
}

pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// `bnn-convert`, untouched by the environment of the tests.
pub fn convert() -> Command {
    tool("bnn-convert")
}

/// `bnn-run`, untouched by the environment of the tests.
pub fn run() -> Command {
    tool("bnn-run")
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(path_of(name));
    command.env_remove("BNN_ISA").env_remove("BNN_THREADS");
    command
}

/// The program of the given name, as it was built for the tests; where cargo runs them in an emulator, a
/// script that does the same for the program.
pub fn path_of(name: &str) -> &'static Path {
    static PATHS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
        [env!("CARGO_BIN_EXE_bnn-convert"), env!("CARGO_BIN_EXE_bnn-run")]
            .map(|program| emulated(Path::new(program)).unwrap_or_else(|| program.into()))
    });
    &PATHS[usize::from(name == "bnn-run")]
}

/// A script that runs a program with what cargo runs programs of this architecture with, if it was given
/// such an emulator.
#[cfg(unix)]
fn emulated(program: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let start = format!("CARGO_TARGET_{}_", std::env::consts::ARCH.to_uppercase());
    let emulator = std::env::vars().find_map(|(name, value)| {
        (name.starts_with(&start) && name.ends_with("_RUNNER")).then_some(value)
    })?;
    let name = program.file_name().unwrap().to_str().unwrap();
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let text = format!("#!/bin/sh\nexec {emulator} '{}' \"$@\"\n", program.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Some(path)
}

/// Emulators of one processor on another are for Unix.
#[cfg(not(unix))]
fn emulated(_: &Path) -> Option<PathBuf> {
    None
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The one document on standard output of a call that succeeded.
pub fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts the exit code, one line on standard error that holds all of `parts`, and nothing on
/// standard output.
#[track_caller]
pub fn assert_fails(command: &mut Command, code: i32, parts: &[&str]) {
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert_eq!(stdout(&output), "");
}

/// Asserts that a document has all of the keys.
#[track_caller]
pub fn assert_keys(document: &Value, keys: &[&str]) {
    for key in keys {
        assert!(document.get(key).is_some(), "no key {key:?} in {document}");
    }
}

/// The network as an ONNX file.
pub fn network(variant: Variant) -> Vec<u8> {
    let identity: Vec<f32> = (0..9).map(|i| if i % 4 == 0 { 1.0 } else { 0.0 }).collect();
    let patterns: Vec<f32> = (0..9).map(|i| if i % 4 == 0 { 1.0 } else { -1.0 }).collect();
    let mut nodes = vec![
        node(
            &format!("stem{}", variant.suffix),
            "Conv",
            &["image", "stem.weight", "stem.bias"],
            "compared",
        ),
        node("compare", "GreaterOrEqual", &["compared", "zero"], "is_high"),
        node("sign", "Where", &["is_high", "plus", "minus"], "bits"),
        node(&format!("match{}", variant.suffix), "Conv", &["bits", "match.weight"], "matched"),
        node("mean", "GlobalAveragePool", &["matched"], "means"),
    ];
    let mut flatten = node("flatten", "Flatten", &["means"], "logits");
    flatten.attribute.push(AttributeProto {
        name: Some("axis".into()),
        i: Some(1),
        r#type: Some(AttributeType::INT),
        ..AttributeProto::default()
    });
    nodes.push(flatten);
    let mut last = "logits";
    if variant.softmax {
        nodes.push(node("softmax", "Softmax", &["logits"], "probabilities"));
        last = "probabilities";
    }
    if variant.unsupported {
        nodes.push(node("strange", "GridSample", &[last, "zero"], "sampled"));
        last = "sampled";
    }
    let side = if variant.open_shape { None } else { Some(SIDE as i64) };
    let initializers = vec![
        tensor("stem.weight", &[3, 3, 1, 1], identity),
        tensor("stem.bias", &[3], vec![-0.5; 3]),
        tensor("zero", &[], vec![0.0]),
        tensor("plus", &[], vec![1.0]),
        tensor("minus", &[], vec![-1.0]),
        tensor("match.weight", &[3, 3, 1, 1], patterns),
    ];
    let input = port("image", &[None, Some(3), side, side]);
    file(nodes, initializers, input, port(last, &[None, Some(3)]))
}

/// An ONNX file.
pub fn file(
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    input: ValueInfoProto,
    output: ValueInfoProto,
) -> Vec<u8> {
    let graph = GraphProto {
        node: nodes,
        initializer: initializers,
        input: vec![input],
        output: vec![output],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(16) }],
        ..ModelProto::default()
    };
    model.write_buf().unwrap()
}

pub fn node(name: &str, op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(name.into()),
        op_type: Some(op.into()),
        input: inputs.iter().map(|input| (*input).into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

pub fn tensor(name: &str, dims: &[i64], values: Vec<f32>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        float_data: values,
        ..TensorProto::default()
    }
}

pub fn port(name: &str, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = dims.iter().enumerate().map(|(axis, &extent)| Dimension {
        dim_value: extent,
        dim_param: extent.is_none().then(|| format!("axis{axis}")),
    });
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(TypeProtoTensor {
                elem_type: Some(DataType::FLOAT),
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            }),
            sequence: None,
        }),
    }
}
