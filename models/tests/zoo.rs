//! The networks of `models/zoo` answer as the framework did that trained them.

mod support;

use bnn::vision::Image;
use bnn::{Model, SessionOptions};
use bnn_models::{default_metadata, find};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use support::{assert_close, floats};

const CLASSES: usize = 10;

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
        let model = Model::open(&path).unwrap();
        let mut session = model.session(&SessionOptions::default()).unwrap();
        let pictures = golden.tensor("images").unwrap();
        let expected = floats(&golden, "logits");
        let rows = pictures.data().chunks(3 * 32 * 32).zip(expected.chunks(CLASSES));
        assert_eq!(rows.len(), 8);
        for (row, (pixels, expected)) in rows.enumerate() {
            let picture = Image::new(32, 32, pixels.to_vec()).unwrap();
            let found = session.run(&model.preprocess(&picture).unwrap()).unwrap();
            assert_close(&format!("{}, row {row}", path.display()), &found, expected);
        }
    }
}
