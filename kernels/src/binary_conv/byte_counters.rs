//! When counters of a byte are emptied, so that none overflows.
//!
//! Mismatches are counted in bytes, which go to 16 bits before they are full, and those to the
//! accumulators before they are.

use super::padded_map::Run;

/// A run short enough for byte counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) run: Run,
    /// Whether the byte counters are emptied afterwards.
    pub(super) widen: bool,
}

/// Steps after which a byte may be full, where each adds up to `step`.
pub(super) const fn steps_in_u8(step: usize) -> usize {
    u8::MAX as usize / step
}

/// Steps after which 16 bits may be full, where each adds up to `step`.
pub(super) const fn steps_in_u16(step: usize) -> usize {
    u16::MAX as usize / step
}

/// Groups pieces of runs, each short enough for byte counters, into parts that fit in 16-bit counters;
/// a step adds up to `step`.
pub(super) fn schedule(pieces: impl Iterator<Item = Run>, step: usize) -> Vec<Vec<Segment>> {
    let mut parts = vec![Vec::<Segment>::new()];
    let (mut in_u8, mut in_u16) = (0, 0);
    for run in pieces {
        let steps = run.steps;
        debug_assert!(steps <= steps_in_u8(step), "a piece fits in byte counters");
        let part = parts.last_mut().expect("at least one part");
        if in_u8 + steps > steps_in_u8(step) {
            part.last_mut().expect("a segment was counted").widen = true;
            in_u8 = 0;
        }
        let part = if in_u16 + steps > steps_in_u16(step) {
            part.last_mut().expect("a segment was counted").widen = true;
            (in_u8, in_u16) = (0, 0);
            parts.push(Vec::new());
            parts.last_mut().expect("just pushed")
        } else {
            part
        };
        part.push(Segment { run, widen: false });
        in_u8 += steps;
        in_u16 += steps;
    }
    if let Some(last) = parts.last_mut().and_then(|part| part.last_mut()) {
        last.widen = true;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Counters that are emptied where the schedule says never hold more than they can, and every
        /// piece is counted once, in order.
        #[test]
        fn no_counter_overflows(
            lengths in prop::collection::vec(1..300_usize, 0..400), step in prop::sample::select(vec![4_usize, 8]),
        ) {
            let pieces: Vec<Run> = lengths
                .iter()
                .enumerate()
                .map(|(at, length)| Run { offset: at, steps: length.min(&steps_in_u8(step)).to_owned() })
                .collect();
            let parts = schedule(pieces.iter().copied(), step);
            let all: Vec<Run> = parts.iter().flatten().map(|segment| segment.run).collect();
            prop_assert_eq!(all, pieces);
            for part in &parts {
                let (mut byte, mut long) = (0, 0);
                for segment in part {
                    byte += segment.run.steps * step;
                    prop_assert!(byte <= 255);
                    if segment.widen {
                        long += byte;
                        byte = 0;
                    }
                }
                prop_assert!(byte == 0 && long <= 65535, "{} left, {} counted", byte, long);
            }
        }
    }
}
