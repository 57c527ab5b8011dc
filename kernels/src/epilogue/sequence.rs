//! The frequent operations in their frequent order, as one pass: 64 values at a time stay in registers
//! from the accumulators to the float map and the bits of the next layer.

use super::{
    fused::Constant,
    pass::{CHUNK, Map},
};
use crate::{
    bit_string::low_mask,
    simd::{Lanes, vectorised},
};
use std::{marker::PhantomData, ptr};

// The places of a sequence, in order.
const SCALE: u16 = 1 << 0;
const RELU: u16 = 1 << 1;
const SECOND_SCALE: u16 = 1 << 2;
const BIAS: u16 = 1 << 3;
const SECOND_RELU: u16 = 1 << 4;
const SLOPE: u16 = 1 << 5;
const SHORTCUT: u16 = 1 << 6;
const SHIFT: u16 = 1 << 7;
const SECOND_SLOPE: u16 = 1 << 8;
const SECOND_SHIFT: u16 = 1 << 9;
const STORE: u16 = 1 << 10;
const BITS: u16 = 1 << 11;
/// The values are written back, for what follows the sequence.
pub(super) const WRITE_BACK: u16 = 1 << 12;
/// The values are integers before the first operation.
pub(super) const INTEGERS: u16 = 1 << 13;
/// Stands for places that are looked up while running.
const ANY: u16 = u16::MAX;

// What is compiled for itself: the block of a residual network that adds its shortcut before the next
// sign (Bi-Real Net), with weights that are scaled before batch normalisation scales again and that are not, and
// without the sign (IGP-Net); the same with shifts around a PReLU (ReActNet), and with a Relu before batch
// normalisation (QuickNet), all of them for the integers of a binary convolution; a float convolution whose batch
// normalisation is in its weights; batch normalisation with a Relu behind (the transitions of dense networks); and
// what comes out of a pool.
const RESIDUAL: u16 = SCALE | BIAS | SHORTCUT | STORE | BITS;
const UNSCALED_RESIDUAL: u16 = BIAS | SHORTCUT | STORE | BITS;
const TWICE_SCALED_RESIDUAL: u16 = RESIDUAL | SECOND_SCALE;
const TWICE_SCALED_SUM: u16 = TWICE_SCALED_RESIDUAL & !BITS;
const SHIFTED_RESIDUAL: u16 = RESIDUAL | SHIFT | SECOND_SLOPE | SECOND_SHIFT;
const TWICE_SCALED_SHIFTED: u16 = SHIFTED_RESIDUAL | SECOND_SCALE;
const RELU_RESIDUAL: u16 = RELU | SECOND_SCALE | BIAS | SHORTCUT | STORE | BITS;
const BIASED: u16 = BIAS | STORE;
const STORES: u16 = STORE | BITS;
const NORMALISED: u16 = SCALE | BIAS | SECOND_RELU | STORE;
const OF_INTEGERS: u16 = INTEGERS | RESIDUAL;
const UNSCALED_OF_INTEGERS: u16 = INTEGERS | UNSCALED_RESIDUAL;
const TWICE_SCALED_OF_INTEGERS: u16 = INTEGERS | TWICE_SCALED_RESIDUAL;
const TWICE_SCALED_SUM_OF_INTEGERS: u16 = INTEGERS | TWICE_SCALED_SUM;
const SHIFTED_OF_INTEGERS: u16 = INTEGERS | SHIFTED_RESIDUAL;
const TWICE_SCALED_SHIFTED_OF_INTEGERS: u16 = INTEGERS | TWICE_SCALED_SHIFTED;
const RELU_OF_INTEGERS: u16 = INTEGERS | RELU_RESIDUAL;

/// Operations, each at most once and in this order: scale, Relu, scale, bias, Relu, slope, shortcut, shift, slope,
/// shift, store of floats, store of bits (the stores also the other way round).
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// Which places are taken.
    places: u16,
    scale: Constant,
    second_scale: Constant,
    bias: Constant,
    slope: Constant,
    /// Operand that is added.
    shortcut: usize,
    shift: Constant,
    second_slope: Constant,
    second_shift: Constant,
    /// Output of floats.
    store: usize,
    bits: Option<Bits>,
}

/// A store of bits.
#[derive(Debug)]
pub(super) struct Bits {
    pub(super) thresholds: Constant,
    /// One word for each chunk of a period, or none.
    pub(super) flip: Vec<u64>,
    pub(super) output: usize,
}

/// An operation that a [`Sequence`] has a place for.
#[derive(Debug)]
pub(super) enum Part {
    Relu,
    Scale(Constant),
    Add(Constant),
    /// `x >= 0 ? x : p * x`.
    Slope(Constant),
    Shortcut(usize),
    Store(usize),
    Bits(Bits),
}

impl Sequence {
    /// Takes an operation that follows those already taken, or hands it back.
    pub(super) fn push(&mut self, part: Part) -> Result<(), Part> {
        let places: &[u16] = match part {
            Part::Relu => &[RELU, SECOND_RELU],
            Part::Scale(_) => &[SCALE, SECOND_SCALE],
            Part::Add(_) => &[BIAS, SHIFT, SECOND_SHIFT],
            Part::Slope(_) => &[SLOPE, SECOND_SLOPE],
            Part::Shortcut(_) => &[SHORTCUT],
            Part::Store(_) => &[STORE],
            Part::Bits(_) => &[BITS],
        };
        // Stores change no value, so that of floats takes its place before that of bits though it comes after it.
        let before = if let Part::Store(_) = part { self.places & !BITS } else { self.places };
        let Some(&place) = places.iter().find(|&&place| place > before) else {
            return Err(part);
        };
        self.places |= place;
        match part {
            Part::Relu => {}
            Part::Scale(p) if place == SCALE => self.scale = p,
            Part::Scale(p) => self.second_scale = p,
            Part::Add(p) if place == BIAS => self.bias = p,
            Part::Add(p) if place == SHIFT => self.shift = p,
            Part::Add(p) => self.second_shift = p,
            Part::Slope(p) if place == SLOPE => self.slope = p,
            Part::Slope(p) => self.second_slope = p,
            Part::Shortcut(operand) => self.shortcut = operand,
            Part::Store(output) => self.store = output,
            Part::Bits(bits) => self.bits = Some(bits),
        }
        Ok(())
    }

    /// The operand that is added.
    pub(super) fn shortcut(&self) -> Option<usize> {
        (self.places & SHORTCUT != 0).then_some(self.shortcut)
    }

    /// The output of floats.
    pub(super) fn store(&self) -> Option<usize> {
        (self.places & STORE != 0).then_some(self.store)
    }

    /// The output of bits.
    pub(super) fn bits_output(&self) -> Option<usize> {
        self.bits.as_ref().map(|bits| bits.output)
    }
}

/// The map that is added.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shortcut<'a> {
    /// Another one.
    Map(&'a [f32]),
    /// What the output of floats holds before.
    Stored,
}

/// A sequence bound to its slices, with all lengths checked. All that the loop needs is in here and not behind a
/// pointer, from where it would be read again after each store.
#[derive(Clone, Copy)]
pub(super) struct Streams<'a> {
    places: u16,
    /// Number of values.
    len: usize,
    channels: usize,
    /// Values after which the constants start again.
    period: usize,
    // Constants, each for a period in whole chunks; any where their place is not taken.
    scale: *const f32,
    second_scale: *const f32,
    bias: *const f32,
    slope: *const f32,
    shift: *const f32,
    second_slope: *const f32,
    second_shift: *const f32,
    thresholds: *const f32,
    values: *mut f32,
    shortcut: *const f32,
    store: *mut f32,
    bits: *mut u64,
    /// One word for each chunk of a period, or null.
    flip: *const u64,
    /// Pixels whose bits are in one chunk; 1 where a pixel has chunks of its own.
    pixels: usize,
    lives: PhantomData<&'a mut [f32]>,
}

impl<'a> Streams<'a> {
    /// Binds a sequence of the map to slices that start at the same pixel; `more` are [`INTEGERS`] and [`WRITE_BACK`] or
    /// none of them.
    ///
    /// # Panics
    /// If a slice is missing or has another length than the values ask for.
    pub(super) fn new(
        sequence: &'a Sequence,
        map: Map<'a>,
        values: &'a mut [f32],
        shortcut: Option<Shortcut<'a>>,
        store: Option<&'a mut [f32]>,
        bits: Option<&'a mut [u64]>,
        more: u16,
    ) -> Self {
        let len = values.len();
        let store_len = store.as_ref().map(|store| store.len());
        let store = store.map_or(ptr::null_mut(), <[_]>::as_mut_ptr);
        // Chunks are read before they are written, so both may go through one pointer.
        let (shortcut, shortcut_len) = match shortcut {
            Some(Shortcut::Map(map)) => (map.as_ptr(), Some(map.len())),
            Some(Shortcut::Stored) => (store.cast_const(), store_len),
            None => (ptr::null(), None),
        };
        let words = len / map.channels * crate::words_per_pixel(map.channels);
        let expected = |place: u16, len: usize| (sequence.places & place != 0).then_some(len);
        assert_eq!(shortcut_len, expected(SHORTCUT, len), "operand map");
        assert_eq!(store_len, expected(STORE, len), "output map");
        assert_eq!(bits.as_ref().map(|bits| bits.len()), expected(BITS, words), "output bits");
        let flip = sequence.bits.as_ref().map_or(&[][..], |bits| &bits.flip);
        assert!(flip.is_empty() || flip.len() == map.period.div_ceil(CHUNK));
        let constant = |start: Constant| map.constants[start..].as_ptr();
        Self {
            places: sequence.places | more,
            len,
            channels: map.channels,
            period: map.period,
            scale: constant(sequence.scale),
            second_scale: constant(sequence.second_scale),
            bias: constant(sequence.bias),
            slope: constant(sequence.slope),
            shift: constant(sequence.shift),
            second_slope: constant(sequence.second_slope),
            second_shift: constant(sequence.second_shift),
            thresholds: constant(sequence.bits.as_ref().map_or(0, |bits| bits.thresholds)),
            values: values.as_mut_ptr(),
            shortcut,
            store,
            bits: bits.map_or(ptr::null_mut(), <[_]>::as_mut_ptr),
            flip: if flip.is_empty() { ptr::null() } else { flip.as_ptr() },
            pixels: if map.period == map.channels { 1 } else { (CHUNK / map.channels).max(1) },
            lives: PhantomData,
        }
    }
}

vectorised! {
    /// Runs a sequence.
    pub(super) unsafe fn run_on(streams: Streams<'_>) = run;
}

/// # Safety
/// The processor has the features of the vectors.
#[inline(always)]
unsafe fn run<V: Lanes>(streams: Streams<'_>) {
    // SAFETY: the promise of the caller; the vectors are those of a chunk.
    unsafe {
        match V::LANES {
            4 => choose::<V, 16>(&streams),
            8 => choose::<V, 8>(&streams),
            16 => choose::<V, 4>(&streams),
            _ => unreachable!("vectors that fill a chunk"),
        }
    }
}

/// # Safety
/// The processor has the features of the vectors; `VECTORS` vectors are a chunk.
#[inline(always)]
unsafe fn choose<V: Lanes, const VECTORS: usize>(streams: &Streams<'_>) {
    // SAFETY: the promises of the caller; the places are those of the streams.
    unsafe {
        match streams.places {
            OF_INTEGERS => all::<V, VECTORS, OF_INTEGERS>(streams),
            UNSCALED_OF_INTEGERS => all::<V, VECTORS, UNSCALED_OF_INTEGERS>(streams),
            TWICE_SCALED_OF_INTEGERS => all::<V, VECTORS, TWICE_SCALED_OF_INTEGERS>(streams),
            TWICE_SCALED_SUM_OF_INTEGERS => {
                all::<V, VECTORS, TWICE_SCALED_SUM_OF_INTEGERS>(streams);
            }
            SHIFTED_OF_INTEGERS => all::<V, VECTORS, SHIFTED_OF_INTEGERS>(streams),
            TWICE_SCALED_SHIFTED_OF_INTEGERS => {
                all::<V, VECTORS, TWICE_SCALED_SHIFTED_OF_INTEGERS>(streams);
            }
            RELU_OF_INTEGERS => all::<V, VECTORS, RELU_OF_INTEGERS>(streams),
            RESIDUAL => all::<V, VECTORS, RESIDUAL>(streams),
            BIASED => all::<V, VECTORS, BIASED>(streams),
            NORMALISED => all::<V, VECTORS, NORMALISED>(streams),
            STORES => all::<V, VECTORS, STORES>(streams),
            _ => all::<V, VECTORS, ANY>(streams),
        }
    }
}

/// # Safety
/// The processor has the features of the vectors; `VECTORS` vectors are a chunk; the places are those
/// of the streams or [`ANY`].
#[inline(always)]
unsafe fn all<V: Lanes, const VECTORS: usize, const PLACES: u16>(streams: &Streams<'_>) {
    // A copy whose address nobody has: it stays in registers.
    let streams = *streams;
    let period = streams.period;
    // The bits of a chunk are one word, or one word for each of its pixels.
    let mut word = 0;
    let mut start = 0;
    while start < streams.len {
        let len = period.min(streams.len - start);
        let mut offset = 0;
        // SAFETY: the promises of the caller; the chunks tile the values.
        unsafe {
            while offset + CHUNK <= len {
                let at = start + offset;
                chunk::<V, VECTORS, PLACES, true>(&streams, offset, at, word, CHUNK);
                offset += CHUNK;
                word += streams.pixels;
            }
            if offset < len {
                let at = start + offset;
                chunk::<V, VECTORS, PLACES, false>(&streams, offset, at, word, len - offset);
                word += streams.pixels;
            }
        }
        start += len;
    }
}

/// Runs the sequence on the chunk of `count` values (64 if `FULL`) at `at`, which is `offset` values
/// behind the start of a period and whose bits start at a word.
///
/// # Safety
/// See [`all`]; the chunk lies in the values.
#[inline(always)]
unsafe fn chunk<V: Lanes, const VECTORS: usize, const PLACES: u16, const FULL: bool>(
    streams: &Streams<'_>,
    offset: usize,
    at: usize,
    word: usize,
    count: usize,
) {
    let places = if PLACES == ANY { streams.places } else { PLACES };
    // SAFETY: `Streams::new` has checked that all slices are as long as the values, in which the
    // caller promises that the chunk lies; constants are as long as the period, in whole chunks.
    unsafe {
        let mut x: [V; VECTORS] = load::<V, VECTORS, FULL>(streams.values.add(at), count);
        if places & INTEGERS != 0 {
            for x in &mut x {
                *x = x.of_integers();
            }
        }
        if places & SCALE != 0 {
            x = product(x, load::<V, VECTORS, true>(streams.scale.add(offset), CHUNK));
        }
        if places & RELU != 0 {
            x = relu(x);
        }
        if places & SECOND_SCALE != 0 {
            x = product(x, load::<V, VECTORS, true>(streams.second_scale.add(offset), CHUNK));
        }
        if places & BIAS != 0 {
            let p = load::<V, VECTORS, true>(streams.bias.add(offset), CHUNK);
            x = sum(x, p);
        }
        if places & SECOND_RELU != 0 {
            x = relu(x);
        }
        if places & SLOPE != 0 {
            let p = load::<V, VECTORS, true>(streams.slope.add(offset), CHUNK);
            x = slope(x, p);
        }
        if places & SHORTCUT != 0 {
            x = sum(x, load::<V, VECTORS, FULL>(streams.shortcut.add(at), count));
        }
        if places & SHIFT != 0 {
            let p = load::<V, VECTORS, true>(streams.shift.add(offset), CHUNK);
            x = sum(x, p);
        }
        if places & SECOND_SLOPE != 0 {
            let p = load::<V, VECTORS, true>(streams.second_slope.add(offset), CHUNK);
            x = slope(x, p);
        }
        if places & SECOND_SHIFT != 0 {
            let p = load::<V, VECTORS, true>(streams.second_shift.add(offset), CHUNK);
            x = sum(x, p);
        }
        if places & STORE != 0 {
            store::<V, VECTORS, FULL>(x, streams.store.add(at), count);
        }
        if places & BITS != 0 {
            let thresholds: [V; VECTORS] =
                load::<V, VECTORS, true>(streams.thresholds.add(offset), CHUNK);
            let mut bits = 0;
            for (vector, (x, threshold)) in x.iter().zip(thresholds).enumerate() {
                bits |= x.ge_bits(threshold) << (vector * V::LANES);
            }
            if !streams.flip.is_null() {
                bits ^= *streams.flip.add(offset / CHUNK);
            }
            if streams.pixels == 1 {
                *streams.bits.add(word) = if FULL { bits } else { bits & low_mask(count) };
            } else {
                store_pixels(streams.bits.add(word), streams.channels, bits, count);
            }
        }
        if places & WRITE_BACK != 0 {
            store::<V, VECTORS, FULL>(x, streams.values.add(at), count);
        }
    }
}

/// Writes the bits of the pixels of a chunk, a word each.
///
/// # Safety
/// The pixels of `count` values have words from `to` on.
#[inline(never)]
unsafe fn store_pixels(to: *mut u64, channels: usize, bits: u64, count: usize) {
    for (word, start) in (0..count).step_by(channels).enumerate() {
        // SAFETY: the promise of the caller.
        unsafe { *to.add(word) = bits >> start & low_mask(channels) };
    }
}

/// # Safety
/// The processor has the features of the vectors.
#[inline(always)]
unsafe fn sum<V: Lanes, const VECTORS: usize>(
    mut x: [V; VECTORS],
    y: [V; VECTORS],
) -> [V; VECTORS] {
    for (x, y) in x.iter_mut().zip(y) {
        // SAFETY: the promise of the caller.
        *x = unsafe { x.add(y) };
    }
    x
}

/// # Safety
/// The processor has the features of the vectors.
#[inline(always)]
unsafe fn product<V: Lanes, const VECTORS: usize>(
    mut x: [V; VECTORS],
    y: [V; VECTORS],
) -> [V; VECTORS] {
    for (x, y) in x.iter_mut().zip(y) {
        // SAFETY: the promise of the caller.
        *x = unsafe { x.mul(y) };
    }
    x
}

/// `x > 0 ? x : 0`.
///
/// # Safety
/// The processor has the features of the vectors.
#[inline(always)]
unsafe fn relu<V: Lanes, const VECTORS: usize>(mut x: [V; VECTORS]) -> [V; VECTORS] {
    for x in &mut x {
        // SAFETY: the promise of the caller.
        *x = unsafe { x.maximum(V::splat(0.0)) };
    }
    x
}

/// `x >= 0 ? x : p * x`.
///
/// # Safety
/// The processor has the features of the vectors.
#[inline(always)]
unsafe fn slope<V: Lanes, const VECTORS: usize>(
    mut x: [V; VECTORS],
    p: [V; VECTORS],
) -> [V; VECTORS] {
    for (x, p) in x.iter_mut().zip(p) {
        // SAFETY: the promise of the caller.
        *x = unsafe { x.select_ge(V::splat(0.0), *x, p.mul(*x)) };
    }
    x
}

/// Values in the vector at a position of a chunk of `count`.
#[inline(always)]
fn lanes<V: Lanes>(vector: usize, count: usize) -> usize {
    count.saturating_sub(vector * V::LANES).min(V::LANES)
}

/// # Safety
/// The processor has the features of the vectors; `count` floats can be read, which are 64 if `FULL`.
#[inline(always)]
unsafe fn load<V: Lanes, const VECTORS: usize, const FULL: bool>(
    from: *const f32,
    count: usize,
) -> [V; VECTORS] {
    // SAFETY: the promises of the caller; vectors past the end read nothing.
    unsafe {
        let mut vectors = [V::splat(0.0); VECTORS];
        for (vector, value) in vectors.iter_mut().enumerate() {
            let from = from.wrapping_add(vector * V::LANES);
            *value =
                if FULL { V::load(from) } else { V::load_first(from, lanes::<V>(vector, count)) };
        }
        vectors
    }
}

/// # Safety
/// The processor has the features of the vectors; `count` floats can be written, which are 64 if
/// `FULL`.
#[inline(always)]
unsafe fn store<V: Lanes, const VECTORS: usize, const FULL: bool>(
    vectors: [V; VECTORS],
    to: *mut f32,
    count: usize,
) {
    for (vector, value) in vectors.into_iter().enumerate() {
        let to = to.wrapping_add(vector * V::LANES);
        // SAFETY: the promises of the caller; vectors past the end write nothing.
        unsafe {
            if FULL {
                value.store(to);
            } else {
                value.store_first(to, lanes::<V>(vector, count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits() -> Part {
        Part::Bits(Bits { thresholds: 0, flip: Vec::new(), output: 1 })
    }

    #[test]
    fn a_residual_block_is_one_sequence_whichever_store_comes_first() {
        for stores in [[Part::Store(0), bits()], [bits(), Part::Store(0)]] {
            let mut sequence = Sequence::default();
            let before = [Part::Scale(0), Part::Add(0), Part::Shortcut(0)];
            for part in before.into_iter().chain(stores) {
                sequence.push(part).unwrap();
            }
            assert_eq!(sequence.places, RESIDUAL);
            // Nothing fits behind the stores.
            for part in [Part::Store(0), bits(), Part::Add(0), Part::Relu] {
                assert!(sequence.push(part).is_err());
            }
        }
    }

    #[test]
    fn frequent_orders_are_one_sequence() {
        let places = |parts: Vec<Part>| {
            let mut sequence = Sequence::default();
            for part in parts {
                sequence.push(part).unwrap();
            }
            sequence.places
        };
        // ReActNet: scaled weights, batch normalisation, shortcut, a PReLU between shifts.
        let shifted = vec![
            Part::Scale(0),
            Part::Scale(64),
            Part::Add(0),
            Part::Shortcut(0),
            Part::Add(0),
            Part::Slope(0),
            Part::Add(0),
            Part::Store(0),
            bits(),
        ];
        assert_eq!(places(shifted), TWICE_SCALED_SHIFTED);
        // Behind a Relu the first scale is the second one.
        let relu = || [Part::Scale(64), Part::Add(0), Part::Shortcut(0), Part::Store(0), bits()];
        let quick = std::iter::once(Part::Relu).chain(relu()).collect();
        assert_eq!(places(quick), RELU_RESIDUAL);
        let normalised = vec![Part::Scale(0), Part::Add(0), Part::Relu, Part::Store(0)];
        assert_eq!(places(normalised), NORMALISED);
    }
}
