//! Time by layer as a chart: one bar a layer, as a drawing (SVG) or a picture (PNG).

use super::profile::LayerTime;
use crate::{
    canvas::{self, Area},
    exit::{Failure, Result},
    files,
    lettering::{Direction, Letters, Weight},
    markup::{Escaped, shortened},
    terminal::{self, printable},
};
use image::{Rgb, RgbImage};
use std::{fmt::Write, path::Path};

/// Pixels.
const WIDTH: i64 = 1040;
const MARGIN: i64 = 28;
/// Line of the title, bar of all layers together, line that explains it, line above the rows.
const TITLE: i64 = 44;
const WHOLE: Area = Area { x: MARGIN, y: 62, width: WIDTH - 2 * MARGIN, height: 18 };
const KEY: i64 = 102;
const HEADING: i64 = 142;
/// First row, and from one to the next.
const ROWS: i64 = 152;
const ROW: i64 = 24;
/// Left ends of names and bars, and their widths.
const NAMES: (i64, i64) = (MARGIN, 286);
const BARS: (i64, i64) = (NAMES.0 + NAMES.1 + 12, 430);
/// Right ends of the three columns of numbers.
const NUMBERS: [i64; 3] = [BARS.0 + BARS.1 + 88, BARS.0 + BARS.1 + 158, WIDTH - MARGIN];
const HEADINGS: [&str; 3] = ["time", "share", "of the limit"];
/// Letters of a name that a drawing has room for, whatever the font is, and of a title.
const NAME: usize = 37;
const LONG: usize = 100;

/// Colours that are told apart on light and dark ground, and by the colour-blind.
const STYLE: &str = "\
text{font:14px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:#1c1e21;\
font-variant-numeric:tabular-nums}\
text.title{font-size:19px;font-weight:600}text.quiet{fill:#5c6370}.end{text-anchor:end}\
.ground{fill:#fff}.track{fill:#eceef1}.binary{fill:#2b8ac6}.float{fill:#e08a1e}.other{fill:#8a8f98}\
@media(prefers-color-scheme:dark){text{fill:#eceef1}text.quiet{fill:#a3a9b4}.ground{fill:#16181c}\
.track{fill:#272b31}}";
const GROUND: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([0x1c, 0x1e, 0x21]);
const QUIET: Rgb<u8> = Rgb([0x5c, 0x63, 0x70]);

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

    /// As in the style sheet.
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
/// [`Status::Usage`](crate::exit::Status::Usage) for another ending,
/// [`Status::Other`](crate::exit::Status::Other) if the file cannot be written.
pub(super) fn save(title: &str, layers: &[LayerTime], path: &Path) -> Result<()> {
    match Form::of(path)? {
        Form::Svg => files::write(path, svg(title, layers).as_bytes()),
        Form::Png => canvas::save(&picture(title, layers), path),
    }
}

/// Fails if the chart could not be written, or not in the form that the name asks for: before anything
/// is measured.
///
/// # Errors
/// As [`save`].
pub(super) fn check(path: &Path) -> Result<()> {
    Form::of(path)?;
    files::check(path)
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

/// What an area is painted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    /// A whole bar would reach so far.
    Track,
    Kind(Kind),
}

impl Paint {
    fn class(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Kind(kind) => kind.name(),
        }
    }

    fn colour(self) -> [u8; 3] {
        match self {
            Self::Track => [0xec, 0xee, 0xf1],
            Self::Kind(kind) => kind.colour(),
        }
    }
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Title,
    Text,
    Quiet,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It begins here.
    Left(i64),
    /// It ends here.
    Right(i64),
}

/// What the chart consists of, in either form.
enum Part {
    Area(Area, Paint),
    Text { at: End, line: i64, style: Style, text: String },
}

/// Parts that belong together, with more to say about them than there is room for.
struct Group {
    about: String,
    parts: Vec<Part>,
}

impl Group {
    fn new(about: String) -> Self {
        Self { about, parts: Vec::new() }
    }

    fn area(&mut self, area: Area, paint: Paint) {
        self.parts.push(Part::Area(area, paint));
    }

    fn text(&mut self, at: End, line: i64, style: Style, text: impl Into<String>) {
        self.parts.push(Part::Text { at, line, style, text: text.into() });
    }
}

fn height(layers: &[LayerTime]) -> i64 {
    ROWS + layers.len() as i64 * ROW + MARGIN
}

/// All of the chart from top to bottom.
fn groups(title: &str, layers: &[LayerTime]) -> Vec<Group> {
    let mut groups = vec![whole(title, layers)];
    let mut headings = Group::new(String::new());
    if !layers.is_empty() {
        headings.text(End::Left(NAMES.0), HEADING, Style::Quiet, "layer");
        for (heading, right) in HEADINGS.into_iter().zip(NUMBERS) {
            headings.text(End::Right(right), HEADING, Style::Quiet, heading);
        }
    }
    groups.push(headings);
    let longest = layers.iter().map(|layer| layer.ms).fold(f64::MIN_POSITIVE, f64::max);
    groups.extend(layers.iter().enumerate().map(|(index, layer)| row(index, layer, longest)));
    groups
}

/// Title, and one bar with the time of all layers, by their kind.
fn whole(title: &str, layers: &[LayerTime]) -> Group {
    let mut group = Group::new(title.to_owned());
    group.text(End::Left(MARGIN), TITLE, Style::Title, shortened(title, LONG));
    group.area(WHOLE, Paint::Track);
    let all: f64 = layers.iter().map(|layer| layer.ms).sum();
    let (mut before, mut key) = (0.0, MARGIN);
    for kind in Kind::ALL {
        let of_kind: Vec<_> = layers.iter().filter(|layer| Kind::of(layer) == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let ms: f64 = of_kind.iter().map(|layer| layer.ms).sum();
        let part = ms / all.max(f64::MIN_POSITIVE);
        let place = |part: f64| (part * WHOLE.width as f64).round() as i64;
        let (from, to) = (place(before), place(before + part));
        group.area(Area { x: WHOLE.x + from, width: to - from, ..WHOLE }, Paint::Kind(kind));
        before += part;
        group.area(Area::new((key, KEY - 10), (11, 11)), Paint::Kind(kind));
        let text =
            format!("{} {} ({:.0} %)", kind.name(), terminal::milliseconds(ms), part * 100.0);
        group.text(End::Left(key + 18), KEY, Style::Text, text);
        key += 216;
    }
    group
}

fn row(index: usize, layer: &LayerTime, longest: f64) -> Group {
    let top = ROWS + index as i64 * ROW;
    let line = top + 16;
    let mut row = Group::new(format!(
        "{}: {}, {}",
        layer.name,
        layer.kernel,
        terminal::shape(&layer.output_shape)
    ));
    row.text(End::Left(NAMES.0), line, Style::Text, shortened(&layer.name, NAME));
    // Even the shortest time is there.
    let length = (layer.ms / longest * BARS.1 as f64).round().max(1.0) as i64;
    let bar = Area::new((BARS.0, top + 5), (BARS.1, 14));
    row.area(bar, Paint::Track);
    row.area(Area { width: length, ..bar }, Paint::Kind(Kind::of(layer)));
    let share = layer.share_of_limit.map(|share| format!("{:.0} %", share * 100.0));
    let numbers = [
        terminal::milliseconds(layer.ms),
        format!("{:.1} %", layer.fraction * 100.0),
        share.unwrap_or_default(),
    ];
    for (number, right) in numbers.into_iter().zip(NUMBERS) {
        row.text(End::Right(right), line, Style::Text, number);
    }
    row
}

/// The chart as an SVG file.
pub fn svg(title: &str, layers: &[LayerTime]) -> String {
    let height = height(layers);
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\
         <style>{STYLE}</style><rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>",
        Escaped(title)
    );
    for Group { about, parts } in groups(title, layers) {
        svg.push_str("<g>");
        if !about.is_empty() {
            let _ = write!(svg, "<title>{}</title>", Escaped(&about));
        }
        for part in parts {
            let _ = match part {
                Part::Area(Area { x, y, width, height }, paint) => write!(
                    svg,
                    "<rect class=\"{}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>",
                    paint.class()
                ),
                Part::Text { at, line, style, text } => {
                    let (x, anchor) = match at {
                        End::Left(x) => (x, ""),
                        End::Right(x) => (x, " end"),
                    };
                    let class = match style {
                        Style::Title => "title",
                        Style::Text => "text",
                        Style::Quiet => "quiet",
                    };
                    let text = Escaped(&text);
                    write!(
                        svg,
                        "<text class=\"{class}{anchor}\" x=\"{x}\" y=\"{line}\">{text}</text>"
                    )
                }
            };
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn picture(title: &str, layers: &[LayerTime]) -> RgbImage {
    let mut picture = RgbImage::from_pixel(WIDTH as u32, height(layers) as u32, GROUND);
    for part in groups(title, layers).into_iter().flat_map(|group| group.parts) {
        match part {
            Part::Area(area, paint) => canvas::fill(&mut picture, area, Rgb(paint.colour())),
            Part::Text { at, line, style, text } => {
                let (weight, size, colour) = match style {
                    Style::Title => (Weight::Bold, 19.0, INK),
                    Style::Text => (Weight::Regular, 14.0, INK),
                    Style::Quiet => (Weight::Regular, 14.0, QUIET),
                };
                let letters = Letters::new(weight, size);
                let text = printable(&text);
                let x = match at {
                    End::Left(x) => x as f32,
                    End::Right(x) => x as f32 - letters.width(&text),
                };
                letters.draw(&mut picture, &text, (x, line as f32), Direction::Right, colour);
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Status;

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
        let bar = |kind: &str, width: i64| {
            let x = BARS.0;
            svg.lines().any(|line| {
                line.contains(&format!("<rect class=\"{kind}\" x=\"{x}\""))
                    && line.contains(&format!("width=\"{width}\""))
            })
        };
        assert!(bar("float", 430) && bar("binary", 143), "{svg}");
        for text in ["1.00 ms", "25.0 %", "50 %", "float 3.00 ms (75 %)", "kernel, 1x2x3"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains(">other"), "there are no others");
        let picture = picture("a", &layers);
        let coloured = |y: i64, kind: Kind| {
            (BARS.0..WIDTH)
                .filter(|&x| picture.get_pixel(x as u32, y as u32).0 == kind.colour())
                .count()
        };
        assert_eq!(coloured(ROWS + 12, Kind::Float), 430);
        assert_eq!(coloured(ROWS + ROW + 12, Kind::Binary), 143);
        // Of all layers together: three quarters are floats, and they come second.
        let whole = |x: i64| picture.get_pixel((WHOLE.x + x) as u32, WHOLE.y as u32 + 5).0;
        assert_eq!(whole(245), Kind::Binary.colour());
        assert_eq!((whole(247), whole(983)), (Kind::Float.colour(), Kind::Float.colour()));
    }

    #[test]
    fn both_forms_have_the_same_colours() {
        for kind in Kind::ALL {
            let [red, green, blue] = kind.colour();
            let rule = format!(".{}{{fill:#{red:02x}{green:02x}{blue:02x}}}", kind.name());
            assert!(STYLE.contains(&rule), "{rule}");
        }
    }

    #[test]
    fn names_of_any_length_and_times_of_nothing_are_drawn() {
        let layers: Vec<LayerTime> = ["", "猫", &"long ".repeat(2000), "a\u{202e}b\n"]
            .iter()
            .map(|name| layer(name, "softmax", 0.0))
            .collect();
        for count in 0..=layers.len() {
            let picture = picture(&"title ".repeat(500), &layers[..count]);
            assert_eq!(i64::from(picture.height()), height(&layers[..count]));
            assert!(!svg("", &layers[..count]).contains("NaN"));
        }
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
        let failure = check(&folder.path().join("no/such/chart.svg")).unwrap_err();
        assert_eq!(failure.status(), Status::Other);
    }
}
