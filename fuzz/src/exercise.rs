//! What is done with every program that was accepted, wherever it came from.

use bnn::{
    Isa, Model, Session, SessionOptions,
    format::{FormatError, read, write},
    program::{ConvGeometry, PoolGeometry, Program, StepKind},
};

/// Most elements of all maps of a program for which sessions are made.
const MOST_ELEMENTS: u64 = 1 << 20;

/// Most elementary operations of a program that is run.
const MOST_WORK: u64 = 1 << 21;

/// Writes a valid program, reads it back, and runs it where that is little work: on the slowest and the
/// fastest instruction set, which must agree.
///
/// # Panics
/// If the program does not survive the file, or the instruction sets differ.
pub fn exercise(program: &Program) {
    let bytes = match write(program) {
        Ok(bytes) => bytes,
        Err(FormatError::HeaderTooLarge(_)) => return,
        Err(error) => panic!("a valid program cannot be written: {error}"),
    };
    let again = read(&bytes).expect("what was written can be read");
    // Programs with NaN among their constants differ from themselves; their files do not.
    assert!(
        write(&again).expect("what was read can be written") == bytes,
        "another program came back"
    );

    let model = Model::from_program(again).expect("what was read is valid");
    run(&model);
    for block in model.blocks().iter().take(4) {
        if let Ok(part) = model.block(&block.name) {
            run(&part);
        }
    }
}

/// Runs a model where that is little work.
fn run(model: &Model) {
    let program = model.program();
    let elements = |index: usize| {
        let buffer = program.buffers[index];
        buffer.height as u64 * buffer.width as u64 * buffer.channels as u64
    };
    if (0..program.buffers.len()).map(elements).sum::<u64>() > MOST_ELEMENTS {
        return;
    }
    let session = |isa: Isa| model.session(&SessionOptions::default().isa(isa));
    let (slow, fast) = (session(Isa::Scalar), session(Isa::best()));
    let (Ok(mut slow), Ok(mut fast)) = (slow, fast) else { return };
    if work(program) > MOST_WORK {
        return;
    }
    let expected = answer(&mut slow, model, 1);
    let found = answer(&mut fast, model, 2);
    let outputs: Vec<&[f32]> = expected.iter().map(Vec::as_slice).collect();
    if let (Some(detector), Ok(boxes)) = (model.detector(), model.detections(&outputs, 40, 30)) {
        assert!(boxes.len() <= detector.boxes as usize, "too many boxes");
        assert!(boxes.is_sorted_by(|a, b| a.score >= b.score), "boxes in another order");
    }
    if !Isa::best().fuses_multiply_add() {
        return;
    }
    for (expected, found) in expected.iter().zip(&found) {
        for images in found.chunks_exact(expected.len()) {
            let same =
                |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(expected.iter().zip(images).all(same), "{expected:?} became {images:?}");
        }
    }
}

/// The outputs for a number of equal images.
fn answer(session: &mut Session, model: &Model, images: usize) -> Vec<Vec<f32>> {
    let value = |index: usize| (index * 37 % 17) as f32 / 4.0 - 2.0;
    let image = |elements: usize| (0..elements).map(value).collect::<Vec<_>>().repeat(images);
    let inputs: Vec<Vec<f32>> = model.inputs().iter().map(|port| image(port.elements())).collect();
    let room = |elements: usize| vec![0.0; elements * images];
    let mut outputs: Vec<Vec<f32>> =
        model.outputs().iter().map(|port| room(port.elements())).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut places: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    session.run_into(&inputs, &mut places).expect("a session runs on finite values");
    outputs
}

/// Elementary operations of a run, roughly.
fn work(program: &Program) -> u64 {
    let windows = |input: bnn::program::BufferId, geometry: &ConvGeometry| {
        let map = program.buffer(input);
        geometry.output_size([map.height, map.width]).map(|extent| extent as u64)
    };
    let pooled = |input: bnn::program::BufferId, pool: &PoolGeometry| {
        let geometry = ConvGeometry {
            in_channels: 1,
            out_channels: 1,
            kernel: pool.kernel,
            stride: pool.stride,
            dilation: pool.dilation,
            pads: pool.pads,
            groups: 1,
        };
        let taps = pool.kernel[0] as u64 * pool.kernel[1] as u64;
        let [rows, columns] = windows(input, &geometry);
        rows.saturating_mul(columns)
            .saturating_mul(taps)
            .saturating_mul(program.buffer(input).channels as u64)
    };
    let convolved = |input, geometry: &ConvGeometry| {
        let [rows, columns] = windows(input, geometry);
        rows.saturating_mul(columns)
            .saturating_mul(geometry.out_channels as u64)
            .saturating_mul(geometry.products() as u64)
    };
    let steps = program.steps.iter().map(|step| match &step.kind {
        StepKind::BinaryConv { conv, .. } => convolved(conv.input, &conv.geometry),
        StepKind::FloatConv { conv, .. } => convolved(conv.input, &conv.geometry),
        StepKind::MaxPool { input, pool, .. }
        | StepKind::AveragePool { input, pool, .. }
        | StepKind::MaxPoolBits { input, pool, .. } => pooled(*input, pool),
        // These touch each element once.
        _ => 0,
    });
    steps.fold(0, u64::saturating_add)
}
