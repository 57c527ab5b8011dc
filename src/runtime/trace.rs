//! Looking at feature maps while a network runs.
//!
//! The arena has no place of its own for each buffer, but right after a step what it wrote is still
//! there. So tracing shows the writes of each step before the next one runs. Steps that an ordinary
//! run carries out together run one by one for it, and no sum takes the place of its shortcut, so that
//! every map is there; kernels and arithmetic are those of an ordinary run.

use super::{
    access::Access,
    arena::Arena,
    binding::{Located, Place},
    engine::Engine,
    execute::{Images, Worker},
    few::Few,
};
use crate::program::{BufferId, BufferKind, Program};

/// A feature map of one image, right after a step has written it.
#[derive(Debug, Clone, Copy)]
pub struct TracedWrite<'a> {
    /// Position of the image in the batch.
    pub image: usize,
    /// Position of the step in [`Program::steps`].
    pub step: usize,
    /// The buffer.
    pub buffer: BufferId,
    /// Its contents.
    pub contents: BufferContents<'a>,
}

/// Contents of a buffer in the order of a [`Program`]: height, width, channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BufferContents<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Integers.
    I16(&'a [i16]),
    /// Bits; each pixel starts a new word.
    Bits(&'a [u64]),
}

impl Engine {
    /// Runs some images one after the other on one thread, and shows what each step wrote.
    pub(crate) fn run_traced(
        &self,
        program: &Program,
        worker: &mut Worker,
        images: &Images<'_>,
        batch: usize,
        outputs: &mut [&mut [f32]],
        visit: &mut dyn FnMut(TracedWrite<'_>),
    ) {
        for image in 0..batch {
            let inputs = images.inputs.iter().zip(images.input_lens);
            let inputs: Few<&[f32]> =
                inputs.map(|(all, &len)| &all[image * len..][..len]).collect();
            let outputs = outputs.iter_mut().zip(images.output_lens);
            let outputs = outputs.map(|(all, &len)| &mut all[image * len..][..len]);
            let mut outputs: Few<&mut [f32]> = outputs.collect();
            for (index, step) in self.steps.iter().enumerate() {
                self.run_step_alone(index, worker, &inputs, &mut outputs);
                let buffers = Access::of(&program.steps[index].kind).writes;
                for (&buffer, located) in buffers.iter().zip(step.binding.writes()) {
                    let contents = contents(located, worker.arena(), &outputs);
                    visit(TracedWrite { image, step: index, buffer, contents });
                }
            }
        }
    }
}

/// What lies in a place that a step has just written.
fn contents<'a>(
    located: &Located,
    arena: &'a mut Arena,
    outputs: &'a [&mut [f32]],
) -> BufferContents<'a> {
    match (located.place, located.kind) {
        (Place::Arena(start), kind) => {
            let words = &arena.words()[start..][..located.words()];
            match kind {
                BufferKind::F32 => BufferContents::F32(&bytemuck::cast_slice(words)[..located.len]),
                BufferKind::I16 => BufferContents::I16(&bytemuck::cast_slice(words)[..located.len]),
                BufferKind::Bits => BufferContents::Bits(words),
            }
        }
        (Place::Output(port), _) => BufferContents::F32(&*outputs[port]),
        // Inputs of the network are written by no step.
        (Place::Input(_), _) => BufferContents::F32(&[]),
    }
}
