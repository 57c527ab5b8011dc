//! Bytes to program.

use serde::Serialize;

use super::FormatError;
use super::compact::CompactHeader;
use super::header::{
    Entry, FullHeader, Header, Preamble, TensorRecord, blob_bytes, blob_offset, blob_section,
    decompress, flags,
};
use crate::program::{Program, Tensor, TensorData, TensorKind};

/// What a file holds, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// Major and minor version of the format.
    pub version: [u16; 2],
    /// Length of the file.
    pub file_bytes: u64,
    /// Length of the JSON header.
    pub header_bytes: u64,
    /// Length of the JSON header as it lies in the file.
    pub compressed_header_bytes: u64,
    /// CRC-32 of the preamble and the compressed header.
    pub header_crc32: u32,
    /// Start of the blob section, from which the tensors' offsets count.
    pub blob_section: u64,
    /// The tensors, in the order of the file and of [`Program::tensors`].
    pub tensors: Vec<TensorRecord>,
}

/// The program that a file holds.
///
/// The bytes may have any alignment. Everything is checked first: flags, lengths, checksums, places and
/// sizes of the tensors, padding, and the program by [`Program::validate`].
///
/// # Errors
/// A [`FormatError`] that says what is wrong. No input makes this panic.
pub fn read(bytes: &[u8]) -> Result<Program, FormatError> {
    let file = Checked::new(bytes)?;
    let mut program = file.program;
    program.tensors = file
        .tensors
        .into_iter()
        .zip(file.blobs)
        .map(|(record, blob)| to_tensor(record, blob))
        .collect::<Result<_, _>>()?;
    program.validate()?;
    Ok(program)
}

/// Describes a file, after the same checks of the container as [`read`] makes.
///
/// # Errors
/// A [`FormatError`] that says what is wrong. No input makes this panic.
pub fn inspect(bytes: &[u8]) -> Result<FileSummary, FormatError> {
    let file = Checked::new(bytes)?;
    Ok(FileSummary {
        version: [file.preamble.major, file.preamble.minor],
        file_bytes: file.preamble.file_bytes,
        header_bytes: file.preamble.json_bytes.into(),
        compressed_header_bytes: file.preamble.compressed_bytes.into(),
        header_crc32: file.preamble.crc32,
        blob_section: file.blob_section,
        tensors: file.tensors,
    })
}

/// A file whose container holds together: every blob lies where it should and has its checksum.
struct Checked<'a> {
    preamble: Preamble,
    program: Program,
    blob_section: u64,
    tensors: Vec<TensorRecord>,
    /// One for each tensor.
    blobs: Vec<&'a [u8]>,
}

impl<'a> Checked<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let (preamble, compressed) = Preamble::parse(bytes)?;
        let json = decompress(compressed, preamble.json_bytes)?;
        let (Header { program, tensors: entries }, header_end) =
            parse(&json, preamble.major, bytes, Preamble::BYTES + compressed.len())?;
        // Each program has one legal file, and none that a reader may take for an older one.
        if preamble.flags != flags(&program) {
            return Err(FormatError::Flags(preamble.flags));
        }

        let blob_section = blob_section(header_end);
        let Some(section_bytes) = preamble.file_bytes.checked_sub(blob_section) else {
            return Err(FormatError::Length { found: preamble.file_bytes, expected: blob_section });
        };
        check_zero(bytes, header_end as u64, blob_section)?;
        let mut tensors = Vec::with_capacity(entries.len());
        let mut blobs = Vec::with_capacity(entries.len());
        // Relative to the blob section, as the offsets are.
        let mut end = 0;
        for Entry { name, kind, shape, crc32: expected, stated } in entries {
            let fail = |what: String| FormatError::Tensor { name: name.clone(), what };
            let length = blob_bytes(kind, &shape).map_err(fail)?;
            if let Some([_, bytes]) = stated
                && bytes != length
            {
                return Err(fail(format!("{bytes} bytes, expected {length} for shape {shape:?}")));
            }
            // One legal place for each blob: this rules out overlaps, gaps and odd alignments.
            let start = blob_offset(end, length);
            if let Some([offset, _]) = stated
                && offset != start
            {
                return Err(fail(format!("starts at {offset}, expected {start}")));
            }
            let previous_end = end;
            end = match start.checked_add(length) {
                Some(end) if end <= section_bytes => end,
                _ => {
                    return Err(fail(format!(
                        "{length} bytes from {start}, expected at most {section_bytes} in all"
                    )));
                }
            };
            check_zero(bytes, blob_section + previous_end, blob_section + start)?;
            let blob = &bytes[(blob_section + start) as usize..(blob_section + end) as usize];
            let found = crc32fast::hash(blob);
            if found != expected {
                let what = format!("tensor '{name}'");
                return Err(FormatError::Checksum { what, found, expected });
            }
            tensors.push(TensorRecord {
                name,
                kind,
                shape,
                offset: start,
                bytes: length,
                crc32: found,
            });
            blobs.push(blob);
        }
        if end != section_bytes {
            return Err(FormatError::Length {
                found: preamble.file_bytes,
                expected: blob_section + end,
            });
        }
        Ok(Self { preamble, program, blob_section, tensors, blobs })
    }
}

/// What a header says, and where all that belongs to it ends. The JSON of the header ended at `json_end`.
fn parse(
    json: &[u8],
    major: u16,
    file: &[u8],
    json_end: usize,
) -> Result<(Header, usize), FormatError> {
    let fail = |error: serde_json::Error| FormatError::Header(error.to_string());
    if major == 1 {
        let header: FullHeader = serde_json::from_slice(json).map_err(fail)?;
        return Ok((header.into(), json_end));
    }
    let header: CompactHeader = serde_json::from_slice(json).map_err(fail)?;
    // A header of 2^25 bytes has fewer tensors than that.
    let end = json_end + Preamble::CHECKSUM_BYTES * header.tensor_count();
    let checksums = file
        .get(json_end..end)
        .ok_or(FormatError::Length { found: file.len() as u64, expected: end as u64 })?;
    Ok((header.expand(checksums.as_chunks().0)?, end))
}

/// Checks that the bytes from `start` to `end`, both within the file, are zero.
fn check_zero(bytes: &[u8], start: u64, end: u64) -> Result<(), FormatError> {
    if bytes[start as usize..end as usize].iter().any(|&byte| byte != 0) {
        return Err(FormatError::Padding(end));
    }
    Ok(())
}

/// Decodes a blob whose length fits kind and shape.
fn to_tensor(record: TensorRecord, blob: &[u8]) -> Result<Tensor, FormatError> {
    let data = match record.kind {
        TensorKind::F32 => TensorData::F32(elements(blob, f32::from_le_bytes)),
        TensorKind::F16 => TensorData::F16(elements(blob, u16::from_le_bytes)),
        TensorKind::I32 => TensorData::I32(elements(blob, i32::from_le_bytes)),
        TensorKind::Bits => TensorData::Bits(elements(blob, u64::from_le_bytes)),
    };
    // No extent overflows: their product does not, unless one is 0, and then validation refuses.
    let shape =
        record.shape.iter().map(|&extent| usize::try_from(extent)).collect::<Result<_, _>>();
    match shape {
        Ok(shape) => Ok(Tensor { name: record.name, shape, data }),
        Err(_) => Err(FormatError::Tensor {
            what: format!("shape {:?} overflows", record.shape),
            name: record.name,
        }),
    }
}

fn elements<const N: usize, T>(blob: &[u8], decode: fn([u8; N]) -> T) -> Vec<T> {
    blob.as_chunks::<N>().0.iter().map(|&bytes| decode(bytes)).collect()
}
