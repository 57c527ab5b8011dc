//! Constants of a program.

use serde::{Deserialize, Serialize};

/// Names one tensor of a [`Program`](super::Program).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TensorId(pub u32);

impl TensorId {
    /// The position of the tensor in [`Program::tensors`](super::Program::tensors).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Element kind of a [`Tensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorKind {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// 32-bit integers.
    I32,
    /// Bits: one dense string in row-major order, in 64-bit words, first bit lowest; unused bits of
    /// the last word are 0.
    Bits,
}

/// Elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Bit patterns of 16-bit IEEE floats.
    F16(Vec<u16>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// Words of a dense bit string.
    Bits(Vec<u64>),
}

/// A constant: weights, thresholds, scales.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name, unique within the program, made from the layer's name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: TensorData,
}

impl Tensor {
    /// The element kind.
    pub fn kind(&self) -> TensorKind {
        match self.data {
            TensorData::F32(_) => TensorKind::F32,
            TensorData::F16(_) => TensorKind::F16,
            TensorData::I32(_) => TensorKind::I32,
            TensorData::Bits(_) => TensorKind::Bits,
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

    /// Bytes that the elements take in a file.
    pub fn byte_len(&self) -> usize {
        match &self.data {
            TensorData::F32(v) => v.len() * 4,
            TensorData::F16(v) => v.len() * 2,
            TensorData::I32(v) => v.len() * 4,
            TensorData::Bits(v) => v.len() * 8,
        }
    }

    /// The elements, if they are f32.
    pub fn f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are i32.
    pub fn i32(&self) -> Option<&[i32]> {
        match &self.data {
            TensorData::I32(v) => Some(v),
            _ => None,
        }
    }

    /// The words, if the elements are bits.
    pub fn bits(&self) -> Option<&[u64]> {
        match &self.data {
            TensorData::Bits(v) => Some(v),
            _ => None,
        }
    }
}
