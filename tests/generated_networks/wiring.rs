//! What joins, splits and moves maps, and the ends of networks.

use crate::model::{float, floats, int, ints, string};
use crate::network::{Map, Network, Window};

impl Network {
    /// The sum of two maps of one size.
    pub(crate) fn shortcut(&mut self, a: &Map, b: &Map) -> Map {
        let name = if self.random.chance(20) {
            self.node("Sum", &[&a.name, &b.name], vec![])
        } else {
            self.node("Add", &[&a.name, &b.name], vec![])
        };
        self.with(a, name, a.bound + b.bound, a.grain.max(b.grain))
    }

    /// A layer that brings a map to the size of another, or nothing if it cannot.
    pub(crate) fn projection(&mut self, map: &Map, to: &Map) -> Option<Map> {
        let stride = [map.height.div_ceil(to.height), map.width.div_ceil(to.width)];
        let fits = map.height.div_ceil(stride[0]) == to.height
            && map.width.div_ceil(stride[1]) == to.width;
        let window = Window { kernel: [1, 1], stride, dilation: [1, 1], pads: [0; 4] };
        fits.then(|| self.convolution_with(map, window, 1, to.channels)).flatten()
    }

    pub(crate) fn join(&mut self, a: &Map, b: &Map) -> Map {
        let axis = self.channel_axis() - if self.random.chance(30) { 4 } else { 0 };
        let axis = if self.operator_set() < 11 { self.channel_axis() } else { axis };
        let name = self.node("Concat", &[&a.name, &b.name], vec![int("axis", axis)]);
        let joined = self.with(a, name, a.bound.max(b.bound), a.grain.max(b.grain));
        Map { channels: a.channels + b.channels, ..joined }
    }

    /// Units that each read all that came before them and add a few channels.
    pub(crate) fn dense_block(&mut self, map: &Map) -> Option<Map> {
        let mut map = map.clone();
        let (kernel, pads) = self.random.of(&[([3, 3], [1; 4]), ([1, 1], [0; 4])]);
        let window = Window { kernel, stride: [1, 1], dilation: [1, 1], pads };
        let growth = self.random.between(1, 24);
        for _ in 0..self.random.between(1, 3) {
            let normalised =
                if self.random.chance(80) { self.batch_normalisation(&map) } else { map.clone() };
            if !normalised.is_exact() {
                break;
            }
            let signs = self.binarise(&normalised);
            let new = self.convolution_with(&signs, window, 1, growth)?;
            map =
                if self.random.chance(80) { self.join(&map, &new) } else { self.join(&new, &map) };
        }
        Some(map)
    }

    /// Two halves of the channels, the second one in front.
    pub(crate) fn swap_halves(&mut self, map: &Map) -> Option<Map> {
        if map.channels < 2 {
            return None;
        }
        let first = self.random.between(1, map.channels - 1);
        let sizes = [first as i64, (map.channels - first) as i64];
        let axis = int("axis", self.channel_axis());
        let parts = if self.operator_set() < 13 {
            self.writer.nodes("Split", &[&map.name], 2, vec![axis.clone(), ints("split", &sizes)])
        } else {
            let sizes = self.writer.integers(&sizes);
            self.writer.nodes("Split", &[&map.name, &sizes], 2, vec![axis.clone()])
        };
        let name = self.node("Concat", &[&parts[1], &parts[0]], vec![axis]);
        Some(self.with(map, name, map.bound, map.grain))
    }

    /// A channel shuffle.
    pub(crate) fn shuffle(&mut self, map: &Map) -> Option<Map> {
        let groups = (2..map.channels).find(|&groups| map.channels.is_multiple_of(groups))?;
        let [_, a, b, c] = self.dims(map).map(|size| size as i64);
        let (groups, rest) = (groups as i64, (map.channels / groups) as i64);
        let (split, perm) = if self.channels_last {
            (vec![0, a, b, groups, rest], [0, 1, 2, 4, 3])
        } else {
            (vec![-1, groups, rest, b, c], [0, 2, 1, 3, 4])
        };
        let split = self.writer.integers(&split);
        let joined = self.writer.integers(&[-1, a, b, c]);
        let x = self.node("Reshape", &[&map.name, &split], vec![]);
        let x = self.node("Transpose", &[&x], vec![ints("perm", &perm)]);
        let name = self.node("Reshape", &[&x, &joined], vec![]);
        Some(self.with(map, name, map.bound, map.grain))
    }

    /// Padding of pixels with one of the values that binary maps have, or another.
    pub(crate) fn pad(&mut self, map: &Map) -> Map {
        let value = self.random.of(&[0.0, 1.0, -1.0]);
        let amounts: [usize; 4] = [0; 4].map(|_| self.random.below(2));
        let [top, left, bottom, right] = amounts.map(|amount| amount as i64);
        let pads = if self.channels_last {
            [0, top, left, 0, 0, bottom, right, 0]
        } else {
            [0, 0, top, left, 0, 0, bottom, right]
        };
        let name = if self.operator_set() < 11 {
            self.node("Pad", &[&map.name], vec![ints("pads", &pads), float("value", value)])
        } else {
            let pads = self.writer.integers(&pads);
            let value = self.tensor(&[], &[value]);
            self.node("Pad", &[&map.name, &pads, &value], vec![string("mode", "constant")])
        };
        let padded = self.with(map, name, map.bound.max(1.0), map.grain);
        Map {
            height: map.height + amounts[0] + amounts[2],
            width: map.width + amounts[1] + amounts[3],
            ..padded
        }
    }

    /// Every second pixel or channel, or the first ones.
    pub(crate) fn slice(&mut self, map: &Map) -> Option<Map> {
        let axis = self.random.between(1, 3);
        let size = self.dims(map)[axis];
        let step = if self.operator_set() >= 10 { self.random.between(1, 2) } else { 1 };
        let start = self.random.below(2);
        let kept = size.checked_sub(start).filter(|&left| left > 0)?.div_ceil(step);
        let bounds = [vec![start as i64], vec![i64::MAX], vec![axis as i64], vec![step as i64]];
        let name = if self.operator_set() < 10 {
            let [starts, ends, axes, _] = bounds;
            let attributes =
                vec![ints("starts", &starts), ints("ends", &ends), ints("axes", &axes)];
            self.node("Slice", &[&map.name], attributes)
        } else {
            let bounds = bounds.map(|values| self.writer.integers(&values));
            let [starts, ends, axes, steps] = &bounds;
            self.node("Slice", &[&map.name, starts, ends, axes, steps], vec![])
        };
        let mut cut = self.with(map, name, map.bound, map.grain);
        let target = match (axis, self.channels_last) {
            (1, false) | (3, true) => &mut cut.channels,
            (1, true) | (2, false) => &mut cut.height,
            _ => &mut cut.width,
        };
        *target = kept;
        Some(cut)
    }

    /// Pixels twice as large.
    pub(crate) fn enlarge(&mut self, map: &Map) -> Option<Map> {
        if self.channels_last || map.height * map.width > 64 {
            return None;
        }
        let scales = [1.0, 1.0, 2.0, 2.0];
        let nearest = string("mode", "nearest");
        let name = match self.operator_set() {
            ..9 => self.node("Upsample", &[&map.name], vec![nearest, floats("scales", &scales)]),
            9 => {
                let scales = self.tensor(&[4], &scales);
                self.node("Upsample", &[&map.name, &scales], vec![nearest])
            }
            10 => {
                let scales = self.tensor(&[4], &scales);
                self.node("Resize", &[&map.name, &scales], vec![nearest])
            }
            _ => {
                let scales = self.tensor(&[4], &scales);
                let floor = string("nearest_mode", "floor");
                let corner = string("coordinate_transformation_mode", "asymmetric");
                self.node("Resize", &[&map.name, "", &scales], vec![nearest, floor, corner])
            }
        };
        let enlarged = self.with(map, name, map.bound, map.grain);
        Some(Map { height: 2 * map.height, width: 2 * map.width, ..enlarged })
    }

    /// Squeeze and excite: a factor for each channel from all pixels, whose number is a power of two.
    pub(crate) fn gate(&mut self, map: &Map) -> Option<Map> {
        let pixels = map.height * map.width;
        if !pixels.is_power_of_two() {
            return None;
        }
        let axes = if self.channels_last { [1, 2] } else { [2, 3] };
        let mean = if self.channels_last || self.random.chance(50) {
            self.mean(&map.name, &axes, true)
        } else {
            self.node("GlobalAveragePool", &[&map.name], vec![])
        };
        let squeezed = self.with(map, mean, map.bound, map.grain + pixels.ilog2() as i32);
        let squeezed = Map { height: 1, width: 1, ..squeezed };
        let attributes = vec![float("alpha", 0.25), float("beta", 0.5)];
        let gate = self.node("HardSigmoid", &[&squeezed.name], attributes);
        let name = self.node("Mul", &[&map.name, &gate], vec![]);
        Some(self.with(map, name, map.bound, map.grain + squeezed.grain + 2))
    }

    /// From a map to the answer: pooled, flattened, dense layers, probabilities.
    pub(crate) fn finish(&mut self, map: &Map) -> String {
        let mut map = map.clone();
        if self.random.chance(40) {
            let axes = if self.channels_last { [1, 2] } else { [2, 3] };
            let name = if self.channels_last || self.random.chance(50) {
                self.mean(&map.name, &axes, true)
            } else {
                let op = self.random.of(&["GlobalAveragePool", "GlobalMaxPool"]);
                self.node(op, &[&map.name], vec![])
            };
            // Other numbers of pixels leave the dyadic numbers.
            self.is_exact &= (map.height * map.width).is_power_of_two();
            let grain = map.grain + (map.height * map.width).ilog2() as i32;
            map = Map { height: 1, width: 1, ..self.with(&map, name, map.bound, grain) };
        }
        if self.random.chance(20) {
            return map.name;
        }
        let features = map.channels * map.height * map.width;
        let mut x = self.flatten(&map.name, features);
        if self.random.chance(50) && self.is_exact {
            let flat = Map { name: x, ..map.clone() };
            let signs = self.binarise(&flat);
            (x, map) = (signs.name.clone(), signs);
        }
        let classes = self.random.between(1, 12);
        let weights = self.random.many(features * classes, &[1.0, -1.0]);
        self.binary_layers += usize::from(map.is_binary);
        x = if self.random.chance(50) {
            let weights = self.tensor(&[classes, features], &weights);
            let bias = self.random.dyadic(classes, 1, 4);
            let bias = self.tensor(&[classes], &bias);
            self.node("Gemm", &[&x, &weights, &bias], vec![int("transB", 1)])
        } else {
            let weights = self.tensor(&[features, classes], &weights);
            self.node("MatMul", &[&x, &weights], vec![])
        };
        self.is_exact &= (map.bound * features as f64 + 1.0) * 2_f64.powi(map.grain + 2) < 2e6;
        match self.random.below(6) {
            0 => {
                self.is_exact = false;
                self.node("Softmax", &[&x], vec![int("axis", 1)])
            }
            1 => {
                self.is_exact = false;
                self.node("Sigmoid", &[&x], vec![])
            }
            _ => x,
        }
    }

    /// One row of features, in one of the ways in which exporters write it.
    fn flatten(&mut self, x: &str, features: usize) -> String {
        match self.random.below(4) {
            0 => self.node("Flatten", &[x], vec![int("axis", 1)]),
            1 => {
                let shape = self.writer.integers(&[-1, features as i64]);
                self.node("Reshape", &[x, &shape], vec![])
            }
            2 => {
                let shape = self.writer.integers(&[0, -1]);
                self.node("Reshape", &[x, &shape], vec![])
            }
            _ => {
                let shape = self.node("Shape", &[x], vec![]);
                let zero = self.writer.integers(&[0]);
                let batch = self.node("Gather", &[&shape, &zero], vec![int("axis", 0)]);
                let rest = self.writer.integers(&[-1]);
                let shape = self.node("Concat", &[&batch, &rest], vec![int("axis", 0)]);
                self.node("Reshape", &[x, &shape], vec![])
            }
        }
    }
}
