//! What the conversion did, as a document and as a table.

use super::{
    layer_check::LayerCheck,
    remarks,
    zeros::{self, Source},
};
use crate::{
    exit::Result,
    output::Output,
    table::{Align, Table},
    terminal::{self, Style, printable},
    verification::Verification,
};
use bnn::convert::{LayerReport, Precision, Report};
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
    /// The input in which zeros were counted, if a layer is not binary for what it reads: a file, or
    /// `made up`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "source_name")]
    pub(super) zeros_counted_in: Option<Source>,
    /// The comparison with golden outputs, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verification: Option<&'a Verification>,
    /// The comparison with the float graph, if there was one: every tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer_comparison: Option<&'a LayerCheck>,
}

fn source_name<S: serde::Serializer>(
    source: &Option<Source>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    source.as_ref().map(|source| &source.name).serialize(serializer)
}

impl Document<'_> {
    /// Writes tables and totals for people.
    pub(super) fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        self.table().write(output, style)?;
        let Report { storage_mbit, macs, warnings, notes, .. } = self.report;
        output.line("")?;
        output.line(format_args!(
            "{}, {} binary and {} float MACs an image, {storage_mbit:.2} Mbit of weights",
            layer_counts(self.report),
            terminal::quantity(macs.binary),
            terminal::quantity(macs.float)
        ))?;
        for (what, lines) in [("warning", warnings), ("note", notes)] {
            for remark in remarks::grouped(lines) {
                output.line(format_args!("{}: {}", style.bold(what), printable(&remark.text())))?;
            }
        }
        self.write_verification(output, style)?;
        output.line(format_args!(
            "{}: {}, from {} ({})",
            style.bold(&printable(&self.output)),
            terminal::bytes(self.bytes),
            terminal::bytes(self.input_bytes),
            change(self.input_bytes, self.bytes)
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
            table.row([
                layer.name.clone(),
                layer.kind.clone(),
                terminal::shape(&layer.input_shape),
                terminal::shape(&layer.output_shape),
                layer.output.clone(),
                layer.bytes_before.to_string(),
                layer.bytes_after.to_string(),
                terminal::quantity(layer.macs),
                verdict(layer, self.zeros_counted_in.as_ref()),
            ]);
        }
        table.row([
            "total".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            self.report.weight_bytes.before.to_string(),
            self.report.weight_bytes.after.to_string(),
            terminal::quantity(self.report.macs.binary + self.report.macs.float),
        ]);
        table
    }
}

/// How much smaller something became; small networks have more header than weights.
pub(super) fn change(before: u64, after: u64) -> String {
    let ratio = |large: u64, small: u64| large as f64 / small.max(1) as f64;
    if after > before {
        format!("{:.1} times larger", ratio(after, before))
    } else {
        format!("{:.1} times smaller", ratio(before, after))
    }
}

/// How many layers are binary, and how many are not.
pub(super) fn layer_counts(report: &Report) -> String {
    let Report { binary_layers, float_layers, weight_only_layers, .. } = report;
    let counts = format!("{binary_layers} binary and {float_layers} float layers");
    match weight_only_layers {
        0 => counts,
        some => format!("{counts} ({some} of them with binary weights)"),
    }
}

/// Whether a layer is binary, and why not.
fn verdict(layer: &LayerReport, zeros_counted_in: Option<&Source>) -> String {
    let answer = match layer.precision() {
        Precision::Binary => return "yes".to_owned(),
        Precision::WeightsOnly => "weights only",
        Precision::Float => "no",
    };
    match zeros::reason(layer, zeros_counted_in) {
        Some(reason) => format!("{answer}: {reason}"),
        None => answer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_both_directions() {
        assert_eq!(change(3000, 100), "30.0 times smaller");
        assert_eq!(change(364, 548), "1.5 times larger");
        assert_eq!(change(0, 7), "7.0 times larger");
    }
}
