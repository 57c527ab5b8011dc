use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bnn_kernels::{DefaultFloatEnvironment, Isa};

use super::{
    Prediction, RunError, Session, SessionOptions,
    engine::{Engine, Joining},
};
use crate::{
    Error,
    format::{self, FormatError},
    program::{Block, BlockError, Port, Preprocessing, Program},
    vision::{self, Image, InputLayout},
};

/// A converted network, ready to make [`Session`]s of.
///
/// Cloning is cheap: clones share everything. Threads may share a model or have a clone each.
///
/// ```
/// use bnn::{Model, SessionOptions};
///
/// # fn main() -> Result<(), bnn::Error> {
/// let model = Model::open("models/default/resnete18-full-w32-cifar10.bnn")?;
/// assert_eq!(model.inputs()[0].shape, [3, 32, 32]);
/// assert_eq!(model.labels()[0], "airplane");
/// let mut session = model.session(&SessionOptions::default())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    program: Program,
    file_bytes: usize,
    /// Packed weights and memory plans of the instruction sets asked for so far.
    engines: Mutex<BTreeMap<(Isa, Joining), Arc<Engine>>>,
}

impl Model {
    /// Reads and checks a `.bnn` file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Model`] (which names the file) if it is broken.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_file() && metadata.len() != 0 {
            return Self::from_reader(
                path,
                BufReader::with_capacity(1 << 16, file),
                metadata.len(),
            );
        }
        // A pipe, say, does not know its length before its end.
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        Self::from_reader(path, &bytes[..], bytes.len() as u64)
    }

    /// Reads and checks a `.bnn` file through a mapping instead of a copy in memory. Nothing of the
    /// mapping is kept.
    ///
    /// # Errors
    /// As [`Model::open`].
    ///
    /// # Safety
    /// While this call runs, no process may change or truncate the file: what was checked would not
    /// be what is used, and reading past a new end kills the process.
    pub unsafe fn map(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the caller has promised that nobody changes the file during this call, and the
        // mapping ends with it.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Self::from_reader(path, &bytes[..], bytes.len() as u64)
    }

    /// Checks the contents of a `.bnn` file, which may lie at any address (so `include_bytes!` will
    /// do).
    ///
    /// # Errors
    /// [`Error::Format`] if they are broken.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self::new(format::read(bytes)?, bytes.len()))
    }

    /// Checks a program that was made in memory.
    ///
    /// ```
    /// use bnn::{Model, SessionOptions, program::*};
    ///
    /// let map = Buffer { kind: BufferKind::F32, height: 1, width: 1, channels: 3 };
    /// let port = |name: &str, buffer| Port { name: name.into(), shape: vec![3], buffer };
    /// let program = Program {
    ///     inputs: vec![port("x", BufferId(0))],
    ///     outputs: vec![port("y", BufferId(1))],
    ///     buffers: vec![map, map],
    ///     steps: vec![Step {
    ///         name: "probabilities".into(),
    ///         kind: StepKind::Softmax { input: BufferId(0), output: BufferId(1), log: false },
    ///     }],
    ///     ..Program::default()
    /// };
    /// let mut session = Model::from_program(program)?.session(&SessionOptions::default())?;
    /// assert_eq!(session.run(&[0.5, 0.5, f32::MIN])?, [0.5, 0.5, 0.0]);
    /// # Ok::<(), bnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Program`] if it makes no sense.
    pub fn from_program(program: Program) -> Result<Self, Error> {
        program.validate()?;
        Ok(Self::new(program, 0))
    }

    /// Reads a file of `length` bytes, which errors call `path`.
    fn from_reader(path: &Path, reader: impl Read, length: u64) -> Result<Self, Error> {
        let path = || path.to_owned();
        match format::read_from(reader, length) {
            // What was read lies in memory, which no more than a `usize` of bytes does.
            Ok(program) => Ok(Self::new(program, length as usize)),
            Err(FormatError::Read(source)) => Err(Error::Io { path: path(), source }),
            Err(source) => Err(Error::Model { path: path(), source }),
        }
    }

    fn new(program: Program, file_bytes: usize) -> Self {
        let engines = Mutex::default();
        Self { shared: Arc::new(Shared { program, file_bytes, engines }) }
    }

    /// The steps, buffers and constants of the network.
    pub fn program(&self) -> &Program {
        &self.shared.program
    }

    /// Length of the file that the model came from; 0 for a program made in memory.
    pub fn file_bytes(&self) -> usize {
        self.shared.file_bytes
    }

    /// What the caller hands over.
    pub fn inputs(&self) -> &[Port] {
        &self.program().inputs
    }

    /// What the caller gets back.
    pub fn outputs(&self) -> &[Port] {
        &self.program().outputs
    }

    /// Names of the classes, in the order of the output; empty if the file has none.
    pub fn labels(&self) -> &[String] {
        &self.program().metadata.labels
    }

    /// Named parts of the original network.
    pub fn blocks(&self) -> &[Block] {
        &self.program().metadata.blocks
    }

    /// A named part of the original network as a model of its own, with one input and one output, both
    /// in the layout of the original network: what the block computes of a given input, whatever
    /// stands before it in the network.
    ///
    /// # Errors
    /// [`BlockError`] if there is no block of that name, if its input or output is not kept as floats, or
    /// if its output depends on more than its input.
    pub fn block(&self, name: &str) -> Result<Self, BlockError> {
        let block = self.blocks().iter().find(|block| block.name == name);
        let program = self.program().part(block.ok_or(BlockError::Unknown)?)?;
        Ok(Self::new(program, 0))
    }

    /// How a picture becomes the input, if the file says so.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.program().metadata.preprocessing.as_ref()
    }

    /// Turns a picture into values of the input: resized, cropped and normalised as the file says, in
    /// the layout of the original graph.
    ///
    /// # Errors
    /// [`RunError::NotOneToOne`] for networks of several inputs,
    /// [`RunError::NoPreprocessing`] if the file does not say how, [`RunError::NoPicture`] if the input
    /// has not the shape of a picture, and [`Error::Preprocess`] if the preprocessing does not give its
    /// size.
    pub fn preprocess(&self, image: &Image) -> Result<Vec<f32>, Error> {
        let (preprocessing, (layout, channels_first)) = self.picture_input()?;
        let _environment = DefaultFloatEnvironment::enter();
        let pixels = vision::preprocess(image, preprocessing, layout)?;
        let mut values = vec![0.0; pixels.len()];
        vision::normalise(&pixels, preprocessing, channels_first, &mut values);
        Ok(values)
    }

    /// How a picture becomes the input, the size of the input, and whether its channels come first.
    ///
    /// # Errors
    /// Those of [`Model::preprocess`].
    pub(super) fn picture_input(&self) -> Result<(&Preprocessing, (InputLayout, bool)), RunError> {
        let [input] = self.inputs() else {
            let (inputs, outputs) = (self.inputs().len(), self.outputs().len());
            return Err(RunError::NotOneToOne { inputs, outputs });
        };
        let preprocessing = self.preprocessing().ok_or(RunError::NoPreprocessing)?;
        let channels = preprocessing.channel_count();
        let layout = InputLayout::from_shape(&input.shape, channels);
        let layout = layout.ok_or_else(|| RunError::NoPicture {
            name: input.name.clone(),
            shape: input.shape.clone(),
            channels,
        })?;
        Ok((preprocessing, layout))
    }

    /// The `top` most probable classes of one image, most probable first. `output` is the output of
    /// the network; unless it holds probabilities already, they are its softmax.
    pub fn predictions(&self, output: &[f32], top: usize) -> Vec<Prediction> {
        let _environment = DefaultFloatEnvironment::enter();
        let probabilities = if self.program().metadata.outputs_are_probabilities {
            Cow::Borrowed(output)
        } else {
            Cow::Owned(vision::softmax(output))
        };
        vision::top_k(&probabilities, top)
            .into_iter()
            .map(|(index, probability)| Prediction {
                index,
                label: self.labels().get(index).cloned(),
                probability,
            })
            .collect()
    }

    /// Makes a session. The first one on an instruction set packs the weights for it, the following
    /// ones share them.
    ///
    /// # Errors
    /// [`Error::Isa`] if this processor lacks the instruction set, [`Error::Run`] if a kernel refuses
    /// the network, it needs more memory than the options allow, or threads cannot be started.
    pub fn session(&self, options: &SessionOptions) -> Result<Session, Error> {
        let isa = match options.isa {
            Some(isa) => isa.require()?,
            None => Isa::best(),
        };
        Session::new(self.clone(), self.engine(isa, Joining::Windows)?, options)
    }

    /// The network made ready, now or before.
    pub(super) fn engine(&self, isa: Isa, joining: Joining) -> Result<Arc<Engine>, Error> {
        // A panic while the lock was held cannot have left the map half changed.
        let mut engines = self.shared.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&(isa, joining)) {
            return Ok(Arc::clone(engine));
        }
        let engine = Arc::new(Engine::new(self.program(), isa, joining)?);
        engines.insert((isa, joining), Arc::clone(&engine));
        Ok(engine)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.program().name)
            .field("steps", &self.program().steps.len())
            .field("file_bytes", &self.file_bytes())
            .finish_non_exhaustive()
    }
}
