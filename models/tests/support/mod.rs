//! What tests that compare with the training framework share.

use safetensors::SafeTensors;

/// The values of a tensor of f32.
pub(crate) fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data();
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Asserts that a row of logits differs by at most 1e-4 of its largest magnitude.
pub(crate) fn assert_close(row: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{row}");
    let largest = expected.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-4 * largest, "{row}: {found:?}, expected {expected:?}");
    }
}
