//! Random weights for any network, to measure and test networks that nobody has trained here.

mod calibrate;
mod draw;
mod evaluate;
mod generator;
mod pictures;
mod statistics;

use bnn::architecture::{Input, Resolved, Weights};
use bnn::graph::{Tensor, TensorError};
use bnn::reference::EvaluationError;
use generator::Generator;
use thiserror::Error;

/// Why a network gets no random weights.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RandomWeightsError {
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The network cannot be run, which it must be to measure its activations.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
}

/// Weights for every [parameter](Resolved::parameters) of a network, drawn at random and calibrated: the same
/// for the same network and seed on every machine.
///
/// The network knows nothing, but computes as a trained one does: filters are unbalanced, some gammas are
/// negative, a few next to nothing or nothing, and running statistics are those of a few made-up pictures,
/// so that about half of all signs are positive and nothing explodes.
///
/// # Errors
/// If the network cannot be run; those of the catalogue can.
///
/// ```
/// use bnn_models::{families::SmallResNetE, random_weights};
///
/// let network = SmallResNetE { width: 4, classes: 3, input: [16, 16], pooled: true }.architecture("small")?;
/// let weights = random_weights(&network.resolve()?, 1)?;
/// assert_eq!(weights.values("classifier.bias").len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn random_weights(resolved: &Resolved<'_>, seed: u64) -> Result<Weights, RandomWeightsError> {
    let mut weights = Weights::new();
    for layer in &resolved.layers {
        for (role, parameter) in &layer.parameters {
            // Layers may share a tensor.
            if weights.get(&parameter.name).is_none() {
                let mut generator = Generator::new(seed, &parameter.name);
                let values = draw::draw(layer, role, parameter, &mut generator);
                let tensor = Tensor::from_f32(parameter.shape.clone(), values)?;
                weights.insert(&parameter.name, tensor);
            }
        }
    }
    calibrate::calibrate(resolved, &mut weights, &samples(resolved, seed)?)?;
    Ok(weights)
}

/// Made-up inputs: many small ones, or a few large ones, which have more places to measure.
fn samples(resolved: &Resolved<'_>, seed: u64) -> Result<Vec<Vec<Tensor>>, TensorError> {
    let inputs = &resolved.architecture.inputs;
    let elements = inputs.iter().map(|input| input.shape.iter().product());
    let elements: usize = elements.fold(0, usize::saturating_add);
    let count = match elements {
        0..=50_000 => 8,
        50_001..=200_000 => 4,
        _ => 2,
    };
    let sample = |index: usize| {
        let input = |input: &Input| {
            let mut generator = Generator::new(seed, &format!("sample {index} of {}", input.name));
            pictures::picture(&input.shape, &mut generator)
        };
        inputs.iter().map(input).collect()
    };
    (0..count).map(sample).collect()
}
