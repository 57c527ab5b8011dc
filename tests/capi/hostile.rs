//! Wrong calls are answered with a status and a message, and change nothing else.

use std::{
    ffi::{CStr, c_char},
    mem::size_of,
    ptr,
};

use bnn::capi::*;

use crate::network::*;

/// The call failed with that status, and the message says why.
#[track_caller]
pub(crate) fn refused(found: bnn_status, expected: bnn_status, why: &str) {
    assert_eq!(found, expected, "{}", last_message());
    let message = last_message();
    assert!(message.contains(why), "'{message}' does not say '{why}'");
    assert!(!message.contains('\n'), "{message}");
}

use bnn_status::{
    InvalidArgument, InvalidImage, InvalidModel, Io, NonFinite, OutOfResources, Unsupported,
    WrongLength,
};

#[test]
fn null_is_no_model_and_no_session() {
    let null = ptr::null_mut::<bnn_model>();
    let none = ptr::null_mut::<bnn_session>();
    let mut tensor = bnn_tensor { name: ptr::null(), shape: ptr::null(), rank: 0, elements: 0 };
    let mut session = ptr::dangling_mut();
    let (mut values, mut count, mut prediction) = ([0.0_f32; 3], 7, blank());
    // SAFETY: null is allowed everywhere, all other pointers are those of live values.
    unsafe {
        bnn_model_free(null);
        bnn_session_free(none);
        assert_eq!(bnn_model_label_count(null), 0);
        assert_eq!(bnn_model_input_count(null), 0);
        assert_eq!(bnn_model_output_count(null), 0);
        assert!(bnn_model_label(null, 0).is_null());
        assert!(bnn_session_isa(none).is_null());
        assert_eq!(bnn_session_threads(none), 0);
        assert_eq!(bnn_session_memory_bytes(none), 0);
        refused(bnn_model_input(null, 0, &raw mut tensor), InvalidArgument, "model is NULL");
        refused(bnn_model_output(null, 0, &raw mut tensor), InvalidArgument, "model is NULL");
        refused(bnn_model_picture(null, ptr::null_mut()), InvalidArgument, "model is NULL");
        let status = bnn_session_new(null, ptr::null(), &raw mut session);
        refused(status, InvalidArgument, "model is NULL");
        assert!(session.is_null());

        let data = values.as_mut_ptr();
        refused(bnn_session_run(none, data, 3, data, 3, 1), InvalidArgument, "session is NULL");
        let pixels = [0_u8; 3];
        let status = bnn_session_run_pixels(none, pixels.as_ptr(), 3, data, 3, 1);
        refused(status, InvalidArgument, "session is NULL");
        let status = bnn_session_run_tensors(none, ptr::null(), 0, ptr::null(), 0, 1);
        refused(status, InvalidArgument, "session is NULL");
        let (place, number) = (&raw mut prediction, &raw mut count);
        let status = bnn_session_classify_file(none, c"x".as_ptr(), place, 1, number);
        refused(status, InvalidArgument, "session is NULL");
        let status = bnn_session_classify_encoded(none, pixels.as_ptr(), 3, place, 1, number);
        refused(status, InvalidArgument, "session is NULL");
        let status = bnn_session_classify_pixels(none, pixels.as_ptr(), 3, 1, 1, place, 1, number);
        refused(status, InvalidArgument, "session is NULL");
        let status = bnn_model_rank(null, data, 3, place, 1, number);
        refused(status, InvalidArgument, "model is NULL");
    }
    assert_eq!((count, prediction.index), (0, usize::MAX));
}

#[test]
fn files_that_are_no_models_are_refused_and_leave_null() {
    let whole = bnn_models::default_model();
    let open = |path: *const c_char| {
        let mut model = ptr::dangling_mut();
        // SAFETY: a text or null, and room for a pointer.
        let status = unsafe { bnn_model_open(path, &raw mut model) };
        assert!(model.is_null());
        status
    };
    let read = |bytes: &[u8]| {
        let mut model = ptr::dangling_mut();
        // SAFETY: live bytes, and room for a pointer.
        let status = unsafe { bnn_model_from_memory(bytes.as_ptr(), bytes.len(), &raw mut model) };
        assert!(model.is_null());
        status
    };
    refused(open(ptr::null()), InvalidArgument, "path is NULL");
    refused(open(c"".as_ptr()), Io, "");
    refused(open(c"no such file".as_ptr()), Io, "no such file");
    refused(open(c"/".as_ptr()), Io, "/");
    refused(open(c_path(&picture()).as_ptr()), InvalidModel, "airplane.png");
    refused(read(&[]), InvalidModel, "");
    for length in [1, 8, 63, 64, 1000, whole.len() - 1] {
        refused(read(&whole[..length]), InvalidModel, "");
    }
    let mut broken = whole.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    refused(read(&broken), InvalidModel, "");
    let mut newer = whole.to_vec();
    newer[8] = 99;
    refused(read(&newer), Unsupported, "version");
    // SAFETY: null is allowed.
    unsafe {
        refused(bnn_model_open(c"x".as_ptr(), ptr::null_mut()), InvalidArgument, "model is NULL");
        let mut model = ptr::null_mut();
        let status = bnn_model_from_memory(ptr::null(), 10, &raw mut model);
        refused(status, InvalidArgument, "bytes is NULL");
        let status = bnn_model_from_memory(whole.as_ptr(), usize::MAX, &raw mut model);
        refused(status, InvalidArgument, "bytes cannot have");
    }
}

#[test]
fn questions_about_what_is_not_there_are_refused() {
    let model = OwnedModel::from_bytes(&softmax_network(1));
    let order = bnn_channel_order::Rgb;
    let mut format = bnn_picture { width: 0, height: 0, channels: 0, order };
    let mut tensor = bnn_tensor { name: ptr::null(), shape: ptr::null(), rank: 0, elements: 0 };
    // SAFETY: the model has not been freed; null is allowed.
    unsafe {
        for index in [1, usize::MAX] {
            let status = bnn_model_input(model.0, index, &raw mut tensor);
            refused(status, InvalidArgument, "there is no input");
            let status = bnn_model_output(model.0, index, &raw mut tensor);
            refused(status, InvalidArgument, "there is no output");
            assert!(bnn_model_label(model.0, index.max(3)).is_null());
        }
        refused(bnn_model_input(model.0, 0, ptr::null_mut()), InvalidArgument, "tensor is NULL");
        refused(bnn_model_picture(model.0, &raw mut format), Unsupported, "preprocessing");
    }
    assert!(tensor.name.is_null());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let model = OwnedModel::cifar();
    let make = |size, threads, isa: Option<&CStr>, memory_limit| {
        let isa = isa.map_or(ptr::null(), CStr::as_ptr);
        let options = bnn_session_options { size, threads, isa, memory_limit };
        let mut session = ptr::dangling_mut();
        // SAFETY: the options are live, and sizes that they do not have are refused before more is read.
        let status = unsafe { bnn_session_new(model.0, &raw const options, &raw mut session) };
        assert!(session.is_null());
        status
    };
    let size = size_of::<bnn_session_options>();
    refused(make(0, 1, None, 0), InvalidArgument, "options.size is 0");
    refused(make(size - 1, 1, None, 0), InvalidArgument, "options.size");
    refused(make(usize::MAX, 1, None, 0), InvalidArgument, "options.size");
    refused(make(size, 1025, None, 0), InvalidArgument, "1025 threads");
    refused(make(size, usize::MAX, None, 0), InvalidArgument, "threads");
    refused(make(size, 1, Some(c"mmx"), 0), InvalidArgument, "mmx");
    refused(make(size, 1, Some(c"\xff"), 0), InvalidArgument, "UTF-8");
    refused(make(size, 1, Some(c"amx"), 0), Unsupported, "amx");
    refused(make(size, 1, None, 1), OutOfResources, "the limit is 1");
    // SAFETY: null is allowed.
    let status = unsafe { bnn_session_new(model.0, ptr::null(), ptr::null_mut()) };
    refused(status, InvalidArgument, "session is NULL");
}

#[test]
fn buffers_of_wrong_length_place_or_content_are_refused() {
    let model = OwnedModel::from_bytes(&softmax_network(1));
    let session = model.session();
    let mut values = [0.5_f32; 12];
    let data = values.as_mut_ptr();
    let run = |input: *const f32, input_length, output: *mut f32, output_length, batch| {
        // SAFETY: the buffers lie in `values`; lengths that they do not have are refused.
        unsafe { bnn_session_run(session.0, input, input_length, output, output_length, batch) }
    };
    let (input, output) = (data.cast_const(), data.wrapping_add(6));
    assert_eq!(run(input, 6, output, 6, 2), bnn_status::Ok);
    refused(run(input, 5, output, 6, 2), WrongLength, "has 5 values, expected 6");
    refused(run(input, 6, output, 7, 2), WrongLength, "'y0' has 7 values, expected 6");
    refused(run(input, 6, output, 6, 1), WrongLength, "expected 3");
    refused(run(input, 6, output, 6, usize::MAX), WrongLength, "expected more than memory");
    refused(run(input, 0, output, 0, 0), InvalidArgument, "batch is 0");
    refused(run(ptr::null(), 6, output, 6, 2), InvalidArgument, "input is NULL");
    refused(run(input, 6, ptr::null_mut(), 6, 2), InvalidArgument, "output is NULL");
    let misaligned = input.wrapping_byte_add(2);
    refused(run(misaligned, 3, output, 3, 1), InvalidArgument, "misaligned");
    refused(run(input, 6, data.wrapping_add(5), 6, 2), InvalidArgument, "overlaps");
    refused(run(input, 6, data, 6, 2), InvalidArgument, "overlaps");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let input = [0.0, bad, 0.0];
        refused(run(input.as_ptr(), 3, output, 3, 1), NonFinite, "element 1");
    }
    // The session has not suffered.
    assert_eq!(run(input, 3, output, 3, 1), bnn_status::Ok);

    let (mut count, mut prediction) = (7, blank());
    // SAFETY: model and buffers are live, null is allowed.
    unsafe {
        let place = &raw mut prediction;
        let status = bnn_model_rank(model.0, input, 2, place, 1, &raw mut count);
        refused(status, WrongLength, "expected 3");
        assert_eq!(count, 0);
        let status = bnn_model_rank(model.0, input, 3, ptr::null_mut(), 1, &raw mut count);
        refused(status, InvalidArgument, "predictions is NULL");
        let status = bnn_model_rank(model.0, input, 3, place, usize::MAX, &raw mut count);
        refused(status, InvalidArgument, "predictions cannot have");
        let status = bnn_model_rank(model.0, input, 3, place, 1, ptr::null_mut());
        refused(status, InvalidArgument, "count is NULL");
    }
}

#[test]
fn networks_of_several_tensors_want_as_many_buffers() {
    let model = OwnedModel::from_bytes(&softmax_network(2));
    let session = model.session();
    let mut values = [0.5_f32; 12];
    let data = values.as_mut_ptr();
    let input = |at: usize, length| bnn_input { data: data.wrapping_add(at), length };
    let output = |at: usize, length| bnn_output { data: data.wrapping_add(at), length };
    let run = |inputs: &[bnn_input], outputs: &[bnn_output]| {
        // SAFETY: the buffers lie in `values`; lengths that they do not have are refused.
        unsafe {
            let (inputs, outputs, counts) =
                (inputs.as_ptr(), outputs.as_ptr(), (inputs.len(), outputs.len()));
            bnn_session_run_tensors(session.0, inputs, counts.0, outputs, counts.1, 1)
        }
    };
    let inputs = [input(0, 3), input(3, 3)];
    let outputs = [output(6, 3), output(9, 3)];
    assert_eq!(run(&inputs, &outputs), bnn_status::Ok);
    refused(run(&inputs[..1], &outputs), WrongLength, "1 inputs given, the network has 2");
    refused(run(&inputs, &[]), WrongLength, "0 outputs given, the network has 2");
    refused(run(&[input(0, 3), input(3, 4)], &outputs), WrongLength, "has 4 values");
    refused(run(&inputs, &[output(6, 3), output(8, 3)]), InvalidArgument, "overlaps");
    refused(run(&inputs, &[output(6, 3), output(2, 3)]), InvalidArgument, "overlaps");
    // Two inputs may be the same buffer.
    assert_eq!(run(&[input(0, 3), input(0, 3)], &outputs), bnn_status::Ok);
    // SAFETY: null is allowed.
    let status =
        unsafe { bnn_session_run_tensors(session.0, ptr::null(), 2, outputs.as_ptr(), 2, 1) };
    refused(status, InvalidArgument, "inputs is NULL");
    // SAFETY: the buffers are live.
    let status = unsafe { bnn_session_run(session.0, data, 3, data.wrapping_add(3), 3, 1) };
    refused(status, Unsupported, "one input and one output");
}

#[test]
fn pictures_that_are_none_are_refused() {
    let model = OwnedModel::cifar();
    let session = model.session();
    let (mut count, mut predictions) = (7, [blank(), blank()]);
    let place = predictions.as_mut_ptr();
    let count_place = &raw mut count;
    let file = |path: *const c_char| {
        // SAFETY: the session is live and the buffers have the lengths given.
        unsafe { bnn_session_classify_file(session.0, path, place, 2, count_place) }
    };
    refused(file(ptr::null()), InvalidArgument, "path is NULL");
    refused(file(c"no such file".as_ptr()), Io, "no such file");
    refused(file(c_path(file!().as_ref()).as_ptr()), InvalidImage, "hostile.rs");
    let pixels = [9_u8; 12];
    // SAFETY: the session is live, and the buffers have the lengths given or lengths that are refused.
    unsafe {
        let encoded = |length| {
            bnn_session_classify_encoded(session.0, pixels.as_ptr(), length, place, 2, count_place)
        };
        refused(encoded(0), InvalidImage, "empty");
        refused(encoded(12), InvalidImage, "unknown kind");
        let classify = |length, width, height| {
            let data = pixels.as_ptr();
            bnn_session_classify_pixels(
                session.0,
                data,
                length,
                width,
                height,
                place,
                2,
                count_place,
            )
        };
        assert_eq!(classify(12, 2, 2), bnn_status::Ok);
        for (length, width, height) in [(12, 4, 4), (11, 2, 2), (0, 0, 0), (12, u32::MAX, u32::MAX)]
        {
            refused(classify(length, width, height), WrongLength, "bytes of pixels");
        }
        let mut output = [0.0_f32; 10];
        let data = output.as_mut_ptr();
        let status = bnn_session_run_pixels(session.0, pixels.as_ptr(), 12, data, 10, 1);
        refused(status, WrongLength, "'pixels' has 12 values, expected 3072");
        let status = bnn_session_run_pixels(session.0, ptr::null(), 3072, data, 10, 1);
        refused(status, InvalidArgument, "pixels is NULL");
    }
    assert_eq!(count, 0);

    let other = OwnedModel::from_bytes(&softmax_network(1));
    let session = other.session();
    let mut output = [0.0_f32; 3];
    // SAFETY: the session is live and the buffers have the lengths given.
    unsafe {
        let (data, out) = (pixels.as_ptr(), output.as_mut_ptr());
        let status = bnn_session_run_pixels(session.0, data, 3, out, 3, 1);
        refused(status, Unsupported, "no pictures");
        let (data, path) = (&raw mut count, c_path(&picture()));
        let status = bnn_session_classify_file(session.0, path.as_ptr(), place, 2, data);
        refused(status, Unsupported, "preprocessing");
    }
}
