//! Random programs give the same bits on every instruction set, with any number of threads and in
//! any batch: those of the plain meaning. Where the processor cannot fuse multiply-adds, it is the
//! meaning with rounded products.

use bnn::{
    Isa, Model, SessionOptions,
    program::{ChannelOp, CombineOp, Epilogue, EpilogueOp, FloatConv, Program, StepKind},
};
use proptest::prelude::*;

use crate::{
    builder::{Builder, plain_conv, plain_pool},
    generate, naive,
};

/// Outputs as bits, all NaN alike.
fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    outputs.iter().map(|output| output.iter().map(bits).collect()).collect()
}

fn run(
    model: &Model,
    options: &SessionOptions,
    inputs: &[Vec<f32>],
    images: usize,
) -> Vec<Vec<f32>> {
    let mut session = model.session(options).unwrap();
    let mut outputs: Vec<Vec<f32>> =
        model.outputs().iter().map(|port| vec![f32::NAN; port.elements() * images]).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    // Twice, so that what the first run leaves in memory is seen to play no part.
    for _ in 0..2 {
        let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        session.run_into(&inputs, &mut slices).unwrap();
    }
    outputs
}

/// The plain meaning, image by image.
fn expected(program: &Program, isa: Isa, inputs: &[Vec<f32>], images: usize) -> Vec<Vec<f32>> {
    let mut all = vec![Vec::new(); program.outputs.len()];
    for image in 0..images {
        let inputs: Vec<&[f32]> = inputs
            .iter()
            .map(|input| &input[input.len() / images * image..][..input.len() / images])
            .collect();
        for (all, output) in all.iter_mut().zip(naive::run(program, isa, &inputs)) {
            all.extend(output);
        }
    }
    all
}

#[test]
fn generated_programs_have_no_sums_that_may_be_too_large() {
    // Once a layer of 48,384 products with integers of 16 bits.
    generate::program(11_469_427_231_962_484_337, 7).validate().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_computes_the_meaning(seed in any::<u64>(), steps in 1_usize..14) {
        let program = generate::program(seed, steps);
        let inputs = generate::inputs(&program, seed, 1);
        let [fused, rounded] =
            [Isa::Scalar, Isa::V2].map(|isa| bits(&expected(&program, isa, &inputs, 1)));
        let model = Model::from_program(program).unwrap();
        for isa in Isa::available() {
            let expected = if isa.fuses_multiply_add() { &fused } else { &rounded };
            let options = SessionOptions::default().isa(isa);
            prop_assert_eq!(&bits(&run(&model, &options, &inputs, 1)), expected, "{}", isa);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn threads_and_batches_change_nothing(seed in any::<u64>(), steps in 1_usize..14) {
        let program = generate::program(seed, steps);
        let inputs = generate::inputs(&program, seed, 5);
        // Rounding products changes the sums, but not what threads and batches do to them: nothing.
        let isas = [Isa::best(), Isa::V2];
        let model = Model::from_program(program.clone()).unwrap();
        for isa in isas.into_iter().filter(|isa| isa.is_available()) {
            let expected = bits(&expected(&program, isa, &inputs, 5));
            for threads in [0, 1, 2, 3, 7] {
                let options = SessionOptions::default().isa(isa).threads(threads);
                let found = bits(&run(&model, &options, &inputs, 5));
                prop_assert_eq!(&found, &expected, "{}, {} threads", isa, threads);
            }
        }
    }
}

/// A residual network needs one map, not two, where a sum takes the place of its shortcut.
#[test]
fn a_sum_takes_the_place_of_a_term_that_nobody_reads_again() {
    let size = [4, 8, 16];
    for read_again in [false, true] {
        let mut builder = Builder::default();
        let x = builder.input("x", size);
        let (one, two) = (builder.floats([1.0]), builder.floats([2.0]));
        let (shortcut, sum) = (builder.f32_map(size), builder.f32_map(size));
        let add = |constant, store| {
            vec![EpilogueOp::Channel(ChannelOp::Add(constant)), EpilogueOp::Store { output: store }]
        };
        let elementwise = |input, ops| StepKind::Elementwise {
            input,
            flatten: false,
            epilogue: Epilogue { ops },
        };
        builder.step(elementwise(x, add(one, shortcut)));
        let combine = EpilogueOp::Combine { op: CombineOp::Add, operand: shortcut };
        builder.step(elementwise(x, vec![combine.clone(), EpilogueOp::Store { output: sum }]));
        let y = builder.output("y", size);
        let last = if read_again { vec![combine] } else { vec![] };
        builder.step(elementwise(sum, last.into_iter().chain(add(two, y)).collect()));
        let model = Model::from_program(builder.program).unwrap();
        for isa in Isa::available() {
            let mut session = model.session(&SessionOptions::default().isa(isa)).unwrap();
            let maps = if read_again { 2 } else { 1 };
            assert_eq!(session.arena_bytes(), maps * size.iter().product::<usize>() * 4);
            let input: Vec<f32> = (0..size.iter().product()).map(|at: usize| at as f32).collect();
            let found = session.run(&input).unwrap();
            let value = |x: f32| (2.0 * x + 1.0) + if read_again { x + 1.0 } else { 0.0 } + 2.0;
            assert_eq!(found, input.iter().map(|&x| value(x)).collect::<Vec<_>>(), "{isa}");
        }
    }
}

/// What the tests above compare includes steps that are carried out together.
#[test]
fn layers_whose_map_one_step_reads_are_joined() {
    let mut joined = 0;
    for seed in 0..100 {
        let model = Model::from_program(generate::program(seed, 20)).unwrap();
        let session = model.session(&SessionOptions::default()).unwrap();
        let names: Vec<&str> = session.steps().iter().map(|step| step.name.as_str()).collect();
        joined += names.iter().filter(|name| name.contains(" + ")).count();
        let separate: usize = names.iter().map(|name| name.split(" + ").count()).sum();
        assert_eq!(separate, model.program().steps.len());
    }
    assert!(joined >= 100, "only {joined} pairs in 100 networks");
}

/// The transition of a dense network: maps side by side, normalised, pooled, convolved. Of the two maps between only
/// a few rows exist at a time.
#[test]
fn joined_maps_go_through_a_pool_into_a_convolution_in_one_step() {
    let [height, width, channels, out] = [10, 8, 20, 7];
    let mut builder = Builder::default();
    let x = builder.input("x", [height, width, channels]);
    let (one, two) = (builder.floats([1.0]), builder.floats([2.0]));
    let other = builder.f32_map([height, width, channels]);
    let add = EpilogueOp::Channel(ChannelOp::Add(one));
    let store = |output| EpilogueOp::Store { output };
    let elementwise =
        |input, ops| StepKind::Elementwise { input, flatten: false, epilogue: Epilogue { ops } };
    builder.step(elementwise(x, vec![add.clone(), store(other)]));
    let wide = [height, width, 3 * channels];
    let (joined, scaled) = (builder.f32_map(wide), builder.f32_map(wide));
    builder.step(StepKind::Concat { inputs: vec![other, x, other], output: joined });
    let scale = EpilogueOp::Channel(ChannelOp::Multiply(two));
    builder.step(elementwise(joined, vec![scale, store(scaled)]));
    let pooled = builder.f32_map([height / 2, width / 2, 3 * channels]);
    builder.step(StepKind::MaxPool {
        input: scaled,
        pool: plain_pool(2),
        epilogue: Epilogue { ops: vec![store(pooled)] },
    });
    let output = builder.output("y", [height / 2, width / 2, out]);
    let weights: Vec<f32> = (0..3 * channels * out).map(|at| (at % 17) as f32 - 8.0).collect();
    let conv = FloatConv {
        input: pooled,
        geometry: plain_conv(3 * channels, out, 1),
        weights: builder.floats(weights),
    };
    builder
        .step(StepKind::FloatConv { conv, epilogue: Epilogue { ops: vec![add, store(output)] } });

    let inputs = generate::inputs(&builder.program, 3, 2);
    let [fused, rounded] =
        [Isa::Scalar, Isa::V2].map(|isa| bits(&expected(&builder.program, isa, &inputs, 2)));
    let model = Model::from_program(builder.program).unwrap();
    for isa in Isa::available() {
        let options = SessionOptions::default().isa(isa);
        let names: Vec<_> =
            model.session(&options).unwrap().steps().iter().map(|s| s.name.clone()).collect();
        assert_eq!(names, ["step 0", "step 1 + step 2 + step 3 + step 4"]);
        let expected = if isa.fuses_multiply_add() { &fused } else { &rounded };
        for threads in [1, 3] {
            let found = bits(&run(&model, &options.clone().threads(threads), &inputs, 2));
            assert_eq!(&found, expected, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn arenas_are_close_to_the_largest_sum_of_live_buffers() {
    let mut exact = 0;
    for seed in 0..100 {
        let model = Model::from_program(generate::program(seed, 20)).unwrap();
        let session = model.session(&SessionOptions::default()).unwrap();
        let (arena, live) = (session.arena_bytes(), session.live_bytes());
        assert!(arena >= live && arena * 10 <= live * 12, "seed {seed}: {arena} for {live}");
        exact += usize::from(arena == live);
    }
    assert!(exact >= 80, "only {exact} of 100 arenas are as small as can be");
}
