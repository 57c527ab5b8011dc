//! Named weights in a safetensors file, checked against what a network asks for.

use std::collections::BTreeSet;
use std::fmt;

use bnn::graph::Tensor;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use thiserror::Error;

/// Why a network cannot be built from a file of weights.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are no safetensors file.
    #[error("not a readable safetensors file: {0}")]
    Container(#[from] SafeTensorError),
    /// The tensors are not those of the network; every one that differs is listed.
    #[error("the weights are not those of {network}: {}", Joined(.problems))]
    Tensors {
        /// The network that was to be built.
        network: String,
        /// All differences, in the order in which the network uses its weights; unknown tensors last.
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
    #[error("tensor {name} is unknown")]
    Unknown {
        /// Name of the tensor.
        name: String,
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
    /// A bit past the end of a bit string is set: the string was packed for another shape or in
    /// another order.
    #[error("tensor {name} has bits set past its {bits} bits")]
    TrailingBits {
        /// Name of the tensor.
        name: String,
        /// Number of bits that belong to it.
        bits: usize,
    },
}

/// Items of a list with semicolons between them.
struct Joined<'a>(&'a [TensorProblem]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Hands out the tensors of a file by name and keeps a list of everything that does not fit, so that
/// one walk over the network finds all faults.
///
/// A tensor at fault is replaced by a scalar 0 as a stand-in; what is built from it is dropped when
/// [`WeightReader::finish`] reports the fault.
pub(crate) struct WeightReader<'a> {
    file: SafeTensors<'a>,
    unused: BTreeSet<String>,
    problems: Vec<TensorProblem>,
}

impl<'a> WeightReader<'a> {
    /// Reads the directory of a safetensors file.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let file = SafeTensors::deserialize(bytes)?;
        let unused = file.names().into_iter().map(str::to_owned).collect();
        Ok(Self { file, unused, problems: Vec::new() })
    }

    /// A float tensor of the given shape, from f32 or f16.
    pub(crate) fn float(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let Some(view) = self.take(name, shape) else {
            return Tensor::scalar(0.0);
        };
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => {
                let halves = bytes.as_chunks().0.iter();
                halves.map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
            }
            found => return self.wrong_type(name, found, "F32 or F16"),
        };
        self.shaped(name, shape, values)
    }

    /// Weights ±1 of a convolution, `[out_channels, in_channels, kernel_h, kernel_w]`, from a bit
    /// string in the order out channel, row, column, in channel: `ceil(bits / 64)` little-endian
    /// words, first bit lowest, 1 meaning +1.
    pub(crate) fn signs(&mut self, name: &str, shape: [usize; 4]) -> Tensor {
        let [out_channels, in_channels, height, width] = shape;
        let bits = out_channels * in_channels * height * width;
        let Some(view) = self.take(name, &[bits.div_ceil(64)]) else {
            return Tensor::scalar(0.0);
        };
        if view.dtype() != Dtype::U64 {
            return self.wrong_type(name, view.dtype(), "U64");
        }
        let words: Vec<u64> =
            view.data().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        if !bits.is_multiple_of(64) && words.last().is_some_and(|word| word >> (bits % 64) != 0) {
            self.problems.push(TensorProblem::TrailingBits { name: name.into(), bits });
        }
        let mut values = Vec::with_capacity(bits);
        for o in 0..out_channels {
            for i in 0..in_channels {
                for y in 0..height {
                    for x in 0..width {
                        let bit = ((o * height + y) * width + x) * in_channels + i;
                        let set = words[bit / 64] >> (bit % 64) & 1 == 1;
                        values.push(if set { 1.0 } else { -1.0 });
                    }
                }
            }
        }
        self.shaped(name, &shape, values)
    }

    /// Reports everything that did not fit, and every tensor that nobody asked for.
    pub(crate) fn finish(mut self, network: &str) -> Result<(), ModelError> {
        let unknown = self.unused.into_iter().map(|name| TensorProblem::Unknown { name });
        self.problems.extend(unknown);
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ModelError::Tensors { network: network.into(), problems: self.problems })
        }
    }

    /// The tensor of that name, if it has that shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Option<TensorView<'a>> {
        self.unused.remove(name);
        let expected = shape.to_vec();
        let Ok(view) = self.file.tensor(name) else {
            self.problems.push(TensorProblem::Missing { name: name.into(), expected });
            return None;
        };
        if view.shape() != shape {
            let found = view.shape().to_vec();
            self.problems.push(TensorProblem::Shape { name: name.into(), found, expected });
            return None;
        }
        Some(view)
    }

    fn wrong_type(&mut self, name: &str, found: Dtype, expected: &'static str) -> Tensor {
        self.problems.push(TensorProblem::Type { name: name.into(), found, expected });
        Tensor::scalar(0.0)
    }

    /// A tensor whose number of elements the container has already checked against the shape.
    fn shaped(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Tensor {
        let found = vec![values.len()];
        Tensor::from_f32(shape.to_vec(), values).unwrap_or_else(|_| {
            let expected = shape.to_vec();
            self.problems.push(TensorProblem::Shape { name: name.into(), found, expected });
            Tensor::scalar(0.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use safetensors::serialize;

    use super::*;

    /// A file with one tensor `x`.
    fn file(dtype: Dtype, shape: Vec<usize>, bytes: &[u8]) -> Vec<u8> {
        let view = TensorView::new(dtype, shape, bytes).unwrap();
        serialize([("x", view)], None).unwrap()
    }

    fn problems(reader: WeightReader<'_>) -> Vec<TensorProblem> {
        match reader.finish("net") {
            Err(ModelError::Tensors { problems, .. }) => problems,
            other => panic!("expected faulty tensors, found {other:?}"),
        }
    }

    #[test]
    fn signs_are_unpacked_from_channels_last_order() {
        // One output channel, two input channels, 1x2 kernel: bits are (x 0: c 0, c 1), (x 1: c 0, c 1).
        let bytes = file(Dtype::U64, vec![1], &0b0110_u64.to_le_bytes());
        let mut reader = WeightReader::new(&bytes).unwrap();
        let tensor = reader.signs("x", [1, 2, 1, 2]);
        assert_eq!(tensor.f32().unwrap(), [-1.0, 1.0, 1.0, -1.0]);
        reader.finish("net").unwrap();
    }

    #[test]
    fn bits_past_the_end_are_refused() {
        let bytes = file(Dtype::U64, vec![1], &0b1_0000_u64.to_le_bytes());
        let mut reader = WeightReader::new(&bytes).unwrap();
        reader.signs("x", [1, 2, 1, 2]);
        assert_eq!(problems(reader), [TensorProblem::TrailingBits { name: "x".into(), bits: 4 }]);
    }

    #[test]
    fn halves_are_widened() {
        let bytes = file(Dtype::F16, vec![2], &[0x00, 0x3c, 0x00, 0xb8]);
        let mut reader = WeightReader::new(&bytes).unwrap();
        assert_eq!(reader.float("x", &[2]).f32().unwrap(), [1.0, -0.5]);
        reader.finish("net").unwrap();
    }

    #[test]
    fn every_fault_is_listed() {
        let bytes = file(Dtype::F32, vec![1], &1.0_f32.to_le_bytes());
        let mut reader = WeightReader::new(&bytes).unwrap();
        reader.float("y", &[3]);
        reader.signs("z", [1, 1, 1, 1]);
        let message = reader.finish("net").unwrap_err().to_string();
        assert_eq!(
            message,
            "the weights are not those of net: tensor y [3] is missing; tensor z [1] is missing; \
             tensor x is unknown"
        );

        let mut reader = WeightReader::new(&bytes).unwrap();
        reader.float("x", &[2]);
        let shape = TensorProblem::Shape { name: "x".into(), found: vec![1], expected: vec![2] };
        assert_eq!(problems(reader), [shape]);

        let mut reader = WeightReader::new(&bytes).unwrap();
        reader.signs("x", [1, 1, 1, 1]);
        let kind = TensorProblem::Type { name: "x".into(), found: Dtype::F32, expected: "U64" };
        assert_eq!(problems(reader), [kind]);
    }

    #[test]
    fn broken_containers_are_refused() {
        let bytes = file(Dtype::F32, vec![1], &1.0_f32.to_le_bytes());
        for length in [0, 7, 8, bytes.len() - 1] {
            let result = WeightReader::new(&bytes[..length]);
            assert!(matches!(result, Err(ModelError::Container(_))), "{length} bytes");
        }
    }
}
