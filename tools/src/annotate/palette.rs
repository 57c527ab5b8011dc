//! Colours of classes.

use image::Rgb;

/// Colours that the colour-blind tell apart, too: the qualitative palette of Okabe and Ito, "Color
/// Universal Design" (2008), without its black, neighbours in an order in which they differ most.
const COLOURS: [Rgb<u8>; 7] = [
    Rgb([0xe6, 0x9f, 0x00]),
    Rgb([0x00, 0x72, 0xb2]),
    Rgb([0xf0, 0xe4, 0x42]),
    Rgb([0xd5, 0x5e, 0x00]),
    Rgb([0x56, 0xb4, 0xe9]),
    Rgb([0x00, 0x9e, 0x73]),
    Rgb([0xcc, 0x79, 0xa7]),
];

const BLACK: Rgb<u8> = Rgb([0; 3]);
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// The colour of a class, the same in every picture.
pub(super) fn colour(class: usize) -> Rgb<u8> {
    COLOURS[class % COLOURS.len()]
}

/// Black or white, whichever is easier to read on a colour.
pub(super) fn ink_on(ground: Rgb<u8>) -> Rgb<u8> {
    if contrast(BLACK, ground) >= contrast(WHITE, ground) { BLACK } else { WHITE }
}

/// The ratio of two luminances as the Web Content Accessibility Guidelines define it, from 1 to 21.
fn contrast(one: Rgb<u8>, other: Rgb<u8>) -> f64 {
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

/// Relative luminance of an sRGB colour, from 0 to 1.
fn luminance(Rgb(channels): Rgb<u8>) -> f64 {
    let linear = channels.map(|channel| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_be_read_on_every_colour() {
        assert!((contrast(BLACK, WHITE) - 21.0).abs() < 1e-9);
        for class in 0..COLOURS.len() {
            let ground = colour(class);
            // 4.5 is what the guidelines ask for.
            assert!(contrast(ink_on(ground), ground) > 5.0, "{ground:?}");
        }
    }

    #[test]
    fn classes_keep_their_colours() {
        assert_eq!(colour(3), colour(3));
        let first: std::collections::HashSet<_> = (0..7).map(|class| colour(class).0).collect();
        assert_eq!(first.len(), 7);
        colour(usize::MAX);
    }
}
