//! Bytes to program.

use std::io::Read;

use bytemuck::Pod;
use serde::Serialize;

use super::FormatError;
use super::compact::CompactHeader;
use super::header::{
    Entry, FullHeader, Header, Preamble, TensorRecord, blob_bytes, blob_offset, blob_section,
    decompress, flags,
};
use super::source::Source;
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
    read_from(bytes, bytes.len() as u64)
}

/// The program that a file of `length` bytes holds, read once from its start to its end. After the same
/// checks as [`read`] makes.
///
/// # Errors
/// As [`read`], and [`FormatError::Read`].
pub fn read_from(reader: impl Read, length: u64) -> Result<Program, FormatError> {
    let Checked { mut program, tensors, data, .. } = Checked::new(Source::new(reader, length))?;
    program.tensors = tensors
        .into_iter()
        .zip(data)
        .map(|(record, data)| to_tensor(record, data))
        .collect::<Result<_, _>>()?;
    program.validate()?;
    Ok(program)
}

/// Describes a file, after the same checks of the container as [`read`] makes.
///
/// # Errors
/// A [`FormatError`] that says what is wrong. No input makes this panic.
pub fn inspect(bytes: &[u8]) -> Result<FileSummary, FormatError> {
    let file = Checked::new(Source::new(bytes, bytes.len() as u64))?;
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
struct Checked {
    preamble: Preamble,
    program: Program,
    blob_section: u64,
    tensors: Vec<TensorRecord>,
    /// One for each tensor.
    data: Vec<TensorData>,
}

impl Checked {
    fn new<R: Read>(mut source: Source<R>) -> Result<Self, FormatError> {
        let (preamble, compressed) = Preamble::read(&mut source)?;
        let json = decompress(&compressed, preamble.json_bytes)?;
        let Header { program, tensors: entries } = parse(&json, preamble.major, &mut source)?;
        // Each program has one legal file, and none that a reader may take for an older one.
        if preamble.flags != flags(&program) {
            return Err(FormatError::Flags(preamble.flags));
        }

        let blob_section = blob_section(source.position());
        let Some(section_bytes) = preamble.file_bytes.checked_sub(blob_section) else {
            return Err(FormatError::Length { found: preamble.file_bytes, expected: blob_section });
        };
        skip_zeros(&mut source, blob_section)?;
        let mut tensors = Vec::with_capacity(entries.len());
        let mut data = Vec::with_capacity(entries.len());
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
            end = match start.checked_add(length) {
                Some(end) if end <= section_bytes => end,
                _ => {
                    return Err(fail(format!(
                        "{length} bytes from {start}, expected at most {section_bytes} in all"
                    )));
                }
            };
            skip_zeros(&mut source, blob_section + start)?;
            let (blob, found) = read_blob(&mut source, kind, length)?;
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
            data.push(blob);
        }
        if end != section_bytes {
            return Err(FormatError::Length {
                found: preamble.file_bytes,
                expected: blob_section + end,
            });
        }
        Ok(Self { preamble, program, blob_section, tensors, data })
    }
}

/// What a header says, with all that belongs to it. The JSON of the header has been read.
fn parse<R: Read>(json: &[u8], major: u16, source: &mut Source<R>) -> Result<Header, FormatError> {
    let fail = |error: serde_json::Error| FormatError::Header(error.to_string());
    if major == 1 {
        let header: FullHeader = serde_json::from_slice(json).map_err(fail)?;
        return Ok(header.into());
    }
    let header: CompactHeader = serde_json::from_slice(json).map_err(fail)?;
    // A header of 2^25 bytes has fewer tensors than that.
    let bytes = (Preamble::CHECKSUM_BYTES * header.tensor_count()) as u64;
    let (found, expected) = (source.length(), source.position() + bytes);
    let checksums = source.take(bytes)?.ok_or(FormatError::Length { found, expected })?;
    header.expand(checksums.as_chunks().0)
}

/// Reads the bytes up to `end`, which lies within the file, and checks that they are zero.
fn skip_zeros<R: Read>(source: &mut Source<R>, end: u64) -> Result<(), FormatError> {
    let padding: Vec<u8> = source.elements(end - source.position())?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(FormatError::Padding(end));
    }
    Ok(())
}

/// Reads a blob, which ends within the file, and returns its checksum with it.
fn read_blob<R: Read>(
    source: &mut Source<R>,
    kind: TensorKind,
    length: u64,
) -> Result<(TensorData, u32), FormatError> {
    Ok(match kind {
        TensorKind::F32 => {
            let (elements, crc32) =
                read_elements(source, length, |v: f32| f32::from_bits(u32::from_le(v.to_bits())))?;
            (TensorData::F32(elements), crc32)
        }
        TensorKind::F16 => {
            let (elements, crc32) = read_elements(source, length, u16::from_le)?;
            (TensorData::F16(elements), crc32)
        }
        TensorKind::I32 => {
            let (elements, crc32) = read_elements(source, length, i32::from_le)?;
            (TensorData::I32(elements), crc32)
        }
        TensorKind::Bits => {
            let (elements, crc32) = read_elements(source, length, u64::from_le)?;
            (TensorData::Bits(elements), crc32)
        }
    })
}

/// Reads `length` bytes of little-endian numbers.
fn read_elements<R: Read, T: Pod>(
    source: &mut Source<R>,
    length: u64,
    from_little_endian: fn(T) -> T,
) -> Result<(Vec<T>, u32), FormatError> {
    let mut elements: Vec<T> = source.elements(length / size_of::<T>() as u64)?;
    let crc32 = crc32fast::hash(bytemuck::cast_slice(&elements));
    if cfg!(target_endian = "big") {
        elements.iter_mut().for_each(|element| *element = from_little_endian(*element));
    }
    Ok((elements, crc32))
}

/// A tensor of data whose length fits kind and shape.
fn to_tensor(record: TensorRecord, data: TensorData) -> Result<Tensor, FormatError> {
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
