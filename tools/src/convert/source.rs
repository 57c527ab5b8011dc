//! Where a network comes from: an ONNX file, weights with an architecture, or an architecture alone.

use super::{Arguments, has_extension};
use crate::exit::{Failure, Result, Status};
use bnn::{
    architecture::{Architecture, Weights},
    graph::Graph,
    import::{
        onnx::{self, ImportError, ImportOptions},
        safetensors::{WeightsError, WeightsFile},
    },
    program::Detector,
};
use bnn_models::{catalogue::Paper, names};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// How the network is described.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Networks without a graph")]
pub(super) struct SourceArguments {
    /// Architecture of the weights in a .safetensors file: a name of `bnn-convert archs`
    #[arg(long = "arch", value_name = "NAME", conflicts_with = "graph")]
    architecture: Option<String>,
    /// The same as a written graph (docs/graph.md; `bnn-convert archs NAME --graph` prints examples)
    #[arg(long, value_name = "FILE.json")]
    graph: Option<PathBuf>,
    /// Random, calibrated weights instead of a file, for benchmarks; the model says so
    #[arg(long, value_name = "SEED", conflicts_with = "input")]
    random_weights: Option<u64>,
    /// Turn the ternary activations of a coupled BinaryDuo network into binary ones, exactly
    #[arg(long)]
    decouple: bool,
}

/// A network, ready to be converted.
pub(super) struct Source {
    /// What it computes.
    pub(super) graph: Graph,
    /// Length of the file it was read from.
    pub(super) bytes: u64,
    /// What to call it in messages.
    pub(super) name: String,
    /// Whether its weights are random.
    pub(super) random_weights: bool,
    /// What its outputs mean, if it is a detector of the catalogue.
    pub(super) finds: Option<Finds>,
    /// What the user should hear about the reading.
    pub(super) notes: Vec<String>,
}

/// What a detector of the catalogue finds.
pub(super) struct Finds {
    /// How its outputs become boxes.
    pub(super) detector: Detector,
    /// Names of its classes.
    pub(super) labels: Vec<String>,
}

impl Finds {
    /// Nothing for a network that is no detector, or takes pictures of another size than that of the catalogue.
    fn of(entry: Option<&str>, arguments: &Arguments) -> Option<Self> {
        let entry = bnn_models::find(entry?)?;
        let detector = entry.detector().filter(|_| arguments.input_shapes.is_empty())?;
        Some(Self { detector, labels: entry.labels().iter().map(|&label| label.into()).collect() })
    }
}

/// Reads the network that the arguments name.
pub(super) fn read(arguments: &Arguments) -> Result<Source> {
    let own = &arguments.source;
    match (&arguments.input, own.random_weights) {
        (Some(input), _) if has_extension(input, "safetensors") => {
            from_weights(arguments, input, own)
        }
        (Some(input), _) => {
            if own.architecture.is_some() || own.graph.is_some() || own.decouple {
                return Err(Failure::usage(format_args!(
                    "{}: --arch, --graph and --decouple are for .safetensors files; an ONNX file holds its \
                     own graph",
                    input.display()
                )));
            }
            from_onnx(arguments, input)
        }
        (None, Some(seed)) => from_nothing(arguments, own, seed),
        (None, None) => Err(Failure::usage(
            "no INPUT: expected an .onnx or .safetensors file, or --arch with --random-weights",
        )),
    }
}

fn from_onnx(arguments: &Arguments, input: &Path) -> Result<Source> {
    let bytes = length(input)?;
    let mut input_shapes = BTreeMap::new();
    for (name, shape) in &arguments.input_shapes {
        if input_shapes.insert(name.clone(), shape.clone()).is_some() {
            return Err(Failure::usage(format_args!("--input-shape {name} is given twice")));
        }
    }
    let graph = onnx::read(input, &ImportOptions { input_shapes }).map_err(|error| {
        let cause = match &error {
            ImportError::File { source, .. } => source,
            other => other,
        };
        let status = match cause {
            ImportError::OpenShape { .. } => Status::Usage,
            // A shape that is given goes before the one in the file, so a misfit is its fault.
            ImportError::Input { .. } | ImportError::Node { .. } | ImportError::Shape(_)
                if !arguments.input_shapes.is_empty() =>
            {
                Status::Usage
            }
            ImportError::Input { .. }
            | ImportError::OperatorSet { .. }
            | ImportError::Evaluation(_)
            | ImportError::Unsupported(_) => Status::Unsupported,
            _ => Status::Input,
        };
        Failure::new(status, error)
    })?;
    let name = input.display().to_string();
    Ok(Source { graph, bytes, name, random_weights: false, finds: None, notes: Vec::new() })
}

fn from_weights(arguments: &Arguments, input: &Path, own: &SourceArguments) -> Result<Source> {
    // Where the architecture is at fault there is no need to read the weights.
    let chosen = own.chosen()?;
    let bytes = fs::read(input).map_err(|error| Failure::input(input, error))?;
    let fault = |error: WeightsError| Failure::input(input, error);
    let file = WeightsFile::parse(&bytes).map_err(fault)?;
    let chosen = match chosen {
        Some(chosen) => Some(chosen),
        None => file.architecture().map_err(fault)?.map(|found| (found, None)),
    };
    let Some((architecture, entry)) = chosen else {
        return Err(Failure::usage(format_args!(
            "{}: a .safetensors file holds no graph: name one with --arch NAME (`bnn-convert archs` \
             lists them) or write one for --graph FILE.json (docs/graph.md)",
            input.display()
        )));
    };
    let architecture = with_input_shapes(architecture, entry, arguments)?;
    let resolved = architecture.resolve().map_err(Failure::usage)?;
    let renaming =
        names::recognise(&resolved, &file.names()).map_err(|error| Failure::input(input, error))?;
    if let Some(entry) = entry.filter(|_| renaming.is_keras()) {
        check_is_keras(entry, input)?;
    }
    let read = file.weights(&resolved, |name| renaming.rename(name)).map_err(fault)?;
    let mut notes = read.notes;
    notes.extend(renaming.note());
    let graph = assemble(arguments, &architecture, entry, &read.weights)?;
    Ok(Source {
        graph,
        bytes: bytes.len() as u64,
        name: input.display().to_string(),
        random_weights: false,
        finds: Finds::of(entry, arguments),
        notes,
    })
}

fn from_nothing(arguments: &Arguments, own: &SourceArguments, seed: u64) -> Result<Source> {
    let Some((architecture, entry)) = own.chosen()? else {
        return Err(Failure::usage("--random-weights needs --arch NAME or --graph FILE.json"));
    };
    let architecture = with_input_shapes(architecture, entry, arguments)?;
    let resolved = architecture.resolve().map_err(Failure::usage)?;
    let weights = bnn_models::random_weights(&resolved, seed).map_err(|error| {
        Failure::new(Status::Unsupported, format_args!("{}: {error}", architecture.name))
    })?;
    let graph = assemble(arguments, &architecture, entry, &weights)?;
    let name = format!("{} with random weights {seed}", architecture.name);
    // What a file of these weights would hold.
    let bytes = weights.iter().map(|(_, tensor)| 4 * tensor.len() as u64).sum();
    let finds = Finds::of(entry, arguments);
    Ok(Source { graph, bytes, name, random_weights: true, finds, notes: Vec::new() })
}

/// The graph, decoupled where that is asked for.
fn assemble(
    arguments: &Arguments,
    architecture: &Architecture,
    entry: Option<&'static str>,
    weights: &Weights,
) -> Result<Graph> {
    if !arguments.source.decouple {
        let resolved = architecture.resolve().map_err(Failure::usage)?;
        return Ok(resolved.assemble(weights));
    }
    let name = entry.unwrap_or(&architecture.name);
    let (architecture, weights) = bnn_models::decouple(name, weights).map_err(Failure::usage)?;
    // The decoupled network comes from the catalogue, with its own picture size.
    let architecture = with_input_shapes(architecture, entry, arguments)?;
    let resolved = architecture.resolve().map_err(Failure::usage)?;
    Ok(resolved.assemble(&weights))
}

impl SourceArguments {
    /// The architecture that was asked for, and its name if it is in the catalogue.
    fn chosen(&self) -> Result<Option<(Architecture, Option<&'static str>)>> {
        if let Some(name) = &self.architecture {
            let entry = find(name)?;
            let architecture =
                entry.architecture().map_err(|error| Failure::new(Status::Other, error))?;
            return Ok(Some((architecture, Some(entry.name))));
        }
        let Some(path) = &self.graph else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(|error| Failure::input(path, error))?;
        let architecture =
            Architecture::from_json(&text).map_err(|error| Failure::input(path, error))?;
        Ok(Some((architecture, None)))
    }

    /// Whether there is anything to convert.
    pub(super) fn is_there(&self, input: Option<&Path>) -> bool {
        input.is_some() || self.random_weights.is_some()
    }

    /// The file of the written graph.
    pub(super) fn graph_path(&self) -> Option<&Path> {
        self.graph.as_deref()
    }
}

/// The row of the catalogue.
pub(super) fn find(name: &str) -> Result<&'static bnn_models::Entry> {
    bnn_models::find(name).ok_or_else(|| {
        let similar = bnn_models::catalogue::similar(name).join(", ");
        Failure::usage(format_args!(
            "no architecture is called {name}; similar: {similar} (`bnn-convert archs` lists all)"
        ))
    })
}

/// Whether the catalogue's network of that name is one of larq zoo.
fn is_larq(name: &str) -> bool {
    bnn_models::find(name).is_some_and(|entry| entry.paper == Paper::Larq)
}

/// Refuses weights of Keras for a network that pads and normalises as PyTorch's do: all shapes would fit.
fn check_is_keras(name: &str, input: &Path) -> Result<()> {
    if is_larq(name) {
        return Ok(());
    }
    let all = bnn_models::catalogue().iter().map(|entry| entry.name);
    Err(Failure::usage(format_args!(
        "{}: tensors are named as in Keras, and {name} has the padding and the order of layers of other \
         frameworks; networks of larq zoo: {}",
        input.display(),
        all.filter(|name| is_larq(name)).collect::<Vec<_>>().join(", ")
    )))
}

/// The architecture with the sizes of `--input-shape`.
fn with_input_shapes(
    mut architecture: Architecture,
    entry: Option<&'static str>,
    arguments: &Arguments,
) -> Result<Architecture> {
    for (name, shape) in &arguments.input_shapes {
        let known: Vec<String> =
            architecture.inputs.iter().map(|input| input.name.clone()).collect();
        let Some(input) = architecture.inputs.iter_mut().find(|input| input.name == *name) else {
            return Err(Failure::usage(format_args!(
                "--input-shape {name}: the inputs of {} are {}",
                architecture.name,
                known.join(", ")
            )));
        };
        match shape.split_first() {
            Some((1, rest)) if entry.is_some_and(is_larq) && *rest != *input.shape => {
                return Err(Failure::usage(format_args!(
                    "--input-shape {name}: TensorFlow's padding depends on the size of the map, and that of \
                     {} is for {:?}",
                    architecture.name, input.shape
                )));
            }
            Some((1, rest)) if rest.len() == input.shape.len() => input.shape = rest.to_vec(),
            _ => {
                return Err(Failure::usage(format_args!(
                    "--input-shape {name}: expected 1 and {} sizes, as in {name}=1,{}",
                    input.shape.len(),
                    input.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
                )));
            }
        }
    }
    Ok(architecture)
}

/// Length of the input.
fn length(input: &Path) -> Result<u64> {
    Ok(fs::metadata(input).map_err(|error| Failure::input(input, error))?.len())
}
