//! A picture of a confusion matrix.

use crate::{
    accuracy::Accuracy,
    exit::{Failure, Result, Status},
};
use image::{ImageFormat, Rgb, RgbImage};
use std::path::Path;

/// Side of the picture in pixels, about: cells are whole pixels.
const SIDE: usize = 840;

/// Most classes that a picture can show.
pub const MAXIMUM_CLASSES: usize = 4096;

const BACKGROUND: [f64; 3] = [255.0, 255.0, 255.0];
const RIGHT: [f64; 3] = [0.0, 104.0, 55.0];
const WRONG: [f64; 3] = [165.0, 0.0, 38.0];
const GRID: Rgb<u8> = Rgb([225, 225, 225]);

/// Draws one cell for each class (row) and answer (column): green on the diagonal, red elsewhere,
/// the darker the larger the part of the class's images. Mistakes are drawn by the square root of
/// that part, since most of them are rare.
///
/// # Errors
/// [`Status::Usage`] if there are too many classes.
pub fn draw(accuracy: &Accuracy) -> Result<RgbImage> {
    let classes = accuracy.classes();
    if classes > MAXIMUM_CLASSES {
        return Err(Failure::usage(format_args!(
            "--confusion: {classes} classes, expected at most {MAXIMUM_CLASSES}"
        )));
    }
    let cell = (SIDE / classes).clamp(1, 64);
    // Lines between cells, where there is room for them.
    let gap = usize::from(cell >= 6);
    let pitch = cell + gap;
    let side = (classes * pitch + gap) as u32;
    let mut picture = RgbImage::from_pixel(side, side, if gap > 0 { GRID } else { Rgb([255; 3]) });
    let mut totals = vec![0_usize; classes];
    for class in accuracy.per_class(&[]) {
        totals[class.index] = class.images;
    }
    for (label, &total) in totals.iter().enumerate() {
        for answer in 0..classes {
            let part = accuracy.count(label, answer) as f64 / total.max(1) as f64;
            let colour = if label == answer { mix(RIGHT, part) } else { mix(WRONG, part.sqrt()) };
            for y in 0..cell {
                for x in 0..cell {
                    let column = (answer * pitch + gap + x) as u32;
                    let row = (label * pitch + gap + y) as u32;
                    picture.put_pixel(column, row, colour);
                }
            }
        }
    }
    Ok(picture)
}

/// Draws the picture into a PNG file.
///
/// # Errors
/// As [`draw`], and if the file cannot be written.
pub fn save(accuracy: &Accuracy, path: &Path) -> Result<()> {
    draw(accuracy)?
        .save_with_format(path, ImageFormat::Png)
        .map_err(|error| Failure::new(Status::Other, format_args!("{}: {error}", path.display())))
}

fn mix(colour: [f64; 3], part: f64) -> Rgb<u8> {
    let channel = |i: usize| (BACKGROUND[i] + (colour[i] - BACKGROUND[i]) * part).round() as u8;
    Rgb([channel(0), channel(1), channel(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_answers_are_green_and_wrong_ones_red() {
        let mut accuracy = Accuracy::new(2);
        accuracy.add(0, &[1.0, 0.0]);
        accuracy.add(1, &[1.0, 0.0]);
        let picture = draw(&accuracy).unwrap();
        assert_eq!(picture.dimensions(), (2 * 65 + 1, 2 * 65 + 1));
        assert_eq!(*picture.get_pixel(30, 30), Rgb([0, 104, 55]), "class 0 recognised");
        assert_eq!(*picture.get_pixel(30, 100), Rgb([165, 0, 38]), "class 1 taken for 0");
        assert_eq!(*picture.get_pixel(100, 30), Rgb([255; 3]));
        assert_eq!(draw(&Accuracy::new(1000)).unwrap().dimensions(), (1000, 1000));
        assert!(draw(&Accuracy::new(5000)).is_err());
    }
}
