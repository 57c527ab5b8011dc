//! From mismatches to accumulators.
//!
//! The fast kernels count, for each output pixel and channel, the positions of the full window where
//! input and weight bits differ, padded taps included. With `K` products in a full window and `m`
//! mismatches, the accumulator follows as
//!
//! - {-1, +1} inputs: `sum s_w s_x = K - 2 m`. Exact zero padding: the padded taps, stored as bit 0
//!   and so counted as `-s_w`, are taken back by adding the sum of `s_w` under them, a constant of the
//!   border class.
//! - {0, 1} inputs, `x = (s_x + 1) / 2`: `sum s_w x = ((K - 2 m) + sum s_w) / 2 = ones(w) - m`. Zero
//!   padding is bit 0.
//!
//! Either is `base - m` or `base - 2 m` with `base` looked up by border class and channel.

use crate::{Alphabet, BorderClasses, ConvGeometry, PadValue, aligned::Aligned};

/// What mismatches are subtracted from.
#[derive(Debug)]
pub(super) struct Bases {
    /// `[class][groups][stride]`; the first entries of a group belong to its output channels.
    table: Aligned<i32>,
    /// Entries of a class.
    class_len: usize,
    /// Present where bases differ from pixel to pixel.
    classes: Option<BorderClasses>,
    /// Whether a mismatch counts 2 (otherwise 1).
    double: bool,
}

impl Bases {
    /// The bases of a layer, with `stride >= out_channels / groups` entries for each group.
    pub(super) fn new(
        geometry: &ConvGeometry,
        pad: PadValue,
        alphabet: Alphabet,
        weights: &[u64],
        stride: usize,
    ) -> Self {
        let products = geometry.products() as i32;
        let class_len = geometry.groups * stride;
        let group_out = geometry.out_channels / geometry.groups;
        let classes = BorderClasses::new(geometry);
        let tap_ones = classes.tap_ones(weights);
        let ones: Vec<i32> = tap_ones
            .chunks_exact(geometry.kernel[0] * geometry.kernel[1])
            .map(|taps| taps.iter().sum::<u32>() as i32)
            .collect();
        let by_class =
            alphabet == Alphabet::PlusMinus && pad == PadValue::Zero && geometry.pads != [0; 4];
        let inside = by_class.then(|| classes.sums_of_taps(&tap_ones));
        let mut table = Aligned::zeroed(if by_class { classes.len() } else { 1 } * class_len);
        for (class, table) in table.as_mut_slice().chunks_exact_mut(class_len).enumerate() {
            for (group, table) in table.chunks_exact_mut(stride).enumerate() {
                let channels = group * group_out..(group + 1) * group_out;
                for (base, channel) in table.iter_mut().zip(channels) {
                    *base = match (alphabet, &inside) {
                        (Alphabet::ZeroOne, _) => ones[channel],
                        (Alphabet::PlusMinus, None) => products,
                        (Alphabet::PlusMinus, Some(inside)) => {
                            // K + (all - inside); it may wrap where the accumulator does not.
                            let all = ones[channel].wrapping_mul(2).wrapping_sub(products);
                            let inside = inside[class * ones.len() + channel];
                            products.wrapping_add(all.wrapping_sub(inside))
                        }
                    };
                }
            }
        }
        let double = alphabet == Alphabet::PlusMinus;
        Self { table, class_len, classes: by_class.then_some(classes), double }
    }

    /// All bases.
    pub(super) fn table(&self) -> &[i32] {
        self.table.as_slice()
    }

    /// Where the bases of an output pixel start.
    #[inline(always)]
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        self.classes.as_ref().map_or(0, |classes| classes.class(y, x) * self.class_len)
    }

    /// Whether a mismatch counts 2 (otherwise 1).
    pub(super) fn double(&self) -> bool {
        self.double
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.table.as_slice())
    }
}
