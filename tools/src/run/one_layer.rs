//! A layer by itself, in a network made for it, so that its time can be taken.

use bnn::{
    Error, Model, Session, SessionOptions,
    program::{
        Alphabet, BinaryConv, BinaryOutput, Buffer, BufferId, BufferKind, ChannelOp, ConvGeometry,
        Epilogue, EpilogueOp, FloatConv, PadValue, Port, Program, Step, StepKind, Tensor,
        TensorData, TensorId,
    },
    runtime::Profile,
};
use std::time::{Duration, Instant};

/// The layer in a session.
pub(super) struct OneLayer {
    session: Session,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl OneLayer {
    /// A convolution of floats with these weights, on a map of this height and width.
    ///
    /// # Errors
    /// If the layer is too large for the machine.
    pub(super) fn of_floats(
        geometry: &ConvGeometry,
        size: [usize; 2],
        weights: Vec<f32>,
        options: &SessionOptions,
    ) -> Result<Self, Error> {
        let mut program = Program::default();
        let weights = tensor(&mut program, "weights", weights.len(), TensorData::F32(weights));
        let (input, output) = ports(&mut program, geometry, size);
        let conv = FloatConv { input, geometry: geometry.clone(), weights };
        let epilogue = Epilogue { ops: vec![EpilogueOp::Store { output }] };
        step(&mut program, StepKind::FloatConv { conv, epilogue });
        Self::new(program, options)
    }

    /// A convolution of bits with these weights.
    ///
    /// # Errors
    /// If the layer is too large for the machine.
    pub(super) fn of_bits(
        geometry: &ConvGeometry,
        size: [usize; 2],
        weights: Vec<u64>,
        options: &SessionOptions,
    ) -> Result<Self, Error> {
        let mut program = Program::default();
        let count = geometry.out_channels * geometry.products();
        let weights = tensor(&mut program, "weights", count, TensorData::Bits(weights));
        let zero = tensor(&mut program, "zero", 1, TensorData::F32(vec![0.0]));
        let (input, output) = ports(&mut program, geometry, size);
        let bits = buffer(&mut program, BufferKind::Bits, size, geometry.in_channels);
        let ops = vec![EpilogueOp::StoreBits { thresholds: zero, flip: None, output: bits }];
        let epilogue = Epilogue { ops };
        step(&mut program, StepKind::Elementwise { input, flatten: false, epilogue });
        let conv = BinaryConv {
            input: bits,
            geometry: geometry.clone(),
            pad: PadValue::Zero,
            alphabet: Alphabet::PlusMinus,
            weights,
            affine: None,
        };
        let ops = vec![EpilogueOp::Channel(ChannelOp::Add(zero)), EpilogueOp::Store { output }];
        let output = BinaryOutput::Float(Epilogue { ops });
        step(&mut program, StepKind::BinaryConv { conv, output });
        Self::new(program, options)
    }

    fn new(program: Program, options: &SessionOptions) -> Result<Self, Error> {
        let model = Model::from_program(program)?;
        let room = |ports: &[Port]| ports.iter().map(Port::elements).sum();
        let input = (0..room(model.inputs())).map(|at: usize| (at % 7) as f32 - 3.0).collect();
        let output = vec![0.0; room(model.outputs())];
        Ok(Self { session: model.session(options)?, input, output })
    }

    /// The shortest time that the layer took, in milliseconds.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn best(&mut self, time: Duration) -> Result<f64, Error> {
        let (start, mut best) = (Instant::now(), f64::INFINITY);
        let mut runs = 0;
        while runs < 2 || start.elapsed() < time {
            let Profile { steps, .. } =
                self.session.run_profiled(&[&self.input], &mut [&mut self.output])?;
            let last = steps.last().copied().unwrap_or_default();
            best = best.min(last.as_secs_f64() * 1e3);
            runs += 1;
        }
        Ok(best)
    }
}

fn ports(program: &mut Program, geometry: &ConvGeometry, size: [usize; 2]) -> (BufferId, BufferId) {
    let [height, width] = geometry.output_size(size);
    let mut port = |name: &str, [height, width]: [usize; 2], channels: usize| {
        let buffer = buffer(program, BufferKind::F32, [height, width], channels);
        (buffer, Port { name: name.to_owned(), shape: vec![height, width, channels], buffer })
    };
    let (input, input_port) = port("x", size, geometry.in_channels);
    let (output, output_port) = port("y", [height, width], geometry.out_channels);
    program.inputs.push(input_port);
    program.outputs.push(output_port);
    (input, output)
}

fn buffer(
    program: &mut Program,
    kind: BufferKind,
    [height, width]: [usize; 2],
    channels: usize,
) -> BufferId {
    program.buffers.push(Buffer { kind, height, width, channels });
    BufferId(program.buffers.len() as u32 - 1)
}

fn tensor(program: &mut Program, name: &str, len: usize, data: TensorData) -> TensorId {
    program.tensors.push(Tensor { name: name.to_owned(), shape: vec![len], data });
    TensorId(program.tensors.len() as u32 - 1)
}

fn step(program: &mut Program, kind: StepKind) {
    let name = format!("step{}", program.steps.len());
    program.steps.push(Step { name, kind });
}
