//! Running tensors
//!
//! Values go in and come out in the layout of the original network, images of a batch one after the
//! other, in buffers of the caller. A length counts the values of a whole buffer and must be exactly
//! what the batch needs: batch times the elements of one image. Buffers for output must not overlap each
//! other or any input. When a call fails, the contents of its outputs are unspecified.

use std::ops::Range;

use super::{
    error::{Failure, bnn_status, guard},
    model::no_pictures,
    pointers,
    session::bnn_session,
};
use crate::{
    program::Port,
    vision::{self, InputLayout},
};

/// Values for one input.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bnn_input {
    /// The values.
    pub data: *const f32,
    /// Their number.
    pub length: usize,
}

/// Room for the values of one output.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bnn_output {
    /// Where the values go.
    pub data: *mut f32,
    /// Their number.
    pub length: usize,
}

/// Runs a network of one input and one output on `batch` images.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_run(
    session: *mut bnn_session,
    input: *const f32,
    input_length: usize,
    output: *mut f32,
    output_length: usize,
    batch: usize,
) -> bnn_status {
    guard(|| {
        let inputs = [bnn_input { data: input, length: input_length }];
        let outputs = [bnn_output { data: output, length: output_length }];
        // SAFETY: the caller hands over a session that has not been freed and buffers of the lengths
        // given, or null.
        unsafe {
            let session = pointers::share(session.cast_const(), "session")?;
            one_to_one(&session)?;
            run(&session, &inputs, &outputs, batch)
        }
    })
}

/// Runs a network of one input and one output on `batch` pictures of bytes that have the size of its input:
/// nothing is resized. Pixels stand in rows from the top, without gaps, pictures one after the other;
/// bnn_model_picture() tells size and channels. They are normalised as the model file says.
///
/// `pixels_length` is the number of bytes: batch * height * width * channels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_run_pixels(
    session: *mut bnn_session,
    pixels: *const u8,
    pixels_length: usize,
    output: *mut f32,
    output_length: usize,
    batch: usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed, or null.
        let session = unsafe { pointers::share(session.cast_const(), "session") }?;
        one_to_one(&session)?;
        let model = &session.model.model;
        let (input, preprocessing) = (&model.inputs()[0], model.preprocessing());
        let preprocessing = preprocessing.ok_or_else(no_pictures)?;
        let (_, channels_first) =
            InputLayout::from_shape(&input.shape, preprocessing.channel_count())
                .ok_or_else(no_pictures)?;
        check_length("pixels", &input.shape, input.elements(), pixels_length, batch)?;
        check_port(&model.outputs()[0], output_length, batch)?;
        check_overlap(
            &[address(output, output_length, "output")?],
            &[address(pixels, pixels_length, "pixels")?],
        )?;
        // SAFETY: the caller hands over buffers of the lengths given, which do not overlap, or null.
        let (pixels, output) = unsafe {
            let pixels = pointers::slice(pixels, pixels_length, "pixels")?;
            (pixels, pointers::slice_mut(output, output_length, "output")?)
        };

        let mut state = session.work()?;
        let state = &mut *state;
        // The room is kept for the next call.
        state.values.clear();
        state.values.try_reserve_exact(pixels.len()).map_err(|_| {
            Failure::new(
                bnn_status::OutOfResources,
                format!("cannot allocate {} values for the normalised pixels", pixels.len()),
            )
        })?;
        state.values.resize(pixels.len(), 0.0);
        let image = input.elements();
        for (pixels, values) in pixels.chunks_exact(image).zip(state.values.chunks_exact_mut(image))
        {
            // As in `Model::preprocess`, whatever rounding the caller has set.
            let _environment = bnn_kernels::DefaultFloatEnvironment::enter();
            vision::normalise(pixels, preprocessing, channels_first, values);
        }
        Ok(state.session.run_into(&[&state.values], &mut [output])?)
    })
}

/// Runs any network on `batch` images: `inputs` and `outputs` have one entry for each input and output of
/// the network, in their order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_run_tensors(
    session: *mut bnn_session,
    inputs: *const bnn_input,
    input_count: usize,
    outputs: *const bnn_output,
    output_count: usize,
    batch: usize,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a session that has not been freed and arrays of the lengths
        // given, whose entries are buffers of the lengths that they state, or null.
        unsafe {
            let session = pointers::share(session.cast_const(), "session")?;
            let model = &session.model.model;
            for (found, expected, kind) in [
                (input_count, model.inputs().len(), "inputs"),
                (output_count, model.outputs().len(), "outputs"),
            ] {
                if found != expected {
                    return Err(Failure::new(
                        bnn_status::WrongLength,
                        format!("{found} {kind} given, the network has {expected}"),
                    ));
                }
            }
            let inputs = pointers::slice(inputs, input_count, "inputs")?;
            let outputs = pointers::slice(outputs, output_count, "outputs")?;
            run(&session, inputs, outputs, batch)
        }
    })
}

/// Runs a network that has as many inputs and outputs as there are buffers.
///
/// # Safety
/// Every buffer is null or has the length that it states.
unsafe fn run(
    session: &bnn_session,
    inputs: &[bnn_input],
    outputs: &[bnn_output],
    batch: usize,
) -> Result<(), Failure> {
    let model = &session.model.model;
    for (port, input) in model.inputs().iter().zip(inputs) {
        check_port(port, input.length, batch)?;
    }
    for (port, output) in model.outputs().iter().zip(outputs) {
        check_port(port, output.length, batch)?;
    }
    let read = inputs
        .iter()
        .map(|input| address(input.data, input.length, "input"))
        .collect::<Result<Vec<_>, _>>()?;
    let written = outputs
        .iter()
        .map(|output| address(output.data, output.length, "output"))
        .collect::<Result<Vec<_>, _>>()?;
    check_overlap(&written, &read)?;
    // SAFETY: as the caller says, and the buffers that are written overlap no other.
    let (inputs, mut outputs) = unsafe {
        let inputs = inputs
            .iter()
            .map(|input| pointers::slice(input.data, input.length, "input"))
            .collect::<Result<Vec<_>, _>>()?;
        let outputs = outputs
            .iter()
            .map(|output| pointers::slice_mut(output.data, output.length, "output"))
            .collect::<Result<Vec<_>, _>>()?;
        (inputs, outputs)
    };
    Ok(session.work()?.session.run_into(&inputs, &mut outputs)?)
}

fn one_to_one(session: &bnn_session) -> Result<(), Failure> {
    let model = &session.model.model;
    match (model.inputs().len(), model.outputs().len()) {
        (1, 1) => Ok(()),
        (inputs, outputs) => {
            Err(crate::Error::from(crate::RunError::NotOneToOne { inputs, outputs }).into())
        }
    }
}

fn check_port(port: &Port, found: usize, batch: usize) -> Result<(), Failure> {
    check_length(&port.name, &port.shape, port.elements(), found, batch)
}

fn check_length(
    name: &str,
    shape: &[usize],
    elements: usize,
    found: usize,
    batch: usize,
) -> Result<(), Failure> {
    if batch == 0 {
        return Err(Failure::argument("batch is 0, expected at least one image"));
    }
    let expected = elements.checked_mul(batch);
    if expected != Some(found) {
        let expected = expected.map_or_else(|| "more than memory".into(), |n| n.to_string());
        return Err(Failure::new(
            bnn_status::WrongLength,
            format!(
                "'{name}' has {found} values, expected {expected} for {batch} images of shape {shape:?}"
            ),
        ));
    }
    Ok(())
}

/// The addresses that a buffer takes.
fn address<T>(data: *const T, length: usize, name: &str) -> Result<Range<usize>, Failure> {
    let start = data.addr();
    length
        .checked_mul(size_of::<T>())
        .and_then(|bytes| start.checked_add(bytes))
        .map(|end| start..end)
        .ok_or_else(|| Failure::argument(format!("{name} reaches beyond the last address")))
}

/// Each buffer in `written` must be apart from the others there and from all in `read`.
fn check_overlap(written: &[Range<usize>], read: &[Range<usize>]) -> Result<(), Failure> {
    for (index, output) in written.iter().enumerate() {
        let others = written[..index].iter().chain(read);
        if others.into_iter().any(|other| output.start < other.end && other.start < output.end) {
            return Err(Failure::argument(format!(
                "output {index} overlaps an input or another output"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_touch_are_fine_and_those_that_overlap_are_not() {
        assert!(check_overlap(&[8..16, 0..8], &[16..24, 16..24]).is_ok());
        for (written, read) in [
            ([8..16, 20..24], [15..17, 0..0]),
            ([8..16, 20..24], [0..9, 30..31]),
            ([0..8, 4..5], [9..10, 11..12]),
        ] {
            let failure = check_overlap(&written, &read).unwrap_err();
            assert_eq!(failure.status, bnn_status::InvalidArgument);
        }
    }

    #[test]
    fn lengths_are_those_of_the_batch() {
        let check = |found, batch| {
            check_length("x", &[3], 3, found, batch).err().map(|failure| failure.status)
        };
        assert_eq!(check(6, 2), None);
        assert_eq!(check(7, 2), Some(bnn_status::WrongLength));
        assert_eq!(check(0, 0), Some(bnn_status::InvalidArgument));
        assert_eq!(check(usize::MAX - 1, usize::MAX), Some(bnn_status::WrongLength));
    }
}
