//! A program made ready for one instruction set: packed kernels and a memory plan.

use bnn_kernels::Isa;

use super::{
    RunError,
    access::Access,
    binding::{Binding, Located, Place},
    info::StepInfo,
    memory::{self, Block},
    prepare::{self, Work, buffer_bytes, buffer_len},
    rows::MapOrder,
};
use crate::program::{BufferId, BufferKind, Program};

/// Which steps are carried out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Joining {
    /// A map that only the next step reads, window by window, exists only a few rows at a time; so does
    /// one that is only brought into another order for it.
    Windows,
    /// Each step by itself, so that all maps can be looked at.
    None,
}

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
    pub(crate) fn new(program: &Program, isa: Isa, joining: Joining) -> Result<Self, RunError> {
        let mut planned: Vec<Planned> = Vec::with_capacity(program.steps.len());
        let readers = readers(program);
        for step in &program.steps {
            let (work, info) = prepare::prepare(program, step, isa)?;
            let mut next = Planned { work, info, access: Access::of(&step.kind) };
            if joining == Joining::Windows
                && let Some(last) = planned.pop()
            {
                match next.after(last, program, &readers)? {
                    Ok(joined) => next = joined,
                    Err((last, separate)) => {
                        planned.push(last);
                        next = separate;
                    }
                }
            }
            planned.push(next);
        }
        let in_place = match joining {
            Joining::Windows => write_in_place(program, &mut planned),
            Joining::None => Vec::new(),
        };
        let accesses: Vec<&Access> = planned.iter().map(|step| &step.access).collect();
        let layout = Layout::new(program, &accesses, &in_place)?;
        let mut temporary_words = 0;
        let mut infos = Vec::with_capacity(planned.len());
        let mut steps = Vec::with_capacity(planned.len());
        for Planned { work, mut info, access } in planned {
            let words = work.temporary_words();
            temporary_words = temporary_words.max(words);
            info.read_bytes = total_bytes(program, &access.reads)?;
            info.written_bytes = total_bytes(program, &access.writes)?;
            info.temporary_bytes = words.saturating_mul(8);
            let located = |ids: &[BufferId]| -> Vec<Located> {
                ids.iter().map(|id| layout.buffers[id.index()]).collect()
            };
            let binding = Binding::new(&located(&access.reads), located(&access.writes));
            let worth_splitting = rough_cost(&info) >= WORTH_SPLITTING;
            steps.push(PreparedStep { work, binding, worth_splitting });
            infos.push(info);
        }
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

/// A step before buffers have their places.
struct Planned {
    work: Work,
    info: StepInfo,
    access: Access,
}

impl Planned {
    /// This step joined to the one before it, or both back.
    fn after(
        self,
        last: Self,
        program: &Program,
        readers: &[usize],
    ) -> Result<Result<Self, (Self, Self)>, RunError> {
        let between = match (&last.access.writes[..], &self.access.reads[..]) {
            ([written], [read, operands @ ..]) if written == read && !operands.contains(read) => {
                *written
            }
            _ => return Ok(Err((last, self))),
        };
        let buffer = program.buffer(between);
        let is_output = program.outputs.iter().any(|port| port.buffer == between);
        let same = last.info.output == [buffer.height, buffer.width, buffer.channels];
        if buffer.kind != BufferKind::F32 || is_output || readers[between.index()] != 1 || !same {
            return Ok(Err((last, self)));
        }
        let joined = match (last.work, self.work) {
            (Work::Rows(feeder), Work::Rows(step)) => {
                let reads = last.access.reads.len();
                let joined = match step.on_joined(*feeder, reads)? {
                    Err((step, feeder)) => step.fed_by(feeder, reads)?,
                    joined => joined,
                };
                joined.map_err(|(step, feeder)| {
                    (Work::Rows(Box::new(feeder)), Work::Rows(Box::new(step)))
                })
            }
            (Work::Gather { dims, strides, offset }, Work::Rows(mut step)) => {
                let whole = last.info.output == dims[..];
                match strides[..].try_into() {
                    Ok(strides) if whole && step.reorder(MapOrder { strides, offset }) => Ok(*step),
                    _ => Err((Work::Gather { dims, strides, offset }, Work::Rows(step))),
                }
            }
            apart => Err(apart),
        };
        Ok(match joined {
            Ok(joined) => {
                let mut info = self.info;
                info.name = format!("{} + {}", last.info.name, info.name);
                info.macs = info.macs.saturating_add(last.info.macs);
                info.weight_bytes = info.weight_bytes.saturating_add(last.info.weight_bytes);
                if last.info.macs > 0 {
                    (info.kind, info.kernel) = (last.info.kind, last.info.kernel);
                }
                let mut access = last.access;
                access.reads.extend(&self.access.reads[1..]);
                access.writes = self.access.writes;
                Ok(Self { work: Work::Rows(Box::new(joined)), info, access })
            }
            Err((first, second)) => {
                Err((Self { work: first, ..last }, Self { work: second, ..self }))
            }
        })
    }
}

/// Lets sums take the place of a term that nobody reads afterwards, and says which buffers so take
/// the place of which.
fn write_in_place(program: &Program, planned: &mut [Planned]) -> Vec<(BufferId, BufferId)> {
    let is_port =
        |id: BufferId| program.inputs.iter().chain(&program.outputs).any(|port| port.buffer == id);
    let touched = |access: &Access, id: BufferId| {
        access.reads.iter().chain(&access.writes).filter(|&&other| other == id).count()
    };
    // The first and the last step that touch a buffer.
    let mut lives = vec![(usize::MAX, 0); program.buffers.len()];
    for (position, step) in planned.iter().enumerate() {
        for id in step.access.reads.iter().chain(&step.access.writes) {
            let (first, last) = lives[id.index()];
            lives[id.index()] = (first.min(position), last.max(position));
        }
    }
    let mut pairs = Vec::new();
    for (position, Planned { work, access, .. }) in planned.iter_mut().enumerate() {
        let Work::Rows(step) = work else { continue };
        for (output, &written) in access.writes.iter().enumerate() {
            let shape = program.buffer(written);
            if is_port(written)
                || shape.kind != BufferKind::F32
                || lives[written.index()].0 != position
                || touched(access, written) != 1
            {
                continue;
            }
            let fitting = (0..step.operands().len()).find(|&operand| {
                let read = access.reads[step.first_operand() + operand];
                !is_port(read)
                    && program.buffer(read) == shape
                    && lives[read.index()].1 == position
                    && touched(access, read) == 1
                    && step.work_in_place(operand, output)
            });
            if let Some(operand) = fitting {
                pairs.push((access.reads[step.first_operand() + operand], written));
            }
        }
    }
    pairs
}

/// For each buffer, how many steps read it.
fn readers(program: &Program) -> Vec<usize> {
    let mut readers = vec![0; program.buffers.len()];
    for step in &program.steps {
        let mut reads = Access::of(&step.kind).reads;
        reads.sort_unstable();
        reads.dedup();
        for id in reads {
            readers[id.index()] += 1;
        }
    }
    readers
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
    arena_words: usize,
    live_words: usize,
}

impl Layout {
    /// Of each pair the second buffer takes the place of the first.
    fn new(
        program: &Program,
        accesses: &[&Access],
        in_place: &[(BufferId, BufferId)],
    ) -> Result<Self, RunError> {
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

        // A chain of buffers in one place lives as its first one, from its beginning to the end of the
        // last. Pairs are in the order of the steps, so a chain is followed from its beginning.
        let mut root: Vec<usize> = (0..buffers.len()).collect();
        for (before, after) in in_place {
            let first = root[before.index()];
            root[after.index()] = first;
            if let (Some(life), Some(other)) = (lives[first], lives[after.index()].take()) {
                lives[first] = Some((life.0.min(other.0), life.1.max(other.1)));
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
        let placement = memory::place(&blocks)?;
        for (index, &offset) in of_buffer.into_iter().zip(&placement.offsets) {
            buffers[index].place = Place::Arena(offset);
        }
        for (before, after) in in_place {
            buffers[after.index()].place = buffers[before.index()].place;
        }
        Ok(Self { buffers, arena_words: placement.total, live_words: placement.peak })
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
            let accesses_of: Vec<_> = accesses.iter().collect();
            let layout = Layout::new(&program, &accesses_of, &[]).unwrap();
            for step in 0..program.steps.len() {
                let mut live = Vec::new();
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
