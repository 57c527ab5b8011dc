//! How a step gets its slices: some of the arena, some of the caller's tensors.
//!
//! All places are known when the model is prepared. At run time the arena is split at the places
//! that the step writes; what lies between them can be read. The borrow checker sees disjoint
//! slices, and nothing is copied.

use std::mem;

use bnn_kernels::{MapValues, OutputSlice};

use super::few::Few;
use crate::program::BufferKind;

/// Where a buffer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the arena, from this word on.
    Arena(usize),
    /// In an input of the network.
    Input(usize),
    /// In an output of the network.
    Output(usize),
}

/// A buffer that a step touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) place: Place,
    pub(crate) kind: BufferKind,
    /// Number of values (f32, i16) or words (bits).
    pub(crate) len: usize,
}

impl Located {
    /// Words that the buffer takes.
    pub(crate) fn words(&self) -> usize {
        match self.kind {
            BufferKind::F32 => self.len.div_ceil(2),
            BufferKind::I16 => self.len.div_ceil(4),
            BufferKind::Bits => self.len,
        }
    }
}

/// A stretch of the arena that the step may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    start: usize,
    words: usize,
    /// Which of the writes lies there.
    write: usize,
}

/// A buffer to read, relative to the parts that the arena is split into.
#[derive(Debug, Clone, Copy)]
struct Source {
    located: Located,
    /// Which of the gaps between cuts it lies in, and the word in there; of no meaning outside the
    /// arena.
    gap: usize,
    offset: usize,
}

/// All that a step touches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Binding {
    reads: Vec<Source>,
    writes: Vec<Located>,
    /// Sorted and disjoint.
    cuts: Vec<Cut>,
    /// Port and write, for the outputs of the network, sorted by port.
    outputs: Vec<(usize, usize)>,
}

/// The slices of one step.
#[derive(Debug)]
pub(crate) struct Slices<'a> {
    pub(crate) reads: Reads<'a>,
    /// In the order of the writes.
    pub(crate) writes: Few<OutputSlice<'a>>,
}

/// What a step may read.
#[derive(Debug)]
pub(crate) struct Reads<'a> {
    sources: &'a [Source],
    gaps: Few<&'a [u64]>,
    inputs: &'a [&'a [f32]],
}

impl Binding {
    /// Blocks in the arena must not overlap, with the exception of reads among themselves and of a
    /// read in the place of a write, which cannot be had as a slice.
    pub(crate) fn new(reads: &[Located], writes: Vec<Located>) -> Self {
        let mut cuts = Vec::new();
        let mut outputs = Vec::new();
        for (index, located) in writes.iter().enumerate() {
            match located.place {
                Place::Arena(start) => {
                    cuts.push(Cut { start, words: located.words(), write: index });
                }
                Place::Output(port) => outputs.push((port, index)),
                Place::Input(_) => unreachable!("inputs of the network are written by no step"),
            }
        }
        cuts.sort_by_key(|cut| (cut.start, cut.words));
        outputs.sort_unstable();

        let source = |&located: &Located| {
            let Place::Arena(start) = located.place else {
                return Source { located, gap: 0, offset: 0 };
            };
            if cuts.iter().any(|cut| cut.start == start) {
                // Its step reads it through the write that takes its place.
                return Source { located, gap: 0, offset: 0 };
            }
            let gap = cuts.partition_point(|cut| cut.start <= start);
            let begin =
                gap.checked_sub(1).map_or(0, |before| cuts[before].start + cuts[before].words);
            Source { located, gap, offset: start - begin }
        };
        let reads = reads.iter().map(source).collect();
        Self { reads, writes, cuts, outputs }
    }

    /// Where the step writes, in the order of its writes.
    pub(crate) fn writes(&self) -> &[Located] {
        &self.writes
    }

    /// The slices of the step, out of the arena and the caller's tensors (one image of each).
    pub(crate) fn slices<'a>(
        &'a self,
        arena: &'a mut [u64],
        inputs: &'a [&'a [f32]],
        outputs: &'a mut [&mut [f32]],
    ) -> Slices<'a> {
        let mut writes: Few<OutputSlice<'a>> =
            self.writes.iter().map(|_| OutputSlice::F32(&mut [])).collect();
        let (mut rest, mut at) = (arena, 0);
        let gaps = (0..self.cuts.len() + 1)
            .map(|index| {
                let Some(cut) = self.cuts.get(index) else {
                    return &*mem::take(&mut rest);
                };
                let (gap, tail) = mem::take(&mut rest).split_at_mut(cut.start - at);
                let (words, tail) = tail.split_at_mut(cut.words);
                (rest, at) = (tail, cut.start + cut.words);
                let Located { kind, len, .. } = self.writes[cut.write];
                writes[cut.write] = match kind {
                    BufferKind::F32 => {
                        OutputSlice::F32(&mut bytemuck::cast_slice_mut(words)[..len])
                    }
                    BufferKind::I16 => {
                        OutputSlice::I16(&mut bytemuck::cast_slice_mut(words)[..len])
                    }
                    BufferKind::Bits => OutputSlice::Bits(words),
                };
                &*gap
            })
            .collect();
        let mut pending = self.outputs.iter().peekable();
        if pending.peek().is_some() {
            for (port, output) in outputs.iter_mut().enumerate() {
                if let Some(&(_, write)) = pending.next_if(|&&(wanted, _)| wanted == port) {
                    writes[write] = OutputSlice::F32(output);
                }
            }
        }
        Slices { reads: Reads { sources: &self.reads, gaps, inputs }, writes }
    }
}

impl Reads<'_> {
    /// The values of an f32 buffer.
    pub(crate) fn f32(&self, index: usize) -> &[f32] {
        let Source { located, gap, offset } = self.sources[index];
        match located.place {
            Place::Arena(_) => {
                &bytemuck::cast_slice(&self.gaps[gap][offset..][..located.words()])[..located.len]
            }
            Place::Input(port) => self.inputs[port],
            Place::Output(_) => unreachable!("outputs of the network are read by no step"),
        }
    }

    /// The values of an i16 buffer.
    pub(crate) fn i16(&self, index: usize) -> &[i16] {
        let Source { located, gap, offset } = self.sources[index];
        &bytemuck::cast_slice(&self.gaps[gap][offset..][..located.words()])[..located.len]
    }

    /// The values of an f32 or i16 buffer.
    pub(crate) fn values(&self, index: usize) -> MapValues<'_> {
        match self.sources[index].located.kind {
            BufferKind::I16 => MapValues::I16(self.i16(index)),
            BufferKind::F32 | BufferKind::Bits => MapValues::F32(self.f32(index)),
        }
    }

    /// The words of a buffer of bits.
    pub(crate) fn bits(&self, index: usize) -> &[u64] {
        let Source { located, gap, offset } = self.sources[index];
        &self.gaps[gap][offset..][..located.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(place: Place, kind: BufferKind, len: usize) -> Located {
        Located { place, kind, len }
    }

    #[test]
    fn slices_are_those_of_the_places() {
        let binding = Binding::new(
            &[
                located(Place::Arena(0), BufferKind::F32, 5),
                located(Place::Input(1), BufferKind::F32, 2),
                located(Place::Arena(40), BufferKind::Bits, 4),
                located(Place::Arena(16), BufferKind::Bits, 1),
                located(Place::Arena(4), BufferKind::I16, 5),
            ],
            vec![
                located(Place::Arena(24), BufferKind::Bits, 8),
                located(Place::Output(0), BufferKind::F32, 3),
                located(Place::Arena(8), BufferKind::F32, 15),
                located(Place::Arena(44), BufferKind::I16, 13),
            ],
        );
        let mut arena: Vec<u64> = (0..48).collect();
        let inputs: [&[f32]; 2] = [&[9.0], &[1.0, 2.0]];
        let mut output = [0.0; 3];
        let mut outputs: [&mut [f32]; 1] = [&mut output];
        let mut slices = binding.slices(&mut arena, &inputs, &mut outputs);
        assert_eq!(slices.reads.f32(0).len(), 5);
        assert_eq!(slices.reads.f32(0)[2].to_bits(), 1);
        assert_eq!(slices.reads.f32(1), [1.0, 2.0]);
        assert_eq!(slices.reads.bits(2), [40, 41, 42, 43]);
        assert_eq!(slices.reads.bits(3), [16]);
        assert_eq!(slices.reads.i16(4), [4, 0, 0, 0, 5]);
        assert_eq!(slices.reads.values(4), MapValues::I16(&[4, 0, 0, 0, 5]));
        assert_eq!(slices.reads.values(1), MapValues::F32(&[1.0, 2.0]));
        let lens: Vec<_> = slices
            .writes
            .iter_mut()
            .map(|write| match write {
                OutputSlice::F32(values) => {
                    values.fill(0.5);
                    values.len()
                }
                OutputSlice::I16(values) => {
                    values.fill(-1);
                    values.len()
                }
                OutputSlice::Bits(words) => {
                    words.fill(7);
                    words.len()
                }
            })
            .collect();
        drop(slices);
        assert_eq!(lens, [8, 3, 15, 13]);
        assert_eq!(output, [0.5; 3]);
        assert_eq!(arena[24..32], [7; 8]);
        assert_eq!(arena[32..40], [32, 33, 34, 35, 36, 37, 38, 39], "nobody writes between");
        assert_eq!(arena[16], 16, "an odd number of floats ends within its last word");
        assert_eq!(arena[44..], [u64::MAX, u64::MAX, u64::MAX, 0xffff]);
    }
}
