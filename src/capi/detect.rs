//! Finding objects
//!
//! Networks that find objects (docs/detection.md) answer with boxes, best first, in pixels of the picture as it
//! was given. Everything else is as for classes.

use std::{ffi::c_char, path::Path};

use super::{
    answer::Answer,
    classify::image,
    error::{Failure, bnn_status, guard},
    model::bnn_model,
    pointers,
    session::bnn_session,
};
use crate::{
    Error,
    vision::{self, Image},
};

/// An object in a picture. Sides are counted in pixels from the left upper corner of the picture; a box may
/// reach beyond it.
#[repr(C)]
pub struct bnn_detection {
    /// Position of the class among the labels.
    pub index: usize,
    /// Name of the class, UTF-8, or NULL. It lives as long as the model or any session of it.
    pub label: *const c_char,
    /// Probability of the class, 0 to 1.
    pub score: f32,
    /// Left side.
    pub xmin: f32,
    /// Upper side.
    pub ymin: f32,
    /// Right side.
    pub xmax: f32,
    /// Lower side.
    pub ymax: f32,
}

/// The most boxes that the network gives for a picture: room for so many is always enough. 0 if it finds
/// no objects, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_box_count(model: *const bnn_model) -> usize {
    // SAFETY: the caller hands over a model that has not been freed, or null.
    let model = unsafe { pointers::peek(model) };
    let detector = model.and_then(|model| model.model.detector());
    detector.map_or(0, |detector| detector.boxes.min(detector.candidates) as usize)
}

/// Finds the objects in a picture file (PNG, JPEG, WebP, BMP or GIF) of any size. On Unix `path` may be any
/// bytes, elsewhere it is UTF-8.
///
/// At most `capacity` boxes are written; `*count` says how many, 0 on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_detect_file(
    session: *mut bnn_session,
    path: *const c_char,
    detections: *mut bnn_detection,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, a text, room for `capacity`
        // detections and room for their number, or null.
        unsafe {
            let answer = Answer::new(detections, capacity, count, "detections")?;
            let path: &Path = pointers::path(path)?;
            let session = pointers::share(session.cast_const(), "session")?;
            detect(&session, answer, || Ok(vision::decode_file(path).map_err(Error::from)?))
        }
    })
}

/// Finds the objects in a picture file that is in memory, `length` bytes at `bytes`, as
/// bnn_session_detect_file() does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_detect_encoded(
    session: *mut bnn_session,
    bytes: *const u8,
    length: usize,
    detections: *mut bnn_detection,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, `length` bytes, room for `capacity`
        // detections and room for their number, or null.
        unsafe {
            let answer = Answer::new(detections, capacity, count, "detections")?;
            let bytes = pointers::slice(bytes, length, "bytes")?;
            let session = pointers::share(session.cast_const(), "session")?;
            detect(&session, answer, || Ok(vision::decode(bytes).map_err(Error::from)?))
        }
    })
}

/// Finds the objects in a picture of any size given as pixels, as bnn_session_classify_pixels() takes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_detect_pixels(
    session: *mut bnn_session,
    pixels: *const u8,
    length: usize,
    width: u32,
    height: u32,
    detections: *mut bnn_detection,
    capacity: usize,
    count: *mut usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, `length` bytes, room for `capacity`
        // detections and room for their number, or null.
        unsafe {
            let answer = Answer::new(detections, capacity, count, "detections")?;
            let pixels = pointers::slice(pixels, length, "pixels")?;
            let session = pointers::share(session.cast_const(), "session")?;
            detect(&session, answer, || image(pixels, width, height))
        }
    })
}

/// Runs the network and writes what it finds. The session is asked first, the picture made after.
fn detect(
    session: &bnn_session,
    answer: Answer<'_, bnn_detection>,
    image: impl FnOnce() -> Result<Image, Failure>,
) -> Result<(), Failure> {
    let mut state = session.work()?;
    let found = state.session.detect(&image()?)?;
    answer.write(found.into_iter().map(|found| bnn_detection {
        index: found.index,
        label: session.model.label(found.index),
        score: found.score,
        xmin: found.xmin,
        ymin: found.ymin,
        xmax: found.xmax,
        ymax: found.ymax,
    }));
    Ok(())
}
