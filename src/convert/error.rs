//! Why a network cannot be converted.

use crate::program::ProgramError;
use crate::unsupported::{UnsupportedNode, list};
use thiserror::Error;

/// Why a network cannot be converted. Every message is one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The operands of a node do not fit its operator.
    #[error("node '{node}': {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// What does not fit.
        reason: String,
    },
    /// Operators, layouts or shapes that the engine has no step for; all of them at once.
    #[error("{}", list(nodes))]
    Unsupported {
        /// The nodes.
        nodes: Vec<UnsupportedNode>,
    },
    /// A `Sign` of values that are never negative.
    #[error(
        "node '{node}': the sign of '{input}' ({origin}) would be 0 or +1; this is a {{0, 1}} \
         activation, write it as a comparison with its threshold"
    )]
    NonNegativeSign {
        /// Name of the node.
        node: String,
        /// Name of its operand.
        input: String,
        /// What the operand is, in words.
        origin: String,
    },
    /// `--strict` turned a warning into an error.
    #[error("refused under strict conversion: {warning}")]
    Strict {
        /// The first warning.
        warning: String,
    },
    /// What became of the network is no program that can run: a constant is not finite, a map too long, two
    /// outputs are one.
    #[error("the network does not make a program: {0}")]
    Program(#[from] ProgramError),
    /// The network is larger than the engine's limits.
    #[error("the network is too large: {0}")]
    TooLarge(String),
}
