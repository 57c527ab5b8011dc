//! The Python reader, a second implementation of `docs/format.md`, sees what Rust wrote.

mod sample;

use std::path::Path;
use std::process::{Command, Output};

use bnn::format::{inspect, write, write_file};
use bnn::program::{Tensor, TensorData};
use serde_json::Value;

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/bnn_reader.py");

/// Runs the reader, if there is a Python.
fn run(file: &Path, arguments: &[&str]) -> Option<Output> {
    match Command::new("python3").arg(READER).arg(file).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: python3 does not start: {error}");
            None
        }
    }
}

/// Whether the values that the reader prints are the elements of the tensor, to the bit.
fn holds(tensor: &Tensor, printed: &Value) -> bool {
    let printed = printed.as_array().expect("values of every tensor");
    // Every f32 survives the way through decimals and f64; infinities are strings.
    let float = |value: &Value| match value.as_str() {
        Some(text) => text.parse::<f32>().unwrap().to_bits(),
        None => (value.as_f64().unwrap() as f32).to_bits(),
    };
    let bit = |words: &[u64], bit: usize| words[bit / 64] >> (bit % 64) & 1;
    match &tensor.data {
        TensorData::F32(values) => {
            printed.iter().map(float).eq(values.iter().map(|value| value.to_bits()))
        }
        TensorData::F16(values) => {
            let values = values.iter().map(|&bits| half::f16::from_bits(bits).to_f32().to_bits());
            printed.iter().map(float).eq(values)
        }
        TensorData::I32(values) => {
            printed.iter().map(|value| value.as_i64()).eq(values.iter().map(|&v| Some(v.into())))
        }
        TensorData::Bits(words) => {
            let bits = (0..tensor.len()).map(|index| Some(bit(words, index)));
            printed.iter().map(|value| value.as_u64()).eq(bits)
        }
    }
}

#[test]
fn python_sees_the_same_program_and_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bnn");
    let programs = [
        sample::tiny(),
        sample::complete(),
        sample::named(),
        sample::segmented(),
        sample::detector(false),
    ];
    let mut files: Vec<_> =
        programs.into_iter().map(|program| (write(&program).unwrap(), program)).collect();
    // Of the first version too.
    let old = |name: &str| std::fs::read(Path::new("tests/data").join(name)).unwrap();
    files.push((old("format-1.0.bnn"), sample::complete()));
    files.push((old("format-1.0-integers.bnn"), sample::segmented()));
    for (file, program) in files {
        std::fs::write(&path, file).unwrap();
        let Some(output) = run(&path, &["--json", "--values", "1000000"]) else {
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();

        let summary = inspect(&std::fs::read(&path).unwrap()).unwrap();
        let mut expected = serde_json::to_value(&summary).unwrap();
        for field in ["version", "file_bytes", "header_bytes", "header_crc32", "blob_section"] {
            assert_eq!(found[field], expected[field], "{field}");
        }
        let tensors = expected["tensors"].as_array_mut().unwrap();
        assert_eq!(found["tensors"].as_array().unwrap().len(), tensors.len());
        for ((found, expected), tensor) in
            found["tensors"].as_array().unwrap().iter().zip(tensors).zip(&program.tensors)
        {
            for field in ["name", "kind", "shape", "offset", "bytes", "crc32"] {
                assert_eq!(found[field], expected[field], "{} {field}", tensor.name);
            }
            assert!(holds(tensor, &found["values"]), "{}", tensor.name);
        }

        let mut read: bnn::program::Program =
            serde_json::from_value(found["program"].clone()).unwrap();
        read.tensors = program.tensors.clone();
        assert_eq!(read, program);
    }
}

#[test]
fn python_prints_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bnn");
    let table = |program: &bnn::program::Program| {
        write_file(&path, program).unwrap();
        run(&path, &[]).map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let Some(all) = table(&sample::complete()) else {
        return;
    };
    for expected in ["every step: format 2.1", "binary_conv", "fc1.weights [10, 1, 1, 630]"] {
        assert!(all.contains(expected), "{all}");
    }
    assert!(!all.contains("blocks"), "{all}");
    let blocks = table(&sample::named()).unwrap();
    for expected in [
        "2 blocks:",
        "unit: [3, 2, 2] in buffer 0 -> [6, 2, 2] in buffers 0, 2",
        "unit.conv: not kept -> [3, 2, 2] in buffer 2",
    ] {
        assert!(blocks.contains(expected), "{blocks}");
    }
}

#[test]
fn python_refuses_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bnn");
    let file = write(&sample::tiny()).unwrap();
    let blobs = inspect(&file).unwrap().blob_section as usize;
    let checksums = 36 + inspect(&file).unwrap().compressed_header_bytes as usize;
    let places = [0, 8, 12, 16, 24, 28, 40, checksums, blobs - 1, blobs, file.len() - 1];
    let mut damage: Vec<Vec<u8>> = Vec::new();
    for position in places {
        damage.push(file.clone());
        damage.last_mut().unwrap()[position] ^= 0x40;
    }
    // A file that is sound but for a flag that its program does not need, or lacks.
    for program in [sample::tiny(), sample::segmented()] {
        let mut file = write(&program).unwrap();
        file[12] ^= 1;
        let compressed = inspect(&write(&program).unwrap()).unwrap().compressed_header_bytes;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&file[..32]);
        crc.update(&file[36..36 + compressed as usize]);
        file[32..36].copy_from_slice(&crc.finalize().to_le_bytes());
        damage.push(file);
    }
    for (position, damaged) in damage.into_iter().enumerate() {
        std::fs::write(&path, damaged).unwrap();
        let Some(output) = run(&path, &["--json"]) else {
            return;
        };
        assert_eq!(output.status.code(), Some(3), "damage {position}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.lines().count(), 1, "damage {position}: {error}");
    }
}
