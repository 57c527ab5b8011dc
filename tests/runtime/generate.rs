//! Random programs of every kind of step, small but awkward: odd sizes, several words of channels,
//! uneven padding, groups, dilation, maps read by several steps.

use super::builder::Builder;
use crate::program::{
    AffineTerms, Alphabet, BinaryConv, BinaryOutput, BufferId, BufferKind, ChannelOp, CombineOp,
    ConvGeometry, Epilogue, EpilogueOp, FloatConv, PadValue, PoolGeometry, Program, Reduction,
    StepKind, TensorId, UnaryFunction,
};

/// Xorshift: the same numbers from the same seed everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) % end as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Often a small multiple of 1/8, so that comparisons meet equal values; sometimes -0.
    pub(crate) fn float(&mut self) -> f32 {
        match self.below(8) {
            0 => -0.0,
            1..4 => (self.below(33) as f32 - 16.0) / 8.0,
            _ => (self.below(1 << 20) as f32 - 524_288.0) / 262_144.0,
        }
    }

    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }

    fn booleans(&mut self, len: usize) -> Vec<bool> {
        (0..len).map(|_| self.next() >> 63 == 1).collect()
    }
}

/// A program of about `steps` steps.
pub(crate) fn program(seed: u64, steps: usize) -> Program {
    let mut generator = Generator {
        random: Random::new(seed),
        builder: Builder::default(),
        floats: Vec::new(),
        integers: Vec::new(),
        bits: Vec::new(),
        stores_once: false,
    };
    for index in 0..1 + generator.random.below(2) {
        let size = generator.size();
        let input = generator.builder.input(&format!("x{index}"), size);
        generator.floats.push(input);
    }
    for _ in 0..steps {
        generator.step();
    }
    for index in 0..1 + generator.random.below(2) {
        generator.output(&format!("y{index}"));
    }
    generator.builder.program
}

/// Values of `images` images for each input of a program.
pub(crate) fn inputs(program: &Program, seed: u64, images: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed ^ 0x5555);
    let lens = program.inputs.iter().map(|port| port.elements() * images);
    lens.map(|len| random.floats(len)).collect()
}

struct Generator {
    random: Random,
    builder: Builder,
    /// Maps that a step may read.
    floats: Vec<BufferId>,
    integers: Vec<BufferId>,
    bits: Vec<BufferId>,
    /// Whether an epilogue stores one map of floats, at its end.
    stores_once: bool,
}

/// Products of a convolution that a test has time for.
const MOST_PRODUCTS: usize = 400_000;

impl Generator {
    fn size(&mut self) -> [usize; 3] {
        let channels = self.channels();
        [1 + self.random.below(9), 1 + self.random.below(9), channels]
    }

    fn channels(&mut self) -> usize {
        let some = 1 + self.random.below(70);
        self.random.pick(&[1, 3, 8, 16, 32, 64, 65, 128, 130, some])
    }

    fn size_of(&self, id: BufferId) -> [usize; 3] {
        let buffer = self.builder.program.buffer(id);
        [buffer.height, buffer.width, buffer.channels]
    }

    fn new_map(&mut self, kind: BufferKind, size: [usize; 3]) -> BufferId {
        let id = self.builder.buffer(kind, size);
        match kind {
            BufferKind::F32 => self.floats.push(id),
            BufferKind::I16 => self.integers.push(id),
            BufferKind::Bits => self.bits.push(id),
        }
        id
    }

    /// Recent maps are read more often, so that networks are deep.
    fn some_floats(&mut self) -> BufferId {
        let last = self.floats.len() - 1;
        let index = last - self.random.below(last.min(2) + 1);
        if self.random.chance(20) { self.random.pick(&self.floats) } else { self.floats[index] }
    }

    fn step(&mut self) {
        let input = self.some_floats();
        let bits = match self.bits.len() {
            0 => None,
            len => {
                let some = self.random.below(len);
                Some(self.bits[if self.random.chance(70) { len - 1 } else { some }])
            }
        };
        match (self.random.below(19), bits) {
            (0..4, Some(bits)) => self.binary_conv(bits),
            (14 | 15, _) => self.threshold(input),
            (16..19, bits) => self.windows_of_one_reader(input, bits),
            (4, Some(bits)) => self.max_pool_bits(bits),
            (5, Some(bits)) => self.concat(bits),
            (6, Some(bits)) => self.pad(bits),
            (7, _) => self.float_conv(input),
            (8, _) => self.concat(input),
            (9, _) => self.pool(input),
            (10, _) => self.reduce(input),
            (11, _) => self.gather(input),
            (12, _) => self.pad(input),
            (13, _) => {
                let output = self.new_map(BufferKind::F32, self.size_of(input));
                let log = self.random.chance(50);
                self.builder.step(StepKind::Softmax { input, output, log });
            }
            _ => {
                let mut size = self.size_of(input);
                let flatten = self.random.chance(15);
                if flatten {
                    size = [1, 1, size.iter().product()];
                }
                let epilogue = self.epilogue(size);
                self.builder.step(StepKind::Elementwise { input, flatten, epilogue });
            }
        }
    }

    /// An output is a map of its own that no step reads.
    fn output(&mut self, name: &str) {
        let input = self.some_floats();
        let size = self.size_of(input);
        let output = self.builder.output(name, size);
        let mut ops = vec![EpilogueOp::Store { output }];
        if self.random.chance(50) {
            ops.insert(0, EpilogueOp::Channel(self.channel_op(size[2])));
        }
        self.builder.step(StepKind::Elementwise {
            input,
            flatten: false,
            epilogue: Epilogue { ops },
        });
    }

    fn geometry(&mut self, input: BufferId) -> ConvGeometry {
        let [height, width, in_channels] = self.size_of(input);
        loop {
            let mut out_channels = self.channels();
            let divisors: Vec<_> =
                (1..=in_channels).filter(|g| in_channels.is_multiple_of(*g)).collect();
            let groups = if self.random.chance(70) { 1 } else { self.random.pick(&divisors) };
            out_channels = out_channels.next_multiple_of(groups);
            let geometry = ConvGeometry {
                in_channels,
                out_channels,
                kernel: [1 + self.random.below(3), 1 + self.random.below(3)],
                stride: [1 + self.random.below(2), 1 + self.random.below(2)],
                dilation: [1 + self.random.below(2), 1 + self.random.below(2)],
                pads: std::array::from_fn(|_| self.random.below(3)),
                groups,
            };
            let fits = |size: usize, axis: usize| {
                (geometry.kernel[axis] - 1) * geometry.dilation[axis]
                    < size + geometry.pads[axis] + geometry.pads[axis + 2]
            };
            let [out_height, out_width, _] = conv_output(&geometry, [height + 2, width + 2, 0]);
            let products = out_height * out_width * weights(&geometry);
            if fits(height, 0) && fits(width, 1) && products <= MOST_PRODUCTS {
                return geometry;
            }
        }
    }

    fn binary_conv(&mut self, input: BufferId) {
        let geometry = self.geometry(input);
        let size = conv_output(&geometry, self.size_of(input));
        let channels = geometry.out_channels;
        // Integers of 16 bits are only for sums that surely fit.
        let narrow = weights(&geometry) / channels <= i16::MAX as usize;
        let weights = self.random.booleans(weights(&geometry));
        let mut conv = BinaryConv {
            input,
            geometry,
            pad: self.random.pick(&[PadValue::Zero, PadValue::Plus, PadValue::Minus]),
            alphabet: self.random.pick(&[Alphabet::PlusMinus, Alphabet::ZeroOne]),
            weights: self.builder.bits(&weights),
            affine: None,
        };
        let output = match self.random.below(4) {
            0 => {
                let thresholds = self.thresholds(channels);
                BinaryOutput::Threshold {
                    thresholds: self.builder.integers(thresholds),
                    flip: self.flip(channels),
                    output: self.new_map(BufferKind::Bits, size),
                }
            }
            1 => {
                (conv.pad, conv.alphabet) = (PadValue::Zero, Alphabet::PlusMinus);
                let input_sum = self.random.chance(50);
                conv.affine = Some(AffineTerms {
                    dot: self.per_channel(channels),
                    weight_sum: self.per_channel(channels),
                    input_sum: input_sum.then(|| self.per_channel(channels)),
                    count: self.per_channel(channels),
                });
                BinaryOutput::Float(self.epilogue(size))
            }
            2 if narrow => BinaryOutput::Integers { output: self.new_map(BufferKind::I16, size) },
            _ => BinaryOutput::Float(self.epilogue(size)),
        };
        self.builder.step(StepKind::BinaryConv { conv, output });
    }

    /// Thresholds near the sums of a few products, and some that are always or never reached.
    fn thresholds(&mut self, channels: usize) -> Vec<i32> {
        (0..channels)
            .map(|_| {
                let small = self.random.below(41) as i32 - 20;
                if self.random.chance(90) { small } else { self.random.pick(&[i32::MIN, i32::MAX]) }
            })
            .collect()
    }

    fn float_conv(&mut self, input: BufferId) {
        let geometry = self.geometry(input);
        let size = conv_output(&geometry, self.size_of(input));
        let len = weights(&geometry);
        let weights = match self.random.below(3) {
            0 => {
                let values = self.random.floats(len);
                self.builder.floats(values)
            }
            1 => {
                let values = self.random.floats(len);
                self.builder.halves(&values)
            }
            _ => {
                let bits = self.random.booleans(len);
                self.builder.bits(&bits)
            }
        };
        let epilogue = self.epilogue(size);
        let conv = FloatConv { input, geometry, weights };
        self.builder.step(StepKind::FloatConv { conv, epilogue });
    }

    fn windows(&mut self, input: BufferId) -> (PoolGeometry, [usize; 3]) {
        let [height, width, channels] = self.size_of(input);
        let kernel = [1 + self.random.below(height.min(3)), 1 + self.random.below(width.min(3))];
        let pool = PoolGeometry {
            kernel,
            stride: [1 + self.random.below(2), 1 + self.random.below(2)],
            dilation: [1; 2],
            // Less than the window, so that none lies in the padding.
            pads: std::array::from_fn(|side| self.random.below(kernel[side % 2])),
        };
        let geometry = ConvGeometry {
            in_channels: channels,
            out_channels: channels,
            kernel,
            stride: pool.stride,
            dilation: pool.dilation,
            pads: pool.pads,
            groups: channels,
        };
        (pool, conv_output(&geometry, [height, width, channels]))
    }

    fn pool(&mut self, input: BufferId) {
        let (pool, size) = self.windows(input);
        let epilogue = self.epilogue(size);
        self.builder.step(if self.random.chance(50) {
            StepKind::MaxPool { input, pool, epilogue }
        } else {
            let count_include_pad = self.random.chance(50);
            StepKind::AveragePool { input, pool, count_include_pad, epilogue }
        });
    }

    /// A layer whose map only the next one reads, so that both may be carried out together.
    fn windows_of_one_reader(&mut self, input: BufferId, bits: Option<BufferId>) {
        let before = self.floats.len();
        self.stores_once = true;
        let mut pooled = self.random.chance(70);
        match (self.random.below(4), bits) {
            (0, Some(bits)) => self.binary_conv(bits),
            (1, _) => self.pool(input),
            (2, _) => {
                self.gather(input);
                pooled = false;
            }
            _ => self.float_conv(input),
        }
        self.stores_once = false;
        if self.floats.len() == before {
            return;
        }
        let map = self.floats.pop().expect("just counted");
        if pooled {
            self.pool(map);
        } else {
            self.float_conv(map);
        }
    }

    fn max_pool_bits(&mut self, input: BufferId) {
        let (pool, size) = self.windows(input);
        let flip = self.flip(size[2]);
        let output = self.new_map(BufferKind::Bits, size);
        self.builder.step(StepKind::MaxPoolBits { input, pool, flip, output });
    }

    fn reduce(&mut self, input: BufferId) {
        let [height, width, _] = self.size_of(input);
        let reduction =
            self.random.pick(&[Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min]);
        let epilogue = self.epilogue([height, width, 1]);
        self.builder.step(StepKind::ReduceChannels { input, reduction, epilogue });
    }

    fn concat(&mut self, first: BufferId) {
        let kind = self.builder.program.buffer(first).kind;
        let (inputs, size) = self.side_by_side(first);
        let output = self.new_map(kind, size);
        self.builder.step(StepKind::Concat { inputs, output });
    }

    /// Some maps that can be joined, bits or numbers, and the size of the result.
    fn side_by_side(&mut self, first: BufferId) -> (Vec<BufferId>, [usize; 3]) {
        let kind = self.builder.program.buffer(first).kind;
        let [height, width, _] = self.size_of(first);
        let candidates: Vec<BufferId> = match kind {
            BufferKind::Bits => self.bits.clone(),
            _ => self.floats.iter().chain(&self.integers).copied().collect(),
        };
        let candidates: Vec<_> =
            candidates.into_iter().filter(|&id| self.size_of(id)[..2] == [height, width]).collect();
        let mut inputs = vec![first];
        let (mut channels, others) = (self.size_of(first)[2], self.random.below(3));
        for _ in 0..others {
            let other = self.random.pick(&candidates);
            channels += self.size_of(other)[2];
            inputs.push(other);
        }
        if self.random.chance(50) {
            inputs.reverse();
        }
        (inputs, [height, width, channels.max(1)])
    }

    /// The bits of some maps of numbers.
    fn threshold(&mut self, first: BufferId) {
        let first = match self.integers.last() {
            Some(&id) if self.random.chance(70) => id,
            _ => first,
        };
        let (inputs, size) = self.side_by_side(first);
        let of_kind = |generator: &Self, kind| -> usize {
            let buffers = inputs.iter().map(|&id| generator.builder.program.buffer(id));
            buffers.filter(|buffer| buffer.kind == kind).map(|buffer| buffer.channels).sum()
        };
        let (floats, integers) = (of_kind(self, BufferKind::F32), of_kind(self, BufferKind::I16));
        let floats = (floats > 0).then(|| self.per_channel(floats));
        let integers = (integers > 0).then(|| {
            let thresholds = self.thresholds(integers);
            self.builder.integers(thresholds)
        });
        let flip = self.flip(size[2]);
        let output = self.new_map(BufferKind::Bits, size);
        self.builder.step(StepKind::Threshold { inputs, floats, integers, flip, output });
    }

    /// A transposition, a slice with a step backwards, or a broadcast.
    fn gather(&mut self, input: BufferId) {
        let [height, width, channels] = self.size_of(input);
        let (row, pixel) = ((width * channels) as isize, channels as isize);
        let (size, dims, strides, offset) = match self.random.below(3) {
            0 => ([channels, height, width], vec![channels, height, width], vec![1, row, pixel], 0),
            1 => (
                [height, width, 1],
                vec![height, width],
                vec![row, -pixel],
                (width - 1) * channels + self.random.below(channels),
            ),
            _ => ([2, 3, channels], vec![6, channels], vec![0, 1], 0),
        };
        let output = self.new_map(BufferKind::F32, size);
        self.builder.step(StepKind::Gather { input, output, dims, strides, offset });
    }

    fn pad(&mut self, input: BufferId) {
        let kind = self.builder.program.buffer(input).kind;
        let [height, width, channels] = self.size_of(input);
        let mut pads: [usize; 4] = std::array::from_fn(|_| self.random.below(3));
        let mut front_back = [0; 2];
        if kind == BufferKind::F32 && self.random.chance(50) {
            pads = [0; 4];
            front_back = [self.random.below(3), self.random.below(3)];
        }
        let size = [
            height + pads[0] + pads[2],
            width + pads[1] + pads[3],
            channels + front_back[0] + front_back[1],
        ];
        let output = self.new_map(kind, size);
        let value = self.random.float();
        self.builder.step(StepKind::Pad { input, output, pads, channels: front_back, value });
    }

    fn epilogue(&mut self, size: [usize; 3]) -> Epilogue {
        let mut ops = Vec::new();
        // Stores come as new maps only after the operands are chosen: a step cannot read what it
        // writes.
        let operands: Vec<BufferId> = self
            .floats
            .iter()
            .copied()
            .filter(|&id| self.size_of(id) == size || self.size_of(id) == [1, 1, size[2]])
            .collect();
        for _ in 0..self.random.below(5) {
            match self.random.below(4) {
                0 | 1 => ops.push(EpilogueOp::Channel(self.channel_op(size[2]))),
                2 if !operands.is_empty() => {
                    let op = self.random.pick(&[
                        CombineOp::Add,
                        CombineOp::Subtract,
                        CombineOp::SubtractFrom,
                        CombineOp::Multiply,
                        CombineOp::Minimum,
                        CombineOp::Maximum,
                    ]);
                    let operand = self.random.pick(&operands);
                    ops.push(EpilogueOp::Combine { op, operand });
                    // Keeps repeated products finite.
                    let (low, high) = (self.builder.floats([-8.0]), self.builder.floats([8.0]));
                    ops.push(EpilogueOp::Channel(ChannelOp::Maximum(low)));
                    ops.push(EpilogueOp::Channel(ChannelOp::Minimum(high)));
                }
                _ if self.stores_once => {}
                _ => ops.push(self.store(size)),
            }
        }
        ops.push(if self.stores_once {
            EpilogueOp::Store { output: self.new_map(BufferKind::F32, size) }
        } else {
            self.store(size)
        });
        Epilogue { ops }
    }

    fn store(&mut self, size: [usize; 3]) -> EpilogueOp {
        if self.random.chance(50) {
            return EpilogueOp::Store { output: self.new_map(BufferKind::F32, size) };
        }
        EpilogueOp::StoreBits {
            thresholds: self.constants(size[2]),
            flip: self.flip(size[2]),
            output: self.new_map(BufferKind::Bits, size),
        }
    }

    fn channel_op(&mut self, channels: usize) -> ChannelOp<TensorId> {
        match self.random.below(10) {
            9 => ChannelOp::Wrap(self.constants(channels)),
            0 => ChannelOp::Add(self.constants(channels)),
            1 => ChannelOp::Subtract(self.constants(channels)),
            2 => ChannelOp::SubtractFrom(self.constants(channels)),
            3 => ChannelOp::Multiply(self.constants(channels)),
            4 => ChannelOp::Minimum(self.constants(channels)),
            5 => ChannelOp::Maximum(self.constants(channels)),
            6 => {
                let positive = self.random.chance(50);
                ChannelOp::TwoSlope {
                    positive: positive.then(|| self.constants(channels)),
                    negative: self.constants(channels),
                }
            }
            7 => {
                let at_least = self.random.chance(50);
                ChannelOp::Step { at_least, low: self.random.float(), high: self.random.float() }
            }
            _ => ChannelOp::Unary(self.random.pick(&[
                UnaryFunction::Relu,
                UnaryFunction::Negate,
                UnaryFunction::Absolute,
                UnaryFunction::Floor,
                UnaryFunction::Ceil,
                UnaryFunction::Round,
                UnaryFunction::Tanh,
                UnaryFunction::Sigmoid,
                UnaryFunction::Erf,
                UnaryFunction::Softplus,
                UnaryFunction::Sign,
            ])),
        }
    }

    fn constants(&mut self, channels: usize) -> TensorId {
        let len = if self.random.chance(80) { channels } else { 1 };
        let values = self.random.floats(len);
        self.builder.floats(values)
    }

    fn per_channel(&mut self, channels: usize) -> TensorId {
        let values = self.random.floats(channels);
        self.builder.floats(values)
    }

    fn flip(&mut self, channels: usize) -> Option<TensorId> {
        let bits = self.random.booleans(channels);
        self.random.chance(50).then(|| self.builder.bits(&bits))
    }
}

fn weights(geometry: &ConvGeometry) -> usize {
    geometry.out_channels
        * geometry.kernel[0]
        * geometry.kernel[1]
        * (geometry.in_channels / geometry.groups)
}

fn conv_output(geometry: &ConvGeometry, [height, width, _]: [usize; 3]) -> [usize; 3] {
    let out = |size: usize, axis: usize| {
        let padded = size + geometry.pads[axis] + geometry.pads[axis + 2];
        let extent = (geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1;
        (padded - extent.min(padded)) / geometry.stride[axis] + 1
    };
    [out(height, 0), out(width, 1), geometry.out_channels]
}
