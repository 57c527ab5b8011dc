//! Finds filters whose weights take two values.
//!
//! A filter `w = a s + b` with signs `s = ±1` is binary whatever its scale `a` and centre `b`:
//! exporters fold scaling factors and batch normalisation into the weights, AdaBin trains both.

/// Relative difference up to which magnitudes count as one: straight-through estimators leave
/// residues of a few units in the last place (`(s - o) + o`).
const TOLERANCE: f32 = 1e-5;

/// Most values of a filter that are told apart.
const MOST_VALUES: usize = 64;

/// Weights of one layer, binary in every filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BinaryWeights {
    /// Sign of each weight, in the order given; `true` is +1.
    pub(crate) signs: Vec<bool>,
    /// `a` of each filter, never negative. 0: all weights are 0 (or equal to the centre).
    pub(crate) scales: Vec<f32>,
    /// `b` of each filter.
    pub(crate) centres: Vec<f32>,
}

impl BinaryWeights {
    /// Whether every filter is centred at zero.
    pub(super) fn centred(&self) -> bool {
        self.centres.iter().all(|&b| b == 0.0)
    }
}

/// Why weights are not binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotBinary {
    /// A filter takes more than two values.
    Values {
        /// The first such filter.
        filter: usize,
        /// How many values it takes.
        count: usize,
    },
    /// A filter mixes zeros with weights of both signs.
    Ternary {
        /// The first such filter.
        filter: usize,
    },
}

impl std::fmt::Display for NotBinary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Values { filter, count } => {
                let at_least = if *count >= MOST_VALUES { "at least " } else { "" };
                write!(f, "weights take {at_least}{count} values in channel {filter}")
            }
            Self::Ternary { filter } => {
                write!(f, "weights are ternary (zero and both signs) in channel {filter}")
            }
        }
    }
}

/// Takes weights `[filters, rest]` apart into signs, scales and centres.
///
/// # Errors
/// The first filter that is not two-valued.
pub(crate) fn binary_weights(weights: &[f32], filters: usize) -> Result<BinaryWeights, NotBinary> {
    let mut binary = BinaryWeights {
        signs: Vec::with_capacity(weights.len()),
        scales: Vec::with_capacity(filters),
        centres: Vec::with_capacity(filters),
    };
    let per_filter = weights.len() / filters.max(1);
    for (filter, row) in weights.chunks_exact(per_filter.max(1)).enumerate() {
        let values = distinct_values(row);
        let (scale, centre) = match *values.as_slice() {
            [(value, _)] => (value.abs(), 0.0),
            [(a, count_a), (b, count_b)] if (a.abs() - b.abs()).abs() <= TOLERANCE * a.abs() => {
                // One magnitude, two signs: the more frequent spelling is the scale.
                (if count_a >= count_b { a.abs() } else { b.abs() }, 0.0)
            }
            [(a, _), (b, _)] => {
                let (low, high) = (f64::from(a.min(b)), f64::from(a.max(b)));
                (((high - low) / 2.0) as f32, ((high + low) / 2.0) as f32)
            }
            [(a, _), (b, _), (c, _)] if ternary([a, b, c]) => {
                return Err(NotBinary::Ternary { filter });
            }
            _ => return Err(NotBinary::Values { filter, count: values.len() }),
        };
        binary.signs.extend(row.iter().map(|&w| w >= centre));
        binary.scales.push(scale);
        binary.centres.push(centre);
    }
    Ok(binary)
}

/// Whether the values are zero and a pair of opposite signs.
fn ternary(mut values: [f32; 3]) -> bool {
    values.sort_unstable_by(f32::total_cmp);
    let [low, middle, high] = values;
    middle == 0.0 && (low + high).abs() <= TOLERANCE * high.abs()
}

/// Values of a filter that differ by more than the tolerance, each with its most frequent spelling
/// and how often that occurs; at most a handful are told apart.
fn distinct_values(row: &[f32]) -> Vec<(f32, usize)> {
    let mut sorted = row.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let largest = sorted.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    let mut groups: Vec<(f32, usize)> = Vec::new();
    let mut start: Option<f32> = None;
    let mut run: (f32, usize) = (0.0, 0);
    for &weight in &sorted {
        // -0.0 and +0.0 are one value.
        let weight = weight + 0.0;
        let same_group =
            start.is_some_and(|s| weight - s <= TOLERANCE * largest.min(weight.abs().max(s.abs())));
        if !same_group {
            if groups.len() == MOST_VALUES {
                break;
            }
            start = Some(weight);
            groups.push((weight, 0));
            run = (weight, 0);
        }
        run = if run.0 == weight { (weight, run.1 + 1) } else { (weight, 1) };
        let group = groups.last_mut().expect("a group was started");
        if run.1 > group.1 {
            *group = run;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(row: &[f32]) -> Result<(Vec<bool>, f32, f32), NotBinary> {
        binary_weights(row, 1).map(|b| (b.signs, b.scales[0], b.centres[0]))
    }

    #[test]
    fn any_scale_and_sign() {
        assert_eq!(one(&[1.0, -1.0, 1.0]), Ok((vec![true, false, true], 1.0, 0.0)));
        assert_eq!(one(&[-0.25, -0.25]), Ok((vec![false, false], 0.25, 0.0)));
        assert_eq!(one(&[0.5, 0.5]), Ok((vec![true, true], 0.5, 0.0)));
        assert_eq!(one(&[0.0, -0.0]), Ok((vec![true, true], 0.0, 0.0)));
    }

    #[test]
    fn the_most_frequent_spelling_is_the_scale() {
        let scale = 0.05_f32;
        let residue = f32::from_bits(scale.to_bits() + 1);
        let (signs, found, centre) = one(&[scale, -scale, residue, scale, -residue]).unwrap();
        assert_eq!((found, centre), (scale, 0.0));
        assert_eq!(signs, [true, false, true, true, false]);
    }

    #[test]
    fn any_centre() {
        let (signs, scale, centre) = one(&[0.75, 0.25, 0.75]).unwrap();
        assert_eq!((scale, centre), (0.25, 0.5));
        assert_eq!(signs, [true, false, true]);
        assert_eq!(one(&[0.0, 1.0]).unwrap().1, 0.5);
    }

    #[test]
    fn more_than_two_values_are_named() {
        assert_eq!(one(&[1.0, 0.0, -1.0]), Err(NotBinary::Ternary { filter: 0 }));
        assert_eq!(one(&[1.0, 2.0, 3.0]), Err(NotBinary::Values { filter: 0, count: 3 }));
        let mixed = [1.0, -1.0, 1.0, 0.1, 0.2, 0.3];
        assert_eq!(binary_weights(&mixed, 2), Err(NotBinary::Values { filter: 1, count: 3 }));
        let message = NotBinary::Values { filter: 17, count: 3 }.to_string();
        assert_eq!(message, "weights take 3 values in channel 17");
    }

    #[test]
    fn tiny_differences_beyond_the_tolerance_are_values() {
        assert!(one(&[1.0, -1.0, 1.0001]).is_err());
        assert!(one(&[1.0, -1.0, 1.000_005]).is_ok());
    }
}
