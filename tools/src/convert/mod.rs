//! `bnn-convert`: trained networks to `.bnn` files.

mod archs;
mod blocks;
mod detector;
mod drawing;
mod html;
mod layer_check;
mod made_up;
mod preprocessing;
mod remarks;
mod report;
mod shares;
mod source;
mod verdict;
mod zeros;

use crate::{
    engine::EngineArguments,
    exit::{self, Failure, Result, Status},
    files,
    golden::Golden,
    output::Output,
    terminal::Style,
    verification::{self, Strictness, Verification},
    version,
};
use bnn::{
    Model,
    convert::{Conversion, ConvertError, ConvertOptions, LayerReport, convert},
    format,
    program::{Metadata, Program, ProgramError},
};
use clap::{CommandFactory, Parser, Subcommand};
use layer_check::{LayerArguments, LayerCheck, Subjects};
use preprocessing::PreprocessingArguments;
use report::Document;
use source::{Source, SourceArguments};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Name of the tool in messages.
const PROGRAM: &str = "bnn-convert";

/// Stands for an output that was not given: no file can have this name.
const NO_OUTPUT: &str = ".";

/// Converts a trained network (ONNX, QONNX, safetensors with an architecture) to a .bnn file.
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version = env!("CARGO_PKG_VERSION"),
    long_version = version::long(),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 done, 2 wrong usage, 3 an input cannot be read or is broken, \
                  4 the model is not supported or --strict refused it, 5 verification failed, \
                  1 anything else."
)]
struct Tool {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    convert: Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the architectures that --arch knows, and what they cost
    Archs(archs::Arguments),
}

/// Arguments of a conversion.
#[derive(Debug, clap::Args)]
struct Arguments {
    /// The trained network: .onnx, or .safetensors with --arch or --graph
    #[arg(value_name = "INPUT")]
    input: Option<PathBuf>,
    /// The file to write
    // Needed, but not beside a subcommand; checked when a conversion runs.
    #[arg(short, long, value_name = "OUT.bnn", default_value = NO_OUTPUT, hide_default_value = true)]
    output: PathBuf,
    #[command(flatten)]
    source: SourceArguments,
    /// Shape of an input where the file leaves sizes open; the batch is always free. Repeatable
    #[arg(long = "input-shape", value_name = "NAME=1,3,224,224", value_parser = input_shape)]
    input_shapes: Vec<(String, Vec<usize>)>,
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How the outputs of a network that finds objects become boxes (docs/detection.md)
    #[arg(long, value_name = "FILE.json")]
    detector: Option<PathBuf>,
    /// Store float weights as 16-bit floats: half the size, not exact
    #[arg(long)]
    f16: bool,
    /// Treat an approximate or guessed step as an error
    #[arg(long)]
    strict: bool,
    /// Run the converted model on golden inputs and compare; if it fails, no file is left
    #[arg(long, value_name = "GOLDEN.safetensors")]
    verify: Option<PathBuf>,
    #[command(flatten)]
    strictness: Strictness,
    #[command(flatten)]
    layers: LayerArguments,
    /// Write what became of each layer, for programs or as a page to look at
    #[arg(long, value_name = "FILE.json|FILE.html")]
    report: Option<PathBuf>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

fn input_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let expected = || "expected NAME=1,3,224,224".to_owned();
    // Names of tensors may hold '='; shapes do not.
    let (name, shape) = text.rsplit_once('=').ok_or_else(expected)?;
    let shape: Result<Vec<usize>, _> =
        shape.split(',').map(|extent| extent.trim().parse()).collect();
    match shape {
        Ok(shape) if !name.is_empty() && !shape.contains(&0) => Ok((name.to_owned(), shape)),
        _ => Err(expected()),
    }
}

/// The command line, for what is made from it: man pages and completions.
pub fn command() -> clap::Command {
    Tool::command()
}

/// The network of a program as an SVG file: the drawing of the report, without the page around it.
pub fn drawing(program: &Program, layers: &[LayerReport]) -> String {
    drawing::draw_alone(&blocks::Blocks::new(program, layers), layers)
}

/// Runs the tool on the arguments of the process.
pub fn main() -> ExitCode {
    exit::finish(PROGRAM, run())
}

fn run() -> Result<()> {
    let Tool { command, convert } = exit::parse()?;
    match command {
        Some(Command::Archs(arguments)) => archs::run(&arguments),
        None if convert.output.as_os_str() == NO_OUTPUT => {
            let missing = if convert.source.is_there(convert.input.as_deref()) {
                "no --output: expected -o OUT.bnn"
            } else {
                "no INPUT: expected bnn-convert INPUT -o OUT.bnn"
            };
            Err(Failure::usage(format_args!("{missing}; --help shows more")))
        }
        None => run_conversion(convert),
    }
}

fn run_conversion(arguments: Arguments) -> Result<()> {
    check_paths(&arguments)?;
    let labels = arguments.labels.as_deref().map(read_labels).transpose()?;
    let detector = arguments.detector.as_deref().map(detector::read).transpose()?;
    // Read before the long work, so that a mistake is told at once.
    let golden = arguments.verify.as_deref().map(Golden::read).transpose()?;

    let Source { graph, bytes: input_bytes, name: input_name, random_weights, finds, notes } =
        source::read(&arguments)?;
    let first_input = graph.inputs.first().and_then(|input| input.shape.get(1..)).unwrap_or(&[]);
    let preprocessing = arguments.preprocessing.resolve(first_input)?;
    let metadata = Metadata {
        preprocessing: preprocessing.clone(),
        labels: labels.or_else(|| Some(finds.as_ref()?.labels.clone())).unwrap_or_default(),
        detector: detector.or_else(|| Some(finds?.detector)),
        random_weights,
        ..Metadata::default()
    };
    let options = ConvertOptions { strict: arguments.strict, f16: arguments.f16, metadata };
    // The conversion takes the graph apart.
    let original = arguments.layers.verify_layers.then(|| graph.clone());
    let converted = convert(graph, &options);
    let Conversion { program, mut report, trace } = converted.map_err(|error| {
        if let (ConvertError::Program(ProgramError::Detector(what)), Some(path)) =
            (&error, &arguments.detector)
        {
            return Failure::input(path, what);
        }
        let again = || source::read(&arguments).map(|source| source.graph);
        let message = zeros::refusal(&error, preprocessing.as_ref(), again);
        Failure::new(Status::Unsupported, format_args!("{input_name}: {message}"))
    })?;
    report.notes.splice(0..0, notes);
    if let Some(path) = &arguments.labels {
        preprocessing::label_count_fits(&program.metadata, &program.outputs)
            .map_err(|message| Failure::input(path, message))?;
    }
    let bytes = format::write(&program).map_err(|error| {
        Failure::new(Status::Unsupported, format_args!("{input_name}: {error}"))
    })?;

    let mut output = Output::new();
    let style = Style::of_standard_output();
    let verification = match &golden {
        Some(golden) => Some(verify(&arguments, &bytes, golden)?),
        None => None,
    };
    let layers = match &original {
        Some(graph) => Some(arguments.layers.check(&Subjects {
            graph,
            trace: &trace,
            bytes: &bytes,
            model_name: &arguments.output.display().to_string(),
            golden: arguments.verify.as_deref().zip(golden.as_ref()),
        })?),
        None => None,
    };
    let zeros_counted_in = zeros::count(
        &mut report,
        &trace,
        &bytes,
        arguments.verify.as_deref().zip(golden.as_ref()),
        arguments.layers.input(),
    );
    let document = Document {
        output: arguments.output.display().to_string(),
        bytes: bytes.len() as u64,
        input_bytes,
        report: &report,
        zeros_counted_in,
        verification: verification.as_ref(),
        layer_comparison: layers.as_ref(),
    };
    let passed = verification.as_ref().is_none_or(|verification| verification.passed)
        && layers.as_ref().is_none_or(LayerCheck::passed);
    if !passed {
        remove_stale(&arguments.output)?;
        // Where the layers were compared, the document says what is wrong.
        if layers.is_some() {
            write_report(&arguments, &document, &program, &input_name)?;
        }
        if arguments.json {
            if layers.is_some() {
                output.json(&document)?;
            }
        } else {
            document.write_verification(&mut output, style)?;
        }
        output.flush()?;
        verification.as_ref().map_or(Ok(()), Verification::check)?;
        return layers.as_ref().map_or(Ok(()), LayerCheck::check);
    }
    write_model(&arguments.output, &program)?;
    write_report(&arguments, &document, &program, &input_name)?;
    if arguments.json {
        output.json(&document)?;
    } else {
        document.write(&mut output, style)?;
    }
    output.flush()
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
}

/// Writes the report, if one is asked for, in the form that the name of the file asks for.
fn write_report(
    arguments: &Arguments,
    document: &Document<'_>,
    program: &Program,
    input_name: &str,
) -> Result<()> {
    let Some(path) = arguments.report.as_deref() else { return Ok(()) };
    if has_extension(path, "html") {
        let page = html::page(document, program, input_name);
        return files::write(path, page.as_bytes());
    }
    let mut json =
        serde_json::to_vec_pretty(document).map_err(|error| Failure::new(Status::Other, error))?;
    json.push(b'\n');
    files::write(path, &json)
}

/// Checks what can be seen from the paths alone.
fn check_paths(arguments: &Arguments) -> Result<()> {
    let Arguments { input, output, report, .. } = arguments;
    for input in input.iter().map(PathBuf::as_path).chain(arguments.source.graph_path()) {
        let metadata = fs::metadata(input).map_err(|error| Failure::input(input, error))?;
        if metadata.is_dir() {
            return Err(Failure::input(input, "a folder, expected a file"));
        }
        let same = |a: &Path, b: &Path| matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b);
        if same(input, output) {
            return Err(Failure::usage(format_args!(
                "--output {} would overwrite the input",
                output.display()
            )));
        }
    }
    if let Some(report) = report
        && !has_extension(report, "json")
        && !has_extension(report, "html")
    {
        return Err(Failure::usage(format_args!(
            "--report {}: expected a name that ends in .json or .html",
            report.display()
        )));
    }
    Ok(())
}

/// One label a line; empty lines at the end do not count.
fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|error| Failure::input(path, error))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let labels: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    match labels.iter().position(String::is_empty) {
        _ if labels.is_empty() => Err(Failure::input(path, "no labels, expected one a line")),
        Some(line) => Err(Failure::input(path, format_args!("line {} is empty", line + 1))),
        None => Ok(labels),
    }
}

/// Compares the file as it will be written with golden outputs.
fn verify(arguments: &Arguments, bytes: &[u8], golden: &Golden) -> Result<Verification> {
    let model_name = arguments.output.display().to_string();
    let golden_name = arguments.verify.as_deref().unwrap_or(Path::new("")).display().to_string();
    let model =
        Model::from_bytes(bytes).map_err(|error| crate::engine::failure(&model_name, error))?;
    verification::verify(
        (&model_name, &model),
        (&golden_name, golden),
        &EngineArguments::default().options()?,
        arguments.strictness,
    )
}

/// Removes an older model: after a failed verification nobody must take it for the new one.
fn remove_stale(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        fs::remove_file(path).map_err(|error| {
            Failure::new(Status::Other, format_args!("{}: {error}", path.display()))
        })?;
    }
    Ok(())
}

fn write_model(path: &Path, program: &Program) -> Result<()> {
    format::write_file(path, program).map_err(|error| Failure::new(Status::Other, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_shapes() {
        assert_eq!(input_shape("x=1,3,8,8"), Ok(("x".into(), vec![1, 3, 8, 8])));
        assert_eq!(input_shape("a=b=1, 2"), Ok(("a=b".into(), vec![1, 2])));
        for bad in ["x", "=1,2", "x=", "x=1,-3", "x=1,0", "x=a"] {
            assert!(input_shape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Tool::command().debug_assert();
    }
}
