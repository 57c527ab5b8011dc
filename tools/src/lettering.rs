//! Small letters for pictures, drawn from a table of dots: enough for the names of classes.

use image::{Rgb, RgbImage};
use std::{collections::HashMap, sync::LazyLock};

/// Dots of a letter from left to right and from top to bottom, two of them under the line.
const LETTER: (usize, usize) = (5, 9);

/// From a letter to the next.
const PITCH: usize = LETTER.0 + 1;

/// What stands for a letter that is not in the table.
const UNKNOWN: char = '?';

/// Bands of eight letters: a line that names them, then their dots.
const TABLE: &str = include_str!("lettering.txt");

static LETTERS: LazyLock<HashMap<char, [u8; LETTER.1]>> = LazyLock::new(|| letters(TABLE));

fn letters(table: &str) -> HashMap<char, [u8; LETTER.1]> {
    let mut letters = HashMap::new();
    let lines: Vec<&str> = table.lines().filter(|line| !line.is_empty()).collect();
    for band in lines.chunks_exact(LETTER.1 + 1) {
        for (index, name) in band[0].split_whitespace().filter_map(|n| n.chars().next()).enumerate()
        {
            let mut rows = [0; LETTER.1];
            for (row, line) in rows.iter_mut().zip(&band[1..]) {
                let dots = line.bytes().skip(index * PITCH).take(LETTER.0);
                *row = dots.fold(0, |row, dot| row << 1 | u8::from(dot == b'#'));
            }
            letters.insert(name, rows);
        }
    }
    letters
}

/// The direction of a line of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From left to right.
    Right,
    /// From bottom to top, the tops of the letters to the left.
    Up,
}

/// Length and height of a line of text, `scale` pixels a dot.
pub fn size(text: &str, scale: usize) -> (usize, usize) {
    let letters = text.chars().count();
    ((letters * PITCH).saturating_sub(1) * scale, LETTER.1 * scale)
}

/// Draws a line of text whose first letter starts at `(x, y)`: its left upper corner, or, for text
/// that runs upwards, its left lower one. What lies outside of the picture is left out.
pub fn draw(
    picture: &mut RgbImage,
    text: &str,
    (x, y): (usize, usize),
    scale: usize,
    direction: Direction,
    colour: Rgb<u8>,
) {
    let (width, height) = picture.dimensions();
    let mut dot = |along: usize, down: usize| {
        let place = match direction {
            Direction::Right => Some((x + along, y + down)),
            Direction::Up => y.checked_sub(along).map(|y| (x + down, y)),
        };
        if let Some((x, y)) = place
            && let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && x < width
            && y < height
        {
            picture.put_pixel(x, y, colour);
        }
    };
    for (index, letter) in text.chars().enumerate() {
        let Some(rows) = rows(letter) else { continue };
        for (row, dots) in rows.iter().enumerate() {
            for column in (0..LETTER.0).filter(|column| dots >> (LETTER.0 - 1 - column) & 1 == 1) {
                for fine in 0..scale * scale {
                    let along = (index * PITCH + column) * scale + fine % scale;
                    dot(along, row * scale + fine / scale);
                }
            }
        }
    }
}

/// The dots of a letter; nothing for a blank.
fn rows(letter: char) -> Option<&'static [u8; LETTER.1]> {
    if letter.is_whitespace() {
        return None;
    }
    LETTERS.get(&letter).or_else(|| LETTERS.get(&UNKNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, direction: Direction, at: (usize, usize), scale: usize) -> Vec<String> {
        let mut picture = RgbImage::new(12, 11);
        draw(&mut picture, text, at, scale, direction, Rgb([255; 3]));
        let rows = picture.rows().map(|row| {
            row.map(|pixel| if pixel.0 == [255; 3] { '#' } else { '.' }).collect::<String>()
        });
        rows.map(|row| row.trim_end_matches('.').to_owned()).collect()
    }

    #[test]
    fn letters_stand_upright_and_on_their_side() {
        let upright = drawn("L1", Direction::Right, (0, 1), 1);
        assert_eq!(upright[1], "#.......#");
        assert_eq!(upright[7], "#####..###");
        let upwards = drawn("L", Direction::Up, (2, 9), 1);
        assert_eq!(upwards[9], "..#######");
        assert_eq!(upwards[5], "........#");
        assert_eq!(upwards[4], "");
    }

    #[test]
    fn every_letter_differs_from_the_others() {
        let ascii = ('!'..='~').filter(|c| LETTERS.contains_key(c)).count();
        assert_eq!((ascii, LETTERS.len()), (80, 80));
        let different: std::collections::HashSet<_> = LETTERS.values().collect();
        assert_eq!(different.len(), 80);
        assert!(('a'..='z').chain('A'..='Z').chain('0'..='9').all(|c| LETTERS.contains_key(&c)));
    }

    #[test]
    fn text_may_leave_the_picture() {
        let whole = drawn("8", Direction::Right, (0, 0), 1);
        assert_eq!(drawn("8 8 8", Direction::Right, (0, 0), 1)[0], whole[0]);
        drawn("猫", Direction::Up, (11, 10), 7);
        assert_eq!(
            drawn("猫", Direction::Right, (0, 0), 1),
            drawn("?", Direction::Right, (0, 0), 1)
        );
        assert_eq!(size("ab", 2), (22, 18));
        assert_eq!(size("", 2), (0, 18));
    }
}
