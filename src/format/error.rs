//! What can be wrong with a model file.

use thiserror::Error;

use super::{MAJOR_VERSION, MAX_HEADER_BYTES, OLDEST_MAJOR_VERSION};
use crate::program::ProgramError;

/// Why a file could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The first bytes are not those of a model file.
    #[error("not a .bnn file: it does not start with the .bnn signature")]
    Magic,
    /// The file comes from another major version of the format.
    #[error(
        "format version {major}.{minor}, expected {OLDEST_MAJOR_VERSION}.x to {MAJOR_VERSION}.x"
    )]
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The file uses features that this reader does not know, or others than it says.
    #[error("feature flags {0:#010x} are unknown or not those of the program")]
    Flags(u32),
    /// The file is shorter or longer than it says.
    #[error("the file has {found} bytes, expected {expected} (truncated, or bytes appended)")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// A checksum does not match.
    #[error("{what}: CRC-32 is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// The part of the file: the header, or a tensor by name.
        what: String,
        /// Checksum of the bytes there are.
        found: u32,
        /// Checksum that the file states.
        expected: u32,
    },
    /// The header cannot be decompressed, is too large, or is no valid JSON of the schema.
    #[error("header: {0}")]
    Header(String),
    /// The header, or what it stands for, is larger than the limit.
    #[error("header: {0} bytes of JSON or names, expected at most {MAX_HEADER_BYTES}")]
    HeaderTooLarge(u64),
    /// An entry of the tensor table does not fit its blob or its place.
    #[error("tensor '{name}': {what}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What was found and what was expected.
        what: String,
    },
    /// Bytes that must be zero are not.
    #[error("the padding before byte {0} is not zero")]
    Padding(u64),
    /// The program does not make sense.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The bytes cannot be had, or there is no memory for them.
    #[error("cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
}
