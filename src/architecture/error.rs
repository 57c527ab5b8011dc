//! What can be wrong with a written network.

use thiserror::Error;

/// Why an architecture cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// The text is no JSON, or its outermost structure is not that of a network.
    #[error("line {line}, column {column}: {message}")]
    Json {
        /// Line of the text, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A layer cannot be: its fields, its inputs, or the shapes it would have.
    #[error("{}layer {layer}: {problem}", Line(*.line))]
    Layer {
        /// Line of the text where the layer begins, if it was read from one.
        line: Option<usize>,
        /// Name of the layer, or its number where it has none.
        layer: String,
        /// What is wrong, found and expected.
        problem: String,
    },
    /// The network as a whole is at fault.
    #[error("network {network}: {problem}")]
    Network {
        /// Name of the network.
        network: String,
        /// What is wrong, found and expected.
        problem: String,
    },
}

/// "line N: " where the line is known.
struct Line(Option<usize>);

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(line) => write!(f, "line {line}: "),
            None => Ok(()),
        }
    }
}
