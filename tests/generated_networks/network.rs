//! Networks in the making: maps, what is known about their values, and how convolutional networks
//! are put together of them.
//!
//! All numbers are dyadic, a small integer over a power of two, and stay so few that no float sum is
//! ever rounded. Then the order of additions does not matter, and converted networks must give the
//! answers of the interpreter to the bit. What cannot be exact stands at the end of a network.

use crate::model::{Writer, float, int, ints, string};
use crate::random::Random;

/// A map of a batch of one. Values are multiples of `2^-grain` and at most `bound` in size.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) name: String,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) bound: f64,
    pub(crate) grain: i32,
    /// Whether it is what a binarisation gave.
    pub(crate) is_binary: bool,
    /// Whether it takes few values.
    pub(crate) is_quantised: bool,
}

impl Map {
    /// Whether sums of such values are exact.
    pub(crate) fn is_exact(&self) -> bool {
        self.bound * 2_f64.powi(self.grain) < 2_f64.powi(21) && self.grain < 60
    }
}

/// Bits behind the point that the values need.
pub(crate) fn grain(values: &[f32]) -> i32 {
    let fits =
        |grain: &i32| values.iter().all(|&v| (f64::from(v) * 2_f64.powi(*grain)).fract() == 0.0);
    (0..64).find(fits).expect("dyadic values")
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest, &value| f64::from(value.abs()).max(largest))
}

/// A window of a convolution or pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) pads: [usize; 4],
}

impl Window {
    /// Numbers of windows, if there are any.
    fn outputs(&self, map: &Map) -> Option<[usize; 2]> {
        let mut outputs = [0; 2];
        for axis in 0..2 {
            let padded = [map.height, map.width][axis] + self.pads[axis] + self.pads[axis + 2];
            let extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            outputs[axis] = padded.checked_sub(extent)? / self.stride[axis] + 1;
        }
        Some(outputs)
    }
}

pub(crate) struct Network {
    pub(crate) random: Random,
    pub(crate) writer: Writer,
    /// Whether channels come last everywhere but in layers and pools.
    pub(crate) channels_last: bool,
    /// Layers that are to become binary.
    pub(crate) binary_layers: usize,
    /// Whether the answers of the converted network are those of the interpreter to the bit.
    pub(crate) is_exact: bool,
}

impl Network {
    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<rten_onnx::onnx::AttributeProto>,
    ) -> String {
        self.writer.node(op, inputs, attributes)
    }

    pub(crate) fn operator_set(&self) -> i64 {
        self.writer.operator_set
    }

    pub(crate) fn tensor(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.writer.tensor(&mut self.random, dims, values)
    }

    pub(crate) fn scalar(&mut self, value: f32) -> String {
        let dims: &[usize] = if self.random.chance(50) { &[] } else { &[1] };
        self.tensor(dims, &[value])
    }

    /// One value for each channel, in a shape that meets them.
    pub(crate) fn per_channel(&mut self, values: &[f32]) -> String {
        let count = values.len();
        let dims = match (self.channels_last, self.random.chance(50)) {
            (true, true) => vec![count],
            (true, false) => vec![1, 1, 1, count],
            (false, true) => vec![count, 1, 1],
            (false, false) => vec![1, count, 1, 1],
        };
        self.tensor(&dims, values)
    }

    pub(crate) fn channel_axis(&self) -> i64 {
        if self.channels_last { 3 } else { 1 }
    }

    /// The shape of a map as the graph has it.
    pub(crate) fn dims(&self, map: &Map) -> [usize; 4] {
        let Map { channels, height, width, .. } = *map;
        if self.channels_last { [1, height, width, channels] } else { [1, channels, height, width] }
    }

    /// Applies an operator that wants channels first.
    fn channels_first(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<rten_onnx::onnx::AttributeProto>,
    ) -> String {
        if !self.channels_last {
            return self.node(op, inputs, attributes);
        }
        let x = self.node("Transpose", &inputs[..1], vec![ints("perm", &[0, 3, 1, 2])]);
        let inputs: Vec<&str> = [&[x.as_str()], &inputs[1..]].concat();
        let y = self.node(op, &inputs, attributes);
        self.node("Transpose", &[&y], vec![ints("perm", &[0, 2, 3, 1])])
    }

    /// The map with another name and range.
    pub(crate) fn with(&self, map: &Map, name: String, bound: f64, grain: i32) -> Map {
        Map { name, bound, grain, is_binary: false, ..map.clone() }
    }

    fn window(&mut self, largest: usize, map: &Map) -> Window {
        let small = map.height.min(map.width) < 3;
        let random = &mut self.random;
        let kernel = [random.between(1, largest), random.between(1, largest)];
        let stride = if small { [1, 1] } else { [random.between(1, 2), random.between(1, 2)] };
        let dilation =
            if random.chance(80) { [1, 1] } else { [random.between(1, 2), random.between(1, 2)] };
        let pads = match random.below(4) {
            0 => [0; 4],
            1 => [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2],
            _ => [0; 4].map(|_| random.below(3)),
        };
        Window { kernel, stride, dilation, pads }
    }

    fn window_attributes(window: &Window) -> Vec<rten_onnx::onnx::AttributeProto> {
        let list = |values: &[usize]| values.iter().map(|&v| v as i64).collect::<Vec<_>>();
        vec![
            ints("kernel_shape", &list(&window.kernel)),
            ints("strides", &list(&window.stride)),
            ints("pads", &list(&window.pads)),
        ]
    }

    /// Weights of a convolution in one of the forms that training leaves, and their values.
    fn weights(&mut self, dims: [usize; 4], binary: bool) -> (String, Vec<f32>, bool) {
        let count: usize = dims.iter().product();
        let per_filter = count / dims[0];
        let signs = self.random.many(count, &[1.0_f32, -1.0]);
        let scaled = |scales: &[f32]| -> Vec<f32> {
            signs.iter().enumerate().map(|(i, s)| s * scales[i / per_filter]).collect()
        };
        if !binary && self.random.chance(60) {
            let values = match self.random.below(3) {
                0 => self.random.dyadic(count, 1, 4),
                1 => self.random.many(count, &[1.0, 0.0, -1.0]),
                _ => self.random.dyadic(count, 3, 1),
            };
            return (self.tensor(&dims, &values), values, false);
        }
        match self.random.below(5) {
            // Scales with the normalisation folded in: of either sign, some zero.
            0 => {
                let scales = self.random.many(dims[0], &[0.5, 1.0, -0.25, 2.0, 0.0]);
                let values = scaled(&scales);
                (self.tensor(&dims, &values), values, true)
            }
            // Latent weights, binarised in the graph and scaled by their mean size.
            1 if per_filter.is_power_of_two() => {
                let latent: Vec<f32> = signs.iter().map(|s| s * 0.5).collect();
                let w = self.tensor(&dims, &latent);
                let sign = self.node("Sign", &[&w], vec![]);
                let size = self.node("Abs", &[&w], vec![]);
                let scale = self.mean(&size, &[1, 2, 3], true);
                (self.node("Mul", &[&sign, &scale], vec![]), latent, true)
            }
            // What a straight-through estimator leaves.
            2 => {
                let latent = self.random.dyadic(count, 1, 8);
                let latent: Vec<f32> =
                    latent.iter().zip(&signs).map(|(l, s)| (l.abs() + 0.125) * s).collect();
                let w = self.tensor(&dims, &latent);
                let sign = self.node("Sign", &[&w], vec![]);
                let difference = self.node("Sub", &[&sign, &w], vec![]);
                (self.node("Add", &[&difference, &w], vec![]), signs, true)
            }
            // Two values around a centre.
            3 if binary => {
                let scales = self.random.many(dims[0], &[1.0, 0.5]);
                let centres = self.random.many(dims[0], &[0.0, 0.25, -0.5]);
                let values: Vec<f32> = scaled(&scales)
                    .iter()
                    .enumerate()
                    .map(|(i, v)| v + centres[i / per_filter])
                    .collect();
                // A filter of one weight has no centre of its own to be found.
                (self.tensor(&dims, &values), values, per_filter > 8)
            }
            _ => (self.tensor(&dims, &signs), signs, true),
        }
    }

    /// The mean along axes, which were an attribute once.
    pub(crate) fn mean(&mut self, x: &str, axes: &[i64], keep: bool) -> String {
        let keep = int("keepdims", i64::from(keep));
        if self.operator_set() < 18 {
            return self.node("ReduceMean", &[x], vec![ints("axes", axes), keep]);
        }
        let axes = self.writer.integers(axes);
        self.node("ReduceMean", &[x, &axes], vec![keep])
    }

    /// The zero bias that is written where nothing is optimised.
    fn unoptimised_zeros(&mut self, like: &str, weights: &str) -> String {
        let size = self.node("Shape", &[weights], vec![int("start", 0), int("end", 1)]);
        let zero = self.scalar(0.0);
        let zero = self.node("CastLike", &[&zero, like], vec![]);
        self.node("Expand", &[&zero, &size], vec![])
    }

    pub(crate) fn convolution(&mut self, map: &Map) -> Option<Map> {
        let window = self.window(3, map);
        let groups: Vec<usize> =
            (1..=map.channels).filter(|&g| map.channels.is_multiple_of(g)).collect();
        let groups = if self.random.chance(70) { 1 } else { self.random.of(&groups) };
        let out = groups * self.random.between(1, (40 / groups).max(1));
        self.convolution_with(map, window, groups, out)
    }

    pub(crate) fn convolution_with(
        &mut self,
        map: &Map,
        mut window: Window,
        groups: usize,
        out: usize,
    ) -> Option<Map> {
        let per_group = map.channels / groups;
        let dims = [out, per_group, window.kernel[0], window.kernel[1]];
        let mut outputs = window.outputs(map)?;
        let (weights, values, is_two_valued) = self.weights(dims, map.is_binary);
        let per_filter = values.len() / out;
        let sums = values.chunks(per_filter).map(|f| f.iter().map(|v| f64::from(v.abs())).sum());
        let bound = map.bound * sums.fold(0.0, f64::max);
        let grain_of_products = map.grain + grain(&values);
        let mut attributes = Self::window_attributes(&window);
        if self.random.chance(15) {
            // The same number of windows as pixels, divided by the stride.
            let lower = self.random.chance(50);
            attributes.retain(|attribute| attribute.name.as_deref() != Some("pads"));
            attributes.push(string("auto_pad", if lower { "SAME_LOWER" } else { "SAME_UPPER" }));
            window.pads = [0; 4];
            outputs =
                [0, 1].map(|axis| [map.height, map.width][axis].div_ceil(window.stride[axis]));
        }
        attributes.push(ints("dilations", &window.dilation.map(|d| d as i64)));
        attributes.push(int("group", groups as i64));
        let mut inputs = vec![map.name.clone(), weights.clone()];
        let (mut bias_bound, mut bias_grain) = (0.0, 0);
        if self.random.chance(30) {
            let bias = self.random.dyadic(out, 2, 4);
            (bias_bound, bias_grain) = (largest(&bias), grain(&bias));
            inputs.push(self.tensor(&[out], &bias));
        } else if self.operator_set() >= 15 && self.random.chance(30) {
            let zeros = self.unoptimised_zeros(&map.name, &weights);
            inputs.push(zeros);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let name = self.channels_first("Conv", &inputs, attributes);
        self.binary_layers += usize::from(map.is_binary && is_two_valued);
        let [height, width] = outputs;
        Some(Map {
            name,
            channels: out,
            height,
            width,
            bound: bound + bias_bound,
            grain: grain_of_products.max(bias_grain),
            is_binary: false,
            is_quantised: false,
        })
    }

    /// Gammas of either sign, zero and tiny ones; means that make ties.
    pub(crate) fn batch_normalisation(&mut self, map: &Map) -> Map {
        let channels = map.channels;
        let gamma = self.random.many(channels, &[1.0, 0.5, -1.0, -0.25, 0.0, 2.0, 0.000_976_562_5]);
        let beta = self.random.dyadic(channels, 2, 2);
        let mean = self.random.dyadic(channels, map.bound.clamp(1.0, 8.0) as usize, 1);
        let (epsilon, offset) = self.random.of(&[(0.0, 0.0), (0.000_976_562_5, 0.000_976_562_5)]);
        let roots = self.random.many(channels, &[0.5_f32, 1.0, 2.0, 4.0]);
        let variance: Vec<f32> = roots.iter().map(|root| root * root - offset).collect();
        let scale: Vec<f32> = gamma.iter().zip(&roots).map(|(gamma, root)| gamma / root).collect();
        let shift: Vec<f32> = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
        let parameters =
            [&gamma, &beta, &mean, &variance].map(|values| self.tensor(&[channels], values));
        let inputs: Vec<&str> = std::iter::once(map.name.as_str())
            .chain(parameters.iter().map(String::as_str))
            .collect();
        let mut attributes = vec![float("epsilon", epsilon)];
        if self.random.chance(50) {
            attributes.push(float("momentum", 0.9));
        }
        if self.operator_set() >= 14 && self.random.chance(50) {
            attributes.push(int("training_mode", 0));
        }
        let name = self.channels_first("BatchNormalization", &inputs, attributes);
        let bound = map.bound * largest(&scale) + largest(&shift);
        let grain = (map.grain + grain(&scale)).max(grain(&shift));
        self.with(map, name, bound, grain)
    }

    pub(crate) fn max_pool(&mut self, map: &Map) -> Option<Map> {
        let window = self.pool_window(map)?;
        let [height, width] = window.outputs(map)?;
        let mut attributes = Self::window_attributes(&window);
        if self.operator_set() >= 10 && self.random.chance(50) {
            attributes.push(int("ceil_mode", 0));
            attributes.push(ints("dilations", &[1, 1]));
        }
        let name = self.channels_first("MaxPool", &[&map.name], attributes);
        Some(Map { name, height, width, ..map.clone() })
    }

    /// Every window has a pixel of the map.
    fn pool_window(&mut self, map: &Map) -> Option<Window> {
        let mut window = self.window(3, map);
        window.dilation = [1, 1];
        for axis in 0..2 {
            let half = window.kernel[axis] / 2;
            window.pads[axis] = window.pads[axis].min(half);
            window.pads[axis + 2] = window.pads[axis + 2].min(half);
            if [map.height, map.width][axis] < window.kernel[axis] {
                return None;
            }
        }
        Some(window)
    }

    /// Averages over two or four pixels, which stay dyadic.
    pub(crate) fn average_pool(&mut self, map: &Map) -> Option<Map> {
        let mut window = self.pool_window(map)?;
        window.kernel = self.random.of(&[[2, 2], [1, 2], [2, 1]]);
        let with_pads = self.random.chance(50);
        window.pads = if with_pads { [0; 4].map(|_| self.random.below(2)) } else { [0; 4] };
        for axis in 0..2 {
            if window.kernel[axis] == 1 {
                (window.pads[axis], window.pads[axis + 2]) = (0, 0);
            }
        }
        if map.height < 2 || map.width < 2 {
            return None;
        }
        let [height, width] = window.outputs(map)?;
        let mut attributes = Self::window_attributes(&window);
        // Of two or four pixels in a window one, two or four are in the map.
        attributes.push(int("count_include_pad", i64::from(self.random.chance(50))));
        let name = self.channels_first("AveragePool", &[&map.name], attributes);
        let pooled = self.with(map, name, map.bound, map.grain + 2);
        Some(Map { height, width, ..pooled })
    }

    /// Arithmetic with one constant or one for each channel, on either side.
    pub(crate) fn arithmetic(&mut self, map: &Map) -> Map {
        let op = self.random.of(&["Add", "Sub", "Mul", "Div", "Max", "Min"]);
        let count = if self.random.chance(50) { 1 } else { map.channels };
        let values = match op {
            "Mul" => self.random.many(count, &[0.5, 2.0, -1.0, 1.0, -0.5]),
            "Div" => self.random.many(count, &[0.5, 2.0, -1.0, 4.0]),
            _ => self.random.dyadic(count, 2, 4),
        };
        let constant = if count == 1 { self.scalar(values[0]) } else { self.per_channel(&values) };
        let constant_first = op != "Div" && self.random.chance(30);
        let operands = if constant_first { [&constant, &map.name] } else { [&map.name, &constant] };
        let name = self.node(op, &operands.map(String::as_str), vec![]);
        match op {
            "Mul" => self.with(map, name, map.bound * largest(&values), map.grain + 1),
            "Div" => self.with(map, name, map.bound * 2.0, map.grain + 2),
            _ => self.with(map, name, map.bound + largest(&values), map.grain.max(grain(&values))),
        }
    }

    pub(crate) fn clip(&mut self, x: &str, low: f32, high: f32) -> String {
        if self.operator_set() < 11 {
            return self.node("Clip", &[x], vec![float("min", low), float("max", high)]);
        }
        let low = self.tensor(&[], &[low]);
        let high = self.tensor(&[], &[high]);
        self.node("Clip", &[x, &low, &high], vec![])
    }

    /// An activation that keeps values dyadic.
    pub(crate) fn activation(&mut self, map: &Map) -> Map {
        let x = map.name.clone();
        match self.random.below(6) {
            0 => {
                let name = self.node("Relu", &[&x], vec![]);
                self.with(map, name, map.bound, map.grain)
            }
            1 => {
                let name = self.node("LeakyRelu", &[&x], vec![float("alpha", 0.125)]);
                self.with(map, name, map.bound, map.grain + 3)
            }
            2 => {
                let slopes = self.random.many(map.channels, &[0.25, 0.5, 0.0, 1.0, -0.25]);
                let slopes = self.per_channel(&slopes);
                let name = self.node("PRelu", &[&x, &slopes], vec![]);
                self.with(map, name, map.bound, map.grain + 2)
            }
            3 => {
                let name = self.clip(&x, -1.0, 1.0);
                self.with(map, name, map.bound.min(1.0), map.grain)
            }
            4 => {
                // Maxout of two slopes.
                let positive = self.node("Relu", &[&x], vec![]);
                let mirrored = self.node("Neg", &[&x], vec![]);
                let negative = self.node("Relu", &[&mirrored], vec![]);
                let factor = self.scalar(0.5);
                let negative = self.node("Mul", &[&negative, &factor], vec![]);
                let name = self.node("Sub", &[&positive, &negative], vec![]);
                self.with(map, name, map.bound, map.grain + 1)
            }
            _ => {
                let gate = [float("alpha", 0.25), float("beta", 0.5)].to_vec();
                let name = self.node("HardSigmoid", &[&x], gate);
                self.with(map, name, 1.0, map.grain + 2)
            }
        }
    }
}
