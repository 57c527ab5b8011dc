//! Standard output: results and nothing else.

use crate::exit::{Failure, Result};
use serde::Serialize;
use std::{
    fmt,
    io::{BufWriter, StdoutLock, Write, stdout},
};

/// Standard output, written in large pieces. Whatever is left is written by [`Output::flush`].
#[derive(Debug)]
pub struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    /// Takes hold of standard output.
    pub fn new() -> Self {
        Self(BufWriter::new(stdout().lock()))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If nobody reads, or it cannot be written.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.0, "{line}").map_err(|error| Failure::output(&error))
    }

    /// Writes a document in a line of its own.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn json(&mut self, document: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.0, document)
            .map_err(|error| Failure::output(&error.into()))?;
        self.line("")
    }

    /// Hands everything written so far to the reader.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush().map_err(|error| Failure::output(&error))
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}
