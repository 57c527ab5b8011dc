//! ONNX and QONNX files.
//!
//! Operators of the default domain are read in the meaning of operator sets 7 to 26, those of QONNX
//! (`BipolarQuant`, `Quant`, `IntQuant`, `Trunc`, `MultiThreshold`) in any of the domains that its
//! tools have used. Shapes are worked out on the way, for a batch of one, so that implied paddings and
//! defaults that depend on the rank come out explicit.
//!
//! A file is not trusted: whatever it holds, the answer is a graph or an [`ImportError`].

mod assemble;
mod attributes;
mod error;
mod external;
mod inputs;
mod node;
mod operators;
mod order;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, dead_code, clippy::pedantic, clippy::nursery)]
mod proto;
mod tensor;

pub use crate::unsupported::UnsupportedNode;
pub use error::ImportError;

use crate::graph::Graph;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// What the caller knows beyond the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Shapes of inputs by name, batch first, where the file leaves sizes open. The batch counts as 1
    /// whatever stands there.
    pub input_shapes: BTreeMap<String, Vec<usize>>,
}

/// Reads a file; weights that it keeps in other files must lie in its folder.
///
/// # Errors
/// If the file cannot be read or does not hold a network that can be expressed as a [`Graph`]; the
/// message names the file.
pub fn read(path: &Path, options: &ImportOptions) -> Result<Graph, ImportError> {
    let import = || {
        let bytes = std::fs::read(path).map_err(|error| ImportError::Read(error.to_string()))?;
        // The parent of a bare file name is the empty path, which means the working directory.
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut graph = from_bytes(&bytes, Some(folder), options)?;
        if graph.name.is_empty() {
            graph.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        Ok(graph)
    };
    import().map_err(|error| ImportError::File { path: path.to_owned(), source: Box::new(error) })
}

/// Reads the contents of a file. `base_dir` is the folder in which weights kept in other files are
/// looked for; without it such weights are an error.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(
    bytes: &[u8],
    base_dir: Option<&Path>,
    options: &ImportOptions,
) -> Result<Graph, ImportError> {
    let model =
        proto::ModelProto::decode(bytes).map_err(|error| ImportError::Decode(error.to_string()))?;
    assemble::assemble(model, base_dir, options)
}
