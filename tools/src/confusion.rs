//! A picture of a confusion matrix.

use crate::{
    accuracy::Accuracy,
    canvas::{self, Area},
    exit::{Failure, Result},
    lettering::{Direction, Letters, Weight},
    terminal::printable,
};
use image::{Rgb, RgbImage};
use std::path::Path;

/// Side of the matrix in pixels, about: cells are whole pixels.
const SIDE: usize = 840;

/// Most classes that a picture can show.
pub const MAXIMUM_CLASSES: usize = 4096;

/// Longest label in pixels; what is longer is cut.
const LABEL: f32 = 240.0;

/// Space around lines of text, and height of the two titles.
const MARGIN: usize = 10;
const TITLE: f32 = 18.0;

/// Least cells beside which a label can be read, and in which a count can.
const LABELLED: usize = 10;
const COUNTED: usize = 14;

const BACKGROUND: [f64; 3] = [255.0, 255.0, 255.0];
const RIGHT: [f64; 3] = [0.0, 104.0, 55.0];
const WRONG: [f64; 3] = [165.0, 0.0, 38.0];
const GRID: Rgb<u8> = Rgb([225, 225, 225]);
const INK: Rgb<u8> = Rgb([40, 40, 40]);
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// Where the parts of the picture lie.
#[derive(Debug, Clone, Copy)]
struct Layout {
    classes: usize,
    cell: usize,
    gap: usize,
    /// Left upper corner of the matrix.
    corner: (usize, usize),
    /// Of the labels.
    letters: Letters,
}

impl Layout {
    fn new(classes: usize, names: &[String]) -> Self {
        let cell = (SIDE / classes.max(1)).clamp(1, 64);
        // Lines between cells, where there is room for them.
        let gap = usize::from(cell >= 6);
        let letters = Letters::new(Weight::Regular, (0.9 * cell as f32).clamp(9.0, 16.0));
        let longest = names.iter().map(|name| letters.width(name)).fold(0.0, f32::max).min(LABEL);
        let labels = if cell >= LABELLED { longest.ceil() as usize + MARGIN } else { 0 };
        let corner = MARGIN + TITLE as usize + MARGIN + labels;
        Self { classes, cell, gap, corner: (corner, corner), letters }
    }

    fn side(&self) -> usize {
        self.classes * (self.cell + self.gap) + self.gap
    }

    /// Left upper corner of a cell.
    fn cell(&self, label: usize, answer: usize) -> (usize, usize) {
        let pitch = self.cell + self.gap;
        let (x, y) = self.corner;
        (x + self.gap + answer * pitch, y + self.gap + label * pitch)
    }
}

/// Draws one cell for each class (row) and answer (column): green on the diagonal, red elsewhere,
/// the darker the larger the part of the class's images. Mistakes are drawn by the square root of
/// that part, since most of them are rare. Where there is room, `labels` name the rows and columns
/// and the cells tell how many images they stand for.
///
/// # Errors
/// [`Status::Usage`](crate::exit::Status::Usage) if there are too many classes.
pub fn draw(accuracy: &Accuracy, labels: &[String]) -> Result<RgbImage> {
    let classes = accuracy.classes();
    if classes > MAXIMUM_CLASSES {
        return Err(Failure::usage(format_args!(
            "--confusion: {classes} classes, expected at most {MAXIMUM_CLASSES}"
        )));
    }
    let names: Vec<String> = (0..classes).map(|class| name(labels, class)).collect();
    let layout = Layout::new(classes, &names);
    let side = layout.side();
    let (width, height) = (layout.corner.0 + side + MARGIN, layout.corner.1 + side + MARGIN);
    let mut picture = RgbImage::from_pixel(width as u32, height as u32, PAPER);
    if layout.gap > 0 {
        fill(&mut picture, layout.corner, side, GRID);
    }
    draw_titles(&mut picture, &layout);
    if layout.cell >= LABELLED {
        draw_labels(&mut picture, &layout, &names);
    }
    let mut totals = vec![0_usize; classes];
    for class in accuracy.per_class(&[]) {
        totals[class.index] = class.images;
    }
    for (label, &total) in totals.iter().enumerate() {
        for answer in 0..classes {
            let count = accuracy.count(label, answer);
            let part = count as f64 / total.max(1) as f64;
            let (colour, depth) =
                if label == answer { (RIGHT, part) } else { (WRONG, part.sqrt()) };
            let corner = layout.cell(label, answer);
            fill(&mut picture, corner, layout.cell, mix(colour, depth));
            if layout.cell >= COUNTED && count > 0 {
                let ink = if depth > 0.5 { PAPER } else { INK };
                draw_count(&mut picture, corner, &layout, count, ink);
            }
        }
    }
    Ok(picture)
}

/// Draws the picture into a PNG file.
///
/// # Errors
/// As [`draw`], and if the file cannot be written.
pub fn save(accuracy: &Accuracy, labels: &[String], path: &Path) -> Result<()> {
    canvas::save(&draw(accuracy, labels)?, path)
}

/// The label of a class, or its number.
fn name(labels: &[String], class: usize) -> String {
    match labels.get(class) {
        Some(label) => printable(label).into_owned(),
        None => class.to_string(),
    }
}

/// What the rows and columns are.
fn draw_titles(picture: &mut RgbImage, layout: &Layout) {
    let letters = Letters::new(Weight::Bold, TITLE);
    let (x, y) = (layout.corner.0 as f32, layout.corner.1 as f32);
    let side = layout.side() as f32;
    let middle = |text: &str| ((side - letters.width(text)) / 2.0).max(0.0);
    let line = MARGIN as f32 + letters.capital();
    let (columns, rows) = ("answer", "class");
    letters.draw(picture, columns, (x + middle(columns), line), Direction::Right, INK);
    let bottom = y + side - 1.0 - middle(rows);
    letters.draw(picture, rows, (line, bottom), Direction::Up, INK);
}

/// The names of the classes, beside their rows and above their columns.
fn draw_labels(picture: &mut RgbImage, layout: &Layout, names: &[String]) {
    let letters = layout.letters;
    for (class, name) in names.iter().enumerate() {
        let name = letters.fitted(name, LABEL);
        let (x, y) = layout.cell(class, class);
        // From a cell's edge to the line on which the text stands.
        let line = (layout.cell as f32 + letters.capital()) / 2.0;
        let end = layout.corner.0 as f32 - MARGIN as f32 / 2.0;
        let row = (end - letters.width(&name), y as f32 + line);
        letters.draw(picture, &name, row, Direction::Right, INK);
        letters.draw(picture, &name, (x as f32 + line, end), Direction::Up, INK);
    }
}

/// A number in the middle of its cell, if it fits.
fn draw_count(
    picture: &mut RgbImage,
    (x, y): (usize, usize),
    layout: &Layout,
    count: usize,
    ink: Rgb<u8>,
) {
    let text = count.to_string();
    let cell = layout.cell as f32;
    let letters = (8..=16)
        .rev()
        .map(|size| Letters::new(Weight::Regular, size as f32))
        .find(|letters| letters.width(&text) + 4.0 <= cell);
    let Some(letters) = letters else { return };
    let place = (
        x as f32 + (cell - letters.width(&text)) / 2.0,
        y as f32 + (cell + letters.capital()) / 2.0,
    );
    letters.draw(picture, &text, place, Direction::Right, ink);
}

fn fill(picture: &mut RgbImage, (x, y): (usize, usize), side: usize, colour: Rgb<u8>) {
    let area = Area::new((x as i64, y as i64), (side as i64, side as i64));
    canvas::fill(picture, area, colour);
}

fn mix(colour: [f64; 3], part: f64) -> Rgb<u8> {
    let channel = |i: usize| (BACKGROUND[i] + (colour[i] - BACKGROUND[i]) * part).round() as u8;
    Rgb([channel(0), channel(1), channel(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colour beside the number in a cell.
    fn cell(picture: &RgbImage, layout: &Layout, label: usize, answer: usize) -> Rgb<u8> {
        let (x, y) = layout.cell(label, answer);
        *picture.get_pixel(x as u32 + 2, y as u32 + 2)
    }

    #[test]
    fn right_answers_are_green_and_wrong_ones_red() {
        let mut accuracy = Accuracy::new(2);
        accuracy.add(0, &[1.0, 0.0]);
        accuracy.add(1, &[1.0, 0.0]);
        let labels = ["cat", "automobile"].map(str::to_owned);
        let picture = draw(&accuracy, &labels).unwrap();
        let layout = Layout::new(2, &labels);
        assert_eq!(picture.width() as usize, layout.corner.0 + 2 * 65 + 1 + MARGIN);
        assert_eq!(cell(&picture, &layout, 0, 0), Rgb([0, 104, 55]), "class 0 recognised");
        assert_eq!(cell(&picture, &layout, 1, 0), Rgb([165, 0, 38]), "class 1 taken for 0");
        assert_eq!(cell(&picture, &layout, 0, 1), PAPER);
        let (x, y) = layout.cell(0, 0);
        let number = (0..64).any(|i| picture.get_pixel(x as u32 + 32, y as u32 + i).0[0] > 200);
        assert!(number, "the count stands in the cell");
        let inked = |xs: std::ops::Range<usize>, ys: std::ops::Range<usize>| {
            xs.flat_map(|x| ys.clone().map(move |y| (x, y)))
                .map(|(x, y)| 255 - usize::from(picture.get_pixel(x as u32, y as u32).0[0]))
                .sum::<usize>()
        };
        let (left, top) = layout.corner;
        let titles = MARGIN + TITLE as usize + MARGIN / 2;
        let first = inked(titles..left, top..top + 65);
        let second = inked(titles..left, top + 65..top + 130);
        assert!(0 < first && first < second, "short and long labels: {first}, {second}");
        assert_eq!(first, inked(left..left + 65, titles..top), "the same above its column");
    }

    #[test]
    fn many_classes_have_no_room_for_labels() {
        let side = |classes| draw(&Accuracy::new(classes), &[]).unwrap().width() as usize;
        let margins = 3 * MARGIN + TITLE as usize;
        assert_eq!(side(1000), 1000 + margins);
        assert!(side(43) > 43 * 20 + 1 + margins, "numbers instead of labels");
        assert!(draw(&Accuracy::new(5000), &[]).is_err());
    }

    #[test]
    fn long_labels_are_cut() {
        let labels = ["i".repeat(24), "W".repeat(24), "W".repeat(24_000)];
        let names = |count: usize| Layout::new(2, &labels[..count]).corner.0;
        assert!(names(1) < names(2), "{} {}", names(1), names(2));
        assert_eq!(names(2), names(3));
        assert_eq!(names(3), 3 * MARGIN + TITLE as usize + LABEL as usize);
        draw(&Accuracy::new(3), &labels).unwrap();
    }

    #[test]
    fn labels_from_a_file_stay_in_their_line() {
        assert_eq!(name(&["a\nb".to_owned()], 0), "a b");
        assert_eq!(name(&[], 1), "1");
    }
}
