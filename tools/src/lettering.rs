//! Text in pictures: one font, smoothed, in any size.

use crate::canvas;
use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};
use std::{borrow::Cow, sync::LazyLock};

/// What stands for the end of a text that has no room.
const ELLIPSIS: char = '…';

static REGULAR: LazyLock<FontRef<'static>> =
    LazyLock::new(|| parsed(include_bytes!("../fonts/Roboto-Regular.ttf")));
static BOLD: LazyLock<FontRef<'static>> =
    LazyLock::new(|| parsed(include_bytes!("../fonts/Roboto-Bold.ttf")));

fn parsed(file: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(file).expect("the fonts that are built in are whole")
}

/// How thick letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// For most text.
    Regular,
    /// For what matters most.
    Bold,
}

/// The direction of a line of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From left to right.
    Right,
    /// From bottom to top, the tops of the letters to the left.
    Up,
}

/// Letters of one weight and size. Digits are equally wide. What the font does not have (it has
/// Latin, Greek and Cyrillic letters) is shown as a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letters {
    weight: Weight,
    /// Pixels an em.
    size: f32,
}

impl Letters {
    /// Letters of `size` pixels an em: capitals are 0.71 of that high.
    pub fn new(weight: Weight, size: f32) -> Self {
        Self { weight, size }
    }

    /// Pixels an em.
    pub fn size(self) -> f32 {
        self.size
    }

    /// Height of capitals and digits in pixels.
    pub fn capital(self) -> f32 {
        0.711 * self.size
    }

    /// Length of a line of text in pixels.
    pub fn width(self, text: &str) -> f32 {
        text.chars().map(|letter| self.advance(letter)).sum()
    }

    /// The text, or as many of its first letters as `width` pixels have room for, with an ellipsis
    /// behind them.
    pub fn fitted(self, text: &str, width: f32) -> Cow<'_, str> {
        let room = width - self.advance(ELLIPSIS);
        let (mut kept, mut length) = (0, 0.0);
        for (start, letter) in text.char_indices() {
            if length <= room {
                kept = start;
            }
            length += self.advance(letter);
            if length > width {
                return Cow::Owned(format!("{}{ELLIPSIS}", text[..kept].trim_end()));
            }
        }
        Cow::Borrowed(text)
    }

    /// The text, or as many of its last letters as `width` pixels have room for, with an ellipsis
    /// before them: the names of layers start alike and end differently.
    pub fn fitted_end(self, text: &str, width: f32) -> Cow<'_, str> {
        let room = width - self.advance(ELLIPSIS);
        let (mut kept, mut length) = (text.len(), 0.0);
        for (start, letter) in text.char_indices().rev() {
            length += self.advance(letter);
            if length <= room {
                kept = start;
            }
            if length > width {
                return Cow::Owned(format!("{ELLIPSIS}{}", text[kept..].trim_start()));
            }
        }
        Cow::Borrowed(text)
    }

    /// Draws a line of text whose first letter stands at `(x, y)`, on its base line: the left end of
    /// that line, or, for text that runs upwards, its lower end. What lies outside of the picture is
    /// left out.
    pub fn draw(
        self,
        picture: &mut RgbImage,
        text: &str,
        (x, y): (f32, f32),
        direction: Direction,
        colour: Rgb<u8>,
    ) {
        let (font, scale) = (self.font(), self.scale());
        let length = match direction {
            Direction::Right => picture.width(),
            Direction::Up => picture.height(),
        };
        // Letters of one line stand equally high, and sharper on whole pixels.
        let whole = |place: f32| place.clamp(-1e9, 1e9).round() as i64;
        let (x, y) = (whole(x), whole(y));
        let mut along = 0.0;
        for letter in text.chars() {
            // A letter may begin before the end of the one before it, but not by more than an em.
            let left = match direction {
                Direction::Right => x as f64 + f64::from(along),
                Direction::Up => f64::from(length) - y as f64 + f64::from(along),
            };
            if left > f64::from(length) + f64::from(self.size) {
                break;
            }
            let id = font.glyph_id(letter);
            let glyph = Glyph { id, scale, position: point(along, 0.0) };
            along += self.advance_of(id);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let (first, top) = (bounds.min.x as i64, bounds.min.y as i64);
            outline.draw(|column, row, coverage| {
                let (along, down) = (first + i64::from(column), top + i64::from(row));
                let place = match direction {
                    Direction::Right => (x + along, y + down),
                    Direction::Up => (x + down, y - along),
                };
                canvas::blend(picture, place, colour, coverage);
            });
        }
    }

    fn font(self) -> &'static FontRef<'static> {
        match self.weight {
            Weight::Regular => &REGULAR,
            Weight::Bold => &BOLD,
        }
    }

    /// The library counts the height of lines instead of an em.
    fn scale(self) -> PxScale {
        let font = self.font();
        let em = font.units_per_em().unwrap_or(2048.0);
        PxScale::from(self.size * font.height_unscaled() / em)
    }

    fn advance(self, letter: char) -> f32 {
        self.advance_of(self.font().glyph_id(letter))
    }

    fn advance_of(self, id: GlyphId) -> f32 {
        self.font().as_scaled(self.scale()).h_advance(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::imageops;

    const INK: Rgb<u8> = Rgb([0; 3]);

    fn drawn(text: &str, at: (f32, f32), direction: Direction, letters: Letters) -> RgbImage {
        let mut picture = RgbImage::from_pixel(64, 64, Rgb([255; 3]));
        letters.draw(&mut picture, text, at, direction, INK);
        picture
    }

    /// Columns and rows of the pixels that have ink: least and largest.
    fn extent(picture: &RgbImage) -> Option<[u32; 4]> {
        let inked = picture.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] < 200);
        inked.fold(None, |extent, (x, y, _)| {
            let [left, right, top, bottom] = extent.unwrap_or([x, x, y, y]);
            Some([left.min(x), right.max(x), top.min(y), bottom.max(y)])
        })
    }

    #[test]
    fn capitals_stand_on_the_line_and_are_as_high_as_said() {
        for (weight, size) in [(Weight::Regular, 20.0), (Weight::Bold, 20.0), (Weight::Bold, 45.0)]
        {
            let letters = Letters::new(weight, size);
            let picture = drawn("H", (4.0, 50.0), Direction::Right, letters);
            let [left, right, top, bottom] = extent(&picture).unwrap();
            assert_eq!(bottom, 49, "the row above the line");
            assert!((f64::from(50 - top) - f64::from(letters.capital())).abs() <= 1.0, "{top}");
            assert!(left > 4 && (right as f32) < 4.0 + letters.width("H"));
        }
    }

    #[test]
    fn text_that_runs_upwards_is_the_same_turned() {
        let letters = Letters::new(Weight::Regular, 17.0);
        let right = drawn("Ag7", (3.0, 40.0), Direction::Right, letters);
        let up = drawn("Ag7", (40.0, 60.0), Direction::Up, letters);
        assert_eq!(up, imageops::rotate270(&right));
    }

    #[test]
    fn letters_of_many_scripts_are_there_and_differ() {
        let letters = Letters::new(Weight::Regular, 30.0);
        let one = |letter: char| {
            drawn(&letter.to_string(), (8.0, 44.0), Direction::Right, letters).into_raw()
        };
        let unknown = one('猫');
        assert!(unknown.iter().any(|&value| value < 100), "a box stands for what is unknown");
        let texts = "!\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~·µ×…éñüßłřşαβΩДжя°±²½“”€";
        let known = texts.chars().chain('a'..='z').chain('A'..='Z');
        let mut seen = std::collections::HashMap::from([(unknown, '猫')]);
        for letter in known {
            let twin = seen.insert(one(letter), letter);
            assert_eq!(twin, None, "{letter} looks like another letter");
        }
    }

    #[test]
    fn digits_are_equally_wide() {
        for weight in [Weight::Regular, Weight::Bold] {
            let letters = Letters::new(weight, 20.0);
            let widths: Vec<f32> = ('0'..='9').map(|digit| letters.advance(digit)).collect();
            assert!(widths.iter().all(|&width| width == widths[0]), "{widths:?}");
        }
    }

    #[test]
    fn what_has_no_room_ends_in_an_ellipsis() {
        let letters = Letters::new(Weight::Regular, 16.0);
        let text = "größer als gedacht";
        assert_eq!(letters.fitted(text, letters.width(text)), text);
        assert_eq!(letters.fitted_end(text, letters.width(text)), text);
        for width in [0.0, 10.0, 14.0, 25.0, 60.0, 100.0] {
            let (short, end) = (letters.fitted(text, width), letters.fitted_end(text, width));
            let start = short.strip_suffix('…').unwrap();
            assert!(text.starts_with(start) && text.ends_with(end.strip_prefix('…').unwrap()));
            // The ellipsis itself is always there.
            let least = letters.width("…");
            assert!(letters.width(&short) <= width.max(least), "{short} in {width}");
            assert!(letters.width(&end) <= width.max(least), "{end} in {width}");
            assert!(letters.width(&short) > width - 16.0 || short == "…", "{short} in {width}");
        }
        assert_eq!(letters.fitted("", 0.0), "");
    }

    #[test]
    fn text_may_leave_the_picture() {
        let letters = Letters::new(Weight::Bold, 24.0);
        let long = "W".repeat(1000);
        for direction in [Direction::Right, Direction::Up] {
            for at in [(-30.0, 10.0), (60.0, 1e9), (1e30, -1e30), (f32::NAN, 20.0), (0.0, 63.0)] {
                drawn(&long, at, direction, letters);
            }
        }
        let short = drawn("WWWWWWWWWW", (0.0, 30.0), Direction::Right, letters);
        assert_eq!(drawn(&long, (0.0, 30.0), Direction::Right, letters), short);
        let short = drawn("WWWWWWWWWW", (30.0, 63.0), Direction::Up, letters);
        assert_eq!(drawn(&long, (30.0, 63.0), Direction::Up, letters), short);
    }
}
