//! How a tool ends: exit codes, and the one line that says what went wrong.

use crate::terminal::printable;
use std::{fmt, io, path::Path, process};

/// What an exit code stands for. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything was done.
    Done = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// The command line (or an environment variable) asks for something that cannot be.
    Usage = 2,
    /// An input cannot be read, or what it holds is broken.
    Input = 3,
    /// The model is not supported, or `--strict` refused it.
    Unsupported = 4,
    /// Verification found differences.
    Verification = 5,
}

impl From<Status> for process::ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a tool stops.
#[derive(Debug)]
pub enum Failure {
    /// An error to be told in one line.
    Error {
        /// The exit code.
        status: Status,
        /// What is wrong: the file, the tensor or node, what was found, what was expected.
        message: String,
    },
    /// Everything there is to say has been said; only the exit code is left.
    Reported(Status),
    /// Nobody reads the output any more: not an error.
    ClosedPipe,
}

/// What the parts of a tool return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An error with the given exit code.
    pub fn new(status: Status, message: impl fmt::Display) -> Self {
        Self::Error { status, message: message.to_string() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Status::Usage, message)
    }

    /// The file `path` cannot be read or is broken.
    pub fn input(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(Status::Input, format_args!("{}: {message}", path.display()))
    }

    /// Writing results failed.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::new(Status::Other, format_args!("cannot write to standard output: {error}"))
        }
    }

    /// The exit code.
    pub fn status(&self) -> Status {
        match self {
            Self::Error { status, .. } | Self::Reported(status) => *status,
            Self::ClosedPipe => Status::Done,
        }
    }
}

/// Writes one line to standard error, whatever the message holds.
pub fn complain(program: &str, message: &str) {
    // Standard error may be closed as well; then there is nobody left to tell.
    let _ = io::Write::write_fmt(
        &mut io::stderr().lock(),
        format_args!("{program}: {}\n", printable(message)),
    );
}

/// The exit code of a tool that ended with `result`, after telling the error if there is one.
pub fn finish(program: &str, result: Result<()>) -> process::ExitCode {
    match result {
        Ok(()) => Status::Done.into(),
        Err(failure) => {
            if let Failure::Error { message, .. } = &failure {
                complain(program, message);
            }
            failure.status().into()
        }
    }
}

/// Parses the command line. Help and version go to standard output; a mistake becomes one line.
///
/// # Errors
/// [`Status::Usage`] with the mistake, or [`Status::Done`] once help has been printed.
pub fn parse<T: clap::Parser>() -> Result<T> {
    T::try_parse().map_err(|error| {
        if !error.use_stderr() {
            return match error.print() {
                Ok(()) => Failure::Reported(Status::Done),
                Err(error) => Failure::output(&error),
            };
        }
        Failure::usage(format_args!("{} (see --help)", first_paragraph(&error.to_string())))
    })
}

/// The lines up to the first empty one in a single line, without the word "error".
fn first_paragraph(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(str::trim).skip_while(|l| l.is_empty()).take_while(|l| !l.is_empty()).collect();
    let joined = lines.join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let failure = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.status(), Status::Done);
        let failure = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.status(), Status::Other);
    }

    #[test]
    fn usage_errors_fit_one_line() {
        let text = "error: the following required arguments were not provided:\n  <IMAGE>...\n\nUsage: x\n";
        assert_eq!(
            first_paragraph(text),
            "the following required arguments were not provided: <IMAGE>..."
        );
    }

    #[test]
    fn input_errors_name_the_file() {
        let failure = Failure::input(Path::new("a/b.png"), "not an image");
        let Failure::Error { status, message } = failure else { panic!("an error") };
        assert_eq!((status, message.as_str()), (Status::Input, "a/b.png: not an image"));
    }
}
