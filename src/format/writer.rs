//! Program to bytes.

use super::header::{
    HeaderRef, Preamble, TensorRecord, blob_offset, blob_section, compress, flags,
};
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
    let mut records: Vec<TensorRecord> = program
        .tensors
        .iter()
        .zip(&blobs)
        .map(|(tensor, blob)| TensorRecord {
            name: tensor.name.clone(),
            kind: tensor.kind(),
            shape: tensor.shape.iter().map(|&extent| extent as u64).collect(),
            offset: 0,
            bytes: blob.len() as u64,
            crc32: crc32fast::hash(blob),
        })
        .collect();
    let mut blob_section_bytes = 0;
    for record in &mut records {
        record.offset = blob_offset(blob_section_bytes, record.bytes);
        blob_section_bytes = record.offset + record.bytes;
    }
    let json = serde_json::to_vec(&HeaderRef { program, tensors: &records })
        .map_err(|error| FormatError::Header(error.to_string()))?;
    let json_bytes = u32::try_from(json.len())
        .ok()
        .filter(|&bytes| bytes <= MAX_HEADER_BYTES)
        .ok_or(FormatError::HeaderTooLarge(json.len() as u64))?;
    let compressed = compress(&json);
    let blob_section = blob_section(Preamble::BYTES + compressed.len());
    let file_bytes = blob_section + blob_section_bytes;

    let mut file = Vec::with_capacity(file_bytes as usize);
    file.extend(Preamble::new(flags(program), file_bytes, &compressed, json_bytes).to_bytes());
    file.extend(&compressed);
    file.resize(blob_section as usize, 0);
    for (record, blob) in records.iter().zip(&blobs) {
        file.resize((blob_section + record.offset) as usize, 0);
        file.extend(blob);
    }
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
