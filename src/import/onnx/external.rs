//! Tensors whose data stands in another file.

use super::proto::StringStringEntryProto;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

/// The bytes of a tensor, `expected` of them.
///
/// The file must lie in the model's folder: its path is relative, without `..`, and leads there
/// after symbolic links are followed. Offset and length are checked against its size before memory is
/// taken.
pub(super) fn read(
    entries: &[StringStringEntryProto],
    base_dir: Option<&Path>,
    expected: usize,
) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        let found = entries.iter().find(|entry| entry.key.as_deref() == Some(key));
        found.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| {
        let parse = |value: &str| {
            value.parse::<u64>().map_err(|_| format!("external {key} `{value}` is not a number"))
        };
        entry(key).map(parse).transpose()
    };
    let location = entry("location").ok_or("external data without a location")?;
    let offset = number("offset")?.unwrap_or(0);
    let wanted = expected as u64;
    if let Some(length) = number("length")?.filter(|&length| length != wanted) {
        return Err(format!("takes {wanted} bytes, `{location}` is said to hold {length}"));
    }

    let base_dir = base_dir.ok_or_else(|| {
        format!("is kept in `{location}`, but the model does not come from a folder")
    })?;
    let relative = Path::new(location);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let outside = || format!("is kept in `{location}`, which is outside of the model's folder");
    if !inside || location.is_empty() {
        return Err(outside());
    }
    let cannot_read = |error: std::io::Error| format!("`{location}` cannot be read: {error}");
    let folder = base_dir.canonicalize().map_err(cannot_read)?;
    let path = folder.join(relative).canonicalize().map_err(cannot_read)?;
    if !path.starts_with(&folder) {
        return Err(outside());
    }
    // Opening a pipe would wait for a writer.
    let metadata = path.metadata().map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(format!("`{location}` is not a file"));
    }
    let end = offset.checked_add(wanted);
    if end.is_none_or(|end| end > metadata.len()) {
        return Err(format!(
            "takes {wanted} bytes from {offset} on in `{location}`, which has {}",
            metadata.len()
        ));
    }
    let mut file = File::open(&path).map_err(cannot_read)?;
    file.seek(SeekFrom::Start(offset)).map_err(cannot_read)?;
    let mut bytes = vec![0; expected];
    file.read_exact(&mut bytes).map_err(cannot_read)?;
    Ok(bytes)
}
