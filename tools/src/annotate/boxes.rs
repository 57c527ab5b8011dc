//! Boxes around what was found on a picture, with their labels.

use super::{PAPER, palette, shown::shown};
use crate::{
    canvas::{self, Area},
    lettering::{Direction, Letters, Weight},
    terminal::printable,
};
use bnn::{Detection, vision::Image};
use image::{Rgb, RgbImage, imageops};

/// Plates that a new one is kept apart from: in a picture with more of them nothing can be read.
const APART: usize = 400;

/// How far the dark edges beside a line cover what is below them.
const EDGE: f32 = 0.45;
const EDGES: Rgb<u8> = Rgb([0; 3]);

/// All lengths follow from the size of the picture. Pixels.
#[derive(Debug, Clone, Copy)]
struct Measures {
    letters: Letters,
    line: i64,
    /// Height of a plate, space at the ends of its text, and from its top to the text's base line.
    plate: i64,
    padding: i64,
    text: i64,
}

impl Measures {
    fn new(picture: &RgbImage) -> Self {
        let longer = picture.width().max(picture.height()) as f32;
        let size = (longer / 48.0).clamp(15.0, 30.0).round();
        let letters = Letters::new(Weight::Bold, size);
        let plate = (1.4 * size).round();
        Self {
            letters,
            line: (size / 7.0).round() as i64,
            plate: plate as i64,
            padding: (0.4 * size).round() as i64,
            text: ((plate + letters.capital()) / 2.0).round() as i64,
        }
    }
}

/// A label and where it stands.
struct Plate {
    area: Area,
    text: String,
}

/// Draws a frame and a label for each detection. The picture is enlarged or shrunk to a size that
/// one can look at. What is likelier lies above what is less likely; what lies outside of the
/// picture, or nowhere (not a number), is left out.
pub fn with_boxes<'a>(
    image: &Image,
    detections: impl IntoIterator<Item = &'a Detection>,
) -> RgbImage {
    let picture = shown(image);
    let scale = [
        f64::from(picture.width()) / f64::from(image.width()),
        f64::from(picture.height()) / f64::from(image.height()),
    ];
    let measures = Measures::new(&picture);
    let mut found: Vec<(&Detection, Area)> = detections
        .into_iter()
        .filter_map(|detection| Some((detection, area(detection, scale, &picture)?)))
        .collect();
    found.sort_by(|(one, _), (other, _)| other.score.total_cmp(&one.score));

    // Even a picture of one column has room for the start of a label.
    let room = ((7.0 * measures.letters.size()) as u32, measures.plate as u32);
    let size = (picture.width().max(room.0), picture.height().max(room.1));
    let mut canvas = if found.is_empty() || size == picture.dimensions() {
        picture
    } else {
        let mut canvas = RgbImage::from_pixel(size.0, size.1, PAPER);
        imageops::replace(&mut canvas, &picture, 0, 0);
        canvas
    };
    let plates = place(&found, measures, canvas::whole(&canvas));
    for (detection, area) in found.iter().rev() {
        let line = measures.line;
        canvas::frame(&mut canvas, area.grown(1), 1, EDGES, EDGE);
        canvas::frame(&mut canvas, area.grown(-line), 1, EDGES, EDGE);
        canvas::frame(&mut canvas, *area, line, palette::colour(detection.index), 1.0);
    }
    for ((detection, _), plate) in found.iter().zip(&plates).rev() {
        let ground = palette::colour(detection.index);
        canvas::fill(&mut canvas, plate.area, ground);
        let at = (plate.area.x + measures.padding, plate.area.y + measures.text);
        let at = (at.0 as f32, at.1 as f32);
        let ink = palette::ink_on(ground);
        measures.letters.draw(&mut canvas, &plate.text, at, Direction::Right, ink);
    }
    canvas
}

/// The pixels of the shown picture that a box touches; nothing if there are none.
fn area(detection: &Detection, scale: [f64; 2], picture: &RgbImage) -> Option<Area> {
    let Detection { xmin, ymin, xmax, ymax, .. } = *detection;
    // The first pixel that is touched and the one behind the last.
    let range = |from: f32, to: f32, scale: f64, length: u32| {
        if from.is_nan() || to.is_nan() {
            return None;
        }
        let length = f64::from(length);
        let (from, to) = (f64::from(from.min(to)) * scale, f64::from(from.max(to)) * scale);
        if to < 0.0 || from >= length {
            return None;
        }
        // A box without extent is a line, one pixel wide.
        let first = from.floor().clamp(0.0, length - 1.0);
        let end = to.ceil().clamp(first + 1.0, length);
        Some((first as i64, (end - first) as i64))
    };
    let (x, width) = range(xmin, xmax, scale[0], picture.width())?;
    let (y, height) = range(ymin, ymax, scale[1], picture.height())?;
    Some(Area::new((x, y), (width, height)))
}

/// Puts a plate at each box, the likeliest first: above it if that is within the picture and free,
/// else at another of its edges, else where it hides least.
fn place(found: &[(&Detection, Area)], measures: Measures, canvas: Area) -> Vec<Plate> {
    let mut plates: Vec<Plate> = Vec::with_capacity(found.len());
    for (detection, area) in found {
        let text = text(detection, measures, canvas.width);
        let width = measures.letters.width(&text).ceil() as i64 + 2 * measures.padding;
        let width = width.min(canvas.width);
        let height = measures.plate;
        let (left, right) = (area.x, area.right() - width);
        let (above, top) = (area.y - height, area.y);
        let (below, bottom) = (area.bottom(), area.bottom() - height);
        let candidates = [
            (left, above),
            (left, top),
            (right, above),
            (left, below),
            (right, top),
            (left, bottom),
            (right, below),
            (right, bottom),
        ];
        // Nothing that leaves the picture is a candidate, but there is always one.
        let moved = |(x, y): (i64, i64)| {
            (x.clamp(0, canvas.width - width), y.clamp(0, (canvas.height - height).max(0)))
        };
        let hidden = |place: (i64, i64)| {
            let area = Area::new(place, (width, height));
            let moves = i64::from(place.1 != moved(place).1) * i64::MAX / 2;
            let others = plates.iter().take(APART).map(|other| other.area.common(area).pixels());
            others.sum::<i64>().saturating_add(moves)
        };
        let mut best = moved((left, top));
        let mut least = i64::MAX;
        for (x, y) in candidates {
            let place = (moved((x, y)).0, y);
            let hides = hidden(place);
            if hides < least {
                (best, least) = (moved(place), hides);
            }
            if hides == 0 {
                break;
            }
        }
        plates.push(Plate { area: Area::new(best, (width, height)), text });
    }
    plates
}

/// The label and how sure it is, short enough for the picture.
fn text(detection: &Detection, measures: Measures, width: i64) -> String {
    let score = format!(" {:.0} %", f64::from(detection.score) * 100.0);
    let room = (width - 2 * measures.padding) as f32 - measures.letters.width(&score);
    let label = match &detection.label {
        Some(label) if !label.is_empty() => printable(label),
        _ => format!("class {}", detection.index).into(),
    };
    format!("{}{score}", measures.letters.fitted(&label, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUND: [u8; 3] = [120, 130, 140];

    fn plain(width: u32, height: u32) -> Image {
        Image::new(width, height, GROUND.repeat(width as usize * height as usize)).unwrap()
    }

    fn detection(index: usize, score: f32, [xmin, ymin, xmax, ymax]: [f32; 4]) -> Detection {
        Detection { index, label: Some("cat".to_owned()), score, xmin, ymin, xmax, ymax }
    }

    /// Where plates would be put on a picture of that size that is neither enlarged nor shrunk.
    fn plates(width: u32, height: u32, detections: &[Detection]) -> Vec<Plate> {
        let picture = RgbImage::new(width, height);
        let mut found: Vec<_> =
            detections.iter().map(|d| (d, area(d, [1.0; 2], &picture).unwrap())).collect();
        found.sort_by(|(one, _), (other, _)| other.score.total_cmp(&one.score));
        place(&found, Measures::new(&picture), canvas::whole(&picture))
    }

    #[test]
    fn frames_are_where_the_boxes_are_in_the_colour_of_the_class() {
        // Each pixel becomes four by four.
        let picture = with_boxes(&plain(100, 120), &[detection(1, 0.5, [25.0, 40.5, 75.0, 80.0])]);
        assert_eq!(picture.dimensions(), (400, 480));
        let at = |x, y| picture.get_pixel(x, y).0;
        let colour = palette::colour(1).0;
        for (x, y) in [(100, 250), (299, 250), (200, 162), (200, 319), (299, 319)] {
            assert_eq!(at(x, y), colour, "{x}, {y}");
        }
        for (x, y) in [(200, 250), (50, 250), (350, 250), (250, 400)] {
            assert_eq!(at(x, y), GROUND, "{x}, {y}");
        }
        // A dark edge on either side keeps the line visible on ground of its own colour.
        for (x, y) in [(99, 250), (300, 250), (250, 320), (102, 250)] {
            assert!(at(x, y)[0] < GROUND[0], "{x}, {y}");
        }
        let other = with_boxes(&plain(100, 120), &[detection(2, 0.5, [25.0, 40.5, 75.0, 80.0])]);
        assert_eq!(other.get_pixel(100, 250).0, palette::colour(2).0);
    }

    #[test]
    fn large_pictures_shrink_with_their_boxes() {
        let picture =
            with_boxes(&plain(3200, 400), &[detection(0, 0.5, [800.0, 100.0, 1600.0, 300.0])]);
        assert_eq!(picture.dimensions(), (1600, 200));
        for (x, y) in [(400, 100), (799, 100), (600, 149)] {
            assert_eq!(*picture.get_pixel(x, y), palette::colour(0), "{x}, {y}");
        }
        assert_eq!(picture.get_pixel(600, 100).0, GROUND);
    }

    #[test]
    fn what_is_likelier_lies_above() {
        let boxes = [
            detection(1, 0.9, [50.0, 100.0, 300.0, 300.0]),
            detection(2, 0.8, [50.0, 100.0, 300.0, 300.0]),
        ];
        for boxes in [boxes.clone(), [boxes[1].clone(), boxes[0].clone()]] {
            let picture = with_boxes(&plain(400, 400), &boxes);
            assert_eq!(*picture.get_pixel(50, 250), palette::colour(1));
        }
    }

    #[test]
    fn boxes_reach_to_the_edge_of_the_picture_and_not_further() {
        let picture = RgbImage::new(300, 200);
        let found = |corners| area(&detection(0, 0.5, corners), [1.0; 2], &picture);
        let whole = Some(canvas::whole(&picture));
        assert_eq!(found([-5.0, -1e30, 400.0, f32::INFINITY]), whole);
        assert_eq!(found([300.0, 0.0, 310.0, 10.0]), None, "right of the last column");
        assert_eq!(found([-9.0, 0.0, -1.0, 10.0]), None);
        assert_eq!(found([f32::NAN, 0.0, 10.0, 10.0]), None);
        assert_eq!(found([5.0, 5.0, 5.0, 5.0]), Some(Area::new((5, 5), (1, 1))));
        assert_eq!(found([9.5, 9.0, 2.0, 4.0]), Some(Area::new((2, 4), (8, 5))), "corners swapped");
        let outside = with_boxes(&plain(300, 200), &[detection(0, 0.5, [400.0, 0.0, 500.0, 50.0])]);
        assert!(outside.pixels().all(|pixel| pixel.0 == GROUND), "nothing is drawn");
    }

    #[test]
    fn plates_keep_apart_and_name_their_boxes() {
        let corners = [200.0, 200.0, 420.0, 420.0];
        let boxes: Vec<_> = (0..6).map(|i| detection(i, 0.9 - 0.1 * i as f32, corners)).collect();
        let plates = plates(640, 640, &boxes);
        for (index, plate) in plates.iter().enumerate() {
            assert_eq!(plate.text, format!("cat {} %", 90 - 10 * index));
            for other in &plates[..index] {
                assert_eq!(
                    plate.area.common(other.area).pixels(),
                    0,
                    "{:?} {:?}",
                    plate.area,
                    other.area
                );
            }
        }
        // The first choice is above the left upper corner.
        assert_eq!((plates[0].area.x, plates[0].area.bottom()), (200, 200));
    }

    #[test]
    fn a_label_without_room_above_lies_inside() {
        let plates = plates(640, 640, &[detection(0, 0.5, [590.0, 3.0, 640.0, 300.0])]);
        assert_eq!((plates[0].area.right(), plates[0].area.y), (640, 3));
    }

    #[test]
    fn labels_of_any_kind_stay_within_pictures_of_any_size() {
        let long = "a label without end ".repeat(400);
        let labels = [None, Some(""), Some("cat"), Some("猫"), Some("\u{202e}tac\n"), Some(&long)];
        // A fixed sequence of numbers from 0 to 1.
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        let sizes =
            [(1, 1, 60), (1, 700, 60), (2000, 1, 60), (31, 7, 60), (333, 481, 300), (1700, 30, 60)];
        for (width, height, count) in sizes {
            let mut place = |length: u32| (next() * 3.0 - 1.0) * length as f32;
            let boxes: Vec<Detection> = (0..count)
                .map(|index| Detection {
                    index: index * 7919,
                    label: labels[index % labels.len()].map(str::to_owned),
                    score: [0.5, 1.0, 0.0, f32::NAN, -3.0][index % 5],
                    xmin: place(width),
                    ymin: place(height),
                    xmax: place(width),
                    ymax: place(height),
                })
                .collect();
            let image = plain(width, height);
            let (alone, drawn) = (shown(&image), with_boxes(&image, &boxes));
            let size = |length: u32, alone: u32| length == alone || (alone < 160 && length < 160);
            assert!(
                size(drawn.width(), alone.width()),
                "{width}x{height}: {:?}",
                drawn.dimensions()
            );
            assert!(
                size(drawn.height(), alone.height()),
                "{width}x{height}: {:?}",
                drawn.dimensions()
            );
            assert_ne!(drawn, alone);
            let measures = Measures::new(&alone);
            let canvas = canvas::whole(&drawn);
            let found: Vec<_> = boxes
                .iter()
                .filter_map(|found| Some((found, area(found, [1.0; 2], &alone)?)))
                .collect();
            for plate in super::place(&found, measures, canvas) {
                assert_eq!(
                    plate.area.common(canvas),
                    plate.area,
                    "{width}x{height}: {}",
                    plate.text
                );
                let text = measures.letters.width(&plate.text) as i64;
                assert!(text <= plate.area.width, "{width}x{height}: {}", plate.text);
                assert!(plate.text.ends_with(" %"), "{}", plate.text);
            }
        }
    }
}
