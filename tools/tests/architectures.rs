//! `bnn-convert` on weights without a graph, and its catalogue.

mod support;

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use std::{fs, path::PathBuf};
use support::{Scratch, assert_fails, bytes, convert, json, run, stderr};

/// A network small enough to be written here.
const GRAPH: &str = r#"{
  "bnn_graph": 1,
  "name": "tiny",
  "inputs": [{"name": "input", "shape": [3, 8, 8]}],
  "layers": [
    {"name": "stem", "op": "convolution", "out_channels": 4, "kernel": 3, "padding": 1},
    {"name": "norm", "op": "batch_normalization"},
    {"name": "sign", "op": "sign"},
    {"name": "conv", "op": "binary_convolution", "out_channels": 4, "kernel": 3, "padding": 1, "scale": "channel"},
    {"name": "bn", "op": "batch_normalization"},
    {"name": "add", "op": "add", "inputs": ["bn", "norm"]},
    {"name": "mean", "op": "global_average"},
    {"name": "fc", "op": "linear", "out_features": 3}
  ],
  "blocks": [{"name": "block", "input": "norm", "output": "add"}],
  "outputs": ["fc"]
}"#;

/// Names, shapes and numbers of its weights.
fn weights() -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
    let numbers = |count: usize, seed: usize| -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 29) as f32 / 14.5 - 0.97).collect()
    };
    let positive = |count: usize| (0..count).map(|i| 0.5 + i as f32 / 4.0).collect::<Vec<f32>>();
    vec![
        ("stem.weight", vec![4, 3, 3, 3], numbers(108, 1)),
        ("norm.weight", vec![4], numbers(4, 2)),
        ("norm.bias", vec![4], numbers(4, 3)),
        ("norm.running_mean", vec![4], numbers(4, 4)),
        ("norm.running_var", vec![4], positive(4)),
        ("conv.weight", vec![4, 4, 3, 3], numbers(144, 5)),
        ("bn.weight", vec![4], numbers(4, 6)),
        ("bn.bias", vec![4], numbers(4, 7)),
        ("bn.running_mean", vec![4], numbers(4, 8)),
        ("bn.running_var", vec![4], positive(4)),
        ("fc.weight", vec![3, 4], numbers(12, 9)),
        ("fc.bias", vec![3], numbers(3, 10)),
    ]
}

type NamedWeights = Vec<(&'static str, Vec<usize>, Vec<f32>)>;

fn write(scratch: &Scratch, name: &str, weights: &NamedWeights, graph: Option<&str>) -> PathBuf {
    let data: Vec<Vec<u8>> = weights.iter().map(|(_, _, values)| bytes(values)).collect();
    let views = weights.iter().zip(&data).map(|((name, shape, _), data)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    let metadata = graph.map(|graph| [("bnn_graph".to_owned(), graph.to_owned())].into());
    scratch.write(name, safetensors::serialize(views, metadata).unwrap())
}

#[test]
fn a_written_graph_makes_a_model() {
    let scratch = Scratch::new();
    let graph = scratch.write("graph.json", GRAPH);
    let plain = write(&scratch, "plain.safetensors", &weights(), None);
    let carrying = write(&scratch, "carrying.safetensors", &weights(), Some(GRAPH));
    let (first, second) = (scratch.path("first.bnn"), scratch.path("second.bnn"));
    let document =
        json(convert().arg(plain).arg("--graph").arg(graph).arg("-o").arg(&first).arg("--json"));
    assert_eq!((&document["binary_layers"], &document["float_layers"]), (&1.into(), &2.into()));
    // The same graph in the metadata of the file is found by itself.
    convert().arg(carrying).arg("-o").arg(&second).args(["--strict"]).assert().code(0);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    let blocks = &json(run().arg("inspect").arg(&first).arg("--json"))["blocks"];
    assert_eq!(blocks.as_array().unwrap().len(), 1, "{blocks}");
}

#[test]
fn every_way_to_store_weights_makes_the_same_model() {
    let scratch = Scratch::new();
    let model = |weights: PathBuf| {
        let output = scratch.path("out.bnn");
        convert().arg(weights).arg("-o").arg(&output).assert().code(0);
        fs::read(output).unwrap()
    };
    let expected = model(write(&scratch, "a.safetensors", &weights(), Some(GRAPH)));

    // ± the mean magnitude of each filter, the names of data parallelism, and dimensions of length one.
    let mut scaled = weights();
    let means: Vec<f32> = scaled[5]
        .2
        .chunks(36)
        .map(|filter| (filter.iter().map(|w| f64::from(w.abs())).sum::<f64>() / 36.0) as f32)
        .collect();
    for (filter, scale) in scaled[5].2.chunks_mut(36).zip(&means) {
        filter.iter_mut().for_each(|w| *w = scale.copysign(*w));
    }
    scaled[1].0 = "module.norm.weight";
    scaled[2].1 = vec![1, 4, 1, 1];
    let file = write(&scratch, "b.safetensors", &scaled, Some(GRAPH));
    let output = scratch.path("scaled.bnn");
    convert().arg(file).arg("-o").arg(&output).assert().code(0);
    // Means differ in their last bit at most, so the files do in scales alone.
    assert_eq!(fs::read(output).unwrap().len(), expected.len());

    // Packed: order out channel, row, column, in channel.
    let mut words = [0_u64; 3];
    for (position, weight) in scaled[5].2.iter().enumerate() {
        let (o, i, tap) = (position / 36, position / 9 % 4, position % 9);
        let bit = (o * 9 + tap) * 4 + i;
        words[bit / 64] |= u64::from(*weight >= 0.0) << (bit % 64);
    }
    let packed: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let data: Vec<Vec<u8>> = scaled.iter().map(|(_, _, values)| bytes(values)).collect();
    let means = bytes(&means);
    let views = scaled
        .iter()
        .zip(&data)
        .filter(|((name, ..), _)| *name != "conv.weight")
        .map(|((name, shape, _), data)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
        })
        .chain([
            ("conv.bits", TensorView::new(Dtype::U64, vec![3], &packed).unwrap()),
            ("conv.scale", TensorView::new(Dtype::F32, vec![4], &means).unwrap()),
        ]);
    let metadata = [("bnn_graph".to_owned(), GRAPH.to_owned())].into();
    let file = safetensors::serialize(views, Some(metadata)).unwrap();
    let packed = model(scratch.write("c.safetensors", file));
    assert_eq!(packed, fs::read(scratch.path("scaled.bnn")).unwrap());
}

#[test]
fn every_wrong_tensor_is_told_at_once() {
    let scratch = Scratch::new();
    let mut wrong = weights();
    wrong[0].1 = vec![4, 27];
    wrong[3].0 = "norm.mean";
    wrong[4].2[1] = -1.0;
    wrong[6].2[2] = f32::NAN;
    let file = write(&scratch, "wrong.safetensors", &wrong, Some(GRAPH));
    let output = scratch.path("out.bnn");
    assert_fails(
        convert().arg(file).arg("-o").arg(&output),
        3,
        &[
            "wrong.safetensors",
            "not those of tiny",
            "stem.weight has shape [4, 27], expected [4, 3, 3, 3]",
            "norm.running_mean [4] is missing",
            "norm.mean [4] is unknown",
            "norm.running_var holds -1 at element 1",
            "bn.weight holds NaN at element 2",
        ],
    );
    assert!(!output.exists());
}

#[test]
fn faults_of_a_graph_name_file_and_line() {
    let scratch = Scratch::new();
    let file = write(&scratch, "net.safetensors", &weights(), None);
    let graph =
        scratch.write("graph.json", GRAPH.replace("\"padding\": 1, \"scale\"", "\"scale\""));
    let with = |flags: &[&str]| {
        let mut command = convert();
        command.arg(&file).arg("-o").arg(scratch.path("out.bnn")).args(flags);
        command
    };
    let graph = graph.to_str().unwrap();
    let expected = ["graph.json", "line 11", "layer add", "[4, 6, 6]"];
    assert_fails(&mut with(&["--graph", graph]), 3, &expected);
    assert_fails(&mut with(&["--graph", "none.json"]), 3, &["none.json"]);
    assert_fails(&mut with(&["--arch", "bireal81"]), 2, &["bireal81", "bireal18"]);
    assert_fails(&mut with(&["--arch", "bireal18", "--graph", graph]), 2, &["--graph"]);
    // No graph at all.
    assert_fails(&mut with(&[]), 2, &["net.safetensors", "--arch", "--graph"]);
    assert_fails(&mut with(&["--random-weights", "1"]), 2, &["--random-weights"]);
    let broken = scratch.write("broken.safetensors", "no tensors");
    let mut command = convert();
    command.arg(broken).arg("-o").arg(scratch.path("out.bnn"));
    assert_fails(&mut command, 3, &["broken.safetensors", "safetensors"]);
}

#[test]
fn random_weights_are_the_same_twice_and_marked() {
    let scratch = Scratch::new();
    let graph = scratch.write("graph.json", GRAPH);
    let model = |seed: &str, name: &str| {
        let output = scratch.path(name);
        let mut command = convert();
        command.arg("--graph").arg(&graph).args(["--random-weights", seed, "-o"]).arg(&output);
        command.assert().code(0);
        output
    };
    let (a, b, c) = (model("7", "a.bnn"), model("7", "b.bnn"), model("8", "c.bnn"));
    assert_eq!(fs::read(&a).unwrap(), fs::read(b).unwrap());
    assert_ne!(fs::read(&a).unwrap(), fs::read(c).unwrap());
    assert_eq!(json(run().arg("inspect").arg(&a).arg("--json"))["random_weights"], true);
    let output = run().args(["bench", "--seconds", "0.01", "-m"]).arg(&a).output().unwrap();
    assert!(stderr(&output).contains("random"), "{}", stderr(&output));

    let mut command = convert();
    command.args(["--random-weights", "1", "-o"]).arg(scratch.path("d.bnn"));
    assert_fails(&mut command, 2, &["--arch"]);
}

#[test]
fn coupled_networks_are_decoupled() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    let mut command = convert();
    command.args(["--arch", "duo_vgg7_coupled", "--random-weights", "1", "--decouple"]);
    command.args(["--input-shape", "input=1,3,36,36", "--json", "-o"]);
    let document = json(command.arg(&output));
    // The decoupled network's first layer feeds two copies of 45 channels.
    let second = document["layers"][1]["input_shape"].as_array().unwrap().clone();
    assert!(second.contains(&Value::from(90)), "{second:?}");
    // The size that is asked for is that of the decoupled network too.
    let document = json(run().arg("inspect").arg(&output).arg("--json"));
    assert_eq!(document["inputs"][0]["shape"], serde_json::json!([3, 36, 36]));
    let mut command = convert();
    command.args(["--arch", "duo_vgg7", "--random-weights", "1", "--decouple", "-o"]).arg(&output);
    assert_fails(&mut command, 2, &["duo_vgg7_coupled"]);
}

#[test]
fn the_catalogue_lists_costs() {
    let all = json(convert().args(["archs", "--json"]));
    let all = all.as_array().unwrap();
    assert!(all.len() >= 87, "{}", all.len());
    let one = json(convert().args(["archs", "hb_resnet18_c10_w16", "--json"]));
    for key in
        ["name", "params", "fp_weights", "binary_weights", "macs", "storage_mbit", "size_mib"]
    {
        assert!(!one[key].is_null(), "{key} is missing: {one}");
    }
    assert_eq!(one["params"], 779_994);
    assert_eq!(one["macs"]["binary"], 36_707_328);
    assert!(one["measured"]["file_bytes"].as_u64().unwrap() > 100_000, "{one}");
    let listed = all.iter().find(|row| row["name"] == "hb_resnet18_c10_w16").unwrap();
    assert_eq!(listed["flops"], one["flops"]);

    let papers = json(convert().args(["archs", "--compare-papers", "--json"]));
    let bireal = papers.as_array().unwrap().iter().find(|row| row["name"] == "bireal18").unwrap();
    assert_eq!((&bireal["printed"], &bireal["agrees"]), (&33.2.into(), &true.into()));

    let output = convert().arg("archs").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("reactnet_a"));
    assert_fails(convert().args(["archs", "resnet_f18"]), 2, &["resnet_f18", "resnet_e18"]);
}

/// What the catalogue prints is what `--graph` reads.
#[test]
fn a_printed_graph_makes_the_same_model() {
    let scratch = Scratch::new();
    let output = convert().args(["archs", "hb_resnet18_c10_w16", "--graph"]).output().unwrap();
    let graph = scratch.write("graph.json", output.stdout);
    let (by_name, by_graph) = (scratch.path("name.bnn"), scratch.path("graph.bnn"));
    let random = ["--random-weights", "5"];
    convert()
        .args(random)
        .args(["--arch", "hb_resnet18_c10_w16", "-o"])
        .arg(&by_name)
        .assert()
        .code(0);
    convert().args(random).arg("--graph").arg(graph).arg("-o").arg(&by_graph).assert().code(0);
    assert_eq!(fs::read(by_name).unwrap(), fs::read(by_graph).unwrap());
}

/// Sizes can be changed where the layers allow it.
#[test]
fn other_picture_sizes() {
    let scratch = Scratch::new();
    let graph = scratch.write("graph.json", GRAPH);
    let output = scratch.path("out.bnn");
    let with = |shape: &str| {
        let mut command = convert();
        command.arg("--graph").arg(&graph).args([
            "--random-weights",
            "5",
            "--input-shape",
            shape,
            "-o",
        ]);
        command.arg(&output);
        command
    };
    with("input=1,3,12,20").assert().code(0);
    let document = json(run().arg("inspect").arg(&output).arg("--json"));
    assert_eq!(document["inputs"][0]["shape"], serde_json::json!([3, 12, 20]));
    assert_fails(&mut with("image=1,3,12,20"), 2, &["image", "input"]);
    assert_fails(&mut with("input=1,12,20"), 2, &["input=1,3,8,8"]);
}

/// The example of the documentation is a network that can be converted.
#[test]
fn the_documented_graph_works() {
    let scratch = Scratch::new();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/graph.md");
    let page = fs::read_to_string(page).unwrap();
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let graph = scratch.write("graph.json", example);
    let mut command = convert();
    command.arg("--graph").arg(graph).args(["--random-weights", "1", "--json", "-o"]);
    let document = json(command.arg(scratch.path("out.bnn")));
    assert_eq!((&document["binary_layers"], &document["float_layers"]), (&1.into(), &2.into()));
}
