//! The numbers of a network: tensors by name.

use crate::graph::Tensor;
use std::collections::BTreeMap;

/// Tensors by name, as the [parameters](super::Resolved::parameters) of an architecture ask for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The floats of the tensor of that name; empty if there is none or it holds something else.
    pub fn values(&self, name: &str) -> &[f32] {
        self.get(name).and_then(|tensor| tensor.f32().ok()).unwrap_or(&[])
    }

    /// Sets a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// Names and tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}
