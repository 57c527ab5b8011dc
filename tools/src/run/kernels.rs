//! `bnn-run kernels`: the instruction sets of this machine.

use crate::{
    engine::EngineArguments,
    exit::Result,
    output::Output,
    table::{Align, Table},
    terminal::Style,
};
use bnn::Isa;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Choose as with this --isa
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
}

#[derive(Debug, Serialize)]
struct Kernels {
    chosen: &'static str,
    reason: String,
    architecture: &'static str,
    isas: Vec<Path>,
}

#[derive(Debug, Serialize)]
struct Path {
    name: &'static str,
    built: bool,
    available: bool,
    missing: Vec<&'static str>,
    features: Vec<&'static str>,
    note: Option<&'static str>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let engine = EngineArguments { threads: None, isa: arguments.isa.clone() };
    let asked = engine.isa()?;
    let (chosen, reason) = match asked {
        Some((isa, source)) => (isa, format!("asked for by {source}")),
        None => (Isa::best(), "the fastest that this processor has".to_owned()),
    };
    let isas = Isa::ALL.into_iter().map(describe).collect();
    let kernels =
        Kernels { chosen: chosen.name(), reason, architecture: std::env::consts::ARCH, isas };
    let mut output = Output::new();
    if arguments.json {
        output.json(&kernels)?;
    } else {
        kernels.write(&mut output, Style::of_standard_output())?;
    }
    output.flush()
}

fn describe(isa: Isa) -> Path {
    Path {
        name: isa.name(),
        built: isa.is_built(),
        available: isa.is_available(),
        missing: isa.missing_features(),
        features: isa.features().into_iter().map(|(name, _)| name).collect(),
        note: note(isa),
    }
}

/// What else there is to say about a path.
fn note(isa: Isa) -> Option<&'static str> {
    match isa {
        Isa::Scalar => Some("the reference that the others are tested against"),
        Isa::V2 => {
            Some("float layers without fused multiply-add: equal to the others up to rounding")
        }
        _ => None,
    }
}

impl Kernels {
    fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        let mut table = Table::new([
            ("", Align::Left),
            ("path", Align::Left),
            ("state", Align::Left),
            ("needs", Align::Left),
        ]);
        for path in &self.isas {
            let state = match path.available {
                true => "available".to_owned(),
                false => format!("missing {}", path.missing.join(", ")),
            };
            let mut needs = path.features.join(", ");
            if let Some(note) = path.note.filter(|_| path.built) {
                let separator = if needs.is_empty() { "" } else { "; " };
                needs = format!("{needs}{separator}{note}");
            }
            let mark = if path.name == self.chosen { "*" } else { "" };
            table.row([mark.to_owned(), path.name.to_owned(), state, needs]);
        }
        table.write(output, style)?;
        output.line("")?;
        output.line(format_args!("* {} is chosen: {}", self.chosen, self.reason))
    }
}
