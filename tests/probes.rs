//! Small binary convolutions and comparisons whose exact results were computed by PyTorch, run through
//! the kernels of every instruction set.

use bnn_kernels::{
    Alphabet, BinaryConv, ConvGeometry, Isa, MapRows, PadValue, pack_f32, words_per_pixel,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{fs, path::Path};

/// One channel-wise image of bits, with what its bits stand for.
struct Plane {
    /// Bit 1 where the value is at least this.
    threshold: f32,
    alphabet: Alphabet,
    /// The plane's share in the value.
    weight: f32,
    /// Values are divided by this power of two, and its multiples removed, before the comparison.
    modulus: Option<f32>,
}

impl Plane {
    fn new(threshold: f32, alphabet: Alphabet, weight: f32) -> Self {
        Self { threshold, alphabet, weight, modulus: None }
    }
}

/// Smallest float above 0.
const ABOVE_ZERO: f32 = f32::from_bits(1);

/// Ways of writing an activation as a weighted sum of planes of two values each.
fn decompositions(activation: &str) -> Vec<Vec<Plane>> {
    use Alphabet::{PlusMinus, ZeroOne};
    match activation {
        "pm1" => vec![vec![Plane::new(0.0, PlusMinus, 1.0)]],
        "01" => vec![vec![Plane::new(0.5, ZeroOne, 1.0)]],
        "ternary01" => vec![vec![Plane::new(0.25, ZeroOne, 0.5), Plane::new(0.75, ZeroOne, 0.5)]],
        "4bit" => vec![
            (0..4)
                .map(|bit| {
                    let value = f32::from(1_u8 << bit);
                    Plane { modulus: Some(2.0 * value), ..Plane::new(value, ZeroOne, value) }
                })
                .collect(),
        ],
        // {-1, 0, +1}: the mean of the two signs that differ at 0; or [x > 0] - (1 - [x >= 0]), where
        // the constant 1 is a plane that is always high.
        "tbn" | "pm1_with_zero" => vec![
            vec![Plane::new(0.0, PlusMinus, 0.5), Plane::new(ABOVE_ZERO, PlusMinus, 0.5)],
            vec![
                Plane::new(ABOVE_ZERO, ZeroOne, 1.0),
                Plane::new(0.0, ZeroOne, 1.0),
                Plane::new(f32::NEG_INFINITY, ZeroOne, -1.0),
            ],
        ],
        other => panic!("activation '{other}' is unknown"),
    }
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// `[outer][rows][columns]` to `[outer][columns][rows]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for matrix in values.chunks_exact(rows * columns) {
        for column in 0..columns {
            out.extend((0..rows).map(|row| matrix[row * columns + column]));
        }
    }
    out
}

/// The signs as one dense bit string.
fn dense_bits(values: &[f32]) -> Vec<u64> {
    let mut words = vec![0; values.len().div_ceil(64)];
    for (at, &value) in values.iter().enumerate() {
        words[at / 64] |= u64::from(value >= 0.0) << (at % 64);
    }
    words
}

/// The files, or nothing where they are missing.
fn probes() -> Option<(Vec<u8>, Value)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/probes"));
    let (Ok(tensors), Ok(cases)) =
        (fs::read(folder.join("probes.safetensors")), fs::read(folder.join("cases.json")))
    else {
        eprintln!("skipped: the probe files are not there");
        return None;
    };
    Some((tensors, serde_json::from_slice(&cases).expect("a list of cases")))
}

#[test]
fn convolutions_give_the_sums_of_the_framework() {
    let Some((bytes, cases)) = probes() else {
        return;
    };
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let cases = cases.as_array().expect("a list of cases");
    for case in cases {
        let id = case["id"].as_str().expect("an id");
        let number = |key: &str| case[key].as_u64().expect("a whole number") as usize;
        let [height, width] = tensors.tensor(&format!("{id}.x")).expect("an input").shape()[2..]
        else {
            panic!("{id}: the input has four dimensions");
        };
        let geometry = ConvGeometry {
            in_channels: number("cin"),
            out_channels: number("cout"),
            input: [height, width],
            kernel: [number("kernel"); 2],
            stride: [number("stride"); 2],
            dilation: [number("dilation"); 2],
            pads: [number("padding"); 4],
            groups: number("groups"),
        };
        let pad = match case["pad_value"].as_f64().expect("a number") {
            0.0 => PadValue::Zero,
            1.0 => PadValue::Plus,
            -1.0 => PadValue::Minus,
            other => panic!("{id}: padding of {other}"),
        };
        let (channels, pixels) = (geometry.in_channels, height * width);
        let input = transpose(&floats(&tensors, &format!("{id}.x")), channels, pixels);
        let taps = geometry.kernel[0] * geometry.kernel[1];
        let weights = floats(&tensors, &format!("{id}.w"));
        let weights = dense_bits(&transpose(&weights, channels / geometry.groups, taps));
        let [out_height, out_width] = geometry.output();
        let expected = floats(&tensors, &format!("{id}.y"));
        let expected = transpose(&expected, geometry.out_channels, out_height * out_width);
        for planes in decompositions(case["activation"].as_str().expect("an activation")) {
            for isa in Isa::available() {
                let mut sums = vec![0.0; expected.len()];
                for plane in &planes {
                    let values: Vec<f32> = match plane.modulus {
                        Some(modulus) => input.iter().map(|value| value % modulus).collect(),
                        None => input.clone(),
                    };
                    let mut bits = vec![0; pixels * words_per_pixel(channels)];
                    pack_f32(isa, &values, channels, &[plane.threshold], None, &mut bits);
                    let conv =
                        BinaryConv::new(isa, geometry.clone(), pad, plane.alphabet, &weights)
                            .unwrap_or_else(|error| panic!("{id}: {error}"));
                    let rows = conv.rows_read(0..out_height);
                    let mut layout = vec![0; rows.len() * conv.row_len()];
                    conv.fill_rows(&bits, rows, &mut layout);
                    let mut accumulators = vec![0; expected.len()];
                    conv.accumulate(MapRows::whole(&layout), 0..out_height, &mut accumulators);
                    for (sum, &accumulator) in sums.iter_mut().zip(&accumulators) {
                        *sum += plane.weight * accumulator as f32;
                    }
                }
                assert!(sums == expected, "{id} differs on {isa}: {case}");
            }
        }
    }
    assert_eq!(cases.len(), 143, "number of cases");
}

#[test]
fn comparisons_at_ties_are_those_of_the_framework() {
    let Some((bytes, _)) = probes() else { return };
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let values = floats(&tensors, "ties.x");
    for (name, threshold) in [("ties.sign_pos0", 0.0), ("ties.step_half", 0.5)] {
        let expected: Vec<bool> = floats(&tensors, name).iter().map(|&value| value > 0.0).collect();
        for isa in Isa::available() {
            let mut bits = vec![0; words_per_pixel(values.len())];
            pack_f32(isa, &values, values.len(), &[threshold], None, &mut bits);
            let found: Vec<bool> =
                (0..values.len()).map(|at| bits[at / 64] >> at & 1 == 1).collect();
            assert_eq!(found, expected, "{name} on {isa}");
        }
    }
}
