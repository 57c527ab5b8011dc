//! Weights in panels of output channels, and the loops over rows, groups, panels and tiles.

use super::tiles::{Tile, TileFunction, Tiles, Walk};
use crate::{ConvGeometry, MapRows, aligned::AlignedFloats};
use std::ops::Range;

/// A convolution whose output channels lie along vectors.
#[derive(Debug)]
pub(super) struct Panels {
    tiles: &'static Tiles,
    /// The tiles used, by number of vectors and pixels.
    shapes: &'static [&'static [TileFunction]],
    walk: Walk,
    /// Vertical stride.
    stride: usize,
    /// Floats of a row of the padded input.
    row_len: usize,
    out_width: usize,
    out_channels: usize,
    /// Panels in the order of their weights.
    panels: Vec<Panel>,
    weights: AlignedFloats,
}

/// Neighbouring output channels that are computed together.
#[derive(Debug)]
struct Panel {
    /// First output channel.
    channel: usize,
    /// Input channel at which its sums start.
    input_channel: usize,
    vectors: usize,
    /// Lanes of the last vector that are channels.
    last_lanes: usize,
    /// Position of its weights `[products][vectors][lanes]`.
    weights: usize,
}

impl Panels {
    /// Packs weights `[out_channels, products]` of a valid geometry.
    ///
    /// # Safety
    /// The processor has the instruction set of the tiles.
    pub(super) unsafe fn new(
        tiles: &'static Tiles,
        geometry: &ConvGeometry,
        weight: impl Fn(usize) -> f32,
    ) -> Self {
        let channels = geometry.in_channels;
        let [kernel_height, kernel_width] = geometry.kernel;
        let width = geometry.padded_input()[1];
        let depthwise = geometry.groups > 1
            && geometry.groups == channels
            && geometry.groups == geometry.out_channels;
        let group_inputs = channels / geometry.groups;
        // A kernel row is one run of floats where nothing lies between its taps.
        let (runs, run_len) = if geometry.groups == 1 && geometry.dilation[1] == 1 {
            (1, kernel_width * channels)
        } else {
            (kernel_width, group_inputs)
        };
        let walk = Walk {
            rows: kernel_height,
            row_step: geometry.dilation[0] * width * channels,
            runs,
            run_step: geometry.dilation[1] * channels,
            run_len,
            pixel_step: geometry.stride[1] * channels,
        };

        let (shapes, groups) =
            if depthwise { (tiles.depthwise, 1) } else { (tiles.full, geometry.groups) };
        let most_vectors =
            if geometry.output() == [1, 1] || depthwise { shapes.len() } else { tiles.panel };
        let group_outputs = geometry.out_channels / groups;
        let products = geometry.products();
        let mut panels = Vec::new();
        let mut packed = 0;
        for group in 0..groups {
            for part in split(group_outputs.div_ceil(tiles.lanes), most_vectors) {
                let first = part.start * tiles.lanes;
                let end = (part.end * tiles.lanes).min(group_outputs);
                panels.push(Panel {
                    channel: group * group_outputs + first,
                    input_channel: if depthwise { first } else { group * group_inputs },
                    vectors: part.len(),
                    last_lanes: (end - first) - (part.len() - 1) * tiles.lanes,
                    weights: packed,
                });
                packed += part.len() * tiles.lanes * products;
            }
        }
        let mut weights = AlignedFloats::zeroed(packed);
        for panel in &panels {
            let lanes = panel.vectors * tiles.lanes;
            let used = (panel.vectors - 1) * tiles.lanes + panel.last_lanes;
            let to = &mut weights.as_mut_slice()[panel.weights..][..lanes * products];
            for (product, to) in to.chunks_exact_mut(lanes).enumerate() {
                for (lane, to) in to[..used].iter_mut().enumerate() {
                    *to = weight((panel.channel + lane) * products + product);
                }
            }
        }
        Self {
            tiles,
            shapes,
            walk,
            stride: geometry.stride[0],
            row_len: width * channels,
            out_width: geometry.output()[1],
            out_channels: geometry.out_channels,
            panels,
            weights,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.tiles.name
    }

    pub(super) fn weights(&self) -> &[f32] {
        self.weights.as_slice()
    }

    /// See [`FloatConv::accumulate`](super::FloatConv::accumulate), which has checked the lengths.
    pub(super) fn accumulate(&self, source: MapRows<'_, f32>, rows: Range<usize>, out: &mut [f32]) {
        let walk = &self.walk;
        for (y, out) in rows.zip(out.chunks_exact_mut(self.out_width * self.out_channels)) {
            let row = (y * self.stride - source.first) * self.row_len;
            for panel in &self.panels {
                let shapes = self.shapes[panel.vectors - 1];
                for part in split(self.out_width, shapes.len()) {
                    let source =
                        &source.values[row + part.start * walk.pixel_step + panel.input_channel..];
                    let out = &mut out[part.start * self.out_channels + panel.channel..];
                    debug_assert!(self.reach(panel, part.len()) <= source.len());
                    let tile = Tile {
                        walk,
                        source: source.as_ptr(),
                        weights: self.weights.as_slice()[panel.weights..].as_ptr(),
                        out: out.as_mut_ptr(),
                        out_step: self.out_channels,
                        last_lanes: panel.last_lanes,
                    };
                    // SAFETY: `new` was promised that the processor has the instruction set. The
                    // source holds all rows that the output rows read, as the caller has checked, and by
                    // the validated geometry the windows of all output pixels lie in them. The panel's weights are complete, and its channels
                    // of the pixels of this part lie in the output row.
                    unsafe { shapes[part.len() - 1](&tile) }
                }
            }
        }
    }

    /// Floats of the source, from the first input of a tile on, that the tile may read.
    fn reach(&self, panel: &Panel, pixels: usize) -> usize {
        let walk = &self.walk;
        let lanes = (panel.vectors - 1) * self.tiles.lanes + panel.last_lanes;
        let depthwise = std::ptr::eq(self.shapes, self.tiles.depthwise);
        (walk.rows - 1) * walk.row_step
            + (walk.runs - 1) * walk.run_step
            + (pixels - 1) * walk.pixel_step
            + if depthwise { lanes } else { walk.run_len }
    }
}

/// Splits `0..total` into the fewest parts of at most `most`, their lengths as equal as can be: two
/// tiles of 4 and 3 keep the units busier than one of 6 and one of 1.
fn split(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = total.div_ceil(most);
    (0..parts).map(move |part| part * total / parts..(part + 1) * total / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_evenly() {
        for total in 1..50 {
            for most in 1..13 {
                let parts: Vec<_> = split(total, most).collect();
                assert_eq!(parts.len(), total.div_ceil(most));
                assert_eq!(parts.iter().cloned().flatten().count(), total);
                let lengths = || parts.iter().map(|part| part.len());
                assert!(lengths().max().unwrap() <= most);
                assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            }
        }
    }
}
