//! Variables of Keras networks: numbered layers, kernels with the out channel last.
//!
//! Keras calls the variables of a layer `quant_conv2d_4/kernel:0`, and gives layers without a name of their own the number
//! of their creation among those of their kind. So the nth layer of a kind in the file is the nth of that kind in
//! the architecture, whose layers stand in the order of creation
//! ([`Framework::TensorFlow`](crate::families::Framework::TensorFlow)). Numbers may begin anywhere, since they go on from
//! network to network in one program.

use super::{NamesError, Renaming, real_to_binary};
use bnn::architecture::{Operation, Resolved, ResolvedLayer};
use bnn::import::safetensors::Destination;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the note calls the convention.
const NAME: &str = "Keras";

/// Kinds of layers that are numbered on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `conv2d`: convolution in full precision.
    Convolution,
    /// `quant_conv2d`: convolution with weights of one bit.
    BinaryConvolution,
    /// `dense`: dense layer in full precision.
    Dense,
    /// `quant_dense`: dense layer with weights of one bit.
    BinaryDense,
    /// `batch_normalization`.
    Normalization,
    /// `p_re_lu`.
    Prelu,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Convolution,
        Self::BinaryConvolution,
        Self::Dense,
        Self::BinaryDense,
        Self::Normalization,
        Self::Prelu,
    ];

    /// What Keras calls the first layer of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution => "conv2d",
            Self::BinaryConvolution => "quant_conv2d",
            Self::Dense => "dense",
            Self::BinaryDense => "quant_dense",
            Self::Normalization => "batch_normalization",
            Self::Prelu => "p_re_lu",
        }
    }

    /// The kind of a layer called that, without its number.
    fn of_name(name: &str) -> Option<Self> {
        // TensorFlow 1 had two versions of the normalisation, and said so.
        let name = name.strip_suffix("_v1").or(name.strip_suffix("_v2")).unwrap_or(name);
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn of_layer(layer: &ResolvedLayer<'_>) -> Option<Self> {
        match layer.layer.operation {
            Operation::Convolution(_) => Some(Self::Convolution),
            Operation::BinaryConvolution(_) => Some(Self::BinaryConvolution),
            Operation::Linear { .. } => Some(Self::Dense),
            Operation::BinaryLinear(_) => Some(Self::BinaryDense),
            Operation::BatchNormalization { .. } => Some(Self::Normalization),
            Operation::Prelu { .. } => Some(Self::Prelu),
            _ => None,
        }
    }

    /// Order of a kernel's dimensions, seen from ours.
    fn kernel_order(self) -> Vec<usize> {
        match self {
            Self::Convolution | Self::BinaryConvolution => vec![3, 2, 0, 1],
            _ => vec![1, 0],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of which the file has another number of layers than the architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCount {
    /// The kind.
    pub kind: Kind,
    /// Layers in the file.
    pub found: usize,
    /// Layers of the architecture.
    pub expected: usize,
}

impl fmt::Display for LayerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, found, expected } = self;
        write!(f, "{found} of {kind}, expected {expected}")
    }
}

/// A variable's name taken apart.
struct Variable<'a> {
    name: &'a str,
    /// The layer, with its number.
    layer: &'a str,
    /// What it is in our words.
    role: &'static str,
    is_kernel: bool,
}

impl<'a> Variable<'a> {
    /// `layer/kernel:0`, whatever folders stand before the layer.
    fn parse(name: &'a str) -> Option<Self> {
        let path = name.strip_suffix(":0").unwrap_or(name);
        let (folders, variable) = path.rsplit_once('/')?;
        let layer = folders.rsplit('/').next()?;
        let role = match variable {
            "kernel" | "gamma" | "alpha" => "weight",
            "bias" | "beta" => "bias",
            "moving_mean" => "running_mean",
            "moving_variance" => "running_var",
            _ => return None,
        };
        Some(Self { name, layer, role, is_kernel: variable == "kernel" })
    }
}

/// Kind and number of a layer: `conv2d` is number 0, `conv2d_3` number 3.
fn numbered(layer: &str) -> Option<(Kind, u64)> {
    if let Some(kind) = Kind::of_name(layer) {
        return Some((kind, 0));
    }
    let (name, number) = layer.rsplit_once('_')?;
    Some((Kind::of_name(name)?, number.parse().ok()?))
}

/// The renaming, if the names are those of Keras.
///
/// # Errors
/// [`NamesError::Layers`] if the layers of the file are not as many as those of the architecture.
pub(super) fn recognise(
    resolved: &Resolved<'_>,
    names: &[&str],
) -> Result<Option<Renaming>, NamesError> {
    let variables: Vec<Variable<'_>> =
        names.iter().filter_map(|name| Variable::parse(name)).collect();
    let ours = layers_by_kind(resolved);
    let by_name: BTreeMap<&str, &ResolvedLayer<'_>> =
        resolved.layers.iter().map(|layer| (layer.layer.name.as_str(), layer)).collect();
    let mut pairs: BTreeMap<&str, &ResolvedLayer<'_>> = BTreeMap::new();
    for variable in &variables {
        let named = real_to_binary::layer(variable.layer);
        if let Some(layer) = named.and_then(|named| by_name.get(named.as_str()).copied()) {
            pairs.insert(variable.layer, layer);
        }
    }
    if pairs.is_empty() {
        let mut theirs: BTreeMap<Kind, BTreeSet<(u64, &str)>> = BTreeMap::new();
        for variable in &variables {
            if let Some((kind, number)) = numbered(variable.layer) {
                theirs.entry(kind).or_default().insert((number, variable.layer));
            }
        }
        if theirs.is_empty() {
            return Ok(None);
        }
        check_counts(resolved, &theirs, &ours)?;
        for (kind, layers) in &theirs {
            let ours = ours.get(kind).into_iter().flatten().copied();
            pairs.extend(layers.iter().map(|(_, layer)| *layer).zip(ours));
        }
    }
    let destinations = variables
        .iter()
        .filter_map(|variable| Some((variable.name.to_owned(), destination(variable, &pairs)?)));
    let destinations = destinations.collect();
    Ok(Some(Renaming { convention: Some(NAME), destinations, is_keras: true }))
}

/// The weight that a variable is; none where its layer has no such weight.
fn destination(
    variable: &Variable<'_>,
    pairs: &BTreeMap<&str, &ResolvedLayer<'_>>,
) -> Option<Destination> {
    let layer = pairs.get(variable.layer)?;
    let (_, parameter) = layer.parameters.iter().find(|(role, _)| *role == variable.role)?;
    let order = match variable.is_kernel {
        true => Kind::of_layer(layer)?.kernel_order(),
        false => Vec::new(),
    };
    Some(Destination { name: parameter.name.clone(), order })
}

/// The layers of the architecture of each kind, in order; one that repeats another's weights is no layer of
/// its own.
fn layers_by_kind<'a, 'b>(
    resolved: &'b Resolved<'a>,
) -> BTreeMap<Kind, Vec<&'b ResolvedLayer<'a>>> {
    let mut layers: BTreeMap<Kind, Vec<_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for layer in &resolved.layers {
        let Some(kind) = Kind::of_layer(layer) else { continue };
        if layer.parameters.first().is_some_and(|(_, first)| seen.insert(first.name.as_str())) {
            layers.entry(kind).or_default().push(layer);
        }
    }
    layers
}

fn check_counts(
    resolved: &Resolved<'_>,
    theirs: &BTreeMap<Kind, BTreeSet<(u64, &str)>>,
    ours: &BTreeMap<Kind, Vec<&ResolvedLayer<'_>>>,
) -> Result<(), NamesError> {
    let counts: Vec<LayerCount> = Kind::ALL
        .into_iter()
        .map(|kind| LayerCount {
            kind,
            found: theirs.get(&kind).map_or(0, BTreeSet::len),
            expected: ours.get(&kind).map_or(0, Vec::len),
        })
        .filter(|count| count.found != count.expected)
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    Err(NamesError::Layers { network: resolved.architecture.name.clone(), counts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{BiReal, RealToBinary, Task};

    fn renaming(names: &[&str], network: &BiReal) -> Result<Renaming, NamesError> {
        let network = network.architecture("net").unwrap();
        let resolved = network.resolve().unwrap();
        super::super::recognise(&resolved, names)
    }

    const SMALL: BiReal = BiReal { width: 4, task: Task::CIFAR10, ..BiReal::LARQ_18 };

    /// The layers of a Keras network with shortcuts in three of its blocks, numbered from `first`.
    fn layers(first: usize) -> Vec<String> {
        let numbered = |kind: &str, count: usize, variable: &str| -> Vec<String> {
            let name = |number: usize| match number {
                0 => format!("{kind}/{variable}"),
                _ => format!("{kind}_{number}/{variable}"),
            };
            (first..first + count).map(name).collect()
        };
        [
            numbered("conv2d", 4, "kernel:0"),
            numbered("quant_conv2d", 16, "kernel:0"),
            numbered("batch_normalization", 20, "gamma:0"),
            numbered("dense", 1, "kernel:0"),
        ]
        .concat()
    }

    #[test]
    fn numbers_count_the_layers_of_a_kind_from_anywhere() {
        for first in [0, 7, 95] {
            let names = layers(first);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let renaming = renaming(&names, &SMALL).unwrap();
            let place = |kind: &str, number: usize, variable: &str| {
                let number = first + number;
                let layer = if number == 0 { kind.to_owned() } else { format!("{kind}_{number}") };
                renaming.rename(&format!("{layer}/{variable}")).unwrap()
            };
            let kernel = place("quant_conv2d", 10, "kernel:0");
            assert_eq!(kernel.name, "layer3.2.binary_conv.weight");
            assert_eq!(kernel.order, [3, 2, 0, 1]);
            assert_eq!(place("dense", 0, "kernel:0").order, [1, 0]);
            // A shortcut is created first: its normalisation goes before that of the block.
            let shortcut = place("batch_normalization", 5, "gamma:0");
            assert_eq!(shortcut, "layer2.0.downsample.2.weight".into());
            let own = place("batch_normalization", 6, "gamma:0");
            assert_eq!(own, "layer2.0.bn1.weight".into());
        }
    }

    #[test]
    fn folders_and_indices_of_variables_do_not_matter() {
        let names: Vec<String> = layers(3)
            .iter()
            .map(|name| {
                let (layer, variable) = name.split_once('/').unwrap();
                format!("model/{layer}/{layer}/{}", variable.trim_end_matches(":0"))
            })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let renaming = renaming(&names, &SMALL).unwrap();
        let kernel = renaming.rename("model/conv2d_3/conv2d_3/kernel").unwrap();
        assert_eq!(kernel.name, "conv1.weight");
    }

    #[test]
    fn kinds_with_other_counts_are_told() {
        let names: Vec<String> =
            layers(0).into_iter().filter(|name| !name.starts_with("dense")).skip(1).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = renaming(&names, &SMALL).unwrap_err().to_string();
        assert!(error.contains("3 of conv2d, expected 4; 0 of dense, expected 1"), "{error}");
        assert!(!error.contains("quant"), "{error}");
    }

    #[test]
    fn what_a_layer_does_not_have_stays_unknown() {
        let mut names = layers(0);
        names.push("conv2d/bias:0".to_owned());
        names.push("layer_normalization/gamma:0".to_owned());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let renaming = renaming(&names, &SMALL).unwrap();
        for name in ["conv2d/bias:0", "layer_normalization/gamma:0"] {
            assert_eq!(renaming.rename(name), Some(name.into()));
        }
    }

    #[test]
    fn real_to_binary_net_names_its_layers() {
        let network = RealToBinary::LARQ_18.architecture("r2b").unwrap();
        let resolved = network.resolve().unwrap();
        let names = [
            ("r2b_bnn_block_1_conv2d/kernel:0", "stem.0.weight"),
            (
                "r2b_bnn_block_4a_shortcut_batch_norm/moving_variance:0",
                "layers.4.down.2.running_var",
            ),
            ("r2b_bnn_block_9b_scaling_dense_expand/kernel:0", "layers.15.fc2.weight"),
            ("r2b_bnn_block_10_logits/bias:0", "head.fc.bias"),
        ];
        let theirs = names.map(|(theirs, _)| theirs);
        let renaming = super::super::recognise(&resolved, &theirs).unwrap();
        for (theirs, ours) in names {
            assert_eq!(renaming.rename(theirs).unwrap().name, ours);
        }
    }
}
