//! The file of a network is as large as what the network counts, and hardly larger.

use bnn::convert::{ConvertOptions, convert};
use bnn::format;
use bnn::program::Metadata;
use bnn_models::{find, random_weights};

// The smallest networks of the catalogue; in them the header weighs most.
#[test]
fn a_narrow_hyper_binary_network_is_written_at_most_two_percent_larger() {
    is_at_most_two_percent_larger("hb_resnet18_c10_w16");
}

#[test]
fn a_network_with_shuffled_channels_is_written_at_most_two_percent_larger() {
    is_at_most_two_percent_larger("hb_shufflenet");
}

#[test]
fn a_binary_dense_network_is_written_at_most_two_percent_larger() {
    is_at_most_two_percent_larger("bdn21_c10_bin");
}

#[test]
fn a_dense_network_of_fractals_is_written_at_most_two_percent_larger() {
    is_at_most_two_percent_larger("igp_densenet51_48_c100");
}

/// Weights, biases and normalisation as the papers count them, in bits of a file, against what is written:
/// packed weights, scales, thresholds, gaps, checksums and the header.
fn is_at_most_two_percent_larger(name: &str) {
    let mut architecture = find(name).unwrap().architecture().unwrap();
    // The size of pictures is no part of a file, but the statistics of random weights take long for large ones.
    for extent in &mut architecture.inputs[0].shape[1..] {
        *extent = (*extent / 4).min(32);
    }
    let resolved = architecture.resolve().unwrap();
    let counted = resolved.cost().storage_mbit_with_normalisation() * 1e6 / 8.0;
    let weights = random_weights(&resolved, 4).unwrap();
    let metadata = Metadata { random_weights: true, ..Metadata::default() };
    let options = ConvertOptions { metadata, ..ConvertOptions::default() };
    let program = convert(resolved.assemble(&weights), &options).unwrap().program;
    let file = format::write(&program).unwrap();
    let ratio = file.len() as f64 / counted;
    println!("{name}: {} bytes, {counted} counted: {ratio:.4}", file.len());
    assert!(ratio <= 1.02, "{name}: {} bytes, {counted} counted", file.len());
}
