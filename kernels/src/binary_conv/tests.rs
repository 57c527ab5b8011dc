//! Every kernel against the reference, and the reference against a convolution of floats.

use super::*;
use crate::bit_string::bit;
use proptest::prelude::*;

/// A stream of words that is the same on every machine.
struct Noise(u64);

impl Noise {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A map of bits with zeros past the last channel.
    fn map(&mut self, [height, width]: [usize; 2], channels: usize) -> Vec<u64> {
        let words = words_per_pixel(channels);
        let mask = crate::bit_string::last_word_mask(channels);
        (0..height * width * words)
            .map(|at| self.word() & if at % words + 1 == words { mask } else { u64::MAX })
            .collect()
    }

    /// Weights, with noise past the last bit.
    fn weights(&mut self, geometry: &ConvGeometry) -> Vec<u64> {
        let bits = geometry.out_channels * geometry.products();
        (0..bits.div_ceil(64)).map(|_| self.word()).collect()
    }
}

/// All kernels that can run here, whatever [`choose`] would take.
fn kernels(
    geometry: &ConvGeometry,
    pad: PadValue,
    alphabet: Alphabet,
    weights: &[u64],
) -> Vec<BinaryConv> {
    let conv = |kernel| BinaryConv {
        geometry: geometry.clone(),
        kernel,
        #[cfg(target_arch = "x86_64")]
        popcnt: None,
    };
    #[allow(unused_mut)]
    let mut all = vec![conv(Box::new(Reference::new(geometry, pad, alphabet, weights)))];
    #[cfg(target_arch = "x86_64")]
    {
        use crate::features::{Avx2, Avx512, Avx512Bitalg, Avx512Gfni, V2};
        use carry_save::CarrySave;
        use depthwise::{Depthwise, Level};
        use lut4::{Lut4, Lut4Pairs};
        use popcount_lanes::PopcountLanes;
        macro_rules! add {
            ($kernel:ident, $proof:expr) => {
                if let Some(proof) = $proof {
                    let kernel = $kernel::new(proof, geometry);
                    let tiled = tiled::Tiled::new(kernel, geometry, pad, alphabet, weights);
                    all.push(conv(Box::new(tiled)));
                }
            };
        }
        if geometry.in_channels == geometry.groups {
            let levels = [
                V2::detect().map(Level::V2),
                Avx2::detect().map(Level::Avx2),
                Avx512::detect().map(Level::Avx512),
            ];
            for level in levels.into_iter().flatten() {
                let kernel = Depthwise::new(level, geometry, pad, alphabet, weights);
                all.push(conv(Box::new(kernel)));
            }
        }
        add!(Lut4, V2::detect());
        add!(Lut4, Avx2::detect());
        add!(Lut4, Avx512::detect());
        add!(Lut4Pairs, V2::detect().filter(|_| Lut4Pairs::<V2>::fits(geometry)));
        add!(Lut4Pairs, Avx2::detect().filter(|_| Lut4Pairs::<Avx2>::fits(geometry)));
        add!(CarrySave, Avx512::detect());
        add!(PopcountLanes, Avx512::detect().map(vector::EmulatedBitalg));
        add!(PopcountLanes, Avx512Bitalg::detect());
        if let Some(proof) = Avx512Gfni::detect().filter(|_| bit_matrix::BitMatrix::fits(geometry))
        {
            let kernel = bit_matrix::BitMatrix::new(proof, geometry, pad, alphabet, weights);
            all.push(conv(Box::new(kernel)));
        }
        let portable = crate::amx::Portable;
        let kernel = byte_tiles::ByteTiles::new(portable, geometry, pad, alphabet, weights);
        all.push(conv(Box::new(kernel)));
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(proof) = crate::features::Neon::detect() {
        use depthwise::{Depthwise, Level};
        if geometry.in_channels == geometry.groups {
            let kernel = Depthwise::new(Level::Neon(proof), geometry, pad, alphabet, weights);
            all.push(conv(Box::new(kernel)));
        }
        let kernel = byte_counts::ByteCounts::new(proof, geometry);
        let tiled = tiled::Tiled::new(kernel, geometry, pad, alphabet, weights);
        all.push(conv(Box::new(tiled)));
    }
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
        all.push(
            BinaryConv::new(isa, geometry.clone(), pad, alphabet, weights)
                .expect("a valid layer and an available instruction set"),
        );
    }
    all
}

/// All rows, in two calls, from memory and to an output that hold rubbish. There are no more rows of
/// the input than needed, and they are filled one by one.
fn accumulate(conv: &BinaryConv, input: &[u64]) -> Vec<i32> {
    let [height, width] = conv.geometry().output();
    let row = width * conv.geometry().out_channels;
    let mut out = vec![i32::MIN; height * row];
    let split = height / 3;
    let (upper, lower) = out.split_at_mut(split * row);
    for (rows, out) in [(0..split, upper), (split..height, lower)] {
        let read = conv.rows_read(rows.clone());
        let mut layout = vec![0xdead_beef_dead_beef; read.len() * conv.row_len()];
        for (row, layout) in read.clone().zip(layout.chunks_exact_mut(conv.row_len())) {
            conv.fill_rows(input, row..row + 1, layout);
        }
        conv.accumulate(MapRows { values: &layout, first: read.start }, rows, out);
    }
    out
}

/// The convolution of the real values, by floats: exact below 2^24.
fn float_convolution(
    geometry: &ConvGeometry,
    pad: PadValue,
    alphabet: Alphabet,
    weights: &[u64],
    input: &[u64],
) -> Vec<i32> {
    let ConvGeometry { input: [h, w], kernel: [kh, kw], stride, dilation, pads, groups, .. } =
        *geometry;
    let (low, high) = match alphabet {
        Alphabet::PlusMinus => (-1.0_f32, 1.0),
        Alphabet::ZeroOne => (0.0, 1.0),
    };
    let outside = match pad {
        PadValue::Zero => 0.0,
        PadValue::Plus => high,
        PadValue::Minus => low,
    };
    let (channels, group) = (geometry.in_channels, geometry.in_channels / groups);
    let (ph, pw) = (h + pads[0] + pads[2], w + pads[1] + pads[3]);
    let mut padded = vec![outside; ph * pw * channels];
    for y in 0..h {
        for x in 0..w {
            for c in 0..channels {
                let set = bit(input, (y * w + x) * words_per_pixel(channels) * 64 + c);
                padded[((y + pads[0]) * pw + x + pads[1]) * channels + c] =
                    if set { high } else { low };
            }
        }
    }
    let [oh, ow] = geometry.output();
    let outputs = geometry.out_channels;
    let mut out = vec![0; oh * ow * outputs];
    for (index, out) in out.iter_mut().enumerate() {
        let (pixel, o) = (index / outputs, index % outputs);
        let (y, x) = (pixel / ow * stride[0], pixel % ow * stride[1]);
        let mut sum = 0.0;
        for tap in 0..kh * kw {
            let at = (y + tap / kw * dilation[0]) * pw + x + tap % kw * dilation[1];
            let first = at * channels + o / (outputs / groups) * group;
            for (c, value) in padded[first..][..group].iter().enumerate() {
                let set = bit(weights, (o * kh * kw + tap) * group + c);
                sum += if set { *value } else { -*value };
            }
        }
        *out = sum as i32;
    }
    out
}

fn check_layer(geometry: &ConvGeometry, pad: PadValue, alphabet: Alphabet, seed: u64) {
    let mut noise = Noise(seed);
    let weights = noise.weights(geometry);
    let input = noise.map(geometry.input, geometry.in_channels);
    let expected = float_convolution(geometry, pad, alphabet, &weights, &input);
    for conv in kernels(geometry, pad, alphabet, &weights) {
        let found = accumulate(&conv, &input);
        assert!(
            found == expected,
            "{} differs on {geometry:?}, {pad:?}, {alphabet:?}, seed {seed}",
            conv.kernel_name()
        );
    }
}

fn pad_value() -> impl Strategy<Value = PadValue> {
    prop::sample::select(vec![PadValue::Zero, PadValue::Plus, PadValue::Minus])
}

fn alphabet() -> impl Strategy<Value = Alphabet> {
    prop::sample::select(vec![Alphabet::PlusMinus, Alphabet::ZeroOne])
}

const CHANNELS: [usize; 13] = [1, 3, 4, 22, 31, 32, 33, 45, 63, 64, 65, 127, 129];

prop_compose! {
    /// Valid layers of every kind: groups up to depth-wise, kernels larger than the map.
    fn layer()(
        (groups, group_in, group_out) in prop_oneof![
            3 => (Just(1_usize), prop::sample::select(&CHANNELS[..]), prop::sample::select(&CHANNELS[..])),
            1 => (2..5_usize, 1..40_usize, 1..40_usize),
            1 => (1..70_usize, Just(1), 1..3_usize),
        ],
        input in [1..8_usize, 1..8_usize],
        kernel in [1..6_usize, 1..6_usize],
        stride in [1..4_usize, 1..4_usize],
        dilation in [1..4_usize, 1..4_usize],
        pads in [0..4_usize, 0..4_usize, 0..4_usize, 0..4_usize],
    ) -> ConvGeometry {
        let mut pads = pads;
        for axis in 0..2 {
            let extent = (kernel[axis] - 1) * dilation[axis] + 1;
            let padded = input[axis] + pads[axis] + pads[axis + 2];
            // Grow the padding of one side until the kernel fits.
            pads[axis + 2] += extent.saturating_sub(padded);
        }
        ConvGeometry {
            in_channels: groups * group_in,
            out_channels: groups * group_out,
            input,
            kernel,
            stride,
            dilation,
            pads,
            groups,
        }
    }
}

proptest! {
    #[test]
    fn every_kernel_gives_the_exact_sums(
        geometry in layer(), pad in pad_value(), alphabet in alphabet(), seed in any::<u64>(),
    ) {
        prop_assert!(geometry.validate().is_ok());
        check_layer(&geometry, pad, alphabet, seed);
    }

    #[test]
    fn dense_layers_are_exact(
        channels in 1..700_usize, outputs in 1..300_usize, alphabet in alphabet(), seed in any::<u64>(),
    ) {
        check_layer(&plain(channels, outputs, [1, 1], [1, 1], 0), PadValue::Zero, alphabet, seed);
    }

    #[test]
    fn input_sums_count_the_taps_inside(geometry in layer(), seed in any::<u64>()) {
        let mut noise = Noise(seed);
        // With all weights +1 and one output per group, the accumulators are the input sums.
        let probe = ConvGeometry { out_channels: geometry.groups, ..geometry.clone() };
        let ones = vec![u64::MAX; noise.weights(&probe).len()];
        let input = noise.map(geometry.input, geometry.in_channels);
        let expected =
            float_convolution(&probe, PadValue::Zero, Alphabet::PlusMinus, &ones, &input);
        let weights = noise.weights(&geometry);
        for isa in Isa::available() {
            let conv = BinaryConv::new(
                isa, geometry.clone(), PadValue::Zero, Alphabet::PlusMinus, &weights,
            ).expect("a valid layer");
            let [height, width] = geometry.output();
            let mut sums = vec![i32::MIN; height * width * geometry.groups];
            let (upper, lower) = sums.split_at_mut(width * geometry.groups);
            conv.input_sums(&input, 0..1, upper);
            conv.input_sums(&input, 1..height, lower);
            prop_assert_eq!(&sums, &expected);
        }
    }
}

/// A layer without groups, strides or dilation.
pub(super) fn plain(
    channels: usize,
    outputs: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    pad: usize,
) -> ConvGeometry {
    ConvGeometry {
        in_channels: channels,
        out_channels: outputs,
        input,
        kernel,
        stride: [1, 1],
        dilation: [1, 1],
        pads: [pad; 4],
        groups: 1,
    }
}

#[test]
fn long_sums_do_not_overflow() {
    // 32,760 products: nearly what signed 16-bit counters hold; 76,800 and 140,000: more than unsigned ones hold.
    for (geometry, pad) in [
        (plain(3640, 70, [3, 3], [3, 3], 0), PadValue::Zero),
        // Many taps of one channel, each of them a step with room for four, in a row of odd width.
        (plain(1, 5, [150, 152], [150, 150], 0), PadValue::Zero),
        (plain(3072, 20, [5, 5], [5, 5], 0), PadValue::Zero),
        (plain(3072, 4, [3, 3], [5, 5], 2), PadValue::Zero),
        (plain(140_000, 3, [1, 1], [1, 1], 0), PadValue::Plus),
    ] {
        check_layer(&geometry, pad, Alphabet::PlusMinus, 5);
        check_layer(&geometry, pad, Alphabet::ZeroOne, 6);
        // All bits differ, or none: the largest counts there are.
        let weights = vec![u64::MAX; (geometry.out_channels * geometry.products()).div_ceil(64)];
        let words = geometry.input[0] * geometry.input[1] * words_per_pixel(geometry.in_channels);
        for input in [vec![0; words], Noise(1).map(geometry.input, geometry.in_channels)] {
            let expected = float_convolution(&geometry, pad, Alphabet::PlusMinus, &weights, &input);
            for conv in kernels(&geometry, pad, Alphabet::PlusMinus, &weights) {
                assert!(accumulate(&conv, &input) == expected, "{}", conv.kernel_name());
            }
        }
    }
}

#[test]
fn many_short_runs_do_not_overflow() {
    // Dilated taps of a few channels are runs of their own: 169 of them, of one and two steps.
    for channels in [5, 12] {
        let geometry =
            ConvGeometry { dilation: [1, 2], ..plain(channels, 70, [14, 27], [13, 13], 0) };
        check_layer(&geometry, PadValue::Zero, Alphabet::PlusMinus, 21);
        let weights = vec![u64::MAX; (geometry.out_channels * geometry.products()).div_ceil(64)];
        let input = vec![0; 14 * 27 * words_per_pixel(channels)];
        let all_differ = -(geometry.products() as i32);
        for conv in kernels(&geometry, PadValue::Zero, Alphabet::PlusMinus, &weights) {
            let found = accumulate(&conv, &input);
            assert!(found.iter().all(|&sum| sum == all_differ), "{}", conv.kernel_name());
        }
    }
}

#[test]
fn layers_of_resnet_shape_are_exact() {
    for (size, channels) in [(14, 64), (9, 128), (7, 256)] {
        let geometry = plain(channels, channels, [size, size], [3, 3], 1);
        check_layer(&geometry, PadValue::Zero, Alphabet::PlusMinus, 11);
        check_layer(&geometry, PadValue::Zero, Alphabet::ZeroOne, 12);
    }
}

#[test]
fn rubbish_in_the_layout_is_harmless() {
    let geometry = plain(64, 64, [4, 4], [3, 3], 1);
    let weights = Noise(3).weights(&geometry);
    for conv in kernels(&geometry, PadValue::Zero, Alphabet::PlusMinus, &weights) {
        let layout = vec![u64::MAX; conv.rows_read(0..4).len() * conv.row_len()];
        let mut out = vec![0; 16 * 64];
        conv.accumulate(MapRows::whole(&layout), 0..4, &mut out);
    }
}

#[test]
fn wrong_layers_are_refused() {
    let geometry = plain(64, 64, [4, 4], [3, 3], 1);
    let new = |geometry: &ConvGeometry, words: usize| {
        let weights = vec![0; words];
        BinaryConv::new(
            Isa::Scalar,
            geometry.clone(),
            PadValue::Zero,
            Alphabet::PlusMinus,
            &weights,
        )
    };
    assert!(new(&geometry, 64 * 9).is_ok());
    let error = new(&geometry, 64 * 9 - 1).expect_err("one word is missing");
    assert_eq!(error.to_string(), "binary weights: found 575 64-bit words, expected 576");
    let misfit = ConvGeometry { groups: 5, ..geometry.clone() };
    assert!(matches!(new(&misfit, 576), Err(KernelError::Geometry(_))));
    let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available());
    if let Some(isa) = missing {
        let weights = vec![0; 576];
        let conv = BinaryConv::new(isa, geometry, PadValue::Zero, Alphabet::PlusMinus, &weights);
        assert!(matches!(conv, Err(KernelError::Isa(_))));
    }
}
