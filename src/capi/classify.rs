//! Classifying pictures
//!
//! Resizing, cropping and normalisation are done as the model file says. Answers are written to an array
//! of the caller, most probable class first.

use std::{ffi::c_char, path::Path};

use super::{
    answer::Answer,
    error::{Failure, bnn_status, guard},
    model::bnn_model,
    pointers,
    session::bnn_session,
};
use crate::{
    Error, RunError,
    vision::{self, Image},
};

/// A class that a picture may belong to.
#[repr(C)]
pub struct bnn_prediction {
    /// Position of the class in the output of the network.
    pub index: usize,
    /// Name of the class, UTF-8, or NULL. It lives as long as the model or any session of it.
    pub label: *const c_char,
    /// Probability, 0 to 1.
    pub probability: f32,
}

/// Classifies a picture file (PNG, JPEG, WebP, BMP or GIF) of any size. On Unix `path` may be any bytes,
/// elsewhere it is UTF-8.
///
/// At most `capacity` predictions are written; `*count` says how many, 0 on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_classify_file(
    session: *mut bnn_session,
    path: *const c_char,
    predictions: *mut bnn_prediction,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, a text, room for `capacity`
        // predictions and room for their number, or null.
        unsafe {
            let answer = Answer::new(predictions, capacity, count, "predictions")?;
            let path: &Path = pointers::path(path)?;
            let session = pointers::share(session.cast_const(), "session")?;
            classify(&session, answer, || Ok(vision::decode_file(path).map_err(Error::from)?))
        }
    })
}

/// Classifies a picture file that is in memory, `length` bytes at `bytes`, as
/// bnn_session_classify_file() does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_classify_encoded(
    session: *mut bnn_session,
    bytes: *const u8,
    length: usize,
    predictions: *mut bnn_prediction,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, `length` bytes, room for
        // `capacity` predictions and room for their number, or null.
        unsafe {
            let answer = Answer::new(predictions, capacity, count, "predictions")?;
            let bytes = pointers::slice(bytes, length, "bytes")?;
            let session = pointers::share(session.cast_const(), "session")?;
            classify(&session, answer, || Ok(vision::decode(bytes).map_err(Error::from)?))
        }
    })
}

/// Classifies a picture of any size given as pixels: rows from the top, each pixel three bytes red,
/// green, blue, without gaps, `length` = 3 * width * height bytes in all. Gray networks make it gray.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_classify_pixels(
    session: *mut bnn_session,
    pixels: *const u8,
    length: usize,
    width: u32,
    height: u32,
    predictions: *mut bnn_prediction,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, `length` bytes, room for
        // `capacity` predictions and room for their number, or null.
        unsafe {
            let answer = Answer::new(predictions, capacity, count, "predictions")?;
            let pixels = pointers::slice(pixels, length, "pixels")?;
            let session = pointers::share(session.cast_const(), "session")?;
            classify(&session, answer, || image(pixels, width, height))
        }
    })
}

/// Ranks the output of a network for one image, as it came from bnn_session_run() and the like, `length`
/// values at `output`: the most probable classes and their probabilities.
///
/// At most `capacity` predictions are written; `*count` says how many, 0 on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_rank(
    model: *const bnn_model,
    output: *const f32,
    length: usize,
    predictions: *mut bnn_prediction,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a model that has not been freed, `length` values, room for
        // `capacity` predictions and room for their number, or null.
        let (answer, output, model) = unsafe {
            let answer = Answer::new(predictions, capacity, count, "predictions")?;
            let output = pointers::slice(output, length, "output")?;
            (answer, output, pointers::share(model, "model")?)
        };
        let [port] = model.model.outputs() else {
            return Err(Failure::new(
                bnn_status::Unsupported,
                format!(
                    "ranking needs a network of one output, this one has {}",
                    model.model.outputs().len()
                ),
            ));
        };
        let expected = port.elements();
        if length != expected {
            return Err(Failure::new(
                bnn_status::WrongLength,
                format!("output has {length} values, expected {expected}: those of one image"),
            ));
        }
        write(answer, &model, output);
        Ok(())
    })
}

/// A copy of the pixels. Sizes are compared before memory is asked for, and an allocator that refuses is
/// no reason to abort.
pub(super) fn image(pixels: &[u8], width: u32, height: u32) -> Result<Image, Failure> {
    let expected = u64::from(width) * u64::from(height);
    if expected == 0 || expected.checked_mul(3) != Some(pixels.len() as u64) {
        let found = pixels.len();
        return Err(Error::from(vision::ImageError::PixelCount { found, width, height }).into());
    }
    let mut copy = Vec::new();
    copy.try_reserve_exact(pixels.len()).map_err(|_| {
        Failure::new(
            bnn_status::OutOfResources,
            format!("cannot allocate {} bytes for the pixels", pixels.len()),
        )
    })?;
    copy.extend_from_slice(pixels);
    Ok(Image::new(width, height, copy).map_err(Error::from)?)
}

/// Writes the most probable classes of one image.
fn write(answer: Answer<'_, bnn_prediction>, model: &bnn_model, output: &[f32]) {
    let top = model.model.predictions(output, answer.capacity());
    answer.write(top.into_iter().map(|prediction| bnn_prediction {
        index: prediction.index,
        label: model.label(prediction.index),
        probability: prediction.probability,
    }));
}

/// Preprocesses, runs and ranks. The session is asked first, the picture made after.
fn classify(
    session: &bnn_session,
    answer: Answer<'_, bnn_prediction>,
    image: impl FnOnce() -> Result<Image, Failure>,
) -> Result<(), Failure> {
    let mut state = session.work()?;
    if session.model.model.detector().is_some() {
        return Err(Error::from(RunError::NotAClassifier).into());
    }
    let input = session.model.model.preprocess(&image()?)?;
    let output = state.session.run(&input)?;
    write(answer, &session.model, &output);
    Ok(())
}
