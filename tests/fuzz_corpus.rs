//! Replays the corpora of the fuzz targets (`fuzz/`), on any compiler: every input that reached something
//! new, and every one that once showed a fault.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own where it is fuzzed")]
mod targets;

use std::{fs, path::Path};

/// Gives each file of a corpus to its target.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of the folder").path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "{} has only {} files", folder.display(), files.len());
    for file in files {
        // What stands here when a check fails is the input to look at.
        println!("{}", file.display());
        check(&fs::read(&file).expect("a file of the corpus"));
    }
}

#[test]
fn model_files() {
    replay("model_file", targets::model_file::check);
}

#[test]
fn onnx_files() {
    replay("onnx", targets::onnx::check);
}

#[test]
fn pictures() {
    replay("picture", targets::picture::check);
}

#[test]
fn weights() {
    replay("weights", targets::weights::check);
}

#[cfg(feature = "capi")]
#[test]
fn calls_from_c() {
    replay("c_interface", targets::c_interface::check);
}

/// A model file taken apart and put together is that file again, but for the compression of its header.
#[test]
fn model_files_are_put_together_again() {
    for name in
        ["format-1.0.bnn", "format-2.0.bnn", "format-2.0-integers.bnn", "format-2.1-detector.bnn"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let file = fs::read(path).expect("a model file");
        let again = targets::model_file::put_together(&targets::model_file::take_apart(&file));
        let again = again.expect("the contents of a file");
        let program = bnn::format::read(&file).expect("a good file");
        assert_eq!(bnn::format::read(&again).expect(name), program);
    }
}
