//! Instruction sets: which exist, which this processor has, and which is taken.

use std::{fmt, str::FromStr};
use thiserror::Error;

/// A family of kernels, named after the instructions it needs.
///
/// The order is the order of preference: later ones are faster where they are available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, the reference that defines what every other path must give.
    Scalar,
    /// x86-64-v2: SSSE3, SSE4.1 and POPCNT. Without fused multiply-adds, see
    /// [`fuses_multiply_add`](Self::fuses_multiply_add).
    V2,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with VPOPCNTDQ.
    Avx512Vpopcnt,
    /// The same with the tile registers of AMX, for products of bytes.
    Amx,
    /// The vectors of 64-bit Arm (Advanced SIMD), in the instructions of the first processors that had
    /// them (Armv8.0).
    Neon,
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IsaError {
    /// No path has this name.
    #[error(
        "unknown instruction set '{0}', expected one of scalar, v2, avx2, avx512, avx512vpopcnt, amx, neon"
    )]
    Unknown(String),
    /// The processor lacks it.
    #[error("this processor cannot run '{isa}': {missing} missing")]
    Unavailable {
        /// What was asked for.
        isa: Isa,
        /// The features it lacks.
        missing: String,
    },
}

impl Isa {
    /// All paths, slowest first.
    pub const ALL: [Self; 7] = [
        Self::Scalar,
        Self::V2,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Vpopcnt,
        Self::Amx,
        Self::Neon,
    ];

    /// The name that `BNN_ISA` and `--isa` take.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::V2 => "v2",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vpopcnt => "avx512vpopcnt",
            Self::Amx => "amx",
            Self::Neon => "neon",
        }
    }

    /// Processor features that the path needs and this processor lacks; empty if it can run.
    pub fn missing_features(self) -> Vec<&'static str> {
        self.features().into_iter().filter(|(_, present)| !present).map(|(name, _)| name).collect()
    }

    /// Whether this processor can run the path.
    pub fn is_available(self) -> bool {
        self.missing_features().is_empty()
    }

    /// The paths this processor can run, slowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest path this processor can run.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether float convolutions and dense layers add each product by a fused multiply-add.
    ///
    /// All paths that do so give the same bits. [`V2`](Self::V2) has no such instruction: there a product
    /// is rounded before it is added, and sums of floats differ from those of the other paths in their
    /// last bits.
    pub fn fuses_multiply_add(self) -> bool {
        self != Self::V2
    }

    /// This path, if the processor can run it.
    ///
    /// # Errors
    /// [`IsaError::Unavailable`], naming the missing features.
    pub fn require(self) -> Result<Self, IsaError> {
        let missing = self.missing_features();
        if missing.is_empty() {
            Ok(self)
        } else {
            Err(IsaError::Unavailable { isa: self, missing: missing.join(", ") })
        }
    }

    /// Whether this build has kernels for the path: those of other architectures are left out.
    pub fn is_built(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::V2 | Self::Avx2 | Self::Avx512 | Self::Avx512Vpopcnt | Self::Amx => {
                cfg!(target_arch = "x86_64")
            }
            Self::Neon => cfg!(target_arch = "aarch64"),
        }
    }

    /// Features of the path, each with whether this processor has it.
    #[cfg(target_arch = "x86_64")]
    pub fn features(self) -> Vec<(&'static str, bool)> {
        macro_rules! detect {
            ($($feature:tt),*) => { vec![$(($feature, std::arch::is_x86_feature_detected!($feature))),*] };
        }
        match self {
            Self::Scalar => Vec::new(),
            Self::V2 => detect!("ssse3", "sse4.1", "popcnt"),
            Self::Avx2 => detect!("avx2", "fma", "popcnt"),
            Self::Avx512 => {
                detect!("avx2", "fma", "popcnt", "avx512f", "avx512bw", "avx512dq", "avx512vl")
            }
            Self::Avx512Vpopcnt => detect!(
                "avx2",
                "fma",
                "popcnt",
                "avx512f",
                "avx512bw",
                "avx512dq",
                "avx512vl",
                "avx512vpopcntdq"
            ),
            Self::Amx => {
                let mut features = Self::Avx512Vpopcnt.features();
                let present = crate::amx::present();
                features.push(("amx-tile and amx-int8", present));
                if present {
                    let working = crate::amx::Amx::detect().is_some();
                    features.push(("the system's permission to use amx", working));
                }
                features
            }
            Self::Neon => vec![("a 64-bit Arm processor", false)],
        }
    }

    /// Features of the path, each with whether this processor has it.
    #[cfg(target_arch = "aarch64")]
    pub fn features(self) -> Vec<(&'static str, bool)> {
        match self {
            Self::Scalar => Vec::new(),
            Self::Neon => vec![("neon", std::arch::is_aarch64_feature_detected!("neon"))],
            _ => vec![("an x86-64 processor", false)],
        }
    }

    /// Features of the path, each with whether this processor has it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn features(self) -> Vec<(&'static str, bool)> {
        match self {
            Self::Scalar => Vec::new(),
            Self::Neon => vec![("a 64-bit Arm processor", false)],
            _ => vec![("an x86-64 processor", false)],
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        if let Some(isa) = Self::ALL.into_iter().find(|isa| isa.name() == name) {
            return Ok(isa);
        }
        Err(IsaError::Unknown(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_name_that_leads_back_to_it() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
            assert_eq!(isa.to_string(), isa.name());
        }
        assert!(Isa::ALL.is_sorted(), "slowest first");
        let expected = "unknown instruction set 'NEON', expected one of scalar, v2, avx2, avx512, \
                        avx512vpopcnt, amx, neon";
        assert_eq!("NEON".parse::<Isa>().unwrap_err().to_string(), expected);
    }

    #[test]
    fn paths_of_another_architecture_are_refused_and_the_best_is_the_last_one_here() {
        let available = Isa::available();
        assert!(available.iter().all(|isa| isa.is_built()));
        assert_eq!(available[0], Isa::Scalar);
        assert_eq!(available.last(), Some(&Isa::best()));
        let (elsewhere, expected) = if cfg!(target_arch = "aarch64") {
            // Every such processor of an operating system that Rust's library knows has NEON.
            assert_eq!(available, [Isa::Scalar, Isa::Neon]);
            (Isa::Avx2, "this processor cannot run 'avx2': an x86-64 processor missing")
        } else {
            (Isa::Neon, "this processor cannot run 'neon': a 64-bit Arm processor missing")
        };
        assert_eq!(elsewhere.require().unwrap_err().to_string(), expected);
        for isa in available {
            assert_eq!(isa.require(), Ok(isa));
        }
    }
}
