//! The `.bnn` file: a converted network in one checked, compact file.
//!
//! `docs/format.md` specifies it well enough for a reader in another language. A file is a fixed
//! preamble, a compressed JSON header (the [`Program`] and a list of its tensors), a checksum and an
//! aligned blob per tensor. [`read`] validates everything before it hands anything out, the meaning of the
//! program included, and never allocates more than a small multiple of the file's size.

mod compact;
mod error;
mod file;
mod header;
mod names;
mod numbers;
mod reader;
mod source;
mod writer;

pub use error::FormatError;
pub use file::write_file;
pub use header::TensorRecord;
pub use reader::{FileSummary, inspect, read, read_from};
pub use writer::write;

use crate::program::Program;

/// First bytes of every file. The byte above 127 and the line ends reveal transfers that treat
/// the file as text.
pub const MAGIC: [u8; 8] = *b"\x89BNN\r\n\x1a\n";

/// Major version of the format as it is written: readers refuse newer ones.
pub const MAJOR_VERSION: u16 = 2;

/// Oldest major version that is read.
pub const OLDEST_MAJOR_VERSION: u16 = 1;

/// Minor version of the format: it rises when something is added that older readers may ignore.
pub const MINOR_VERSION: u16 = 1;

/// Flag of a file whose program has buffers of integers or threshold steps: older readers, which know
/// neither, refuse it. It is set where it is needed and nowhere else.
pub const FLAG_INTEGERS: u32 = 1;

/// The blob section and every blob of at least [`SMALL_BLOB_BYTES`] start at a multiple of this: a
/// cache line, and the width of the widest vectors.
pub const BLOB_ALIGNMENT: u64 = 64;

/// Smaller blobs start at a multiple of this. A compact model has hundreds of them, scales and
/// thresholds; cache lines of their own would cost it more than its header.
pub const SMALL_BLOB_ALIGNMENT: u64 = 16;

/// Blobs from this length on are aligned to [`BLOB_ALIGNMENT`].
pub const SMALL_BLOB_BYTES: u64 = 4096;

/// Largest uncompressed header that is read or written; so are all names in it, once they are written out.
pub const MAX_HEADER_BYTES: u32 = 32 << 20;
