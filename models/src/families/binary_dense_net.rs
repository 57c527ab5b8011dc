//! BinaryDenseNet and IGP-DenseNet: features are only ever appended.

use super::Framework;
use super::parts::{Task, head, rectified_stem};
use bnn::architecture::{Architecture, ArchitectureError, Network, PadValue, Scale, Value, Window};

/// BinaryDenseNet (Bethge et al. 2019, "Back to Simplicity", sections 3.3 and 4) and IGP-DenseNet (the same skeleton
/// with fractal units).
///
/// ```text
/// stem        conv 7x7/2 -> BatchNorm -> ReLU -> max pool 3x3/2       (small pictures: conv 3x3 alone)
/// 4 stages    x = concat(x, bconv3x3(sign(BatchNorm(x)))),  new features last
/// between     BatchNorm -> max pool 2x2 -> ReLU -> conv 1x1             (binary: BatchNorm -> sign -> bconv1x1 -> mean 2x2)
/// classifier  BatchNorm -> ReLU -> mean -> dense
/// ```
///
/// In dilated networks a stage whose dilation is not 1 is entered without a pool. The pool's place in binary transitions
/// is not stated in the paper; its sizes do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryDenseNet<'a> {
    /// Units of the four stages.
    pub units: [usize; 4],
    /// New features of a unit.
    pub growth: usize,
    /// Channels of the stem.
    pub stem_width: usize,
    /// Channels after each of the three transitions.
    pub transitions: Transitions<'a>,
    /// Dilation of the binary convolutions of each stage.
    pub dilations: [usize; 4],
    /// Whether the transitions are in full precision.
    pub full_precision_transitions: bool,
    /// Convolutions that the features of a unit are divided among: 1, but 2 in the IGP paper's reading, in which a
    /// unit of growth 64 is two of growth 32.
    pub split: usize,
    /// Columns of the fractal in each unit: 1 is a single convolution; 2 and more make an IGP-DenseNet.
    pub columns: usize,
    /// What padding of the binary convolutions holds: -1 in checkpoints of BMXNet.
    pub pad_value: PadValue,
    /// Pictures, classes and stem.
    pub task: Task,
    /// Padding of the stem; all else is the same in larq zoo's networks, the epsilon of 1e-5 too.
    pub framework: Framework,
}

/// How many channels the transitions leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transitions<'a> {
    /// The channels divided by these numbers (rounded down), then rounded to a multiple of 32 (BMXNet).
    Reduction([f64; 3]),
    /// These numbers of channels.
    Widths(&'a [usize; 3]),
}

/// Units per stage of BinaryDenseNet-28.
pub const UNITS_28: [usize; 4] = [6, 6, 6, 5];
/// Units per stage of BinaryDenseNet-37.
pub const UNITS_37: [usize; 4] = [6, 8, 12, 6];
/// Units per stage of BinaryDenseNet-45.
pub const UNITS_45: [usize; 4] = [6, 12, 14, 8];

impl BinaryDenseNet<'static> {
    /// BinaryDenseNet-28 for ImageNet.
    pub const BDN_28: Self = Self {
        units: UNITS_28,
        growth: 64,
        stem_width: 64,
        transitions: Transitions::Reduction([2.7, 2.7, 2.2]),
        dilations: [1; 4],
        full_precision_transitions: true,
        split: 1,
        columns: 1,
        pad_value: PadValue::Zero,
        task: Task::IMAGENET,
        framework: Framework::PyTorch,
    };
    /// BinaryDenseNet-37 for ImageNet.
    pub const BDN_37: Self = Self {
        units: UNITS_37,
        transitions: Transitions::Reduction([3.3, 3.3, 4.0]),
        ..Self::BDN_28
    };
    /// BinaryDenseNet-37 with dilated convolutions in the place of the last two pools.
    pub const BDN_37_DILATED: Self = Self { dilations: [1, 1, 2, 4], ..Self::BDN_37 };
    /// BinaryDenseNet-45 for ImageNet.
    pub const BDN_45: Self = Self {
        units: UNITS_45,
        transitions: Transitions::Reduction([2.7, 3.3, 4.0]),
        ..Self::BDN_28
    };
}

impl BinaryDenseNet<'_> {
    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let x = net.input();
        let features = self.features(&mut net, x);
        let x = net.batch_normalization("bn_last", features.last);
        let x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    /// Stem and stages.
    pub(super) fn features(&self, net: &mut Network, x: Value) -> Features {
        let mut x = rectified_stem(net, self.framework, self.task.stem, x, self.stem_width);
        let mut features = Features { before_last_transition: x, last: x, last_channels: 0 };
        let mut channels = self.stem_width;
        let mut index = 0;
        for (stage, &units) in self.units.iter().enumerate() {
            for _ in 0..units * self.split {
                let (growth, dilation) = (self.growth / self.split, self.dilations[stage]);
                x = net.block(format!("features.{index}"), x, |net, x| {
                    self.unit(net, x, growth, dilation)
                });
                channels += growth;
                index += 1;
            }
            let Some(width) = self.transition_width(stage, channels) else { break };
            let pool = self.dilations[stage + 1] == 1;
            x = net.block(format!("features.{index}"), x, |net, x| {
                let normalised = net.batch_normalization("bn", x);
                // Detectors read this map too.
                features.before_last_transition = normalised;
                self.transition(net, normalised, width, pool)
            });
            channels = width;
            index += 1;
        }
        features.last = x;
        features.last_channels = channels;
        features
    }

    fn transition_width(&self, stage: usize, channels: usize) -> Option<usize> {
        match self.transitions {
            Transitions::Reduction(reductions) => {
                reductions.get(stage).map(|&reduction| reduced(channels, reduction))
            }
            Transitions::Widths(widths) => widths.get(stage).copied(),
        }
    }

    fn unit(&self, net: &mut Network, x: Value, growth: usize, dilation: usize) -> Value {
        let new = if self.columns == 1 {
            self.convolution(net, x, growth, dilation, Scale::None)
        } else {
            net.scope("f", |net| self.fractal(net, x, growth, dilation, self.columns))
        };
        net.concat("concat", &[x, new])
    }

    /// `BatchNorm -> sign -> bconv3x3`.
    fn convolution(
        &self,
        net: &mut Network,
        x: Value,
        growth: usize,
        dilation: usize,
        scale: Scale,
    ) -> Value {
        let x = net.batch_normalization("bn", x);
        let x = net.sign("sign", x);
        let window = Window::square(3).dilation(dilation).same();
        net.padded_binary_convolution("conv", x, growth, window, scale, self.pad_value)
    }

    /// `f_1 = conv`, `f_n+1(x) = conv(x) + f_n(f_n(x))`.
    fn fractal(
        &self,
        net: &mut Network,
        x: Value,
        growth: usize,
        dilation: usize,
        columns: usize,
    ) -> Value {
        let y = self.convolution(net, x, growth, dilation, Scale::Layer);
        if columns == 1 {
            return y;
        }
        let a = net.scope("a", |net| self.fractal(net, x, growth, dilation, columns - 1));
        let b = net.scope("b", |net| self.fractal(net, a, growth, dilation, columns - 1));
        net.add("add", &[y, b])
    }

    /// What follows the BatchNorm of a transition.
    fn transition(&self, net: &mut Network, x: Value, width: usize, pool: bool) -> Value {
        let window = Window::square(2).stride(2);
        if self.full_precision_transitions {
            let x = if pool { net.max_pool("pool", x, window) } else { x };
            let x = net.relu("act", x);
            return net.convolution("conv", x, width, Window::square(1));
        }
        let x = net.sign("act", x);
        let x = net.binary_convolution("conv", x, width, Window::square(1), Scale::None);
        if pool { net.average_pool("pool", x, window) } else { x }
    }
}

/// Maps of a [`BinaryDenseNet`].
pub(super) struct Features {
    /// The third stage after the BatchNorm that follows it.
    pub(super) before_last_transition: Value,
    /// The last stage.
    pub(super) last: Value,
    /// Channels of the last stage.
    pub(super) last_channels: usize,
}

/// `channels / reduction`, rounded down, then rounded to a multiple of 32, halves to even.
pub fn reduced(channels: usize, reduction: f64) -> usize {
    let divided = (channels as f64 / reduction).floor();
    (divided / 32.0).round_ties_even() as usize * 32
}

/// Widths of the ablation's "low reduction" transitions: the first keeps all channels, the others
/// divide by 1.4.
pub fn low_reduction(units: [usize; 4], growth: usize, stem_width: usize) -> [usize; 3] {
    let mut channels = stem_width;
    std::array::from_fn(|stage| {
        channels += units[stage] * growth;
        if stage > 0 {
            channels = reduced(channels, 1.4);
        }
        channels
    })
}
