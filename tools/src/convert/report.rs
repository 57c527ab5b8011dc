//! What the conversion did, as a document and as a table.

use super::layer_check::LayerCheck;
use crate::{
    exit::Result,
    output::Output,
    table::{Align, Table},
    terminal::{self, Style, printable},
    verification::Verification,
};
use bnn::convert::Report;
use serde::Serialize;

/// Everything that is known about one conversion.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    /// The file written.
    pub(super) output: String,
    /// Its length.
    pub(super) bytes: u64,
    /// Length of the file read.
    pub(super) input_bytes: u64,
    /// What became of the layers.
    #[serde(flatten)]
    pub(super) report: &'a Report,
    /// The comparison with golden outputs, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verification: Option<&'a Verification>,
    /// The comparison with the float graph, if there was one: every tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer_comparison: Option<&'a LayerCheck>,
}

impl Document<'_> {
    /// Writes tables and totals for people.
    pub(super) fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        self.table().write(output, style)?;
        let Report { binary_layers, float_layers, storage_mbit, macs, warnings, notes, .. } =
            self.report;
        output.line("")?;
        output.line(format_args!(
            "{binary_layers} binary and {float_layers} float layers, {} binary and {} float MACs an \
             image, {storage_mbit:.2} Mbit of weights",
            terminal::quantity(macs.binary),
            terminal::quantity(macs.float)
        ))?;
        for (what, lines) in [("warning", warnings), ("note", notes)] {
            for line in lines {
                output.line(format_args!("{}: {}", style.bold(what), printable(line)))?;
            }
        }
        self.write_verification(output, style)?;
        output.line(format_args!(
            "{}: {}, from {} ({:.1} times smaller)",
            style.bold(&printable(&self.output)),
            terminal::bytes(self.bytes),
            terminal::bytes(self.input_bytes),
            self.input_bytes as f64 / self.bytes.max(1) as f64
        ))
    }

    /// Writes what was verified, if anything was.
    pub(super) fn write_verification(&self, output: &mut Output, style: Style) -> Result<()> {
        if let Some(verification) = self.verification {
            verification.write(output, style)?;
        }
        if let Some(layers) = self.layer_comparison {
            layers.write(output, style)?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new([
            ("layer", Left),
            ("kind", Left),
            ("input", Left),
            ("output", Left),
            ("as", Left),
            ("bytes before", Right),
            ("after", Right),
            ("MACs", Right),
            ("binary", Left),
        ]);
        for layer in &self.report.layers {
            let why_not = layer.reason.as_deref().map_or("no".into(), |why| format!("no: {why}"));
            table.row([
                layer.name.clone(),
                layer.kind.clone(),
                terminal::shape(&layer.input_shape),
                terminal::shape(&layer.output_shape),
                layer.output.clone(),
                layer.bytes_before.to_string(),
                layer.bytes_after.to_string(),
                terminal::quantity(layer.macs),
                if layer.binary { "yes".to_owned() } else { why_not },
            ]);
        }
        let sum = |bytes: fn(&bnn::convert::LayerReport) -> usize| {
            self.report.layers.iter().map(bytes).sum::<usize>().to_string()
        };
        table.row([
            "total".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            sum(|layer| layer.bytes_before),
            sum(|layer| layer.bytes_after),
            terminal::quantity(self.report.macs.binary + self.report.macs.float),
        ]);
        table
    }
}
