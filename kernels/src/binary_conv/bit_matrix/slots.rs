//! The mathematics: carries of a sum of exclusive ors as products of bit vectors modulo 2.
//!
//! Let `d_i = x_i ^ w_i` be the mismatches of the channels of a pixel. A parity of some `d_i` is the exclusive or of
//! a parity of inputs and one of weights. So is the parity `s` of all that came before, and the carry of a full adder
//! over three such parities `f_i = a_i ^ b_i` (`a_i` of inputs, `b_i` of weights) is, modulo 2, a sum of four
//! products of something of the inputs and something of the weights:
//!
//! ```text
//! majority(f_1, f_2, f_3) = f_1 f_2 + f_1 f_3 + f_2 f_3
//!     = (a_1 + a_3)(b_2 + b_3) + (a_2 + a_3)(b_1 + b_3) + majority(a) * 1 + 1 * majority(b)
//! ```
//!
//! A *step* takes six mismatches. With `s` before them they make three carries
//!
//! ```text
//! A = majority(s, d_1, d_2)    B = majority(s', d_3, d_4)    C = majority(s'', d_5, d_6)
//! s' = s + d_1 + d_2           s'' = s' + d_3 + d_4          s''' = s'' + d_5 + d_6
//! s + d_1 + ... + d_6 = s''' + 2 (A + B + C)   as a number
//! ```
//!
//! and the exclusive or of all three, `A ^ B ^ C`, takes eight products: six, the sum of the majorities of inputs, and
//! that of weights. Whatever takes no more than eight is one instruction (`vgf2p8affineqb`) for 8 pixels times 64
//! output channels. So two bytes of a pixel hold what a step wants of it, and three bytes of a channel what it wants of
//! the weights, for `A`, `B` and `A ^ B ^ C`; the sum of the three carries is `A ^ B ^ C` and twice their majority, which
//! follows from these by three-input logic. Of the whole pixel the parity `s` is left, which takes two products.

/// Channels of a step.
pub(super) const CHANNELS: usize = 6;

/// Bytes of a pixel in a step: one for `A`, `B` and the parity, one for `A ^ B ^ C`.
pub(super) const INPUTS: usize = 2;

/// Bytes of an output channel in a step: for `A`, `B` and `A ^ B ^ C`.
pub(super) const WEIGHTS: usize = 3;

/// Number of different steps: six bits and the parity before them.
const STATES: usize = 128;

/// What a carry takes of the inputs, or of the weights, of its three parities.
#[derive(Clone, Copy)]
struct Parts {
    /// `a_1 + a_3` and `a_2 + a_3`.
    inputs: [bool; 2],
    /// `b_2 + b_3` and `b_1 + b_3`.
    weights: [bool; 2],
    /// Of the three parities.
    majority: bool,
}

const fn parts([first, second, third]: [bool; 3]) -> Parts {
    Parts {
        inputs: [first ^ third, second ^ third],
        weights: [second ^ third, first ^ third],
        majority: first & second | first & third | second & third,
    }
}

/// The carries of a step. Bit `i` of a state is the parity of everything up to channel `i` of the step, without it.
const fn carries(state: usize) -> [Parts; 3] {
    let mut all = [Parts { inputs: [false; 2], weights: [false; 2], majority: false }; 3];
    let mut pair = 0;
    while pair < 3 {
        let before = state >> (2 * pair) & 1 == 1;
        let between = state >> (2 * pair + 1) & 1 == 1;
        let after = state >> (2 * pair + 2) & 1 == 1;
        all[pair] = parts([before, before ^ between, between ^ after]);
        pair += 1;
    }
    all
}

/// A byte from its bits, lowest first.
const fn byte(bits: [bool; 8]) -> u8 {
    let (mut byte, mut bit) = (0, 0);
    while bit < 8 {
        byte |= (bits[bit] as u8) << bit;
        bit += 1;
    }
    byte
}

/// Bytes of a pixel, by state.
pub(super) static INPUT_SLOTS: [[u8; STATES]; INPUTS] = {
    let mut tables = [[0; STATES]; INPUTS];
    let mut state = 0;
    while state < STATES {
        let [a, b, c] = carries(state);
        let parity = state >> CHANNELS & 1 == 1;
        let ([a0, a1], [b0, b1], [c0, c1]) = (a.inputs, b.inputs, c.inputs);
        tables[0][state] = byte([a0, a1, a.majority, b0, b1, b.majority, parity, true]);
        let all = a.majority ^ b.majority ^ c.majority;
        tables[1][state] = byte([a0, a1, b0, b1, c0, c1, all, true]);
        state += 1;
    }
    tables
};

/// Bytes of an output channel, by state.
pub(super) static WEIGHT_SLOTS: [[u8; STATES]; WEIGHTS] = {
    let mut tables = [[0; STATES]; WEIGHTS];
    let mut state = 0;
    while state < STATES {
        let [a, b, c] = carries(state);
        let ([a0, a1], [b0, b1], [c0, c1]) = (a.weights, b.weights, c.weights);
        tables[0][state] = byte([a0, a1, true, false, false, false, false, a.majority]);
        tables[1][state] = byte([false, false, false, b0, b1, true, false, b.majority]);
        let all = a.majority ^ b.majority ^ c.majority;
        tables[2][state] = byte([a0, a1, b0, b1, c0, c1, true, all]);
        state += 1;
    }
    tables
};

/// The byte of an output channel that, with the first byte of a pixel's last step, gives the parity of the pixel:
/// `parity` is that of the weights.
pub(super) const fn parity_slots(parity: bool) -> u8 {
    byte([false, false, false, false, false, false, true, parity])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product of two vectors of bits, modulo 2.
    fn product(a: u8, b: u8) -> bool {
        (a & b).count_ones() % 2 == 1
    }

    /// The state of a step of which the channels are the bits 1 to 6 and the parity before is bit 0.
    fn state(bits: usize) -> usize {
        (0..=CHANNELS).map(|i| ((bits & ((2 << i) - 1)).count_ones() as usize & 1) << i).sum()
    }

    #[test]
    fn products_of_slots_are_the_carries_of_all_steps() {
        for x in 0..STATES {
            let inputs = INPUT_SLOTS.map(|table| table[state(x)]);
            for w in 0..STATES {
                let [a, b, all] = WEIGHT_SLOTS.map(|table| table[state(w)]);
                let [a, b] = [a, b].map(|weights| product(inputs[0], weights));
                let all = product(inputs[1], all);
                let third = a ^ b ^ all;
                let odd = w.count_ones() % 2 == 1;
                let parity = product(inputs[0], parity_slots(odd));
                let sum =
                    usize::from(parity) + 2 * [a, b, third].map(usize::from).iter().sum::<usize>();
                assert_eq!(sum, (x ^ w).count_ones() as usize, "{x:b} {w:b}");
            }
        }
    }
}
