//! Aligned columns of text.

use crate::{
    exit::Result,
    output::Output,
    terminal::{Style, printable},
};

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// A table with a heading.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with the given headings.
    pub fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell).into_owned()).collect());
    }

    /// The lines of the table, heading first, without trailing blanks.
    pub fn lines(&self) -> Vec<String> {
        let heading: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all = || std::iter::once(&heading).chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|c| all().filter_map(|row| row.get(c)).map(|s| s.chars().count()).max().unwrap_or(0))
            .collect();
        all()
            .map(|row| {
                let mut line = String::new();
                for (cell, (&width, (_, align))) in row.iter().zip(widths.iter().zip(&self.columns)) {
                    if !line.is_empty() {
                        line.push_str("  ");
                    }
                    match align {
                        Align::Left => line.push_str(&format!("{cell:<width$}")),
                        Align::Right => line.push_str(&format!("{cell:>width$}")),
                    }
                }
                line.truncate(line.trim_end().len());
                line
            })
            .collect()
    }

    /// Writes the table, heading in bold.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        for (index, line) in self.lines().iter().enumerate() {
            if index == 0 {
                output.line(style.bold(line))?;
            } else {
                output.line(line)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("name", Align::Left), ("bytes", Align::Right)]);
        table.row(["conv".to_owned(), "1".to_owned()]);
        table.row(["a longer one".to_owned(), "23456789".to_owned()]);
        table.row(["größe".to_owned()]);
        assert_eq!(
            table.lines(),
            [
                "name             bytes",
                "conv                 1",
                "a longer one  23456789",
                "größe",
            ]
        );
    }
}
