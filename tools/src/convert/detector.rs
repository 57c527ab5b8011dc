//! How a network that finds objects says what its outputs mean: a file for `--detector`, or the catalogue.

use crate::exit::{Failure, Result};
use bnn::program::Detector;
use std::{fs, path::Path};

/// Reads a detector. What the file says beyond that is most likely a slip of the pen, and refused.
pub(super) fn read(path: &Path) -> Result<Detector> {
    let text = fs::read_to_string(path).map_err(|error| Failure::input(path, error))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut unknown = Vec::new();
    let mut source = serde_json::Deserializer::from_str(text);
    let detector = serde_ignored::deserialize(&mut source, |field| unknown.push(field.to_string()))
        .and_then(|detector| source.end().map(|()| detector))
        .map_err(|error| Failure::input(path, error))?;
    match unknown.first() {
        None => Ok(detector),
        Some(field) => Err(Failure::input(
            path,
            format_args!(
                "unknown field '{field}', expected maps (size, step, shapes), variances, score_threshold, \
                 overlap_threshold, candidates, boxes"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Detector, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes.json");
        fs::write(&path, text).unwrap();
        read(&path).map_err(|failure| match failure {
            Failure::Error { message, .. } => message,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn what_is_not_said_has_a_default_and_what_is_not_known_is_refused() {
        let map = r#"{"size": [2, 3], "step": [8, 8], "shapes": [[8, 8.5]]}"#;
        let detector = read_text(&format!(r#"{{"maps": [{map}], "boxes": 7}}"#)).unwrap();
        assert_eq!((detector.anchors(), detector.boxes, detector.candidates), (6, 7, 400));
        for (text, expected) in [
            (format!(r#"{{"maps": [{map}], "box": 7}}"#), "unknown field 'box'"),
            (r#"{"maps": [{"size": [2, 3], "step": [8, 8]}]}"#.into(), "missing field `shapes`"),
            (format!(r#"{{"maps": [{map}]}} {{}}"#), "trailing characters"),
            ("[1".into(), "line 1"),
            (String::new(), "EOF"),
        ] {
            let message = read_text(&text).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("boxes.json"), "{message}");
        }
    }
}
