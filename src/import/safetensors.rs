//! Weights in a `.safetensors` file, matched with the architecture they belong to.
//!
//! The file holds numbers by name and no network; the [`Architecture`] says which names it needs. Names are
//! taken as they are, after a prefix `module.` (PyTorch's data parallelism) and after the caller's own renaming and
//! transposition, for checkpoints that another program named.
//!
//! Floats may be f32, f64, f16 or bf16. Dimensions of length one may be left out or added. Weights of one bit
//! may be flat; they may be latent floats, ±1, ± a scale per filter, 8-bit integers, or packed: a tensor `NAME.bits` in the place
//! of `NAME.weight`, of `ceil(n / 64)` U64 words that hold the signs in the order out channel, row, column, in
//! channel (first in bit 0, 1 meaning +1), and, where the layer is scaled, `NAME.scale` with one float per filter
//! or one for all.

use super::permute::{permuted, permuted_shape};
use crate::{
    architecture::{Architecture, ArchitectureError, Parameter, Resolved, Role, Weights},
    graph::Tensor,
};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use thiserror::Error;

/// Key of the metadata under which a file carries its own network, as JSON.
pub const GRAPH_KEY: &str = crate::architecture::GRAPH_KEY;

/// Why weights cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are no safetensors file.
    #[error("not a readable safetensors file: {0}")]
    Container(#[from] SafeTensorError),
    /// The network in the file's metadata is at fault.
    #[error("the network in its metadata: {0}")]
    Graph(#[from] ArchitectureError),
    /// The tensors are not those of the network; every one that differs is listed.
    #[error("the weights are not those of {network}: {}", Joined(.problems))]
    Tensors {
        /// The network that they were to fill.
        network: String,
        /// All differences: first those of the network's own weights in the order of its layers, then
        /// tensors that it does not know.
        problems: Vec<TensorProblem>,
    },
}

/// What is wrong with one tensor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The network has a weight of this name and the file has not.
    #[error("tensor {name} {expected:?} is missing")]
    Missing {
        /// Name of the tensor.
        name: String,
        /// The shape the network needs.
        expected: Vec<usize>,
    },
    /// The file has a tensor that the network does not use.
    #[error("tensor {name} {found:?} is unknown")]
    Unknown {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// The tensor has another shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape the network needs.
        expected: Vec<usize>,
    },
    /// The tensor has elements of another type.
    #[error("tensor {name} holds {found}, expected {expected}")]
    Type {
        /// Name of the tensor.
        name: String,
        /// Element type in the file.
        found: Dtype,
        /// Element types that would do.
        expected: &'static str,
    },
    /// A number is infinite or none.
    #[error("tensor {name} holds {value} at element {index}, expected finite numbers")]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// Position of the first such number.
        index: usize,
        /// The number, as text.
        value: String,
    },
    /// A variance is below zero.
    #[error("tensor {name} holds {value} at element {index}, expected a variance")]
    NegativeVariance {
        /// Name of the tensor.
        name: String,
        /// Position of the first such number.
        index: usize,
        /// The number, as text.
        value: String,
    },
    /// A bit past the end of a bit string is set: the string was packed for another shape or in
    /// another order.
    #[error("tensor {name} has bits set past its {bits} bits")]
    TrailingBits {
        /// Name of the tensor.
        name: String,
        /// Number of bits that belong to it.
        bits: usize,
    },
    /// Two tensors of the file stand for the same weight.
    #[error("tensors {first} and {second} are both {name}")]
    Twice {
        /// The network's name of the weight.
        name: String,
        /// One tensor of the file.
        first: String,
        /// Another one.
        second: String,
    },
}

/// Most problems that are told one by one.
const TOLD: usize = 40;

/// Items of a list with semicolons between them.
struct Joined<'a>(&'a [TensorProblem]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().take(TOLD).enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        match self.0.len().checked_sub(TOLD) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

/// A safetensors file of weights.
#[derive(Debug)]
pub struct WeightsFile<'a> {
    file: SafeTensors<'a>,
    metadata: BTreeMap<String, String>,
}

/// Weights that were read, and what is worth knowing about them.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadWeights {
    /// The weights, by the names of the architecture.
    pub weights: Weights,
    /// What the user should hear: approximate or guessed readings.
    pub notes: Vec<String>,
}

/// Which weight of a network a tensor of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The network's name of the weight.
    pub name: String,
    /// Order of the dimensions: dimension `i` of the weight is dimension `order[i]` of the tensor. Empty where both
    /// have the same order.
    pub order: Vec<usize>,
}

impl From<&str> for Destination {
    /// The weight of that name, its dimensions as they are.
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), order: Vec::new() }
    }
}

impl<'a> WeightsFile<'a> {
    /// Reads the directory of a file.
    ///
    /// # Errors
    /// [`WeightsError::Container`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let metadata = header.metadata().iter().flatten();
        let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { file, metadata })
    }

    /// The network that the file carries in its metadata under [`GRAPH_KEY`], if it does.
    ///
    /// # Errors
    /// [`WeightsError::Graph`] if there is one and it is at fault.
    pub fn architecture(&self) -> Result<Option<Architecture>, WeightsError> {
        let text = self.metadata.get(GRAPH_KEY);
        Ok(text.map(|text| Architecture::from_json(text)).transpose()?)
    }

    /// Names of the tensors, in alphabetical order.
    pub fn names(&self) -> Vec<&str> {
        let mut names = self.file.names();
        names.sort_unstable();
        names
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.file.tensor(name).ok().map(|view| view.shape().to_vec())
    }

    /// The weights that `resolved` asks for.
    ///
    /// `place` says which weight of the architecture a name of the file stands for; names that it returns `None` for
    /// are left aside. It is called with the names after `module.` is cut off.
    ///
    /// # Errors
    /// [`WeightsError::Tensors`] with everything that is missing, unknown, or does not fit.
    pub fn weights(
        &self,
        resolved: &Resolved<'_>,
        place: impl Fn(&str) -> Option<Destination>,
    ) -> Result<ReadWeights, WeightsError> {
        let mut reader = Reader::new(&self.file, place);
        let mut weights = Weights::new();
        for parameter in resolved.parameters() {
            if let Some(values) = reader.parameter(parameter)
                && let Ok(tensor) = Tensor::from_f32(parameter.shape.clone(), values)
            {
                weights.insert(parameter.name.clone(), tensor);
            }
        }
        for unused in &resolved.architecture.unused {
            reader.unused.remove(&unused.name);
        }
        reader.set_copies_aside();
        let (problems, notes) = reader.finish();
        if problems.is_empty() {
            Ok(ReadWeights { weights, notes })
        } else {
            let network = resolved.architecture.name.clone();
            Err(WeightsError::Tensors { network, problems })
        }
    }
}

/// Hands out tensors by name and keeps a list of everything that does not fit, so that one walk over the
/// network finds all faults.
struct Reader<'f, 'a> {
    file: &'f SafeTensors<'a>,
    /// From the names of the architecture to those of the file, with the order of the dimensions there.
    names: BTreeMap<String, Stored>,
    unused: BTreeSet<String>,
    used: Vec<String>,
    problems: Vec<TensorProblem>,
    zeros: usize,
}

/// A tensor as the file has it.
struct Stored {
    name: String,
    /// As [`Destination::order`].
    order: Vec<usize>,
}

impl<'f, 'a> Reader<'f, 'a> {
    fn new(file: &'f SafeTensors<'a>, place: impl Fn(&str) -> Option<Destination>) -> Self {
        let mut names: BTreeMap<String, Stored> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut stored = file.names();
        stored.sort_unstable();
        for name in stored {
            let plain = name.strip_prefix("module.").unwrap_or(name);
            // PyTorch counts batches in every normalisation; inference has no use for it.
            if plain.ends_with("num_batches_tracked") {
                continue;
            }
            let Some(Destination { name: renamed, order }) = place(plain) else { continue };
            let stored = Stored { name: name.to_owned(), order };
            if let Some(first) = names.insert(renamed.clone(), stored) {
                let (first, second) = (first.name, name.to_owned());
                problems.push(TensorProblem::Twice { name: renamed, first, second });
            }
        }
        let unused = names.keys().cloned().collect();
        Self { file, names, unused, used: Vec::new(), problems, zeros: 0 }
    }

    /// The numbers of a parameter, if they are there and fit.
    fn parameter(&mut self, parameter: &Parameter) -> Option<Vec<f32>> {
        let Parameter { name, shape, role } = parameter;
        let single_bits = matches!(role, Role::BinaryWeight { bases: 1 });
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let packed = format!("{stem}.bits");
        if single_bits && !self.names.contains_key(name) && self.names.contains_key(&packed) {
            return self.packed(&packed, &format!("{stem}.scale"), shape);
        }
        let view = self.take(name, shape)?;
        let order = self.names.get(name).map_or(&[][..], |stored| &stored.order).to_vec();
        // Where the order does not fit the tensor at all its shape is at fault, and is told as it is.
        let in_order = permuted_shape(view.shape(), &order);
        let stored = in_order.as_deref().unwrap_or(view.shape());
        let is_misplaced = in_order.is_none() && !order.is_empty();
        let without_ones = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|&extent| extent != 1).collect()
        };
        // Bi-Real net stores its latent weights flat.
        let flat = single_bits && without_ones(stored) == [shape.iter().product::<usize>()];
        if is_misplaced || without_ones(stored) != without_ones(shape) && !flat {
            let (found, expected) = (stored.to_vec(), shape.clone());
            self.problems.push(TensorProblem::Shape { name: self.told(name), found, expected });
            return None;
        }
        let mut values = match floats(&view) {
            Some(values) => values,
            None if view.dtype() == Dtype::I8 && single_bits => {
                view.data().iter().map(|&byte| f32::from(byte as i8)).collect()
            }
            None => {
                let expected = "F32, F64, F16 or BF16";
                let found = view.dtype();
                self.problems.push(TensorProblem::Type { name: name.clone(), found, expected });
                return None;
            }
        };
        if let Some(in_order) = permuted(&values, view.shape(), &order) {
            values = in_order;
        }
        if single_bits {
            self.zeros += values.iter().filter(|&&value| value == 0.0).count();
        }
        self.checked(name, values, *role)
    }

    fn checked(&mut self, name: &str, values: Vec<f32>, role: Role) -> Option<Vec<f32>> {
        let told = |index: usize| (self.told(name), index, values[index].to_string());
        if let Some((name, index, value)) =
            values.iter().position(|value| !value.is_finite()).map(told)
        {
            self.problems.push(TensorProblem::NotFinite { name, index, value });
            return None;
        }
        if role == Role::Variance
            && let Some((name, index, value)) =
                values.iter().position(|&value| value < 0.0).map(told)
        {
            self.problems.push(TensorProblem::NegativeVariance { name, index, value });
            return None;
        }
        Some(values)
    }

    /// Signs from a bit string in the order out channel, row, column, in channel, times the scale, if
    /// there is one.
    fn packed(&mut self, name: &str, scale: &str, shape: &[usize]) -> Option<Vec<f32>> {
        let view = self.take(name, shape)?;
        let bits: usize = shape.iter().product();
        let expected = vec![bits.div_ceil(64)];
        if view.dtype() != Dtype::U64 {
            let found = view.dtype();
            let name = name.to_owned();
            self.problems.push(TensorProblem::Type { name, found, expected: "U64" });
            return None;
        }
        if view.shape() != expected {
            let found = view.shape().to_vec();
            self.problems.push(TensorProblem::Shape { name: name.to_owned(), found, expected });
            return None;
        }
        let words: Vec<u64> =
            view.data().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        if !bits.is_multiple_of(64) && words.last().is_some_and(|word| word >> (bits % 64) != 0) {
            self.problems.push(TensorProblem::TrailingBits { name: name.to_owned(), bits });
            return None;
        }
        let (filters, channels) = (shape[0], shape.get(1).copied().unwrap_or(1));
        let taps: usize = shape.get(2..).unwrap_or(&[]).iter().product();
        let scales = match self.names.contains_key(scale) {
            true => self.scales(scale, filters)?,
            false => vec![1.0; filters],
        };
        let mut values = Vec::with_capacity(bits);
        for (filter, scale) in scales.into_iter().enumerate() {
            for channel in 0..channels {
                for tap in 0..taps {
                    let bit = (filter * taps + tap) * channels + channel;
                    let set = words[bit / 64] >> (bit % 64) & 1 == 1;
                    values.push(if set { scale } else { -scale });
                }
            }
        }
        Some(values)
    }

    /// One scale per filter.
    fn scales(&mut self, name: &str, filters: usize) -> Option<Vec<f32>> {
        let view = self.take(name, &[filters])?;
        let (found, dtype) = (view.shape().to_vec(), view.dtype());
        let Some(values) = floats(&view) else {
            let expected = "F32, F64, F16 or BF16";
            let name = name.to_owned();
            self.problems.push(TensorProblem::Type { name, found: dtype, expected });
            return None;
        };
        let values = self.checked(name, values, Role::Coefficient)?;
        match *values {
            [one] => Some(vec![one; filters]),
            _ if values.len() == filters => Some(values),
            _ => {
                let (name, expected) = (name.to_owned(), vec![filters]);
                self.problems.push(TensorProblem::Shape { name, found, expected });
                None
            }
        }
    }

    /// A name for messages: the network's, and the file's where it has another word for it.
    fn told(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(stored) if stored.name.strip_prefix("module.").unwrap_or(&stored.name) != name => {
                format!("{name} ({})", stored.name)
            }
            _ => name.to_owned(),
        }
    }

    /// The tensor of that name, or a problem.
    fn take(&mut self, name: &str, shape: &[usize]) -> Option<TensorView<'a>> {
        self.unused.remove(name);
        let stored = self.names.get(name);
        match stored.and_then(|stored| self.file.tensor(&stored.name).ok()) {
            Some(view) => {
                self.used.push(name.to_owned());
                Some(view)
            }
            None => {
                self.problems.push(TensorProblem::Missing {
                    name: name.to_owned(),
                    expected: shape.to_vec(),
                });
                None
            }
        }
    }

    /// A module that is used in two places is saved under two names: what repeats a tensor that was used
    /// is not unknown.
    fn set_copies_aside(&mut self) {
        if self.unused.is_empty() {
            return;
        }
        let view = |name: &String| {
            self.names.get(name).and_then(|stored| self.file.tensor(&stored.name).ok())
        };
        let used: BTreeSet<(Vec<usize>, &[u8])> = self
            .used
            .iter()
            .filter_map(view)
            .map(|view| (view.shape().to_vec(), view.data()))
            .collect();
        let copies: Vec<String> = self
            .unused
            .iter()
            .filter(|name| {
                view(name).is_some_and(|v| used.contains(&(v.shape().to_vec(), v.data())))
            })
            .cloned()
            .collect();
        for name in copies {
            self.unused.remove(&name);
        }
    }

    fn finish(mut self) -> (Vec<TensorProblem>, Vec<String>) {
        for name in &self.unused {
            let stored = &self.names[name].name;
            let found = self.file.tensor(stored).map(|view| view.shape().to_vec());
            self.problems.push(TensorProblem::Unknown {
                name: stored.clone(),
                found: found.unwrap_or_default(),
            });
        }
        let mut notes = Vec::new();
        if self.zeros > 0 {
            let zeros = self.zeros;
            notes.push(format!("{zeros} latent weights are exactly 0 and count as +1"));
        }
        (self.problems, notes)
    }
}

/// The elements as f32, if they are floats.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
        }
        _ => return None,
    })
}
