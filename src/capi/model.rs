//! Models
//!
//! A bnn_model is a network read from a .bnn file: what goes in, what comes out, what the classes are
//! called. It never changes; any number of threads may use it at once.

use std::{
    ffi::{CString, c_char},
    ptr,
};

use super::{
    error::{Failure, bnn_status, c_string, guard},
    pointers,
};
use crate::{
    Model,
    program::{ChannelOrder, Port},
    vision::InputLayout,
};

/// A network, ready to make sessions of.
pub struct bnn_model {
    pub(super) model: Model,
    labels: Vec<CString>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// One input or output, its name as C callers read it.
struct Tensor {
    name: CString,
    shape: Vec<usize>,
    elements: usize,
}

impl Tensor {
    fn of(ports: &[Port]) -> Vec<Self> {
        let tensor = |port: &Port| Self {
            name: c_string(&port.name),
            shape: port.shape.clone(),
            elements: port.elements(),
        };
        ports.iter().map(tensor).collect()
    }
}

impl bnn_model {
    fn new(model: Model) -> Self {
        Self {
            labels: model.labels().iter().map(|label| c_string(label)).collect(),
            inputs: Tensor::of(model.inputs()),
            outputs: Tensor::of(model.outputs()),
            model,
        }
    }

    /// The name of a class; null if it has none.
    pub(super) fn label(&self, index: usize) -> *const c_char {
        self.labels.get(index).map_or(ptr::null(), |label| label.as_ptr())
    }

    /// The pixels that the network takes; nothing if it takes no pictures.
    pub(super) fn picture(&self) -> Option<bnn_picture> {
        let ([input], Some(preprocessing)) = (self.model.inputs(), self.model.preprocessing())
        else {
            return None;
        };
        if self.model.outputs().len() != 1 && self.model.detector().is_none() {
            return None;
        }
        let (layout, _) = InputLayout::from_shape(&input.shape, preprocessing.channel_count())?;
        let order = match preprocessing.channels {
            ChannelOrder::Rgb => bnn_channel_order::Rgb,
            ChannelOrder::Bgr => bnn_channel_order::Bgr,
            ChannelOrder::Gray => bnn_channel_order::Gray,
        };
        let InputLayout { width, height, channels } = layout;
        Some(bnn_picture { width, height, channels, order })
    }
}

/// An input or output of a network. What it points to belongs to the model.
#[repr(C)]
pub struct bnn_tensor {
    /// Its name in the original network, UTF-8.
    pub name: *const c_char,
    /// The dimensions of one image (the batch is not among them), in the layout of the original
    /// network: often channels, height, width.
    pub shape: *const usize,
    /// Number of dimensions.
    pub rank: usize,
    /// Number of values for one image: the product of the dimensions.
    pub elements: usize,
}

/// Order of the channels of a pixel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum bnn_channel_order {
    /// Red, green, blue.
    Rgb = 0,
    /// Blue, green, red.
    Bgr = 1,
    /// One channel: luminance.
    Gray = 2,
}

/// The picture that a network takes, after resizing and cropping.
#[repr(C)]
pub struct bnn_picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes of a pixel: 1 or 3.
    pub channels: usize,
    /// Order of these bytes.
    pub order: bnn_channel_order,
}

/// Reads and checks a .bnn file. On Unix `path` may be any bytes, elsewhere it is UTF-8.
///
/// `*model` becomes the model, or NULL on failure. Free it with bnn_model_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_open(
    path: *const c_char,
    model: *mut *mut bnn_model,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a text and room for a pointer, or null.
        let (path, model) = unsafe {
            let model = pointers::place(model, "model")?;
            model.write(ptr::null_mut());
            (pointers::path(path)?, model)
        };
        model.write(pointers::hand_out(bnn_model::new(Model::open(path)?)));
        Ok(())
    })
}

/// Checks a .bnn file that is in memory, `length` bytes at `bytes`, which may lie at any address. They
/// are not needed after the call.
///
/// `*model` becomes the model, or NULL on failure. Free it with bnn_model_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_from_memory(
    bytes: *const u8,
    length: usize,
    model: *mut *mut bnn_model,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over `length` bytes and room for a pointer, or null.
        let (bytes, model) = unsafe {
            let model = pointers::place(model, "model")?;
            model.write(ptr::null_mut());
            (pointers::slice(bytes, length, "bytes")?, model)
        };
        model.write(pointers::hand_out(bnn_model::new(Model::from_bytes(bytes)?)));
        Ok(())
    })
}

/// Frees a model; NULL is fine. Sessions that were made of it keep working.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_free(model: *mut bnn_model) {
    // SAFETY: the caller hands over a model that has not been freed, or null.
    unsafe { pointers::free(model) }
}

/// Number of classes that have names; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_label_count(model: *const bnn_model) -> usize {
    // SAFETY: the caller hands over a model that has not been freed, or null.
    unsafe { pointers::peek(model) }.map_or(0, |model| model.labels.len())
}

/// Name of a class, UTF-8; NULL if there is none. It belongs to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_label(model: *const bnn_model, index: usize) -> *const c_char {
    // SAFETY: the caller hands over a model that has not been freed, or null.
    unsafe { pointers::peek(model) }.map_or(ptr::null(), |model| model.label(index))
}

/// Number of inputs; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_input_count(model: *const bnn_model) -> usize {
    // SAFETY: the caller hands over a model that has not been freed, or null.
    unsafe { pointers::peek(model) }.map_or(0, |model| model.inputs.len())
}

/// Number of outputs; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_output_count(model: *const bnn_model) -> usize {
    // SAFETY: the caller hands over a model that has not been freed, or null.
    unsafe { pointers::peek(model) }.map_or(0, |model| model.outputs.len())
}

/// Describes an input, counted from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_input(
    model: *const bnn_model,
    index: usize,
    tensor: *mut bnn_tensor,
) -> bnn_status {
    // SAFETY: the caller hands over a model that has not been freed and room for a result, or null.
    guard(|| unsafe { describe(model, |model| &model.inputs, index, tensor, "input") })
}

/// Describes an output, counted from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_output(
    model: *const bnn_model,
    index: usize,
    tensor: *mut bnn_tensor,
) -> bnn_status {
    // SAFETY: the caller hands over a model that has not been freed and room for a result, or null.
    guard(|| unsafe { describe(model, |model| &model.outputs, index, tensor, "output") })
}

/// Says which pixels bnn_session_run_pixels() takes. BNN_STATUS_UNSUPPORTED if the network takes no
/// pictures: the file says nothing about preprocessing, or the network has not one input and one output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_model_picture(
    model: *const bnn_model,
    picture: *mut bnn_picture,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a model that has not been freed and room for a result, or null.
        let (model, place) =
            unsafe { (pointers::share(model, "model")?, pointers::place(picture, "picture")?) };
        place.write(model.picture().ok_or_else(no_pictures)?);
        Ok(())
    })
}

pub(super) fn no_pictures() -> Failure {
    Failure::new(
        bnn_status::Unsupported,
        "the model takes no pictures (preprocessing, and one input and output, are needed)",
    )
}

/// # Safety
/// The model is null or has not been freed; `place` is null or room for a result.
unsafe fn describe(
    model: *const bnn_model,
    tensors: fn(&bnn_model) -> &[Tensor],
    index: usize,
    place: *mut bnn_tensor,
    kind: &str,
) -> Result<(), Failure> {
    // SAFETY: as the caller says.
    let (model, place) =
        unsafe { (pointers::share(model, "model")?, pointers::place(place, "tensor")?) };
    let tensors = tensors(&model);
    let tensor = tensors.get(index).ok_or_else(|| {
        Failure::argument(format!(
            "there is no {kind} {index}, the network has {} (counted from 0)",
            tensors.len()
        ))
    })?;
    place.write(bnn_tensor {
        name: tensor.name.as_ptr(),
        shape: tensor.shape.as_ptr(),
        rank: tensor.shape.len(),
        elements: tensor.elements,
    });
    Ok(())
}
