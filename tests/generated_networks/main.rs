//! Networks that nobody has thought of: random graphs over the operators that are supported, written
//! as ONNX files in random operator sets and spellings, with ties, negative and zero gammas. Converted,
//! each gives the answers of the reference interpreter on every instruction set and with one thread or
//! two.
//!
//! `PROPTEST_CASES` says how many networks are tried, `BNN_GENERATED_NETWORKS` names a folder that they
//! are written to. What was found here is a test with a name in `tests/conversion.rs`.

mod blocks;
mod model;
mod network;
mod random;
mod signs;
mod wiring;

use bnn::{
    Isa, Model, SessionOptions,
    convert::{ConvertError, ConvertOptions, LayerReport, convert},
    graph::{Op, Tensor},
    import::onnx::{ImportOptions, from_bytes},
    program::{BinaryOutput, StepKind},
    reference::{Interpreter, Products},
};
use model::Writer;
use network::{Map, Network};
use proptest::{prelude::*, test_runner::RngSeed};
use random::Random;

/// Networks where the environment does not say how many.
const CASES: u32 = 500;

/// What may be refused: a part of the message each. Everything else has to convert.
const REFUSALS: &[&str] = &[
    // Thresholds beyond all values leave nothing of the input.
    "the output of the network is a constant",
    // A sign of a value that is at least zero, however it came to be, is refused by design.
    "would be 0 or +1; this is a {0, 1} activation",
];

/// A network of so many parts, as a file.
fn generate(seed: u64, parts: usize) -> (Network, Map) {
    let mut random = Random::new(seed);
    let operator_set = random.of(&[7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23]);
    let operator_set = operator_set.max(9);
    let channels_last = random.chance(30);
    let input = Map {
        name: "x".to_owned(),
        channels: random.between(1, 6),
        height: random.between(3, 10),
        width: random.between(3, 10),
        bound: 2.0,
        grain: 2,
        is_binary: false,
        is_quantised: false,
    };
    let mut writer = Writer::new(operator_set);
    let batch = random.of(&[0, 1]);
    let Map { channels, height, width, .. } = input;
    let dims = if channels_last { [height, width, channels] } else { [channels, height, width] };
    writer.input("x", &[&[batch], &dims.map(|size| size as i64)[..]].concat());
    let mut network = Network { random, writer, channels_last, binary_layers: 0, is_exact: true };
    let mut map = input.clone();
    // Maps that later parts may join in.
    let mut earlier: Vec<Map> = Vec::new();
    for _ in 0..parts {
        let next = part(&mut network, &map, &earlier).filter(|next| next.channels <= 96);
        let Some(next) = next else { continue };
        if !next.is_exact() {
            // Signs are small integers again.
            map = network.binarise(&map);
            continue;
        }
        if network.random.chance(40) {
            earlier.push(map.clone());
        }
        map = next;
    }
    let output = network.finish(&map);
    network.writer.output(&output);
    (network, input)
}

/// One more part behind a map.
fn part(n: &mut Network, map: &Map, earlier: &[Map]) -> Option<Map> {
    let same_pixels = |other: &&Map| other.height == map.height && other.width == map.width;
    match n.random.below(24) {
        0..=3 => n.convolution(map),
        4 => Some(n.binarise(map)),
        5..=7 => {
            let signs = n.binarise(map);
            n.convolution(&signs)
        }
        8 => Some(n.quantise(map)),
        9 | 10 => Some(n.batch_normalisation(map)),
        11 => Some(n.activation(map)),
        12 => n.max_pool(map),
        13 => n.average_pool(map),
        14 => Some(n.arithmetic(map)),
        15 => {
            let other = earlier.last()?.clone();
            let other = if [other.channels, other.height, other.width]
                == [map.channels, map.height, map.width]
            {
                other
            } else {
                n.projection(&other, map)?
            };
            Some(n.shortcut(map, &other))
        }
        16 => {
            let other = earlier.iter().rev().find(same_pixels)?.clone();
            Some(n.join(map, &other))
        }
        17 => n.swap_halves(map),
        18 => n.shuffle(map),
        19 => Some(n.pad(map)),
        20 => {
            if n.random.chance(50) {
                n.slice(map)
            } else {
                n.enlarge(map)
            }
        }
        21 => n.gate(map),
        _ => n.dense_block(map),
    }
}

/// Converts a generated network and compares the answers; says why where it is refused.
fn check(seed: u64, parts: usize) -> Result<(), String> {
    let (mut network, input) = generate(seed, parts);
    let bytes = network.writer.bytes();
    if let Some(folder) = std::env::var_os("BNN_GENERATED_NETWORKS") {
        let path = std::path::Path::new(&folder).join(format!("{seed}-{parts}.onnx"));
        std::fs::write(path, &bytes).map_err(|error| error.to_string())?;
    }
    let mut graph = from_bytes(&bytes, None, &ImportOptions::default())
        .map_err(|error| format!("import: {error}"))?;
    blocks::name_some(&mut graph, seed);
    let options = ConvertOptions { strict: true, ..ConvertOptions::default() };
    let conversion = match convert(graph.clone(), &options) {
        Ok(conversion) => conversion,
        Err(error) => return refused(&error),
    };
    conversion.program.validate().map_err(|error| format!("program: {error}"))?;
    // Where no step brings bits into order, a layer runs in floats instead.
    let out_of_reach = |layer: &&LayerReport| {
        layer.reason.as_ref().is_some_and(|reason| reason.contains("does not reach it as bits"))
    };
    let out_of_reach = conversion.report.layers.iter().filter(out_of_reach).count();
    // A layer behind a sign that is always the same is a constant, and no layer any more.
    let is_layer = |op: &Op| matches!(op, Op::Conv(_) | Op::Gemm { .. } | Op::MatMul);
    let layers = graph.nodes.iter().filter(|node| is_layer(&node.op)).count();
    let constant = layers.saturating_sub(conversion.report.layers.len());
    if conversion.report.binary_layers + out_of_reach + constant < network.binary_layers {
        let reasons: Vec<_> = conversion.report.layers.iter().map(|layer| &layer.reason).collect();
        let (found, expected) = (conversion.report.binary_layers, network.binary_layers);
        return Err(format!("{found} binary layers of {expected}: {reasons:?}"));
    }
    let bytes = bnn::format::write(&conversion.program).map_err(|error| error.to_string())?;
    let model = Model::from_bytes(&bytes).map_err(|error| error.to_string())?;

    let shape = graph.inputs[0].shape.clone();
    let count = input.channels * input.height * input.width;
    let images: Vec<f32> = network.random.dyadic(2 * count, 2, 4);
    let mut answers = [Vec::new(), Vec::new()];
    for image in images.chunks(count) {
        let tensor = Tensor::from_f32(shape.clone(), image.to_vec()).map_err(|e| e.to_string())?;
        if answers[0].is_empty() {
            blocks::check(&graph, &model, tensor.clone(), network.is_exact)?;
        }
        for (answers, products) in answers.iter_mut().zip([Products::Fused, Products::Rounded]) {
            let answer = Interpreter::new(&graph)
                .with_products(products)
                .run(std::slice::from_ref(&tensor))
                .map_err(|error| format!("reference: {error}"))?;
            answers.extend_from_slice(answer[0].f32().map_err(|error| error.to_string())?);
        }
    }
    for isa in Isa::available() {
        let expected = &answers[usize::from(!isa.fuses_multiply_add())];
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for threads in [1, 2] {
            let options = SessionOptions::default().isa(isa).threads(threads);
            let mut session = model.session(&options).map_err(|error| error.to_string())?;
            let found = session.run(&images).map_err(|error| error.to_string())?;
            if found.len() != expected.len() {
                return Err(format!("{} outputs, expected {}", found.len(), expected.len()));
            }
            for (index, (f, e)) in found.iter().zip(expected).enumerate() {
                let tolerance = if network.is_exact { 0.0 } else { 1e-4 * largest };
                if (f - e).abs() > tolerance || f.is_nan() {
                    return Err(format!(
                        "{isa}, {threads} threads: output {index} of {} is {f}, expected {e}",
                        found.len()
                    ));
                }
            }
        }
    }
    Ok(())
}

fn refused(error: &ConvertError) -> Result<(), String> {
    let message = error.to_string();
    if REFUSALS.iter().any(|allowed| message.contains(allowed)) { Ok(()) } else { Err(message) }
}

fn cases(default: u32) -> u32 {
    let given = std::env::var("PROPTEST_CASES").ok();
    given.and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

proptest! {
    // What fails becomes a test with a name rather than a seed. The same networks every time, so that
    // a change is judged by what it changed; other ones where their number is given.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => RngSeed::Random,
            None => RngSeed::Fixed(1),
        },
        ..ProptestConfig::with_cases(cases(CASES))
    })]

    #[test]
    fn generated_networks_agree(seed: u64, parts in 0_usize..14) {
        if let Err(reason) = check(seed, parts) {
            return Err(TestCaseError::fail(reason));
        }
    }
}

/// The networks are of use only for what they reach: concatenations that are compared where they are,
/// sums that stay integers.
#[test]
fn dense_blocks_are_among_them() {
    let (mut thresholds, mut integers) = (0, 0);
    for seed in 0..300 {
        let (network, _) = generate(seed, 6);
        let bytes = network.writer.bytes();
        let graph = from_bytes(&bytes, None, &ImportOptions::default()).unwrap();
        let Ok(conversion) = convert(graph, &ConvertOptions::default()) else { continue };
        let has = |is: fn(&StepKind) -> bool| {
            usize::from(conversion.program.steps.iter().any(|step| is(&step.kind)))
        };
        thresholds += has(|kind| matches!(kind, StepKind::Threshold { .. }));
        integers += has(|kind| {
            matches!(kind, StepKind::BinaryConv { output: BinaryOutput::Integers { .. }, .. })
        });
    }
    assert!(thresholds >= 10, "{thresholds} networks compare what is not concatenated");
    assert!(integers >= 10, "{integers} networks keep integers");
}

/// Many networks at once, what fails sorted by reason: to look for more, not to pass.
#[test]
#[ignore = "for exploring; prints what fails"]
fn survey() {
    let mut reasons = std::collections::BTreeMap::new();
    for seed in 0..u64::from(cases(1000)) {
        let parts = (seed % 14) as usize;
        let outcome = std::panic::catch_unwind(|| check(seed, parts));
        if let Err(reason) = outcome.unwrap_or_else(|_| Err("panic".to_owned())) {
            let kind: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(90).collect();
            let entry = reasons.entry(kind).or_insert((0, parts, seed, reason.clone()));
            entry.0 += 1;
            if parts < entry.1 {
                (entry.1, entry.2, entry.3) = (parts, seed, reason);
            }
        }
    }
    for (count, parts, seed, reason) in reasons.values() {
        println!("{count} times, at least {parts} parts (seed {seed}): {reason:.300}");
    }
}
