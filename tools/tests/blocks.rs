//! `bnn-run verify --blocks`: blocks by themselves on what the reference has there.

mod support;

use bnn::{
    convert::{ConvertOptions, convert},
    format,
    graph::{BinaryOp, Block, ConvAttributes, Graph, Op, Tensor, ValueId},
    program::{Program, TensorData},
    reference,
};
use safetensors::Dtype;
use serde_json::Value;
use std::path::{Path, PathBuf};
use support::{Scratch, assert_fails, assert_keys, bytes, json, run, stdout};

const CHANNELS: usize = 16;
const SIDE: usize = 6;

fn sign() -> Op {
    Op::Step { at_least: true, low: -1.0, high: 1.0 }
}

/// Numbers that look random and are the same every time, in -1..1.
fn random(seed: usize, count: usize) -> Vec<f32> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1_u64 << 30) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn conv(graph: &mut Graph, name: &str, x: ValueId, shape: [usize; 4], binary: bool) -> ValueId {
    let seed = graph.values.len();
    let mut values = random(seed, shape.iter().product());
    if binary {
        // A power of two: sums are exact, also those of the interpreter.
        values.iter_mut().for_each(|value| *value = 0.125_f32.copysign(*value));
    }
    let weights = Tensor::from_f32(shape.to_vec(), values).unwrap();
    let weights = graph.add_constant(format!("{name}.weight"), weights);
    let op = Op::Conv(ConvAttributes {
        kernel: [shape[2], shape[3]],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [shape[2] / 2; 4],
        groups: 1,
    });
    graph.push_node(name, op, [x, weights])
}

/// A stem, two residual blocks, and a layer whose input is kept as bits alone.
fn network() -> Graph {
    let mut graph = Graph::new("network");
    let image = graph.add_input("image", vec![1, 3, SIDE, SIDE]);
    let mut x = conv(&mut graph, "stem", image, [CHANNELS, 3, 3, 3], false);
    let square = [CHANNELS, CHANNELS, 3, 3];
    for name in ["layer1.0", "layer1.1"] {
        let bits = graph.push_node(format!("{name}.sign"), sign(), [x]);
        let sums = conv(&mut graph, &format!("{name}.conv"), bits, square, true);
        let sum = graph.push_node(name, Op::Binary(BinaryOp::Add), [sums, x]);
        graph.blocks.push(Block { name: name.to_owned(), input: x, output: sum });
        x = sum;
    }
    let bits = graph.push_node("hidden.sign", sign(), [x]);
    let hidden = conv(&mut graph, "hidden", bits, square, true);
    let bits = graph.push_node("last.sign", sign(), [hidden]);
    let last = conv(&mut graph, "last", bits, [CHANNELS, CHANNELS, 1, 1], true);
    graph.blocks.push(Block { name: "last".to_owned(), input: hidden, output: last });
    let sum = graph.push_node("sum", Op::Binary(BinaryOp::Add), [last, x]);
    let mean = graph.push_node("mean", Op::GlobalAveragePool, [sum]);
    let logits = graph.push_node("flat", Op::Flatten { axis: 1 }, [mean]);
    graph.outputs = vec![logits];
    graph
}

fn program(graph: &Graph) -> Program {
    convert(graph.clone(), &ConvertOptions::default()).unwrap().program
}

/// A tensor for a file: name, shape, values.
type Entry = (String, Vec<usize>, Vec<f32>);

/// Input, logits and taps as the interpreter has them, with names of blocks in the file.
fn golden(graph: &Graph, blocks: &[&str]) -> Vec<Entry> {
    let shape = graph.inputs[0].shape.clone();
    let input = Tensor::from_f32(shape, random(1, 3 * SIDE * SIDE)).unwrap();
    let values = reference::run_all(graph, &[input]).unwrap();
    let entry = |name: String, id: ValueId| {
        let tensor = values[id.index()].as_ref().unwrap();
        (name, tensor.shape().to_vec(), tensor.f32().unwrap().to_vec())
    };
    let mut entries = vec![
        entry("input_f32".to_owned(), graph.inputs[0].value),
        entry("logits".to_owned(), graph.outputs[0]),
    ];
    for block in graph.blocks.iter().filter(|block| blocks.contains(&block.name.as_str())) {
        entries.push(entry(format!("tapin.{}", block.name), block.input));
        entries.push(entry(format!("tap.{}", block.name), block.output));
    }
    entries
}

struct Files {
    scratch: Scratch,
    model: PathBuf,
}

impl Files {
    fn new(program: &Program) -> Self {
        let scratch = Scratch::new();
        let model = scratch.path("model.bnn");
        format::write_file(&model, program).unwrap();
        Self { scratch, model }
    }

    fn golden(&self, entries: &[Entry]) -> PathBuf {
        let data: Vec<Vec<u8>> = entries.iter().map(|(_, _, values)| bytes(values)).collect();
        let tensors: Vec<(&str, Dtype, &[usize], &[u8])> = entries
            .iter()
            .zip(&data)
            .map(|((name, shape, _), data)| {
                (name.as_str(), Dtype::F32, shape.as_slice(), data.as_slice())
            })
            .collect();
        self.scratch.safetensors("golden.safetensors", &tensors)
    }

    fn verify(&self, golden: &Path) -> assert_cmd::Command {
        let mut command = run();
        command.arg("verify").arg(&self.model).arg(golden).arg("--blocks");
        command
    }
}

/// The document, whatever the exit code.
fn document(command: &mut assert_cmd::Command, code: i32) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", support::stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

const ALL: [&str; 3] = ["layer1.0", "layer1.1", "last"];

#[test]
fn blocks_are_compared_beside_the_rows() {
    let graph = network();
    let files = Files::new(&program(&graph));
    let golden = files.golden(&golden(&graph, &ALL));
    let found = json(files.verify(&golden).arg("--json"));
    assert_keys(&found, &["rows", "rows_exact", "rows_within", "max_abs_diff", "tolerance"]);
    assert_eq!(found["passed"], true);
    let blocks = found["blocks"].as_array().unwrap();
    // In the order of their names.
    let names: Vec<&Value> = blocks.iter().map(|block| &block["name"]).collect();
    assert_eq!(names, ["last", "layer1.0", "layer1.1"]);
    assert_eq!(blocks[0]["skipped"], "its input is not kept as floats");
    assert!(blocks[0].get("passed").is_none());
    for block in &blocks[1..] {
        assert_keys(block, &["max_abs_diff", "tolerance", "differing", "beyond_tolerance"]);
        assert_eq!(block["elements"], CHANNELS * SIDE * SIDE);
        assert_eq!((&block["passed"], &block["beyond_tolerance"]), (&true.into(), &0.into()));
        assert!(block.get("skipped").is_none());
    }
    let output = files.verify(&golden).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in ["skipped: its input is not kept as floats", "layer1.1", "576", "passed"] {
        assert!(stdout(&output).contains(part), "no {part:?} in {}", stdout(&output));
    }
    // Without the flag nothing is said of blocks.
    let mut plain = run();
    assert!(
        json(plain.arg("verify").arg(&files.model).arg(&golden).arg("--json"))
            .get("blocks")
            .is_none()
    );
}

#[test]
fn the_inspector_names_blocks() {
    let files = Files::new(&program(&network()));
    let found = json(run().arg("inspect").arg(&files.model).arg("--json"));
    let blocks = found["blocks"].as_array().unwrap();
    let names: Vec<&Value> = blocks.iter().map(|block| &block["name"]).collect();
    assert_eq!(names, ALL);
    assert_eq!(blocks[0]["output"]["shape"], serde_json::json!([CHANNELS, SIDE, SIDE]));
    assert_eq!(blocks[0]["output"], blocks[1]["input"]);
    assert!(blocks[2].get("input").is_none());
    let output = run().arg("inspect").arg(&files.model).output().unwrap();
    let line = "blocks: 3, 2 of them with input and output kept as floats";
    assert!(stdout(&output).contains(line), "{}", stdout(&output));
}

#[test]
fn a_wrong_block_fails_and_its_neighbours_do_not() {
    let graph = network();
    let mut wrong = program(&graph);
    let weights = wrong.tensors.iter_mut().find(|tensor| tensor.name == "layer1.0.conv.weight");
    match &mut weights.unwrap().data {
        TensorData::Bits(words) => words[0] ^= 1,
        data => panic!("{data:?}"),
    }
    let files = Files::new(&wrong);
    let mut entries = golden(&graph, &ALL);
    // A sign upstream turns over: of the picture, the model makes something else entirely.
    entries[1].2.fill(0.0);
    let path = files.golden(&entries);
    let found = document(files.verify(&path).args(["--allow-flips", "1"]), 0);
    assert_eq!((&found["rows_within"], &found["passed"]), (&0.into(), &true.into()));
    let blocks = found["blocks"].as_array().unwrap();
    let passed: Vec<&Value> = blocks.iter().skip(1).map(|block| &block["passed"]).collect();
    assert_eq!(passed, [false, true]);
    // One weight of one filter: no more than one channel.
    let differing = blocks[1]["beyond_tolerance"].as_u64().unwrap();
    assert!((1..=SIDE as u64 * SIDE as u64).contains(&differing), "{differing}");

    let found = document(files.verify(&path).args(["--tolerance", "1000"]), 5);
    assert_eq!(found["blocks"][1]["passed"], true, "the rows alone are too far off: {found}");

    // The rows are as they should be, and the block is not.
    let mut entries = golden(&graph, &ALL);
    let right = Files::new(&program(&graph));
    let tap = entries.iter_mut().find(|(name, ..)| name == "tap.layer1.1").unwrap();
    tap.2[7] += 1.0;
    let path = right.golden(&entries);
    let parts = ["model.bnn: 1 of 3 blocks", "'layer1.1': 1 of 576 elements", "at most 0"];
    let output = right.verify(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    for part in parts {
        assert!(support::stderr(&output).contains(part), "{}", support::stderr(&output));
    }
    assert!(stdout(&output).contains("missed") && stdout(&output).contains("failed"));
    json(right.verify(&path).args(["--allow-flips", "1", "--json"]));
}

#[test]
fn what_cannot_be_compared_is_told() {
    let graph = network();
    let files = Files::new(&program(&graph));
    let entries = golden(&graph, &ALL);
    let untapped = files.golden(&entries[..2]);
    let parts = ["golden.safetensors", "'tapin.X'", "'tap.X'", "--blocks"];
    assert_fails(&mut files.verify(&untapped), 3, &parts);

    let mut turned = entries.clone();
    for entry in &mut turned {
        if entry.0 == "tap.layer1.0" {
            entry.1 = vec![1, SIDE, SIDE, CHANNELS];
        }
    }
    let parts = ["golden.safetensors: tensor 'tap.layer1.0' is 1x6x6x16, expected 16x6x6"];
    assert_fails(&mut files.verify(&files.golden(&turned)), 3, &parts);

    let mut broken = entries.clone();
    broken[2].2[5] = f32::NAN;
    assert_eq!(broken[2].0, "tapin.layer1.0");
    let parts = ["tensor 'tapin.layer1.0'", "NaN"];
    assert_fails(&mut files.verify(&files.golden(&broken)), 3, &parts);

    let hidden = files.golden(&golden(&graph, &["last"]));
    let output = files.verify(&hidden).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let message = support::stderr(&output);
    assert!(message.contains("none of the 1 blocks") && message.contains("'last'"), "{message}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["passed"], false);

    let mut renamed = golden(&graph, &["layer1.0", "layer1.1"]);
    for entry in &mut renamed {
        entry.0 = entry.0.replace("layer1.1", "layer9.9");
    }
    let found = document(&mut files.verify(&files.golden(&renamed)), 0);
    assert_eq!(found["blocks"][1]["skipped"], "the model has no block of this name");

    let mut nameless = graph.clone();
    nameless.blocks.clear();
    let files = Files::new(&program(&nameless));
    assert_fails(&mut files.verify(&files.golden(&entries)), 4, &["model.bnn", "no blocks"]);
}
