//! Picture files to pixels.

use std::fs;
use std::io::Cursor;
use std::panic;
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{Image, ImageError};

/// Largest width or height.
const MAX_SIDE: u32 = 16384;

/// Most bytes of a decoded picture, in the depth of the file.
const MAX_BYTES: u64 = 256 << 20;

/// Decodes a PNG, JPEG, WebP, BMP or GIF picture; its content tells which. Of animations, the
/// first frame counts.
///
/// Everything becomes 8-bit RGB the way Pillow does it: gray is repeated, palettes and CMYK are
/// converted, alpha is dropped (not blended), and of 16 bits the higher eight are kept. An EXIF
/// orientation is applied.
///
/// # Errors
/// An [`ImageError`]: nothing known, broken, not supported, or larger than 16384 pixels a side or
/// 256 MiB decoded. No input makes this panic.
pub fn decode(bytes: &[u8]) -> Result<Image, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = ::image::guess_format(bytes)
        .ok()
        .and_then(|format| format_name(format).map(|name| (format, name)));
    let Some((format, name)) = format else {
        return Err(ImageError::UnknownFormat);
    };
    // The decoders are not ours; one that trips over a file is no reason to fall with it. All that it was working on goes.
    panic::catch_unwind(|| decode_as(format, name, bytes)).unwrap_or_else(|_| {
        let reason = "the decoder cannot cope with it".to_owned();
        Err(ImageError::Decode { format: name, reason })
    })
}

/// Decodes a picture of a known format.
fn decode_as(format: ImageFormat, name: &'static str, bytes: &[u8]) -> Result<Image, ImageError> {
    let fail =
        |error: ::image::ImageError| ImageError::Decode { format: name, reason: reason(&error) };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(2 * MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;

    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || decoder.total_bytes() > MAX_BYTES {
        return Err(ImageError::TooLarge {
            format: name,
            width,
            height,
            max_side: MAX_SIDE,
            max_bytes: MAX_BYTES,
        });
    }
    // Broken EXIF data is no reason to refuse the picture.
    let orientation = if format != ImageFormat::WebP || webp_chunks_fit(bytes) {
        decoder.orientation().ok()
    } else {
        None
    };
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    picture = DynamicImage::ImageRgb8(to_rgb(picture));
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    let picture = picture.into_rgb8();
    Image::new(picture.width(), picture.height(), picture.into_raw())
}

/// Decodes a picture file as [`decode`] does.
///
/// # Errors
/// As [`decode`], with the path, and [`ImageError::Io`].
pub fn decode_file(path: impl AsRef<Path>) -> Result<Image, ImageError> {
    let path = path.as_ref();
    let name = || path.display().to_string();
    let bytes = fs::read(path).map_err(|source| ImageError::Io { path: name(), source })?;
    decode(&bytes).map_err(|error| ImageError::File { path: name(), source: Box::new(error) })
}

/// Whether all chunks of a WebP file end within it. The decoder believes the length of metadata, and takes
/// that much memory before it looks whether they are there.
fn webp_chunks_fit(file: &[u8]) -> bool {
    let mut chunks = file.get(12..).unwrap_or_default();
    // The padding of a chunk of odd length may be missing at the end.
    while let Some((header, rest)) = chunks.split_at_checked(8) {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let length = length as usize;
        if length > rest.len() {
            return false;
        }
        chunks = rest.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    true
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        _ => None,
    }
}

/// What the decoder says, in one line.
fn reason(error: &::image::ImageError) -> String {
    error.to_string().replace(['\n', '\r'], " ")
}

/// Drops alpha and the lower half of 16 bits.
fn to_rgb(picture: DynamicImage) -> ::image::RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let high = |value: u16| (value >> 8) as u8;
    let pixels: Vec<u8> = match picture {
        DynamicImage::ImageRgb8(picture) => picture.into_raw(),
        DynamicImage::ImageLuma8(picture) => picture.iter().flat_map(|&y| [y; 3]).collect(),
        DynamicImage::ImageLumaA8(picture) => picture.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageRgba8(picture) => {
            picture.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect()
        }
        DynamicImage::ImageLuma16(picture) => picture.iter().flat_map(|&y| [high(y); 3]).collect(),
        DynamicImage::ImageLumaA16(picture) => {
            picture.pixels().flat_map(|p| [high(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(picture) => picture.iter().map(|&value| high(value)).collect(),
        DynamicImage::ImageRgba16(picture) => {
            picture.pixels().flat_map(|p| [high(p.0[0]), high(p.0[1]), high(p.0[2])]).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    ::image::RgbImage::from_raw(width, height, pixels).expect("three bytes for each pixel")
}
