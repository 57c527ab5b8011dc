//! Everything that can go wrong, as one type.

use std::path::PathBuf;

use thiserror::Error;

use crate::{
    format::FormatError,
    program::ProgramError,
    runtime::RunError,
    vision::{ImageError, PreprocessError},
};

/// Why the library could not do what it was asked. The message is one line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The contents of a model are broken.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model file is broken.
    #[error("{}: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A program makes no sense.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A picture cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A picture does not become the input of the network.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// An instruction set is unknown, not built in, or not available on this processor.
    #[error(transparent)]
    Isa(#[from] bnn_kernels::IsaError),
    /// A model cannot be prepared or run as asked.
    #[error(transparent)]
    Run(#[from] RunError),
}
