//! `bnn-run verify`: are the outputs those of the original network?

use crate::{
    engine::{EngineArguments, ModelArguments},
    exit::Result,
    golden::Golden,
    output::Output,
    terminal::Style,
    verification::{self, Strictness},
};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model file
    #[arg(value_name = "MODEL.bnn")]
    model: PathBuf,
    /// Golden inputs and outputs
    #[arg(value_name = "GOLDEN.safetensors")]
    golden: PathBuf,
    #[command(flatten)]
    strictness: Strictness,
    /// Run each block of the network by itself as well, on its golden input 'tapin.X', and compare with
    /// 'tap.X'; --allow-flips counts blocks as it counts rows
    #[arg(long)]
    blocks: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let options = arguments.engine.options()?;
    let loaded = ModelArguments { model: Some(arguments.model.clone()), mmap: false }.open()?;
    let golden = Golden::read(&arguments.golden)?;
    let golden_name = arguments.golden.display().to_string();
    let verify =
        if arguments.blocks { verification::verify_with_blocks } else { verification::verify };
    let verification = verify(
        (&loaded.name, &loaded.model),
        (&golden_name, &golden),
        &options,
        arguments.strictness,
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&verification)?;
    } else {
        verification.write(&mut output, Style::of_standard_output())?;
    }
    output.flush()?;
    verification.check()
}
