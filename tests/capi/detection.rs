//! Boxes from C are those that Rust gives, and wrong calls are refused.

use std::{ffi::c_char, ptr};

use bnn::{Model, SessionOptions, capi::*, format, vision};

use crate::hostile::refused;
use crate::network::*;
use crate::sample;

/// What is compared of a box.
type Found = (usize, Option<String>, [u32; 5]);

fn nothing() -> bnn_detection {
    let (label, score) = (ptr::null(), 0.0);
    bnn_detection { index: 0, label, score, xmin: 0.0, ymin: 0.0, xmax: 0.0, ymax: 0.0 }
}

#[test]
fn boxes_are_those_of_the_rust_interface() {
    for split in [false, true] {
        let bytes = format::write(&sample::detector(split)).unwrap();
        let reference = Model::from_bytes(&bytes).unwrap();
        let image = vision::decode_file(picture()).unwrap();
        let expected = reference.session(&SessionOptions::default()).unwrap().detect(&image);
        let expected: Vec<Found> = expected
            .unwrap()
            .into_iter()
            .map(|d| {
                (d.index, d.label, [d.score, d.xmin, d.ymin, d.xmax, d.ymax].map(f32::to_bits))
            })
            .collect();
        assert!(expected.len() > 2);

        let model = OwnedModel::from_bytes(&bytes);
        let session = model.session();
        // SAFETY: the model has not been freed.
        let capacity = unsafe { bnn_model_box_count(model.0) };
        assert!(capacity >= expected.len());
        let path = c_path(&picture());
        let file = std::fs::read(picture()).unwrap();
        let (width, height, pixels) = (image.width(), image.height(), image.pixels());
        for capacity in [capacity, 2, 0] {
            for form in 0..3 {
                let mut found: Vec<bnn_detection> = (0..capacity).map(|_| nothing()).collect();
                let (place, mut count) = (found.as_mut_ptr(), 7);
                let number = &raw mut count;
                let (bytes, data) = (file.as_ptr(), pixels.as_ptr());
                let (size, length) = (file.len(), pixels.len());
                // SAFETY: the session is live and the buffers have the lengths given.
                let status = unsafe {
                    match form {
                        0 => bnn_session_detect_file(
                            session.0,
                            path.as_ptr(),
                            place,
                            capacity,
                            number,
                        ),
                        1 => bnn_session_detect_encoded(
                            session.0, bytes, size, place, capacity, number,
                        ),
                        _ => bnn_session_detect_pixels(
                            session.0, data, length, width, height, place, capacity, number,
                        ),
                    }
                };
                assert_eq!(status, bnn_status::Ok, "{}", last_message());
                let found: Vec<Found> = found[..count]
                    .iter()
                    .map(|d| {
                        let values = [d.score, d.xmin, d.ymin, d.xmax, d.ymax];
                        (d.index, Some(text(d.label)), values.map(f32::to_bits))
                    })
                    .collect();
                assert_eq!(found, expected[..capacity.min(expected.len())], "{form}");
            }
        }
    }
}

#[test]
fn wrong_calls_are_refused() {
    use bnn_status::{InvalidArgument, InvalidImage, Io, Unsupported, WrongLength};

    let detector = OwnedModel::from_bytes(&format::write(&sample::detector(true)).unwrap());
    let classifier = OwnedModel::cifar();
    let (session, other) = (detector.session(), classifier.session());
    let (mut found, mut count) = (nothing(), 7);
    let (place, number) = (&raw mut found, &raw mut count);
    let pixels = [9_u8; 12];
    let data = pixels.as_ptr();
    // SAFETY: sessions are live or null, and the buffers have the lengths given or lengths that are refused.
    unsafe {
        let none = ptr::null_mut();
        let pixels = |session, width, place, number| {
            bnn_session_detect_pixels(session, data, 12, width, 2, place, 1, number)
        };
        let file = |path: *const c_char| bnn_session_detect_file(session.0, path, place, 1, number);
        assert_eq!(bnn_model_box_count(ptr::null()), 0);
        assert_eq!(bnn_model_box_count(classifier.0), 0);
        refused(pixels(none, 2, place, number), InvalidArgument, "session is NULL");
        refused(
            pixels(session.0, 2, ptr::null_mut(), number),
            InvalidArgument,
            "detections is NULL",
        );
        refused(pixels(session.0, 2, place, ptr::null_mut()), InvalidArgument, "count is NULL");
        refused(pixels(session.0, 3, place, number), WrongLength, "bytes of pixels");
        refused(pixels(other.0, 2, place, number), Unsupported, "no detector");
        refused(file(ptr::null()), InvalidArgument, "path is NULL");
        refused(file(c"no such file".as_ptr()), Io, "no such file");
        let status = bnn_session_detect_encoded(session.0, data, 12, place, 1, number);
        refused(status, InvalidImage, "unknown kind");
        let mut class = blank();
        let status =
            bnn_session_classify_pixels(session.0, data, 12, 2, 2, &raw mut class, 1, number);
        refused(status, Unsupported, "finds objects");
        assert_eq!(count, 0);
        assert_eq!(pixels(session.0, 2, place, number), bnn_status::Ok);
    }
}
