//! Where bytes and operations go: one bar for each sum, cut by what the layers became.

use super::{blocks::Kind, drawing::class, report::Document, verdict};
use crate::{markup::Number, terminal};
use bnn::convert::{LayerReport, Precision};
use std::fmt::Write;

/// What is in a file besides weights.
const REST: &str = "thresholds, scales, labels and the rest";

/// A part of a bar.
struct Part {
    class: &'static str,
    name: &'static str,
    amount: u64,
}

/// Writes the bars: weights before the conversion, the file, and multiply-accumulates.
pub(super) fn write(page: &mut String, document: &Document<'_>) {
    let layers = &document.report.layers;
    if layers.is_empty() {
        return;
    }
    page.push_str("<div class=\"shares\">\n");
    let before = parts(layers, |layer| layer.bytes_before as u64);
    bar(page, "Weights before, as 32-bit floats", &before, terminal::bytes);
    let mut after = parts(layers, |layer| layer.bytes_after as u64);
    let weights: u64 = after.iter().map(|part| part.amount).sum();
    let rest = document.bytes.saturating_sub(weights);
    after.push(Part { class: "other", name: REST, amount: rest });
    bar(page, "The file", &after, terminal::bytes);
    let macs = parts(layers, |layer| layer.macs);
    bar(page, "Multiply-accumulates an image", &macs, terminal::quantity);
    page.push_str("</div>\n");
}

fn parts(layers: &[LayerReport], amount: impl Fn(&LayerReport) -> u64) -> Vec<Part> {
    let kinds = [
        (Precision::Binary, "binary layers"),
        (Precision::WeightsOnly, "layers with binary weights"),
        (Precision::Float, "float layers"),
    ];
    let sum = |precision| {
        let of_kind = layers.iter().filter(|layer| layer.precision() == precision);
        of_kind.fold(0_u64, |sum, layer| sum.saturating_add(amount(layer)))
    };
    kinds
        .into_iter()
        .map(|(precision, name)| Part {
            class: class(Kind::Layer(precision)),
            name,
            amount: sum(precision),
        })
        .collect()
}

/// A bar and what its parts are. The words say everything that the bar shows.
fn bar(page: &mut String, title: &str, parts: &[Part], unit: fn(u64) -> String) {
    let all = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.amount));
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<div><p class=\"sum\"><span>{title}</span><b>{}</b></p>\n<p class=\"share\" aria-hidden=\"true\">",
        unit(all)
    );
    let there = || parts.iter().filter(|part| part.amount > 0);
    for part in there() {
        let width = Number(100.0 * part.amount as f64 / all as f64);
        let _ = write!(page, "<i class=\"{}\" style=\"width:{width}%\"></i>", part.class);
    }
    page.push_str("</p>\n<ul class=\"key\">");
    for part in there() {
        let _ = write!(
            page,
            "<li><i class=\"{}\"></i>{}: {} ({})</li>",
            part.class,
            part.name,
            unit(part.amount),
            verdict::share(part.amount, all)
        );
    }
    page.push_str("</ul></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_the_bar_and_are_told() {
        let part = |class, amount| Part { class, name: class, amount };
        let mut page = String::new();
        let parts = [part("binary", 750), part("weights-only", 0), part("float", 250)];
        bar(&mut page, "File", &parts, terminal::bytes);
        assert!(page.contains("<span>File</span><b>1000 B</b>"), "{page}");
        assert!(page.contains("<i class=\"binary\" style=\"width:75%\"></i>"), "{page}");
        assert!(page.contains("<i class=\"float\" style=\"width:25%\"></i>"), "{page}");
        assert!(page.contains("float: 250 B (25.0 %)"), "{page}");
        assert!(!page.contains("weights-only"), "{page}");
    }

    #[test]
    fn nothing_is_an_empty_bar() {
        let mut page = String::new();
        bar(&mut page, "File", &[], terminal::bytes);
        assert!(page.contains("0 B") && !page.contains("NaN"), "{page}");
    }
}
