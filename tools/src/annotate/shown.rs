//! A picture in a size in which it can be looked at.

use bnn::{
    program::Interpolation,
    vision::{self, Image},
};
use image::{Rgb, RgbImage};

/// Pixels of the longer side: what has more is shrunk to so many, and what has at most half of the
/// least number is enlarged.
const MOST: u32 = 1600;
const LEAST: u32 = 480;

/// The picture itself, each pixel as a square of several, so that small ones stay what they are, or,
/// if it is large, shrunk with averaging. Its shape is kept as far as whole pixels allow.
pub(super) fn shown(image: &Image) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let longer = width.max(height);
    if longer > MOST {
        let shrunk = |side: u32| {
            let part = f64::from(side) * f64::from(MOST) / f64::from(longer);
            (part.round() as u32).max(1)
        };
        let small = vision::resize(image, shrunk(width), shrunk(height), Interpolation::Bilinear);
        return unchanged(&small);
    }
    match LEAST / longer {
        0 | 1 => unchanged(image),
        factor => RgbImage::from_fn(width * factor, height * factor, |x, y| {
            pixel(image, x / factor, y / factor)
        }),
    }
}

fn unchanged(image: &Image) -> RgbImage {
    RgbImage::from_raw(image.width(), image.height(), image.pixels().to_vec())
        .expect("three bytes for each pixel")
}

fn pixel(image: &Image, x: u32, y: u32) -> Rgb<u8> {
    let index = y as usize * image.width() as usize + x as usize;
    Rgb(image.pixels().as_chunks().0[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripes(width: u32, height: u32) -> Image {
        let count = width as usize * height as usize;
        let pixels = (0..count).flat_map(|i| if i % 2 == 0 { [0, 0, 0] } else { [200, 100, 50] });
        Image::new(width, height, pixels.collect()).unwrap()
    }

    #[test]
    fn small_pictures_are_enlarged_by_whole_pixels() {
        let picture = shown(&stripes(32, 20));
        assert_eq!(picture.dimensions(), (480, 300));
        for (x, y, pixel) in picture.enumerate_pixels() {
            let expected = if (x / 15) % 2 == 0 { [0, 0, 0] } else { [200, 100, 50] };
            assert_eq!(pixel.0, expected, "{x}, {y}");
        }
        assert_eq!(shown(&stripes(1, 1)).dimensions(), (480, 480));
    }

    #[test]
    fn pictures_in_between_stay_as_they_are() {
        for (width, height) in [(241, 3), (480, 480), (1600, 1), (640, 1600)] {
            let image = stripes(width, height);
            let picture = shown(&image);
            assert_eq!(picture.dimensions(), (width, height));
            assert_eq!(picture.into_raw(), image.pixels());
        }
    }

    #[test]
    fn large_pictures_are_averaged() {
        let picture = shown(&stripes(6400, 4));
        assert_eq!(picture.dimensions(), (1600, 1));
        let middle = picture.get_pixel(800, 0).0;
        assert!((95..=105).contains(&middle[0]) && (48..=52).contains(&middle[1]), "{middle:?}");
        assert_eq!(shown(&stripes(1, 16384)).dimensions(), (1, 1600));
        assert_eq!(shown(&stripes(1601, 160)).dimensions(), (1600, 160));
    }
}
