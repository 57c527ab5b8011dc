//! A picture with what was found on it: bars for the likeliest classes beside it, or boxes on it.

mod boxes;
mod palette;
mod panel;
mod shown;
mod target;

pub use boxes::with_boxes;
pub use panel::{Row, with_classes};
pub use target::Target;

use image::Rgb;

/// What a panel lies on, and what surrounds pictures that are too small for their labels.
const PAPER: Rgb<u8> = Rgb([255; 3]);

/// Letters, and what matters less.
const INK: Rgb<u8> = Rgb([0x1c, 0x1e, 0x21]);
const QUIET: Rgb<u8> = Rgb([0x5c, 0x63, 0x70]);
