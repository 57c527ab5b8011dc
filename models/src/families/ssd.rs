//! SSD512 on a BinaryDenseNet, up to the raw outputs of its heads.

use super::binary_dense_net::BinaryDenseNet;
use bnn::architecture::{Architecture, ArchitectureError, Network, Operation, Value, Window};
use bnn::program::{AnchorMap, Detector};

/// The classes of Pascal VOC in the order of GluonCV, which is that of the alphabet.
pub const VOC_CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Sides of the square anchors of SSD512 on Pascal VOC, in pixels: each map has those of its own number and of
/// the next.
const ANCHOR_SIDES: [f64; 7] = [51.2, 102.4, 189.4, 276.4, 363.52, 450.6, 492.0];

/// Pixels of the input between two places of the first map; each next map has twice the distance.
const FIRST_STEP: usize = 16;

/// SSD512 (Liu et al. 2016) as the BinaryDenseNet paper uses it, section 4.4, with the layers of GluonCV's ResNet presets.
///
/// Which maps feed the heads is not in the paper. Ours: the third stage behind the BatchNorm that follows it, and ReLU
/// (stride 16); the last stage behind BatchNorm and ReLU (stride 32); then four extra blocks in full precision, `conv 1x1 ->
/// BatchNorm -> ReLU -> conv 3x3/2 -> BatchNorm -> ReLU`. On each map a convolution 3x3 with bias predicts classes
/// (background first) and another one boxes.
///
/// The output is `[anchors, classes + 1 + 4]`: anchors by map, row, column and shape; scores, then box.
/// [`Ssd512::detector`] says what they mean.
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

    /// How the rows of the output become boxes.
    ///
    /// A map whose anchors have the side `s`, the next map's being `s'`, has at each place a square of side `s`, one of
    /// side `sqrt(s * s')`, and for each aspect `r` of 2, 1/2, 3, 1/3, as many as it has anchors for, a rectangle of width
    /// `s * sqrt(r)` and height `s / sqrt(r)`.
    pub fn detector(&self) -> Detector {
        let mut size = self.backbone.task.input.map(|side| side.div_ceil(FIRST_STEP));
        let maps = self.anchors.iter().zip(ANCHOR_SIDES.windows(2)).enumerate();
        let maps = maps.map(|(index, (&anchors, sides))| {
            let squares = [sides[0], (sides[0] * sides[1]).sqrt()].map(|side| [side, side]);
            let aspects = [2.0_f64, 0.5, 3.0, 1.0 / 3.0].map(f64::sqrt);
            let rectangles = aspects.map(|root| [sides[0] / root, sides[0] * root]);
            let shapes = squares.iter().chain(&rectangles).take(anchors);
            let map = AnchorMap {
                size: size.map(|side| side as u32),
                step: [(FIRST_STEP << index) as f32; 2],
                shapes: shapes.map(|shape| shape.map(|side| side as f32)).collect(),
            };
            size = size.map(|side| side.div_ceil(2));
            map
        });
        Detector::new(maps.collect())
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
