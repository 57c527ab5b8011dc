//! What a network takes over from the framework that it was written in.

use bnn::architecture::{Network, Operation, Value, Window};

/// The framework whose conventions a network follows.
///
/// Weights that were trained under one of them are wrong under the other, although all shapes agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framework {
    /// PyTorch (and MXNet): as much padding on one side as on the other, an epsilon of 1e-5, dense layers that read a
    /// map channel by channel.
    #[default]
    PyTorch,
    /// TensorFlow, as larq zoo's networks are written in Keras: padding `SAME`, which puts the odd pixel of a stride
    /// of 2 after the map, an epsilon of 1e-3 where the zoo states none, dense layers that read a map pixel by pixel.
    ///
    /// Layers stand in the order in which the zoo creates them, which is the order of the numbers in the names that
    /// Keras gives them: a shortcut that changes the shape comes before what it leads around.
    TensorFlow,
}

impl Framework {
    /// A window on `x`: its padding is that of PyTorch, or `SAME`.
    pub(crate) fn window(self, net: &Network, x: Value, window: Window) -> Window {
        match (self, net.map_size(x)) {
            (Self::TensorFlow, Some(size)) => window.same_as_in_tensorflow(size),
            _ => window,
        }
    }

    /// Epsilon of normalisations for which a network states none.
    pub(crate) fn epsilon(self) -> f32 {
        match self {
            Self::PyTorch => 1e-5,
            Self::TensorFlow => 1e-3,
        }
    }

    /// Whether a shortcut that changes the shape is created before the layers that it leads around.
    pub(crate) fn shortcut_first(self) -> bool {
        self == Self::TensorFlow
    }

    /// All values of a map in one dimension, and how many: the order in which the framework's dense layers read it.
    pub(crate) fn flatten(self, net: &mut Network, x: Value, name: &str) -> (Value, usize) {
        let x = match self {
            Self::PyTorch => x,
            Self::TensorFlow => {
                let order = Operation::Transpose { order: vec![1, 2, 0] };
                net.operation(&format!("{name}.pixels"), &[x], order)
            }
        };
        let features = net.elements(x);
        (net.operation(name, &[x], Operation::Flatten {}), features)
    }

    /// A normalisation; larq zoo's AlexNets have no gamma.
    pub(crate) fn alexnet_norm(
        self,
        net: &mut Network,
        name: &str,
        x: Value,
        epsilon: f32,
    ) -> Value {
        let scale = self == Self::PyTorch;
        net.operation(name, &[x], Operation::BatchNormalization { epsilon, scale, shift: true })
    }
}
