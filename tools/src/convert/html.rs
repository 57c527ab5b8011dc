//! The report as one page of HTML that needs nothing else: no script, no font, no picture from
//! elsewhere. Names and reasons come from the file that was converted and are escaped.

use super::{
    blocks::{Blocks, Kind},
    drawing::{self, class},
    remarks,
    report::{Document, change, layer_counts},
    shares, verdict,
    zeros::{self, Source},
};
use crate::{
    markup::{Escaped, Number},
    terminal,
};
use bnn::{
    convert::{LayerReport, MacCount, Precision, Report, WeightBytes},
    program::Program,
};
use std::{fmt::Write, path::Path};

const STYLE: &str = include_str!("report.css");

/// Remarks that are shown at once; more of them are folded away.
const SHOWN_REMARKS: usize = 12;

/// Draws up the page for a conversion of the file `input`.
pub(super) fn page(document: &Document<'_>, program: &Program, input: &str) -> String {
    let mut page = Page(String::new());
    // Exporters call most graphs `main_graph`; people name the file.
    let stem = Path::new(&document.output).file_stem().unwrap_or_default().to_string_lossy();
    page.head(&stem);
    page.header(document, &stem, input, &program.name);
    page.remarks("Warnings", "warnings", &document.report.warnings);
    verdict::write(&mut page.0, document.report, document.zeros_counted_in.as_ref());
    page.cost(document);
    page.network(program, document.report);
    page.layers(document);
    page.remarks("Notes", "notes", &document.report.notes);
    page.foot();
    page.0
}

/// A page that grows. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn head(&mut self, title: &str) {
        let _ = write!(
            self.0,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{}: conversion report</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n",
            Escaped(title),
            drawing::STYLE
        );
    }

    fn header(&mut self, document: &Document<'_>, title: &str, input: &str, graph: &str) {
        let _ = write!(
            self.0,
            "<header>\n<h1>{}</h1>\n<p class=\"quiet\"><code>{}</code> to <code>{}</code>",
            Escaped(title),
            Escaped(input),
            Escaped(&document.output)
        );
        if !graph.is_empty() {
            let _ = write!(self.0, ", graph <code>{}</code>", Escaped(graph));
        }
        self.0.push_str("</p>\n</header>\n");
    }

    fn cost(&mut self, document: &Document<'_>) {
        let report = document.report;
        self.0.push_str("<section>\n<h2>Size and cost</h2>\n<dl class=\"figures\">\n");
        let sizes = |before: u64, after: u64| {
            format!("{} → {}", terminal::bytes(before), terminal::bytes(after))
        };
        let Document { input_bytes, bytes, .. } = *document;
        self.figure("File", &sizes(input_bytes, bytes), &change(input_bytes, bytes));
        if !report.layers.is_empty() {
            let Report { weight_bytes: WeightBytes { before, after }, storage_mbit, macs, .. } =
                report;
            let more = format!("{}, {storage_mbit:.2} Mbit", change(*before, *after));
            self.figure("Weights", &sizes(*before, *after), &more);
            let MacCount { float, binary } = *macs;
            self.figure(
                "Multiply-accumulates an image",
                &format!("{} binary", terminal::quantity(binary)),
                &format!("and {} float", terminal::quantity(float)),
            );
        }
        if let Some(verification) = document.verification {
            let comparison = &verification.comparison;
            let exact = match comparison.rows_exact {
                0 => "none of them to the bit".to_owned(),
                some => format!("{some} of them to the bit"),
            };
            let rows = format!("{} of {} rows", comparison.rows_within, comparison.rows);
            self.figure("Verified", &rows, &exact);
        }
        self.0.push_str("</dl>\n");
        shares::write(&mut self.0, document);
        self.0.push_str("</section>\n");
    }

    fn figure(&mut self, what: &str, main: &str, more: &str) {
        let _ = writeln!(
            self.0,
            "<div><dt>{what}</dt><dd class=\"main\">{main}</dd><dd class=\"more\">{more}</dd></div>"
        );
    }

    fn network(&mut self, program: &Program, report: &Report) {
        let network = Blocks::new(program, &report.layers);
        self.0.push_str("<section>\n<h2>The network</h2>\n<ul class=\"key\">");
        let kinds: Vec<&str> = network.blocks.iter().map(|block| class(block.kind)).collect();
        for (class, what) in [
            ("binary", "binary: bits times bits"),
            ("weights-only", "binary weights only"),
            ("float", "float"),
            ("other", "no weights"),
            ("before", "weights as 32-bit floats"),
            ("wire bits", "bits"),
            ("wire floats", "floats or integers"),
        ] {
            // What the drawing does not have needs no explanation.
            let is_kind = ["binary", "weights-only", "float", "other"].contains(&class);
            if !is_kind || kinds.contains(&class) {
                let _ = write!(self.0, "<li><i class=\"{class}\"></i>{what}</li>");
            }
        }
        self.0.push_str("</ul>\n<div class=\"drawing\" tabindex=\"0\">\n");
        self.0.push_str(&drawing::draw(&network, &report.layers));
        self.0.push_str(
            "\n</div>\n<p class=\"quiet\">From input to output, one block a step, the higher the \
             larger its map. Arcs are results that are read further on.</p>\n</section>\n",
        );
    }

    fn layers(&mut self, document: &Document<'_>) {
        let report = document.report;
        self.0.push_str(
            "<section>\n<h2>Layer by layer</h2>\n<table>\n<thead><tr><th scope=\"col\">layer</th>\
             <th scope=\"col\">input → output</th><th scope=\"col\">leaves as</th>\
             <th class=\"number\" scope=\"col\">weights before</th>\
             <th class=\"number\" scope=\"col\">after</th><td></td>\
             <th class=\"number\" scope=\"col\">MACs</th><td></td><th scope=\"col\">binary</th></tr></thead>\n<tbody>\n",
        );
        let largest = |of: fn(&LayerReport) -> u64| {
            report.layers.iter().map(of).max().unwrap_or(0).max(1) as f64
        };
        let scales = Scales {
            bytes: largest(|layer| layer.bytes_before.max(layer.bytes_after) as u64),
            macs: largest(|layer| layer.macs),
        };
        for (index, layer) in report.layers.iter().enumerate() {
            self.layer(index, layer, &scales, document.zeros_counted_in.as_ref());
        }
        let _ = write!(
            self.0,
            "<tr class=\"total\"><td class=\"layer\">total</td><td class=\"maps\"></td><td></td>\
             <td class=\"number\" data-what=\"weights before\">{}</td>\
             <td class=\"number\" data-what=\"after\">{}</td><td class=\"bars weights\"></td>\
             <td class=\"number\" data-what=\"MACs\">{}</td><td class=\"bars\"></td><td class=\"why\">{}</td></tr>\n\
             </tbody>\n</table>\n</section>\n",
            terminal::bytes(report.weight_bytes.before),
            terminal::bytes(report.weight_bytes.after),
            terminal::quantity(report.macs.binary.saturating_add(report.macs.float)),
            layer_counts(report)
        );
    }

    fn layer(
        &mut self,
        index: usize,
        layer: &LayerReport,
        scales: &Scales,
        zeros_counted_in: Option<&Source>,
    ) {
        let class = class(Kind::Layer(layer.precision()));
        let bar = |class: &str, share: f64| {
            format!("<i class=\"{class}\" style=\"width:{}%\"></i>", Number(100.0 * share))
        };
        let _ = write!(
            self.0,
            "<tr class=\"{class}\" id=\"layer-{index}\"><td class=\"layer\"><code>{}</code>\
             <span class=\"kind\">{}</span></td>\
             <td class=\"maps\" data-what=\"maps\">{} → {}</td>\
             <td class=\"form\" data-what=\"leaves as\">{}</td>\
             <td class=\"number\" data-what=\"weights before\">{}</td>\
             <td class=\"number\" data-what=\"after\">{}</td>\
             <td class=\"bars weights\" aria-hidden=\"true\">{}{}</td>\
             <td class=\"number\" data-what=\"MACs\">{}</td>\
             <td class=\"bars\" aria-hidden=\"true\">{}</td>\
             <td class=\"why\"><span class=\"verdict\">{}</span>",
            Escaped(&layer.name),
            Escaped(&layer.kind),
            terminal::shape(&layer.input_shape),
            terminal::shape(&layer.output_shape),
            Escaped(&layer.output),
            terminal::bytes(layer.bytes_before as u64),
            terminal::bytes(layer.bytes_after as u64),
            bar("before", layer.bytes_before as f64 / scales.bytes),
            bar(class, layer.bytes_after as f64 / scales.bytes),
            terminal::quantity(layer.macs),
            bar(class, layer.macs as f64 / scales.macs),
            match layer.precision() {
                Precision::Binary => "yes",
                Precision::WeightsOnly => "weights only",
                Precision::Float => "no",
            },
        );
        if let Some(reason) = zeros::reason(layer, zeros_counted_in) {
            let _ = write!(self.0, ": {}", Escaped(&reason));
        }
        self.0.push_str("</td></tr>\n");
    }

    fn remarks(&mut self, heading: &str, class: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let _ = write!(self.0, "<section>\n<h2>{heading}</h2>\n<ul class=\"remarks {class}\">\n");
        let remarks = remarks::grouped(lines);
        let folded = remarks.len() > SHOWN_REMARKS;
        for (index, remark) in remarks.iter().enumerate() {
            if folded && index == SHOWN_REMARKS {
                let _ = write!(
                    self.0,
                    "</ul>\n<details class=\"remarks {class}\"><summary>{} more</summary>\n<ul>\n",
                    remarks.len() - SHOWN_REMARKS
                );
            }
            let _ = write!(self.0, "<li>{}", Escaped(&remark.text()));
            if remark.is_shortened() {
                self.0.push_str("<details><summary>all of them</summary>");
                for (index, name) in remark.names().iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    let _ = write!(self.0, "{separator}<code>{}</code>", Escaped(name));
                }
                self.0.push_str("</details>");
            }
            self.0.push_str("</li>\n");
        }
        self.0.push_str("</ul>\n");
        if folded {
            self.0.push_str("</details>\n");
        }
        self.0.push_str("</section>\n");
    }

    fn foot(&mut self) {
        let _ = write!(
            self.0,
            "<footer>\n<p>Made by bnn-convert {}. A multiply-accumulate (MAC) is binary where both \
             factors are bits; padding counts. Weights before the conversion are counted as 32-bit \
             floats, thresholds and other constants are not among them. 1 MB is 10<sup>6</sup> \
             bytes.</p>\n</footer>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        );
    }
}

/// What a full bar stands for.
struct Scales {
    bytes: f64,
    macs: f64,
}
