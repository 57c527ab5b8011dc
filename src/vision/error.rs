//! What can be wrong with a picture.

use thiserror::Error;

/// Why a picture cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The picture in a file is broken or not supported.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<ImageError>,
    },
    /// There is nothing to decode.
    #[error("empty, expected a PNG, JPEG, WebP, BMP or GIF picture")]
    Empty,
    /// The content is none of the formats.
    #[error("unknown kind of file, expected a PNG, JPEG, WebP, BMP or GIF picture")]
    UnknownFormat,
    /// The picture is larger than the limits.
    #[error(
        "{format} picture of {width}x{height}, expected at most {max_side} pixels a side and \
         {max_bytes} bytes decoded"
    )]
    TooLarge {
        /// Name of the file format.
        format: &'static str,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Largest width or height.
        max_side: u32,
        /// Most bytes of a decoded picture.
        max_bytes: u64,
    },
    /// The decoder gave up.
    #[error("broken or unsupported {format} picture: {reason}")]
    Decode {
        /// Name of the file format.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// Pixels and size of an [`Image`](super::Image) do not agree.
    #[error("{found} bytes of pixels, expected {width} x {height} x 3")]
    PixelCount {
        /// Bytes there are.
        found: usize,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}
