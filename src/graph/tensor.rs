//! Constant tensors.

use thiserror::Error;

/// Element type of a [`Tensor`]. Narrower types are widened when a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// 32-bit float; f16, bf16 and f64 are converted to it.
    F32,
    /// 64-bit integer; all other integers are converted to it.
    I64,
    /// Truth value.
    Bool,
}

/// Elements of a [`Tensor`] in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Floats.
    F32(Vec<f32>),
    /// Integers.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

/// What can be wrong with the contents of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The shape and the number of elements disagree.
    #[error("shape {shape:?} does not hold {elements} elements")]
    ElementCount {
        /// The shape as given.
        shape: Vec<usize>,
        /// Elements as given.
        elements: usize,
    },
    /// Another element type was expected.
    #[error("expected elements of type {expected:?}, found {found:?}")]
    Type {
        /// What the reader asked for.
        expected: DataType,
        /// What the tensor holds.
        found: DataType,
    },
}

/// A dense row-major tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of the given shape.
    ///
    /// # Errors
    /// If the shape does not hold exactly the elements given.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self, TensorError> {
        let elements = match &data {
            Data::F32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::Bool(v) => v.len(),
        };
        let expected = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if expected != Some(elements) {
            return Err(TensorError::ElementCount { shape, elements });
        }
        Ok(Self { shape, data })
    }

    /// A float tensor; see [`Tensor::new`].
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(shape, Data::F32(data))
    }

    /// A float tensor without dimensions.
    pub fn scalar(value: f32) -> Self {
        Self { shape: Vec::new(), data: Data::F32(vec![value]) }
    }

    /// A one-dimensional integer tensor.
    pub fn from_i64(values: Vec<i64>) -> Self {
        Self { shape: vec![values.len()], data: Data::I64(values) }
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The element type.
    pub fn data_type(&self) -> DataType {
        match self.data {
            Data::F32(_) => DataType::F32,
            Data::I64(_) => DataType::I64,
            Data::Bool(_) => DataType::Bool,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as floats, if that is what they are.
    ///
    /// # Errors
    /// If the elements are of another type.
    pub fn f32(&self) -> Result<&[f32], TensorError> {
        match &self.data {
            Data::F32(v) => Ok(v),
            _ => Err(TensorError::Type { expected: DataType::F32, found: self.data_type() }),
        }
    }

    /// The elements as integers, if that is what they are.
    ///
    /// # Errors
    /// If the elements are of another type.
    pub fn i64(&self) -> Result<&[i64], TensorError> {
        match &self.data {
            Data::I64(v) => Ok(v),
            _ => Err(TensorError::Type { expected: DataType::I64, found: self.data_type() }),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// If the new shape holds another number of elements.
    pub fn reshaped(self, shape: Vec<usize>) -> Result<Self, TensorError> {
        Self::new(shape, self.data)
    }
}
