//! BinaryDuo's decoupling: from the ternary network that was trained to the binary one that is deployed.
//!
//! A ternary activation is the mean of two binary ones, `[x >= 0.25] / 2 + [x >= 0.75] / 2` (Kim et al. 2020, section
//! 4.2). So every value is copied, the normalisation before the activation moves one copy down and the other up by
//! 0.25 to where the single threshold of 0.5 is, and each of the layers that read the copies has its weights twice and
//! halved. The two networks are the same function, up to the rounding of floats.

use crate::catalogue::{catalogue, find};
use bnn::architecture::{
    Architecture, ArchitectureError, Operation, Resolved, ResolvedLayer, Scale, Weights,
};
use bnn::graph::{Tensor, TensorError};
use thiserror::Error;

/// How far the thresholds of the ternary activation are from that of the binary one.
const OFFSET: f32 = 0.25;

/// What a coupled network of the catalogue has at the end of its name; the decoupled one has the rest.
const SUFFIX: &str = "_coupled";

/// Why a network cannot be decoupled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecoupleError {
    /// The catalogue has no such network, or it is not coupled.
    #[error("{name} is no coupled network, expected one of {}", coupled_names().join(", "))]
    NotCoupled {
        /// The name that was asked for.
        name: String,
    },
    /// One of the networks does not fit together.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The networks are not one before and after decoupling.
    #[error("layer {coupled} of {network} cannot become {decoupled}: {problem}")]
    Layer {
        /// Name of the coupled network.
        network: String,
        /// Its layer.
        coupled: String,
        /// The layer of the decoupled network.
        decoupled: String,
        /// What does not fit, found and expected.
        problem: String,
    },
    /// One network has more layers with weights.
    #[error("{coupled} layers with weights cannot become {decoupled}")]
    LayerCount {
        /// Layers with weights of the coupled network.
        coupled: usize,
        /// Those of the decoupled network.
        decoupled: usize,
    },
    /// A weight of the coupled network is missing.
    #[error("tensor {name} is missing, expected {expected:?}")]
    Missing {
        /// Name of the tensor.
        name: String,
        /// The shape the network needs.
        expected: Vec<usize>,
    },
    /// A weight of the coupled network has another shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the network needs.
        expected: Vec<usize>,
    },
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Decouples a network of the [`catalogue`]: `name` is that of the coupled network, as
/// `duo_resnet18_coupled`, and `weights` are its weights.
///
/// # Errors
/// If `name` is not that of a coupled network, or the weights are not its weights.
pub fn decouple(name: &str, weights: &Weights) -> Result<(Architecture, Weights), DecoupleError> {
    let decoupled = name.strip_suffix(SUFFIX).and_then(find);
    let (Some(coupled), Some(decoupled)) = (find(name), decoupled) else {
        return Err(DecoupleError::NotCoupled { name: name.to_owned() });
    };
    let decoupled = decoupled.architecture()?;
    let weights = decouple_weights(&coupled.architecture()?, &decoupled, weights)?;
    Ok((decoupled, weights))
}

fn coupled_names() -> Vec<&'static str> {
    catalogue().iter().map(|entry| entry.name).filter(|name| name.ends_with(SUFFIX)).collect()
}

/// Weights of a decoupled network from those of the coupled one that was trained. Both come from the same
/// family with the same widths, one with [`Activations::Coupled`](crate::families::Activations::Coupled), the
/// other with [`Activations::Decoupled`](crate::families::Activations::Decoupled).
///
/// ```
/// use bnn_models::families::{Activations, DuoResNet18, Task};
/// use bnn_models::{decouple_weights, random_weights};
///
/// let narrow = DuoResNet18 {
///     widths: [8, 12, 16, 24],
///     last_width: 32,
///     task: Task::CIFAR10,
///     ..DuoResNet18::DECOUPLED
/// };
/// let decoupled = narrow.architecture("narrow")?;
/// let coupled = DuoResNet18 { activations: Activations::Coupled, ..narrow };
/// let coupled = coupled.architecture("narrow_coupled")?;
///
/// let trained = random_weights(&coupled.resolve()?, 1)?;
/// let weights = decouple_weights(&coupled, &decoupled, &trained)?;
/// assert_eq!(weights.values("stem.5.bias").len(), 2 * trained.values("stem.4.bias").len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the networks are no such pair, or the weights are not those of the first.
pub fn decouple_weights(
    coupled: &Architecture,
    decoupled: &Architecture,
    weights: &Weights,
) -> Result<Weights, DecoupleError> {
    let (coupled, decoupled) = (coupled.resolve()?, decoupled.resolve()?);
    let offsets = Offsets::of(&decoupled);
    let with_weights = |resolved: &Resolved<'_>| -> Vec<usize> {
        let has_some = |&index: &usize| !resolved.layers[index].parameters.is_empty();
        (0..resolved.layers.len()).filter(has_some).collect()
    };
    let (from, to) = (with_weights(&coupled), with_weights(&decoupled));
    if from.len() != to.len() {
        return Err(DecoupleError::LayerCount { coupled: from.len(), decoupled: to.len() });
    }
    let mut result = Weights::new();
    for (from, to) in from.into_iter().zip(to) {
        let pair = Pair {
            network: &coupled.architecture.name,
            from: &coupled.layers[from],
            to: &decoupled.layers[to],
            moves: offsets.moved[to],
        };
        pair.decouple(weights, &mut result)?;
    }
    Ok(result)
}

/// Where the copies of the decoupled network are moved apart.
struct Offsets {
    /// For each layer whether it is a normalisation that has to move its copies.
    moved: Vec<bool>,
}

impl Offsets {
    /// A normalisation moves its copies apart, unless it is added to copies that are apart already: a residual
    /// that passes an identity keeps what the layers before it did.
    fn of(resolved: &Resolved<'_>) -> Self {
        let inputs = resolved.architecture.inputs.len();
        // For each value whether its copies are apart.
        let mut apart = vec![false; inputs + resolved.layers.len()];
        let mut moved = Vec::with_capacity(resolved.layers.len());
        for (index, layer) in resolved.layers.iter().enumerate() {
            let value = inputs + index;
            let added_to_copies_apart = || {
                let sums = resolved.layers.iter().filter(|reader| {
                    matches!(reader.layer.operation, Operation::Add {})
                        && reader.inputs.contains(&value)
                });
                sums.flat_map(|sum| &sum.inputs).any(|&term| apart[term])
            };
            let moves = matches!(layer.layer.operation, Operation::BatchNormalization { .. })
                && !added_to_copies_apart();
            moved.push(moves);
            apart[value] = match layer.layer.operation {
                Operation::BatchNormalization { .. } => moves,
                Operation::Add {} => layer.inputs.iter().any(|&term| apart[term]),
                _ => false,
            };
        }
        Self { moved }
    }
}

/// A layer before and after.
struct Pair<'a> {
    network: &'a str,
    from: &'a ResolvedLayer<'a>,
    to: &'a ResolvedLayer<'a>,
    /// Whether the copies, if there are some, are moved apart here.
    moves: bool,
}

impl Pair<'_> {
    fn decouple(&self, weights: &Weights, result: &mut Weights) -> Result<(), DecoupleError> {
        let (old, new) = (&self.from.layer.operation, &self.to.layer.operation);
        if old != new {
            return Err(self.misfit("they are different operations".to_owned()));
        }
        let is_normalisation = matches!(old, Operation::BatchNormalization { .. });
        for ((role, from), (_, to)) in self.from.parameters.iter().zip(&self.to.parameters) {
            let values = values(weights, &from.name, &from.shape)?;
            let values = if from.shape == to.shape {
                values.to_vec()
            } else if is_normalisation && twice(&from.shape, 0) == to.shape {
                let offset = if *role == "bias" && self.moves { OFFSET } else { 0.0 };
                let moved = |offset: f32| values.iter().map(move |value| value + offset);
                moved(-offset).chain(moved(offset)).collect()
            } else if from.shape.len() > 1 && twice(&from.shape, 1) == to.shape {
                // The mean magnitude of halved weights is halved; signs alone are not.
                if unscaled(old) {
                    return Err(self.misfit("weights of ±1 cannot be halved".to_owned()));
                }
                let length = from.shape[1..].iter().product::<usize>().max(1);
                let filters = values.chunks(length);
                filters.flat_map(|filter| [filter; 2]).flatten().map(|value| 0.5 * value).collect()
            } else {
                let (from, to) = (&from.shape, &to.shape);
                return Err(self.misfit(format!("its {role} has shape {from:?} and {to:?} there")));
            };
            result.insert(&to.name, Tensor::from_f32(to.shape.clone(), values)?);
        }
        Ok(())
    }

    fn misfit(&self, problem: String) -> DecoupleError {
        DecoupleError::Layer {
            network: self.network.to_owned(),
            coupled: self.from.layer.name.clone(),
            decoupled: self.to.layer.name.clone(),
            problem,
        }
    }
}

/// Whether the magnitude of the latent weights is not that of the weights.
fn unscaled(operation: &Operation) -> bool {
    match operation {
        Operation::BinaryConvolution(layer) => layer.scale == Scale::None,
        Operation::BinaryLinear(layer) => layer.scale == Scale::None,
        Operation::AbcConvolution(_) => true,
        _ => false,
    }
}

fn values<'w>(
    weights: &'w Weights,
    name: &str,
    expected: &[usize],
) -> Result<&'w [f32], DecoupleError> {
    let owned = || (name.to_owned(), expected.to_vec());
    let Some(tensor) = weights.get(name) else {
        let (name, expected) = owned();
        return Err(DecoupleError::Missing { name, expected });
    };
    if tensor.shape() != expected {
        let ((name, expected), found) = (owned(), tensor.shape().to_vec());
        return Err(DecoupleError::Shape { name, found, expected });
    }
    Ok(tensor.f32()?)
}

fn twice(shape: &[usize], axis: usize) -> Vec<usize> {
    shape
        .iter()
        .enumerate()
        .map(|(i, &extent)| if i == axis { 2 * extent } else { extent })
        .collect()
}
