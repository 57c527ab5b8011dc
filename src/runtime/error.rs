use thiserror::Error;

/// Why a model cannot be prepared or run as asked.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The caller hands over too many or too few input tensors.
    #[error("{found} inputs given, the network has {expected}")]
    InputCount {
        /// Tensors given.
        found: usize,
        /// Inputs of the network.
        expected: usize,
    },
    /// The caller has room for too many or too few output tensors.
    #[error("room for {found} outputs given, the network has {expected}")]
    OutputCount {
        /// Tensors given.
        found: usize,
        /// Outputs of the network.
        expected: usize,
    },
    /// A tensor is not a whole number of images.
    #[error(
        "'{name}' has {found} values, expected a positive multiple of {expected} (shape {shape:?} for each image)"
    )]
    Length {
        /// The input or output.
        name: String,
        /// Values given.
        found: usize,
        /// Values of one image.
        expected: usize,
        /// Shape of one image.
        shape: Vec<usize>,
    },
    /// Two tensors are not the same number of images.
    #[error(
        "'{name}' has {found} values, expected {expected}: '{first}' has values for {batch} images"
    )]
    Batch {
        /// The input or output that disagrees.
        name: String,
        /// Values given.
        found: usize,
        /// Values that the batch needs.
        expected: usize,
        /// The tensor that set the batch.
        first: String,
        /// Images in it.
        batch: usize,
    },
    /// An input holds an infinity or a NaN.
    #[error("input '{name}' holds {value} at element {element}, expected finite values")]
    NonFinite {
        /// The input.
        name: String,
        /// Position of the first such value in the slice given.
        element: usize,
        /// The value, as text.
        value: String,
    },
    /// A call for networks with one input and one output, on another network.
    #[error("this call needs one input and one output, the network has {inputs} and {outputs}")]
    NotOneToOne {
        /// Inputs of the network.
        inputs: usize,
        /// Outputs of the network.
        outputs: usize,
    },
    /// Objects are to be found, but the file does not say how outputs become boxes.
    #[error("the model does not say how its outputs become boxes (no detector in the file)")]
    NoDetector,
    /// An image is to be classified, but the network finds objects.
    #[error("the model finds objects: its outputs are boxes, not scores of classes")]
    NotAClassifier,
    /// An image is to be classified, but the file does not say how an image becomes an input.
    #[error("the model does not say how an image becomes its input (no preprocessing in the file)")]
    NoPreprocessing,
    /// An image is to be classified, but the input has not the shape of one.
    #[error(
        "input '{name}' has shape {shape:?}, expected a picture of {channels} channels \
         ([channels, height, width] or [height, width, channels])"
    )]
    NoPicture {
        /// The input.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Channels that the preprocessing gives.
        channels: usize,
    },
    /// A step asks for something that no kernel does.
    #[error("step '{step}': {reason}")]
    Step {
        /// Name of the step.
        step: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The memory that one image needs is over the limit of the session.
    #[error("the network needs {bytes} bytes for one image, the limit is {limit}")]
    TooLarge {
        /// Bytes needed.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The allocator refused.
    #[error("cannot allocate {bytes} bytes for the feature maps")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// More threads than a session may have.
    #[error("{found} threads asked for, expected at most {limit}")]
    TooManyThreads {
        /// Threads asked for.
        found: usize,
        /// The largest number allowed.
        limit: usize,
    },
    /// The operating system refused to start threads.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the operating system says.
        reason: String,
    },
    /// An environment variable has a value that means nothing.
    #[error("the environment variable {variable} is '{value}', expected {expected}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl RunError {
    /// More bytes than an address can hold.
    pub(crate) const UNADDRESSABLE: Self =
        Self::TooLarge { bytes: usize::MAX, limit: isize::MAX as usize };
}
