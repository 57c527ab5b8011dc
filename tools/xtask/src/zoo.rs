//! The networks of `models/zoo` as points: accuracy against operations, time and size of the file.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use bnn_tools::markup::Escaped;
use serde::Deserialize;

use crate::root::root;

/// What `models/zoo/measure.py` measured.
const FIGURES: &str = "models/zoo/figures.json";

/// Pixels: the whole drawing, the frame of the first panel, and from one panel to the next.
const SIZE: [f64; 2] = [1040.0, 420.0];
const FRAME: Frame = Frame { left: 64.0, top: 96.0, width: 280.0, height: 236.0 };
const NEXT: f64 = 332.0;
/// Marks along an axis, about.
const MARKS: f64 = 5.0;
/// Colours of the networks in their order, told apart on light and dark ground and by the colour-blind.
const COLOURS: [&str; 6] = ["#2b8ac6", "#e08a1e", "#3a9d5d", "#b05fbf", "#8a8f98", "#c8443f"];
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:#1c1e21;\
font-variant-numeric:tabular-nums}\
text.title{font-size:18px;font-weight:600}text.quiet{fill:#5c6370}.middle{text-anchor:middle}.end{text-anchor:end}\
.ground{fill:#fff}.axis{stroke:#5c6370}.grid{stroke:#dfe2e6}.error{stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#eceef1}text.quiet{fill:#a3a9b4}.ground{fill:#16181c}\
.axis{stroke:#a3a9b4}.grid{stroke:#31363d}}";

#[derive(Debug, Deserialize)]
struct Figures {
    /// Where and when times were measured.
    measured: String,
    networks: Vec<Network>,
}

#[derive(Debug, Deserialize)]
struct Network {
    name: String,
    /// Share of the test pictures named rightly, and its standard error.
    accuracy: f64,
    standard_error: f64,
    /// Per picture; 64 binary multiplications count as one, as in the papers.
    operations: f64,
    milliseconds: f64,
    bytes: f64,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// A quantity along the horizontal axis.
struct Panel {
    title: &'static str,
    of: fn(&Network) -> f64,
}

const PANELS: [Panel; 3] = [
    Panel { title: "million operations", of: |network| network.operations / 1e6 },
    Panel { title: "milliseconds", of: |network| network.milliseconds },
    Panel { title: "kilobytes", of: |network| network.bytes / 1e3 },
];

/// The drawing.
pub(crate) fn drawing() -> Result<String> {
    let path = root().join(FIGURES);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let figures: Figures =
        serde_json::from_str(&text).with_context(|| format!("{} is broken", path.display()))?;
    Ok(draw(&figures))
}

fn draw(figures: &Figures) -> String {
    let [width, height] = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\"><title>Accuracy against operations, time and size</title>\
         <style>{STYLE}</style><rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"24\" y=\"34\">CIFAR-10 accuracy against operations, time and size</text>\n"
    );
    legend(&mut svg, &figures.networks);
    let accuracy = Scale::around(figures.networks.iter().flat_map(|network| {
        [-1.0, 1.0].map(|side| 100.0 * (network.accuracy + side * network.standard_error))
    }));
    for (index, panel) in PANELS.iter().enumerate() {
        let frame = Frame { left: FRAME.left + index as f64 * NEXT, ..FRAME };
        let across = Scale::from_zero(figures.networks.iter().map(panel.of));
        axes(&mut svg, frame, &accuracy, &across, panel.title, index == 0);
        points(&mut svg, frame, &accuracy, &across, panel, &figures.networks);
    }
    let _ = writeln!(
        svg,
        "<text class=\"quiet\" x=\"24\" y=\"{}\">{}. 64 binary operations count as one; bars are standard \
         errors.</text>\n</svg>",
        height - 18.0,
        Escaped(&figures.measured)
    );
    svg
}

/// Name and colour of each network in one line.
fn legend(svg: &mut String, networks: &[Network]) {
    let step = (SIZE[0] - 48.0) / networks.len().max(1) as f64;
    for (index, network) in networks.iter().enumerate() {
        let x = 30.0 + index as f64 * step;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"61\" r=\"6\" fill=\"{}\"/><text x=\"{:.1}\" y=\"66\">{}</text>",
            colour(index),
            x + 12.0,
            Escaped(&network.name)
        );
    }
}

fn axes(svg: &mut String, frame: Frame, up: &Scale, across: &Scale, title: &str, first: bool) {
    let Frame { left, top, width, height } = frame;
    let bottom = top + height;
    for mark in up.marks() {
        let y = bottom - up.share(mark) * height;
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{left} {y:.1}h{width}\"/><text class=\"quiet end\" x=\"{}\" \
             y=\"{:.1}\">{mark}{}</text>",
            left - 8.0,
            y + 4.5,
            if first { " %" } else { "" }
        );
    }
    for mark in across.marks() {
        let x = left + across.share(mark) * width;
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/><text class=\"quiet middle\" x=\"{x:.1}\" \
             y=\"{}\">{mark}</text>",
            bottom + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" fill=\"none\" d=\"M{left} {top}v{height}h{width}\"/><text class=\"middle\" x=\"{}\" \
         y=\"{}\">{title}</text>",
        left + width / 2.0,
        bottom + 42.0
    );
}

fn points(
    svg: &mut String,
    frame: Frame,
    up: &Scale,
    across: &Scale,
    panel: &Panel,
    networks: &[Network],
) {
    let place = |percent: f64| frame.top + frame.height * (1.0 - up.share(percent));
    for (index, network) in networks.iter().enumerate() {
        let value = (panel.of)(network);
        let x = frame.left + across.share(value) * frame.width;
        let [y, high, low] = [0.0, 1.0, -1.0]
            .map(|side| place(100.0 * (network.accuracy + side * network.standard_error)));
        let colour = colour(index);
        let _ = writeln!(
            svg,
            "<g><title>{}: {:.1} %, {value:.3} {}</title><path class=\"error\" stroke=\"{colour}\" \
             d=\"M{x:.1} {high:.1}V{low:.1}\"/><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"{colour}\"/></g>",
            Escaped(&network.name),
            100.0 * network.accuracy,
            panel.title
        );
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Where an axis begins and ends, and how far its marks are apart.
#[derive(Debug)]
struct Scale {
    first: f64,
    last: f64,
    step: f64,
}

impl Scale {
    fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        Self::between(0.0, values.fold(0.0, f64::max))
    }

    fn around(values: impl Iterator<Item = f64>) -> Self {
        let range = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) =
            values.fold(range, |(low, high), value| (low.min(value), high.max(value)));
        if low <= high { Self::between(low, high) } else { Self::between(0.0, 1.0) }
    }

    /// Whole steps of 1, 2 or 5 times a power of ten.
    fn between(low: f64, high: f64) -> Self {
        let rough = ((high - low) / MARKS).max(1e-9);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|&step| step >= rough).unwrap_or(10.0 * power);
        Self { first: (low / step).floor() * step, last: (high / step).ceil() * step, step }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.first) / (self.last - self.first)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        let count = ((self.last - self.first) / self.step).round() as usize;
        let (first, step) = (self.first, self.step);
        // No trace of binary fractions is to be read.
        let round = |value: f64| (value * 1e6).round() / 1e6;
        (0..=count).map(move |index| round(first + index as f64 * step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_around_all_values() {
        let marks = |scale: Scale| scale.marks().collect::<Vec<_>>();
        assert_eq!(marks(Scale::between(0.0, 23.0)), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        assert_eq!(marks(Scale::between(0.0, 0.35)), [0.0, 0.1, 0.2, 0.3, 0.4]);
        assert_eq!(marks(Scale::between(77.9, 87.6)), [76.0, 78.0, 80.0, 82.0, 84.0, 86.0, 88.0]);
        assert_eq!(Scale::around(std::iter::empty()).first, 0.0);
    }

    #[test]
    fn points_lie_where_their_values_are() {
        let network = |name: &str, accuracy, milliseconds| Network {
            name: name.into(),
            accuracy,
            standard_error: 0.01,
            operations: 2e6,
            milliseconds,
            bytes: 3e5,
        };
        let networks = vec![network("a<b", 0.71, 1.0), network("c", 0.79, 2.0)];
        let svg = draw(&Figures { measured: "here".into(), networks });
        assert!(svg.contains("a&lt;b: 71.0 %, 1.000 milliseconds"), "{svg}");
        // From 70 to 80 %, 0 to 2 ms: one percent above the axis in the middle, and near the right end.
        let bottom = FRAME.top + FRAME.height;
        for (part, percent) in [(0.5, 1.0), (1.0, 9.0)] {
            let x = FRAME.left + NEXT + part * FRAME.width;
            let y = bottom - percent / 10.0 * FRAME.height;
            assert!(svg.contains(&format!("cx=\"{x:.1}\" cy=\"{y:.1}\"")), "{x} {y}: {svg}");
        }
    }
}
