//! Time by layer as a chart: one bar a layer, as a drawing (SVG) or a picture (PNG).

use super::profile::LayerTime;
use crate::{
    exit::{Failure, Result, Status},
    files,
    lettering::{self, Direction},
    markup::{Escaped, Number, shortened},
    terminal,
};
use image::{ImageFormat, Rgb, RgbImage};
use std::{fmt::Write, io::Cursor, path::Path};

/// Letters of a layer's name that are kept: its end tells it from its neighbours.
const NAME: usize = 36;
/// Pixels.
const ROW: usize = 20;
const MARGIN: usize = 16;
const NAMES: usize = 272;
const BARS: usize = 520;
const VALUES: usize = 232;
const WIDTH: usize = MARGIN * 2 + NAMES + BARS + VALUES;
const TITLE: usize = 52;

/// What a bar is coloured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Binary,
    Float,
    Other,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Binary, Self::Float, Self::Other];

    fn of(layer: &LayerTime) -> Self {
        match layer.kind {
            "binary_conv" => Self::Binary,
            "float_conv" => Self::Float,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Float => "float",
            Self::Other => "other",
        }
    }

    /// Colours that are told apart on light and dark ground, and by the colour-blind.
    fn colour(self) -> [u8; 3] {
        match self {
            Self::Binary => [0x2b, 0x8a, 0xc6],
            Self::Float => [0xe0, 0x8a, 0x1e],
            Self::Other => [0x8a, 0x8f, 0x98],
        }
    }
}

/// Writes the chart; the ending of the name says in which form.
///
/// # Errors
/// [`Status::Usage`] for another ending, [`Status::Other`] if the file cannot be written.
pub(super) fn save(title: &str, layers: &[LayerTime], path: &Path) -> Result<()> {
    let bytes = match Form::of(path)? {
        Form::Svg => svg(title, layers).into_bytes(),
        Form::Png => {
            let mut bytes = Cursor::new(Vec::new());
            picture(title, layers).write_to(&mut bytes, ImageFormat::Png).map_err(|error| {
                Failure::new(Status::Other, format_args!("{}: {error}", path.display()))
            })?;
            bytes.into_inner()
        }
    };
    files::write(path, &bytes)
}

/// Fails if the chart could not be written in the form that the name asks for: before anything is
/// measured.
///
/// # Errors
/// [`Status::Usage`].
pub(super) fn check(path: &Path) -> Result<()> {
    Form::of(path).map(|_| ())
}

enum Form {
    Svg,
    Png,
}

impl Form {
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Failure::usage(format_args!(
                "{}: expected a name that ends in .svg or .png",
                path.display()
            ))),
        }
    }
}

/// The texts of a bar.
fn texts(layer: &LayerTime) -> (String, String) {
    let mut value =
        format!("{} · {:.1} %", terminal::milliseconds(layer.ms), layer.fraction * 100.0);
    if let Some(share) = layer.share_of_limit {
        let _ = write!(value, " · {:.0} % of limit", share * 100.0);
    }
    (shortened(&layer.name, NAME), value)
}

fn length(layer: &LayerTime, layers: &[LayerTime]) -> f64 {
    let longest = layers.iter().map(|layer| layer.ms).fold(f64::MIN_POSITIVE, f64::max);
    layer.ms / longest * BARS as f64
}

fn totals(layers: &[LayerTime]) -> impl Iterator<Item = (Kind, String)> {
    Kind::ALL.into_iter().map(|kind| {
        let ms = layers.iter().filter(|layer| Kind::of(layer) == kind).map(|layer| layer.ms).sum();
        (kind, format!("{} {}", kind.name(), terminal::milliseconds(ms)))
    })
}

fn svg(title: &str, layers: &[LayerTime]) -> String {
    let height = TITLE + layers.len() * ROW + MARGIN;
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\
         <style>.ground{{fill:#fff}}.ink{{fill:#1c1e21}}.quiet{{fill:#5c6370}}\
         @media(prefers-color-scheme:dark){{.ground{{fill:#16181c}}.ink{{fill:#eceef1}}.quiet{{fill:#a3a9b4}}}}\
         </style><rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\
         <text class=\"ink\" x=\"{MARGIN}\" y=\"22\" font-size=\"15\" font-weight=\"600\">{}</text>",
        Escaped(title)
    );
    let mut x = MARGIN;
    for (kind, text) in totals(layers) {
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"33\" width=\"10\" height=\"10\" rx=\"2\" fill=\"{}\"/>\
             <text class=\"quiet\" x=\"{}\" y=\"42\">{}</text>",
            hexadecimal(kind.colour()),
            x + 15,
            Escaped(&text)
        );
        x += 150;
    }
    let bars = MARGIN + NAMES;
    for (index, layer) in layers.iter().enumerate() {
        let y = TITLE + index * ROW;
        let (name, value) = texts(layer);
        let length = length(layer, layers);
        let _ = write!(
            svg,
            "<g><title>{}: {}, {}</title>\
             <text class=\"ink\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{bars}\" y=\"{}\" width=\"{}\" height=\"12\" rx=\"2\" fill=\"{}\"/>\
             <text class=\"quiet\" x=\"{}\" y=\"{}\">{}</text></g>",
            Escaped(&layer.name),
            Escaped(layer.kernel),
            Escaped(&terminal::shape(&layer.output_shape)),
            bars - 8,
            y + 14,
            Escaped(&name),
            y + 4,
            Number(length.max(1.0)),
            hexadecimal(Kind::of(layer).colour()),
            Number(bars as f64 + length + 8.0),
            y + 14,
            Escaped(&value),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn hexadecimal([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn picture(title: &str, layers: &[LayerTime]) -> RgbImage {
    const GROUND: Rgb<u8> = Rgb([255; 3]);
    const INK: Rgb<u8> = Rgb([0x1c, 0x1e, 0x21]);
    let height = TITLE + layers.len() * ROW + MARGIN;
    let mut picture = RgbImage::from_pixel(WIDTH as u32, height as u32, GROUND);
    // The letters have no dot between two numbers.
    let plain = |text: String| text.replace('·', "-").replace('µ', "u").replace('…', "..");
    let write = |picture: &mut RgbImage, text: &str, place, scale| {
        lettering::draw(picture, text, place, scale, Direction::Right, INK);
    };
    write(&mut picture, &plain(shortened(title, 80)), (MARGIN, 8), 2);
    let mut x = MARGIN;
    for (kind, text) in totals(layers) {
        fill(&mut picture, (x, 33), (10, 10), kind.colour());
        write(&mut picture, &plain(text), (x + 15, 34), 1);
        x += 150;
    }
    let bars = MARGIN + NAMES;
    for (index, layer) in layers.iter().enumerate() {
        let y = TITLE + index * ROW;
        let (name, value) = texts(layer);
        let (name, value) = (plain(name), plain(value));
        let name_length = lettering::size(&name, 1).0;
        write(&mut picture, &name, (bars.saturating_sub(8 + name_length), y + 6), 1);
        let length = length(layer, layers).round() as usize;
        fill(&mut picture, (bars, y + 4), (length.max(1), 12), Kind::of(layer).colour());
        write(&mut picture, &value, (bars + length + 8, y + 6), 1);
    }
    picture
}

fn fill(
    picture: &mut RgbImage,
    (x, y): (usize, usize),
    (width, height): (usize, usize),
    colour: [u8; 3],
) {
    for row in y..y + height {
        for column in x..x + width {
            picture.put_pixel(column as u32, row as u32, Rgb(colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, kind: &'static str, ms: f64) -> LayerTime {
        LayerTime {
            name: name.to_owned(),
            kind,
            kernel: "kernel",
            output_shape: [1, 2, 3],
            macs: 6,
            ms,
            fraction: ms / 4.0,
            gmacs: None,
            share_of_limit: (kind == "binary_conv").then_some(0.5),
        }
    }

    #[test]
    fn bars_are_as_long_as_layers_take() {
        let layers = [layer("<stem>", "float_conv", 3.0), layer("body", "binary_conv", 1.0)];
        let svg = svg("a & b", &layers);
        assert!(
            svg.contains("a &amp; b") && svg.contains("&lt;stem&gt;") && !svg.contains("<stem>")
        );
        assert!(svg.contains("width=\"520\"") && svg.contains("width=\"173.3\""), "{svg}");
        assert!(svg.contains("1.00 ms · 25.0 % · 50 % of limit"));
        let picture = picture("a", &layers);
        let row = |index: usize| (TITLE + index * ROW + 10) as u32;
        let coloured = |index: usize, colour: [u8; 3]| {
            (0..WIDTH as u32).filter(|&x| picture.get_pixel(x, row(index)).0 == colour).count()
        };
        assert_eq!(coloured(0, Kind::Float.colour()), BARS);
        assert_eq!(coloured(1, Kind::Binary.colour()), 173);
    }

    #[test]
    fn the_ending_says_the_form() {
        let folder = tempfile::tempdir().unwrap();
        for (name, start) in [("a.svg", &b"<svg"[..]), ("b.PNG", b"\x89PNG")] {
            let path = folder.path().join(name);
            save("t", &[layer("x", "float_conv", 1.0)], &path).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(start));
        }
        let failure = check(Path::new("chart.jpg")).unwrap_err();
        assert_eq!(failure.status(), Status::Usage);
    }
}
