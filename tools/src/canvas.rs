//! What all pictures are painted with. Places may lie outside of the picture; what would be painted
//! there is left out.

use crate::{
    exit::{Failure, Result, Status},
    files,
};
use image::{
    ExtendedColorType, ImageEncoder, ImageResult, Rgb, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use std::{io::Cursor, path::Path};

/// Part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub x: i64,
    /// First row.
    pub y: i64,
    /// Columns; none if it is not positive.
    pub width: i64,
    /// Rows; none if it is not positive.
    pub height: i64,
}

impl Area {
    /// An area of that size whose first pixel is `(x, y)`.
    pub fn new((x, y): (i64, i64), (width, height): (i64, i64)) -> Self {
        Self { x, y, width, height }
    }

    /// The column behind the last one.
    pub fn right(self) -> i64 {
        self.x.saturating_add(self.width)
    }

    /// The row below the last one.
    pub fn bottom(self) -> i64 {
        self.y.saturating_add(self.height)
    }

    /// What two areas have in common.
    pub fn common(self, other: Self) -> Self {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let width = self.right().min(other.right()).saturating_sub(x);
        let height = self.bottom().min(other.bottom()).saturating_sub(y);
        Self { x, y, width: width.max(0), height: height.max(0) }
    }

    /// Number of pixels.
    pub fn pixels(self) -> i64 {
        self.width.max(0).saturating_mul(self.height.max(0))
    }

    /// The area that is `by` pixels larger on each side.
    pub fn grown(self, by: i64) -> Self {
        let Self { x, y, width, height } = self;
        Self { x: x - by, y: y - by, width: width + 2 * by, height: height + 2 * by }
    }
}

/// The whole of a picture.
pub fn whole(picture: &RgbImage) -> Area {
    Area::new((0, 0), (i64::from(picture.width()), i64::from(picture.height())))
}

/// Paints an area in one colour.
pub fn fill(picture: &mut RgbImage, area: Area, colour: Rgb<u8>) {
    let area = area.common(whole(picture));
    if area.pixels() == 0 {
        return;
    }
    let stride = picture.width() as usize;
    for y in area.y..area.bottom() {
        let start = y as usize * stride + area.x as usize;
        let row = &mut picture.as_chunks_mut().0[start..start + area.width as usize];
        row.fill(colour.0);
    }
}

/// Paints lines along the inside of an area's edges.
pub fn frame(picture: &mut RgbImage, area: Area, line: i64, colour: Rgb<u8>, opacity: f32) {
    let Area { x, y, width, height } = area;
    let line = line.min(width).min(height);
    // A frame that is thicker than half of the area does not paint anything twice.
    let (lower, right) =
        ((area.bottom() - line).max(y + line), (area.right() - line).max(x + line));
    let rest = lower - (y + line);
    let sides = [
        Area::new((x, y), (width, line)),
        Area::new((x, lower), (width, area.bottom() - lower)),
        Area::new((x, y + line), (line, rest)),
        Area::new((right, y + line), (area.right() - right, rest)),
    ];
    for side in sides {
        if opacity >= 1.0 {
            fill(picture, side, colour);
            continue;
        }
        let side = side.common(whole(picture));
        for y in side.y..side.bottom() {
            for x in side.x..side.right() {
                blend(picture, (x, y), colour, opacity);
            }
        }
    }
}

/// Lets a colour cover a pixel: not at all at 0, wholly at 1.
pub fn blend(picture: &mut RgbImage, (x, y): (i64, i64), colour: Rgb<u8>, opacity: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    let Some(pixel) = picture.get_pixel_mut_checked(x, y) else { return };
    let opacity = opacity.clamp(0.0, 1.0);
    for (below, above) in pixel.0.iter_mut().zip(colour.0) {
        let (from, to) = (f32::from(*below), f32::from(above));
        *below = (from + (to - from) * opacity).round() as u8;
    }
}

/// The bytes of a PNG file with that picture.
///
/// # Errors
/// If the encoder refuses it, which takes a picture without pixels.
pub fn png(picture: &RgbImage) -> ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    // A drawing becomes a third of what the fastest compression makes of it.
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)?;
    Ok(bytes.into_inner())
}

/// Writes a picture into a PNG file, whole or not at all.
///
/// # Errors
/// [`Status::Other`], naming the file.
pub fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    let bytes = png(picture).map_err(|error| {
        Failure::new(Status::Other, format_args!("{}: {error}", path.display()))
    })?;
    files::write(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INK: Rgb<u8> = Rgb([10, 20, 30]);

    fn painted(paint: impl FnOnce(&mut RgbImage)) -> Vec<String> {
        let mut picture = RgbImage::from_pixel(6, 5, Rgb([255; 3]));
        paint(&mut picture);
        let rows = picture
            .rows()
            .map(|row| row.map(|pixel| if *pixel == INK { '#' } else { '.' }).collect::<String>());
        rows.collect()
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let area = Area::new((4, -2), (i64::MAX, 4));
        let rows = painted(|picture| fill(picture, area, INK));
        assert_eq!(rows, ["....##", "....##", "......", "......", "......"]);
        let nothing = Area::new((0, 0), (-1, 5));
        assert_eq!(painted(|picture| fill(picture, nothing, INK)).concat().matches('#').count(), 0);
    }

    #[test]
    fn frames_lie_inside() {
        let frame = |area, line| painted(|picture| frame(picture, area, line, INK, 1.0));
        assert_eq!(
            frame(Area::new((1, 0), (4, 4)), 1),
            [".####.", ".#..#.", ".#..#.", ".####.", "......"]
        );
        assert_eq!(
            frame(Area::new((1, 1), (3, 2)), 9),
            ["......", ".###..", ".###..", "......", "......"]
        );
        let thick = frame(Area::new((0, 0), (3, 5)), 2);
        assert!(thick.iter().all(|row| row == "###..."), "{thick:?}");
    }

    #[test]
    fn half_of_a_colour_is_half_way() {
        let mut picture = RgbImage::from_pixel(1, 1, Rgb([0, 100, 255]));
        blend(&mut picture, (0, 0), Rgb([100, 0, 255]), 0.5);
        assert_eq!(picture.get_pixel(0, 0).0, [50, 50, 255]);
        blend(&mut picture, (-1, 0), INK, 1.0);
        blend(&mut picture, (0, 7), INK, 1.0);
        assert_eq!(picture.get_pixel(0, 0).0, [50, 50, 255]);
    }

    #[test]
    fn areas_overlap_in_an_area() {
        let (a, b) = (Area::new((0, 0), (4, 4)), Area::new((2, 3), (9, 9)));
        assert_eq!(a.common(b), Area::new((2, 3), (2, 1)));
        assert_eq!(a.common(Area::new((4, 0), (1, 1))).pixels(), 0);
        assert_eq!(Area::new((1, 1), (1, 1)).grown(1), Area::new((0, 0), (3, 3)));
    }
}
