//! Program to bytes.

use super::compact::CompactHeader;
use super::header::{Preamble, blob_offset, blob_section, compress, flags};
use super::{FormatError, MAX_HEADER_BYTES};
use crate::program::{Program, Tensor, TensorData};

/// The bytes of the file that holds `program`.
///
/// # Errors
/// [`FormatError::Program`] if the program is not valid, so that nothing is written that could not
/// be read; [`FormatError::HeaderTooLarge`].
pub fn write(program: &Program) -> Result<Vec<u8>, FormatError> {
    program.validate()?;
    let blobs: Vec<Vec<u8>> = program.tensors.iter().map(to_bytes).collect();
    let json = serde_json::to_vec(&CompactHeader::new(program)?)
        .map_err(|error| FormatError::Header(error.to_string()))?;
    let json_bytes = u32::try_from(json.len())
        .ok()
        .filter(|&bytes| bytes <= MAX_HEADER_BYTES)
        .ok_or(FormatError::HeaderTooLarge(json.len() as u64))?;
    let compressed = compress(&json);
    let checksums_start = Preamble::BYTES + compressed.len();
    let blob_section =
        blob_section((checksums_start + Preamble::CHECKSUM_BYTES * blobs.len()) as u64);
    // Relative to the blob section.
    let mut end = 0;
    let mut offsets = Vec::with_capacity(blobs.len());
    for blob in &blobs {
        let offset = blob_offset(end, blob.len() as u64);
        offsets.push(offset);
        end = offset + blob.len() as u64;
    }
    let file_bytes = blob_section + end;

    let mut file = Vec::with_capacity(file_bytes as usize);
    file.extend(Preamble::new(flags(program), file_bytes, &compressed, json_bytes).to_bytes());
    file.extend(&compressed);
    file.extend(blobs.iter().flat_map(|blob| crc32fast::hash(blob).to_le_bytes()));
    for (blob, offset) in blobs.iter().zip(offsets) {
        file.resize((blob_section + offset) as usize, 0);
        file.extend(blob);
    }
    file.resize(file_bytes as usize, 0);
    Ok(file)
}

fn to_bytes(tensor: &Tensor) -> Vec<u8> {
    match &tensor.data {
        TensorData::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        TensorData::F16(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        TensorData::I32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        TensorData::Bits(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
    }
}
