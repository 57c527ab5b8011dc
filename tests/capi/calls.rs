//! Right calls give what the Rust interface gives.

use std::{fs, mem::size_of, ptr};

use bnn::{Isa, Model, SessionOptions, capi::*, vision};

use crate::network::*;

/// What the Rust interface says of the example picture.
fn expected(top: usize) -> Vec<(usize, Option<String>, u32)> {
    let model = Model::from_bytes(bnn_models::default_model()).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let image = vision::decode_file(picture()).unwrap();
    let predictions = session.classify(&image, top).unwrap();
    if let Some(best) = predictions.first() {
        assert_eq!(best.label.as_deref(), Some("airplane"));
    }
    predictions.into_iter().map(|p| (p.index, p.label, p.probability.to_bits())).collect()
}

fn found(predictions: &[bnn_prediction]) -> Vec<(usize, Option<String>, u32)> {
    let label = |p: &bnn_prediction| if p.label.is_null() { None } else { Some(text(p.label)) };
    predictions.iter().map(|p| (p.index, label(p), p.probability.to_bits())).collect()
}

#[test]
fn versions_and_names_of_statuses_are_told() {
    assert_eq!(text(bnn_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(bnn_status_name(4)), "BNN_STATUS_IO");
    for unknown in [-1, 11, i32::MAX] {
        assert_eq!(text(bnn_status_name(unknown)), "unknown status");
    }
}

#[test]
fn a_model_is_opened_from_a_path_of_any_bytes_and_described() {
    let folder = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    let name = std::os::unix::ffi::OsStrExt::from_bytes(b"n\xffetwork.bnn".as_slice());
    #[cfg(not(unix))]
    let name = std::ffi::OsStr::new("nétwork.bnn");
    let path = folder.path().join::<&std::ffi::OsStr>(name);
    fs::write(&path, bnn_models::default_model()).unwrap();
    let path = c_path(&path);
    let mut model = ptr::null_mut();
    // SAFETY: the pointers are those of live values.
    let status = unsafe { bnn_model_open(path.as_ptr(), &raw mut model) };
    assert_eq!(status, bnn_status::Ok, "{}", last_message());
    let model = OwnedModel(model);

    let reference = Model::from_bytes(bnn_models::default_model()).unwrap();
    let mut tensor = bnn_tensor { name: ptr::null(), shape: ptr::null(), rank: 0, elements: 0 };
    let order = bnn_channel_order::Gray;
    let mut format = bnn_picture { width: 0, height: 0, channels: 0, order };
    // SAFETY: the model has not been freed, the other pointers are those of live values, and a shape
    // has `rank` dimensions.
    unsafe {
        assert_eq!(bnn_model_input_count(model.0), 1);
        assert_eq!(bnn_model_output_count(model.0), 1);
        assert_eq!(bnn_model_input(model.0, 0, &raw mut tensor), bnn_status::Ok);
        assert_eq!(text(tensor.name), reference.inputs()[0].name);
        assert_eq!(tensor.elements, 3 * 32 * 32);
        assert_eq!(std::slice::from_raw_parts(tensor.shape, tensor.rank), [3, 32, 32]);
        assert_eq!(bnn_model_output(model.0, 0, &raw mut tensor), bnn_status::Ok);
        assert_eq!(text(tensor.name), reference.outputs()[0].name);
        assert_eq!(std::slice::from_raw_parts(tensor.shape, tensor.rank), [10]);
        assert_eq!(bnn_model_label_count(model.0), 10);
        for (index, label) in reference.labels().iter().enumerate() {
            assert_eq!(&text(bnn_model_label(model.0, index)), label);
        }
        assert!(bnn_model_label(model.0, 10).is_null());
        assert_eq!(bnn_model_picture(model.0, &raw mut format), bnn_status::Ok);
    }
    assert_eq!((format.width, format.height, format.channels), (32, 32, 3));
    assert_eq!(format.order, bnn_channel_order::Rgb);
}

#[test]
fn a_picture_is_classified_from_a_file_from_memory_and_from_pixels() {
    let model = OwnedModel::cifar();
    let session = model.session();
    let path = c_path(&picture());
    let bytes = fs::read(picture()).unwrap();
    let image = vision::decode_file(picture()).unwrap();
    let pixels = image.pixels();
    for capacity in [0, 1, 5, 20] {
        let written = capacity.min(10);
        let (mut predictions, mut count) = ([const { blank() }; 20], usize::MAX);
        let place = predictions.as_mut_ptr();
        let check = |status, count: &mut usize, predictions: &[bnn_prediction; 20]| {
            assert_eq!(status, bnn_status::Ok, "{}", last_message());
            assert_eq!(std::mem::replace(count, usize::MAX), written);
            assert_eq!(found(&predictions[..written]), expected(capacity));
            assert!(predictions[written..].iter().all(|p| p.index == usize::MAX));
        };
        // SAFETY: session and buffers are live and have the lengths given.
        unsafe {
            let path = path.as_ptr();
            let status =
                bnn_session_classify_file(session.0, path, place, capacity, &raw mut count);
            check(status, &mut count, &predictions);
            let (data, length) = (bytes.as_ptr(), bytes.len());
            let place = predictions.as_mut_ptr();
            let status = bnn_session_classify_encoded(
                session.0,
                data,
                length,
                place,
                capacity,
                &raw mut count,
            );
            check(status, &mut count, &predictions);
            let (data, length) = (pixels.as_ptr(), pixels.len());
            let (width, height) = (image.width(), image.height());
            let place = predictions.as_mut_ptr();
            let status = bnn_session_classify_pixels(
                session.0,
                data,
                length,
                width,
                height,
                place,
                capacity,
                &raw mut count,
            );
            check(status, &mut count, &predictions);
        }
    }
}

#[test]
fn floats_and_bytes_give_the_bits_of_the_rust_interface() {
    let model = OwnedModel::cifar();
    let reference = Model::from_bytes(bnn_models::default_model()).unwrap();
    let image = vision::decode_file(picture()).unwrap();
    let layout = vision::InputLayout { channels: 3, height: 32, width: 32 };
    let pixels = vision::preprocess(&image, reference.preprocessing().unwrap(), layout).unwrap();
    let values = reference.preprocess(&image).unwrap();
    let expected = reference.session(&SessionOptions::default()).unwrap().run(&values).unwrap();

    let session = model.session();
    for batch in [1, 3] {
        let (values, pixels) = (values.repeat(batch), pixels.repeat(batch));
        let expected = expected.repeat(batch);
        let length = expected.len();
        let (mut floats, mut bytes) = (vec![f32::NAN; length], vec![f32::NAN; length]);
        // SAFETY: session and buffers are live and have the lengths given.
        unsafe {
            let (input, output) = (values.as_ptr(), floats.as_mut_ptr());
            let status = bnn_session_run(session.0, input, values.len(), output, length, batch);
            assert_eq!(status, bnn_status::Ok, "{}", last_message());
            let (input, output) = (pixels.as_ptr(), bytes.as_mut_ptr());
            let status =
                bnn_session_run_pixels(session.0, input, pixels.len(), output, length, batch);
            assert_eq!(status, bnn_status::Ok, "{}", last_message());
        }
        assert_eq!(floats, expected);
        assert_eq!(bytes, expected);
    }

    let (mut predictions, mut count) = ([blank(), blank()], 0);
    // SAFETY: model and buffers are live and have the lengths given.
    let status = unsafe {
        let place = predictions.as_mut_ptr();
        bnn_model_rank(model.0, expected.as_ptr(), 10, place, 2, &raw mut count)
    };
    assert_eq!((status, count), (bnn_status::Ok, 2));
    assert_eq!(found(&predictions), self::expected(2));
}

#[test]
fn networks_of_several_inputs_and_outputs_run() {
    let model = OwnedModel::from_bytes(&softmax_network(2));
    let session = model.session();
    let values =
        [[0.5, 0.5, f32::MIN, 1.0, 1.0, 1.0], [f32::MIN, f32::MIN, 3.0, 0.0, 0.0, f32::MIN]];
    let inputs = values.each_ref().map(|v| bnn_input { data: v.as_ptr(), length: 6 });
    let mut answers = [[f32::NAN; 6]; 2];
    let outputs = answers.each_mut().map(|a| bnn_output { data: a.as_mut_ptr(), length: 6 });
    // SAFETY: session and buffers are live and have the lengths given.
    let status =
        unsafe { bnn_session_run_tensors(session.0, inputs.as_ptr(), 2, outputs.as_ptr(), 2, 2) };
    assert_eq!(status, bnn_status::Ok, "{}", last_message());
    let third = 1.0 / 3.0;
    assert_eq!(answers, [[0.5, 0.5, 0.0, third, third, third], [0.0, 0.0, 1.0, 0.5, 0.5, 0.0]]);
}

#[test]
fn options_are_obeyed_and_texts_are_safe_to_print() {
    let model = OwnedModel::from_bytes(&softmax_network(1));
    let options = bnn_session_options {
        size: size_of::<bnn_session_options>(),
        threads: 3,
        isa: c"scalar".as_ptr(),
        memory_limit: 1 << 20,
    };
    let mut session = ptr::null_mut();
    // SAFETY: the model has not been freed and the options have the size stated.
    let status = unsafe { bnn_session_new(model.0, &raw const options, &raw mut session) };
    assert_eq!(status, bnn_status::Ok, "{}", last_message());
    let session = OwnedSession(session);
    let mut tensor = bnn_tensor { name: ptr::null(), shape: ptr::null(), rank: 0, elements: 0 };
    // SAFETY: model and session have not been freed.
    unsafe {
        assert_eq!(text(bnn_session_isa(session.0)), "scalar");
        assert_eq!(bnn_session_threads(session.0), 3);
        assert!(bnn_session_memory_bytes(OwnedModel::cifar().session().0) > 32 * 32 * 32);
        assert_eq!(text(bnn_model_label(model.0, 1)), "two\u{fffd}");
        assert_eq!(text(bnn_model_label(model.0, 2)), "thrée");
        assert_eq!(bnn_model_input(model.0, 0, &raw mut tensor), bnn_status::Ok);
        assert_eq!(text(tensor.name), "x\u{fffd}0");
        let session = model.session();
        assert_eq!(text(bnn_session_isa(session.0)), Isa::best().name());
        assert_eq!(bnn_session_threads(session.0), 1);
    }
}

#[test]
fn a_session_and_its_labels_outlive_the_model() {
    let model = OwnedModel::cifar();
    let session = model.session();
    drop(model);
    let path = c_path(&picture());
    let (mut prediction, mut count) = (blank(), 0);
    // SAFETY: session and buffers are live and have the lengths given.
    let status = unsafe {
        bnn_session_classify_file(session.0, path.as_ptr(), &raw mut prediction, 1, &raw mut count)
    };
    assert_eq!((status, count), (bnn_status::Ok, 1));
    assert_eq!(text(prediction.label), "airplane");
}
