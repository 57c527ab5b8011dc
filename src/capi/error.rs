//! Version and errors
//!
//! Functions that can fail return a bnn_status. What exactly was wrong is told in one line by
//! bnn_last_error_message().

use std::{
    any::Any,
    cell::RefCell,
    ffi::{CString, c_char, c_int},
    panic::{AssertUnwindSafe, catch_unwind},
};

use bnn_kernels::IsaError;

use crate::{Error, RunError, format::FormatError, vision::ImageError};

/// Outcome of a call. The numbers never change; later versions may add some, so treat every value other
/// than BNN_STATUS_OK as a failure.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum bnn_status {
    /// Done.
    Ok = 0,
    /// A pointer is NULL or misaligned, buffers overlap, a value is out of range or a text not UTF-8.
    InvalidArgument = 1,
    /// A buffer has another length than the batch needs, or there are too few or too many of them.
    WrongLength = 2,
    /// An input holds an infinity or a NaN.
    NonFinite = 3,
    /// A file cannot be read.
    Io = 4,
    /// The model is broken: not a .bnn file, truncated, or changed.
    InvalidModel = 5,
    /// The picture is broken, of an unknown kind, too large, or too small for the crop.
    InvalidImage = 6,
    /// The model, the processor or this version of the library cannot do what is asked.
    Unsupported = 7,
    /// Too little memory (or more would be needed than the session's limit), or no more threads.
    OutOfResources = 8,
    /// The session is at work for another thread.
    Busy = 9,
    /// A bug in the library. The session that was used refuses all further work; other objects are not
    /// affected.
    Internal = 10,
}

impl bnn_status {
    /// All of them, for tests of the binary interface.
    pub const ALL: [(Self, &'static std::ffi::CStr); 11] = [
        (Self::Ok, c"BNN_STATUS_OK"),
        (Self::InvalidArgument, c"BNN_STATUS_INVALID_ARGUMENT"),
        (Self::WrongLength, c"BNN_STATUS_WRONG_LENGTH"),
        (Self::NonFinite, c"BNN_STATUS_NON_FINITE"),
        (Self::Io, c"BNN_STATUS_IO"),
        (Self::InvalidModel, c"BNN_STATUS_INVALID_MODEL"),
        (Self::InvalidImage, c"BNN_STATUS_INVALID_IMAGE"),
        (Self::Unsupported, c"BNN_STATUS_UNSUPPORTED"),
        (Self::OutOfResources, c"BNN_STATUS_OUT_OF_RESOURCES"),
        (Self::Busy, c"BNN_STATUS_BUSY"),
        (Self::Internal, c"BNN_STATUS_INTERNAL"),
    ];
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: bnn_status,
    message: String,
}

impl Failure {
    pub(super) fn new(status: bnn_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(bnn_status::InvalidArgument, message)
    }

    fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Self::new(bnn_status::Internal, format!("internal error (a bug in bnn): {text}"))
    }

    fn remember(self) {
        // While a thread ends its message may be gone already; the status still tells.
        let _ = LAST_MESSAGE.try_with(|last| *last.borrow_mut() = Some(c_string(&self.message)));
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Io { .. } => bnn_status::Io,
            Error::Format(source) | Error::Model { source, .. } => format_status(source),
            Error::Program(_) => bnn_status::InvalidModel,
            Error::Image(source) => image_status(source),
            Error::Preprocess(_) => bnn_status::InvalidImage,
            Error::Isa(IsaError::Unknown(_)) => bnn_status::InvalidArgument,
            Error::Isa(_) => bnn_status::Unsupported,
            Error::Run(source) => run_status(source),
        };
        Self::new(status, error.to_string())
    }
}

fn format_status(error: &FormatError) -> bnn_status {
    match error {
        FormatError::Io { .. } | FormatError::Read(_) => bnn_status::Io,
        FormatError::Version { .. } | FormatError::Flags(_) => bnn_status::Unsupported,
        _ => bnn_status::InvalidModel,
    }
}

fn image_status(error: &ImageError) -> bnn_status {
    match error {
        ImageError::Io { .. } => bnn_status::Io,
        ImageError::File { source, .. } => image_status(source),
        ImageError::PixelCount { .. } => bnn_status::WrongLength,
        _ => bnn_status::InvalidImage,
    }
}

fn run_status(error: &RunError) -> bnn_status {
    match error {
        RunError::InputCount { .. }
        | RunError::OutputCount { .. }
        | RunError::Length { .. }
        | RunError::Batch { .. } => bnn_status::WrongLength,
        RunError::NonFinite { .. } => bnn_status::NonFinite,
        RunError::TooLarge { .. } | RunError::OutOfMemory { .. } | RunError::Threads { .. } => {
            bnn_status::OutOfResources
        }
        RunError::TooManyThreads { .. } | RunError::Environment { .. } => {
            bnn_status::InvalidArgument
        }
        _ => bnn_status::Unsupported,
    }
}

thread_local! {
    static LAST_MESSAGE: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Runs the body of a call. Its failure is remembered for this thread, and no panic leaves it.
pub(super) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> bnn_status {
    // What a panic may leave half done is the state of a session, whose lock is poisoned by it.
    let outcome = catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|payload| Err(Failure::from_panic(&*payload)));
    match outcome {
        Ok(()) => bnn_status::Ok,
        Err(failure) => {
            let status = failure.status;
            failure.remember();
            status
        }
    }
}

/// A text for C callers. Zero bytes, which would end it, become replacement characters.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// The version of the library that runs, such as "1.2.3"; BNN_VERSION is that of the header. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bnn_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The name of a status, such as "BNN_STATUS_IO"; "unknown status" for numbers that are none. Never
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bnn_status_name(status: c_int) -> *const c_char {
    bnn_status::ALL
        .iter()
        .find(|(known, _)| *known as c_int == status)
        .map_or(c"unknown status", |(_, name)| name)
        .as_ptr()
}

/// What was wrong in the last call of this thread that failed: one line of UTF-8 that names the file,
/// the tensor or the argument, what was found and what was expected. An empty text if none has failed.
/// Never NULL.
///
/// The text stays until the next call that fails on this thread, or the end of the thread. Calls that
/// succeed do not change it.
#[unsafe(no_mangle)]
pub extern "C" fn bnn_last_error_message() -> *const c_char {
    LAST_MESSAGE
        .try_with(|last| last.borrow().as_ref().map_or(c"".as_ptr(), |text| text.as_ptr()))
        .unwrap_or(c"".as_ptr())
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: the function returns a text that lasts until the next failure on this thread.
        unsafe { CStr::from_ptr(bnn_last_error_message()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_message() {
        assert_eq!(last(), "");
        let status = guard(|| panic!("out of cheese"));
        assert_eq!(status, bnn_status::Internal);
        assert!(last().contains("out of cheese"), "{}", last());
        let dish = "cheese";
        assert_eq!(guard(|| panic!("no {dish}\0left")), bnn_status::Internal);
        assert!(last().contains("no cheese\u{fffd}left"), "{}", last());
        assert_eq!(guard(|| std::panic::panic_any(7)), bnn_status::Internal);
        assert!(last().contains("no message"), "{}", last());
    }

    #[test]
    fn messages_belong_to_their_thread_and_stay_until_the_next_failure() {
        guard(|| Err(Failure::argument("here")));
        std::thread::spawn(|| {
            assert_eq!(last(), "");
            guard(|| Err(Failure::argument("there")));
            assert_eq!(last(), "there");
        })
        .join()
        .unwrap();
        assert_eq!(guard(|| Ok(())), bnn_status::Ok);
        assert_eq!(last(), "here");
    }

    #[test]
    fn errors_have_the_status_of_their_kind() {
        let status = |error: Error| Failure::from(error).status;
        let run = |error: RunError| status(error.into());
        assert_eq!(run(RunError::NoPreprocessing), bnn_status::Unsupported);
        assert_eq!(run(RunError::OutOfMemory { bytes: 1 }), bnn_status::OutOfResources);
        assert_eq!(run(RunError::InputCount { found: 1, expected: 2 }), bnn_status::WrongLength);
        assert_eq!(status(FormatError::Magic.into()), bnn_status::InvalidModel);
        let version = FormatError::Version { major: 9, minor: 0 };
        assert_eq!(status(version.into()), bnn_status::Unsupported);
        assert_eq!(status(IsaError::Unknown("mmx".into()).into()), bnn_status::InvalidArgument);
        let missing = IsaError::Unavailable { isa: crate::Isa::Amx, missing: "amx".into() };
        assert_eq!(status(missing.into()), bnn_status::Unsupported);
        let file = ImageError::File { path: "x".into(), source: Box::new(ImageError::Empty) };
        assert_eq!(status(file.into()), bnn_status::InvalidImage);
    }
}
