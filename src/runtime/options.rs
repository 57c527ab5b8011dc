use bnn_kernels::Isa;

use super::RunError;
use crate::Error;

/// How a [`Session`](super::Session) runs.
///
/// ```
/// use bnn::SessionOptions;
///
/// let options = SessionOptions::default().threads(4);
/// # assert_eq!(options, SessionOptions { threads: 4, ..SessionOptions::default() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads that work on one call; 0 and 1 mean the calling thread alone.
    pub threads: usize,
    /// Instruction set; absent: the fastest that the processor has.
    pub isa: Option<Isa>,
    /// Largest memory in bytes that the feature maps of one image may take. It guards against files
    /// that ask for more than the machine has.
    pub memory_limit: usize,
}

impl Default for SessionOptions {
    /// One thread, the fastest instruction set, at most 4 GiB.
    fn default() -> Self {
        Self { threads: 1, isa: None, memory_limit: Self::DEFAULT_MEMORY_LIMIT }
    }
}

impl SessionOptions {
    /// Most threads a session may have.
    pub const MAXIMUM_THREADS: usize = 1024;

    // A quarter of the address space where that is 32 bits, 4 GiB elsewhere.
    const DEFAULT_MEMORY_LIMIT: usize = if usize::BITS > 32 { 4 << 30 } else { 1 << 30 };

    /// Sets the number of threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the instruction set.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Sets the memory limit in bytes.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The defaults, changed by the environment variables `BNN_ISA` (a name as in [`Isa::name`]) and
    /// `BNN_THREADS` (a number) where they are set and not empty.
    ///
    /// # Errors
    /// [`Error::Isa`] for a name that is unknown or an instruction set that this processor lacks,
    /// [`RunError::Environment`] for a number of threads that is none.
    pub fn from_env() -> Result<Self, Error> {
        let value = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::from_values(value("BNN_ISA").as_deref(), value("BNN_THREADS").as_deref())
    }

    fn from_values(isa: Option<&str>, threads: Option<&str>) -> Result<Self, Error> {
        let mut options = Self::default();
        if let Some(name) = isa.filter(|name| !name.is_empty()) {
            options.isa = Some(name.parse::<Isa>()?.require()?);
        }
        if let Some(text) = threads.filter(|text| !text.is_empty()) {
            options.threads =
                text.parse().ok().filter(|&threads| threads <= Self::MAXIMUM_THREADS).ok_or_else(
                    || RunError::Environment {
                        variable: "BNN_THREADS",
                        value: text.to_owned(),
                        expected: "a number from 0 to 1024",
                    },
                )?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bnn_kernels::IsaError;

    #[test]
    fn environment_values_are_read_and_checked() {
        assert_eq!(SessionOptions::from_values(None, None).unwrap(), SessionOptions::default());
        assert_eq!(
            SessionOptions::from_values(Some(""), Some("")).unwrap(),
            SessionOptions::default()
        );
        let options = SessionOptions::from_values(Some("scalar"), Some("3")).unwrap();
        assert_eq!(options, SessionOptions::default().isa(Isa::Scalar).threads(3));
        for bad in ["-1", "two", "1025", "99999999999999999999"] {
            let error = SessionOptions::from_values(None, Some(bad)).unwrap_err().to_string();
            assert!(error.contains("BNN_THREADS") && error.contains(bad), "{error}");
        }
        assert!(matches!(
            SessionOptions::from_values(Some("mmx"), None),
            Err(Error::Isa(IsaError::Unknown(_)))
        ));
    }
}
