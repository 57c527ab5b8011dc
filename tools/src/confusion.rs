//! A picture of a confusion matrix.

use crate::{
    accuracy::Accuracy,
    exit::{Failure, Result, Status},
    files,
    lettering::{self, Direction},
};
use image::{ImageFormat, Rgb, RgbImage};
use std::{io::Cursor, path::Path};

/// Side of the matrix in pixels, about: cells are whole pixels.
const SIDE: usize = 840;

/// Most classes that a picture can show.
pub const MAXIMUM_CLASSES: usize = 4096;

/// Letters of a label that are shown, small ones and large ones.
const LABEL: [usize; 2] = [36, 24];

/// Space around lines of text.
const MARGIN: usize = 8;

/// Least cells beside which a label can be read, in which a count can, and that have large labels.
const LABELLED: usize = 10;
const COUNTED: usize = 14;
const LARGE: usize = 26;

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
    /// Pixels a dot of the labels.
    scale: usize,
}

impl Layout {
    fn new(classes: usize, longest: usize) -> Self {
        let cell = (SIDE / classes.max(1)).clamp(1, 64);
        // Lines between cells, where there is room for them.
        let gap = usize::from(cell >= 6);
        let scale = if cell >= LARGE { 2 } else { 1 };
        let labels = if cell >= LABELLED { longest + MARGIN } else { 0 };
        let (_, title) = lettering::size("", 2);
        let corner = MARGIN + title + MARGIN + labels;
        Self { classes, cell, gap, corner: (corner, corner), scale }
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
/// [`Status::Usage`] if there are too many classes.
pub fn draw(accuracy: &Accuracy, labels: &[String]) -> Result<RgbImage> {
    let classes = accuracy.classes();
    if classes > MAXIMUM_CLASSES {
        return Err(Failure::usage(format_args!(
            "--confusion: {classes} classes, expected at most {MAXIMUM_CLASSES}"
        )));
    }
    let scale = Layout::new(classes, 0).scale;
    let names: Vec<String> =
        (0..classes).map(|class| name(labels, class, LABEL[scale - 1])).collect();
    let longest = names.iter().map(|name| lettering::size(name, scale).0).max();
    let layout = Layout::new(classes, longest.unwrap_or(0));
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
    let mut bytes = Cursor::new(Vec::new());
    draw(accuracy, labels)?.write_to(&mut bytes, ImageFormat::Png).map_err(|error| {
        Failure::new(Status::Other, format_args!("{}: {error}", path.display()))
    })?;
    files::write(path, &bytes.into_inner())
}

/// The label of a class, short enough for the picture.
fn name(labels: &[String], class: usize, letters: usize) -> String {
    let Some(label) = labels.get(class) else { return class.to_string() };
    if label.chars().count() <= letters {
        return label.clone();
    }
    let kept: String = label.chars().take(letters - 2).collect();
    format!("{}..", kept.trim_end())
}

/// What the rows and columns are.
fn draw_titles(picture: &mut RgbImage, layout: &Layout) {
    let (x, y) = layout.corner;
    let middle = |text: &str| layout.side().saturating_sub(lettering::size(text, 2).0) / 2;
    let (columns, rows) = ("answer", "class");
    lettering::draw(picture, columns, (x + middle(columns), MARGIN), 2, Direction::Right, INK);
    let bottom = y + layout.side() - 1 - middle(rows);
    lettering::draw(picture, rows, (MARGIN, bottom), 2, Direction::Up, INK);
}

/// The names of the classes, beside their rows and above their columns.
fn draw_labels(picture: &mut RgbImage, layout: &Layout, names: &[String]) {
    for (class, name) in names.iter().enumerate() {
        let (length, height) = lettering::size(name, layout.scale);
        let (x, y) = layout.cell(class, class);
        let inset = layout.cell.saturating_sub(height) / 2;
        let row = (layout.corner.0.saturating_sub(MARGIN / 2 + length), y + inset);
        lettering::draw(picture, name, row, layout.scale, Direction::Right, INK);
        let column = (x + inset, layout.corner.1 - MARGIN / 2);
        lettering::draw(picture, name, column, layout.scale, Direction::Up, INK);
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
    let scale = if lettering::size(&text, 2).0 + 4 <= layout.cell { 2 } else { 1 };
    let (width, height) = lettering::size(&text, scale);
    if width + 4 > layout.cell {
        return;
    }
    // Digits have nothing under the line.
    let digits = height - 2 * scale;
    let place = (x + (layout.cell - width) / 2, y + (layout.cell - digits) / 2);
    lettering::draw(picture, &text, place, scale, Direction::Right, ink);
}

fn fill(picture: &mut RgbImage, (x, y): (usize, usize), side: usize, colour: Rgb<u8>) {
    for row in y..y + side {
        for column in x..x + side {
            picture.put_pixel(column as u32, row as u32, colour);
        }
    }
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
        let layout = Layout::new(2, lettering::size("automobile", 2).0);
        assert_eq!(picture.width() as usize, layout.corner.0 + 2 * 65 + 1 + MARGIN);
        assert_eq!(cell(&picture, &layout, 0, 0), Rgb([0, 104, 55]), "class 0 recognised");
        assert_eq!(cell(&picture, &layout, 1, 0), Rgb([165, 0, 38]), "class 1 taken for 0");
        assert_eq!(cell(&picture, &layout, 0, 1), PAPER);
        let (x, y) = layout.cell(0, 0);
        let number = (0..64).any(|i| *picture.get_pixel(x as u32 + 32, y as u32 + i) == PAPER);
        assert!(number, "the count stands in the cell");
        let inked = |xs: std::ops::Range<usize>, ys: std::ops::Range<usize>| {
            xs.flat_map(|x| ys.clone().map(move |y| (x, y)))
                .filter(|&(x, y)| *picture.get_pixel(x as u32, y as u32) == INK)
                .count()
        };
        let (left, top) = layout.corner;
        let first = inked(34..left, top..top + 65);
        let second = inked(34..left, top + 65..top + 130);
        assert!(0 < first && first < second, "short and long labels: {first}, {second}");
        assert_eq!(first, inked(left..left + 65, 34..top), "the same above its column");
    }

    #[test]
    fn many_classes_have_no_room_for_labels() {
        let side = |classes| draw(&Accuracy::new(classes), &[]).unwrap().width() as usize;
        let margins = 3 * MARGIN + lettering::size("", 2).1;
        assert_eq!(side(1000), 1000 + margins);
        assert!(side(43) > 43 * 20 + 1 + margins, "numbers instead of labels");
        assert!(draw(&Accuracy::new(5000), &[]).is_err());
    }

    #[test]
    fn long_labels_are_cut() {
        let labels = ["a name of twenty-seven chars".to_owned()];
        assert_eq!(name(&labels, 0, 24), "a name of twenty-seven..");
        assert_eq!(name(&labels, 1, 24), "1");
    }
}
