//! The likeliest classes with their probabilities, as bars beside a picture.

use super::{INK, PAPER, QUIET, shown::shown};
use crate::{
    canvas::{self, Area},
    lettering::{Direction, Letters, Weight},
    terminal::printable,
};
use bnn::vision::Image;
use image::{Rgb, RgbImage, imageops};

/// The bar of the likeliest class, of the others, and what a full bar would cover.
const BEST: Rgb<u8> = Rgb([0x00, 0x72, 0xb2]);
const OTHER: Rgb<u8> = Rgb([0x8f, 0xb4, 0xcc]);
const TRACK: Rgb<u8> = Rgb([0xec, 0xee, 0xf1]);

/// Rows that are always shown, even if the picture is less high.
const ROWS: usize = 10;
/// Most rows below a wide picture.
const ROWS_BELOW: usize = 24;

/// All lengths follow from the size of the letters. Pixels.
#[derive(Debug, Clone, Copy)]
struct Measures {
    letters: Letters,
    margin: i64,
    /// From one row to the next.
    row: i64,
    /// From the top of a row to its line of text, and to its bar.
    text: i64,
    bar: i64,
    /// Thickness of a bar.
    thickness: i64,
    /// Least and largest width of a row, and space between two columns of rows.
    width: (i64, i64),
    gap: i64,
}

impl Measures {
    fn new(picture: &RgbImage) -> Self {
        let longer = picture.width().max(picture.height()) as f32;
        let size = (longer / 36.0).clamp(18.0, 40.0).round();
        let ems = |count: f32| (count * size).round() as i64;
        Self {
            letters: Letters::new(Weight::Regular, size),
            margin: ems(1.3),
            row: ems(2.35),
            text: ems(0.8),
            bar: ems(1.1),
            thickness: ems(0.45),
            width: (ems(13.0), ems(22.0)),
            gap: ems(2.0),
        }
    }

    /// Height of so many rows: there is no space below the last.
    fn height(self, rows: usize) -> i64 {
        rows as i64 * self.row - (self.row - self.bar - self.thickness)
    }
}

/// A class and how likely it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// The name of the class. Any text, of any length.
    pub label: &'a str,
    /// From 0 to 1, which fills the bar.
    pub probability: f32,
}

/// Where rows go.
struct Layout {
    size: (i64, i64),
    /// Left upper corner of the first row.
    corner: (i64, i64),
    columns: usize,
    /// Rows of a column.
    rows: usize,
    /// Width of a row.
    width: i64,
}

/// Draws the rows, in their order, beside or (if the picture is wide) below the picture, which is
/// enlarged or shrunk to a size that one can look at. If there are too many rows, the last ones are
/// counted instead.
pub fn with_classes(image: &Image, rows: &[Row<'_>]) -> RgbImage {
    let picture = shown(image);
    if rows.is_empty() {
        return picture;
    }
    let measures = Measures::new(&picture);
    let layout = Layout::new(&picture, rows, measures);
    let (width, height) = layout.size;
    let mut canvas = RgbImage::from_pixel(width as u32, height as u32, PAPER);
    imageops::replace(&mut canvas, &picture, 0, 0);
    let places = layout.columns * layout.rows;
    // The last place tells how many there would be more.
    let drawn = if rows.len() > places { places - 1 } else { rows.len() };
    let corner = |index: usize| {
        let (column, row) = ((index / layout.rows) as i64, (index % layout.rows) as i64);
        let (x, y) = layout.corner;
        (x + column * (layout.width + measures.gap), y + row * measures.row)
    };
    for (index, row) in rows.iter().take(drawn).enumerate() {
        draw_row(&mut canvas, row, index == 0, corner(index), layout.width, measures);
    }
    if drawn < rows.len() {
        let (x, y) = corner(drawn);
        let place = (x as f32, (y + measures.text) as f32);
        let text = format!("and {} more", rows.len() - drawn);
        measures.letters.draw(&mut canvas, &text, place, Direction::Right, QUIET);
    }
    canvas
}

impl Layout {
    fn new(picture: &RgbImage, rows: &[Row<'_>], measures: Measures) -> Self {
        let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
        let Measures { letters, margin, row, gap, width: (least, most), .. } = measures;
        let natural = |row: &Row<'_>| {
            let text = letters.width(&format!("{}   {}", printable(row.label), percent(row)));
            text.ceil() as i64
        };
        let longest = rows.iter().take(ROWS).map(natural).max().unwrap_or(0).clamp(least, most);
        if width * 5 > height * 8 {
            let inner = (width - 2 * margin).max(least);
            let columns = ((inner + gap) / (longest + gap)).max(1) as usize;
            let columns = columns.min(rows.len());
            let column_rows = rows.len().min(ROWS_BELOW).div_ceil(columns);
            return Self {
                size: (inner + 2 * margin, height + 2 * margin + measures.height(column_rows)),
                corner: (margin, height + margin),
                columns,
                rows: column_rows,
                width: (inner - (columns as i64 - 1) * gap) / columns as i64,
            };
        }
        let room = ((height - 2 * margin + row - measures.height(1)) / row).max(0) as usize;
        let column_rows = rows.len().min(room.max(ROWS));
        Self {
            size: (
                width + longest + 2 * margin,
                height.max(measures.height(column_rows) + 2 * margin),
            ),
            corner: (width + margin, margin),
            columns: 1,
            rows: column_rows,
            width: longest,
        }
    }
}

fn draw_row(
    canvas: &mut RgbImage,
    row: &Row<'_>,
    best: bool,
    (x, y): (i64, i64),
    width: i64,
    measures: Measures,
) {
    let weight = if best { Weight::Bold } else { Weight::Regular };
    let letters = Letters::new(weight, measures.letters.size());
    let percent = percent(row);
    let value = letters.width(&percent);
    let line = (y + measures.text) as f32;
    let room = width as f32 - value - letters.size();
    let label = printable(row.label);
    let label = letters.fitted(&label, room);
    letters.draw(canvas, &label, (x as f32, line), Direction::Right, INK);
    let right = (x + width) as f32 - value;
    let ink = if best { INK } else { QUIET };
    letters.draw(canvas, &percent, (right, line), Direction::Right, ink);
    let bar = Area::new((x, y + measures.bar), (width, measures.thickness));
    canvas::fill(canvas, bar, TRACK);
    let filled = Area { width: length(row.probability, width), ..bar };
    canvas::fill(canvas, filled, if best { BEST } else { OTHER });
}

fn percent(row: &Row<'_>) -> String {
    format!("{:.1} %", f64::from(row.probability) * 100.0)
}

/// Pixels of a bar; what is no probability is drawn as the nearest one.
fn length(probability: f32, width: i64) -> i64 {
    (f64::from(probability).clamp(0.0, 1.0) * width as f64).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUND: [u8; 3] = [90, 60, 30];

    fn plain(width: u32, height: u32) -> Image {
        Image::new(width, height, GROUND.repeat(width as usize * height as usize)).unwrap()
    }

    fn rows<'a>(labels: &[&'a str], probability: f32) -> Vec<Row<'a>> {
        labels.iter().map(|label| Row { label, probability }).collect()
    }

    /// Pixels of one colour in a row of pixels.
    fn coloured(picture: &RgbImage, y: i64, colour: Rgb<u8>) -> i64 {
        (0..picture.width()).filter(|&x| *picture.get_pixel(x, y as u32) == colour).count() as i64
    }

    #[test]
    fn bars_are_as_long_as_classes_are_likely() {
        let probabilities = [0.75, 0.25, 0.0, 1.0, 1e-9, 7.0, -1.0, f32::NAN];
        let rows: Vec<Row<'_>> =
            probabilities.iter().map(|&probability| Row { label: "cat", probability }).collect();
        let image = plain(300, 400);
        let picture = with_classes(&image, &rows);
        let measures = Measures::new(&shown(&image));
        let layout = Layout::new(&shown(&image), &rows, measures);
        for (index, part) in [0.75, 0.25, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0].into_iter().enumerate() {
            let y = layout.corner.1 + index as i64 * measures.row + measures.bar + 1;
            let colour = if index == 0 { BEST } else { OTHER };
            let expected = (part * layout.width as f64).round() as i64;
            assert_eq!(coloured(&picture, y, colour), expected, "bar {index}");
            assert_eq!(coloured(&picture, y, TRACK), layout.width - expected, "bar {index}");
        }
    }

    #[test]
    fn numbers_end_where_their_bars_do() {
        let rows =
            [Row { label: "a", probability: 0.9724 }, Row { label: "b", probability: 0.0051 }];
        assert_eq!(
            (percent(&rows[0]), percent(&rows[1])),
            ("97.2 %".to_owned(), "0.5 %".to_owned())
        );
        let image = plain(400, 400);
        let picture = with_classes(&image, &rows);
        let measures = Measures::new(&shown(&image));
        let layout = Layout::new(&shown(&image), &rows, measures);
        let right = layout.corner.0 + layout.width;
        for row in 0..2 {
            let line = layout.corner.1 + row * measures.row + measures.text;
            let inked =
                |x: i64| (line - 8..line).any(|y| picture.get_pixel(x as u32, y as u32).0[0] < 160);
            assert!((right - 5..right).any(inked), "row {row}");
            assert!(!(right..right + measures.margin).any(inked), "row {row}");
        }
    }

    #[test]
    fn wide_pictures_have_their_rows_below() {
        let rows = rows(&["one", "two", "three", "four", "five"], 0.2);
        let beside = with_classes(&plain(600, 400), &rows);
        assert!(beside.width() > 800 && beside.height() == 400, "{:?}", beside.dimensions());
        let below = with_classes(&plain(900, 400), &rows);
        assert!(below.width() == 900 && below.height() > 500, "{:?}", below.dimensions());
    }

    #[test]
    fn too_many_rows_are_counted() {
        let image = plain(320, 320);
        let measures = Measures::new(&shown(&image));
        let few = vec![Row { label: "x", probability: 0.5 }; ROWS];
        let many = vec![Row { label: "x", probability: 0.5 }; 1000];
        let layout = Layout::new(&shown(&image), &many, measures);
        assert_eq!(layout.rows, ROWS);
        let (few, many) = (with_classes(&image, &few), with_classes(&image, &many));
        assert_eq!(few.dimensions(), many.dimensions());
        let last = layout.corner.1 + (ROWS as i64 - 1) * measures.row + measures.bar + 1;
        assert!(coloured(&few, last, OTHER) > 0);
        assert_eq!(coloured(&many, last, OTHER), 0, "words instead of a bar");
        let before = last - measures.row;
        assert!(coloured(&many, before, OTHER) > 0);
    }

    #[test]
    fn labels_of_any_kind_stay_beside_pictures_of_any_size() {
        let long = "a label without end ".repeat(400);
        let labels = ["cat", "", "猫", "\u{202e}tac\n", "Käse", &long];
        let sizes =
            [(1, 1), (1, 900), (3000, 1), (31, 7), (32, 32), (333, 481), (1700, 30), (1900, 1300)];
        for (width, height) in sizes {
            let image = plain(width, height);
            let alone = shown(&image);
            let margin = Measures::new(&alone).margin as u32 - 2;
            // Few labels lie as many do; the smallest square shows that.
            for count in if width == 32 { &[1, 6][..] } else { &[6] } {
                let picture = with_classes(&image, &rows(&labels[..*count], 0.5));
                let about = format!("{width}x{height}, {count} labels, {:?}", picture.dimensions());
                let view = imageops::crop_imm(&picture, 0, 0, alone.width(), alone.height());
                assert!(*view.to_image() == *alone, "{about}: the picture itself");
                assert!(picture.width() < 3000 && picture.height() < 2400, "{about}");
                // Around the rows there is nothing.
                let (right, bottom) = picture.dimensions();
                let empty = |(x, y): (u32, u32)| {
                    x < alone.width() && y < alone.height() || *picture.get_pixel(x, y) == PAPER
                };
                assert!(
                    (0..bottom)
                        .flat_map(|y| (right - margin..right).map(move |x| (x, y)))
                        .all(empty),
                    "{about}"
                );
                assert!(
                    (bottom - margin / 2..bottom)
                        .flat_map(|y| (0..right).map(move |x| (x, y)))
                        .all(empty),
                    "{about}"
                );
            }
        }
    }

    #[test]
    fn without_rows_there_is_the_picture() {
        let image = plain(500, 500);
        assert_eq!(with_classes(&image, &[]), shown(&image));
    }
}
