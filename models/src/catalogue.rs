//! Every network of the papers by name, with the figures that its paper prints.
//!
//! A row is a name, what it is, and how to build it; variants of one's own need no row:
//!
//! ```
//! use bnn_models::families::{BiReal, Task};
//!
//! let narrow = BiReal { width: 24, task: Task::CIFAR10, ..BiReal::BI_REAL_18 };
//! let architecture = narrow.architecture("bireal18_w24_c10")?;
//! # Ok::<(), bnn::architecture::ArchitectureError>(())
//! ```

use crate::families::{
    Activations, BiReal, BinaryAlexNet, BinaryDenseNet, BinaryResNet18, ConvNet,
    ConvNetActivations, DoReFaAlexNet, DuoAlexNet, DuoResNet18, DuoVgg7, Framework,
    HyperConvolution, HyperResNet, HyperResNet50, HyperShuffleNet, IgpResNet, MORE_BLOCKS, Method,
    ONE_BLOCK, PreActivation, ReActNetA, RealToBinary, ResNetE, Residual, ShapeShortcut, Shortcut,
    SmallResNetE, Ssd512, Task, Transitions, UNITS_28, UNITS_37, VOC_CLASSES, Version, XnorAlexNet,
    low_reduction,
};
use bnn::architecture::{Architecture, ArchitectureError, PadValue, Scale};
use bnn::program::Detector;

/// A network of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name, as `--arch` takes it.
    pub name: &'static str,
    /// The paper whose tables it is checked against.
    pub paper: Paper,
    /// The data set it is made for.
    pub data: DataSet,
    /// What the paper prints.
    pub figures: Figures,
    /// What is peculiar to it, or our choice.
    pub note: &'static str,
    build: fn(&str) -> Result<Architecture, ArchitectureError>,
    detector: Option<fn() -> Detector>,
}

/// A paper whose tables the catalogue is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// "Improved Gradient Propagation".
    Igp,
    /// "Back to Simplicity: How to Train Accurate BNNs from Scratch?" (2019).
    BinaryDenseNet,
    /// "BinaryDuo: Reducing Gradient Mismatch" (2020).
    BinaryDuo,
    /// "Hyper-BinaryNet".
    HyperBinaryNet,
    /// "ReActNet: Towards Precise Binary Neural Network" (2020).
    ReActNet,
    /// larq zoo: networks of other papers as Keras has them, under the names of its published weights.
    Larq,
    /// This project.
    Ours,
}

impl Paper {
    /// Its short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Igp => "IGP",
            Self::BinaryDenseNet => "BinaryDenseNet",
            Self::BinaryDuo => "BinaryDuo",
            Self::HyperBinaryNet => "Hyper-BinaryNet",
            Self::ReActNet => "ReActNet",
            Self::Larq => "larq zoo",
            Self::Ours => "bnn",
        }
    }
}

/// A data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSet {
    /// ImageNet, 224x224.
    ImageNet,
    /// CIFAR-10, 32x32.
    Cifar10,
    /// CIFAR-100, 32x32.
    Cifar100,
    /// Pascal VOC, 512x512.
    Voc,
}

impl DataSet {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageNet => "ImageNet",
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
            Self::Voc => "VOC",
        }
    }
}

/// What a paper prints about a network; see [`Cost`](bnn::architecture::Cost) for how each is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Storage in Mbit.
    pub storage_mbit: Option<f64>,
    /// Operations.
    pub flops: Option<f64>,
    /// Run-time memory in MB for 64 images.
    pub memory_mb: Option<f64>,
    /// Size in MiB.
    pub size_mib: Option<f64>,
}

impl Entry {
    /// The network without weights.
    ///
    /// # Errors
    /// Never for the rows of [`catalogue`]; a test builds them all.
    pub fn architecture(&self) -> Result<Architecture, ArchitectureError> {
        (self.build)(self.name)
    }

    /// How the outputs become boxes, if the network finds objects in pictures of its own size.
    pub fn detector(&self) -> Option<Detector> {
        self.detector.map(|detector| detector())
    }

    /// Names of the classes of a detector; nothing for other networks.
    pub fn labels(&self) -> &'static [&'static str] {
        if self.detector.is_some() { &VOC_CLASSES } else { &[] }
    }
}

/// All networks, family by family.
pub fn catalogue() -> &'static [Entry] {
    CATALOGUE
}

/// The network of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

/// Names that share most with a name that nobody has, best first.
pub fn similar(name: &str) -> Vec<&'static str> {
    let mut ranked: Vec<(usize, &'static str)> =
        CATALOGUE.iter().map(|entry| (distance(name, entry.name), entry.name)).collect();
    ranked.sort();
    ranked.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Edits that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

const NONE: Figures = Figures { storage_mbit: None, flops: None, memory_mb: None, size_mib: None };

/// Storage and operations.
const fn mbit(storage_mbit: f64, flops: f64) -> Figures {
    Figures { storage_mbit: Some(storage_mbit), flops: Some(flops), ..NONE }
}

/// Storage, operations and run-time memory.
const fn igp(storage_mbit: f64, flops: f64, memory_mb: f64) -> Figures {
    Figures { memory_mb: Some(memory_mb), ..mbit(storage_mbit, flops) }
}

/// Size.
const fn mib(size_mib: f64) -> Figures {
    Figures { size_mib: Some(size_mib), ..NONE }
}

/// A row: name, paper, data set, the paper's figures, note, builder.
macro_rules! row {
    ($name:literal, $paper:ident, $data:ident, $figures:expr, $note:expr, $build:expr) => {
        Entry {
            name: $name,
            paper: Paper::$paper,
            data: DataSet::$data,
            figures: $figures,
            note: $note,
            build: |name| $build.architecture(name),
            detector: None,
        }
    };
}

/// A row of a network that finds objects.
macro_rules! detector_row {
    ($name:literal, $paper:ident, $data:ident, $note:expr, $build:expr) => {
        Entry {
            detector: Some(|| $build.detector()),
            ..row!($name, $paper, $data, NONE, $note, $build)
        }
    };
}

/// Bi-Real with one scale per layer, as the IGP paper's CIFAR-100 tables have it.
const fn bi_real_c100(blocks: [usize; 4]) -> BiReal {
    BiReal { blocks, task: Task::CIFAR100, scale: Scale::Layer, ..BiReal::BI_REAL_18 }
}

const fn igp_c100(width: usize, columns: usize, blocks: [usize; 4]) -> IgpResNet {
    IgpResNet::new(width, columns, blocks, Task::CIFAR100)
}

const fn igp_imagenet(width: usize, columns: usize, blocks: [usize; 4]) -> IgpResNet {
    IgpResNet::new(width, columns, blocks, Task::IMAGENET)
}

const fn resnet_e_c10(version: Version, full_precision_shortcuts: bool) -> ResNetE {
    ResNetE { task: Task::CIFAR10, version, full_precision_shortcuts, ..ResNetE::RESNET_E_18 }
}

/// The ablation of BinaryDenseNet's tables 4 and 5: growth times units is 256 in every stage.
fn ablation(units: usize, growth: usize, full_precision: bool, small: bool) -> Ablation {
    Ablation { units: [units; 4], growth, full_precision, small }
}

struct Ablation {
    units: [usize; 4],
    growth: usize,
    full_precision: bool,
    small: bool,
}

impl Ablation {
    fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let (stem_width, task) =
            if self.small { (128, Task::CIFAR10) } else { (64, Task::IMAGENET) };
        let widths = low_reduction(self.units, self.growth, stem_width);
        let transitions = if self.full_precision {
            Transitions::Reduction([2.0; 3])
        } else {
            Transitions::Widths(&widths)
        };
        let network = BinaryDenseNet {
            units: self.units,
            growth: self.growth,
            stem_width,
            transitions,
            full_precision_transitions: self.full_precision,
            task,
            ..BinaryDenseNet::BDN_28
        };
        network.architecture(name)
    }
}

/// The IGP paper's reading of a BinaryDenseNet: each unit is `split` units of less growth.
const fn split(
    network: BinaryDenseNet<'static>,
    split: usize,
    task: Task,
) -> BinaryDenseNet<'static> {
    BinaryDenseNet { split, task, ..network }
}

const fn igp_dense(
    units: [usize; 4],
    growth: usize,
    widths: &'static [usize; 3],
    task: Task,
) -> BinaryDenseNet<'static> {
    let transitions = Transitions::Widths(widths);
    BinaryDenseNet { units, growth, transitions, columns: 2, task, ..BinaryDenseNet::BDN_28 }
}

const fn duo_resnet(activations: Activations, shortcut_per_convolution: bool) -> DuoResNet18 {
    DuoResNet18 { activations, shortcut_per_convolution, ..DuoResNet18::DECOUPLED }
}

const fn duo_vgg(activations: Activations) -> DuoVgg7 {
    let widths = match activations {
        Activations::Single => DuoVgg7::BASELINE_WIDTHS,
        Activations::Coupled | Activations::Decoupled => DuoVgg7::WIDTHS,
    };
    DuoVgg7 { activations, widths, binary_weights: false, task: Task::CIFAR10 }
}

/// The units of BinaryDenseNet-28, narrow, with transitions that keep half of the channels, as `tools/train` has it.
const NARROW_BDN_28: BinaryDenseNet<'static> = BinaryDenseNet {
    growth: 24,
    stem_width: 48,
    transitions: Transitions::Widths(&[96, 120, 132]),
    task: Task::CIFAR10_POOLED,
    ..BinaryDenseNet::BDN_28
};

const fn duo_alexnet(activations: Activations) -> DuoAlexNet {
    DuoAlexNet { activations, widths: DuoAlexNet::WIDTHS, task: Task::IMAGENET }
}

const fn conv_net(activations: ConvNetActivations) -> ConvNet {
    ConvNet { activations, binary_first: false, binary_last: false, ..ConvNet::BINARY_NET }
}

const fn hyper_c10(shortcut: Shortcut, convolution: HyperConvolution) -> HyperResNet {
    HyperResNet { shortcut, convolution, task: Task::CIFAR10, ..HyperResNet::HYPER_RESNET_18 }
}

const fn with_shortcut(method: Method, shortcut: ShapeShortcut) -> PreActivation {
    PreActivation { shortcut, ..PreActivation::resnet_18(method) }
}

const fn larq_dense(network: BinaryDenseNet<'static>) -> BinaryDenseNet<'static> {
    BinaryDenseNet { framework: Framework::TensorFlow, ..network }
}

const BINARY_INSIDE: &str =
    "of tools/train, with binary weights but in the first and the last layer";
const PAD_MINUS: &str = "BMXNet pads with -1";
const BLOCKS_COLUMN: &str = "the paper's Blocks column is twice the number of units";
const SPLIT: &str = "each unit of growth 64 read as two of growth 32";
const FITTED: &str = "transition widths are fitted to the paper's figures, which do not state them";
const LARQ: &str = "larq zoo's version: TensorFlow padding, epsilon 1e-3";
const LARQ_5: &str = "larq zoo's version: TensorFlow padding, epsilon 1e-5";
const LARQ_PLAIN: &str = "larq zoo's version: TensorFlow padding, no gamma";
const POOLED: &str = "of tools/train, with a pool behind the stem";
const FULL: &str = "of tools/train, without a pool behind the stem; the embedded default model";
const COUPLED: &str = "before decoupling; see --decouple";

static CATALOGUE: &[Entry] = &[
    row!("bireal18", Igp, ImageNet, mbit(33.2, 0.16e9), "", BiReal::BI_REAL_18),
    row!("bireal34", Igp, ImageNet, mbit(43.3, 0.19e9), "", BiReal::BI_REAL_34),
    row!(
        "resnet18_fp",
        Igp,
        ImageNet,
        mbit(374.1, 1.81e9),
        "full precision; storage with biases and BatchNorm",
        PreActivation::resnet_18(Method::FullPrecision)
    ),
    row!("bireal18_c100", Igp, Cifar100, igp(18.18, 1.67e7, 50.33), "", bi_real_c100([4; 4])),
    row!(
        "bireal34_c100",
        Igp,
        Cifar100,
        igp(28.28, 2.61e7, 50.33),
        "",
        bi_real_c100([6, 8, 12, 6])
    ),
    row!(
        "igp_resnet21_50_c100",
        Igp,
        Cifar100,
        igp(18.07, 1.53e7, 52.43),
        "",
        igp_c100(50, 3, ONE_BLOCK)
    ),
    row!(
        "igp_resnet37_36_c100",
        Igp,
        Cifar100,
        igp(17.57, 1.42e7, 47.19),
        "",
        igp_c100(36, 4, ONE_BLOCK)
    ),
    row!(
        "igp_resnet69_26_c100",
        Igp,
        Cifar100,
        igp(17.63, 1.38e7, 40.89),
        "",
        igp_c100(26, 5, ONE_BLOCK)
    ),
    row!(
        "igp_resnet41_45_c100",
        Igp,
        Cifar100,
        igp(27.64, 2.28e7, 47.19),
        "",
        igp_c100(45, 3, MORE_BLOCKS)
    ),
    row!(
        "igp_resnet77_32_c100",
        Igp,
        Cifar100,
        igp(27.94, 2.24e7, 41.94),
        "",
        igp_c100(32, 4, MORE_BLOCKS)
    ),
    row!(
        "igp_resnet149_22_c100",
        Igp,
        Cifar100,
        igp(26.35, 2.08e7, 34.60),
        "",
        igp_c100(22, 5, MORE_BLOCKS)
    ),
    row!(
        "igp_resnet21_50_relu_c100",
        Igp,
        Cifar100,
        NONE,
        "ReLU between binary convolution and BatchNorm",
        IgpResNet { rectified: true, ..igp_c100(50, 3, ONE_BLOCK) }
    ),
    row!(
        "igp_resnet21_50_unit_c100",
        Igp,
        Cifar100,
        NONE,
        "a residual around every convolution",
        IgpResNet { residual: Residual::Everywhere, ..igp_c100(50, 3, ONE_BLOCK) }
    ),
    row!(
        "gp_resnet41_45_c100",
        Igp,
        Cifar100,
        NONE,
        "without residuals",
        IgpResNet { residual: Residual::Nowhere, ..igp_c100(45, 3, MORE_BLOCKS) }
    ),
    row!(
        "gp_resnet21_50_c100",
        Igp,
        Cifar100,
        NONE,
        "without residuals",
        IgpResNet { residual: Residual::Nowhere, ..igp_c100(50, 3, ONE_BLOCK) }
    ),
    row!("igp_resnet21_53", Igp, ImageNet, NONE, "", igp_imagenet(53, 3, ONE_BLOCK)),
    row!(
        "igp_resnet37_41",
        Igp,
        ImageNet,
        mbit(33.2, 0.13e9),
        "the paper's 33.2 Mbit repeats Bi-Real's figure: taken as a misprint of 32.2",
        igp_imagenet(41, 4, ONE_BLOCK)
    ),
    row!("igp_resnet69_31", Igp, ImageNet, NONE, "", igp_imagenet(31, 5, ONE_BLOCK)),
    row!(
        "igp_resnet41_48",
        Igp,
        ImageNet,
        mbit(42.6, 0.16e9),
        "",
        igp_imagenet(48, 3, MORE_BLOCKS)
    ),
    row!("resnet_e18", BinaryDenseNet, ImageNet, mib(4.0), "", ResNetE::RESNET_E_18),
    row!(
        "resnet_e18_padm1",
        BinaryDenseNet,
        ImageNet,
        mib(4.0),
        PAD_MINUS,
        ResNetE { pad_value: PadValue::Minus, ..ResNetE::RESNET_E_18 }
    ),
    row!(
        "resnet_e18_v2_c10",
        BinaryDenseNet,
        Cifar10,
        mib(2.03),
        "",
        resnet_e_c10(Version::Two, true)
    ),
    row!(
        "resnet_e18_v2_bindown_c10",
        BinaryDenseNet,
        Cifar10,
        mib(1.39),
        "",
        resnet_e_c10(Version::Two, false)
    ),
    row!(
        "resnet_e18_bindown",
        BinaryDenseNet,
        ImageNet,
        mib(3.36),
        "",
        ResNetE { full_precision_shortcuts: false, ..ResNetE::RESNET_E_18 }
    ),
    row!(
        "resnet_e18_c10",
        BinaryDenseNet,
        Cifar10,
        mib(2.03),
        "",
        resnet_e_c10(Version::One, true)
    ),
    row!(
        "resnet_e18_bindown_c10",
        BinaryDenseNet,
        Cifar10,
        mib(1.39),
        "",
        resnet_e_c10(Version::One, false)
    ),
    row!("bdn28", BinaryDenseNet, ImageNet, mib(4.0), "", BinaryDenseNet::BDN_28),
    row!(
        "bdn28_padm1",
        BinaryDenseNet,
        ImageNet,
        mib(4.0),
        PAD_MINUS,
        BinaryDenseNet { pad_value: PadValue::Minus, ..BinaryDenseNet::BDN_28 }
    ),
    row!("bdn37", BinaryDenseNet, ImageNet, mib(5.1), "", BinaryDenseNet::BDN_37),
    row!("bdn37_dilated", BinaryDenseNet, ImageNet, mib(5.1), "", BinaryDenseNet::BDN_37_DILATED),
    row!("bdn45", BinaryDenseNet, ImageNet, mib(7.4), "", BinaryDenseNet::BDN_45),
    row!(
        "bdn_abl_4x256_bin",
        BinaryDenseNet,
        ImageNet,
        mib(3.31),
        BLOCKS_COLUMN,
        ablation(1, 256, false, false)
    ),
    row!(
        "bdn_abl_8x128_bin",
        BinaryDenseNet,
        ImageNet,
        mib(3.39),
        BLOCKS_COLUMN,
        ablation(2, 128, false, false)
    ),
    row!(
        "bdn_abl_8x128_fp",
        BinaryDenseNet,
        ImageNet,
        mib(3.03),
        BLOCKS_COLUMN,
        ablation(2, 128, true, false)
    ),
    row!(
        "bdn_abl_16x64_bin",
        BinaryDenseNet,
        ImageNet,
        mib(3.45),
        BLOCKS_COLUMN,
        ablation(4, 64, false, false)
    ),
    row!(
        "bdn_abl_16x64_fp",
        BinaryDenseNet,
        ImageNet,
        mib(3.08),
        BLOCKS_COLUMN,
        ablation(4, 64, true, false)
    ),
    row!(
        "bdn21_c10_bin",
        BinaryDenseNet,
        Cifar10,
        mib(673.0 / 1024.0),
        BLOCKS_COLUMN,
        ablation(2, 128, false, true)
    ),
    row!(
        "bdn21_c10_fp",
        BinaryDenseNet,
        Cifar10,
        mib(1.49),
        BLOCKS_COLUMN,
        ablation(2, 128, true, true)
    ),
    row!(
        "bdn51_32",
        Igp,
        ImageNet,
        mbit(34.8, 0.27e9),
        SPLIT,
        split(BinaryDenseNet::BDN_28, 2, Task::IMAGENET)
    ),
    row!(
        "bdn69_32",
        Igp,
        ImageNet,
        mbit(42.0, 0.28e9),
        SPLIT,
        split(BinaryDenseNet::BDN_37, 2, Task::IMAGENET)
    ),
    row!(
        "bdn51_32_c100",
        Igp,
        Cifar100,
        igp(17.65, 5.13e7, 117.44),
        SPLIT,
        split(BinaryDenseNet::BDN_28, 2, Task::CIFAR100)
    ),
    row!(
        "bdn69_32_c100",
        Igp,
        Cifar100,
        igp(23.70, 5.50e7, 117.44),
        SPLIT,
        split(BinaryDenseNet::BDN_37, 2, Task::CIFAR100)
    ),
    row!(
        "ebdn97_16_c100",
        Igp,
        Cifar100,
        NONE,
        "EBinaryDenseNet: growth halved and convolutions doubled once more",
        split(BinaryDenseNet::BDN_28, 4, Task::CIFAR100)
    ),
    row!(
        "igp_densenet51_53",
        Igp,
        ImageNet,
        mbit(34.5, 0.30e9),
        FITTED,
        igp_dense(UNITS_28, 53, &[194, 184, 272], Task::IMAGENET)
    ),
    row!(
        "igp_densenet69_48",
        Igp,
        ImageNet,
        mbit(41.5, 0.31e9),
        FITTED,
        igp_dense(UNITS_37, 48, &[194, 184, 276], Task::IMAGENET)
    ),
    row!(
        "igp_densenet51_48_c100",
        Igp,
        Cifar100,
        igp(17.51, 5.32e7, 92.27),
        FITTED,
        igp_dense(UNITS_28, 48, &[192, 178, 302], Task::CIFAR100)
    ),
    row!(
        "igp_densenet69_44_c100",
        Igp,
        Cifar100,
        igp(23.33, 5.67e7, 85.98),
        FITTED,
        igp_dense(UNITS_37, 44, &[186, 204, 276], Task::CIFAR100)
    ),
    detector_row!(
        "ssd512_bdn37",
        BinaryDenseNet,
        Voc,
        "which maps feed the heads is our choice",
        Ssd512::new(BinaryDenseNet { task: Task::VOC512, ..BinaryDenseNet::BDN_37 })
    ),
    detector_row!(
        "ssd512_bdn45",
        BinaryDenseNet,
        Voc,
        "which maps feed the heads is our choice",
        Ssd512::new(BinaryDenseNet { task: Task::VOC512, ..BinaryDenseNet::BDN_45 })
    ),
    row!(
        "duo_vgg7",
        BinaryDuo,
        Cifar10,
        NONE,
        "weights in full precision",
        duo_vgg(Activations::Decoupled)
    ),
    row!("duo_vgg7_coupled", BinaryDuo, Cifar10, NONE, COUPLED, duo_vgg(Activations::Coupled)),
    row!(
        "duo_vgg7_baseline",
        BinaryDuo,
        Cifar10,
        NONE,
        "weights in full precision",
        duo_vgg(Activations::Single)
    ),
    row!(
        "duo_alexnet",
        BinaryDuo,
        ImageNet,
        mbit(189.0, 119e6),
        "",
        duo_alexnet(Activations::Decoupled)
    ),
    row!(
        "duo_alexnet_coupled",
        BinaryDuo,
        ImageNet,
        NONE,
        COUPLED,
        duo_alexnet(Activations::Coupled)
    ),
    row!(
        "duo_resnet18",
        BinaryDuo,
        ImageNet,
        mbit(31.9, 164e6),
        "",
        duo_resnet(Activations::Decoupled, false)
    ),
    row!(
        "duo_resnet18_sc",
        BinaryDuo,
        ImageNet,
        mbit(31.9, 164e6),
        "a shortcut around each convolution",
        duo_resnet(Activations::Decoupled, true)
    ),
    row!(
        "duo_resnet18_coupled",
        BinaryDuo,
        ImageNet,
        NONE,
        COUPLED,
        duo_resnet(Activations::Coupled, false)
    ),
    row!(
        "duo_resnet18_sc_coupled",
        BinaryDuo,
        ImageNet,
        NONE,
        COUPLED,
        duo_resnet(Activations::Coupled, true)
    ),
    row!("bnn_convnet", HyperBinaryNet, Cifar10, NONE, "every layer binary", ConvNet::BINARY_NET),
    row!(
        "bnn_convnet_fpends",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "",
        conv_net(ConvNetActivations::Binary)
    ),
    row!(
        "bnn_resnet18",
        Igp,
        ImageNet,
        mbit(27.9, 0.14e9),
        "",
        BinaryResNet18 { width: 64, task: Task::IMAGENET }
    ),
    row!(
        "bnn_resnet18_c10",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "",
        BinaryResNet18 { width: 64, task: Task::CIFAR10 }
    ),
    row!(
        "bnn_alexnet",
        BinaryDuo,
        ImageNet,
        mbit(62.3, 82.3e6),
        "every layer binary",
        BinaryAlexNet::IMAGENET
    ),
    row!("xnor_alexnet", BinaryDuo, ImageNet, mbit(191.0, 126e6), "", XnorAlexNet::IMAGENET),
    row!(
        "xnor_resnet18",
        BinaryDuo,
        ImageNet,
        mbit(33.3, 164e6),
        "",
        PreActivation::resnet_18(Method::Xnor { k_map: true })
    ),
    row!(
        "xnor_resnet18_bindown",
        Igp,
        ImageNet,
        mbit(28.0, 0.14e9),
        "",
        with_shortcut(Method::Xnor { k_map: true }, ShapeShortcut::Xnor)
    ),
    row!(
        "bwn_resnet18",
        HyperBinaryNet,
        ImageNet,
        NONE,
        "",
        PreActivation::resnet_18(Method::BinaryWeights)
    ),
    row!(
        "tbn_resnet18",
        Igp,
        ImageNet,
        mbit(27.9, 0.17e9),
        "the paper counts a ternary operation as two binary ones",
        with_shortcut(Method::Tbn, ShapeShortcut::Binary)
    ),
    row!(
        "abc_resnet18_1_1",
        BinaryDuo,
        ImageNet,
        mbit(33.3, 164e6),
        "",
        PreActivation::resnet_18(Method::Abc { weight_bases: 1, activation_bases: 1 })
    ),
    row!(
        "abc_resnet18_3_3",
        BinaryDenseNet,
        ImageNet,
        NONE,
        "",
        PreActivation::resnet_18(Method::Abc { weight_bases: 3, activation_bases: 3 })
    ),
    row!(
        "dorefa_resnet18_1w4a",
        BinaryDenseNet,
        ImageNet,
        NONE,
        "",
        PreActivation::resnet_18(Method::DoReFa { bits: 4 })
    ),
    row!(
        "horq_resnet18",
        BinaryDenseNet,
        ImageNet,
        NONE,
        "",
        PreActivation::resnet_18(Method::Horq)
    ),
    row!(
        "hb_convnet",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "",
        conv_net(ConvNetActivations::DepthPreserving)
    ),
    row!(
        "hb_convnet_1_32",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "weights alone are binary",
        conv_net(ConvNetActivations::Real)
    ),
    row!(
        "hb_resnet18_c10_fp1",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "",
        hyper_c10(Shortcut::FullPrecision, HyperConvolution::DepthPreserving)
    ),
    row!(
        "hb_resnet18_c10_wb3",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "shortcuts 3x3 with binary weights",
        hyper_c10(Shortcut::BinaryWeights(3), HyperConvolution::DepthPreserving)
    ),
    row!(
        "hb_resnet18_c10_wb5",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "shortcuts 5x5 with binary weights",
        hyper_c10(Shortcut::BinaryWeights(5), HyperConvolution::DepthPreserving)
    ),
    row!(
        "hb_resnet18_c10_fb3",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "binary shortcuts; sign(x - 0.05) is our choice",
        hyper_c10(Shortcut::Binary(3), HyperConvolution::DepthPreserving)
    ),
    row!(
        "hb_resnet18_c10_1_32",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "weights alone are binary",
        hyper_c10(Shortcut::BinaryWeights(3), HyperConvolution::Real)
    ),
    row!(
        "hb_resnet18_c10_w16",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "the widths that the operations of table 8 imply",
        HyperResNet {
            width: 16,
            ..hyper_c10(Shortcut::BinaryWeights(3), HyperConvolution::DepthPreserving)
        }
    ),
    row!("hb_resnet18", HyperBinaryNet, ImageNet, NONE, "", HyperResNet::HYPER_RESNET_18),
    row!(
        "hb_resnet34",
        HyperBinaryNet,
        ImageNet,
        NONE,
        "",
        HyperResNet { blocks: [6, 8, 12, 6], ..HyperResNet::HYPER_RESNET_18 }
    ),
    row!(
        "hb_resnet50",
        HyperBinaryNet,
        ImageNet,
        NONE,
        "where the ReLU stands in a bottleneck is our choice",
        HyperResNet50 { blocks: [3, 4, 6, 3], width: 64, task: Task::IMAGENET }
    ),
    row!(
        "hb_shufflenet",
        HyperBinaryNet,
        Cifar10,
        NONE,
        "the configuration is our choice",
        HyperShuffleNet::CIFAR10
    ),
    row!("reactnet18", Igp, ImageNet, mbit(33.2, 0.16e9), "", BiReal::REACTNET_18),
    row!("reactnet_a", ReActNet, ImageNet, NONE, "", ReActNetA::IMAGENET),
    row!(
        "r2b_resnet18",
        Igp,
        ImageNet,
        mbit(33.2, 0.16e9),
        "the paper's storage leaves the gates out",
        RealToBinary::RESNET_18
    ),
    row!("larq_bireal18", Larq, ImageNet, NONE, LARQ, BiReal::LARQ_18),
    row!("larq_resnet_e18", Larq, ImageNet, NONE, LARQ_5, ResNetE::LARQ_18),
    row!("larq_bdn28", Larq, ImageNet, NONE, LARQ_5, larq_dense(BinaryDenseNet::BDN_28)),
    row!("larq_bdn37", Larq, ImageNet, NONE, LARQ_5, larq_dense(BinaryDenseNet::BDN_37)),
    row!(
        "larq_bdn37_dilated",
        Larq,
        ImageNet,
        NONE,
        LARQ_5,
        larq_dense(BinaryDenseNet::BDN_37_DILATED)
    ),
    row!("larq_bdn45", Larq, ImageNet, NONE, LARQ_5, larq_dense(BinaryDenseNet::BDN_45)),
    row!("larq_r2b_resnet18", Larq, ImageNet, NONE, LARQ, RealToBinary::LARQ_18),
    row!("larq_binary_alexnet", Larq, ImageNet, NONE, LARQ_PLAIN, BinaryAlexNet::LARQ),
    row!("larq_xnor_net", Larq, ImageNet, NONE, LARQ_PLAIN, XnorAlexNet::LARQ),
    row!("larq_dorefa_net", Larq, ImageNet, NONE, LARQ_PLAIN, DoReFaAlexNet::LARQ),
    row!("resnete18-w32-cifar10", Ours, Cifar10, NONE, POOLED, SmallResNetE::CIFAR10_32),
    row!(
        "resnete18-full-w32-cifar10",
        Ours,
        Cifar10,
        NONE,
        FULL,
        SmallResNetE { pooled: false, ..SmallResNetE::CIFAR10_32 }
    ),
    row!(
        "igp-resnet21-w32-cifar10",
        Ours,
        Cifar10,
        NONE,
        POOLED,
        IgpResNet::new(32, 3, ONE_BLOCK, Task::CIFAR10_POOLED)
    ),
    row!("bdn28-g24-cifar10", Ours, Cifar10, NONE, POOLED, NARROW_BDN_28),
    row!(
        "duo-vgg7-w45-cifar10",
        Ours,
        Cifar10,
        NONE,
        BINARY_INSIDE,
        DuoVgg7 { binary_weights: true, ..duo_vgg(Activations::Decoupled) }
    ),
];
