//! Why a kernel cannot be built.

use crate::{GeometryError, IsaError};
use thiserror::Error;

/// Why a kernel cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The shape makes no sense.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The processor cannot run the path that was asked for.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// A tensor does not have the length that the shape asks for.
    #[error("{tensor}: found {found} {unit}, expected {expected}")]
    Length {
        /// Which tensor.
        tensor: &'static str,
        /// What its length is counted in.
        unit: &'static str,
        /// Its length.
        found: usize,
        /// The length that the shape asks for.
        expected: usize,
    },
}
