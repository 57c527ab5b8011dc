//! From a picture file to the input of a network, and from its scores to an answer.
//!
//! Pixels are what Pillow would give, to the bit: the accuracy of a network is measured with the
//! preprocessing it was trained with, and another resampling filter costs points.

mod decode;
mod detect;
mod error;
mod image;
mod preprocess;
mod resize;
mod scores;

pub use decode::{decode, decode_file};
pub(crate) use detect::boxes;
pub use error::ImageError;
pub use image::Image;
pub use preprocess::{InputLayout, Placement, PreprocessError, normalise, preprocess};
pub use resize::resize;
pub use scores::{softmax, top_k};
