//! One image through all steps, on one thread or with its rows split over several.

use std::{
    mem,
    ops::Range,
    time::{Duration, Instant},
};

use bnn_kernels::{
    DefaultFloatEnvironment, Isa, OutputSlice, concat_bits, gather, pad_map, pad_map_bits, softmax,
};

use super::{
    RunError,
    arena::Arena,
    binding::{Reads, Slices},
    engine::{Engine, PreparedStep},
    few::{Few, MANY_INPUTS},
    prepare::Work,
    rows::{RowStep, split},
};

/// Memory for one image in flight.
#[derive(Debug)]
pub(crate) struct Worker {
    arena: Arena,
    /// One for each thread that works on the image.
    temporary: Vec<Arena>,
}

impl Worker {
    /// Memory for images that up to `threads` threads work on together.
    ///
    /// # Errors
    /// [`RunError::OutOfMemory`].
    pub(crate) fn new(engine: &Engine, threads: usize) -> Result<Self, RunError> {
        Ok(Self {
            arena: Arena::new(engine.arena_words)?,
            temporary: (0..threads)
                .map(|_| Arena::new(engine.temporary_words))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The feature maps.
    pub(crate) fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }
}

/// The inputs of a call.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    /// By port, all images.
    pub(crate) inputs: &'a [&'a [f32]],
    /// By port, values of one image.
    pub(crate) input_lens: &'a [usize],
    pub(crate) output_lens: &'a [usize],
}

impl Engine {
    /// Runs some images one after the other; `outputs` hold exactly those. With more than one
    /// thread, which must belong to the pool of the current one, the rows of each image are split.
    pub(crate) fn run_images(
        &self,
        worker: &mut Worker,
        threads: usize,
        images: &Images<'_>,
        range: Range<usize>,
        outputs: &mut [&mut [f32]],
        mut times: Option<&mut [Duration]>,
    ) {
        let first = range.start;
        for image in range {
            let inputs = images.inputs.iter().zip(images.input_lens);
            let inputs: Few<&[f32]> =
                inputs.map(|(all, &len)| &all[image * len..][..len]).collect();
            let outputs = outputs.iter_mut().zip(images.output_lens);
            let outputs = outputs.map(|(all, &len)| &mut all[(image - first) * len..][..len]);
            let mut outputs: Few<&mut [f32]> = outputs.collect();
            for (index, step) in self.steps.iter().enumerate() {
                let start = times.is_some().then(Instant::now);
                let temporary = &mut worker.temporary[..threads];
                self.run_step(step, worker.arena.words(), &inputs, &mut outputs, temporary);
                if let (Some(times), Some(start)) = (times.as_deref_mut(), start) {
                    times[index] += start.elapsed();
                }
            }
        }
    }

    /// Runs one step of one image on the calling thread.
    pub(crate) fn run_step_alone(
        &self,
        index: usize,
        worker: &mut Worker,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) {
        let temporary = &mut worker.temporary[..1];
        self.run_step(&self.steps[index], worker.arena.words(), inputs, outputs, temporary);
    }

    fn run_step(
        &self,
        step: &PreparedStep,
        arena: &mut [u64],
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        temporary: &mut [Arena],
    ) {
        let Slices { reads, mut writes } = step.binding.slices(arena, inputs, outputs);
        match &step.work {
            Work::Rows(rows) => {
                let threads = if step.worth_splitting { temporary.len().min(rows.rows) } else { 1 };
                if threads > 1 {
                    split_rows(self.isa, rows, &reads, writes, &mut temporary[..threads]);
                } else {
                    let temporary = temporary[0].words();
                    rows.run(self.isa, &reads, 0..rows.rows, &mut writes, temporary);
                }
            }
            Work::ConcatBits { channels, pixels } => {
                let OutputSlice::Bits(output) = &mut writes[0] else {
                    unreachable!("the step writes bits")
                };
                let inputs = channels.iter().enumerate();
                let inputs: Few<(&[u64], usize), MANY_INPUTS> =
                    inputs.map(|(index, &channels)| (reads.bits(index), channels)).collect();
                concat_bits(&inputs, *pixels, output);
            }
            Work::Gather { dims, strides, offset } => {
                gather(reads.f32(0), dims, strides, *offset, floats(&mut writes[0]));
            }
            Work::Pad { input, pads, value } => {
                let (size, channels) = ([input.height, input.width], input.channels);
                match &mut writes[0] {
                    OutputSlice::F32(output) => {
                        pad_map(reads.f32(0), size, channels, *pads, *value, output);
                    }
                    OutputSlice::Bits(output) => {
                        pad_map_bits(reads.bits(0), size, channels, *pads, *value > 0.0, output);
                    }
                    OutputSlice::I16(_) => unreachable!("integers are not padded"),
                }
            }
            Work::Softmax { channels, log } => {
                softmax(reads.f32(0), *channels, *log, floats(&mut writes[0]));
            }
        }
    }
}

/// Computes the rows of a step on several threads, a contiguous share each.
fn split_rows(
    isa: Isa,
    step: &RowStep,
    reads: &Reads<'_>,
    mut writes: Few<OutputSlice<'_>>,
    temporary: &mut [Arena],
) {
    let threads = temporary.len();
    let mut rest: Vec<OutputSlice<'_>> =
        writes.iter_mut().map(|write| mem::replace(write, OutputSlice::F32(&mut []))).collect();
    rayon::scope(|scope| {
        for (thread, temporary) in temporary.iter_mut().enumerate() {
            let rows = step.rows * thread / threads..step.rows * (thread + 1) / threads;
            let (mut outputs, others): (Vec<_>, Vec<_>) = rest
                .drain(..)
                .map(|output| {
                    let len = step.row_len(&output) * rows.len();
                    split(output, len)
                })
                .unzip();
            rest = others;
            scope.spawn(move |_| {
                let _environment = DefaultFloatEnvironment::enter();
                step.run(isa, reads, rows, &mut outputs, temporary.words());
            });
        }
    });
}

fn floats<'a>(output: &'a mut OutputSlice<'_>) -> &'a mut [f32] {
    match output {
        OutputSlice::F32(values) => values,
        OutputSlice::I16(_) | OutputSlice::Bits(_) => unreachable!("the step writes floats"),
    }
}
