use std::{fmt, sync::Arc, time::Duration};

use bnn_kernels::{DefaultFloatEnvironment, Isa};

use super::{
    Model, Profile, RunError, SessionOptions, StepInfo,
    engine::{Engine, Joining},
    execute::{Images, Worker},
    threads::Threads,
    trace::TracedWrite,
};
use crate::{Error, program::Port, vision::Image};

/// Runs a [`Model`], one call at a time.
///
/// Values are in the layout of the original graph (often channels, height, width), images of a batch
/// one after the other. On one thread a run allocates nothing.
///
/// ```
/// use bnn::{Model, SessionOptions};
///
/// # fn main() -> Result<(), bnn::Error> {
/// let model = Model::open("models/default/resnete18-full-w32-cifar10.bnn")?;
/// let mut session = model.session(&SessionOptions::default().threads(2))?;
/// let image = vec![0.0; 3 * 32 * 32];
/// let logits = session.run(&image)?;
/// assert_eq!(logits.len(), 10);
/// # Ok(())
/// # }
/// ```
pub struct Session {
    model: Model,
    engine: Arc<Engine>,
    /// The first works on the images that the threads share; all of them work on images of their
    /// own, and those after the first are made when they are needed.
    workers: Vec<Worker>,
    pool: Option<Threads>,
    threads: usize,
    memory_limit: usize,
    /// Values of one image, by port.
    input_lens: Vec<usize>,
    output_lens: Vec<usize>,
}

/// One class that an image may belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Position in the output.
    pub index: usize,
    /// Name, if the file has one.
    pub label: Option<String>,
    /// Probability, 0 to 1.
    pub probability: f32,
}

impl Session {
    pub(super) fn new(
        model: Model,
        engine: Arc<Engine>,
        options: &SessionOptions,
    ) -> Result<Self, Error> {
        let threads = options.threads.max(1);
        let limit = SessionOptions::MAXIMUM_THREADS;
        if threads > limit {
            return Err(RunError::TooManyThreads { found: threads, limit }.into());
        }
        let memory_limit = options.memory_limit;
        check_memory(&engine, threads, memory_limit)?;
        let pool = (threads > 1).then(|| Threads::start(threads)).transpose()?;
        let lens = |ports: &[Port]| -> Vec<usize> { ports.iter().map(Port::elements).collect() };
        let (input_lens, output_lens) = (lens(model.inputs()), lens(model.outputs()));
        let workers = vec![Worker::new(&engine, threads)?];
        Ok(Self { model, engine, workers, pool, threads, memory_limit, input_lens, output_lens })
    }

    /// Runs a network of one input and one output on any number of images and returns the outputs,
    /// one image after the other.
    ///
    /// # Errors
    /// [`RunError::NotOneToOne`] for other networks, and all of [`Session::run_into`].
    pub fn run(&mut self, input: &[f32]) -> Result<Vec<f32>, Error> {
        let ([input_len], [output_len]) = (&self.input_lens[..], &self.output_lens[..]) else {
            return Err(self.not_one_to_one());
        };
        let len = (input.len() / input_len).checked_mul(*output_len);
        let mut output = vec![0.0; len.ok_or(RunError::UNADDRESSABLE)?];
        self.run_into(&[input], &mut [&mut output])?;
        Ok(output)
    }

    /// Classifies a picture: [`Model::preprocess`], a run, [`Model::predictions`].
    ///
    /// ```
    /// use bnn::{Model, SessionOptions, vision};
    ///
    /// # fn main() -> Result<(), bnn::Error> {
    /// let model = Model::open("models/default/resnete18-full-w32-cifar10.bnn")?;
    /// let mut session = model.session(&SessionOptions::from_env()?)?;
    /// let image = vision::decode_file("examples/ship.png")?;
    /// let predictions = session.classify(&image, 5)?;
    /// assert_eq!(predictions.len(), 5);
    /// assert_eq!(predictions[0].label.as_deref(), Some("ship"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::NotAClassifier`] for networks that find objects, and those of [`Model::preprocess`] and of
    /// [`Session::run`].
    pub fn classify(&mut self, image: &Image, top: usize) -> Result<Vec<Prediction>, Error> {
        if self.model.detector().is_some() {
            return Err(RunError::NotAClassifier.into());
        }
        let input = self.model.preprocess(image)?;
        let output = self.run(&input)?;
        Ok(self.model.predictions(&output, top))
    }

    /// Runs the network on any number of images: as many as the slices hold, which must agree.
    /// `inputs` and `outputs` are in the order of [`Model::inputs`] and [`Model::outputs`].
    ///
    /// # Errors
    /// [`Error::Run`] with [`RunError::InputCount`] or [`RunError::OutputCount`] for a wrong number of
    /// slices, [`RunError::Length`] or [`RunError::Batch`] for wrong lengths, and
    /// [`RunError::NonFinite`] for an input that holds an infinity or a NaN.
    pub fn run_into(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), Error> {
        let batch = self.check(inputs, outputs)?;
        // As many images as there are threads, or a multiple of that, are shared out whole; the rows
        // of each remaining one are split.
        let share = if self.threads > 1 { batch / self.threads } else { 0 };
        if share > 0 {
            while self.workers.len() < self.threads {
                self.workers.push(Worker::new(&self.engine, 1)?);
            }
        }
        let Self { engine, workers, pool, threads, .. } = self;
        let images =
            Images { inputs, input_lens: &self.input_lens, output_lens: &self.output_lens };
        match pool {
            None => {
                let _environment = DefaultFloatEnvironment::enter();
                engine.run_images(&mut workers[0], 1, &images, 0..batch, outputs, None);
            }
            Some(pool) => pool.install(|| {
                let mut rest = run_shares(engine, workers, &images, share, outputs);
                let _environment = DefaultFloatEnvironment::enter();
                let (worker, range) = (&mut workers[0], share * *threads..batch);
                engine.run_images(worker, *threads, &images, range, &mut rest, None);
            }),
        }
        Ok(())
    }

    /// As [`Session::run_into`], and says how long each step took, summed over the images. Images run
    /// one after the other; the rows of each are split over the threads.
    ///
    /// # Errors
    /// Those of [`Session::run_into`].
    pub fn run_profiled(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) -> Result<Profile, Error> {
        let batch = self.check(inputs, outputs)?;
        let Self { engine, workers, pool, threads, .. } = self;
        let images =
            Images { inputs, input_lens: &self.input_lens, output_lens: &self.output_lens };
        let mut steps = vec![Duration::ZERO; engine.steps.len()];
        let mut run = || {
            let _environment = DefaultFloatEnvironment::enter();
            let (worker, times) = (&mut workers[0], Some(&mut steps[..]));
            engine.run_images(worker, *threads, &images, 0..batch, outputs, times);
        };
        match pool {
            None => run(),
            Some(pool) => pool.install(run),
        }
        Ok(Profile { images: batch, steps })
    }

    /// As [`Session::run_into`], and shows to `visit` what each step wrote, right after it: for
    /// finding out where two implementations of a network part. Images run one after the other, on the
    /// calling thread. Every map is made whole for this, where a run would keep only some of its rows
    /// at a time; the arithmetic is the same.
    ///
    /// # Errors
    /// Those of [`Session::run_into`] and of [`Model::session`].
    pub fn run_traced(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        visit: &mut dyn FnMut(TracedWrite<'_>),
    ) -> Result<(), Error> {
        let batch = self.check(inputs, outputs)?;
        let engine = self.model.engine(self.engine.isa, Joining::None)?;
        check_memory(&engine, 1, self.memory_limit)?;
        let mut worker = Worker::new(&engine, 1)?;
        let images =
            Images { inputs, input_lens: &self.input_lens, output_lens: &self.output_lens };
        let _environment = DefaultFloatEnvironment::enter();
        engine.run_traced(self.model.program(), &mut worker, &images, batch, outputs, visit);
        Ok(())
    }

    /// The model that the session runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.engine.isa
    }

    /// Threads that work on a call; with more than one, the calling thread waits for them.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes of the arena of one image in flight: its feature maps. The caller's tensors are not in it.
    pub fn arena_bytes(&self) -> usize {
        self.engine.arena_words * 8
    }

    /// Largest sum of the feature maps needed in one step, in bytes: no arena can be smaller.
    pub fn live_bytes(&self) -> usize {
        self.engine.live_words * 8
    }

    /// Bytes that each thread has besides the arena: rows of maps in the layout of a kernel,
    /// accumulators, values on their way through an epilogue.
    pub fn row_bytes(&self) -> usize {
        self.engine.temporary_words * 8
    }

    /// What each step does.
    pub fn steps(&self) -> &[StepInfo] {
        &self.engine.infos
    }

    fn not_one_to_one(&self) -> Error {
        let (inputs, outputs) = (self.input_lens.len(), self.output_lens.len());
        RunError::NotOneToOne { inputs, outputs }.into()
    }

    /// The number of images in a call.
    fn check(&self, inputs: &[&[f32]], outputs: &[&mut [f32]]) -> Result<usize, RunError> {
        let (found, expected) = (inputs.len(), self.input_lens.len());
        if found != expected {
            return Err(RunError::InputCount { found, expected });
        }
        let (found, expected) = (outputs.len(), self.output_lens.len());
        if found != expected {
            return Err(RunError::OutputCount { found, expected });
        }
        let ports = self.model.inputs().iter().chain(self.model.outputs());
        let lens = self.input_lens.iter().chain(&self.output_lens);
        let given =
            inputs.iter().map(|input| input.len()).chain(outputs.iter().map(|output| output.len()));
        let mut batch: Option<(usize, &Port)> = None;
        for ((port, &len), found) in ports.zip(lens).zip(given) {
            if found == 0 || !found.is_multiple_of(len) {
                let (name, shape) = (port.name.clone(), port.shape.clone());
                return Err(RunError::Length { name, found, expected: len, shape });
            }
            let (images, first) = *batch.get_or_insert((found / len, port));
            if found / len != images {
                return Err(RunError::Batch {
                    name: port.name.clone(),
                    found,
                    expected: images.saturating_mul(len),
                    first: first.name.clone(),
                    batch: images,
                });
            }
        }
        for (port, input) in self.model.inputs().iter().zip(inputs) {
            if let Some(element) = first_non_finite(input) {
                let (name, value) = (port.name.clone(), input[element].to_string());
                return Err(RunError::NonFinite { name, element, value });
            }
        }
        Ok(batch.map_or(0, |(images, _)| images))
    }
}

fn check_memory(engine: &Engine, threads: usize, limit: usize) -> Result<(), RunError> {
    let bytes = engine.bytes_in_flight(threads);
    if bytes > limit { Err(RunError::TooLarge { bytes, limit }) } else { Ok(()) }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("isa", &self.isa())
            .field("threads", &self.threads)
            .field("arena_bytes", &self.arena_bytes())
            .finish_non_exhaustive()
    }
}

/// Gives each worker a share of the images, and returns the outputs of those that are left.
fn run_shares<'o>(
    engine: &Engine,
    workers: &mut [Worker],
    images: &Images<'_>,
    share: usize,
    outputs: &'o mut [&mut [f32]],
) -> Vec<&'o mut [f32]> {
    let mut rest: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut **output).collect();
    if share == 0 {
        return rest;
    }
    rayon::scope(|scope| {
        for (index, worker) in workers.iter_mut().enumerate() {
            let (mut own, others): (Vec<_>, Vec<_>) = rest
                .drain(..)
                .zip(images.output_lens)
                .map(|(output, len)| output.split_at_mut(share * len))
                .unzip();
            rest = others;
            scope.spawn(move |_| {
                let _environment = DefaultFloatEnvironment::enter();
                let range = index * share..(index + 1) * share;
                engine.run_images(worker, 1, images, range, &mut own, None);
            });
        }
    });
    rest
}

/// The first infinity or NaN.
fn first_non_finite(values: &[f32]) -> Option<usize> {
    // Without an early exit within a block the test is vectorised.
    const BLOCK: usize = 1024;
    values.chunks(BLOCK).enumerate().find_map(|(block, values)| {
        let finite = values.iter().fold(true, |finite, value| finite & value.is_finite());
        if finite {
            return None;
        }
        values.iter().position(|value| !value.is_finite()).map(|at| block * BLOCK + at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_non_finite_value_is_found() {
        assert_eq!(first_non_finite(&[]), None);
        let mut values = vec![f32::MAX; 3000];
        assert_eq!(first_non_finite(&values), None);
        values[2999] = f32::NAN;
        assert_eq!(first_non_finite(&values), Some(2999));
        values[1024] = f32::NEG_INFINITY;
        assert_eq!(first_non_finite(&values), Some(1024));
    }
}
