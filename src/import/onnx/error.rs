//! What can be wrong with a file.

use crate::graph::ShapeError;
use crate::reference::EvaluationError;
use crate::unsupported::{UnsupportedNode, list};
use std::path::PathBuf;
use thiserror::Error;

/// Why a file cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Something is wrong with the file named.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ImportError>,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(String),
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model: {0}")]
    Decode(String),
    /// The model holds no graph.
    #[error("the model holds no graph")]
    NoGraph,
    /// The graph is larger than any that is worth reading.
    #[error("the model has {found} {what}, expected at most {most}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// Their number.
        found: usize,
        /// Most that are read.
        most: usize,
    },
    /// The operator set is outside of the versions that are known.
    #[error("operator set {found}, expected {oldest} to {newest}")]
    OperatorSet {
        /// What the file says, in words.
        found: String,
        /// Oldest version known.
        oldest: i64,
        /// Newest version known.
        newest: i64,
    },
    /// A tensor cannot be read.
    #[error("tensor `{tensor}`: {reason}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// The shape of an input is not known.
    #[error(
        "input `{input}` has shape [{found}], which leaves sizes open: \
         pass --input-shape {input}={example}"
    )]
    OpenShape {
        /// Its name.
        input: String,
        /// The shape in the file, unknown sizes as `?`.
        found: String,
        /// What a complete shape would look like.
        example: String,
    },
    /// An input is not a tensor of floats, or is unknown.
    #[error("input `{input}`: {reason}")]
    Input {
        /// Its name.
        input: String,
        /// What is wrong.
        reason: String,
    },
    /// Two tensors have the same name.
    #[error("two tensors are named `{0}`")]
    DuplicateName(String),
    /// A tensor is read but nothing provides it.
    #[error("{reader} reads `{tensor}`, which nothing provides")]
    Missing {
        /// Who reads it.
        reader: String,
        /// Its name.
        tensor: String,
    },
    /// Nodes need each other's results.
    #[error("node `{0}` needs its own result")]
    Cycle(String),
    /// A node is malformed.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// Its name.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong.
        reason: String,
    },
    /// The operands of a node do not fit it.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Shape arithmetic fails.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// Some nodes are well-formed but cannot be expressed.
    #[error("{}", list(.0))]
    Unsupported(Vec<UnsupportedNode>),
}
