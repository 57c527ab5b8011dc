//! Weights in panels of output channels, and the loops over rows, groups, panels and tiles.

use super::tiles::{Tile, TileFunction, Tiles, Walk};
use crate::{ConvGeometry, MapRows, aligned::Aligned};
use std::{ops::Range, ptr};

/// A convolution whose output channels lie along vectors.
#[derive(Debug)]
pub(super) struct Panels {
    tiles: &'static Tiles,
    depthwise: bool,
    walk: Walk,
    /// Vertical stride.
    stride: usize,
    /// Floats of a row of the padded input.
    row_len: usize,
    out_width: usize,
    out_channels: usize,
    /// Panels in the order of their weights.
    panels: Vec<Panel>,
    /// The tiles of a row, for each number of vectors. To find them anew would take two divisions a
    /// tile, as long as some of its products.
    strips: Vec<Vec<Strip>>,
    weights: Aligned<f32>,
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
    /// Position of its biases `[vectors][lanes]`, where there are any.
    bias: usize,
}

/// Neighbouring pixels of an output row that are computed together.
#[derive(Debug)]
struct Strip {
    /// First pixel.
    start: usize,
    pixels: usize,
    tile: TileFunction,
}

/// Floats of a cache line.
pub(super) const LINE: usize = 16;

impl Panels {
    /// Packs weights `[out_channels, products]` of a valid geometry. `read` gives some that lie side by side, from a
    /// position on.
    ///
    /// # Safety
    /// The processor has the instruction set of the tiles.
    pub(super) unsafe fn new(
        tiles: &'static Tiles,
        geometry: &ConvGeometry,
        read: impl Fn(usize, &mut [f32]),
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
        let group_outputs = geometry.out_channels / groups;
        let vectors = group_outputs.div_ceil(tiles.lanes);
        let products = geometry.products();
        let [out_height, out_width] = geometry.output();
        let most_vectors = if depthwise || out_height * out_width == 1 {
            shapes.len()
        } else {
            widest(tiles, out_width, vectors, products)
        };
        let mut panels = Vec::new();
        let mut packed = 0;
        for group in 0..groups {
            for part in split(vectors, most_vectors) {
                let first = part.start * tiles.lanes;
                let end = (part.end * tiles.lanes).min(group_outputs);
                panels.push(Panel {
                    channel: group * group_outputs + first,
                    input_channel: if depthwise { first } else { group * group_inputs },
                    vectors: part.len(),
                    last_lanes: (end - first) - (part.len() - 1) * tiles.lanes,
                    weights: packed,
                    bias: packed / products,
                });
                packed += part.len() * tiles.lanes * products;
            }
        }
        let mut weights = Aligned::zeroed(packed);
        for panel in &panels {
            let lanes = panel.vectors * tiles.lanes;
            let used = (panel.vectors - 1) * tiles.lanes + panel.last_lanes;
            let to = &mut weights.as_mut_slice()[panel.weights..][..lanes * products];
            // A line of every channel at a time: what is written lies side by side, too.
            let mut line = [0.0; LINE];
            for (index, to) in to.chunks_mut(LINE * lanes).enumerate() {
                let line = &mut line[..to.len() / lanes];
                for lane in 0..used {
                    read((panel.channel + lane) * products + index * LINE, line);
                    for (weight, to) in line.iter().zip(to.chunks_exact_mut(lanes)) {
                        to[lane] = *weight;
                    }
                }
            }
        }
        let strips = shapes
            .iter()
            .map(|shapes| {
                let strip = |part: Range<usize>| Strip {
                    start: part.start,
                    pixels: part.len(),
                    tile: shapes[part.len() - 1],
                };
                split(out_width, shapes.len()).map(strip).collect()
            })
            .collect();
        Self {
            tiles,
            depthwise,
            walk,
            stride: geometry.stride[0],
            row_len: width * channels,
            out_width,
            out_channels: geometry.out_channels,
            panels,
            strips,
            weights,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.tiles.name
    }

    pub(super) fn weights(&self) -> &[f32] {
        self.weights.as_slice()
    }

    /// One bias for each output channel, in the order of the weights.
    pub(super) fn pack_bias(&self, bias: &[f32]) -> Aligned<f32> {
        let lanes = self.tiles.lanes;
        let mut packed =
            Aligned::zeroed(self.panels.iter().map(|panel| panel.vectors * lanes).sum());
        for panel in &self.panels {
            let used = (panel.vectors - 1) * lanes + panel.last_lanes;
            packed.as_mut_slice()[panel.bias..][..used]
                .copy_from_slice(&bias[panel.channel..][..used]);
        }
        packed
    }

    /// See [`FloatConv::accumulate`](super::FloatConv::accumulate), which has checked the lengths. The bias is
    /// [packed](Self::pack_bias).
    pub(super) fn accumulate(
        &self,
        source: MapRows<'_, f32>,
        bias: Option<&[f32]>,
        rows: Range<usize>,
        out: &mut [f32],
    ) {
        let walk = &self.walk;
        for (y, out) in rows.zip(out.chunks_exact_mut(self.out_width * self.out_channels)) {
            let row = (y * self.stride - source.first) * self.row_len;
            for panel in &self.panels {
                for strip in &self.strips[panel.vectors - 1] {
                    let source =
                        &source.values[row + strip.start * walk.pixel_step + panel.input_channel..];
                    let out = &mut out[strip.start * self.out_channels + panel.channel..];
                    debug_assert!(self.reach(panel, strip.pixels) <= source.len());
                    let tile = Tile {
                        walk,
                        source: source.as_ptr(),
                        weights: self.weights.as_slice()[panel.weights..].as_ptr(),
                        bias: bias.map_or(ptr::null(), |bias| bias[panel.bias..].as_ptr()),
                        out: out.as_mut_ptr(),
                        out_step: self.out_channels,
                        last_lanes: panel.last_lanes,
                    };
                    // SAFETY: `new` was promised that the processor has the instruction set. The
                    // source holds all rows that the output rows read, as the caller has checked, and
                    // by the validated geometry the windows of all output pixels lie in them. The
                    // panel's weights are complete and, as panels are whole vectors from an aligned
                    // start, aligned to a vector, and so are its biases; its channels of the pixels of this strip lie in the
                    // output row.
                    unsafe { (strip.tile)(&tile) }
                }
            }
        }
    }

    /// Floats of the source, from the first input of a tile on, that the tile may read.
    fn reach(&self, panel: &Panel, pixels: usize) -> usize {
        let walk = &self.walk;
        let lanes = (panel.vectors - 1) * self.tiles.lanes + panel.last_lanes;
        (walk.rows - 1) * walk.row_step
            + (walk.runs - 1) * walk.run_step
            + (pixels - 1) * walk.pixel_step
            + if self.depthwise { lanes } else { walk.run_len }
    }
}

/// Most vectors of channels in a panel, where several pixels are computed.
///
/// The widest panel loads least per product as long as its weights stay in the first-level cache. Where
/// they do not, each tile of a row streams them from the next level, and a short row that needs fewer
/// tiles with one vector less streams less.
fn widest(tiles: &Tiles, out_width: usize, vectors: usize, products: usize) -> usize {
    let most_pixels = |vectors: usize| tiles.full[vectors - 1].len();
    let (widest, narrower) = (tiles.panel, tiles.panel - 1);
    let streams = widest * tiles.lanes * products * size_of::<f32>() > FIRST_LEVEL;
    let fewer = out_width.div_ceil(most_pixels(narrower)) < out_width.div_ceil(most_pixels(widest));
    let busy = narrower * most_pixels(narrower) >= BUSY;
    // Few vectors may not divide into panels of that many: two and two would be as many panels more.
    let divides = vectors > 2 * widest;
    let short = out_width <= SHORT_ROW;
    if streams && short && fewer && busy && divides { narrower } else { widest }
}

/// Bytes of the smallest first-level cache of the processors meant.
const FIRST_LEVEL: usize = 32 << 10;

/// Rows of so many pixels take few tiles, so that one less makes a difference.
const SHORT_ROW: usize = 16;

/// Sums of a tile that keep two units busy whose results take up to five cycles.
const BUSY: usize = 10;

/// Splits `0..total` into the fewest parts of at most `most`, their lengths as equal as can be: two
/// tiles of 4 and 3 keep the units busier than one of 6 and one of 1. The longer ones come first: one
/// tile after the other of the same shape is what branch prediction expects.
fn split(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = total.div_ceil(most);
    let (short, longer) = (total / parts, total % parts);
    let start = move |part: usize| part * short + part.min(longer);
    (0..parts).map(move |part| start(part)..start(part + 1))
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
