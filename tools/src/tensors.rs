//! Plain arrays out of safetensors files.

use crate::exit::{Failure, Result};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// A dense row-major array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Elements, as many as the product of the dimensions.
    pub data: Vec<T>,
}

impl<T> Array<T> {
    /// The `index`-th entry along the first dimension.
    ///
    /// # Panics
    /// If the array has no such entry.
    pub fn row(&self, index: usize) -> &[T] {
        let length = self.row_len();
        &self.data[index * length..(index + 1) * length]
    }

    /// Elements of one entry along the first dimension; all of them if there is no dimension.
    pub fn row_len(&self) -> usize {
        self.shape.get(1..).unwrap_or(&[]).iter().product()
    }
}

/// A safetensors file in memory.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl TensorFile {
    /// Reads a file and checks its header.
    ///
    /// # Errors
    /// If it cannot be read or is no safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| Failure::input(path, error))?;
        let file = Self { path: path.to_owned(), bytes };
        file.parse()?;
        Ok(file)
    }

    fn parse(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| {
            Failure::input(&self.path, format_args!("not a safetensors file: {error}"))
        })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .parse()
            .map(|tensors| tensors.names().into_iter().map(str::to_owned).collect())
            .unwrap_or_default();
        names.sort_unstable();
        names
    }

    /// The tensor `name` of 32-bit floats, or `None` if there is none of that name.
    ///
    /// # Errors
    /// If its elements are of another type.
    pub fn f32(&self, name: &str) -> Result<Option<Array<f32>>> {
        self.array(name, Dtype::F32, f32::from_le_bytes)
    }

    /// The tensor `name` of bytes, or `None` if there is none of that name.
    ///
    /// # Errors
    /// If its elements are of another type.
    pub fn u8(&self, name: &str) -> Result<Option<Array<u8>>> {
        self.array(name, Dtype::U8, |[byte]| byte)
    }

    /// The tensor `name` of 64-bit integers, or `None` if there is none of that name.
    ///
    /// # Errors
    /// If its elements are of another type.
    pub fn i64(&self, name: &str) -> Result<Option<Array<i64>>> {
        self.array(name, Dtype::I64, i64::from_le_bytes)
    }

    fn array<T, const N: usize>(
        &self,
        name: &str,
        expected: Dtype,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Option<Array<T>>> {
        let tensors = self.parse()?;
        let Ok(view) = tensors.tensor(name) else { return Ok(None) };
        if view.dtype() != expected {
            return Err(Failure::input(
                &self.path,
                format_args!(
                    "tensor '{name}' has elements of type {:?}, expected {expected:?}",
                    view.dtype()
                ),
            ));
        }
        // The reader has checked that shape, element type and length agree.
        let (elements, _) = view.data().as_chunks::<N>();
        let data = elements.iter().map(|&bytes| read(bytes)).collect();
        Ok(Some(Array { shape: view.shape().to_vec(), data }))
    }
}
