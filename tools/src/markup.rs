//! Text from files in HTML.

use crate::terminal::printable;
use std::fmt::{self, Display, Write};

/// Text that stands for itself, between tags or between the quotes of an attribute, whatever it
/// holds. Control characters and marks that reorder the text around them are spelled out.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in printable(self.0).chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Neither has a place in HTML.
                '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A coordinate or a share, short.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1}", self.0);
        f.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}

/// The last `length` characters, the first of them an ellipsis if there are more: the names of
/// layers start alike and end differently.
pub fn shortened(text: &str, length: usize) -> String {
    let count = text.chars().count();
    if count <= length {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count + 1 - length.max(1)).collect();
    format!("…{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_file_becomes_a_tag() {
        let text = Escaped("<b a=\"1\" c='2'>&amp;\x1b\u{202e}\n").to_string();
        assert_eq!(text, "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;\\u{1b}\\u{202e} ");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(Number(3.0).to_string(), "3");
        assert_eq!(Number(0.25).to_string(), "0.2");
        assert_eq!(Number(-1.5).to_string(), "-1.5");
    }

    #[test]
    fn long_names_start_with_an_ellipsis() {
        assert_eq!(shortened("größe", 5), "größe");
        assert_eq!(shortened("größer", 5), "…ößer");
        assert_eq!(shortened("größer", 0), "…");
    }
}
