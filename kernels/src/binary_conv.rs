//! Convolution of bits with bits.
//!
//! With `s_w = ±1` the weights and `x` the input by its alphabet, the accumulator is the exact integer
//! `v = sum of s_w * x` over the taps of a window.

/// Calls `$tile::<PIXELS, VECTORS>` with the sizes at hand. The kernel at hand holds the proof
/// of the features that `$tile` is compiled for.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! by_tile_size {
    ($tile:ident $args:tt, $pixels:expr => $counts:tt, $vectors:expr => [$($size:literal),+]) => {
        match $vectors {
            $($size => by_tile_size!(@pixels $tile $args, $pixels, $counts, $size),)+
            other => unreachable!("blocks have no {other} vectors"),
        }
    };
    (@pixels $tile:ident $args:tt, $pixels:expr, [$($count:literal),+], $vectors:literal) => {
        match $pixels {
            // SAFETY: the kernel at hand holds the proof of the features.
            $($count => unsafe { $tile::<$count, $vectors> $args },)+
            other => unreachable!("tiles have no {other} pixels"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod adders;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod bases;
#[cfg(target_arch = "x86_64")]
mod bit_matrix;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod byte_counters;
#[cfg(target_arch = "aarch64")]
mod byte_counts;
#[cfg(target_arch = "x86_64")]
mod byte_tiles;
#[cfg(target_arch = "x86_64")]
mod carry_save;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod lut4;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod padded_map;
#[cfg(target_arch = "x86_64")]
mod popcount_lanes;
mod reference;
#[cfg(test)]
mod tests;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiled;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod transpose;
#[cfg(target_arch = "x86_64")]
mod vector;

use crate::{
    Alphabet, ConvGeometry, GeometryError, Isa, KernelError, MapRows, PadValue,
    bit_string::count_ones, border::taps_inside, words_per_pixel,
};
use reference::Reference;
use std::{fmt::Debug, ops::Range};

/// A kernel with the packed weights of a layer. [`BinaryConv`] has checked all lengths.
trait PackedKernel: Debug + Send + Sync {
    /// For profiles.
    fn name(&self) -> &'static str;
    /// Bytes of weights and tables.
    fn packed_bytes(&self) -> usize;
    /// Words that a row of the padded map takes in the private layout.
    fn row_len(&self) -> usize;
    /// Writes some rows of the padded map in the private layout.
    fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]);
    /// Computes some rows of accumulators from the rows of the padded map that they need.
    fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]);
}

/// A binary convolution (or dense layer: kernel as large as the map), with its weights packed for one
/// instruction set.
#[derive(Debug)]
pub struct BinaryConv {
    geometry: ConvGeometry,
    kernel: Box<dyn PackedKernel>,
    /// Present if there is a POPCNT instruction that may be used.
    #[cfg(target_arch = "x86_64")]
    popcnt: Option<crate::features::V2>,
}

impl BinaryConv {
    /// Packs the weights of a layer: one dense bit string
    /// `[out_channels, kernel_h, kernel_w, in_channels / groups]` in 64-bit words, first bit lowest.
    ///
    /// # Errors
    /// If the geometry is not valid, a sum may exceed `i32`, `weights` has another length, or this
    /// processor lacks `isa`.
    pub fn new(
        isa: Isa,
        geometry: ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
    ) -> Result<Self, KernelError> {
        isa.require()?;
        check(&geometry, weights)?;
        let kernel = choose(isa, &geometry, pad, alphabet, weights);
        Ok(Self {
            geometry,
            kernel,
            #[cfg(target_arch = "x86_64")]
            popcnt: (isa >= Isa::V2).then(crate::features::V2::detect).flatten(),
        })
    }

    /// Shape of the layer.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Name of the kernel, for profiles.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name()
    }

    /// Bytes that the packed weights take.
    pub fn packed_bytes(&self) -> usize {
        self.kernel.packed_bytes()
    }

    /// Words that a row of the padded map takes in the private layout of the kernel.
    pub fn row_len(&self) -> usize {
        self.kernel.row_len()
    }

    /// The rows of the padded map that some rows of the output need.
    pub fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        self.geometry.padded_rows_read(rows)
    }

    /// Brings some rows of the padded map into the private layout of the kernel, for
    /// [`BinaryConv::accumulate`]. `input` is the whole map of bits, without padding; every word of
    /// `layout`, [`BinaryConv::row_len`] for each row, is written.
    ///
    /// # Panics
    /// If a length does not fit or there are no such rows.
    pub fn fill_rows(&self, input: &[u64], rows: Range<usize>, layout: &mut [u64]) {
        self.check_input(input);
        let height = self.geometry.padded_input()[0];
        assert!(rows.start <= rows.end && rows.end <= height, "rows of the padded map");
        assert_eq!(layout.len(), rows.len() * self.row_len(), "words of the layout");
        self.kernel.fill_rows(input, rows, layout);
    }

    /// Computes the accumulators of some rows of the output, `[rows][out_width][out_channels]`, from
    /// what [`BinaryConv::fill_rows`] wrote: at least the rows [`BinaryConv::rows_read`].
    ///
    /// # Panics
    /// If a length does not fit, there are no such rows, or one that is needed is missing.
    pub fn accumulate(&self, layout: MapRows<'_, u64>, rows: Range<usize>, out: &mut [i32]) {
        self.check_rows(&rows, self.geometry.out_channels, out);
        let read = self.rows_read(rows.clone());
        let held = layout.first..layout.first + layout.values.len() / self.row_len();
        assert!(read.is_empty() || held.start <= read.start && read.end <= held.end, "rows read");
        self.kernel.accumulate(layout, rows, out);
    }

    /// Computes `S = sum of s_x` (`s_x = ±1`) over the taps inside the map, for each pixel of some rows
    /// of the output and each group: `[rows][out_width][groups]`. `input` is the whole map of bits.
    ///
    /// # Panics
    /// If a length does not fit or there are no such rows.
    pub fn input_sums(&self, input: &[u64], rows: Range<usize>, out: &mut [i32]) {
        self.check_input(input);
        self.check_rows(&rows, self.geometry.groups, out);
        #[cfg(target_arch = "x86_64")]
        if self.popcnt.is_some() {
            // SAFETY: the proof is there.
            unsafe { input_sums_popcnt(&self.geometry, input, rows, out) };
            return;
        }
        input_sums(&self.geometry, input, rows, out);
    }

    fn check_input(&self, input: &[u64]) {
        let [height, width] = self.geometry.input;
        let words = words_per_pixel(self.geometry.in_channels);
        assert_eq!(input.len(), height * width * words, "words of the input map");
    }

    fn check_rows(&self, rows: &Range<usize>, channels: usize, out: &[i32]) {
        let [height, width] = self.geometry.output();
        assert!(rows.start <= rows.end && rows.end <= height, "rows of the output map");
        assert_eq!(out.len(), rows.len() * width * channels, "length of the output rows");
    }
}

fn check(geometry: &ConvGeometry, weights: &[u64]) -> Result<(), KernelError> {
    geometry.validate()?;
    if geometry.products() > i32::MAX as usize {
        let products = geometry.products();
        return Err(GeometryError(format!("sums of {products} products exceed 32 bits")).into());
    }
    let expected = (geometry.out_channels * geometry.products()).div_ceil(64);
    if weights.len() != expected {
        let (tensor, unit, found) = ("binary weights", "64-bit words", weights.len());
        return Err(KernelError::Length { tensor, unit, found, expected });
    }
    Ok(())
}

/// [`BinaryConv::input_sums`]. Inlined into a caller with and one without the POPCNT instruction.
#[inline(always)]
fn input_sums(geometry: &ConvGeometry, input: &[u64], rows: Range<usize>, out: &mut [i32]) {
    let ConvGeometry { input: [height, width], kernel, stride, dilation, pads, groups, .. } =
        *geometry;
    let channels = geometry.in_channels / groups;
    let words = words_per_pixel(geometry.in_channels);
    let out_width = geometry.output()[1];
    for (y, out) in rows.zip(out.chunks_exact_mut(out_width * groups)) {
        let top = y * stride[0];
        let kernel_rows = taps_inside(top, kernel[0], dilation[0], pads[0], height);
        for (x, out) in out.chunks_exact_mut(groups).enumerate() {
            let left = x * stride[1];
            let kernel_columns = taps_inside(left, kernel[1], dilation[1], pads[1], width);
            let taps = kernel_rows.len() * kernel_columns.len();
            for (group, out) in out.iter_mut().enumerate() {
                let mut ones = 0;
                for row in kernel_rows.clone() {
                    for column in kernel_columns.clone() {
                        let y = top + row * dilation[0] - pads[0];
                        let x = left + column * dilation[1] - pads[1];
                        let first = (y * width + x) * words * 64 + group * channels;
                        ones += count_ones(input, first..first + channels);
                    }
                }
                *out = (2 * ones as i64 - (taps * channels) as i64) as i32;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
fn input_sums_popcnt(geometry: &ConvGeometry, input: &[u64], rows: Range<usize>, out: &mut [i32]) {
    input_sums(geometry, input, rows, out);
}

/// The fastest kernel of an instruction set for a layer; the processor has the instruction set.
#[cfg(target_arch = "x86_64")]
fn choose(
    isa: Isa,
    geometry: &ConvGeometry,
    pad: PadValue,
    alphabet: Alphabet,
    weights: &[u64],
) -> Box<dyn PackedKernel> {
    use crate::amx::Amx;
    use crate::features::{Avx2, Avx512, Avx512Bitalg, Avx512Gfni, V2};
    use bit_matrix::BitMatrix;
    use byte_tiles::ByteTiles;
    use carry_save::CarrySave;
    use depthwise::{Depthwise, Level};
    use lut4::{Lut4, Lut4Pairs};
    use popcount_lanes::PopcountLanes;
    use tiled::Tiled;

    enum Choice {
        Lut4V2(V2),
        PairsV2(V2),
        Lut4Avx2(Avx2),
        PairsAvx2(Avx2),
        Lut4Avx512(Avx512),
        CarrySave(Avx512),
        Lanes(Avx512Bitalg),
        BitMatrix(Avx512Gfni),
        Bytes(Amx),
    }

    let channels = geometry.in_channels / geometry.groups;
    let outputs = geometry.out_channels / geometry.groups;
    let v2 = (isa >= Isa::V2).then(V2::detect).flatten();
    let avx2 = (isa >= Isa::Avx2).then(Avx2::detect).flatten();
    let avx512 = (isa >= Isa::Avx512).then(Avx512::detect).flatten();
    let lanes = (isa >= Isa::Avx512Vpopcnt).then(Avx512Bitalg::detect).flatten();
    let gfni = (isa >= Isa::Avx512Vpopcnt).then(Avx512Gfni::detect).flatten();
    let amx = (isa >= Isa::Amx).then(Amx::detect).flatten();

    // Depth-wise, or nearly so: there are more channels to do at once than outputs for each.
    if channels == 1 && outputs < geometry.groups {
        let level = avx512.map(Level::Avx512).or(avx2.map(Level::Avx2)).or(v2.map(Level::V2));
        if let Some(level) = level {
            return Box::new(Depthwise::new(level, geometry, pad, alphabet, weights));
        }
    }
    // Hundredths of a cycle per pixel: vectors of outputs, each with its steps of so many input bits of
    // a tap and with what ends a sum (counters are emptied and accumulators written). Measured on
    // Cascade Lake and, for what came later, on Emerald Rapids.
    let taps = geometry.kernel[0] * geometry.kernel[1];
    let [height, width] = geometry.output();
    let cost = |lanes: usize, bits: usize, step: usize, sum: usize| {
        outputs.div_ceil(lanes) * (taps * channels.div_ceil(bits) * step + sum)
    };
    // Two vectors share the loads of a table.
    let lut4 = |lanes: usize| cost(lanes, 4, if outputs <= lanes { 186 } else { 126 }, 4500);
    // Pairs of pixels halve the shuffles, which have one port on older processors. On the newer one that this was
    // measured on, with two, AVX2 gains little by it; a row of an odd width does a pixel twice.
    let pairs = |lanes: usize| {
        let percent = if lanes == 16 { 88 } else { 97 };
        lut4(lanes) * percent / 100 * (width.div_ceil(2) * 2) / width.max(1)
    };
    let paired = Lut4Pairs::<V2>::fits(geometry);
    // Full adders like several pixels at a time.
    let [step, sum] =
        if lanes.is_some() && height * width >= 4 { [146, 4000] } else { [172, 6900] };
    // Among equals the narrowest takes the least memory, so it comes first.
    let candidates = [
        v2.map(|proof| (lut4(16), Choice::Lut4V2(proof))),
        v2.filter(|_| paired).map(|proof| (pairs(16), Choice::PairsV2(proof))),
        avx2.map(|proof| (lut4(32), Choice::Lut4Avx2(proof))),
        avx2.filter(|_| paired).map(|proof| (pairs(32), Choice::PairsAvx2(proof))),
        avx512.map(|proof| (lut4(64), Choice::Lut4Avx512(proof))),
        avx512.map(|proof| (cost(64, 8, step, sum), Choice::CarrySave(proof))),
        // A pixel takes 10 cycles until it is found and its bits are spread, a sum 1 to be written.
        lanes.map(|proof| (cost(16, 32, 150, 80) + 1000, Choice::Lanes(proof))),
        gfni.filter(|_| BitMatrix::fits(geometry))
            .map(|proof| (BitMatrix::cost(geometry), Choice::BitMatrix(proof))),
        amx.map(|proof| (byte_tiles::cost(geometry), Choice::Bytes(proof))),
    ];
    let best = candidates.into_iter().flatten().min_by_key(|(cost, _)| *cost);
    match best.map(|(_, choice)| choice) {
        None => Box::new(Reference::new(geometry, pad, alphabet, weights)),
        Some(Choice::Lut4V2(proof)) => {
            Box::new(Tiled::new(Lut4::new(proof, geometry), geometry, pad, alphabet, weights))
        }
        Some(Choice::PairsV2(proof)) => {
            let kernel = Lut4Pairs::new(proof, geometry);
            Box::new(Tiled::new(kernel, geometry, pad, alphabet, weights))
        }
        Some(Choice::PairsAvx2(proof)) => {
            let kernel = Lut4Pairs::new(proof, geometry);
            Box::new(Tiled::new(kernel, geometry, pad, alphabet, weights))
        }
        Some(Choice::Lut4Avx2(proof)) => {
            Box::new(Tiled::new(Lut4::new(proof, geometry), geometry, pad, alphabet, weights))
        }
        Some(Choice::Lut4Avx512(proof)) => {
            Box::new(Tiled::new(Lut4::new(proof, geometry), geometry, pad, alphabet, weights))
        }
        Some(Choice::CarrySave(proof)) => {
            let kernel = CarrySave::new(proof, geometry);
            Box::new(Tiled::new(kernel, geometry, pad, alphabet, weights))
        }
        Some(Choice::Lanes(proof)) => {
            let kernel = PopcountLanes::new(proof, geometry);
            Box::new(Tiled::new(kernel, geometry, pad, alphabet, weights))
        }
        Some(Choice::BitMatrix(proof)) => {
            Box::new(BitMatrix::new(proof, geometry, pad, alphabet, weights))
        }
        Some(Choice::Bytes(proof)) => {
            Box::new(ByteTiles::new(proof, geometry, pad, alphabet, weights))
        }
    }
}

/// The fastest kernel of an instruction set for a layer; the processor has the instruction set.
#[cfg(target_arch = "aarch64")]
fn choose(
    isa: Isa,
    geometry: &ConvGeometry,
    pad: PadValue,
    alphabet: Alphabet,
    weights: &[u64],
) -> Box<dyn PackedKernel> {
    use crate::features::Neon;
    use byte_counts::ByteCounts;
    use depthwise::{Depthwise, Level};
    use tiled::Tiled;

    let Some(proof) = (isa == Isa::Neon).then(Neon::detect).flatten() else {
        return Box::new(Reference::new(geometry, pad, alphabet, weights));
    };
    // Depth-wise, or nearly so: there are more channels to do at once than outputs for each.
    let outputs = geometry.out_channels / geometry.groups;
    if geometry.in_channels == geometry.groups && outputs < geometry.groups {
        return Box::new(Depthwise::new(Level::Neon(proof), geometry, pad, alphabet, weights));
    }
    Box::new(Tiled::new(ByteCounts::new(proof, geometry), geometry, pad, alphabet, weights))
}

/// The reference: there are no other kernels for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn choose(
    _isa: Isa,
    geometry: &ConvGeometry,
    pad: PadValue,
    alphabet: Alphabet,
    weights: &[u64],
) -> Box<dyn PackedKernel> {
    Box::new(Reference::new(geometry, pad, alphabet, weights))
}
