//! What the steps of a program are, for people: kinds, shapes, bytes, multiply-accumulates.

use bnn::program::{
    BinaryOutput, Buffer, BufferId, BufferKind, ChannelOp, ConvGeometry, Epilogue, EpilogueOp,
    Program, StepKind, TensorId, TensorKind,
};
use serde::Serialize;

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the layer in the original graph.
    pub name: String,
    /// Kind of the step, as the file has it.
    pub kind: &'static str,
    /// Whether it multiplies bits with bits.
    pub binary: bool,
    /// Height, width and channels of the first map that it reads.
    pub input_shape: [usize; 3],
    /// Height, width and channels of the first map that it writes.
    pub output_shape: [usize; 3],
    /// What it writes: `bits`, `i16`, `f32`, or `f32+bits`.
    pub output: String,
    /// Bytes of its constants in the file.
    pub bytes: u64,
    /// Multiply-accumulates for one image, padded taps counted.
    pub macs: u64,
}

/// Multiply-accumulates for one image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Macs {
    /// Of floats with floats, or with bits.
    pub float: u64,
    /// Of bits with bits.
    pub binary: u64,
}

/// The steps of a program, in order.
pub fn layers(program: &Program) -> Vec<Layer> {
    program
        .steps
        .iter()
        .map(|step| {
            let parts = Parts::of(&step.kind);
            let size = |id: &BufferId| {
                let Buffer { height, width, channels, .. } = *program.buffer(*id);
                [height, width, channels]
            };
            let has = |kind| parts.writes.iter().any(|id| program.buffer(*id).kind == kind);
            // Integers are never written together with others.
            let output = match (has(BufferKind::F32), has(BufferKind::Bits)) {
                (true, true) => "f32+bits",
                (false, true) => "bits",
                _ if has(BufferKind::I16) => "i16",
                _ => "f32",
            };
            let bytes = parts.tensors.iter().map(|id| program.tensor(*id).byte_len() as u64).sum();
            let input_shape = parts.reads.first().map_or([0; 3], size);
            Layer {
                name: step.name.clone(),
                kind: kind_name(&step.kind),
                binary: matches!(step.kind, StepKind::BinaryConv { .. }),
                input_shape,
                output_shape: parts.writes.first().map_or([0; 3], size),
                output: output.to_owned(),
                bytes,
                macs: parts.geometry.map_or(0, |geometry| macs(geometry, input_shape)),
            }
        })
        .collect()
}

/// The maps that a step reads and writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// Maps that it reads, its main operand first.
    pub reads: Vec<BufferId>,
    /// Maps that it writes.
    pub writes: Vec<BufferId>,
}

impl Flow {
    /// Of a step.
    pub fn of(kind: &StepKind) -> Self {
        let Parts { reads, writes, .. } = Parts::of(kind);
        Self { reads, writes }
    }
}

/// Multiply-accumulates of all layers.
pub fn total_macs(layers: &[Layer]) -> Macs {
    let sum = |binary| layers.iter().filter(|l| l.binary == binary).map(|l| l.macs).sum();
    Macs { float: sum(false), binary: sum(true) }
}

/// The name of a kind of step, as the file has it.
pub fn kind_name(kind: &StepKind) -> &'static str {
    match kind {
        StepKind::BinaryConv { .. } => "binary_conv",
        StepKind::FloatConv { .. } => "float_conv",
        StepKind::Elementwise { .. } => "elementwise",
        StepKind::MaxPool { .. } => "max_pool",
        StepKind::AveragePool { .. } => "average_pool",
        StepKind::MaxPoolBits { .. } => "max_pool_bits",
        StepKind::ReduceChannels { .. } => "reduce_channels",
        StepKind::Threshold { .. } => "threshold",
        StepKind::Concat { .. } => "concat",
        StepKind::Gather { .. } => "gather",
        StepKind::Pad { .. } => "pad",
        StepKind::Softmax { .. } => "softmax",
    }
}

/// The name of a kind of tensor, as the file has it.
pub fn tensor_kind_name(kind: TensorKind) -> &'static str {
    match kind {
        TensorKind::F32 => "f32",
        TensorKind::F16 => "f16",
        TensorKind::I32 => "i32",
        TensorKind::Bits => "bits",
    }
}

/// `out_h * out_w * out_c * kernel_h * kernel_w * in_c / groups`. The program has been validated, so
/// windows fit and no extent is zero.
fn macs(geometry: &ConvGeometry, input: [usize; 3]) -> u64 {
    let extent = |axis: usize| {
        let padded = input[axis] + geometry.pads[axis] + geometry.pads[axis + 2];
        let window = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1;
        (padded - window) / geometry.stride[axis] + 1
    };
    [
        extent(0),
        extent(1),
        geometry.out_channels,
        geometry.kernel[0],
        geometry.kernel[1],
        geometry.in_channels / geometry.groups,
    ]
    .iter()
    .fold(1, |product: u64, &factor| product.saturating_mul(factor as u64))
}

/// Buffers, tensors and geometry of a step.
#[derive(Default)]
struct Parts<'a> {
    reads: Vec<BufferId>,
    writes: Vec<BufferId>,
    tensors: Vec<TensorId>,
    geometry: Option<&'a ConvGeometry>,
}

impl<'a> Parts<'a> {
    fn of(kind: &'a StepKind) -> Self {
        let mut parts = Self::default();
        match kind {
            StepKind::BinaryConv { conv, output } => {
                parts.reads.push(conv.input);
                parts.geometry = Some(&conv.geometry);
                parts.tensors.push(conv.weights);
                if let Some(affine) = &conv.affine {
                    parts.tensors.extend([affine.dot, affine.weight_sum, affine.count]);
                    parts.tensors.extend(affine.input_sum);
                }
                match output {
                    BinaryOutput::Threshold { thresholds, flip, output } => {
                        parts.tensors.push(*thresholds);
                        parts.tensors.extend(*flip);
                        parts.writes.push(*output);
                    }
                    BinaryOutput::Float(epilogue) => parts.epilogue(epilogue),
                    BinaryOutput::Integers { output } => parts.writes.push(*output),
                }
            }
            StepKind::FloatConv { conv, epilogue } => {
                parts.reads.push(conv.input);
                parts.geometry = Some(&conv.geometry);
                parts.tensors.push(conv.weights);
                parts.epilogue(epilogue);
            }
            StepKind::Elementwise { input, epilogue, .. }
            | StepKind::MaxPool { input, epilogue, .. }
            | StepKind::AveragePool { input, epilogue, .. }
            | StepKind::ReduceChannels { input, epilogue, .. } => {
                parts.reads.push(*input);
                parts.epilogue(epilogue);
            }
            StepKind::MaxPoolBits { input, flip, output, .. } => {
                parts.reads.push(*input);
                parts.tensors.extend(*flip);
                parts.writes.push(*output);
            }
            StepKind::Gather { input, output, .. }
            | StepKind::Pad { input, output, .. }
            | StepKind::Softmax { input, output, .. } => {
                parts.reads.push(*input);
                parts.writes.push(*output);
            }
            StepKind::Threshold { inputs, floats, integers, flip, output } => {
                parts.reads.extend(inputs);
                parts.tensors.extend([floats, integers, flip].into_iter().flatten());
                parts.writes.push(*output);
            }
            StepKind::Concat { inputs, output } => {
                parts.reads.extend(inputs);
                parts.writes.push(*output);
            }
        }
        parts
    }

    fn epilogue(&mut self, epilogue: &Epilogue) {
        for op in &epilogue.ops {
            match op {
                EpilogueOp::Channel(op) => self.tensors.extend(ChannelOp::parameters(op)),
                EpilogueOp::Combine { operand, .. } => self.reads.push(*operand),
                EpilogueOp::Store { output } => self.writes.push(*output),
                EpilogueOp::StoreBits { thresholds, flip, output } => {
                    self.tensors.push(*thresholds);
                    self.tensors.extend(*flip);
                    self.writes.push(*output);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bnn::program::{Alphabet, BinaryConv, FloatConv, PadValue, Step, Tensor, TensorData};

    #[test]
    fn convolutions_are_counted() {
        let map = |height, width, channels, kind| Buffer { kind, height, width, channels };
        let program = Program {
            buffers: vec![map(5, 4, 2, BufferKind::F32), map(3, 2, 3, BufferKind::Bits)],
            tensors: vec![
                Tensor {
                    name: "w".into(),
                    shape: vec![3, 3, 3, 2],
                    data: TensorData::F32(vec![1.0; 54]),
                },
                Tensor { name: "t".into(), shape: vec![1], data: TensorData::F32(vec![0.0]) },
            ],
            steps: vec![Step {
                name: "stem".into(),
                kind: StepKind::FloatConv {
                    conv: FloatConv {
                        input: BufferId(0),
                        geometry: ConvGeometry {
                            in_channels: 2,
                            out_channels: 3,
                            kernel: [3, 3],
                            stride: [2, 2],
                            dilation: [1, 1],
                            pads: [1, 1, 1, 1],
                            groups: 1,
                        },
                        weights: TensorId(0),
                    },
                    epilogue: Epilogue {
                        ops: vec![EpilogueOp::StoreBits {
                            thresholds: TensorId(1),
                            flip: None,
                            output: BufferId(1),
                        }],
                    },
                },
            }],
            ..Program::default()
        };
        let layers = layers(&program);
        assert_eq!(
            layers,
            [Layer {
                name: "stem".into(),
                kind: "float_conv",
                binary: false,
                input_shape: [5, 4, 2],
                output_shape: [3, 2, 3],
                output: "bits".into(),
                bytes: 55 * 4,
                macs: 3 * 2 * 3 * 3 * 3 * 2,
            }]
        );
        assert_eq!(total_macs(&layers), Macs { float: 324, binary: 0 });
    }
    #[test]
    fn integers_are_told_from_floats() {
        let map = |channels, kind| Buffer { kind, height: 2, width: 2, channels };
        let tensor = |name: &str, data: TensorData, length| Tensor {
            name: name.into(),
            shape: vec![length],
            data,
        };
        let geometry = ConvGeometry {
            in_channels: 4,
            out_channels: 3,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            groups: 1,
        };
        let conv = BinaryConv {
            input: BufferId(0),
            geometry,
            pad: PadValue::Zero,
            alphabet: Alphabet::PlusMinus,
            weights: TensorId(0),
            affine: None,
        };
        let sums = BinaryOutput::Integers { output: BufferId(1) };
        let compare = StepKind::Threshold {
            inputs: vec![BufferId(1), BufferId(2)],
            floats: Some(TensorId(1)),
            integers: Some(TensorId(2)),
            flip: None,
            output: BufferId(3),
        };
        let step = |name: &str, kind| Step { name: name.into(), kind };
        let program = Program {
            buffers: vec![
                map(4, BufferKind::Bits),
                map(3, BufferKind::I16),
                map(5, BufferKind::F32),
                map(8, BufferKind::Bits),
            ],
            tensors: vec![
                tensor("w", TensorData::Bits(vec![0]), 12),
                tensor("f", TensorData::F32(vec![0.5; 5]), 5),
                tensor("i", TensorData::I32(vec![1; 3]), 3),
            ],
            steps: vec![
                step("conv", StepKind::BinaryConv { conv, output: sums }),
                step("sign", compare),
            ],
            ..Program::default()
        };
        let layers = layers(&program);
        let told: Vec<_> = layers
            .iter()
            .map(|layer| (layer.kind, layer.output.as_str(), layer.output_shape, layer.bytes))
            .collect();
        assert_eq!(
            told,
            [("binary_conv", "i16", [2, 2, 3], 8), ("threshold", "bits", [2, 2, 8], 8 * 4)]
        );
        let Flow { reads, writes } = Flow::of(&program.steps[1].kind);
        assert_eq!((reads, writes), (vec![BufferId(1), BufferId(2)], vec![BufferId(3)]));
    }
}
