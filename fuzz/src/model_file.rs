//! `.bnn` files.
//!
//! The first byte says how the file is made of the others. If it is even, they are the file. If it is
//! odd, they are its contents: the JSON header up to a zero byte, then the bytes of the tensors one after
//! the other. Lengths, places and checksums are then worked out, so that changed bytes reach what lies
//! behind those checks.

use super::exercise::exercise;
use bnn::{
    Model,
    format::{BLOB_ALIGNMENT, FLAG_INTEGERS, MAGIC, SMALL_BLOB_ALIGNMENT, SMALL_BLOB_BYTES},
    format::{inspect, read},
    vision::Image,
};
use flate2::{Compression, write::ZlibEncoder};
use serde_json::{Value, json};
use std::io::Write as _;

/// Most bytes of tensors in a file that is put together.
const MOST_BYTES: u64 = 1 << 20;

/// Most bytes of a picture after resizing.
const MOST_PIXELS: u64 = 1 << 20;

/// Reads the file; if it is good, writes, reads and runs its program, and shows it a picture.
///
/// # Panics
/// If anything is wrong with the library.
pub fn check(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    if how % 2 == 0 {
        check_file(rest);
    } else if let Some(file) = put_together(data) {
        check_file(&file);
    }
}

fn check_file(file: &[u8]) {
    let summary = inspect(file);
    let Ok(program) = read(file) else { return };
    assert!(summary.is_ok_and(|summary| summary.tensors.len() == program.tensors.len()));
    exercise(&program);
    let model = Model::from_program(program).expect("what was read is valid");
    let Some(preprocessing) = model.preprocessing() else { return };
    let side = |side: u32| u64::from(side);
    let pixels = match preprocessing.resize {
        None => 0,
        Some(bnn::program::Resize::Exact { width, height }) => side(width) * side(height),
        // The picture is twice as wide as high.
        Some(bnn::program::Resize::Shorter(shorter)) => 2 * side(shorter) * side(shorter),
    };
    let values: usize = model.inputs().iter().map(|port| port.elements()).max().unwrap_or(0);
    if pixels <= MOST_PIXELS && values as u64 <= MOST_PIXELS {
        let image = Image::new(6, 3, (0..54).collect()).expect("three bytes for each pixel");
        let _ = model.preprocess(&image);
    }
}

/// The file of a header and tensors; nothing if the header is no JSON of tensors. Bits 1 and 2 of the
/// first byte make it version 1 and leave a wrong flag.
pub fn put_together(data: &[u8]) -> Option<Vec<u8>> {
    let (&how, contents) = data.split_first()?;
    let end = contents.iter().position(|&byte| byte == 0).unwrap_or(contents.len());
    let (json, mut blobs) = (&contents[..end], contents.get(end + 1..).unwrap_or_default());
    let major: u16 = if how & 2 == 0 { 2 } else { 1 };
    let mut header: Value = serde_json::from_slice(json).ok()?;

    // Relative to the section.
    let mut section = Vec::new();
    let mut checksums = Vec::new();
    for tensor in header.get_mut("tensors")?.as_array_mut()? {
        let bytes = blob_bytes(tensor)?;
        let alignment =
            if bytes < SMALL_BLOB_BYTES { SMALL_BLOB_ALIGNMENT } else { BLOB_ALIGNMENT };
        let start = (section.len() as u64).next_multiple_of(alignment);
        if start + bytes > MOST_BYTES {
            return None;
        }
        section.resize(start as usize, 0);
        let (own, others) = blobs.split_at(blobs.len().min(bytes as usize));
        blobs = others;
        section.extend(own);
        section.resize((start + bytes) as usize, 0);
        let crc32 = crc32fast::hash(&section[start as usize..]);
        if major == 1 {
            let tensor = tensor.as_object_mut()?;
            tensor.insert("offset".into(), json!(start));
            tensor.insert("bytes".into(), json!(bytes));
            tensor.insert("crc32".into(), json!(crc32));
        } else {
            checksums.extend(crc32.to_le_bytes());
        }
    }

    let mut flags = if has_integers(&header) { FLAG_INTEGERS } else { 0 };
    flags ^= u32::from(how & 4 != 0);
    // The text itself where nothing in it had to be set: its spelling is part of what is tried.
    let written = if major == 1 { serde_json::to_vec(&header).ok()? } else { json.to_vec() };
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(&written).ok()?;
    let compressed = encoder.finish().ok()?;

    let mut file = MAGIC.to_vec();
    file.extend(major.to_le_bytes());
    file.extend(0_u16.to_le_bytes());
    file.extend(flags.to_le_bytes());
    let header_bytes = 36 + compressed.len() + checksums.len();
    let section_start = (header_bytes as u64).next_multiple_of(BLOB_ALIGNMENT);
    file.extend((section_start + section.len() as u64).to_le_bytes());
    file.extend(u32::try_from(compressed.len()).ok()?.to_le_bytes());
    file.extend(u32::try_from(written.len()).ok()?.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&file);
    crc.update(&compressed);
    file.extend(crc.finalize().to_le_bytes());
    file.extend(compressed);
    file.extend(checksums);
    file.resize(section_start as usize, 0);
    file.extend(section);
    Some(file)
}

/// Length of the blob of an entry of the header.
fn blob_bytes(tensor: &Value) -> Option<u64> {
    let elements = tensor
        .get("shape")?
        .as_array()?
        .iter()
        .try_fold(1_u64, |product, extent| product.checked_mul(extent.as_u64()?))?;
    match tensor.get("kind")?.as_str()? {
        "f32" | "i32" => elements.checked_mul(4),
        "f16" => elements.checked_mul(2),
        "bits" => Some(elements.div_ceil(64) * 8),
        _ => None,
    }
}

/// Whether a header has what the flag of integers stands for.
fn has_integers(header: &Value) -> bool {
    let list = |key: &str| header["program"][key].as_array().into_iter().flatten();
    list("buffers").any(|buffer| buffer.get("i16").is_some() || buffer["kind"] == "i16")
        || list("steps").any(|step| step["kind"].get("threshold").is_some())
}

/// Takes a file apart into what [`check`] puts together again: a seed for the fuzzer.
///
/// # Panics
/// If it is no good file.
pub fn take_apart(file: &[u8]) -> Vec<u8> {
    let summary = inspect(file).expect("a good file");
    let mut json = Vec::new();
    let compressed = &file[36..36 + summary.compressed_header_bytes as usize];
    let mut decoder = flate2::read::ZlibDecoder::new(compressed);
    std::io::Read::read_to_end(&mut decoder, &mut json).expect("a good header");
    let mut contents = vec![if summary.version[0] == 1 { 3 } else { 1 }];
    contents.extend(json);
    contents.push(0);
    for tensor in &summary.tensors {
        let start = (summary.blob_section + tensor.offset) as usize;
        contents.extend(&file[start..start + tensor.bytes as usize]);
    }
    contents
}
