//! Published networks, imported and run by the interpreter, against the outputs of the programs that
//! they come from.

use bnn::graph::{Graph, Op, Tensor, ValueId};
use bnn::import::onnx::{ImportOptions, read};
use bnn::reference::run;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of shared data, if it is there.
fn shared_data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

/// Imports a network, unpacking it first if it is packed.
fn import(folder: &Path) -> Option<Graph> {
    let options = ImportOptions::default();
    let plain = folder.join("model.onnx");
    if plain.is_file() {
        return Some(read(&plain, &options).expect("the network imports"));
    }
    let packed = folder.join("model.onnx.xz");
    let Ok(output) = Command::new("xz").args(["--decompress", "--stdout"]).arg(&packed).output()
    else {
        println!("skipped: {} needs the command xz", packed.display());
        return None;
    };
    assert!(output.status.success(), "xz cannot unpack {}", packed.display());
    let unpacked = tempfile::tempdir().expect("a temporary folder");
    let path = unpacked.path().join("model.onnx");
    std::fs::write(&path, output.stdout).expect("the unpacked network is written");
    Some(read(&path, &options).expect("the network imports"))
}

/// The floats of a tensor in a golden file, and its shape.
fn golden(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = file.tensor(name).expect("the golden file has the tensor");
    let values = view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    (view.shape().to_vec(), values.collect())
}

/// The value that golden logits stand for: the output, or what goes into a final softmax.
fn logits_value(graph: &Graph) -> ValueId {
    let output = graph.outputs[0];
    let producer = graph.producers()[output.index()].map(|index| &graph.nodes[index]);
    match producer {
        Some(node) if matches!(node.op, Op::Softmax { .. }) => node.input(0).expect("an operand"),
        _ => output,
    }
}

/// Compares the first rows of a golden file; `tolerance` is a fraction of the largest |logit| of the
/// row.
fn check(name: &str, rows: usize, tolerance: f32) {
    let Some(folder) = shared_data().map(|data| data.join(name)) else { return };
    let Some(mut graph) = import(&folder) else { return };
    graph.outputs = vec![logits_value(&graph)];
    let bytes = std::fs::read(folder.join("golden.safetensors")).expect("a golden file");
    let file = SafeTensors::deserialize(&bytes).expect("a golden file");
    let (input_shape, inputs) = golden(&file, "input_f32");
    let (logits_shape, logits) = golden(&file, "logits");
    let (pixels, classes) = (inputs.len() / input_shape[0], logits_shape[1]);
    assert_eq!(graph.inputs.len(), 1);
    assert_eq!(graph.inputs[0].shape.iter().product::<usize>(), pixels);
    for row in 0..rows {
        let input = inputs[row * pixels..][..pixels].to_vec();
        let input = Tensor::from_f32(graph.inputs[0].shape.clone(), input).expect("an input");
        let outputs = run(&graph, &[input]).expect("the network runs");
        let found = outputs[0].f32().expect("floats");
        let expected = &logits[row * classes..][..classes];
        assert_eq!(found.len(), classes);
        let scale = expected.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        for (class, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance * scale,
                "{name}, row {row}, class {class}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn adabin_resnet20() {
    check("nets/adabin-resnet20-cifar10", 2, 1e-4);
}

#[test]
fn bmxnet_imagenet_resnet18() {
    check("nets/bmxnet-imagenet-resnet18", 1, 1e-4);
}

#[test]
fn bmxnet_lenet() {
    check("nets/bmxnet-mnist-lenet", 2, 1e-4);
}

#[test]
fn finn_cnv_is_exact() {
    check("nets/finn-cnv-cifar10", 2, 0.0);
}

#[test]
fn finn_lfc_is_exact() {
    check("nets/finn-lfc-mnist", 2, 0.0);
}

#[test]
fn gtsrb_30_is_exact() {
    check("nets/gtsrb-30", 2, 0.0);
}

#[test]
fn gtsrb_48_is_exact() {
    check("nets/gtsrb-48", 2, 0.0);
}

#[test]
fn tfc_qonnx() {
    check("nets/tfc-mnist-qonnx", 2, 1e-4);
}

#[test]
fn resnete18() {
    check("ours/resnete18-w32-cifar10", 2, 1e-4);
}
