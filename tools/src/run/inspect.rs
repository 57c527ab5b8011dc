//! `bnn-run inspect`: what is in a model file.

use crate::{
    engine,
    exit::{Failure, Result},
    layers::{self, Layer, Macs, tensor_kind_name},
    output::Output,
    table::{Align, Table},
    terminal::{self, Style, printable},
};
use bnn::{
    Model,
    format::{self, FileSummary},
    program::{Block, Detector, Port, Preprocessing, Resize},
};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model file
    #[arg(value_name = "MODEL.bnn")]
    model: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Inspection<'a> {
    model: String,
    name: &'a str,
    inputs: Vec<NamedShape<'a>>,
    outputs: Vec<NamedShape<'a>>,
    preprocessing: Option<&'a Preprocessing>,
    labels: &'a [String],
    detector: Option<&'a Detector>,
    outputs_are_probabilities: bool,
    random_weights: bool,
    blocks: &'a [Block],
    binary_layers: usize,
    float_layers: usize,
    macs: Macs,
    layers: Vec<Layer>,
    file: FileSummary,
}

#[derive(Debug, Serialize)]
struct NamedShape<'a> {
    name: &'a str,
    shape: &'a [usize],
}

impl<'a> From<&'a Port> for NamedShape<'a> {
    fn from(port: &'a Port) -> Self {
        Self { name: &port.name, shape: &port.shape }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.model;
    let bytes = std::fs::read(path).map_err(|error| Failure::input(path, error))?;
    let file = format::inspect(&bytes).map_err(|error| Failure::input(path, error))?;
    let model_name = path.display().to_string();
    let model = Model::from_bytes(&bytes).map_err(|error| engine::failure(&model_name, error))?;
    let program = model.program();
    let layers = layers::layers(program);
    let inspection = Inspection {
        model: model_name,
        name: &program.name,
        inputs: program.inputs.iter().map(NamedShape::from).collect(),
        outputs: program.outputs.iter().map(NamedShape::from).collect(),
        preprocessing: model.preprocessing(),
        labels: model.labels(),
        detector: model.detector(),
        outputs_are_probabilities: program.metadata.outputs_are_probabilities,
        random_weights: program.metadata.random_weights,
        blocks: model.blocks(),
        binary_layers: layers.iter().filter(|layer| layer.binary).count(),
        float_layers: layers.iter().filter(|layer| layer.kind == "float_conv").count(),
        macs: layers::total_macs(&layers),
        layers,
        file,
    };
    let mut output = Output::new();
    if arguments.json {
        output.json(&inspection)?;
    } else {
        inspection.write(&mut output, Style::of_standard_output())?;
    }
    output.flush()
}

impl Inspection<'_> {
    fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        let title = printable(&self.model);
        output.line(format_args!(
            "{}: {}, format {}.{}, {} bytes, header {} bytes (CRC-32 {:08x})",
            style.bold(&title),
            if self.name.is_empty() { "no name".into() } else { printable(self.name) },
            self.file.version[0],
            self.file.version[1],
            self.file.file_bytes,
            self.file.compressed_header_bytes,
            self.file.header_crc32
        ))?;
        for (what, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                let (name, shape) = (printable(port.name), terminal::shape(port.shape));
                output.line(format_args!("{what}: {name} {shape}"))?;
            }
        }
        let preprocessing = self.preprocessing.map_or("none in the file".into(), describe);
        output.line(format_args!("preprocessing: {preprocessing}"))?;
        output.line(format_args!("labels: {}", labels(self.labels)))?;
        if let Some(detector) = self.detector {
            output.line(format_args!(
                "detector: {} anchors on {} map{}; of the {} best boxes with a score above {}, at most {} that overlap \
                 by no more than {}",
                detector.anchors(),
                detector.maps.len(),
                if detector.maps.len() == 1 { "" } else { "s" },
                detector.candidates,
                detector.score_threshold,
                detector.boxes,
                detector.overlap_threshold
            ))?;
        }
        if self.outputs_are_probabilities {
            output.line("outputs are probabilities")?;
        }
        if self.random_weights {
            output.line(style.bad("the weights are random numbers, for benchmarks only"))?;
        }
        if !self.blocks.is_empty() {
            let kept = |block: &&Block| block.input.is_some() && block.output.is_some();
            output.line(format_args!(
                "blocks: {}, {} of them with input and output kept as floats",
                self.blocks.len(),
                self.blocks.iter().filter(kept).count()
            ))?;
        }
        output.line(format_args!(
            "{} binary and {} float layers, {} binary and {} float MACs an image",
            self.binary_layers,
            self.float_layers,
            terminal::quantity(self.macs.binary),
            terminal::quantity(self.macs.float)
        ))?;
        output.line("")?;
        self.layer_table().write(output, style)?;
        output.line("")?;
        self.tensor_table().write(output, style)
    }

    fn layer_table(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new([
            ("layer", Left),
            ("kind", Left),
            ("input", Left),
            ("output", Left),
            ("as", Left),
            ("bytes", Right),
            ("MACs", Right),
        ]);
        for layer in &self.layers {
            table.row([
                layer.name.clone(),
                layer.kind.to_owned(),
                terminal::shape(&layer.input_shape),
                terminal::shape(&layer.output_shape),
                layer.output.clone(),
                layer.bytes.to_string(),
                if layer.macs > 0 { terminal::quantity(layer.macs) } else { String::new() },
            ]);
        }
        table
    }

    fn tensor_table(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new([
            ("tensor", Left),
            ("kind", Left),
            ("shape", Left),
            ("offset", Right),
            ("bytes", Right),
            ("CRC-32", Right),
        ]);
        for tensor in &self.file.tensors {
            let shape: Vec<usize> = tensor.shape.iter().map(|&extent| extent as usize).collect();
            table.row([
                tensor.name.clone(),
                tensor_kind_name(tensor.kind).to_owned(),
                terminal::shape(&shape),
                (self.file.blob_section + tensor.offset).to_string(),
                tensor.bytes.to_string(),
                format!("{:08x}", tensor.crc32),
            ]);
        }
        table
    }
}

/// Preprocessing in words.
fn describe(preprocessing: &Preprocessing) -> String {
    let mut parts = Vec::new();
    if let Some(resize) = preprocessing.resize {
        let target = match resize {
            Resize::Shorter(side) => format!("shorter side to {side}"),
            Resize::Exact { width, height } => format!("to {width}x{height}"),
        };
        parts.push(format!("resize {target} ({})", name(preprocessing.interpolation)));
    }
    if let Some([width, height]) = preprocessing.crop {
        parts.push(format!("crop {width}x{height}"));
    }
    parts.push(name(preprocessing.channels));
    parts.push(format!("range {}", preprocessing.range));
    parts.push(format!("mean {:?}", preprocessing.mean));
    parts.push(format!("std {:?}", preprocessing.std));
    parts.join(", ")
}

/// The name of a value as the file has it.
fn name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The number of labels and the first few.
fn labels(labels: &[String]) -> String {
    const SHOWN: usize = 5;
    if labels.is_empty() {
        return "none in the file".to_owned();
    }
    let first: Vec<_> = labels.iter().take(SHOWN).map(|label| printable(label)).collect();
    let more = if labels.len() > SHOWN { ", ..." } else { "" };
    format!("{} ({}{more})", labels.len(), first.join(", "))
}
