//! `bnn-convert archs`: the catalogue of architectures, and what each costs.

use super::source;
use crate::{
    exit::{Failure, Result, Status},
    output::Output,
    table::{Align, Table},
    terminal::{self, Style},
};
use bnn::{
    Model, SessionOptions,
    architecture::{Architecture, Cost},
    convert::{ConvertOptions, convert},
    format,
    program::Metadata,
};
use bnn_models::{Entry, catalogue, catalogue::Paper};
use serde::Serialize;
use std::collections::BTreeMap;

/// Shows the architectures that --arch knows, and what they cost
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One architecture; all of them when left out
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print its graph, in the form that `bnn-convert --graph` reads
    #[arg(long, requires = "name", conflicts_with_all = ["compare_papers", "json"])]
    graph: bool,
    /// Our figures beside those that the papers print
    #[arg(long)]
    compare_papers: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What one network costs.
#[derive(Debug, Serialize)]
struct Document {
    name: &'static str,
    family: &'static str,
    data: &'static str,
    input: Vec<usize>,
    layers: Layers,
    params: u64,
    fp_weights: u64,
    binary_weights: u64,
    macs: Macs,
    storage_mbit: f64,
    storage_mbit_with_normalisation: f64,
    size_mib: f64,
    size_mib_with_normalisation: f64,
    flops: f64,
    runtime_memory_mb: f64,
    /// What the paper prints; only figures that it does print.
    paper: BTreeMap<&'static str, f64>,
    note: &'static str,
    /// What the network takes here, measured with random weights; for one network only.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Measured>,
}

#[derive(Debug, Serialize)]
struct Layers {
    binary: u64,
    float: u64,
}

#[derive(Debug, Serialize)]
struct Macs {
    float: u64,
    binary: u64,
}

/// What a network takes here.
#[derive(Debug, Serialize)]
struct Measured {
    /// Length of its `.bnn` file, without labels.
    file_bytes: u64,
    /// Working memory of a session for one image.
    arena_bytes: u64,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut output = Output::new();
    let style = Style::of_standard_output();
    match &arguments.name {
        Some(name) => {
            let entry = source::find(name)?;
            let architecture = build(entry)?;
            if arguments.graph {
                output.line(architecture.to_json().trim_end())?;
                return output.flush();
            }
            let cost = cost(&architecture)?;
            if arguments.compare_papers {
                compare(&mut output, style, &[(entry, cost)], arguments.json)?;
            } else {
                let document = Document {
                    measured: Some(measure(&architecture)?),
                    ..document(entry, &architecture, &cost)
                };
                if arguments.json {
                    output.json(&document)?;
                } else {
                    document.write(&mut output, style)?;
                }
            }
        }
        None => {
            let mut rows = Vec::new();
            for entry in catalogue() {
                let architecture = build(entry)?;
                let cost = cost(&architecture)?;
                rows.push((entry, architecture, cost));
            }
            if arguments.compare_papers {
                let rows: Vec<_> = rows.iter().map(|(entry, _, cost)| (*entry, *cost)).collect();
                compare(&mut output, style, &rows, arguments.json)?;
            } else if arguments.json {
                let documents: Vec<_> = rows
                    .iter()
                    .map(|(entry, architecture, cost)| document(entry, architecture, cost))
                    .collect();
                output.json(&documents)?;
            } else {
                list(&mut output, style, &rows)?;
            }
        }
    }
    output.flush()
}

fn build(entry: &Entry) -> Result<Architecture> {
    entry.architecture().map_err(|error| Failure::new(Status::Other, error))
}

fn cost(architecture: &Architecture) -> Result<Cost> {
    let resolved = architecture.resolve().map_err(|error| Failure::new(Status::Other, error))?;
    Ok(resolved.cost())
}

fn document(entry: &Entry, architecture: &Architecture, cost: &Cost) -> Document {
    let figures = &entry.figures;
    let printed = [
        ("storage_mbit", figures.storage_mbit),
        ("flops", figures.flops),
        ("runtime_memory_mb", figures.memory_mb),
        ("size_mib", figures.size_mib),
    ];
    Document {
        name: entry.name,
        family: entry.paper.name(),
        data: entry.data.name(),
        input: architecture.inputs.first().map(|input| input.shape.clone()).unwrap_or_default(),
        layers: Layers { binary: cost.binary_layers, float: cost.fp_layers },
        params: cost.params,
        fp_weights: cost.fp_weights,
        binary_weights: cost.binary_weights,
        macs: Macs { float: cost.fp_macs, binary: cost.binary_macs },
        storage_mbit: cost.storage_mbit(),
        storage_mbit_with_normalisation: cost.storage_mbit_with_normalisation(),
        size_mib: cost.size_mib(),
        size_mib_with_normalisation: cost.size_mib_with_normalisation(),
        flops: cost.flops(),
        runtime_memory_mb: cost.runtime_memory_mb(),
        paper: printed.into_iter().filter_map(|(key, figure)| Some((key, figure?))).collect(),
        note: entry.note,
        measured: None,
    }
}

/// Converts the network with random weights and looks at what came of it.
fn measure(architecture: &Architecture) -> Result<Measured> {
    let other = |error: &dyn std::fmt::Display| {
        Failure::new(Status::Other, format_args!("{}: {error}", architecture.name))
    };
    let resolved = architecture.resolve().map_err(|error| other(&error))?;
    let weights = bnn_models::random_weights(&resolved, 1).map_err(|error| other(&error))?;
    let metadata = Metadata { random_weights: true, ..Metadata::default() };
    let options = ConvertOptions { metadata, ..ConvertOptions::default() };
    let converted =
        convert(resolved.assemble(&weights), &options).map_err(|error| other(&error))?;
    let bytes = format::write(&converted.program).map_err(|error| other(&error))?;
    let model = Model::from_bytes(&bytes).map_err(|error| other(&error))?;
    let session = model.session(&SessionOptions::default()).map_err(|error| other(&error))?;
    Ok(Measured { file_bytes: bytes.len() as u64, arena_bytes: session.arena_bytes() as u64 })
}

/// All networks, a line each.
fn list(output: &mut Output, style: Style, rows: &[(&Entry, Architecture, Cost)]) -> Result<()> {
    let right = Align::Right;
    let mut table = Table::new([
        ("network", Align::Left),
        ("paper", Align::Left),
        ("data", Align::Left),
        ("layers", right),
        ("parameters", right),
        ("Mbit", right),
        ("MiB", right),
        ("float MACs", right),
        ("binary MACs", right),
        ("FLOPs", right),
        ("MB at 64", right),
    ]);
    for (entry, _, cost) in rows {
        table.row([
            entry.name.to_owned(),
            entry.paper.name().to_owned(),
            entry.data.name().to_owned(),
            (cost.binary_layers + cost.fp_layers).to_string(),
            terminal::quantity(cost.params),
            format!("{:.2}", cost.storage_mbit()),
            format!("{:.3}", cost.size_mib_with_normalisation()),
            terminal::quantity(cost.fp_macs),
            terminal::quantity(cost.binary_macs),
            terminal::quantity(cost.flops().round() as u64),
            format!("{:.1}", cost.runtime_memory_mb()),
        ]);
    }
    table.write(output, style)?;
    output.line("")?;
    output.line(
        "Mbit: weights alone. MiB: with biases, gamma and beta. FLOPs: float MACs + binary MACs / 64. MB at 64: \
         run-time memory for 64 images as the IGP paper counts it.",
    )?;
    output.line(
        "bnn-convert archs NAME shows one, --graph writes it down, --compare-papers checks all.",
    )
}

impl Document {
    /// One network for people.
    fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        output.line(format_args!(
            "{} ({}, {}), input {}",
            style.bold(self.name),
            self.family,
            self.data,
            terminal::shape(&self.input)
        ))?;
        if !self.note.is_empty() {
            output.line(style.dim(self.note))?;
        }
        let paper = |key: &str| match self.paper.get(key) {
            Some(figure) => format!(" (paper: {})", number(*figure)),
            None => String::new(),
        };
        output.line(format_args!(
            "layers          {} binary, {} float",
            self.layers.binary, self.layers.float
        ))?;
        output.line(format_args!(
            "parameters      {}: {} binary and {} float weights, the rest biases, normalisation, activations",
            self.params, self.binary_weights, self.fp_weights
        ))?;
        output.line(format_args!(
            "storage         {:.2} Mbit of weights, {:.2} with biases and normalisation{}",
            self.storage_mbit,
            self.storage_mbit_with_normalisation,
            paper("storage_mbit")
        ))?;
        output.line(format_args!(
            "size            {:.3} MiB of weights, {:.3} with biases and normalisation{}",
            self.size_mib,
            self.size_mib_with_normalisation,
            paper("size_mib")
        ))?;
        output.line(format_args!(
            "MACs            {} float, {} binary",
            self.macs.float, self.macs.binary
        ))?;
        output.line(format_args!(
            "FLOPs           {} (float + binary / 64){}",
            self.flops,
            paper("flops")
        ))?;
        output.line(format_args!(
            "run-time memory {:.2} MB for 64 images in floats, as the IGP paper counts{}",
            self.runtime_memory_mb,
            paper("runtime_memory_mb")
        ))?;
        if let Some(Measured { file_bytes, arena_bytes }) = self.measured {
            output.line(format_args!(
                "here            file {}, working memory {} for one image",
                terminal::bytes(file_bytes),
                terminal::bytes(arena_bytes)
            ))?;
        }
        Ok(())
    }
}

/// One figure of a paper beside ours.
#[derive(Debug, Serialize)]
struct Comparison {
    name: &'static str,
    paper: &'static str,
    data: &'static str,
    figure: &'static str,
    ours: f64,
    printed: f64,
    /// `ours / printed - 1`.
    difference: f64,
    /// Whether ours is within 0.35 % of the printed figure; operations, of which papers print two or three
    /// digits, also where it rounds to them.
    agrees: bool,
    note: &'static str,
}

fn compare(
    output: &mut Output,
    style: Style,
    rows: &[(&'static Entry, Cost)],
    json: bool,
) -> Result<()> {
    let comparisons: Vec<Comparison> =
        rows.iter().flat_map(|(entry, cost)| comparisons(entry, cost)).collect();
    if json {
        return output.json(&comparisons);
    }
    let mut table = Table::new([
        ("network", Align::Left),
        ("data", Align::Left),
        ("figure", Align::Left),
        ("ours", Align::Right),
        ("paper", Align::Right),
        ("difference", Align::Right),
        ("", Align::Left),
    ]);
    for line in &comparisons {
        table.row([
            line.name.to_owned(),
            line.data.to_owned(),
            line.figure.to_owned(),
            number(line.ours),
            number(line.printed),
            if line.agrees { "=".to_owned() } else { format!("{:+.1} %", 100.0 * line.difference) },
            line.note.to_owned(),
        ]);
    }
    table.write(output, style)?;
    let agreeing = comparisons.iter().filter(|line| line.agrees).count();
    output.line("")?;
    output.line(format_args!(
        "{agreeing} of {} figures agree (=: within 0.35 %, or operations that round to the printed digits)",
        comparisons.len()
    ))
}

/// The figures that a paper prints, each counted by its paper's rules.
fn comparisons(entry: &'static Entry, cost: &Cost) -> Vec<Comparison> {
    let figures = &entry.figures;
    // BinaryDuo's tables count biases and normalisation, and so does the row of the float network.
    let with_all = entry.paper == Paper::BinaryDuo || cost.binary_weights == 0;
    let storage =
        if with_all { cost.storage_mbit_with_normalisation() } else { cost.storage_mbit() };
    // TBN's operations are ternary times binary: two binary ones each.
    let twice = if entry.name.starts_with("tbn") { cost.binary_macs as f64 / 64.0 } else { 0.0 };
    let pairs = [
        ("storage, Mbit", storage, figures.storage_mbit),
        (FLOPS, cost.flops() + twice, figures.flops),
        ("memory, MB", cost.runtime_memory_mb(), figures.memory_mb),
        ("size, MiB", cost.size_mib_with_normalisation(), figures.size_mib),
    ];
    let line = |(figure, ours, printed): (&'static str, f64, Option<f64>)| {
        let printed = printed?;
        let difference = ours / printed - 1.0;
        Some(Comparison {
            name: entry.name,
            paper: entry.paper.name(),
            data: entry.data.name(),
            figure,
            ours,
            printed,
            difference,
            agrees: difference.abs() <= 0.0035 || figure == FLOPS && rounds_to(ours, printed),
            note: entry.note,
        })
    };
    pairs.into_iter().filter_map(line).collect()
}

/// The heading of operations.
const FLOPS: &str = "FLOPs";

/// Whether `ours` is `printed` when written with as many significant digits, two at least.
fn rounds_to(ours: f64, printed: f64) -> bool {
    let text = format!("{printed:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "").len().max(2) as i32;
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let unit = 10_f64.powi(exponent - digits + 1);
    (ours / unit).round() == (printed / unit).round()
}

/// A figure as tables print it.
fn number(value: f64) -> String {
    if value >= 1e6 {
        terminal::quantity(value.round() as u64)
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_round_as_they_are_printed() {
        assert!(rounds_to(163.99e6, 160e6));
        assert!(rounds_to(163.73e6, 164e6));
        assert!(!rounds_to(145.02e6, 140e6));
        assert!(rounds_to(53.19e6, 5.32e7));
        assert!(!rounds_to(48.70e6, 5.13e7));
    }
}
