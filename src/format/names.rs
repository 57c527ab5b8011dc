//! Names relative to names: of steps and blocks to the one before in their list (front coding), of tensors
//! to the step that they belong to.
//!
//! A few bytes of header can then stand for long names many times over, so all names together are limited
//! before any of them is put together.

use serde::{Deserialize, Serialize};

use super::{FormatError, MAX_HEADER_BYTES};

/// A name as `[shared, rest]`: the first `shared` bytes of the name before it in the list (of nothing for the
/// first one), then `rest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrontCoded(usize, String);

impl FrontCoded {
    pub(super) fn new(previous: &str, name: &str) -> Self {
        let pairs = previous.chars().zip(name.chars());
        let shared =
            pairs.take_while(|(before, after)| before == after).map(|(c, _)| c.len_utf8()).sum();
        Self(shared, name[shared..].to_owned())
    }
}

/// What the names of a header may still take, in bytes.
#[derive(Debug)]
pub(super) struct Names {
    left: usize,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { left: MAX_HEADER_BYTES as usize }
    }

    /// Counts a name of this many bytes.
    ///
    /// # Errors
    /// If there is no room left for it.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), FormatError> {
        let left = self.left.checked_sub(bytes).ok_or_else(|| {
            FormatError::Header(format!("more than {MAX_HEADER_BYTES} bytes of names"))
        })?;
        self.left = left;
        Ok(())
    }

    /// The name that follows `previous`.
    ///
    /// # Errors
    /// If the one before has no such beginning, or all are too long.
    pub(super) fn restore(
        &mut self,
        previous: &str,
        coded: &FrontCoded,
    ) -> Result<String, FormatError> {
        let FrontCoded(shared, rest) = coded;
        let start = previous.get(..*shared).ok_or_else(|| {
            FormatError::Header(format!(
                "a name shares {shared} bytes with one of {}, or ends within a character of it",
                previous.len()
            ))
        })?;
        self.join([start, "", rest])
    }

    /// Pieces as one name.
    ///
    /// # Errors
    /// If all names are too long.
    pub(super) fn join(&mut self, pieces: [&str; 3]) -> Result<String, FormatError> {
        // Strings in memory: their lengths add up without overflow.
        self.take(pieces.iter().map(|piece| piece.len()).sum())?;
        Ok(pieces.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_their_beginning_with_the_one_before() {
        let names = ["layer1.0.conv", "layer1.0.bn", "layer1.10", "", "größe", "grüße", "grüße"];
        let shared = [0, 9, 7, 0, 0, 2, 7];
        let mut room = Names::new();
        let mut previous = "";
        for (name, shared) in names.into_iter().zip(shared) {
            let coded = FrontCoded::new(previous, name);
            assert_eq!(coded.0, shared, "{name} after {previous}");
            assert_eq!(room.restore(previous, &coded).unwrap(), name);
            previous = name;
        }
    }

    #[test]
    fn what_the_name_before_does_not_have_is_refused() {
        let mut room = Names::new();
        // Beyond its end, and between the two bytes of a character.
        for (previous, shared) in [("", 1), ("abc", 4), ("abc", usize::MAX), ("grö", 3)] {
            let error = room.restore(previous, &FrontCoded(shared, "x".into())).unwrap_err();
            assert!(error.to_string().contains("a name shares"), "{error}");
        }
    }

    #[test]
    fn all_names_together_are_limited() {
        let mut room = Names::new();
        let long = "x".repeat(1 << 20);
        let again = FrontCoded::new(&long, &long);
        for _ in 0..32 {
            assert_eq!(room.restore(&long, &again).unwrap(), long);
        }
        let error = room.restore(&long, &again).unwrap_err();
        assert!(error.to_string().contains("bytes of names"), "{error}");
    }
}
