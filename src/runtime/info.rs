use std::time::Duration;

/// What a session does in one step, for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInfo {
    /// Name of the layer in the original graph; of two layers whose maps are computed window by window
    /// together, `first + second`.
    pub name: String,
    /// Kind of the step, as in the file: `binary_conv`, `float_conv`, `elementwise` and so on.
    pub kind: &'static str,
    /// Kernel that does the work, as it calls itself; empty for steps that need no choice.
    pub kernel: &'static str,
    /// Height, width and channels of what the step computes, before its epilogue stores it.
    pub output: [usize; 3],
    /// Multiply-accumulates, padded taps counted; for binary convolutions these are binary.
    pub macs: u64,
    /// Bytes of weights as they are packed for the instruction set.
    pub weight_bytes: usize,
    /// Bytes of feature maps that the step reads.
    pub read_bytes: usize,
    /// Bytes of feature maps that the step writes.
    pub written_bytes: usize,
    /// Bytes of memory outside the arena that each thread needs during the step: rows of the input in
    /// the layout of the kernel, accumulators, values on their way through the epilogue.
    pub temporary_bytes: usize,
}

/// Time that each step took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Images that the times are sums over.
    pub images: usize,
    /// Time of each step, in the order of the steps.
    pub steps: Vec<Duration>,
}

impl Profile {
    /// Sum over the steps.
    pub fn total(&self) -> Duration {
        self.steps.iter().sum()
    }
}
