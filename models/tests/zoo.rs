//! The networks of `models/zoo` answer as the framework did that trained them.

use bnn::{Model, SessionOptions};
use bnn_models::{default_metadata, find};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};

/// As large as a network of the zoo may be.
const MOST_BYTES: usize = 1_000_000;

fn networks() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut networks: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "bnn")).collect();
    networks.sort();
    assert!(networks.len() >= 3, "{networks:?}");
    networks
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_network_is_small_and_in_the_catalogue() {
    let default = default_metadata();
    for path in networks() {
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() < MOST_BYTES, "{}: {} bytes", path.display(), bytes.len());
        let model = Model::from_bytes(&bytes).unwrap();
        assert!(find(&name(&path)).is_some(), "{}", path.display());
        // The same pictures and classes as the default model's.
        let metadata = &model.program().metadata;
        assert_eq!(metadata.labels, default.labels, "{}", path.display());
        assert_eq!(metadata.preprocessing, default.preprocessing, "{}", path.display());
        assert!(!metadata.random_weights, "{}", path.display());
    }
}

/// `golden.py` wrote what is expected.
#[test]
fn every_network_agrees_with_the_training_framework() {
    for path in networks() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo").join(name(&path));
        let golden = fs::read(golden.with_extension("safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&golden).unwrap();
        let expected: Vec<f32> = golden
            .tensor("logits")
            .unwrap()
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        let model = Model::from_bytes(&fs::read(&path).unwrap()).unwrap();
        let preprocessing = model.preprocessing().unwrap();
        let mut inputs = Vec::new();
        for image in golden.tensor("images").unwrap().data().chunks(3 * 32 * 32) {
            for channel in 0..3 {
                let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
                let values = image.iter().skip(channel).step_by(3);
                inputs.extend(values.map(|&value| (f32::from(value) / 255.0 - mean) / std));
            }
        }
        let mut session = model.session(&SessionOptions::default()).unwrap();
        let found = session.run(&inputs).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.chunks(10).zip(expected.chunks(10)) {
            let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let difference = (found - expected).abs();
                assert!(difference <= 1e-4 * largest, "{}: {found}, {expected}", path.display());
            }
        }
    }
}
