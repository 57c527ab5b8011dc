//! The part of the page that comes first: how much of the network became binary, and why the rest
//! did not.

use super::{
    blocks::Kind,
    drawing::class,
    zeros::{self, Source},
};
use crate::{markup::Escaped, terminal};
use bnn::convert::{LayerReport, Precision, Report};
use std::{collections::HashMap, fmt::Write};

/// Reasons that are shown at once; more of them are folded away.
const SHOWN: usize = 6;
/// Layers that are named for a reason; the others are counted.
const NAMED: usize = 6;

/// Layers from which on there is no room for lines between them.
const DENSE: usize = 120;

/// Layers that are not binary for the same reason.
struct Group<'a> {
    precision: Precision,
    reason: String,
    /// Layers with their rows in the report.
    layers: Vec<(usize, &'a LayerReport)>,
}

impl Group<'_> {
    fn macs(&self) -> u64 {
        self.layers.iter().fold(0, |sum, (_, layer)| sum.saturating_add(layer.macs))
    }

    fn bytes(&self) -> u64 {
        self.layers.iter().map(|(_, layer)| layer.bytes_after as u64).sum()
    }
}

/// Writes the section. There is nothing to say of a network without layers.
pub(super) fn write(page: &mut String, report: &Report, zeros_counted_in: Option<&Source>) {
    if report.layers.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<section class=\"verdict-first\">\n<h2>What became binary</h2>\n<p class=\"lead\">{}</p>\n\
         <p class=\"strip{}\" aria-hidden=\"true\">",
        lead(report),
        if report.layers.len() > DENSE { " dense" } else { "" }
    );
    for layer in &report.layers {
        let _ = write!(page, "<i class=\"{}\"></i>", class(Kind::Layer(layer.precision())));
    }
    let _ =
        write!(page, "</p>\n<p class=\"quiet\">{}, from input to output.</p>\n", counts(report));
    let groups = groups(report, zeros_counted_in);
    if !groups.is_empty() {
        page.push_str("<h3>What did not, and why</h3>\n<ul class=\"reasons\">\n");
        let folded = groups.len() > SHOWN;
        for (index, group) in groups.iter().enumerate() {
            if folded && index == SHOWN {
                let _ = writeln!(
                    page,
                    "</ul>\n<details><summary>{} more reasons</summary>\n<ul class=\"reasons\">",
                    groups.len() - SHOWN
                );
            }
            write_group(page, group, report);
        }
        page.push_str(if folded { "</ul>\n</details>\n" } else { "</ul>\n" });
    }
    page.push_str("</section>\n");
}

fn write_group(page: &mut String, group: &Group<'_>, report: &Report) {
    let count = group.layers.len();
    let what = match (group.precision, count) {
        (Precision::WeightsOnly, 1) => "1 layer, binary in its weights only",
        (Precision::WeightsOnly, _) => "layers, binary in their weights only",
        (_, 1) => "1 layer in floats",
        _ => "layers in floats",
    };
    let number = if count == 1 { String::new() } else { format!("{count} ") };
    let _ = write!(
        page,
        "<li class=\"{}\"><strong>{number}{what}</strong>",
        class(Kind::Layer(group.precision))
    );
    if !group.reason.is_empty() {
        let _ = write!(page, ": {}", Escaped(&group.reason));
    }
    page.push_str("<span class=\"names\">");
    for (place, (row, layer)) in group.layers.iter().take(NAMED).enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        let name = Escaped(&layer.name);
        let _ = write!(page, "{separator}<a href=\"#layer-{row}\"><code>{name}</code></a>");
    }
    if let more @ 1.. = count.saturating_sub(NAMED) {
        let _ = write!(page, " and {more} more");
    }
    let macs = report.macs.binary.saturating_add(report.macs.float);
    let _ = writeln!(
        page,
        "</span><span class=\"quiet\">{} of the multiply-accumulates, {} of the weights' {}</span></li>",
        share(group.macs(), macs),
        share(group.bytes(), report.weight_bytes.after),
        terminal::bytes(report.weight_bytes.after)
    );
}

/// The result in a sentence.
fn lead(report: &Report) -> String {
    let (binary, all) = (report.binary_layers, report.layers.len());
    let macs = report.macs.binary.saturating_add(report.macs.float);
    let layers = match (binary, all) {
        (0, 1) => return "The only layer does not compute with bits.".to_owned(),
        (0, all) => return format!("None of the {all} layers computes with bits."),
        (1, 1) => return "The only layer computes with bits.".to_owned(),
        (some, all) if some == all => return format!("All {all} layers compute with bits."),
        (1, all) => format!("<strong>1 of {all} layers</strong> computes with bits"),
        (some, all) => format!("<strong>{some} of {all} layers</strong> compute with bits"),
    };
    format!(
        "{layers}: <strong>{}</strong> of the multiply-accumulates.",
        share(report.macs.binary, macs)
    )
}

fn counts(report: &Report) -> String {
    let Report { binary_layers, float_layers, weight_only_layers, .. } = report;
    match weight_only_layers {
        0 => format!("{binary_layers} binary, {float_layers} float"),
        some => {
            format!(
                "{binary_layers} binary, {float_layers} float ({some} of them with binary weights)"
            )
        }
    }
}

/// A part in percent: never 0 for what is there, nor all of it where something is missing.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    match percent {
        _ if part == 0 => "nothing".to_owned(),
        _ if part >= whole => "all".to_owned(),
        p if p < 0.1 => "less than 0.1 %".to_owned(),
        p if p > 99.9 => "more than 99.9 %".to_owned(),
        p => format!("{p:.1} %"),
    }
}

/// Layers that are not binary by reason, what computes most first.
fn groups<'a>(report: &'a Report, zeros_counted_in: Option<&Source>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut known: HashMap<(bool, String), usize> = HashMap::new();
    for (row, layer) in report.layers.iter().enumerate() {
        let precision = layer.precision();
        if precision == Precision::Binary {
            continue;
        }
        let reason = zeros::reason(layer, zeros_counted_in).unwrap_or_default();
        let key = (precision == Precision::WeightsOnly, reason.clone());
        let index = *known.entry(key).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.layers.push((row, layer)),
            None => groups.push(Group { precision, reason, layers: vec![(row, layer)] }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.macs()));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use bnn::convert::{MacCount, WeightBytes};

    fn layer(name: &str, reason: Option<&str>, binary_weights: bool, macs: u64) -> LayerReport {
        LayerReport {
            name: name.to_owned(),
            kind: "conv 3x3".to_owned(),
            binary: reason.is_none(),
            binary_weights,
            reason: reason.map(str::to_owned),
            input_zeros: None,
            input_shape: [8, 8, 16],
            output_shape: [8, 8, 16],
            bytes_before: 640,
            bytes_after: if binary_weights { 20 } else { 640 },
            macs,
            output: "bits".to_owned(),
        }
    }

    fn section(layers: Vec<LayerReport>) -> String {
        let count = |precision| layers.iter().filter(|l| l.precision() == precision).count();
        let macs = |binary| layers.iter().filter(|l| l.binary == binary).map(|l| l.macs).sum();
        let report = Report {
            binary_layers: count(Precision::Binary),
            float_layers: layers.len() - count(Precision::Binary),
            weight_only_layers: count(Precision::WeightsOnly),
            weight_bytes: WeightBytes {
                before: layers.iter().map(|l| l.bytes_before as u64).sum(),
                after: layers.iter().map(|l| l.bytes_after as u64).sum(),
            },
            macs: MacCount { binary: macs(true), float: macs(false) },
            layers,
            ..Report::default()
        };
        let mut page = String::new();
        write(&mut page, &report, None);
        page
    }

    #[test]
    fn reasons_are_told_once_and_the_costliest_first() {
        let page = section(vec![
            layer("stem", Some("many <values>"), false, 10),
            layer("body", None, true, 900),
            layer("head", Some("many <values>"), false, 10),
            layer("gate", Some("reads floats"), true, 80),
        ]);
        assert!(page.contains("<strong>1 of 4 layers</strong> computes with bits"), "{page}");
        assert!(page.contains("<strong>90.0 %</strong> of the multiply-accumulates"), "{page}");
        assert!(page.contains("1 binary, 3 float (1 of them with binary weights)"), "{page}");
        let gate = page.find("1 layer, binary in its weights only</strong>: reads floats").unwrap();
        let many = page.find("2 layers in floats</strong>: many &lt;values&gt;").unwrap();
        assert!(gate < many, "{page}");
        assert_eq!(page.matches("many &lt;values").count(), 1);
        assert!(page.contains("<a href=\"#layer-2\"><code>head</code></a>"), "{page}");
        let cost = "2.0 % of the multiply-accumulates, 97.0 % of the weights' 1320 B";
        assert!(page.contains(cost), "{page}");
    }

    #[test]
    fn many_reasons_are_folded_and_many_layers_counted() {
        let page =
            section((0..40).map(|i| layer("x", Some(&format!("reason {i}")), false, 1)).collect());
        assert!(page.contains("None of the 40 layers computes with bits."), "{page}");
        assert!(page.contains("<summary>34 more reasons</summary>"), "{page}");
        let page = section((0..40).map(|_| layer("x", Some("same"), false, 1)).collect());
        assert!(page.contains("40 layers in floats") && page.contains(" and 34 more"), "{page}");
        assert_eq!(page.matches("<code>x</code>").count(), NAMED);
        assert!(
            page.contains("class=\"strip\"")
                && page.matches("<i class=\"float\"></i>").count() == 40
        );
        let page = section((0..400).map(|_| layer("x", None, true, 1)).collect());
        assert!(page.contains("class=\"strip dense\""));
    }

    #[test]
    fn networks_of_one_kind_are_told_in_a_sentence() {
        let all = section(vec![layer("a", None, true, 1), layer("b", None, true, 1)]);
        assert!(all.contains("All 2 layers compute with bits.") && !all.contains("<ul"), "{all}");
        assert!(
            section(vec![layer("a", None, true, 0)]).contains("The only layer computes with bits.")
        );
        assert_eq!(section(Vec::new()), "");
    }

    #[test]
    fn shares_are_never_rounded_to_nothing_or_all() {
        assert_eq!(share(0, 5), "nothing");
        assert_eq!(share(5, 5), "all");
        assert_eq!(share(1, 1_000_000), "less than 0.1 %");
        assert_eq!(share(999_999, 1_000_000), "more than 99.9 %");
        assert_eq!(share(1, 3), "33.3 %");
    }
}
