//! The floating-point environment of the host plays no part in the results.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use bnn::{
    Model, SessionOptions,
    program::{ChannelOp, Epilogue, EpilogueOp, FloatConv, StepKind},
};

use crate::builder::{Builder, plain_conv};

/// MXCSR (Intel SDM volume 1, section 10.2.3).
#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// What counts in the word: not the flags of exceptions that have been.
    pub(super) const KEPT: u64 = !0x3f;
    /// Flush to zero, denormals are zero, rounding up; rounding towards zero alone.
    pub(super) const HOSTILE: [u64; 2] = [0x1f80 | 1 << 15 | 1 << 6 | 2 << 13, 0x1f80 | 3 << 13];

    pub(super) fn read() -> u64 {
        let mut word = 0_u32;
        // SAFETY: stores 4 bytes to a variable of 4 bytes.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        u64::from(word)
    }

    pub(super) fn write(word: u64) {
        let word = word as u32;
        // SAFETY: loads 4 bytes; the callers set defined bits only.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

/// FPCR (Arm ARM, C5.2.8).
#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    pub(super) const KEPT: u64 = !0;
    /// Flush to zero, rounding up; rounding towards zero alone.
    pub(super) const HOSTILE: [u64; 2] = [1 << 24 | 1 << 22, 3 << 22];

    pub(super) fn read() -> u64 {
        let word: u64;
        // SAFETY: reading FPCR has no effect.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: u64) {
        // SAFETY: the callers set defined bits only.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

/// A network whose results depend on subnormals and on rounding: `(x * 2^-130) * 2^130 / 3` after a
/// convolution large enough to be split over threads.
fn model() -> Model {
    let mut builder = Builder::default();
    let size = [64, 64, 32];
    let input = builder.input("x", size);
    let output = builder.output("y", size);
    let identity: Vec<f32> =
        (0..32 * 32).map(|i| if i / 32 == i % 32 { 1.0 } else { 0.0 }).collect();
    let weights = builder.floats(identity);
    let tiny = builder.floats([2.0_f32.powi(-126)]);
    let less = builder.floats([2.0_f32.powi(-4)]);
    let huge = builder.floats([2.0_f32.powi(126)]);
    let more = builder.floats([2.0_f32.powi(4)]);
    let three = builder.floats([3.0]);
    let ops = vec![
        EpilogueOp::Channel(ChannelOp::Multiply(tiny)),
        EpilogueOp::Channel(ChannelOp::Multiply(less)),
        EpilogueOp::Channel(ChannelOp::Multiply(huge)),
        EpilogueOp::Channel(ChannelOp::Multiply(more)),
        EpilogueOp::Channel(ChannelOp::Divide(three)),
        EpilogueOp::Store { output },
    ];
    let conv = FloatConv { input, geometry: plain_conv(32, 32, 1), weights };
    builder.step(StepKind::FloatConv { conv, epilogue: Epilogue { ops } });
    Model::from_program(builder.program).unwrap()
}

#[test]
fn the_setting_of_the_host_is_ignored_and_restored() {
    let model = model();
    let image: Vec<f32> = (0..64 * 64 * 32).map(|i| 1.0 + (i % 7) as f32).collect();
    let input = image.repeat(2);
    let expected: Vec<u32> = input.iter().map(|x| (x / 3.0).to_bits()).collect();
    let before = control::read();
    for hostile in control::HOSTILE {
        for threads in [1, 2, 3] {
            // The threads of the pool inherit the setting of the one that makes the session.
            control::write(hostile);
            let mut session = model.session(&SessionOptions::default().threads(threads)).unwrap();
            let mut output = vec![0.0; input.len()];
            session.run_into(&[&input], &mut [&mut output]).unwrap();
            let found = control::read();
            control::write(before);
            assert_eq!(found & control::KEPT, hostile, "the setting is restored");
            let output: Vec<u32> = output.iter().map(|y| y.to_bits()).collect();
            assert!(output == expected, "{threads} threads with {hostile:#x}");
        }
    }
}
