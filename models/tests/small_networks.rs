//! Narrow members of every family give the answers of the training framework, from their weights alone.
//!
//! `small/make.py` made the weights and the answers with PyTorch models written independently of ours,
//! `small/make_keras.py` those that begin with `keras_` with larq's layers.

use bnn::architecture::{Architecture, ArchitectureError, PadValue, Scale};
use bnn::convert::{ConvertOptions, convert};
use bnn::import::safetensors::WeightsFile;
use bnn::{Isa, Model, SessionOptions, format};
use bnn_models::families::{
    Activations, BiReal, BinaryAlexNet, BinaryDenseNet, BinaryResNet18, ConvNet,
    ConvNetActivations, DoReFaAlexNet, DuoAlexNet, DuoResNet18, DuoVgg7, Framework,
    HyperConvolution, HyperResNet, HyperResNet50, HyperShuffleNet, IgpResNet, Method,
    PreActivation, ReActNetA, RealToBinary, ResNetE, Residual, ShapeShortcut, Shortcut, Ssd512,
    Stem, Task, Transitions, Version, XnorAlexNet,
};
use bnn_models::names;
use safetensors::SafeTensors;
use std::path::PathBuf;

/// Largest difference, relative to the largest value of the row.
const TOLERANCE: f32 = 1e-4;

type Built = Result<Architecture, ArchitectureError>;

const fn small(side: usize) -> Task {
    Task { input: [side; 2], classes: 10, stem: Stem::Small }
}

const fn large(side: usize) -> Task {
    Task { input: [side; 2], classes: 10, stem: Stem::Large }
}

const BI_REAL: BiReal = BiReal { blocks: [1; 4], width: 6, task: small(16), ..BiReal::BI_REAL_18 };

const RESNET_E: ResNetE =
    ResNetE { blocks: [1; 4], width: 6, task: small(16), ..ResNetE::RESNET_E_18 };

const DENSE: BinaryDenseNet<'static> = BinaryDenseNet {
    units: [1, 2, 1, 1],
    growth: 6,
    stem_width: 10,
    transitions: Transitions::Widths(&[12, 9, 14]),
    task: small(16),
    ..BinaryDenseNet::BDN_28
};

const IGP: IgpResNet = IgpResNet::new(2, 3, [1; 4], small(16));

const fn duo_resnet(activations: Activations, shortcut_per_convolution: bool) -> DuoResNet18 {
    DuoResNet18 {
        activations,
        shortcut_per_convolution,
        widths: [4, 5, 6, 7],
        last_width: 9,
        task: large(64),
    }
}

const fn duo_vgg(activations: Activations, binary_weights: bool) -> DuoVgg7 {
    DuoVgg7 { activations, widths: [5, 5, 7, 9, 11, 13], binary_weights, task: small(32) }
}

const fn conv_net(activations: ConvNetActivations, ends: bool) -> ConvNet {
    ConvNet {
        widths: [8, 8, 10, 10, 12, 12],
        dense_width: 20,
        activations,
        binary_first: ends,
        binary_last: ends,
        task: small(16),
    }
}

const fn resnet(method: Method) -> PreActivation {
    let shortcut = ShapeShortcut::FullPrecision;
    PreActivation { method, shortcut, width: 3, task: small(16) }
}

const fn hyper(shortcut: Shortcut, convolution: HyperConvolution) -> HyperResNet {
    HyperResNet { blocks: [1; 4], width: 4, shortcut, convolution, task: small(16) }
}

/// Name of the files and the network.
fn networks() -> Vec<(&'static str, Built)> {
    let shortcut = ShapeShortcut::Binary;
    let resnet_e_large = ResNetE { width: 5, task: large(64), ..RESNET_E };
    let mut all = Vec::new();
    macro_rules! case {
        ($name:literal, $network:expr) => {
            all.push(($name, $network.architecture($name)));
        };
    }
    case!("bi_real", BI_REAL);
    case!("bi_real_large_stem", BiReal { width: 5, task: large(64), ..BI_REAL });
    case!(
        "bi_real_layer_scale",
        BiReal { width: 4, blocks: [1, 2, 1, 1], scale: Scale::Layer, ..BI_REAL }
    );
    case!("keras_bi_real", BiReal { task: large(64), framework: Framework::TensorFlow, ..BI_REAL });
    case!("react_net", BiReal { shifts: true, ..BI_REAL });
    case!("react_net_a", ReActNetA { widths: &[6, 12, 24, 24, 48], task: large(64) });
    case!("resnet_e", RESNET_E);
    case!("resnet_e_binary_shortcuts", ResNetE { full_precision_shortcuts: false, ..RESNET_E });
    case!("resnet_e_minus_padding", ResNetE { pad_value: PadValue::Minus, ..resnet_e_large });
    case!("resnet_e_version_2", ResNetE { version: Version::Two, ..RESNET_E });
    case!(
        "resnet_e_version_2_binary_shortcuts",
        ResNetE { version: Version::Two, full_precision_shortcuts: false, ..RESNET_E }
    );
    case!("binary_dense_net", DENSE);
    case!("binary_dense_net_large_stem", BinaryDenseNet { task: large(64), ..DENSE });
    case!(
        "binary_dense_net_dilated",
        BinaryDenseNet { dilations: [1, 1, 2, 4], task: small(32), ..DENSE }
    );
    case!(
        "binary_dense_net_binary_transitions",
        BinaryDenseNet { full_precision_transitions: false, ..DENSE }
    );
    case!("binary_dense_net_minus_padding", BinaryDenseNet { pad_value: PadValue::Minus, ..DENSE });
    case!("binary_dense_net_split", BinaryDenseNet { split: 2, ..DENSE });
    case!("igp_dense_net", BinaryDenseNet { columns: 2, ..DENSE });
    case!("igp_resnet", IGP);
    case!("igp_resnet_rectified", IgpResNet { rectified: true, ..IGP });
    case!("igp_resnet_residual_everywhere", IgpResNet { residual: Residual::Everywhere, ..IGP });
    case!("gp_resnet", IgpResNet { residual: Residual::Nowhere, ..IGP });
    case!("duo_vgg_7", duo_vgg(Activations::Decoupled, true));
    case!("duo_vgg_7_coupled", duo_vgg(Activations::Coupled, true));
    case!("duo_vgg_7_float_weights", duo_vgg(Activations::Decoupled, false));
    case!(
        "duo_alexnet",
        DuoAlexNet {
            activations: Activations::Decoupled,
            widths: [4, 5, 6, 5, 4, 20, 16],
            task: large(224),
        }
    );
    case!("duo_resnet", duo_resnet(Activations::Decoupled, false));
    case!("duo_resnet_coupled", duo_resnet(Activations::Coupled, false));
    case!("duo_resnet_more_shortcuts", duo_resnet(Activations::Decoupled, true));
    case!("duo_resnet_more_shortcuts_coupled", duo_resnet(Activations::Coupled, true));
    case!("conv_net", conv_net(ConvNetActivations::Binary, true));
    case!("conv_net_float_ends", conv_net(ConvNetActivations::Binary, false));
    case!("conv_net_depth_preserving", conv_net(ConvNetActivations::DepthPreserving, false));
    case!("conv_net_real", conv_net(ConvNetActivations::Real, false));
    case!(
        "binary_alexnet",
        BinaryAlexNet {
            widths: [6, 7, 8, 8, 2],
            dense_widths: [20; 2],
            task: large(224),
            ..BinaryAlexNet::IMAGENET
        }
    );
    case!(
        "keras_alexnet",
        BinaryAlexNet {
            widths: [6, 7, 8, 8, 3],
            dense_widths: [20; 2],
            task: large(224),
            ..BinaryAlexNet::LARQ
        }
    );
    case!(
        "keras_dorefa_net",
        DoReFaAlexNet {
            bits: 2,
            widths: [5, 6, 8, 8, 3],
            dense_widths: [20, 18],
            task: large(224),
        }
    );
    case!("binary_resnet", BinaryResNet18 { width: 3, task: small(16) });
    case!("xnor_resnet", resnet(Method::Xnor { k_map: true }));
    case!(
        "xnor_resnet_binary_shortcuts",
        PreActivation { shortcut: ShapeShortcut::Xnor, ..resnet(Method::Xnor { k_map: true }) }
    );
    case!(
        "xnor_alexnet",
        XnorAlexNet { widths: [4, 6, 6, 6, 5, 20, 16], task: large(224), ..XnorAlexNet::IMAGENET }
    );
    case!("bwn_resnet", resnet(Method::BinaryWeights));
    case!("tbn_resnet", PreActivation { shortcut, ..resnet(Method::Tbn) });
    case!("abc_resnet", resnet(Method::Abc { weight_bases: 3, activation_bases: 2 }));
    case!("dorefa_resnet", resnet(Method::DoReFa { bits: 4 }));
    case!("horq_resnet", resnet(Method::Horq));
    case!("float_resnet", resnet(Method::FullPrecision));
    case!(
        "real_to_binary",
        RealToBinary { blocks: [1; 4], width: 8, task: large(64), ..RealToBinary::RESNET_18 }
    );
    let depth_preserving = HyperConvolution::DepthPreserving;
    case!("hyper_resnet", hyper(Shortcut::FullPrecision, depth_preserving));
    case!("hyper_resnet_binary_weights_3", hyper(Shortcut::BinaryWeights(3), depth_preserving));
    case!("hyper_resnet_binary_weights_5", hyper(Shortcut::BinaryWeights(5), depth_preserving));
    case!("hyper_resnet_binary_shortcuts", hyper(Shortcut::Binary(3), depth_preserving));
    case!("hyper_resnet_real", hyper(Shortcut::BinaryWeights(3), HyperConvolution::Real));
    case!("hyper_resnet_plain", hyper(Shortcut::FullPrecision, HyperConvolution::Binary));
    case!("hyper_resnet_50", HyperResNet50 { blocks: [1, 2, 1, 1], width: 4, task: large(64) });
    case!(
        "hyper_shuffle_net",
        HyperShuffleNet { groups: 2, widths: [40, 56, 80], units: [1, 2, 1], task: small(16) }
    );
    case!(
        "ssd",
        Ssd512 {
            backbone: BinaryDenseNet {
                units: [1; 4],
                transitions: Transitions::Widths(&[8; 3]),
                task: Task { classes: 3, ..large(128) },
                ..DENSE
            },
            extra_widths: [3; 4],
            anchors: [4, 6, 6, 6, 4, 4],
            backbone_classes: 10,
        }
    );
    all
}

fn read(name: &str, kind: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/small/{name}.{kind}.safetensors"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Option<Vec<f32>> {
    let bytes = file.tensor(name).ok()?.data();
    Some(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The picture of `noise` in `small/make.py`.
fn noise(seed: i64, elements: usize) -> Vec<f32> {
    let hash = |index: usize| {
        let position = (index as i64).wrapping_add(seed.wrapping_mul(1_000_003)) as u64;
        let value = position.wrapping_mul(2_654_435_761) & 0xffff_ffff;
        let value = (value ^ (value >> 15)).wrapping_mul(2_246_822_519) & 0xffff_ffff;
        (value >> 24) as f32 / 64.0 - 2.0
    };
    (0..elements).map(hash).collect()
}

/// The pictures of a golden file.
fn pictures(golden: &SafeTensors<'_>, elements: usize) -> Vec<f32> {
    floats(golden, "input_f32").unwrap_or_else(|| {
        let seed = golden.tensor("noise").unwrap().data();
        noise(i64::from_le_bytes(seed.try_into().unwrap()), elements)
    })
}

/// The first row that differs by more than the tolerance.
fn difference(found: &[f32], expected: &[f32], length: usize) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} values, expected {}", found.len(), expected.len()));
    }
    found.chunks(length).zip(expected.chunks(length)).enumerate().find_map(|(row, (f, e))| {
        let largest = e.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let worst = f.iter().zip(e).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
        // Not a number is a difference too.
        let close = worst <= TOLERANCE * largest && f.iter().all(|value| value.is_finite());
        (!close).then(|| format!("row {row} is off by {worst:e}, the largest value is {largest}"))
    })
}

fn model(name: &str, architecture: &Architecture) -> Result<Model, String> {
    let resolved = architecture.resolve().map_err(|error| error.to_string())?;
    let bytes = read(name, "weights");
    let file = WeightsFile::parse(&bytes).map_err(|error| error.to_string())?;
    let renaming = names::recognise(&resolved, &file.names()).map_err(|error| error.to_string())?;
    let read =
        file.weights(&resolved, |name| renaming.rename(name)).map_err(|error| error.to_string())?;
    let converted = convert(resolved.assemble(&read.weights), &ConvertOptions::default());
    let converted = converted.map_err(|error| error.to_string())?;
    if let Some(warning) = converted.report.warnings.first() {
        return Err(format!("warning: {warning}"));
    }
    let bytes = format::write(&converted.program).map_err(|error| error.to_string())?;
    Model::from_bytes(&bytes).map_err(|error| error.to_string())
}

/// Names and faults of all networks that do not give the framework's answers.
fn check(name: &str, architecture: Built) -> Result<(), String> {
    let architecture = architecture.map_err(|error| error.to_string())?;
    let model = model(name, &architecture)?;
    let bytes = read(name, "golden");
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let logits = floats(&golden, "logits").unwrap();
    let inputs = pictures(&golden, model.inputs()[0].elements());
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let mut session = model
            .session(&SessionOptions::default().isa(isa))
            .map_err(|error| error.to_string())?;
        let found = session.run(&inputs).map_err(|error| error.to_string())?;
        if let Some(difference) = difference(&found, &logits, model.outputs()[0].elements()) {
            return Err(format!("{isa}: {difference}"));
        }
        // Without fused multiply-adds, floats are the same up to rounding only.
        if isa.fuses_multiply_add() && first.get_or_insert_with(|| found.clone()) != &found {
            return Err(format!("{isa} gives other bits than the first instruction set"));
        }
    }
    Ok(())
}

#[test]
fn every_family_gives_the_answers_of_the_training_framework() {
    let faults: Vec<String> = networks()
        .into_iter()
        .filter_map(|(name, network)| Some(format!("{name}: {}", check(name, network).err()?)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every network with taps runs some of its blocks by themselves.
#[test]
fn blocks_give_the_answers_of_the_training_framework() {
    let mut compared = 0;
    for (name, network) in networks() {
        let bytes = read(name, "golden");
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let blocks: Vec<String> = golden
            .names()
            .iter()
            .filter_map(|tensor| Some(tensor.strip_prefix("tapin.")?.to_owned()))
            .collect();
        if blocks.is_empty() {
            continue;
        }
        let model = model(name, &network.unwrap()).unwrap();
        for block in blocks {
            assert!(
                model.blocks().iter().any(|known| known.name == block),
                "{name} has no {block}"
            );
            let Ok(part) = model.block(&block) else { continue };
            let input = floats(&golden, &format!("tapin.{block}")).unwrap();
            let expected = floats(&golden, &format!("tap.{block}")).unwrap();
            let found = part.session(&SessionOptions::default()).unwrap().run(&input).unwrap();
            let fault = difference(&found, &expected, expected.len());
            assert_eq!(fault, None, "{name}, block {block}");
            compared += 1;
        }
    }
    assert!(compared >= 12, "only {compared} blocks could run by themselves");
}
