//! A program made ready for one instruction set: packed kernels and a memory plan.

use std::ops::Range;

use bnn_kernels::Isa;

use super::{
    RunError,
    access::Access,
    binding::{Binding, Located, Place},
    info::StepInfo,
    memory::{self, Block},
    prepare::{self, Work, buffer_bytes, buffer_len},
};
use crate::program::{BufferId, Program};

/// A step with its kernels and the places of its buffers.
#[derive(Debug)]
pub(crate) struct PreparedStep {
    pub(crate) work: Work,
    pub(crate) binding: Binding,
    /// Whether its rows are worth the cost of handing them to other threads.
    pub(crate) worth_splitting: bool,
}

/// A step that takes less than this in rough nanoseconds stays on one thread: handing rows to
/// another thread and waiting for it takes a few microseconds.
const WORTH_SPLITTING: u64 = 20_000;

/// Rough nanoseconds of a step on one thread: 256 binary products each, or 16 float ones, or 8 bytes.
fn rough_cost(info: &StepInfo) -> u64 {
    let products = info.macs / if info.kind == "binary_conv" { 256 } else { 16 };
    let bytes = info.read_bytes.saturating_add(info.written_bytes);
    products.saturating_add(bytes as u64 / 8)
}

/// All that sessions of one model on one instruction set share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) isa: Isa,
    pub(crate) steps: Vec<PreparedStep>,
    pub(crate) infos: Vec<StepInfo>,
    /// Words of the arena of one image.
    pub(crate) arena_words: usize,
    /// Largest sum of the blocks alive in one step, in words.
    pub(crate) live_words: usize,
    /// Words of temporary memory of one thread.
    pub(crate) temporary_words: usize,
}

impl Engine {
    /// Packs the weights of a valid program and plans its memory.
    ///
    /// # Errors
    /// [`RunError::Step`] if a kernel refuses a step, [`RunError::TooLarge`] if sizes overflow.
    pub(crate) fn new(program: &Program, isa: Isa) -> Result<Self, RunError> {
        let accesses: Vec<Access> = program.steps.iter().map(|s| Access::of(&s.kind)).collect();
        let mut works = Vec::with_capacity(program.steps.len());
        let mut infos = Vec::with_capacity(program.steps.len());
        for (step, access) in program.steps.iter().zip(&accesses) {
            let (work, mut info) = prepare::prepare(program, step, isa)?;
            info.read_bytes = total_bytes(program, &access.reads)?;
            info.written_bytes = total_bytes(program, &access.writes)?;
            info.scratch_bytes = work.scratch_words().saturating_mul(8);
            works.push(work);
            infos.push(info);
        }

        let layout = Layout::new(program, &accesses, &works)?;
        let temporary_words = works.iter().map(Work::temporary_words).max().unwrap_or(0);
        let steps = works
            .into_iter()
            .zip(&accesses)
            .zip(layout.scratch)
            .zip(&infos)
            .map(|(((work, access), scratch), info)| {
                let located = |ids: &[BufferId]| -> Vec<Located> {
                    ids.iter().map(|id| layout.buffers[id.index()]).collect()
                };
                let binding =
                    Binding::new(&located(&access.reads), located(&access.writes), scratch);
                PreparedStep { work, binding, worth_splitting: rough_cost(info) >= WORTH_SPLITTING }
            })
            .collect();
        Ok(Self {
            isa,
            steps,
            infos,
            arena_words: layout.arena_words,
            live_words: layout.live_words,
            temporary_words,
        })
    }

    /// Bytes that one image in flight takes on `threads` threads.
    pub(crate) fn bytes_in_flight(&self, threads: usize) -> usize {
        self.temporary_words
            .saturating_mul(threads)
            .saturating_add(self.arena_words)
            .saturating_mul(8)
    }
}

/// Bytes of some buffers, each counted once.
fn total_bytes(program: &Program, ids: &[BufferId]) -> Result<usize, RunError> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.iter()
        .try_fold(0_usize, |sum, &id| Ok(sum.saturating_add(buffer_bytes(program.buffer(id))?)))
}

/// Where everything lies.
struct Layout {
    /// By buffer.
    buffers: Vec<Located>,
    /// By step: words of the arena that the kernel has for itself.
    scratch: Vec<Option<Range<usize>>>,
    arena_words: usize,
    live_words: usize,
}

impl Layout {
    fn new(program: &Program, accesses: &[Access], works: &[Work]) -> Result<Self, RunError> {
        let mut buffers = program
            .buffers
            .iter()
            .map(|buffer| {
                let (kind, len) = (buffer.kind, buffer_len(buffer)?);
                // Replaced below, unless no step touches the buffer.
                Ok(Located { place: Place::Arena(0), kind, len })
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        for (port, input) in program.inputs.iter().enumerate() {
            buffers[input.buffer.index()].place = Place::Input(port);
        }
        for (port, output) in program.outputs.iter().enumerate() {
            buffers[output.buffer.index()].place = Place::Output(port);
        }

        // Life of each buffer: first and last step that touches it.
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
        for (step, access) in accesses.iter().enumerate() {
            for id in access.reads.iter().chain(&access.writes) {
                let life = &mut lives[id.index()];
                *life = Some((life.map_or(step, |(first, _)| first), step));
            }
        }

        let mut blocks = Vec::new();
        let mut of_buffer = Vec::new();
        for (index, (located, life)) in buffers.iter().zip(lives).enumerate() {
            if let (Place::Arena(_), Some((first, last))) = (located.place, life) {
                of_buffer.push(index);
                blocks.push(Block::new(located.words(), first, last)?);
            }
        }
        let mut of_step = Vec::new();
        for (step, work) in works.iter().enumerate() {
            let words = work.scratch_words();
            if words > 0 {
                of_step.push(step);
                blocks.push(Block::new(words, step, step)?);
            }
        }

        let placement = memory::place(&blocks)?;
        let (buffer_offsets, scratch_offsets) = placement.offsets.split_at(of_buffer.len());
        for (index, &offset) in of_buffer.into_iter().zip(buffer_offsets) {
            buffers[index].place = Place::Arena(offset);
        }
        let mut scratch = vec![None; works.len()];
        for (step, &offset) in of_step.into_iter().zip(scratch_offsets) {
            scratch[step] = Some(offset..offset + works[step].scratch_words());
        }
        Ok(Self { buffers, scratch, arena_words: placement.total, live_words: placement.peak })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::runtime::generate;

    proptest! {
        /// Whatever is needed during a step lies apart from all else that is.
        #[test]
        fn no_two_live_buffers_of_a_program_overlap(seed in any::<u64>(), steps in 1_usize..30) {
            let program = generate::program(seed, steps);
            program.validate().unwrap();
            let accesses: Vec<_> = program.steps.iter().map(|s| Access::of(&s.kind)).collect();
            let works: Vec<_> = program
                .steps
                .iter()
                .map(|step| prepare::prepare(&program, step, Isa::Scalar).unwrap().0)
                .collect();
            let layout = Layout::new(&program, &accesses, &works).unwrap();
            for step in 0..program.steps.len() {
                let mut live: Vec<Range<usize>> = layout.scratch[step].iter().cloned().collect();
                for (index, located) in layout.buffers.iter().enumerate() {
                    let touches = |access: &Access| {
                        access.reads.iter().chain(&access.writes).any(|id| id.index() == index)
                    };
                    let alive = accesses[..=step].iter().any(touches)
                        && accesses[step..].iter().any(touches);
                    if let (true, Place::Arena(start)) = (alive, located.place) {
                        live.push(start..start + located.words());
                    }
                }
                live.sort_by_key(|range| range.start);
                for pair in live.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start, "step {}: {:?}", step, pair);
                }
                prop_assert!(live.last().is_none_or(|range| range.end <= layout.arena_words));
            }
        }
    }
}
