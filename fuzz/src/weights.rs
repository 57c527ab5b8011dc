//! Weights in safetensors files with the graph they belong to.
//!
//! The first byte says how the rest is taken: `0` for a safetensors file that carries its graph, `1`
//! for a graph up to a zero byte and a safetensors file behind it, `2` for a graph up to a zero byte and
//! bytes that the weights are made of. Other values count modulo three.

use super::exercise::exercise;
use bnn::{
    architecture::{Architecture, Resolved},
    convert::{ConvertOptions, convert},
    import::safetensors::{Destination, WeightsFile},
};
use safetensors::{Dtype, tensor::TensorView};

/// Most weights of a network whose weights are made up.
const MOST_WEIGHTS: usize = 1 << 16;

/// Most elements of a network that is converted.
const MOST_WORK: u64 = 1 << 24;

/// Reads graph and weights, converts the network, and takes the program through everything.
///
/// # Panics
/// If anything is wrong with the library.
pub fn check(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    let behind = rest.get(end + 1..).unwrap_or_default();
    let graph = || Architecture::from_json(std::str::from_utf8(&rest[..end]).ok()?).ok();
    match how % 3 {
        0 => {
            if let Ok(file) = WeightsFile::parse(rest)
                && let Ok(Some(architecture)) = file.architecture()
            {
                check_network(&architecture, rest);
            }
        }
        1 => {
            if let Some(architecture) = graph() {
                check_network(&architecture, behind);
            }
        }
        _ => {
            if let Some(architecture) = graph()
                && let Ok(resolved) = architecture.resolve()
                && let Some(file) = made_up(&resolved, behind)
            {
                check_network(&architecture, &file);
            }
        }
    }
}

fn check_network(architecture: &Architecture, file: &[u8]) {
    let again = Architecture::from_json(&architecture.to_json());
    assert!(again.is_ok_and(|again| again == *architecture), "the graph does not survive its text");
    let resolved = architecture.resolve().expect("a graph that was read is resolved");
    let cost = resolved.cost();
    let Ok(file) = WeightsFile::parse(file) else { return };
    let Ok(read) = file.weights(&resolved, |name| Some(Destination::from(name))) else { return };
    if cost.fp_macs.saturating_add(cost.binary_macs) > MOST_WORK {
        return;
    }
    let graph = resolved.assemble(&read.weights);
    if let Ok(conversion) = convert(graph, &ConvertOptions::default()) {
        exercise(&conversion.program);
    }
}

/// A safetensors file with every weight that a network asks for, its numbers made of `bytes`; nothing if
/// there are too many.
fn made_up(resolved: &Resolved<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut tensors = Vec::new();
    let mut source = bytes.iter().copied().cycle();
    let mut left = MOST_WEIGHTS;
    for (index, parameter) in resolved.parameters().into_iter().enumerate() {
        let count = parameter.shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent))?;
        left = left.checked_sub(count)?;
        let number = |position: usize| {
            let byte = source.next().unwrap_or((position * 31 + index) as u8);
            // Positive often enough for variances.
            f32::from(byte) / 64.0 - if index % 2 == 0 { 2.0 } else { 0.0 }
        };
        let values: Vec<f32> = (0..count).map(number).collect();
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((parameter.name.clone(), parameter.shape.clone(), data));
    }
    let views = tensors.iter().map(|(name, shape, data)| {
        Some((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).ok()?))
    });
    safetensors::serialize(views.collect::<Option<Vec<_>>>()?, None).ok()
}
