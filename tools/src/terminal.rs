//! What a person sees: bars, colours, sizes, and text from files made harmless.

use std::{
    borrow::Cow,
    io::{IsTerminal, stdout},
};

/// Colours, or none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Without any colour.
    pub const PLAIN: Self = Self { colour: false };

    /// Colours if standard output is a terminal that understands them and `NO_COLOR` is not set.
    pub fn of_standard_output() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    fn paint<'a>(self, code: &str, text: &'a str) -> Cow<'a, str> {
        if self.colour {
            Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// For titles.
    pub fn bold(self, text: &str) -> Cow<'_, str> {
        self.paint("1", text)
    }

    /// For what matters less.
    pub fn dim(self, text: &str) -> Cow<'_, str> {
        self.paint("2", text)
    }

    /// For bars.
    pub fn accent(self, text: &str) -> Cow<'_, str> {
        self.paint("36", text)
    }

    /// For what went well.
    pub fn good(self, text: &str) -> Cow<'_, str> {
        self.paint("32", text)
    }

    /// For what did not.
    pub fn bad(self, text: &str) -> Cow<'_, str> {
        self.paint("31", text)
    }
}

/// A bar of `width` characters at full length, in steps of an eighth of a character. Fractions
/// outside 0 to 1 (and NaN) are drawn as the nearest bound.
pub fn bar(fraction: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let steps = (fraction.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(steps / 8);
    if let rest @ 1.. = steps % 8 {
        bar.push(EIGHTHS[rest]);
    }
    bar
}

/// A number of bytes, in units of 1000 bytes and more.
pub fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

/// A number of operations with an SI prefix and four digits.
pub fn quantity(count: u64) -> String {
    let value = count as f64;
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1} k", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", value / 1e6),
        _ => format!("{:.2} G", value / 1e9),
    }
}

/// Milliseconds with three significant digits or so.
pub fn milliseconds(value: f64) -> String {
    match value {
        v if v < 0.1 => format!("{:.1} µs", v * 1e3),
        v if v < 10.0 => format!("{v:.2} ms"),
        v if v < 1000.0 => format!("{v:.1} ms"),
        v => format!("{:.2} s", v / 1e3),
    }
}

/// A shape as people write it: `3x224x224`.
pub fn shape(dimensions: &[usize]) -> String {
    if dimensions.is_empty() {
        return "scalar".to_owned();
    }
    dimensions.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// The text in one line and without control characters: file names, labels and layer names come
/// from outside and must not steer the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Besides the control characters: marks that reorder or hide the text around them.
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            c if harmful(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 1), "▌");
        assert_eq!(bar(7.0 / 8.0, 2), "█▊");
        assert_eq!(bar(2.0, 3), "███");
        assert_eq!(bar(-1.0, 3), "");
        assert_eq!(bar(f64::NAN, 3), "");
    }

    #[test]
    fn units() {
        assert_eq!(bytes(9_999), "9999 B");
        assert_eq!(bytes(3_537_144), "3.54 MB");
        assert_eq!(quantity(1_814_073_344), "1.81 G");
        assert_eq!(milliseconds(0.0421), "42.1 µs");
        assert_eq!(milliseconds(2.5), "2.50 ms");
        assert_eq!(shape(&[3, 224, 224]), "3x224x224");
        assert_eq!(shape(&[]), "scalar");
    }

    #[test]
    fn names_from_files_cannot_steer_the_terminal() {
        assert_eq!(printable("plain é 猫"), "plain é 猫");
        assert_eq!(printable("a\nb\x1b[2Jc"), "a b\\u{1b}[2Jc");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn plain_style_adds_nothing() {
        assert_eq!(Style::PLAIN.bold("x"), "x");
        assert_eq!(Style { colour: true }.bold("x"), "\x1b[1mx\x1b[0m");
    }
}
