//! The two parts of the header: the preamble of fixed size and the compressed JSON; and where blobs lie.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};

use super::{
    BLOB_ALIGNMENT, FLAG_INTEGERS, FormatError, MAGIC, MAJOR_VERSION, MAX_HEADER_BYTES,
    MINOR_VERSION, OLDEST_MAJOR_VERSION, Program, SMALL_BLOB_ALIGNMENT, SMALL_BLOB_BYTES,
    source::Source,
};
use crate::program::{BufferKind, StepKind, TensorKind};

/// Where a tensor lies and how to check it. In version 1 of the format, a line of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorRecord {
    /// Name, unique within the file.
    pub name: String,
    /// Element kind.
    pub kind: TensorKind,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// First byte, counted from the start of the blob section.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 (ISO-HDLC, as zlib and gzip have it) of the bytes.
    pub crc32: u32,
}

/// The JSON of version 1.
#[derive(Debug, Deserialize)]
pub(super) struct FullHeader {
    program: Program,
    tensors: Vec<TensorRecord>,
}

/// What a header says, in whatever version.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) program: Program,
    pub(super) tensors: Vec<Entry>,
}

/// What a header says about a tensor.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: TensorKind,
    pub(super) shape: Vec<u64>,
    pub(super) crc32: u32,
    /// Offset and length, which follow from the rest, where the header has them nevertheless.
    pub(super) stated: Option<[u64; 2]>,
}

impl From<FullHeader> for Header {
    fn from(header: FullHeader) -> Self {
        let entry = |record: TensorRecord| Entry {
            name: record.name,
            kind: record.kind,
            shape: record.shape,
            crc32: record.crc32,
            stated: Some([record.offset, record.bytes]),
        };
        Self { program: header.program, tensors: header.tensors.into_iter().map(entry).collect() }
    }
}

/// The fixed part at the start of a file; all integers are little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) major: u16,
    pub(super) minor: u16,
    pub(super) flags: u32,
    pub(super) file_bytes: u64,
    pub(super) compressed_bytes: u32,
    pub(super) json_bytes: u32,
    pub(super) crc32: u32,
}

impl Preamble {
    /// Size in bytes, signature and checksum included.
    pub(super) const BYTES: usize = 36;

    /// Size of a checksum.
    pub(super) const CHECKSUM_BYTES: usize = 4;

    /// The preamble of a file with this header.
    pub(super) fn new(flags: u32, file_bytes: u64, compressed: &[u8], json_bytes: u32) -> Self {
        let mut preamble = Self {
            major: MAJOR_VERSION,
            minor: MINOR_VERSION,
            flags,
            file_bytes,
            compressed_bytes: compressed.len() as u32,
            json_bytes,
            crc32: 0,
        };
        preamble.crc32 = preamble.checksum(compressed);
        preamble
    }

    /// CRC-32 of the preamble up to the checksum itself, then of the compressed header: no bit of
    /// either can turn over unseen.
    pub(super) fn checksum(&self, compressed: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.to_bytes()[..Self::BYTES - Self::CHECKSUM_BYTES]);
        crc.update(compressed);
        crc.finalize()
    }

    pub(super) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.compressed_bytes.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.json_bytes.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.crc32.to_le_bytes());
        bytes
    }

    /// Reads the preamble of a file and checks it against the file: signature, version, flags,
    /// lengths and checksum, in this order. Returns it with the compressed header.
    pub(super) fn read<R: Read>(source: &mut Source<R>) -> Result<(Self, Vec<u8>), FormatError> {
        let found = source.length();
        let bytes = source.elements::<u8>(found.min(Self::BYTES as u64))?;
        let signature = &bytes[..bytes.len().min(MAGIC.len())];
        if signature != &MAGIC[..signature.len()] || signature.is_empty() {
            return Err(FormatError::Magic);
        }
        let Some(bytes) = bytes.first_chunk::<{ Self::BYTES }>() else {
            return Err(FormatError::Length { found, expected: Self::BYTES as u64 });
        };
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let preamble = Self {
            major: u16_at(8),
            minor: u16_at(10),
            flags: u32_at(12),
            file_bytes: u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32,
            compressed_bytes: u32_at(24),
            json_bytes: u32_at(28),
            crc32: u32_at(32),
        };
        if !(OLDEST_MAJOR_VERSION..=MAJOR_VERSION).contains(&preamble.major) {
            return Err(FormatError::Version { major: preamble.major, minor: preamble.minor });
        }
        if preamble.flags & !FLAG_INTEGERS != 0 {
            return Err(FormatError::Flags(preamble.flags));
        }
        if preamble.file_bytes != found {
            return Err(FormatError::Length { found, expected: preamble.file_bytes });
        }
        let compressed = source.take(preamble.compressed_bytes.into())?.ok_or_else(|| {
            FormatError::Header(format!(
                "{} compressed bytes, expected at most {} in this file",
                preamble.compressed_bytes,
                found - Self::BYTES as u64
            ))
        })?;
        let crc32 = preamble.checksum(&compressed);
        if crc32 != preamble.crc32 {
            return Err(FormatError::Checksum {
                what: "header".into(),
                found: crc32,
                expected: preamble.crc32,
            });
        }
        Ok((preamble, compressed))
    }
}

/// The flags of a file that holds a program.
pub(super) fn flags(program: &Program) -> u32 {
    let integers = program.buffers.iter().any(|buffer| buffer.kind == BufferKind::I16);
    let thresholds =
        program.steps.iter().any(|step| matches!(step.kind, StepKind::Threshold { .. }));
    if integers || thresholds { FLAG_INTEGERS } else { 0 }
}

/// Start of the blob section of a file whose header ends at `header_end`.
pub(super) fn blob_section(header_end: u64) -> u64 {
    header_end.next_multiple_of(BLOB_ALIGNMENT)
}

/// Start of a blob of `bytes` bytes behind one that ends at `previous_end`, both within the blob
/// section.
pub(super) fn blob_offset(previous_end: u64, bytes: u64) -> u64 {
    let alignment = if bytes < SMALL_BLOB_BYTES { SMALL_BLOB_ALIGNMENT } else { BLOB_ALIGNMENT };
    previous_end.next_multiple_of(alignment)
}

/// Length of the blob of a tensor: bits come in words of 64.
///
/// # Errors
/// If the tensor is too large to address.
pub(super) fn blob_bytes(kind: TensorKind, shape: &[u64]) -> Result<u64, String> {
    let elements = shape
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent))
        .filter(|&elements| usize::try_from(elements).is_ok())
        .ok_or_else(|| format!("shape {shape:?} overflows"))?;
    let bytes = match kind {
        TensorKind::F32 | TensorKind::I32 => elements.checked_mul(4),
        TensorKind::F16 => elements.checked_mul(2),
        TensorKind::Bits => Some(elements.div_ceil(64) * 8),
    };
    bytes.ok_or_else(|| format!("more than 2^64 bytes for shape {shape:?}"))
}

/// Compresses the JSON header as a zlib stream.
pub(super) fn compress(json: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(json).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

/// Restores the JSON header. The length is known and limited, so a stream that swells beyond it is
/// abandoned there.
pub(super) fn decompress(compressed: &[u8], json_bytes: u32) -> Result<Vec<u8>, FormatError> {
    if json_bytes > MAX_HEADER_BYTES {
        return Err(FormatError::HeaderTooLarge(json_bytes.into()));
    }
    let mut decoder = ZlibDecoder::new(compressed);
    let mut json = Vec::new();
    (&mut decoder)
        .take(u64::from(json_bytes) + 1)
        .read_to_end(&mut json)
        .map_err(|error| FormatError::Header(format!("zlib: {error}")))?;
    if json.len() != json_bytes as usize {
        return Err(FormatError::Header(format!(
            "{} {} bytes of JSON, expected {json_bytes}",
            if json.len() > json_bytes as usize { "at least" } else { "only" },
            json.len()
        )));
    }
    if decoder.total_in() != compressed.len() as u64 {
        return Err(FormatError::Header(format!(
            "{} bytes after the end of the zlib stream, expected none",
            compressed.len() as u64 - decoder.total_in()
        )));
    }
    Ok(json)
}
