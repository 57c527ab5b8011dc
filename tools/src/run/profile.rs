//! Time by layer.

use super::limits::Limits;
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
pub struct LayerTime {
    /// Name of the layer in the original graph.
    pub name: String,
    /// Kind of the step.
    pub kind: &'static str,
    /// Kernel that did the work; empty where there is no choice.
    pub kernel: &'static str,
    /// Height, width and channels of what it computed.
    pub output_shape: [usize; 3],
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Milliseconds for one image.
    pub ms: f64,
    /// Part of the whole time.
    pub fraction: f64,
    /// 10^9 multiply-accumulates a second.
    pub gmacs: Option<f64>,
    /// That rate as a part of what such layers reach at best.
    pub share_of_limit: Option<f64>,
}

impl LayerTime {
    /// Whether it multiplies bits.
    pub(super) fn is_binary(&self) -> bool {
        self.kind == "binary_conv"
    }
}

/// Times of all layers for one image, from a sum over many.
pub(super) fn layer_times(
    session: &Session,
    profile: &Profile,
    limits: Option<Limits>,
) -> Vec<LayerTime> {
    let images = profile.images.max(1) as f64;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / images;
    let total = milliseconds(profile.total());
    session
        .steps()
        .iter()
        .zip(&profile.steps)
        .map(|(step, &time)| {
            let ms = milliseconds(time);
            let gmacs = (step.macs > 0 && ms > 0.0).then(|| step.macs as f64 / ms / 1e6);
            let limit = limits.and_then(|limits| limits.of(step.kind));
            LayerTime {
                name: step.name.clone(),
                kind: step.kind,
                kernel: step.kernel,
                output_shape: step.output,
                macs: step.macs,
                ms,
                fraction: if total > 0.0 { ms / total } else { 0.0 },
                gmacs,
                share_of_limit: gmacs.zip(limit).map(|(rate, limit)| rate / limit),
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
pub(super) fn write(
    layers: &[LayerTime],
    limits: Limits,
    output: &mut Output,
    style: Style,
) -> Result<()> {
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
        ("of limit", Right),
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
            layer.gmacs.map_or(String::new(), |rate| format!("{rate:.1}")),
            layer.share_of_limit.map_or(String::new(), |share| format!("{:.0} %", share * 100.0)),
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
    table.write(output, style)?;
    output.line(format_args!(
        "limit: what convolutions that suit the kernels best reach on this machine now, {:.0} GMAC/s \
         of bits and {:.1} of floats",
        limits.binary_gmacs, limits.float_gmacs
    ))
}
