//! What published checkpoints call the tensors that our architectures call otherwise.
//!
//! Our names are those of the catalogue's layers (`bnn-convert archs NAME --graph` lists them). A checkpoint whose names
//! differ only by a known convention is renamed; so is one whose layers are numbered as Keras does it; everything else
//! stays as it is, and is told tensor by tensor if it does not fit.

mod keras;
mod real_to_binary;

pub use keras::{Kind, LayerCount};

use bnn::architecture::Resolved;
use bnn::import::safetensors::Destination;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// How the names of a file become those of an architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renaming {
    convention: Option<&'static str>,
    /// From the file's name, without `module.`, to the architecture's weight.
    destinations: BTreeMap<String, Destination>,
    is_keras: bool,
}

/// Why names that follow a convention cannot be those of an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NamesError {
    /// Layers are numbered, and there are more or fewer of a kind.
    #[error("tensors are named as in Keras, and the layers are not those of {network}: {}", joined(.counts))]
    Layers {
        /// The network that they were to fill.
        network: String,
        /// The kinds whose numbers differ.
        counts: Vec<LayerCount>,
    },
}

fn joined(counts: &[LayerCount]) -> String {
    counts.iter().map(LayerCount::to_string).collect::<Vec<_>>().join("; ")
}

impl Renaming {
    /// The architecture's weight that a tensor is.
    pub fn rename(&self, name: &str) -> Option<Destination> {
        Some(self.destinations.get(name).cloned().unwrap_or_else(|| name.into()))
    }

    /// Whether the names are those of Keras: then the architecture must be one of
    /// [`Framework::TensorFlow`](crate::families::Framework::TensorFlow) too, or the weights mean something else.
    pub fn is_keras(&self) -> bool {
        self.is_keras
    }

    /// What the user should know of it.
    pub fn note(&self) -> Option<String> {
        let convention = self.convention?;
        Some(format!("{} tensors are named as in {convention}", self.destinations.len()))
    }
}

/// A convention: a part of a name and what we call it; at the beginning of a name, or anywhere in it.
struct Convention {
    name: &'static str,
    beginnings: &'static [(&'static str, &'static str)],
    parts: &'static [(&'static str, &'static str)],
}

/// Conventions, the most specific first.
const CONVENTIONS: [Convention; 2] = [
    // liuzechun/Bi-Real-net and liuzechun/ReActNet: binary weights called `weights` and stored flat (Bi-Real), the
    // first layer of ReActNet-A a module with named parts, the classifier at the top.
    Convention {
        name: "the authors' code of Bi-Real net and ReActNet",
        beginnings: &[
            ("fc.", "head.fc."),
            ("feature.0.conv1.", "feature.0.0."),
            ("feature.0.bn1.", "feature.0.1."),
        ],
        parts: &[(".weights", ".weight")],
    },
    // torchvision's networks and whatever follows them.
    Convention {
        name: "torchvision's networks",
        beginnings: &[("fc.", "head.fc."), ("classifier.", "head.fc.")],
        parts: &[],
    },
];

/// Finds the convention that makes most names of the file known ones; none if the names are known as they
/// are.
///
/// # Errors
/// [`NamesError`] if the names follow a convention and cannot be those of the architecture.
pub fn recognise(resolved: &Resolved<'_>, names: &[&str]) -> Result<Renaming, NamesError> {
    let known: BTreeSet<&str> =
        resolved.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let plain: Vec<&str> =
        names.iter().map(|name| name.strip_prefix("module.").unwrap_or(name)).collect();
    // A written graph may have such names itself.
    let unknown: Vec<&str> = plain.iter().copied().filter(|name| !known.contains(name)).collect();
    if let Some(renaming) = keras::recognise(resolved, &unknown)? {
        return Ok(renaming);
    }
    let missing = known.iter().filter(|name| !plain.contains(name)).count();
    let mut best = Renaming::default();
    for convention in &CONVENTIONS {
        let destinations: BTreeMap<String, Destination> = unknown
            .iter()
            .filter_map(|name| {
                let candidate = convention.apply(name)?;
                let destination = Destination::from(candidate.as_str());
                known.contains(candidate.as_str()).then(|| ((*name).to_owned(), destination))
            })
            .collect();
        if destinations.len() > best.destinations.len() && destinations.len() <= missing {
            best = Renaming { convention: Some(convention.name), destinations, is_keras: false };
        }
    }
    Ok(best)
}

impl Convention {
    /// The name under this convention, if it changes.
    fn apply(&self, name: &str) -> Option<String> {
        let mut renamed = name.to_owned();
        for (theirs, ours) in self.beginnings {
            if let Some(rest) = renamed.strip_prefix(theirs) {
                renamed = format!("{ours}{rest}");
                break;
            }
        }
        for (theirs, ours) in self.parts {
            if let Some(start) = renamed.strip_suffix(theirs) {
                renamed = format!("{start}{ours}");
            }
        }
        (renamed != name).then_some(renamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{BiReal, ReActNetA, Task};

    #[test]
    fn names_of_bi_real_net() {
        let network = BiReal { width: 8, task: Task::CIFAR10, ..BiReal::BI_REAL_18 };
        let network = network.architecture("bi_real").unwrap();
        let resolved = network.resolve().unwrap();
        let renaming = recognise(
            &resolved,
            &["module.layer1.0.binary_conv.weights", "module.fc.bias", "module.conv1.weight"],
        )
        .unwrap();
        let rename = |name: &str| renaming.rename(name).unwrap().name;
        assert_eq!(rename("layer1.0.binary_conv.weights"), "layer1.0.binary_conv.weight");
        assert_eq!(rename("fc.bias"), "head.fc.bias");
        assert_eq!(rename("conv1.weight"), "conv1.weight");
        assert!(renaming.note().unwrap().contains("2 tensors"), "{renaming:?}");
    }

    #[test]
    fn names_of_react_net() {
        let network = ReActNetA::IMAGENET.architecture("react").unwrap();
        let resolved = network.resolve().unwrap();
        let names = ["feature.0.conv1.weight", "feature.0.bn1.running_mean", "fc.weight"];
        let renaming = recognise(&resolved, &names).unwrap();
        let renamed = names.map(|name| renaming.rename(name).unwrap().name);
        assert_eq!(renamed, ["feature.0.0.weight", "feature.0.1.running_mean", "head.fc.weight"]);
    }

    #[test]
    fn our_own_names_stay() {
        let network = BiReal::BI_REAL_18.architecture("bi_real").unwrap();
        let resolved = network.resolve().unwrap();
        let names: Vec<&str> = resolved.parameters().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(recognise(&resolved, &names), Ok(Renaming::default()));
    }
}
