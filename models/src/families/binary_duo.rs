//! BinaryDuo: ternary activations in training, two binary ones for each at work.

use super::parts::{Task, head};
use bnn::architecture::{
    Architecture, ArchitectureError, Network, Operation, Scale, Value, Window,
};

/// How the activations of a [BinaryDuo](https://arxiv.org/abs/2002.06517) network are made (Kim et al. 2020,
/// sections 4.2 and 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// {0, ½, 1}: what is trained first.
    Coupled,
    /// Each value twice, each copy with its own BatchNorm and threshold, {0, 1}: what is deployed.
    Decoupled,
    /// {0, 1} once, at the widths of the baseline.
    Single,
}

impl Activations {
    /// Copies of each channel that a convolution reads.
    fn copies(self) -> usize {
        match self {
            Self::Decoupled => 2,
            Self::Coupled | Self::Single => 1,
        }
    }

    fn apply(self, net: &mut Network, name: &str, x: Value) -> Value {
        let operation = match self {
            Self::Coupled => Operation::Ternary { thresholds: [0.25, 0.75] },
            Self::Decoupled | Self::Single => Operation::Step { threshold: 0.5 },
        };
        net.operation(name, &[x], operation)
    }

    fn duplicate(self, net: &mut Network, name: &str, x: Value) -> Value {
        match self {
            Self::Decoupled => net.operation(name, &[x], Operation::Duplicate {}),
            Self::Coupled | Self::Single => x,
        }
    }
}

/// Modules in a row, each named by its number, as PyTorch's `Sequential` does.
struct Row<'a> {
    net: &'a mut Network,
    x: Value,
    next: usize,
}

impl Row<'_> {
    fn push(&mut self, layer: impl FnOnce(&mut Network, &str, Value) -> Value) {
        let name = self.next.to_string();
        self.x = layer(self.net, &name, self.x);
        self.next += 1;
    }

    /// `(copies) -> BatchNorm -> activation`.
    fn activate(&mut self, activations: Activations) {
        if activations == Activations::Decoupled {
            self.push(|net, name, x| activations.duplicate(net, name, x));
        }
        self.push(|net, name, x| net.batch_normalization(name, x));
        self.push(|net, name, x| activations.apply(net, name, x));
    }

    fn max_pool(&mut self, window: Window) {
        self.push(|net, name, x| net.max_pool(name, x, window));
    }

    /// `BatchNorm -> ReLU -> conv 1x1 -> flatten`.
    fn classifier(&mut self, classes: usize) {
        self.push(|net, name, x| net.batch_normalization(name, x));
        self.push(|net, name, x| net.relu(name, x));
        self.push(|net, name, x| net.convolution(name, x, classes, Window::square(1)));
        self.push(|net, name, x| net.operation(name, &[x], Operation::Flatten {}));
    }
}

/// BinaryDuo's VGG-7 for CIFAR-10.
///
/// ```text
/// conv3x3 3->45 | conv3x3 45->45, max pool 2x2 | 45->90, pool | 90->90, pool | conv4x4/4 90->336 | conv1x1 336->512 | conv1x1 512->10
/// each but the last two followed by  (copies) -> BatchNorm -> activation,  the last but one by BatchNorm -> ReLU
/// ```
///
/// Weights are in full precision in the paper's experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuoVgg7 {
    /// Activations.
    pub activations: Activations,
    /// Coupled widths of the six layers before the classifier.
    pub widths: [usize; 6],
    /// Whether the inner layers' weights are binary too.
    pub binary_weights: bool,
    /// Pictures and classes.
    pub task: Task,
}

impl DuoVgg7 {
    /// Widths of the coupled network and the decoupled one.
    pub const WIDTHS: [usize; 6] = [45, 45, 90, 90, 336, 512];
    /// Widths of the baseline with [`Activations::Single`].
    pub const BASELINE_WIDTHS: [usize; 6] = [64, 64, 128, 128, 512, 512];

    /// The network.
    ///
    /// # Errors
    /// If the picture is smaller than 32x32.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let widths = self.widths;
        let x = net.input();
        let mut row = Row { net: &mut net, x, next: 0 };
        row.push(|net, name, x| net.convolution(name, x, widths[0], Window::square(3).padding(1)));
        row.activate(self.activations);
        for &width in &widths[1..4] {
            row.push(|net, name, x| self.layer(net, name, x, width, Window::square(3).padding(1)));
            row.max_pool(Window::square(2).stride(2));
            row.activate(self.activations);
        }
        row.push(|net, name, x| self.layer(net, name, x, widths[4], Window::square(4).stride(4)));
        row.activate(self.activations);
        row.push(|net, name, x| self.layer(net, name, x, widths[5], Window::square(1)));
        row.classifier(self.task.classes);
        let logits = row.x;
        net.finish([logits])
    }

    fn layer(
        &self,
        net: &mut Network,
        name: &str,
        x: Value,
        width: usize,
        window: Window,
    ) -> Value {
        if self.binary_weights {
            net.binary_convolution(name, x, width, window, Scale::Layer)
        } else {
            net.convolution(name, x, width, window)
        }
    }
}

/// BinaryDuo's AlexNet for ImageNet: 88 - 192 - 256 - 256 - 192 - 2400 - 4096 - classes, first and last layer in full
/// precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuoAlexNet {
    /// Activations.
    pub activations: Activations,
    /// Widths of the seven layers before the classifier.
    pub widths: [usize; 7],
    /// Pictures and classes.
    pub task: Task,
}

impl DuoAlexNet {
    /// The paper's widths.
    pub const WIDTHS: [usize; 7] = [88, 192, 256, 256, 192, 2400, 4096];

    /// The network.
    ///
    /// # Errors
    /// If the picture is smaller than the network's windows.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let x = net.input();
        let mut row = Row { net: &mut net, x, next: 0 };
        let pool = Window::square(3).stride(2);
        let first = Window::square(11).stride(4).padding(2);
        row.push(|net, name, x| net.convolution(name, x, self.widths[0], first));
        row.max_pool(pool);
        row.activate(self.activations);
        let windows = [
            (Window::square(5).padding(2), true),
            (Window::square(3).padding(1), false),
            (Window::square(3).padding(1), false),
            (Window::square(3).padding(1), true),
            (Window::square(6).stride(6), false),
        ];
        for ((window, pooled), &width) in windows.into_iter().zip(&self.widths[1..]) {
            row.push(|net, name, x| net.binary_convolution(name, x, width, window, Scale::Layer));
            if pooled {
                row.max_pool(pool);
            }
            row.activate(self.activations);
        }
        row.push(|net, name, x| {
            net.binary_convolution(name, x, self.widths[6], Window::square(1), Scale::Layer)
        });
        row.classifier(self.task.classes);
        let logits = row.x;
        net.finish([logits])
    }
}

/// BinaryDuo's ResNet-18 for ImageNet.
///
/// ```text
/// stem        conv 7x7/2 -> BatchNorm -> ReLU -> max pool 3x3/2 -> (copies) -> BatchNorm
/// unit        activation -> bconv3x3 -> (copies) -> BatchNorm
/// block       two units and a shortcut around both, or one around each ("+sc")
/// shortcut    x; where the width changes: mean of the copies -> mean 2x2 -> conv 1x1 -> BatchNorm -> (copies)
/// last unit   wider and without copies; its shortcut: mean of the copies, filled up with channels of zeros
/// classifier  ReLU -> mean -> dense
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuoResNet18 {
    /// Activations.
    pub activations: Activations,
    /// Whether there is a shortcut around each convolution.
    pub shortcut_per_convolution: bool,
    /// Coupled channels of the four stages.
    pub widths: [usize; 4],
    /// Channels after the last convolution.
    pub last_width: usize,
    /// Pictures and classes.
    pub task: Task,
}

impl DuoResNet18 {
    /// The paper's network.
    pub const DECOUPLED: Self = Self {
        activations: Activations::Decoupled,
        shortcut_per_convolution: false,
        widths: [64, 90, 180, 360],
        last_width: 512,
        task: Task::IMAGENET,
    };

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let mut net = self.task.network(name);
        let mut x = net.input();
        x = net.scope("stem", |net| {
            let x = net.convolution("0", x, self.widths[0], self.task.stem.window());
            let x = net.batch_normalization("1", x);
            let x = net.relu("2", x);
            let x = self.task.stem.pool(net, "3", x);
            let x = self.activations.duplicate(net, "4", x);
            let norm = if self.activations.copies() == 2 { "5" } else { "4" };
            net.batch_normalization(norm, x)
        });
        let mut channels = self.widths[0];
        let mut units = Vec::new();
        for (stage, &width) in self.widths.iter().enumerate() {
            for block in 0..2 {
                let is_last = stage == 3 && block == 1;
                let out = if is_last { self.last_width } else { width };
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                units.push([(channels, width, stride, false), (width, out, 1, is_last)]);
                channels = width;
            }
        }
        // Bodies and shortcuts are numbered alike.
        let bodies: Vec<&[Unit]> = if self.shortcut_per_convolution {
            units.iter().flat_map(|pair| pair.chunks(1)).collect()
        } else {
            units.iter().map(|pair| &pair[..]).collect()
        };
        for (index, body) in bodies.into_iter().enumerate() {
            let (Some(first), Some(last)) = (body.first(), body.last()) else { continue };
            let shortcut = net.scope(format!("shorts.{index}"), |net| {
                self.shortcut(net, x, first.0, last.1, last.3)
            });
            let y = net.block(format!("bodies.{index}"), x, |net, x| {
                let (mut y, mut next) = (x, 0);
                for unit in body {
                    y = self.unit(net, y, *unit, &mut next);
                }
                y
            });
            x = net.add(&format!("sums.{index}"), &[y, shortcut]);
        }
        x = net.relu("relu", x);
        let logits = head(&mut net, x, self.task.classes);
        net.finish([logits])
    }

    fn unit(&self, net: &mut Network, x: Value, unit: Unit, next: &mut usize) -> Value {
        let (_, out, stride, is_last) = unit;
        let mut name = || {
            *next += 1;
            (*next - 1).to_string()
        };
        let x = self.activations.apply(net, &name(), x);
        let window = Window::square(3).stride(stride).padding(1);
        let mut x = net.binary_convolution(&name(), x, out, window, Scale::Layer);
        if !is_last && self.activations == Activations::Decoupled {
            x = self.activations.duplicate(net, &name(), x);
        }
        net.batch_normalization(&name(), x)
    }

    fn shortcut(
        &self,
        net: &mut Network,
        x: Value,
        channels: usize,
        out: usize,
        is_last: bool,
    ) -> Value {
        if channels == out {
            return x;
        }
        let decoupled = self.activations.copies() == 2;
        let mut next = 0;
        let mut name = || {
            next += 1;
            (next - 1).to_string()
        };
        let mut x = x;
        if decoupled {
            x = net.operation(&name(), &[x], Operation::HalfMean {});
        }
        if is_last {
            let after = out.saturating_sub(channels);
            return net.operation(&name(), &[x], Operation::PadChannels { after });
        }
        x = net.halve(&name(), x);
        x = net.convolution(&name(), x, out, Window::square(1));
        x = net.batch_normalization(&name(), x);
        if decoupled { self.activations.duplicate(net, &name(), x) } else { x }
    }
}

/// Input and output channels (coupled), stride, and whether it is the last of the network.
type Unit = (usize, usize, usize, bool);
