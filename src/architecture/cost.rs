//! What a network costs, counted as its papers count.

use super::{Operation, Resolved, Role};
use std::collections::BTreeMap;

/// Weights, operations and memory of a network, for one image.
///
/// The rules differ from paper to paper (see the methods); these are the numbers that all of them are
/// made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// All learned numbers, those of unused tensors too; running statistics are none.
    pub params: u64,
    /// Weights of convolutions and dense layers in full precision.
    pub fp_weights: u64,
    /// Biases of convolutions and dense layers.
    pub fp_biases: u64,
    /// Gamma and beta, whether or not they are learned: two for each normalised channel.
    pub normalisation: u64,
    /// Weights of one bit; each base of ABC-Net counts.
    pub binary_weights: u64,
    /// Multiply-accumulates of convolutions and dense layers in full precision, and those of weights of
    /// one bit with the image itself.
    pub fp_macs: u64,
    /// Multiply-accumulates with weights of one bit; ABC-Net's count for each pair of bases, TBN's and
    /// HORQ's once.
    pub binary_macs: u64,
    /// Layers with weights of one bit.
    pub binary_layers: u64,
    /// Convolutions and dense layers in full precision.
    pub fp_layers: u64,
    /// Numbers that are alive at once at the worst place; see [`Cost::runtime_memory_mb`].
    pub live_elements: u64,
}

/// Images in the batch for which the IGP paper states run-time memory.
const BATCH: u64 = 64;

impl Cost {
    /// Storage in Mbit (10^6): 32 for each weight in full precision, 1 for each weight of one bit; no
    /// biases, no normalisation (IGP).
    pub fn storage_mbit(&self) -> f64 {
        bits(self.fp_weights, self.binary_weights) / 1e6
    }

    /// [`Cost::storage_mbit`] with biases, gamma and beta (BinaryDuo).
    pub fn storage_mbit_with_normalisation(&self) -> f64 {
        bits(self.with_normalisation(), self.binary_weights) / 1e6
    }

    /// Size in MiB (2^20 bytes) without biases and normalisation.
    pub fn size_mib(&self) -> f64 {
        bits(self.fp_weights, self.binary_weights) / 8.0 / f64::from(1 << 20)
    }

    /// Size in MiB with biases, gamma and beta (BinaryDenseNet).
    pub fn size_mib_with_normalisation(&self) -> f64 {
        bits(self.with_normalisation(), self.binary_weights) / 8.0 / f64::from(1 << 20)
    }

    /// Floating-point operations: one for each multiply-accumulate in full precision, one for 64 with
    /// weights of one bit.
    pub fn flops(&self) -> f64 {
        self.fp_macs as f64 + self.binary_macs as f64 / 64.0
    }

    /// Run-time memory in MB (10^6 bytes) as the IGP paper counts it: 64 images, all maps in 32-bit floats,
    /// and the largest sum, over the convolutions, dense layers and sums of two maps, of what they read, what they
    /// write and what passes them by. What works on single values happens in place; where features are
    /// only ever appended (DenseNets), it is the longest concatenation.
    pub fn runtime_memory_mb(&self) -> f64 {
        (self.live_elements * 4 * BATCH) as f64 / 1e6
    }

    fn with_normalisation(&self) -> u64 {
        self.fp_weights + self.fp_biases + self.normalisation
    }
}

fn bits(full_precision: u64, binary: u64) -> f64 {
    32.0 * full_precision as f64 + binary as f64
}

fn count(shape: &[usize]) -> u64 {
    shape.iter().map(|&extent| extent as u64).product()
}

impl Resolved<'_> {
    /// Counts the network.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost { live_elements: self.live_elements(), ..Cost::default() };
        for parameter in self.parameters() {
            let elements = count(&parameter.shape);
            if parameter.role.is_learned() {
                cost.params += elements;
            }
            match parameter.role {
                Role::Weight => cost.fp_weights += elements,
                Role::BinaryWeight { bases } => cost.binary_weights += elements * bases as u64,
                _ => {}
            }
        }
        cost.params +=
            self.architecture.unused.iter().map(|unused| count(&unused.shape)).sum::<u64>();
        for layer in &self.layers {
            // Every weight meets every place of the result once; a dense layer has one place.
            let places = count(layer.shape.get(1..).unwrap_or(&[]));
            let weights = layer.parameters.first().map_or(0, |(_, p)| count(&p.shape)) * places;
            match &layer.layer.operation {
                Operation::Convolution(_) | Operation::Linear { .. } => {
                    cost.fp_macs += weights;
                    cost.fp_layers += 1;
                }
                Operation::AbcConvolution(abc) => {
                    cost.binary_macs += weights * (abc.weight_bases * abc.activation_bases) as u64;
                    cost.binary_layers += 1;
                }
                Operation::BinaryConvolution(_)
                | Operation::HorqConvolution(_)
                | Operation::BinaryLinear(_) => {
                    // Pixels of the image are numbers, so these are additions, not bit operations.
                    if layer.inputs[0] < self.architecture.inputs.len() {
                        cost.fp_macs += weights;
                    } else {
                        cost.binary_macs += weights;
                    }
                    cost.binary_layers += 1;
                }
                Operation::BatchNormalization { .. } => {
                    cost.normalisation += 2 * layer.shape[0] as u64;
                }
                _ => {}
            }
            // A bias of a binary layer vanishes in the threshold or normalisation that follows.
            let binary = layer
                .parameters
                .first()
                .is_some_and(|(_, parameter)| matches!(parameter.role, Role::BinaryWeight { .. }));
            for (_, parameter) in &layer.parameters {
                if parameter.role == Role::Bias && !binary {
                    cost.fp_biases += count(&parameter.shape);
                }
            }
        }
        cost
    }

    /// The largest number of values that are alive at once, by the rules of [`Cost::runtime_memory_mb`].
    fn live_elements(&self) -> u64 {
        self.longest_dense_concatenation().unwrap_or_else(|| self.largest_live_set())
    }

    /// Where concatenations read concatenations, the features of a stage lie in one growing map.
    fn longest_dense_concatenation(&self) -> Option<u64> {
        let inputs = self.architecture.inputs.len();
        let is_concatenation = |value: usize| {
            value >= inputs
                && matches!(
                    self.layers[value - inputs].layer.operation,
                    Operation::Concat { axis: 0 }
                )
        };
        let concatenations = || {
            let layers = self.layers.iter().enumerate();
            layers
                .filter(|(index, layer)| is_concatenation(index + inputs) && layer.shape.len() == 3)
        };
        let grows =
            concatenations().any(|(_, layer)| layer.inputs.iter().any(|&v| is_concatenation(v)));
        let sizes = concatenations().map(|(_, layer)| count(&layer.shape));
        sizes.max().filter(|_| grows)
    }

    fn largest_live_set(&self) -> u64 {
        let inputs = self.architecture.inputs.len();
        // What works on single values (and pools) happens in place: its result is the map it reads.
        let mut storage: Vec<usize> = (0..inputs).collect();
        let mut sizes: BTreeMap<usize, u64> =
            self.architecture.inputs.iter().map(|input| count(&input.shape)).enumerate().collect();
        let mut is_event = vec![false; self.layers.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            let value = inputs + index;
            let makes_a_map = matches!(
                layer.layer.operation,
                Operation::Convolution(_)
                    | Operation::BinaryConvolution(_)
                    | Operation::AbcConvolution(_)
                    | Operation::HorqConvolution(_)
                    | Operation::Linear { .. }
                    | Operation::BinaryLinear(_)
                    | Operation::Add {}
                    | Operation::Concat { .. }
                    | Operation::Duplicate {}
            );
            is_event[index] = makes_a_map;
            let home = if makes_a_map { value } else { storage[layer.inputs[0]] };
            storage.push(home);
            if makes_a_map {
                sizes.insert(value, count(&layer.shape));
            }
        }
        let mut last_reader: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for &input in &layer.inputs {
                last_reader.insert(storage[input], index);
            }
        }
        for &output in &self.outputs {
            last_reader.insert(storage[output], self.layers.len());
        }
        let mut live: Vec<usize> = (0..inputs).collect();
        let mut largest = 0;
        for (index, &is_event) in is_event.iter().enumerate() {
            if is_event {
                live.push(inputs + index);
                largest = largest.max(live.iter().map(|home| sizes[home]).sum());
            }
            live.retain(|home| last_reader.get(home).is_some_and(|&last| last > index));
        }
        largest
    }
}
