//! Small files that ask for a lot of memory or work.

use crate::memory::largest_request;
use crate::onnx::{File, ints};
use bnn::{
    architecture::Architecture,
    convert::{ConvertOptions, convert},
    import::onnx::{ImportOptions, from_bytes},
    import::safetensors::WeightsFile,
};
use std::time::{Duration, Instant};

/// Why a file is refused, soon and before it has taken much memory.
fn refusal(file: File) -> String {
    let start = Instant::now();
    let bytes = file.bytes();
    assert!(bytes.len() < 1 << 20, "{} bytes are no small file", bytes.len());
    let (error, largest) =
        largest_request(|| match from_bytes(&bytes, None, &ImportOptions::default()) {
            Err(error) => error.to_string(),
            Ok(graph) => match convert(graph, &ConvertOptions::default()) {
                Err(error) => error.to_string(),
                Ok(_) => panic!("the file is accepted"),
            },
        });
    assert!(largest <= 256 << 20, "{largest} bytes at once for: {error}");
    assert!(start.elapsed() < Duration::from_secs(120), "{:?} for: {error}", start.elapsed());
    error
}

/// `y = x + last`, as the end of a file that computes `last` from constants.
fn added(mut file: File, last: &str) -> File {
    file.node("ReduceMean", &[last], "mean", vec![]);
    file.node("Add", &["x", "mean"], "y", vec![]);
    file.output("y");
    file
}

#[test]
fn constants_of_many_gigabytes() {
    let mut file = File::new(&[1, 2]);
    file.integers("shape", &[1 << 15, 1 << 15]);
    file.node("ConstantOfShape", &["shape"], "large", vec![]);
    refusal(added(file, "large"));

    let mut file = File::new(&[1, 2]);
    file.integers("shape", &[1 << 31, 1 << 31]);
    file.node("ConstantOfShape", &["shape"], "large", vec![]);
    let error = refusal(added(file, "large"));
    assert!(error.contains("more than 2147483648 elements"), "{error}");
}

/// A thousand constants of which each is small enough.
#[test]
fn many_large_constants() {
    let mut file = File::new(&[1, 2]);
    file.floats("one", &[1, 1], &[1.0]);
    let mut names = Vec::new();
    for index in 0..1000 {
        let (shape, name) = (format!("shape{index}"), format!("large{index}"));
        file.integers(&shape, &[1 << 12, (1 << 12) + index]);
        file.node("Expand", &["one", &shape], &name, vec![]);
        let mean = format!("mean{index}");
        file.node("ReduceMean", &[&name], &mean, vec![]);
        names.push(mean);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    file.node("Sum", &names, "sum", vec![]);
    refusal(added(file, "sum"));
}

#[test]
fn tiles_of_tiles() {
    let mut file = File::new(&[1, 2]);
    file.floats("one", &[1, 1], &[1.0]);
    file.integers("repeats", &[2, 2]);
    let last = file.chain("Tile", "one", &["repeats"], 15, &[]);
    refusal(added(file, &last));
}

#[test]
fn pads_of_constants() {
    let mut file = File::new(&[1, 2]);
    file.floats("one", &[1, 1], &[1.0]);
    file.integers("pads", &[0, 0, 30_000, 30_000]);
    file.node("Pad", &["one", "pads"], "large", vec![]);
    refusal(added(file, "large"));
}

/// Products of matrices that are made, not stored: minutes of work for a few bytes.
#[test]
fn products_of_large_matrices() {
    let mut file = File::new(&[1, 2]);
    file.floats("one", &[1, 1], &[1.0]);
    file.integers("shape", &[2048, 2048]);
    file.node("Expand", &["one", "shape"], "large", vec![]);
    let last = file.chain("MatMul", "large", &["large"], 100, &[]);
    refusal(added(file, &last));
}

/// Maps as large as an address: nothing of that size is made to find out.
#[test]
fn inputs_as_large_as_memory() {
    for size in [1 << 31, 1 << 40, i64::MAX] {
        let mut file = File::new(&[1, 3, size, size]);
        file.node("Relu", &["x"], "y", vec![]);
        file.output("y");
        refusal(file);
    }
}

/// Weights that many layers share count for each of them.
#[test]
fn shared_weights() {
    let mut file = File::new(&[1, 400, 1, 1]);
    let weights: Vec<f32> = (0..400 * 400).map(|index| (index % 7) as f32 - 3.0).collect();
    file.floats("w", &[400, 400, 1, 1], &weights);
    let last = file.chain("Conv", "x", &["w"], 1000, &[ints("strides", &[1, 1])]);
    file.output(&last);
    let error = refusal(file);
    assert!(error.contains("elements of constants, each counted"), "{error}");
}

/// A picture of a few bytes that says it has metadata of four gigabytes.
#[test]
fn metadata_of_pictures() {
    let mut file = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(b"VP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0\0");
    file.extend(b"EXIF\xf0\xff\xff\xffEXIF");
    file[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let (_, largest) = largest_request(|| bnn::vision::decode(&file));
    assert!(largest < 1 << 20, "{largest} bytes at once");
}

/// What a graph may say and a program may not is told by the conversion.
#[test]
fn networks_that_make_no_program() {
    let mut twice = File::new(&[1, 2]);
    twice.node("Relu", &["x"], "y", vec![]);
    twice.output("y");
    twice.output("y");
    let error = refusal(twice);
    assert!(error.contains("output 'y': the name is taken by another one"), "{error}");

    let mut endless = File::new(&[1, 2, 3, 3]);
    endless.floats("factor", &[1], &[f32::INFINITY]);
    endless.node("Mul", &["x", "factor"], "y", vec![]);
    endless.output("y");
    assert!(refusal(endless).contains("infinity or NaN"));

    let mut long = File::new(&[1, 1 << 26]);
    long.node("Relu", &["x"], "y", vec![]);
    long.output("y");
    assert!(refusal(long).contains("expected extents of 1 to 16777216"));

    let mut flat = File::new(&[4]);
    flat.node("Relu", &["x"], "y", vec![]);
    flat.output("y");
    assert!(refusal(flat).contains("does not have the 4 elements"));
}

/// Text nested a hundred thousand levels deep ends in an error, not at the end of the stack.
#[test]
fn deep_nesting() {
    let deep = "[".repeat(100_000);
    let object = r#"{"x":"#.repeat(100_000);
    for inner in [deep.as_str(), object.as_str()] {
        for text in [
            inner.to_owned(),
            format!(r#"{{"bnn_graph":1,"name":"n","inputs":[],"outputs":[],"layers":[{inner}"#),
            format!(
                r#"{{"bnn_graph":1,"name":"n","inputs":[],"outputs":[],"layers":[{}1{}]}}"#,
                &inner[..inner.len().min(100_000)],
                "]".repeat(100_000)
            ),
        ] {
            assert!(Architecture::from_json(&text).is_err());
        }
        let mut file = (inner.len() as u64).to_le_bytes().to_vec();
        file.extend(inner.as_bytes());
        assert!(WeightsFile::parse(&file).is_err());
    }
}
