//! Replacing a chain of float operations and a comparison by one threshold, by search.
//!
//! No closed formula for the threshold is exact: the chain rounds after every operation. So the
//! chain itself is the definition, and the threshold is the place where its outcome changes, found
//! by evaluating it. For integers every reachable value is tried, which proves at the same time that
//! there is only one such place, unless the chain is monotone operation by operation, roundings
//! included; for floats the chain must be monotone by construction. Then bisection finds the place.

use super::chain::{Direction, Operation, direction, evaluate};
use crate::program::{ChannelOp, UnaryFunction};

/// The comparison at the end of a chain: the outcome is "high" where it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `x >= 0`.
    AtLeast,
    /// `x > 0`.
    Above,
}

impl Comparison {
    fn holds(self, x: f32) -> bool {
        match self {
            Self::AtLeast => x >= 0.0,
            Self::Above => x > 0.0,
        }
    }
}

/// An integer threshold: `v >= at` or, where `decreasing`, `v <= at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IntegerThreshold {
    /// The value where the outcome changes. `i32::MIN` (with `>=`): always high; `i32::MAX`: never.
    pub(super) at: i32,
    /// Whether the outcome is high below rather than above.
    pub(super) decreasing: bool,
}

impl IntegerThreshold {
    /// High whatever the value.
    pub(super) const ALWAYS: Self = Self { at: i32::MIN, decreasing: false };
    /// Low whatever the value.
    pub(super) const NEVER: Self = Self { at: i32::MAX, decreasing: false };
}

/// The integers that an accumulator can take, in steps of 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lattice {
    /// Smallest value.
    pub(super) low: i32,
    /// Largest value.
    pub(super) high: i32,
    /// Distance between neighbours: 2 where the parity is fixed.
    pub(super) step: usize,
}

impl Lattice {
    /// The value at a position, counted from the lowest.
    fn at(self, position: i64) -> i32 {
        (i64::from(self.low) + position * self.step as i64) as i32
    }

    /// The position of the last value.
    fn last(self) -> i64 {
        (i64::from(self.high) - i64::from(self.low)) / self.step.max(1) as i64
    }

    fn values(self) -> impl Iterator<Item = i32> {
        (self.low..=self.high).step_by(self.step)
    }
}

/// What the search for an integer threshold found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IntegerSearch {
    /// The threshold.
    pub(super) threshold: IntegerThreshold,
    /// Whether some reachable value gives exactly zero, where the training framework's sign may be
    /// 0 instead of +1.
    pub(super) reaches_zero: bool,
}

/// Searches the threshold of a chain over all reachable integers of one channel. `None` if the
/// outcome changes more than once.
pub(super) fn integer_threshold(
    chain: &[Operation],
    comparison: Comparison,
    lattice: Lattice,
    channel: usize,
) -> Option<IntegerSearch> {
    if is_plainly_monotone(chain, lattice, channel) {
        return Some(bisected(chain, comparison, lattice, channel));
    }
    let mut previous: Option<(i32, bool)> = None;
    let mut change: Option<(i32, i32, bool)> = None;
    let mut reaches_zero = false;
    for value in lattice.values() {
        let x = evaluate(chain, value as f32, channel);
        reaches_zero |= x == 0.0;
        let high = comparison.holds(x);
        if let Some((before, was_high)) = previous
            && was_high != high
        {
            if change.is_some() {
                return None;
            }
            change = Some((before, value, high));
        }
        previous = Some((value, high));
    }
    let threshold = match (change, previous) {
        (Some((_, value, true)), _) => IntegerThreshold { at: value, decreasing: false },
        (Some((before, _, false)), _) => IntegerThreshold { at: before, decreasing: true },
        (None, Some((_, true))) => IntegerThreshold::ALWAYS,
        (None, _) => IntegerThreshold::NEVER,
    };
    Some(IntegerSearch { threshold, reaches_zero })
}

/// Whether every operation of a chain, its rounding included, is monotone over the values that reach
/// it. A rounded monotone function is monotone; functions of a library need not be, and neither are
/// those that make NaN of infinity.
fn is_plainly_monotone(chain: &[Operation], lattice: Lattice, channel: usize) -> bool {
    let plain = chain.iter().all(|operation| {
        use UnaryFunction::{Ceil, Floor, Negate, Relu, Round};
        match operation {
            ChannelOp::Add(_)
            | ChannelOp::Subtract(_)
            | ChannelOp::SubtractFrom(_)
            | ChannelOp::Multiply(_)
            | ChannelOp::Divide(_)
            | ChannelOp::Minimum(_)
            | ChannelOp::Maximum(_)
            | ChannelOp::TwoSlope { .. } => true,
            ChannelOp::Unary(function) => {
                matches!(function, Relu | Negate | Floor | Ceil | Round)
            }
            ChannelOp::DivideInto(_) | ChannelOp::Wrap(_) | ChannelOp::Step { .. } => false,
        }
    });
    // What lies between two finite values of a monotone function is finite.
    let stays_finite = |value: i32| {
        let mut x = value as f32;
        chain.iter().all(|operation| {
            x = operation.apply(x, channel);
            x.is_finite()
        })
    };
    plain
        && direction(chain, channel).is_some()
        && stays_finite(lattice.low)
        && stays_finite(lattice.at(lattice.last()))
}

/// The threshold of a monotone chain.
fn bisected(
    chain: &[Operation],
    comparison: Comparison,
    lattice: Lattice,
    channel: usize,
) -> IntegerSearch {
    let x = |position: i64| evaluate(chain, lattice.at(position) as f32, channel);
    let high = |position: i64| comparison.holds(x(position));
    let (mut before, mut behind) = (0, lattice.last());
    let (first, last) = (high(before), high(behind));
    let threshold = if first == last {
        if first { IntegerThreshold::ALWAYS } else { IntegerThreshold::NEVER }
    } else {
        while behind - before > 1 {
            let middle = before + (behind - before) / 2;
            if high(middle) == first {
                before = middle;
            } else {
                behind = middle;
            }
        }
        if last {
            IntegerThreshold { at: lattice.at(behind), decreasing: false }
        } else {
            IntegerThreshold { at: lattice.at(before), decreasing: true }
        }
    };
    // Zeros lie next to the place where the outcome changes, or else at an end.
    let places = [0, before, behind, lattice.last()];
    IntegerSearch { threshold, reaches_zero: places.iter().any(|&position| x(position) == 0.0) }
}

/// A float threshold: `(x >= at) xor flip`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FloatThreshold {
    /// Smallest value for which the comparison holds; ±infinity where the outcome is constant.
    pub(super) at: f32,
    /// Whether the outcome is high below rather than above.
    pub(super) flip: bool,
}

/// Searches the threshold of a chain over all finite floats of one channel. `None` if the chain is
/// not known to be monotone.
pub(super) fn float_threshold(
    chain: &[Operation],
    comparison: Comparison,
    channel: usize,
) -> Option<FloatThreshold> {
    let direction = direction(chain, channel)?;
    if direction == Direction::Constant {
        // Not at the ends of the floats, where a sum may overflow before a zero multiplies it.
        let always = comparison.holds(evaluate(chain, 0.0, channel));
        let at = if always { f32::NEG_INFINITY } else { f32::INFINITY };
        return Some(FloatThreshold { at, flip: false });
    }
    let flip = direction == Direction::Decreasing;
    // `above(x)`: the outcome that grows with x.
    let above = |x: f32| comparison.holds(evaluate(chain, x, channel)) != flip;
    let (mut low, mut high) = (ordinal(-f32::MAX), ordinal(f32::MAX));
    if above(-f32::MAX) {
        return Some(FloatThreshold { at: f32::NEG_INFINITY, flip });
    }
    if !above(f32::MAX) {
        return Some(FloatThreshold { at: f32::INFINITY, flip });
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if above(from_ordinal(middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    // -0 and +0 compare equal, so a threshold of either is the same; write +0.
    Some(FloatThreshold { at: from_ordinal(high) + 0.0, flip })
}

/// Position of a float in the order of all floats.
fn ordinal(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & 0x7fff_ffff);
    if x.is_sign_negative() { -bits - 1 } else { bits }
}

/// The float at a position.
fn from_ordinal(position: i64) -> f32 {
    let bits = if position < 0 { -position - 1 } else { position } as u32;
    let magnitude = f32::from_bits(bits);
    if position < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{ChannelOp, UnaryFunction};
    use proptest::prelude::*;

    fn all(low: i32, high: i32) -> Lattice {
        Lattice { low, high, step: 1 }
    }

    fn holds(threshold: IntegerThreshold, value: i32) -> bool {
        if threshold.decreasing { value <= threshold.at } else { value >= threshold.at }
    }

    #[test]
    fn ordinals_run_through_all_floats() {
        for x in [0.0, -0.0, 1.0, -1.0, f32::MIN_POSITIVE, 1e-45, -1e-45, f32::MAX, -f32::MAX] {
            assert_eq!(from_ordinal(ordinal(x)).to_bits(), x.to_bits());
        }
        assert_eq!(ordinal(0.0) - ordinal(-0.0), 1);
        assert_eq!(ordinal(1e-45) - ordinal(0.0), 1);
    }

    #[test]
    fn constants_are_found_where_ends_overflow() {
        let chain = [2.0, 0.0].map(|p| ChannelOp::Multiply(vec![p]));
        let chain = [&chain[..], &[ChannelOp::Add(vec![1.0])]].concat();
        let found = float_threshold(&chain, Comparison::AtLeast, 0);
        assert_eq!(found, Some(FloatThreshold { at: f32::NEG_INFINITY, flip: false }));
    }

    #[test]
    fn zero_belongs_to_the_high_side_unless_the_comparison_is_strict() {
        let at_least = integer_threshold(&[], Comparison::AtLeast, all(-4, 4), 0).unwrap();
        assert_eq!(at_least.threshold.at, 0);
        assert!(at_least.reaches_zero);
        let above = integer_threshold(&[], Comparison::Above, all(-4, 4), 0).unwrap();
        assert_eq!(above.threshold.at, 1);
        let odd = Lattice { low: -3, high: 3, step: 2 };
        let parity = integer_threshold(&[], Comparison::Above, odd, 0).unwrap();
        assert_eq!(
            parity,
            IntegerSearch {
                threshold: IntegerThreshold { at: 1, decreasing: false },
                reaches_zero: false
            }
        );
        assert_eq!(float_threshold(&[], Comparison::AtLeast, 0).unwrap().at, 0.0);
        assert_eq!(float_threshold(&[], Comparison::Above, 0).unwrap().at, f32::from_bits(1));
    }

    #[test]
    fn constant_channels() {
        let zero_gamma = |beta| [ChannelOp::Multiply(vec![0.0]), ChannelOp::Add(vec![beta])];
        for (beta, expected) in [
            (0.5, IntegerThreshold::ALWAYS),
            (-0.5, IntegerThreshold::NEVER),
            (0.0, IntegerThreshold::ALWAYS),
        ] {
            let found = integer_threshold(&zero_gamma(beta), Comparison::AtLeast, all(-9, 9), 0);
            assert_eq!(found.unwrap().threshold, expected, "beta {beta}");
        }
        let always = float_threshold(&zero_gamma(0.5), Comparison::AtLeast, 0).unwrap();
        assert_eq!(always, FloatThreshold { at: f32::NEG_INFINITY, flip: false });
        let never = float_threshold(&zero_gamma(-0.5), Comparison::AtLeast, 0).unwrap();
        assert_eq!(never, FloatThreshold { at: f32::INFINITY, flip: false });
    }

    #[test]
    fn chains_that_turn_round_have_no_threshold() {
        let folded = [
            ChannelOp::TwoSlope { positive: None, negative: vec![-1.0] },
            ChannelOp::Subtract(vec![2.0]),
        ];
        assert_eq!(integer_threshold(&folded, Comparison::AtLeast, all(-5, 5), 0), None);
        assert_eq!(float_threshold(&folded, Comparison::AtLeast, 0), None);
        // On a lattice that never sees the other arm the same chain has one.
        let one_arm = integer_threshold(&folded, Comparison::AtLeast, all(0, 5), 0).unwrap();
        assert_eq!(one_arm.threshold.at, 2);
    }

    fn parameter() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => -30.0_f32..30.0,
            1 => prop::sample::select(vec![0.0, 1.0, -1.0, 0.5, 1e-6, -1e-6, 1e9, -1e9, 1e-38, -1e-42]),
            1 => (-40_i32..40).prop_map(|i| i as f32 / 4.0),
        ]
    }

    fn chain() -> impl Strategy<Value = Vec<Operation>> {
        let operation = prop_oneof![
            parameter().prop_map(|p| ChannelOp::Add(vec![p])),
            parameter().prop_map(|p| ChannelOp::Subtract(vec![p])),
            parameter().prop_map(|p| ChannelOp::SubtractFrom(vec![p])),
            parameter().prop_map(|p| ChannelOp::Multiply(vec![p])),
            (-2.0_f32..2.0, -30.0_f32..30.0).prop_map(|(a, b)| ChannelOp::Maximum(vec![a * b])),
            (0.0_f32..2.0).prop_map(|n| ChannelOp::TwoSlope { positive: None, negative: vec![n] }),
            Just(ChannelOp::Unary(UnaryFunction::Tanh)),
            Just(ChannelOp::Unary(UnaryFunction::Round)),
        ];
        prop::collection::vec(operation, 0..6)
    }

    /// What trying every value finds.
    fn exhausted(
        chain: &[Operation],
        comparison: Comparison,
        lattice: Lattice,
    ) -> (Vec<bool>, bool) {
        let outcomes: Vec<f32> =
            lattice.values().map(|value| evaluate(chain, value as f32, 0)).collect();
        let reaches_zero = outcomes.contains(&0.0);
        (outcomes.into_iter().map(|x| comparison.holds(x)).collect(), reaches_zero)
    }

    proptest! {
        /// Bisection finds what trying every value finds, zeros included.
        #[test]
        fn bisection_replaces_trying_every_value(
            chain in chain(), strict: bool, k in 1_i32..600, step in 1_usize..3,
        ) {
            let comparison = if strict { Comparison::Above } else { Comparison::AtLeast };
            let lattice = Lattice { low: -k, high: k, step };
            prop_assert_eq!(lattice.values().last(), Some(lattice.at(lattice.last())));
            let found = integer_threshold(&chain, comparison, lattice, 0).unwrap();
            let (outcomes, reaches_zero) = exhausted(&chain, comparison, lattice);
            let of_threshold: Vec<bool> =
                lattice.values().map(|value| holds(found.threshold, value)).collect();
            prop_assert_eq!(of_threshold, outcomes);
            prop_assert_eq!(found.reaches_zero, reaches_zero);
        }

        /// The threshold decides as the chain does, for every integer.
        #[test]
        fn integer_thresholds_agree_with_their_chain(chain in chain(), strict: bool, k in 1_i32..600) {
            let comparison = if strict { Comparison::Above } else { Comparison::AtLeast };
            let lattice = Lattice { low: -k, high: k, step: 2 };
            if let Some(found) = integer_threshold(&chain, comparison, lattice, 0) {
                for value in lattice.values() {
                    let expected = comparison.holds(evaluate(&chain, value as f32, 0));
                    prop_assert_eq!(holds(found.threshold, value), expected, "value {}", value);
                }
            } else {
                prop_assert!(false, "a monotone chain has a threshold");
            }
        }

        /// The threshold decides as the chain does, next to the threshold and anywhere else.
        #[test]
        fn float_thresholds_agree_with_their_chain(
            chain in chain(),
            strict: bool,
            others in prop::collection::vec(-1e3_f32..1e3, 20),
        ) {
            let comparison = if strict { Comparison::Above } else { Comparison::AtLeast };
            let found = float_threshold(&chain, comparison, 0).unwrap();
            let mut values = others;
            if found.at.is_finite() {
                let here = ordinal(found.at);
                values.extend((here - 5..here + 5).map(from_ordinal).filter(|x| x.is_finite()));
            }
            for x in values {
                let y = evaluate(&chain, x, 0);
                if !y.is_nan() {
                    prop_assert_eq!((x >= found.at) != found.flip, comparison.holds(y), "x {}", x);
                }
            }
        }
    }
}
