//! Options that say how a model runs, and loading it.

use crate::exit::{self, Failure, Result, Status};
use bnn::{Error, Isa, Model, SessionOptions, runtime::RunError};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How a model runs. Where an option is left out, its environment variable counts.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct EngineArguments {
    /// Threads that work on one call [env: BNN_THREADS] [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<String>,
    /// Instruction set: scalar, v2, avx2, avx512, avx512vpopcnt, amx or neon [env: BNN_ISA] [default: the fastest]
    #[arg(long, value_name = "NAME")]
    pub isa: Option<String>,
}

impl EngineArguments {
    /// The options of a session.
    ///
    /// # Errors
    /// [`Status::Usage`] for a value that means nothing or an instruction set that this processor
    /// or this version lacks.
    pub fn options(&self) -> Result<SessionOptions> {
        let isa = self.isa()?.map(|(isa, _)| isa);
        let mut options = SessionOptions { isa, ..SessionOptions::default() };
        if let Some((source, text)) = choice(&self.threads, "--threads", "BNN_THREADS") {
            let limit = SessionOptions::MAXIMUM_THREADS;
            let threads = text.parse().ok().filter(|&threads| threads <= limit);
            options.threads = threads.ok_or_else(|| {
                Failure::usage(format_args!(
                    "{source}: '{text}', expected a number of threads from 1 to {limit}"
                ))
            })?;
        }
        Ok(options)
    }

    /// The instruction set that is asked for, and by what.
    ///
    /// # Errors
    /// As [`EngineArguments::options`].
    pub fn isa(&self) -> Result<Option<(Isa, &'static str)>> {
        let Some((source, name)) = choice(&self.isa, "--isa", "BNN_ISA") else { return Ok(None) };
        match name.parse::<Isa>().and_then(Isa::require) {
            Ok(isa) => Ok(Some((isa, source))),
            Err(error) => Err(Failure::usage(format_args!("{source}: {error}"))),
        }
    }
}

/// The value of an option or else of its environment variable, and which of the two it is.
fn choice(
    flag: &Option<String>,
    flag_name: &'static str,
    variable: &'static str,
) -> Option<(&'static str, String)> {
    if let Some(value) = flag {
        return Some((flag_name, value.clone()));
    }
    let value = std::env::var_os(variable)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some((variable, value))
}

/// Which model runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ModelArguments {
    /// Model file; left out, the default model that is built in
    #[arg(short, long, value_name = "MODEL.bnn")]
    pub model: Option<PathBuf>,
    /// Read the model file through a memory mapping; no other process may change it meanwhile
    #[arg(long, requires = "model")]
    pub mmap: bool,
}

/// A model and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The path as given, or `default`.
    pub name: String,
    /// The model.
    pub model: Model,
    /// Time that reading and checking it took.
    pub time: Duration,
}

impl ModelArguments {
    /// Reads the model, and warns if its weights are random numbers.
    ///
    /// # Errors
    /// If it cannot be read or is broken.
    pub fn open(&self) -> Result<Loaded> {
        let start = Instant::now();
        let (name, model) = match &self.model {
            Some(path) => (path.display().to_string(), open(path, self.mmap)?),
            None => {
                let model = Model::from_bytes(bnn_models::default_model());
                ("default".to_owned(), model.map_err(|error| failure("default", error))?)
            }
        };
        let time = start.elapsed();
        if model.program().metadata.random_weights {
            exit::complain(
                "bnn-run",
                &format!("warning: the weights of {name} are random: its answers mean nothing"),
            );
        }
        Ok(Loaded { name, model, time })
    }
}

fn open(path: &Path, mmap: bool) -> Result<Model> {
    let model = if mmap {
        // SAFETY: nobody else changes the file during the call: the user has promised it with
        // `--mmap`, whose help says so.
        unsafe { Model::map(path) }
    } else {
        Model::open(path)
    };
    model.map_err(|error| failure(&path.display().to_string(), error))
}

/// An error of the library about the model called `name`, with its exit code.
pub fn failure(name: &str, error: Error) -> Failure {
    let status = match &error {
        Error::Isa(_) => Status::Usage,
        Error::Run(error) => match error {
            RunError::NoPreprocessing | RunError::NotOneToOne { .. } | RunError::Step { .. } => {
                Status::Unsupported
            }
            RunError::TooManyThreads { .. } | RunError::Environment { .. } => Status::Usage,
            RunError::OutOfMemory { .. } | RunError::Threads { .. } => Status::Other,
            _ => Status::Input,
        },
        _ => Status::Input,
    };
    match error {
        // These name the file themselves.
        Error::Io { .. } | Error::Model { .. } | Error::Isa(_) => Failure::new(status, error),
        _ => Failure::new(status, format_args!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(isa: &str, threads: &str) -> Result<SessionOptions> {
        EngineArguments { isa: Some(isa.to_owned()), threads: Some(threads.to_owned()) }.options()
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(
            with("scalar", "3").unwrap(),
            SessionOptions::default().isa(Isa::Scalar).threads(3)
        );
        let elsewhere = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
        let cannot_run = format!("--isa: this processor cannot run '{elsewhere}'");
        for (isa, threads, expected) in [
            ("mmx", "1", "--isa: unknown instruction set 'mmx'"),
            (elsewhere, "1", cannot_run.as_str()),
            ("scalar", "-1", "--threads: '-1'"),
            ("scalar", "100000", "--threads: '100000'"),
        ] {
            let failure = with(isa, threads).unwrap_err();
            let Failure::Error { status: Status::Usage, message } = failure else {
                panic!("{failure:?}")
            };
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
