//! Time by layer.

use crate::{
    exit::Result,
    output::Output,
    table::{Align, Table},
    terminal::{self, Style},
};
use bnn::{Session, runtime::Profile};
use serde::Serialize;
use std::time::Duration;

/// Time of one layer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LayerTime {
    /// Name of the layer in the original graph.
    name: String,
    /// Kind of the step.
    kind: &'static str,
    /// Kernel that did the work; empty where there is no choice.
    kernel: &'static str,
    /// Height, width and channels of what it computed.
    output_shape: [usize; 3],
    /// Multiply-accumulates for one image.
    macs: u64,
    /// Milliseconds for one image.
    ms: f64,
    /// Part of the whole time.
    fraction: f64,
}

/// Times of all layers for one image, from a sum over many.
pub(super) fn layer_times(session: &Session, profile: &Profile) -> Vec<LayerTime> {
    let images = profile.images.max(1) as f64;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / images;
    let total = milliseconds(profile.total());
    session
        .steps()
        .iter()
        .zip(&profile.steps)
        .map(|(step, &time)| {
            let ms = milliseconds(time);
            LayerTime {
                name: step.name.clone(),
                kind: step.kind,
                kernel: step.kernel,
                output_shape: step.output,
                macs: step.macs,
                ms,
                fraction: if total > 0.0 { ms / total } else { 0.0 },
            }
        })
        .collect()
}

/// Adds the times of one run to the sum.
pub(super) fn add(sum: &mut Profile, one: &Profile) {
    sum.images += one.images;
    sum.steps.resize(one.steps.len(), Duration::ZERO);
    for (sum, one) in sum.steps.iter_mut().zip(&one.steps) {
        *sum += *one;
    }
}

/// Writes a table of the layers.
pub(super) fn write(layers: &[LayerTime], output: &mut Output, style: Style) -> Result<()> {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("layer", Left),
        ("kind", Left),
        ("kernel", Left),
        ("output", Left),
        ("MACs", Right),
        ("time", Right),
        ("%", Right),
        ("GMAC/s", Right),
    ]);
    for layer in layers {
        let has_macs = layer.macs > 0;
        table.row([
            layer.name.clone(),
            layer.kind.to_owned(),
            layer.kernel.to_owned(),
            terminal::shape(&layer.output_shape),
            if has_macs { terminal::quantity(layer.macs) } else { String::new() },
            terminal::milliseconds(layer.ms),
            format!("{:.1}", layer.fraction * 100.0),
            if has_macs && layer.ms > 0.0 {
                format!("{:.1}", layer.macs as f64 / layer.ms / 1e6)
            } else {
                String::new()
            },
        ]);
    }
    table.row([
        "total".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        terminal::quantity(layers.iter().map(|layer| layer.macs).sum()),
        terminal::milliseconds(layers.iter().map(|layer| layer.ms).sum()),
    ]);
    table.write(output, style)
}
