//! The meaning of a program, written as plainly as possible: one value at a time, one step after the
//! other, no packing, no chunks.

use bnn::Isa;

use crate::program::{
    Alphabet, BinaryConv, BinaryOutput, BufferId, BufferKind, ChannelOp, CombineOp, ConvGeometry,
    Epilogue, EpilogueOp, FloatConv, PadValue, PoolGeometry, Program, Reduction, StepKind,
    TensorData, TensorId,
};

/// A feature map: f32 values, integers as f32, or 0 and 1 for bits.
#[derive(Clone, Default)]
struct Map {
    size: [usize; 3],
    values: Vec<f32>,
}

impl Map {
    fn at(&self, y: usize, x: usize, c: usize) -> f32 {
        let [_, width, channels] = self.size;
        self.values[(y * width + x) * channels + c]
    }
}

/// Outputs of the network for one image.
pub(crate) fn run(program: &Program, isa: Isa, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let maps = run_all(program, isa, inputs);
    program.outputs.iter().map(|port| maps[port.buffer.index()].clone()).collect()
}

/// All buffers for one image; bits are 0 and 1. The instruction set only says whether products are
/// rounded before they are added.
pub(crate) fn run_all(program: &Program, isa: Isa, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let sizes = program.buffers.iter().map(|b| [b.height, b.width, b.channels]);
    let maps = sizes.map(|size| Map { size, values: Vec::new() }).collect();
    let mut naive = Naive { program, fused: isa.fuses_multiply_add(), maps };
    for (port, input) in program.inputs.iter().zip(inputs) {
        naive.maps[port.buffer.index()].values = input.to_vec();
    }
    for step in &program.steps {
        naive.step(&step.kind);
    }
    naive.maps.into_iter().map(|map| map.values).collect()
}

struct Naive<'a> {
    program: &'a Program,
    fused: bool,
    maps: Vec<Map>,
}

impl Naive<'_> {
    fn map(&self, id: BufferId) -> &Map {
        &self.maps[id.index()]
    }

    fn write(&mut self, id: BufferId, values: Vec<f32>) {
        let map = &mut self.maps[id.index()];
        assert_eq!(values.len(), map.size.iter().product::<usize>());
        map.values = values;
    }

    fn floats(&self, id: TensorId) -> Vec<f32> {
        match &self.program.tensor(id).data {
            TensorData::F32(values) => values.clone(),
            TensorData::F16(values) => {
                values.iter().map(|&bits| half::f16::from_bits(bits).to_f32()).collect()
            }
            TensorData::I32(values) => values.iter().map(|&value| value as f32).collect(),
            TensorData::Bits(_) => {
                self.bits(id).into_iter().map(|b| f32::from(u8::from(b))).collect()
            }
        }
    }

    fn bits(&self, id: TensorId) -> Vec<bool> {
        let tensor = self.program.tensor(id);
        let words = tensor.bits().expect("bits");
        (0..tensor.len()).map(|i| words[i / 64] >> (i % 64) & 1 == 1).collect()
    }

    fn flipped(&self, bit: bool, flip: Option<TensorId>, channel: usize) -> f32 {
        f32::from(u8::from(bit ^ flip.is_some_and(|id| self.bits(id)[channel])))
    }

    fn step(&mut self, kind: &StepKind) {
        match kind {
            StepKind::BinaryConv { conv, output } => self.binary_conv(conv, output),
            StepKind::FloatConv { conv, epilogue } => {
                let (size, values) = self.float_conv(conv);
                self.epilogue(epilogue, size, values);
            }
            StepKind::Elementwise { input, flatten, epilogue } => {
                let Map { mut size, values } = self.map(*input).clone();
                if *flatten {
                    size = [1, 1, values.len()];
                }
                self.epilogue(epilogue, size, values);
            }
            StepKind::MaxPool { input, pool, epilogue } => {
                let (size, values) = self.pool(*input, pool, |taps, _| maximum(taps));
                self.epilogue(epilogue, size, values);
            }
            StepKind::AveragePool { input, pool, count_include_pad, epilogue } => {
                let (size, values) = self.pool(*input, pool, |taps, all| {
                    let count = if *count_include_pad { all } else { taps.len() };
                    taps.iter().fold(0.0, |sum, x| sum + x) / count as f32
                });
                self.epilogue(epilogue, size, values);
            }
            StepKind::MaxPoolBits { input, pool, flip, output } => {
                let ([_, _, channels], values) =
                    self.pool(*input, pool, |taps, _| f32::from(u8::from(taps.contains(&1.0))));
                let values = values.iter().enumerate();
                let values =
                    values.map(|(i, &x)| self.flipped(x == 1.0, *flip, i % channels)).collect();
                self.write(*output, values);
            }
            StepKind::ReduceChannels { input, reduction, epilogue } => {
                let Map { size: [height, width, channels], values } = self.map(*input).clone();
                let sum = |pixel: &[f32]| pixel.iter().fold(0.0, |sum, x| sum + x);
                let values = values
                    .chunks(channels)
                    .map(|pixel| match reduction {
                        Reduction::Mean => sum(pixel) / channels as f32,
                        Reduction::Sum => sum(pixel),
                        Reduction::Max => maximum(pixel),
                        Reduction::Min => pixel
                            .iter()
                            .fold(f32::INFINITY, |least, &x| if x < least { x } else { least }),
                    })
                    .collect();
                self.epilogue(epilogue, [height, width, 1], values);
            }
            StepKind::Concat { inputs, output } => {
                let values = self.joined(inputs, *output);
                self.write(*output, values);
            }
            StepKind::Threshold { inputs, floats, integers, flip, output } => {
                let joined = self.joined(inputs, *output);
                let mut floats = floats.map(|id| self.floats(id)).unwrap_or_default().into_iter();
                let integers = integers.map(|id| self.program.tensor(id).i32().expect("integers"));
                let mut integers = integers.unwrap_or_default().iter();
                // Whether each channel's values reach its threshold.
                let mut reached: Vec<Box<dyn Fn(f32) -> bool>> = Vec::new();
                for &input in inputs {
                    let buffer = self.program.buffer(input);
                    for _ in 0..buffer.channels {
                        if buffer.kind == BufferKind::I16 {
                            let threshold = *integers.next().expect("one for each channel");
                            reached.push(Box::new(move |x| x as i32 >= threshold));
                        } else {
                            let threshold = floats.next().expect("one for each channel");
                            reached.push(Box::new(move |x| x >= threshold));
                        }
                    }
                }
                let bits = joined.iter().enumerate().map(|(i, &x)| {
                    let channel = i % reached.len();
                    self.flipped(reached[channel](x), *flip, channel)
                });
                let bits = bits.collect();
                self.write(*output, bits);
            }
            StepKind::Gather { input, output, dims, strides, offset } => {
                let source = &self.map(*input).values;
                let values = (0..dims.iter().product::<usize>())
                    .map(|index| {
                        let (mut rest, mut at) = (index, *offset as isize);
                        for (dim, stride) in dims.iter().zip(strides).rev() {
                            at += (rest % dim) as isize * stride;
                            rest /= dim;
                        }
                        source[at as usize]
                    })
                    .collect();
                self.write(*output, values);
            }
            StepKind::Pad { input, output, pads, channels: [front, _], value } => {
                let bits = self.program.buffer(*input).kind == BufferKind::Bits;
                let value = if bits { f32::from(u8::from(*value > 0.0)) } else { *value };
                let (source, size) = (self.map(*input), self.map(*output).size);
                let mut values = Vec::new();
                for_each_window(size, |y, x, c| {
                    let place = (
                        y.checked_sub(pads[0]).filter(|&y| y < source.size[0]),
                        x.checked_sub(pads[1]).filter(|&x| x < source.size[1]),
                        c.checked_sub(*front).filter(|&c| c < source.size[2]),
                    );
                    values.push(match place {
                        (Some(y), Some(x), Some(c)) => source.at(y, x, c),
                        _ => value,
                    });
                });
                self.write(*output, values);
            }
            StepKind::Softmax { input, output, log } => {
                let Map { size: [_, _, channels], values } = self.map(*input).clone();
                let values = values
                    .chunks(channels)
                    .flat_map(|pixel| {
                        let most = maximum(pixel);
                        let powers: Vec<f32> = pixel.iter().map(|x| libm::expf(x - most)).collect();
                        let sum = powers.iter().fold(0.0, |sum, x| sum + x);
                        pixel
                            .iter()
                            .zip(powers)
                            .map(|(x, e)| if *log { (x - most) - libm::logf(sum) } else { e / sum })
                            .collect::<Vec<_>>()
                    })
                    .collect();
                self.write(*output, values);
            }
        }
    }

    /// The values of maps side by side along the channels, as large as the output.
    fn joined(&self, inputs: &[BufferId], output: BufferId) -> Vec<f32> {
        let [height, width, _] = self.map(output).size;
        let mut values = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for input in inputs.iter().map(|&id| self.map(id)) {
                    values.extend((0..input.size[2]).map(|c| input.at(y, x, c)));
                }
            }
        }
        values
    }

    fn binary_conv(&mut self, conv: &BinaryConv, output: &BinaryOutput) {
        let g = &conv.geometry;
        let (weights, input) = (self.bits(conv.weights), self.map(conv.input));
        let size =
            window_output(input.size, g.kernel, g.stride, g.dilation, g.pads, g.out_channels);
        let low = if conv.alphabet == Alphabet::PlusMinus { -1 } else { 0 };
        let padding = match conv.pad {
            PadValue::Zero => 0,
            PadValue::Plus => 1,
            PadValue::Minus => low,
        };
        let affine = conv.affine.as_ref().map(|terms| {
            (
                self.floats(terms.dot),
                self.floats(terms.weight_sum),
                terms.input_sum.map(|id| self.floats(id)),
                self.floats(terms.count),
            )
        });
        let mut sums = Vec::new();
        let mut values = Vec::new();
        for_each_window(size, |y, x, o| {
            let (mut dot, mut sum_of_weights, mut sum_of_inputs, mut taps) =
                (0_i32, 0_i32, 0_i32, 0);
            for_each_tap(g, input.size, y, x, o, |weight, place| {
                let weight = if weights[weight] { 1 } else { -1 };
                match place {
                    None => dot += weight * padding,
                    Some((y, x, c)) => {
                        let value = if input.at(y, x, c) == 1.0 { 1 } else { low };
                        dot += weight * value;
                        sum_of_weights += weight;
                        sum_of_inputs += value;
                        taps += 1;
                    }
                }
            });
            sums.push(dot);
            values.push(match &affine {
                None => dot as f32,
                Some((scale, weight_sum, input_sum, count)) => {
                    let constant = f64::from(weight_sum[o]) * f64::from(sum_of_weights)
                        + f64::from(count[o]) * f64::from(taps);
                    let y = scale[o] * dot as f32 + constant as f32;
                    input_sum.as_ref().map_or(y, |p| y + p[o] * sum_of_inputs as f32)
                }
            });
        });
        match output {
            BinaryOutput::Threshold { thresholds, flip, output } => {
                let thresholds = self.program.tensor(*thresholds).i32().expect("integers").to_vec();
                let channels = thresholds.len();
                let bits = sums.iter().enumerate().map(|(i, &sum)| {
                    self.flipped(sum >= thresholds[i % channels], *flip, i % channels)
                });
                let bits = bits.collect();
                self.write(*output, bits);
            }
            BinaryOutput::Float(epilogue) => self.epilogue(epilogue, size, values),
            BinaryOutput::Integers { output } => self.write(*output, values),
        }
    }

    fn float_conv(&self, conv: &FloatConv) -> ([usize; 3], Vec<f32>) {
        let g = &conv.geometry;
        let input = self.map(conv.input);
        let mut weights = self.floats(conv.weights);
        if self.program.tensor(conv.weights).bits().is_some() {
            weights.iter_mut().for_each(|w| *w = 2.0 * *w - 1.0);
        }
        let size =
            window_output(input.size, g.kernel, g.stride, g.dilation, g.pads, g.out_channels);
        let mut values = Vec::new();
        for_each_window(size, |y, x, o| {
            let mut sum = 0.0_f32;
            for_each_tap(g, input.size, y, x, o, |weight, place| {
                let value = place.map_or(0.0, |(y, x, c)| input.at(y, x, c));
                sum = if self.fused {
                    value.mul_add(weights[weight], sum)
                } else {
                    value * weights[weight] + sum
                };
            });
            values.push(sum);
        });
        (size, values)
    }

    /// `reduce` gets the values inside the map and the number of taps of a window.
    fn pool(
        &self,
        input: BufferId,
        pool: &PoolGeometry,
        reduce: impl Fn(&[f32], usize) -> f32,
    ) -> ([usize; 3], Vec<f32>) {
        let input = self.map(input);
        let channels = input.size[2];
        let size =
            window_output(input.size, pool.kernel, pool.stride, pool.dilation, pool.pads, channels);
        let depthwise = ConvGeometry {
            in_channels: channels,
            out_channels: channels,
            kernel: pool.kernel,
            stride: pool.stride,
            dilation: pool.dilation,
            pads: pool.pads,
            groups: channels,
        };
        let mut values = Vec::new();
        for_each_window(size, |y, x, c| {
            let mut taps = Vec::new();
            for_each_tap(&depthwise, input.size, y, x, c, |_, place| {
                taps.extend(place.map(|(y, x, c)| input.at(y, x, c)));
            });
            values.push(reduce(&taps, pool.kernel[0] * pool.kernel[1]));
        });
        (size, values)
    }

    fn epilogue(&mut self, epilogue: &Epilogue, size: [usize; 3], mut values: Vec<f32>) {
        let channels = size[2];
        for op in &epilogue.ops {
            match op {
                EpilogueOp::Channel(op) => {
                    let op: ChannelOp<Vec<f32>> =
                        op.try_map(|&id| Ok::<_, ()>(self.floats(id))).unwrap();
                    for (i, x) in values.iter_mut().enumerate() {
                        *x = op.apply(*x, i % channels);
                    }
                }
                EpilogueOp::Combine { op, operand } => {
                    let operand = &self.map(*operand).values;
                    for (i, x) in values.iter_mut().enumerate() {
                        *x = combine(*op, *x, operand[i % operand.len()]);
                    }
                }
                EpilogueOp::Store { output } => self.write(*output, values.clone()),
                EpilogueOp::StoreBits { thresholds, flip, output } => {
                    let thresholds = self.floats(*thresholds);
                    let bits = values.iter().enumerate().map(|(i, &x)| {
                        let threshold = thresholds[i % channels % thresholds.len()];
                        self.flipped(x >= threshold, *flip, i % channels)
                    });
                    let bits = bits.collect();
                    self.write(*output, bits);
                }
            }
        }
    }
}

fn maximum(values: &[f32]) -> f32 {
    values.iter().fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most })
}

fn combine(op: CombineOp, x: f32, y: f32) -> f32 {
    match op {
        CombineOp::Add => x + y,
        CombineOp::Subtract => x - y,
        CombineOp::SubtractFrom => y - x,
        CombineOp::Multiply => x * y,
        CombineOp::Divide => x / y,
        CombineOp::DivideInto => y / x,
        CombineOp::Minimum => {
            if x < y {
                x
            } else {
                y
            }
        }
        CombineOp::Maximum => {
            if x > y {
                x
            } else {
                y
            }
        }
    }
}

fn window_output(
    [height, width, _]: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
    channels: usize,
) -> [usize; 3] {
    let out = |size: usize, axis: usize| {
        let padded = size + pads[axis] + pads[axis + 2];
        (padded - (kernel[axis] - 1) * dilation[axis] - 1) / stride[axis] + 1
    };
    [out(height, 0), out(width, 1), channels]
}

fn for_each_window([height, width, channels]: [usize; 3], mut f: impl FnMut(usize, usize, usize)) {
    for y in 0..height {
        for x in 0..width {
            for o in 0..channels {
                f(y, x, o);
            }
        }
    }
}

/// Calls `f` with the index of each weight of output channel `o` and the place in the map (row,
/// column, channel), absent in the padding.
fn for_each_tap(
    g: &ConvGeometry,
    [height, width, _]: [usize; 3],
    y: usize,
    x: usize,
    o: usize,
    mut f: impl FnMut(usize, Option<(usize, usize, usize)>),
) {
    let (inputs, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    for ky in 0..g.kernel[0] {
        for kx in 0..g.kernel[1] {
            for c in 0..inputs {
                let weight = ((o * g.kernel[0] + ky) * g.kernel[1] + kx) * inputs + c;
                let row = (y * g.stride[0] + ky * g.dilation[0]).checked_sub(g.pads[0]);
                let column = (x * g.stride[1] + kx * g.dilation[1]).checked_sub(g.pads[1]);
                let place = match (row, column) {
                    (Some(y), Some(x)) if y < height && x < width => {
                        Some((y, x, o / outputs * inputs + c))
                    }
                    _ => None,
                };
                f(weight, place);
            }
        }
    }
}
