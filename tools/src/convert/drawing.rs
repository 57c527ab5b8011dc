//! The network as a picture: one block a step from left to right, arcs for results that skip ahead,
//! and under each block how large its weights are and how much it computes.

use super::blocks::{Block, Blocks, Edge, Kind};
use crate::{
    markup::{Escaped, Number, shortened},
    terminal,
};
use bnn::convert::{LayerReport, Precision};
use std::fmt::Write;

/// Colours of the page and of the drawing.
pub(super) const STYLE: &str = include_str!("drawing.css");

/// Width that the drawing is made for; larger networks get a wider one.
const WIDTH: f64 = 1080.0;
/// Least and largest distance between the middles of two layers.
const PITCH: (f64, f64) = (3.4, 88.0);
/// A step without weights takes this part of a layer's place.
const SLIM: f64 = 0.6;
/// Height of the highest block, and what even a map of one pixel gets.
const BLOCK: (f64, f64) = (110.0, 36.0);
/// Height of the highest arc.
const ARC: f64 = 84.0;
/// Height of the longest bar.
const BAR: f64 = 84.0;
/// Space for a line of text.
const LINE: f64 = 18.0;
/// Width of a letter in a block, and of one under it, about.
const LETTER: (f64, f64) = (6.6, 7.2);
/// Space around a drawing that is not on a page.
const ALONE: f64 = 16.0;
/// Arcs that are drawn; a picture with more of them shows nothing.
const ARCS: usize = 4000;

/// Where a block stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    middle: f64,
    width: f64,
    height: f64,
}

/// Draws a network as an SVG element of a page with [`STYLE`] and a row for each layer.
pub(super) fn draw(network: &Blocks, layers: &[LayerReport]) -> String {
    Drawing::new(network, layers).svg()
}

/// Draws a network as an SVG file.
pub(super) fn draw_alone(network: &Blocks, layers: &[LayerReport]) -> String {
    Drawing { alone: true, ..Drawing::new(network, layers) }.svg()
}

struct Drawing<'a> {
    network: &'a Blocks,
    layers: &'a [LayerReport],
    places: Vec<Place>,
    pitch: f64,
    width: f64,
    /// Height of the middle of all blocks.
    middle: f64,
    /// Not on a page.
    alone: bool,
}

impl<'a> Drawing<'a> {
    fn new(network: &'a Blocks, layers: &'a [LayerReport]) -> Self {
        let share = |block: &Block| if is_layer(block) { 1.0 } else { SLIM };
        let shares: f64 = network.blocks.iter().map(share).sum();
        let pitch = (WIDTH / shares.max(1.0)).clamp(PITCH.0, PITCH.1);
        let side = |block: &Block| (block.shape[0] as f64 * block.shape[1] as f64).sqrt().ln_1p();
        let largest = network.blocks.iter().map(side).fold(1.0, f64::max);
        let mut right = 2.0;
        let places = network
            .blocks
            .iter()
            .map(|block| {
                let room = pitch * share(block);
                let middle = right + room / 2.0;
                right += room;
                let height = BLOCK.1 + (BLOCK.0 - BLOCK.1) * side(block) / largest;
                Place { middle, width: (room * 0.78).max(room - 10.0), height }
            })
            .collect();
        // A wide enough picture for the lines of text in it.
        let width = (right + 2.0).max(560.0);
        let mut drawing = Self { network, layers, places, pitch, width, middle: 0.0, alone: false };
        let peaks = network.edges.iter().filter_map(|edge| drawing.peak(edge));
        drawing.middle = 6.0 - peaks.fold(-BLOCK.0 / 2.0, f64::min);
        drawing
    }

    /// The highest place of an arc; nothing for a line from a block to the next.
    fn peak(&self, edge: &Edge) -> Option<f64> {
        let top = |index: usize| Some(self.middle - self.places.get(index)?.height / 2.0);
        let span = edge.to.saturating_sub(edge.from) as f64;
        let rise = (12.0 + 9.0 * span.ln() * span.sqrt().min(3.0)).min(ARC);
        (span > 1.0).then_some(top(edge.from)?.min(top(edge.to)?) - rise)
    }

    fn svg(&self) -> String {
        let mut svg = String::new();
        let names = self.pitch >= 60.0;
        let below_blocks = self.middle + BLOCK.0 / 2.0;
        let shapes = below_blocks + if names { 2.0 * LINE } else { LINE };
        let weights = shapes + 2.0 * LINE + BAR;
        let macs = weights + 2.4 * LINE + BAR;
        // Without layers there is nothing to compare.
        let height = if self.layers.is_empty() { shapes } else { macs } + 8.0;
        // Text keeps its size: a narrow window scrolls, a wide one does not blow a small network up.
        let margin = if self.alone { ALONE } else { 0.0 };
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{m} {m} {w} {h}\" width=\"{w}\" \
             height=\"{h}\" role=\"group\" aria-label=\"The network as blocks from input to output\">",
            m = Number(-margin),
            w = Number(self.width + 2.0 * margin),
            h = Number(height + 2.0 * margin)
        );
        if self.alone {
            let _ = write!(svg, "<style>\n{STYLE}svg {{ background: var(--card); }}\n</style>");
        }
        self.edges(&mut svg);
        for (block, place) in self.network.blocks.iter().zip(&self.places) {
            self.block(&mut svg, block, *place, names);
        }
        self.shapes(&mut svg, shapes);
        if !self.layers.is_empty() {
            self.weights(&mut svg, weights);
            self.macs(&mut svg, macs);
        }
        svg.push_str("</svg>");
        svg
    }

    fn edges(&self, svg: &mut String) {
        let mut arcs = 0;
        for edge in &self.network.edges {
            let class = if edge.bits { "bits" } else { "floats" };
            let (Some(from), Some(to)) = (self.places.get(edge.from), self.places.get(edge.to))
            else {
                continue;
            };
            let Some(peak) = self.peak(edge) else {
                // Two maps between the same blocks lie side by side.
                let twin = Edge { bits: !edge.bits, ..*edge };
                let beside = match (self.network.edges.binary_search(&twin), edge.bits) {
                    (Err(_), _) => 0.0,
                    (Ok(_), true) => 2.0,
                    (Ok(_), false) => -2.0,
                };
                let _ = write!(
                    svg,
                    "<path class=\"{class}\" d=\"M{} {y}H{}\"/>",
                    Number(from.middle),
                    Number(to.middle),
                    y = Number(self.middle + beside)
                );
                continue;
            };
            arcs += 1;
            if arcs > ARCS {
                continue;
            }
            let (from_top, to_top) =
                (self.middle - from.height / 2.0, self.middle - to.height / 2.0);
            // A cubic curve between equally high ends rises to three quarters of its control points.
            let control = peak - (from_top.min(to_top) - peak) / 3.0;
            let _ = write!(
                svg,
                "<path class=\"{class}\" d=\"M{x0} {}C{x0} {control} {x1} {control} {x1} {}\"/>",
                Number(from_top),
                Number(to_top),
                x0 = Number(from.middle),
                x1 = Number(to.middle),
                control = Number(control),
            );
        }
    }

    fn block(&self, svg: &mut String, block: &Block, place: Place, names: bool) {
        let row = block.layer.and_then(|index| Some((index, self.layers.get(index)?)));
        let link = row.filter(|_| !self.alone);
        if let Some((index, _)) = link {
            let _ = write!(svg, "<a href=\"#layer-{index}\">");
        }
        svg.push_str("<g><title>");
        let _ = write!(svg, "{}: ", Escaped(&block.name));
        match row {
            Some((_, layer)) => {
                let _ = write!(
                    svg,
                    "{}, {} to {}, {}",
                    Escaped(&layer.kind),
                    terminal::shape(&layer.input_shape),
                    terminal::shape(&layer.output_shape),
                    match layer.precision() {
                        Precision::Binary => "binary",
                        Precision::WeightsOnly => "binary weights only",
                        Precision::Float => "float",
                    }
                );
            }
            None => {
                let shape = terminal::shape(&block.shape);
                let _ = write!(svg, "{}, {shape}", Escaped(&block.caption));
            }
        }
        svg.push_str("</title>");
        let _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>",
            class(block.kind),
            Number(place.middle - place.width / 2.0),
            Number(self.middle - place.height / 2.0),
            Number(place.width),
            Number(place.height),
            Number((place.width / 6.0).min(4.0))
        );
        let length = block.caption.chars().count() as f64 * LETTER.0;
        let turned = length > place.width;
        if !turned || (place.width >= 12.0 && length <= place.height - 6.0) {
            let (x, y) = if turned { (4.0, 0.0) } else { (0.0, 4.0) };
            let (x, y) = (Number(place.middle + x), Number(self.middle + y));
            let _ = write!(svg, "<text class=\"inside {}\" x=\"{x}\" y=\"{y}\"", class(block.kind));
            if turned {
                let _ = write!(svg, " transform=\"rotate(-90 {x} {y})\"");
            }
            let _ = write!(svg, ">{}</text>", Escaped(&block.caption));
        }
        if names {
            let _ = write!(
                svg,
                "<text class=\"name\" x=\"{}\" y=\"{}\">{}</text>",
                Number(place.middle),
                Number(self.middle + BLOCK.0 / 2.0 + LINE),
                Escaped(&shortened(&block.name, (place.width / LETTER.1) as usize))
            );
        }
        svg.push_str("</g>");
        if link.is_some() {
            svg.push_str("</a>");
        }
    }

    /// The size of the maps, wherever it changes and there is room.
    fn shapes(&self, svg: &mut String, y: f64) {
        let mut before = None;
        let mut free = 0.0;
        for (block, place) in self.network.blocks.iter().zip(&self.places) {
            let [height, width, _] = block.shape;
            if before == Some([height, width]) {
                continue;
            }
            let text = terminal::shape(&[height, width]);
            let left = place.middle - place.width / 2.0;
            let length = text.len() as f64 * 6.5;
            if left < free || left + length > self.width {
                continue;
            }
            before = Some([height, width]);
            free = left + length + 8.0;
            let _ = write!(
                svg,
                "<path class=\"tick\" d=\"M{x} {}V{}\"/><text x=\"{}\" y=\"{}\">{text}</text>",
                Number(y - LINE + 8.0),
                Number(y + 3.0),
                Number(left + 4.0),
                Number(y),
                x = Number(left),
            );
        }
    }

    fn weights(&self, svg: &mut String, base: f64) {
        let largest = self.layers.iter().map(|l| l.bytes_before.max(l.bytes_after)).max();
        let largest = largest.unwrap_or(0).max(1);
        self.title(
            svg,
            base,
            "Weights before and after",
            &format!("full height {}", terminal::bytes(largest as u64)),
        );
        for (layer, kind, place) in self.rows() {
            self.bar(svg, "before", place, base, layer.bytes_before as f64 / largest as f64);
            self.bar(svg, class(kind), place, base, layer.bytes_after as f64 / largest as f64);
        }
    }

    fn macs(&self, svg: &mut String, base: f64) {
        let largest = self.layers.iter().map(|layer| layer.macs).max().unwrap_or(0).max(1);
        let full = format!("full height {}", terminal::quantity(largest));
        self.title(svg, base, "Multiply-accumulates", &full);
        for (layer, kind, place) in self.rows() {
            self.bar(svg, class(kind), place, base, layer.macs as f64 / largest as f64);
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&'a LayerReport, Kind, Place)> {
        self.network
            .blocks
            .iter()
            .zip(&self.places)
            .filter_map(|(block, place)| Some((self.layers.get(block.layer?)?, block.kind, *place)))
    }

    /// Heading and ground line of a row of bars.
    fn title(&self, svg: &mut String, base: f64, title: &str, scale: &str) {
        let _ = write!(
            svg,
            "<text class=\"title\" x=\"2\" y=\"{}\">{title}<tspan class=\"scale\" dx=\"8\">{scale}\
             </tspan></text><path class=\"tick\" d=\"M2 {y}H{}\"/>",
            Number(base - BAR - 8.0),
            Number(self.width - 2.0),
            y = Number(base + 0.5),
        );
    }

    fn bar(&self, svg: &mut String, class: &str, place: Place, base: f64, share: f64) {
        if share <= 0.0 {
            return;
        }
        // Even the smallest bar is there.
        let height = (share * BAR).max(1.5);
        let width = place.width.min(34.0);
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            Number(place.middle - width / 2.0),
            Number(base - height),
            Number(width),
            Number(height)
        );
    }
}

fn is_layer(block: &Block) -> bool {
    matches!(block.kind, Kind::Layer(_))
}

/// The class by which the style sheet colours a block.
pub(super) fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Layer(Precision::Binary) => "binary",
        Kind::Layer(Precision::WeightsOnly) => "weights-only",
        Kind::Layer(Precision::Float) => "float",
        Kind::Other => "other",
        Kind::Port => "port",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(layers: usize) -> (Blocks, Vec<LayerReport>) {
        let shape = [8, 8, 16];
        let block = |layer| Block {
            kind: Kind::Layer(Precision::Binary),
            name: format!("layer {layer}"),
            caption: "3x3".to_owned(),
            shape,
            layer: Some(layer),
        };
        let row = |layer: usize| LayerReport {
            name: format!("layer {layer}"),
            kind: "conv 3x3".to_owned(),
            binary: true,
            binary_weights: true,
            reason: None,
            input_zeros: None,
            input_shape: shape,
            output_shape: shape,
            bytes_before: 3200 * (layer + 1),
            bytes_after: 100 * (layer + 1),
            macs: 1000,
            output: "bits".to_owned(),
        };
        let edges = (1..layers).map(|to| Edge { from: to - 1, to, bits: true });
        let skips = (2..layers).map(|to| Edge { from: to - 2, to, bits: false });
        let mut edges: Vec<Edge> = edges.chain(skips).collect();
        edges.sort();
        let blocks = Blocks { blocks: (0..layers).map(block).collect(), edges };
        (blocks, (0..layers).map(row).collect())
    }

    #[test]
    fn every_layer_has_a_block_and_three_bars() {
        let (network, layers) = network(12);
        let svg = draw(&network, &layers);
        assert_eq!(svg.matches("<rect class=\"binary\"").count(), 3 * 12);
        assert_eq!(svg.matches("<rect class=\"before\"").count(), 12);
        assert_eq!(svg.matches("<path class=\"bits\"").count(), 11);
        assert_eq!(svg.matches("<path class=\"floats\"").count(), 10);
        assert!(svg.contains("href=\"#layer-11\"") && svg.contains("<title>layer 11: conv 3x3"));
    }

    #[test]
    fn everything_lies_within_the_picture() {
        for count in [1, 2, 30, 290, 2000] {
            let (network, layers) = network(count);
            let drawing = Drawing::new(&network, &layers);
            assert!(drawing.width >= 560.0 && drawing.width < 4.0 * (count as f64 + 300.0));
            for place in &drawing.places {
                let half = (place.width / 2.0, place.height / 2.0);
                assert!(place.middle - half.0 >= 0.0 && place.middle + half.0 <= drawing.width);
                assert!(drawing.middle - half.1 >= 0.0);
            }
            for peak in network.edges.iter().filter_map(|edge| drawing.peak(edge)) {
                assert!(peak >= 0.0, "{count} layers: an arc at {peak}");
            }
            let neighbours = drawing.places.windows(2);
            assert!(neighbours.into_iter().all(|pair| {
                pair[0].middle + pair[0].width / 2.0 < pair[1].middle - pair[1].width / 2.0
            }));
        }
    }

    #[test]
    fn a_drawing_of_its_own_has_its_colours_and_leads_nowhere() {
        let (network, layers) = network(3);
        let svg = draw_alone(&network, &layers);
        assert!(
            svg.contains("viewBox=\"-16 -16 592 ") && svg.contains("prefers-color-scheme: dark")
        );
        assert!(!svg.contains("href") && !draw(&network, &layers).contains("<style"));
        for class in ["binary", "bits", "floats", "before", "tick", "inside", "title"] {
            assert!(STYLE.contains(&format!(".{class} {{")), "{class} has no rule");
        }
    }

    #[test]
    fn a_network_without_steps_is_a_picture_too() {
        let svg = draw(&Blocks::default(), &[]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"));
    }
}
