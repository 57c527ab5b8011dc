//! Networks of very many layers.

use crate::onnx::{File, ints};
use bnn::{
    Model, SessionOptions,
    architecture::Architecture,
    convert::{ConvertOptions, convert},
    format::{read, write},
    import::onnx::{ImportOptions, from_bytes},
    program::{Buffer, BufferId, BufferKind, Epilogue, EpilogueOp, Port, Program, Step, StepKind},
};
use rten_onnx::onnx::AttributeProto;
use std::time::{Duration, Instant};

/// Steps of a program: nearly as many as there may be.
const STEPS: usize = 30_000;

/// Nodes of a graph, likewise; a quarter where random tests are asked for few cases, as they are under an
/// emulator.
fn nodes() -> usize {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    if cases.is_some_and(|cases: u32| cases < 32) { 4_000 } else { 16_000 }
}

/// What no answer takes on any machine, unless time grows with the square of the size.
const SOON: Duration = Duration::from_secs(120);

/// The answer, and that it comes soon.
fn soon<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = work();
    eprintln!("{what}: {:?}", start.elapsed());
    assert!(start.elapsed() < SOON, "{what} took {:?}", start.elapsed());
    answer
}

/// Imports and converts a file; says why not if it is refused.
fn converted(what: &str, file: File) -> Result<Program, String> {
    let bytes = file.bytes();
    let graph =
        soon(&format!("{what}: import"), || from_bytes(&bytes, None, &ImportOptions::default()));
    let graph = graph.map_err(|error| error.to_string())?;
    let conversion =
        soon(&format!("{what}: convert"), || convert(graph, &ConvertOptions::default()));
    conversion.map(|conversion| conversion.program).map_err(|error| error.to_string())
}

fn map(channels: usize) -> Buffer {
    Buffer { kind: BufferKind::F32, height: 1, width: 1, channels }
}

fn port(name: String, buffer: usize) -> Port {
    Port { name, shape: vec![1], buffer: BufferId(buffer as u32) }
}

/// A step that copies.
fn copy(index: usize, input: usize, output: usize) -> Step {
    let store = EpilogueOp::Store { output: BufferId(output as u32) };
    let epilogue = Epilogue { ops: vec![store] };
    let kind = StepKind::Elementwise { input: BufferId(input as u32), flatten: false, epilogue };
    Step { name: format!("s{index}"), kind }
}

/// Through the file and to an answer.
fn answer(what: &str, program: &Program) -> Vec<Vec<f32>> {
    let bytes = soon(&format!("{what}: write"), || write(program)).unwrap();
    let program = soon(&format!("{what}: read"), || read(&bytes)).unwrap();
    let model = Model::from_program(program).unwrap();
    let mut session =
        soon(&format!("{what}: session"), || model.session(&SessionOptions::default())).unwrap();
    soon(&format!("{what}: run"), || crate::answer::answer(&model, &mut session))
}

#[test]
fn a_chain_of_steps() {
    let program = Program {
        inputs: vec![port("x".into(), 0)],
        outputs: vec![port("y".into(), STEPS)],
        buffers: vec![map(1); STEPS + 1],
        steps: (0..STEPS).map(|index| copy(index, index, index + 1)).collect(),
        ..Program::default()
    };
    assert_eq!(answer("chain", &program), [[0.5]]);
}

#[test]
fn maps_that_are_all_alive_at_once() {
    let mut steps: Vec<Step> = (0..STEPS).map(|index| copy(index, 0, index + 1)).collect();
    let inputs = (1..=STEPS).map(|index| BufferId(index as u32)).collect();
    let output = BufferId(STEPS as u32 + 1);
    steps.push(Step { name: "join".into(), kind: StepKind::Concat { inputs, output } });
    let mut buffers = vec![map(1); STEPS + 1];
    buffers.push(map(STEPS));
    let last = Port { shape: vec![STEPS], ..port("y".into(), STEPS + 1) };
    let inputs = vec![port("x".into(), 0)];
    let program = Program { inputs, outputs: vec![last], buffers, steps, ..Program::default() };
    assert_eq!(answer("wide", &program), [vec![0.5; STEPS]]);
}

#[test]
fn as_many_inputs_and_outputs_as_there_may_be() {
    let ports = 1024;
    let program = Program {
        inputs: (0..ports).map(|index| port(format!("x{index}"), index)).collect(),
        outputs: (0..ports).map(|index| port(format!("y{index}"), ports + index)).collect(),
        buffers: vec![map(1); 2 * ports],
        steps: (0..ports).map(|index| copy(index, index, ports + index)).collect(),
        ..Program::default()
    };
    assert_eq!(answer("ports", &program), vec![vec![0.5]; ports]);
}

#[test]
fn programs_that_are_too_large_are_refused() {
    let chain = |steps: usize, ports: usize| Program {
        inputs: (0..ports).map(|index| port(format!("x{index}"), index)).collect(),
        outputs: vec![port("y".into(), ports + steps - 1)],
        buffers: vec![map(1); ports + steps],
        steps: (0..steps)
            .map(|index| copy(index, (ports + index).saturating_sub(1), ports + index))
            .collect(),
        ..Program::default()
    };
    assert_eq!(chain(1 << 15, 1).validate(), Ok(()));
    for (program, why) in [
        (chain((1 << 15) + 1, 1), "32769 steps, expected at most 32768"),
        (chain(1, (1 << 16) + 1), "65538 buffers, expected at most 65536"),
        (chain(1, 1025), "1025 inputs, expected at most 1024"),
    ] {
        assert_eq!(program.validate().unwrap_err().to_string(), why);
    }
    let mut program = chain(1, 1);
    program.outputs = vec![port("y".into(), 1); 1025];
    let why = "1025 outputs, expected at most 1024";
    assert_eq!(program.validate().unwrap_err().to_string(), why);
}

/// A file with a chain of one operator behind a convolution.
fn chain_of(op: &str, others: &[&str], attributes: &[AttributeProto], count: usize) -> File {
    let mut file = File::new(&[1, 2, 4, 4]);
    file.floats("one", &[], &[1.0]);
    file.floats("w", &[2, 2, 1, 1], &[1.0, -1.0, 1.0, 1.0]);
    file.integers("back", &[1, 2, 4, 4]);
    file.node("Conv", &["x", "w"], "first", vec![]);
    let last = file.chain(op, "first", others, count, attributes);
    file.output(&last);
    file
}

/// Such a chain, as long as it may be, becomes a program.
fn chain(op: &str, others: &[&str], attributes: &[AttributeProto]) {
    let program = converted(op, chain_of(op, others, attributes, nodes())).expect(op);
    assert!(!program.steps.is_empty());
    assert_eq!(program.validate(), Ok(()));
}

#[test]
fn chains_of_activations() {
    chain("Relu", &[], &[]);
    chain("Identity", &[], &[]);
}

#[test]
fn chains_of_movement() {
    chain("Transpose", &[], &[ints("perm", &[0, 1, 3, 2])]);
    chain("Reshape", &["back"], &[]);
}

#[test]
fn chains_of_arithmetic() {
    chain("Add", &["first"], &[]);
    chain("Sub", &["one"], &[]);
}

#[test]
fn chains_of_windows() {
    chain("MaxPool", &[], &[ints("kernel_shape", &[1, 1])]);
    chain("Conv", &["w"], &[]);
}

#[test]
fn graphs_that_are_too_large_are_refused() {
    let error = converted("long", chain_of("Relu", &[], &[], 100_000)).unwrap_err();
    assert_eq!(error, "the model has 100001 nodes, expected at most 16384");

    let mut file = File::new(&[1, 2]);
    file.node("Relu", &["x"], "y", vec![]);
    (0..1025).for_each(|_| file.output("y"));
    let error = converted("outputs", file).unwrap_err();
    assert_eq!(error, "the model has 1025 outputs, expected at most 1024");
}

/// A cycle behind which a node reads very many other nodes' results: looking for the cycle must not read
/// them once for each node.
#[test]
fn a_cycle_is_found_soon() {
    let mut file = File::new(&[1, 2]);
    file.node("Relu", &["x"], "free", vec![]);
    let many = vec!["free"; nodes() << 6];
    file.node("Sum", &[&many[..], &["b"]].concat(), "a", vec![]);
    file.node("Relu", &["a"], "b", vec![]);
    let last = file.chain("Relu", "b", &[], nodes() / 4 * 3, &[]);
    file.output(&last);
    let error = converted("cycle", file).unwrap_err();
    assert!(error.contains("needs its own result"), "{error}");
}

/// Every value has its shape: ones of many dimensions, times many nodes, would be the square of the file.
#[test]
fn tensors_have_few_dimensions() {
    let mut file = File::new(&[1, 2]);
    file.integers("shape", &[1; 33]);
    file.node("Reshape", &["x", "shape"], "y", vec![]);
    file.output("y");
    let error = converted("dimensions", file).unwrap_err();
    assert!(error.contains("33 dimensions, expected at most 32"), "{error}");
}

#[test]
fn written_graphs_that_are_too_long_are_refused() {
    let text = |layers: usize| {
        let layers: Vec<String> =
            (0..layers).map(|index| format!(r#"{{"name":"l{index}","op":"relu"}}"#)).collect();
        format!(
            r#"{{"bnn_graph":1,"name":"n","inputs":[{{"name":"x","shape":[2]}}],"layers":[{}],"outputs":["l0"]}}"#,
            layers.join(",")
        )
    };
    let read = |layers| soon("written", || Architecture::from_json(&text(layers)));
    assert!(read(nodes()).is_ok());
    let error = read(100_000).unwrap_err().to_string();
    assert!(error.contains("100000 layers, expected at most 16384"), "{error}");
}
