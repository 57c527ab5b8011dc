//! SSD512 on a BinaryDenseNet, up to the raw outputs of its heads.

use super::binary_dense_net::BinaryDenseNet;
use bnn::architecture::{Architecture, ArchitectureError, Network, Operation, Value, Window};

/// SSD512 (Liu et al. 2016) as the BinaryDenseNet paper uses it, section 4.4, with the layers of GluonCV's ResNet presets.
///
/// Which maps feed the heads is not in the paper. Ours: the third stage behind the BatchNorm that follows it, and ReLU
/// (stride 16); the last stage behind BatchNorm and ReLU (stride 32); then four extra blocks in full precision, `conv 1x1 ->
/// BatchNorm -> ReLU -> conv 3x3/2 -> BatchNorm -> ReLU`. On each map a convolution 3x3 with bias predicts classes
/// (background first) and another one boxes.
///
/// The output is `[anchors, classes + 1 + 4]`: anchors by map, row, column and shape; scores, then box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ssd512<'a> {
    /// The network that computes the features; its task says picture size and classes.
    pub backbone: BinaryDenseNet<'a>,
    /// Channels of the extra blocks.
    pub extra_widths: [usize; 4],
    /// Anchors at each place of each map.
    pub anchors: [usize; 6],
    /// Classes of the classifier that the backbone was trained with; checkpoints still hold it.
    pub backbone_classes: usize,
}

impl<'a> Ssd512<'a> {
    /// With the paper's heads.
    pub const fn new(backbone: BinaryDenseNet<'a>) -> Self {
        Self {
            backbone,
            extra_widths: [512, 512, 256, 256],
            anchors: [4, 6, 6, 6, 4, 4],
            backbone_classes: 1000,
        }
    }

    /// The network.
    ///
    /// # Errors
    /// If the picture is too small.
    pub fn architecture(&self, name: &str) -> Result<Architecture, ArchitectureError> {
        let task = self.backbone.task;
        let mut net = task.network(name);
        let x = net.input();
        let (mut maps, last_channels) = net.scope("backbone", |net| {
            let features = self.backbone.features(net, x);
            let last = net.batch_normalization("bn_last", features.last);
            let last = net.relu("relu", last);
            let third = net.relu("relu_third_stage", features.before_last_transition);
            (vec![third, last], features.last_channels)
        });
        net.unused("backbone.head.fc.weight", &[self.backbone_classes, last_channels]);
        net.unused("backbone.head.fc.bias", &[self.backbone_classes]);
        let mut x = maps[1];
        for (index, &width) in self.extra_widths.iter().enumerate() {
            x = net.scope(format!("extras.{index}"), |net| extra(net, x, width));
            maps.push(x);
        }
        let scores = task.classes + 1;
        let heads = [("cls", scores), ("box", 4)].map(|(name, values)| {
            let rows: Vec<Value> = maps
                .iter()
                .zip(&self.anchors)
                .enumerate()
                .map(|(index, (&map, &anchors))| {
                    head(&mut net, &format!("{name}.{index}"), map, anchors, values)
                })
                .collect();
            net.concat(&format!("{name}.rows"), &rows)
        });
        let output = net.operation("rows", &heads, Operation::Concat { axis: 1 });
        net.finish([output])
    }
}

fn extra(net: &mut Network, x: Value, width: usize) -> Value {
    let x = net.convolution("0", x, width.max(128), Window::square(1));
    let x = net.batch_normalization("1", x);
    let x = net.relu("2", x);
    let x = net.convolution("3", x, width, Window::square(3).stride(2).padding(1));
    let x = net.batch_normalization("4", x);
    net.relu("5", x)
}

/// `values` numbers for each anchor at each place: one row per anchor.
fn head(net: &mut Network, name: &str, x: Value, anchors: usize, values: usize) -> Value {
    let x = net.convolution_with_bias(name, x, anchors * values, Window::square(3).padding(1));
    let places = net.places(x);
    let transpose = Operation::Transpose { order: vec![1, 2, 0] };
    let x = net.operation(&format!("{name}.transposed"), &[x], transpose);
    let reshape = Operation::Reshape { shape: vec![places * anchors, values] };
    net.operation(&format!("{name}.rows"), &[x], reshape)
}
