//! Proofs that the processor has the features of a path.
//!
//! A value of one of these types exists only where the features were detected, so whoever holds one
//! may call functions compiled for them.

use crate::Isa;

/// The proof that `isa` needs.
///
/// # Panics
/// If the processor lacks `isa`.
pub(crate) fn require<T>(isa: Isa, proof: Option<T>) -> T {
    proof.unwrap_or_else(|| panic!("{isa} is not available"))
}

macro_rules! proof {
    ($(#[$doc:meta])* $name:ident: $detected:ident $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// The proof, if the processor has the features. Does not allocate; detection is cached.
            pub(crate) fn detect() -> Option<Self> {
                let present = $(std::arch::$detected!($feature))&&+;
                present.then_some(Self(()))
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
proof!(
    /// SSSE3, SSE4.1 and POPCNT.
    V2: is_x86_feature_detected "ssse3", "sse4.1", "popcnt"
);
#[cfg(target_arch = "x86_64")]
proof!(
    /// AVX2 and POPCNT.
    Avx2: is_x86_feature_detected "avx2", "popcnt"
);
#[cfg(target_arch = "x86_64")]
proof!(
    /// AVX-512 F, BW, DQ and VL.
    Avx512: is_x86_feature_detected "avx2", "popcnt", "avx512f", "avx512bw", "avx512dq", "avx512vl"
);
#[cfg(target_arch = "x86_64")]
proof!(
    /// AVX-512 F, BW, DQ, VL, BITALG and VNNI.
    Avx512Bitalg: is_x86_feature_detected "avx2", "popcnt", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bitalg", "avx512vnni"
);
#[cfg(target_arch = "x86_64")]
proof!(
    /// AVX-512 F, BW, DQ, VL, VBMI and VNNI, and GFNI.
    Avx512Gfni: is_x86_feature_detected "avx2", "popcnt", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512vnni", "gfni"
);
#[cfg(target_arch = "aarch64")]
proof!(
    /// The vectors of 64-bit Arm.
    Neon: is_aarch64_feature_detected "neon"
);
