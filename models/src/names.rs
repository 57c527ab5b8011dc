//! What published checkpoints call the tensors that our architectures call otherwise.
//!
//! Our names are those of the catalogue's layers (`bnn-convert archs NAME --graph` lists them). A checkpoint whose names
//! differ only by a known convention is renamed; everything else stays as it is, and is told tensor by
//! tensor if it does not fit.

use bnn::architecture::Resolved;
use std::collections::{BTreeMap, BTreeSet};

/// How the names of a file become those of an architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renaming {
    convention: Option<&'static str>,
    /// From the file's name, without `module.`, to the architecture's.
    names: BTreeMap<String, String>,
}

impl Renaming {
    /// The architecture's name of a tensor.
    pub fn rename(&self, name: &str) -> Option<String> {
        Some(self.names.get(name).map_or(name, String::as_str).to_owned())
    }

    /// What the user should know of it.
    pub fn note(&self) -> Option<String> {
        let convention = self.convention?;
        Some(format!("{} tensors are named as in {convention}", self.names.len()))
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
pub fn recognise(resolved: &Resolved<'_>, names: &[&str]) -> Renaming {
    let known: BTreeSet<&str> =
        resolved.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let plain: Vec<&str> =
        names.iter().map(|name| name.strip_prefix("module.").unwrap_or(name)).collect();
    let missing = known.iter().filter(|name| !plain.contains(name)).count();
    let mut best = Renaming::default();
    for convention in &CONVENTIONS {
        let renamed: BTreeMap<String, String> = plain
            .iter()
            .filter(|name| !known.contains(**name))
            .filter_map(|name| {
                let candidate = convention.apply(name)?;
                known.contains(candidate.as_str()).then(|| ((*name).to_owned(), candidate))
            })
            .collect();
        if renamed.len() > best.names.len() && renamed.len() <= missing {
            best = Renaming { convention: Some(convention.name), names: renamed };
        }
    }
    best
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
        );
        let rename = |name: &str| renaming.rename(name).unwrap();
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
        let renaming = recognise(&resolved, &names);
        let renamed = names.map(|name| renaming.rename(name).unwrap());
        assert_eq!(renamed, ["feature.0.0.weight", "feature.0.1.running_mean", "head.fc.weight"]);
    }

    #[test]
    fn our_own_names_stay() {
        let network = BiReal::BI_REAL_18.architecture("bi_real").unwrap();
        let resolved = network.resolve().unwrap();
        let names: Vec<&str> = resolved.parameters().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(recognise(&resolved, &names), Renaming::default());
    }
}
