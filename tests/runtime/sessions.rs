//! Sessions and what callers can get wrong.

use std::thread;

use bnn::{
    Error, Isa, Model, Prediction, RunError, SessionOptions, format,
    program::{
        ChannelOrder, Epilogue, EpilogueOp, Interpolation, Metadata, Preprocessing, ResizeRounding,
        StepKind,
    },
    vision::Image,
};

use crate::{builder::Builder, generate};

/// Joins `x` and `z`, both of 1x2x3, and hands `x` out again as `w`.
fn two_ports() -> Model {
    let mut builder = Builder::default();
    let (x, z) = (builder.input("x", [1, 2, 3]), builder.input("z", [1, 2, 3]));
    let (y, w) = (builder.output("y", [1, 2, 6]), builder.output("w", [1, 2, 3]));
    builder.step(StepKind::Concat { inputs: vec![x, z], output: y });
    let ops = vec![EpilogueOp::Store { output: w }];
    builder.step(StepKind::Elementwise { input: x, flatten: false, epilogue: Epilogue { ops } });
    Model::from_program(builder.program).unwrap()
}

fn error(model: &Model, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> RunError {
    let mut session = model.session(&SessionOptions::default()).unwrap();
    match session.run_into(inputs, outputs) {
        Err(Error::Run(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_batch_is_found_from_the_lengths() {
    let mut session = two_ports().session(&SessionOptions::default()).unwrap();
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let z: Vec<f32> = (0..12).map(|i| -(i as f32)).collect();
    let (mut y, mut w) = ([0.0; 24], [0.0; 12]);
    session.run_into(&[&x, &z], &mut [&mut y, &mut w]).unwrap();
    assert_eq!(y[..6], [0.0, 1.0, 2.0, 0.0, -1.0, -2.0]);
    assert_eq!(y[18..], [9.0, 10.0, 11.0, -9.0, -10.0, -11.0]);
    assert_eq!(w[..], x[..]);
}

#[test]
fn wrong_numbers_of_tensors_are_refused() {
    let model = two_ports();
    assert_eq!(
        error(&model, &[&[0.0; 6]], &mut [&mut [0.0; 12], &mut [0.0; 6]]),
        RunError::InputCount { found: 1, expected: 2 }
    );
    assert_eq!(
        error(&model, &[&[0.0; 6], &[0.0; 6]], &mut [&mut [0.0; 12]]),
        RunError::OutputCount { found: 1, expected: 2 }
    );
    let mut session = model.session(&SessionOptions::default()).unwrap();
    assert!(matches!(
        session.run(&[0.0; 6]),
        Err(Error::Run(RunError::NotOneToOne { inputs: 2, outputs: 2 }))
    ));
}

#[test]
fn wrong_lengths_are_refused() {
    let model = two_ports();
    for len in [0, 5, 7] {
        let error =
            error(&model, &[&vec![0.0; len], &[0.0; 6]], &mut [&mut [0.0; 12], &mut [0.0; 6]]);
        let expected =
            RunError::Length { name: "x".into(), found: len, expected: 6, shape: vec![1, 2, 3] };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("multiple of 6"), "{error}");
    }
    assert_eq!(
        error(&model, &[&[0.0; 12], &[0.0; 12]], &mut [&mut [0.0; 24], &mut [0.0; 18]]),
        RunError::Batch { name: "w".into(), found: 18, expected: 12, first: "x".into(), batch: 2 }
    );
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let model = two_ports();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut z = [1.0; 12];
        z[9] = value;
        let mut y = [7.0; 24];
        let error = error(&model, &[&[0.0; 12], &z], &mut [&mut y, &mut [0.0; 12]]);
        let RunError::NonFinite { name, element, .. } = &error else { panic!("{error:?}") };
        assert_eq!((name.as_str(), *element), ("z", 9));
        assert!(error.to_string().contains(&value.to_string()), "{error}");
        assert_eq!(y, [7.0; 24], "nothing has been computed");
    }
}

#[test]
fn sessions_of_one_model_run_side_by_side() {
    let model = Model::from_program(generate::program(11, 12)).unwrap();
    let inputs = generate::inputs(model.program(), 11, 3);
    let run = |model: &Model, options: SessionOptions| {
        let mut session = model.session(&options).unwrap();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; 3 * port.elements()]).collect();
        for _ in 0..5 {
            let mut slices: Vec<_> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            session.run_into(&inputs, &mut slices).unwrap();
        }
        outputs.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected = run(&model, SessionOptions::default());
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..4)
            .map(|index| {
                let model = model.clone();
                scope.spawn(move || run(&model, SessionOptions::default().threads(1 + index % 2)))
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn models_are_read_from_bytes_at_any_address_and_from_files() {
    let program = generate::program(5, 10);
    let bytes = format::write(&program).unwrap();
    for shift in 0..8 {
        let mut shifted = vec![0; shift];
        shifted.extend(&bytes);
        let model = Model::from_bytes(&shifted[shift..]).unwrap();
        assert_eq!(model.program(), &program);
        assert_eq!(model.file_bytes(), bytes.len());
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.bnn");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Model::open(&path).unwrap().program(), &program);
    // SAFETY: nothing else knows the file.
    assert_eq!(unsafe { Model::map(&path) }.unwrap().program(), &program);

    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = Model::open(&path).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    assert!(error.to_string().contains("network.bnn"), "{error}");
    let error = Model::open(folder.path().join("none.bnn")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("none.bnn"), "{error}");
}

#[test]
fn programs_that_make_no_sense_are_refused() {
    let mut program = generate::program(5, 10);
    program.steps.pop();
    assert!(matches!(Model::from_program(program), Err(Error::Program(_))));
}

#[test]
fn options_are_checked() {
    let model = two_ports();
    let limit = SessionOptions::MAXIMUM_THREADS;
    assert!(matches!(
        model.session(&SessionOptions::default().threads(limit + 1)),
        Err(Error::Run(RunError::TooManyThreads { found, .. })) if found == limit + 1
    ));
    let model = Model::from_program(generate::program(3, 10)).unwrap();
    let needed = model.session(&SessionOptions::default()).unwrap();
    let needed = needed.arena_bytes() + needed.row_bytes();
    assert!(model.session(&SessionOptions::default().memory_limit(needed)).is_ok());
    assert!(matches!(
        model.session(&SessionOptions::default().memory_limit(needed - 1)),
        Err(Error::Run(RunError::TooLarge { bytes, .. })) if bytes == needed
    ));
    for isa in Isa::ALL {
        let session = model.session(&SessionOptions::default().isa(isa));
        assert_eq!(session.is_ok(), isa.is_available(), "{isa}");
    }
}

#[test]
fn profiles_and_descriptions_name_every_step() {
    let model = Model::from_program(generate::program(21, 14)).unwrap();
    let inputs = generate::inputs(model.program(), 21, 2);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<Vec<f32>> =
        model.outputs().iter().map(|port| vec![0.0; 2 * port.elements()]).collect();
    let plain = {
        let mut slices: Vec<_> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        model.session(&SessionOptions::default()).unwrap().run_into(&inputs, &mut slices).unwrap();
        outputs.clone()
    };
    for threads in [1, 2] {
        let mut session = model.session(&SessionOptions::default().threads(threads)).unwrap();
        outputs.iter_mut().for_each(|output| output.fill(0.0));
        let mut slices: Vec<_> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let profile = session.run_profiled(&inputs, &mut slices).unwrap();
        assert_eq!(profile.images, 2);
        assert_eq!(profile.steps.len(), session.steps().len());
        assert!(profile.total() > std::time::Duration::ZERO);
        assert_eq!(session.threads(), threads);
        assert_eq!(outputs, plain);
        let mut steps = model.program().steps.iter();
        for info in session.steps() {
            // The names of the steps that are carried out together, in their order.
            let steps: Vec<_> = info.name.split(" + ").map(|_| steps.next().unwrap()).collect();
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            assert_eq!(info.name, names.join(" + "));
            assert!(info.read_bytes > 0 && info.written_bytes > 0, "{info:?}");
            let conv = steps.iter().any(|step| {
                matches!(step.kind, StepKind::BinaryConv { .. } | StepKind::FloatConv { .. })
            });
            assert_eq!(info.macs > 0, conv, "{info:?}");
            assert_eq!(info.weight_bytes > 0, conv, "{info:?}");
            assert_eq!(info.kernel.is_empty(), !conv, "{info:?}");
        }
        assert!(steps.next().is_none());
    }
}

/// A network that hands the picture out again, 2 rows of 2 pixels in planes of red, green and blue,
/// one class for each value.
fn pictures(probabilities: bool) -> Builder {
    let mut builder = Builder::default();
    let (x, y) = (builder.input("x", [3, 2, 2]), builder.output("y", [1, 1, 12]));
    let ops = vec![EpilogueOp::Store { output: y }];
    builder.step(StepKind::Elementwise { input: x, flatten: true, epilogue: Epilogue { ops } });
    builder.program.metadata = Metadata {
        preprocessing: Some(Preprocessing {
            resize: None,
            crop: None,
            interpolation: Interpolation::Nearest,
            rounding: ResizeRounding::Round,
            channels: ChannelOrder::Rgb,
            range: 255.0,
            mean: vec![1.0, 2.0, 3.0],
            std: vec![2.0],
        }),
        labels: vec!["a".into(), "b".into(), "c".into(), "d".into(), "e".into()],
        outputs_are_probabilities: probabilities,
        ..Metadata::default()
    };
    builder
}

#[test]
fn pictures_are_classified() {
    let image = Image::new(2, 2, (1..=12).collect()).unwrap();
    // (pixel - mean) / std, plane by plane.
    let planes = [0.0, 1.5, 3.0, 4.5, 0.0, 1.5, 3.0, 4.5, 0.0, 1.5, 3.0, 4.5];
    let model = Model::from_program(pictures(true).program).unwrap();
    assert_eq!(model.preprocess(&image).unwrap(), planes);
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let prediction = |index, label: Option<&str>, probability| Prediction {
        index,
        label: label.map(str::to_owned),
        probability,
    };
    assert_eq!(
        session.classify(&image, 4).unwrap(),
        [
            prediction(3, Some("d"), 4.5),
            prediction(7, None, 4.5),
            prediction(11, None, 4.5),
            prediction(2, Some("c"), 3.0)
        ]
    );

    let model = Model::from_program(pictures(false).program).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let predictions = session.classify(&image, 100).unwrap();
    assert_eq!(predictions.len(), 12);
    assert_eq!(predictions[0].index, 3);
    let sum: f32 = predictions.iter().map(|p| p.probability).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let ratio = predictions[0].probability / predictions[3].probability;
    assert!((ratio - 1.5_f32.exp()).abs() < 1e-4, "{ratio}");
}

#[test]
fn pictures_need_preprocessing_and_a_fitting_input() {
    let image = Image::new(2, 2, vec![0; 12]).unwrap();
    let classify = |builder: Builder| {
        let model = Model::from_program(builder.program).unwrap();
        model.session(&SessionOptions::default()).unwrap().classify(&image, 1).unwrap_err()
    };
    let mut builder = pictures(true);
    builder.program.metadata.preprocessing = None;
    assert!(matches!(classify(builder), Error::Run(RunError::NoPreprocessing)));

    let mut builder = pictures(true);
    builder.program.inputs[0].shape = vec![12];
    assert!(matches!(classify(builder), Error::Run(RunError::NoPicture { channels: 3, .. })));

    let mut builder = pictures(true);
    if let Some(preprocessing) = &mut builder.program.metadata.preprocessing {
        preprocessing.crop = Some([1, 1]);
    }
    assert!(matches!(classify(builder), Error::Preprocess(_)));

    let model = two_ports();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    assert!(matches!(session.classify(&image, 1), Err(Error::Run(RunError::NotOneToOne { .. }))));
}
