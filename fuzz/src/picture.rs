//! Pictures: the first two bytes choose the preprocessing, the others are the file.

use bnn::{
    program::{ChannelOrder, Interpolation, Preprocessing, Resize, ResizeRounding},
    vision::{InputLayout, decode, normalise, preprocess},
};
use std::io::Cursor;

/// Most pixels of a picture that is decoded: larger ones take longer than a fuzzer has, and nothing that
/// smaller ones do not show.
const MOST_PIXELS: u64 = 1 << 18;

/// Decodes the picture and makes an input of it.
///
/// # Panics
/// If anything is wrong with the library.
pub fn check(data: &[u8]) {
    let [first, second, file @ ..] = data else { return };
    let size = ::image::ImageReader::new(Cursor::new(file)).with_guessed_format();
    if let Some((width, height)) = size.ok().and_then(|reader| reader.into_dimensions().ok())
        && u64::from(width) * u64::from(height) > MOST_PIXELS
    {
        return;
    }
    let Ok(image) = decode(file) else { return };
    assert_eq!(
        image.pixels().len() as u64,
        u64::from(image.width()) * u64::from(image.height()) * 3
    );

    let side = u32::from(second >> 4) * 5 + 1;
    let resize = match first & 3 {
        0 => None,
        1 => Some(Resize::Shorter(side)),
        2 => Some(Resize::Exact { width: side, height: 76 - side }),
        _ => Some(Resize::Exact { width: 1, height: side * side }),
    };
    let crop = (first & 4 != 0).then(|| [u32::from(second & 15) + 1, u32::from(second & 7) + 1]);
    let channels =
        [ChannelOrder::Rgb, ChannelOrder::Bgr, ChannelOrder::Gray][usize::from(first >> 6) % 3];
    let preprocessing = Preprocessing {
        resize,
        crop,
        interpolation: [Interpolation::Bilinear, Interpolation::Bicubic, Interpolation::Nearest]
            [usize::from(first >> 4 & 3) % 3],
        rounding: if first & 8 == 0 { ResizeRounding::Floor } else { ResizeRounding::Round },
        channels,
        range: if second & 8 == 0 { 1.0 } else { 255.0 },
        mean: vec![0.5],
        std: vec![0.25],
    };
    let [width, height] = match (crop, resize) {
        (Some([width, height]), _) => [width, height],
        (None, Some(Resize::Exact { width, height })) => [width, height],
        (None, _) => [side, side],
    };
    let channels = preprocessing.channel_count();
    let input = InputLayout { channels, height: height as usize, width: width as usize };
    let Ok(pixels) = preprocess(&image, &preprocessing, input) else { return };
    assert_eq!(pixels.len(), input.height * input.width * input.channels);
    let mut values = vec![f32::NAN; pixels.len()];
    normalise(&pixels, &preprocessing, second & 1 == 0, &mut values);
    assert!(values.iter().all(|value| value.is_finite()));
}
