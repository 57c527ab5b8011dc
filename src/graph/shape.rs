//! Shapes of results.

use thiserror::Error;

/// Why the shape of a result cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

/// The common shape of two operands under NumPy broadcasting.
///
/// # Errors
/// If the shapes do not broadcast.
pub fn broadcast_shapes(_a: &[usize], _b: &[usize]) -> Result<Vec<usize>, ShapeError> {
    Err(ShapeError("not written".into()))
}

/// Shapes of the results of a node.
///
/// # Errors
/// If operands do not fit the operator.
pub fn infer_shapes(
    _node: &super::Node,
    _shapes: &[Option<&[usize]>],
    _constants: &[Option<&super::Tensor>],
) -> Result<Vec<Vec<usize>>, ShapeError> {
    Err(ShapeError("not written".into()))
}
