//! The file of a network is as large as what the network counts, and hardly larger.

use bnn::convert::{ConvertOptions, convert};
use bnn::format;
use bnn::program::Metadata;
use bnn_models::{find, random_weights};

/// Weights, biases and normalisation as the papers count them, in bits of a file, against what is written:
/// packed weights, scales, thresholds, gaps, checksums and the header. The smallest networks of the
/// catalogue come first; in them the header weighs most.
#[test]
fn files_are_at_most_two_percent_larger_than_their_weights() {
    let names = ["hb_resnet18_c10_w16", "hb_shufflenet", "bdn21_c10_bin", "igp_densenet51_48_c100"];
    for name in names {
        let mut architecture = find(name).unwrap().architecture().unwrap();
        // The size of pictures is no part of a file, but the statistics of random weights take long for large ones.
        for extent in &mut architecture.inputs[0].shape[1..] {
            *extent = (*extent / 2).min(64);
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
}
