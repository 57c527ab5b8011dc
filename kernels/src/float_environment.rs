//! The floating-point environment that the results are defined in.

use std::marker::PhantomData;

/// Holds the thread in the default floating-point environment (round to nearest even, subnormals
/// kept, exceptions masked) and restores the one it found when dropped.
///
/// A host may have set "flush to zero" or another rounding for its own arithmetic; the numbers of a
/// network must not depend on it.
#[derive(Debug)]
pub struct DefaultFloatEnvironment {
    found: control::Word,
    /// The setting belongs to one thread, and so does its guard.
    _thread: PhantomData<*const ()>,
}

impl DefaultFloatEnvironment {
    /// Saves the environment of this thread and sets the default one.
    #[must_use = "the environment is restored when the guard is dropped"]
    pub fn enter() -> Self {
        let found = control::read();
        if found != control::DEFAULT {
            control::write(control::DEFAULT);
        }
        Self { found, _thread: PhantomData }
    }
}

impl Drop for DefaultFloatEnvironment {
    fn drop(&mut self) {
        // Written back unconditionally: exception flags raised meanwhile are not the host's.
        control::write(self.found);
    }
}

/// MXCSR: exception flags in bits 0-5, DAZ in 6, exception masks in 7-12, rounding in 13-14, FTZ in
/// 15 (Intel SDM volume 1, section 10.2.3).
#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u32;

    /// All exceptions masked, nothing else set: the value at process start.
    pub(super) const DEFAULT: Word = 0x1f80;

    pub(super) fn read() -> Word {
        let mut word: Word = 0;
        // SAFETY: `stmxcsr` (SSE, part of x86-64) stores 4 bytes to `word`, which is 4 bytes long.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags));
        }
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: `ldmxcsr` loads 4 bytes from `word`. It faults only on reserved bits: `word` is
        // either `DEFAULT` or what `stmxcsr` gave, which has none set. No memory clobber is dropped
        // (`nomem` is absent), so the compiler keeps memory accesses on their side of it; arithmetic
        // between enter and drop goes through slices and therefore stays between them.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags));
        }
    }
}

/// FPCR: rounding in bits 22-23, FZ in 24, default NaN in 25 (Arm ARM, C5.2.8).
#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u64;

    /// Everything off: the value at process start.
    pub(super) const DEFAULT: Word = 0;

    pub(super) fn read() -> Word {
        let word: Word;
        // SAFETY: reading FPCR has no effect and is allowed at every exception level.
        unsafe {
            asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags));
        }
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: FPCR is writable at every exception level; `word` is 0 or what FPCR held.
        unsafe {
            asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags));
        }
    }
}

/// Other processors: Rust gives no way to change the environment, so there is nothing to restore.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod control {
    pub(super) type Word = ();

    pub(super) const DEFAULT: Word = ();

    pub(super) fn read() -> Word {}

    pub(super) fn write((): Word) {}
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use std::hint::black_box;

    // FTZ, DAZ, rounding towards zero; exception flags may be set by the arithmetic of the test itself.
    #[cfg(target_arch = "x86_64")]
    const HOSTILE: control::Word = control::DEFAULT | 1 << 15 | 1 << 6 | 3 << 13;
    #[cfg(target_arch = "x86_64")]
    const SETTINGS: control::Word = !0x3f;

    // FZ, rounding towards zero; exception flags have a register of their own.
    #[cfg(target_arch = "aarch64")]
    const HOSTILE: control::Word = 1 << 24 | 3 << 22;
    #[cfg(target_arch = "aarch64")]
    const SETTINGS: control::Word = !0;

    #[test]
    fn a_guard_sets_the_default_and_restores_what_it_found() {
        let before = control::read();
        control::write(HOSTILE);
        // The results too: nothing else keeps the divisions from being done where the setting is another.
        let third = black_box(black_box(1.0_f32) / black_box(3.0));
        let flushed = black_box(black_box(f32::MIN_POSITIVE) / black_box(2.0));
        {
            let _guard = DefaultFloatEnvironment::enter();
            assert_eq!(control::read() & SETTINGS, control::DEFAULT);
            let inside = black_box(black_box(f32::MIN_POSITIVE) / black_box(2.0));
            assert_eq!(inside.to_bits(), 1 << 22, "subnormals are kept");
            assert_eq!(black_box(black_box(2.0_f32) / black_box(3.0)).to_bits(), 0x3f2a_aaab);
        }
        let after = control::read();
        control::write(before);
        assert_eq!(after & SETTINGS, HOSTILE & SETTINGS);
        assert_eq!(flushed, 0.0);
        assert_eq!(third.to_bits(), 0x3eaa_aaaa, "rounded towards zero outside the guard");
    }
}
