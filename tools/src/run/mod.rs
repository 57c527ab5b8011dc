//! `bnn-run`: the model at work.

mod answer;
mod as_floats;
mod bench;
mod classify;
mod eval;
mod inspect;
mod kernels;
mod limits;
mod one_layer;
mod profile;
mod profile_chart;
mod verify;

pub use profile::LayerTime;
pub use profile_chart::svg as profile_chart;

use crate::{
    exit::{self, Result},
    version,
};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Name of the tool in messages.
const PROGRAM: &str = "bnn-run";

/// Says what is on images with a binary neural network, and measures, verifies and inspects models.
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version = env!("CARGO_PKG_VERSION"),
    long_version = version::long(),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 done, 2 wrong usage, 3 an input cannot be read or is broken, \
                  4 the model is not supported, 5 verification failed, 1 anything else."
)]
struct Tool {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    classify: classify::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures accuracy on labelled images
    Eval(eval::Arguments),
    /// Measures speed
    Bench(bench::Arguments),
    /// Compares outputs with golden ones
    Verify(verify::Arguments),
    /// Shows what is in a model file
    Inspect(inspect::Arguments),
    /// Shows which instruction sets this machine has and which one is chosen
    Kernels(kernels::Arguments),
}

/// The command line, for what is made from it: man pages and completions.
pub fn command() -> clap::Command {
    Tool::command()
}

/// Runs the tool on the arguments of the process.
pub fn main() -> ExitCode {
    exit::finish(PROGRAM, run())
}

fn run() -> Result<()> {
    let Tool { command, classify } = exit::parse()?;
    match command {
        None => classify::run(&classify),
        Some(Command::Eval(arguments)) => eval::run(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
        Some(Command::Verify(arguments)) => verify::run(&arguments),
        Some(Command::Inspect(arguments)) => inspect::run(&arguments),
        Some(Command::Kernels(arguments)) => kernels::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Tool::command().debug_assert();
    }
}
