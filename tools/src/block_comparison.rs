//! The blocks of a model, each by itself, on golden inputs of that block.
//!
//! Each block gets what another implementation had there, not what the model made of the picture:
//! where a sign turned over within rounding somewhere upstream, the block still answers for itself.

use crate::{
    comparison::Comparison,
    engine,
    exit::{Failure, Result, Status},
    golden::{self, Golden},
    output::Output,
    table::{Align, Table},
    tensors::Array,
    terminal::{Style, shape},
};
use bnn::{Model, SessionOptions, program::Port};
use serde::Serialize;

/// All blocks of a golden file.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct BlockComparisons(Vec<BlockComparison>);

/// One block.
#[derive(Debug, Clone, Serialize)]
pub struct BlockComparison {
    /// Its name.
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Outcome {
    Compared {
        /// Largest difference; `None` where a value is NaN or infinite on one side only.
        max_abs_diff: Option<f64>,
        /// What was allowed, relative to the largest value of the golden output.
        tolerance: f64,
        /// Elements that are not equal to the bit.
        differing: usize,
        /// Elements that differ by more than is allowed.
        beyond_tolerance: usize,
        elements: usize,
        passed: bool,
    },
    Skipped {
        /// Why the block was not run.
        skipped: String,
    },
}

/// Runs the blocks whose input and output the golden file holds.
///
/// # Errors
/// If the golden file holds none, the model names none, tensors do not fit the model, or it cannot run.
/// Differences are no error here, and neither are blocks that cannot run by themselves.
pub fn compare_blocks(
    (model_name, model): (&str, &Model),
    (golden_name, golden): (&str, &Golden),
    options: &SessionOptions,
    tolerance: f64,
) -> Result<BlockComparisons> {
    if golden.blocks.is_empty() {
        return Err(Failure::new(
            Status::Input,
            format_args!(
                "{golden_name}: no pairs of tensors 'tapin.X' and 'tap.X', which --blocks compares"
            ),
        ));
    }
    if model.blocks().is_empty() {
        return Err(Failure::new(
            Status::Unsupported,
            format_args!(
                "{model_name}: the file names no blocks, so --blocks has nothing to compare; it does \
                 if the network that it is converted from names them"
            ),
        ));
    }
    let task = Task { model_name, golden_name, options, tolerance };
    let blocks = golden.blocks.iter().map(|block| {
        let outcome = match model.block(&block.name) {
            Ok(part) => task.compare(&part, block)?,
            Err(error) => Outcome::Skipped { skipped: error.to_string() },
        };
        Ok(BlockComparison { name: block.name.clone(), outcome })
    });
    Ok(BlockComparisons(blocks.collect::<Result<_>>()?))
}

struct Task<'a> {
    model_name: &'a str,
    golden_name: &'a str,
    options: &'a SessionOptions,
    tolerance: f64,
}

impl Task<'_> {
    /// Runs one block, which has been made a model of its own.
    fn compare(&self, part: &Model, block: &golden::Block) -> Result<Outcome> {
        // It has one of each.
        for (prefix, ports, array) in
            [("tapin", part.inputs(), &block.input), ("tap", part.outputs(), &block.output)]
        {
            if let Some(port) = ports.iter().find(|port| !fits(port, array)) {
                let (found, expected) = (shape(&array.shape), shape(&port.shape));
                return Err(Failure::new(
                    Status::Input,
                    format_args!(
                        "{}: tensor '{prefix}.{}' is {found}, expected {expected} for {}",
                        self.golden_name, block.name, self.model_name
                    ),
                ));
            }
        }
        let input = format!("{}: tensor 'tapin.{}'", self.golden_name, block.name);
        let fail = |error| engine::failure(&input, error);
        let mut session = part.session(self.options).map_err(fail)?;
        let actual = session.run(&block.input.data).map_err(fail)?;
        Ok(self.outcome(&block.output.data, &actual))
    }

    fn outcome(&self, expected: &[f32], actual: &[f32]) -> Outcome {
        let elements = expected.len();
        let comparison = Comparison::new(expected, actual, elements, None, self.tolerance);
        let largest = expected.iter().fold(0.0, |largest: f64, &e| largest.max(f64::from(e).abs()));
        let allowed = self.tolerance * largest;
        let pairs = || expected.iter().zip(actual);
        let differs = |&(e, a): &(&f32, &f32)| e.to_bits() != a.to_bits();
        // A difference from or to NaN is within nothing.
        let is_within = |(&e, &a): (&f32, &f32)| {
            self.tolerance > 0.0 && (f64::from(e) - f64::from(a)).abs() <= allowed
        };
        Outcome::Compared {
            max_abs_diff: Some(comparison.max_abs_diff).filter(|largest| largest.is_finite()),
            tolerance: self.tolerance,
            differing: pairs().filter(differs).count(),
            beyond_tolerance: pairs().filter(differs).filter(|&pair| !is_within(pair)).count(),
            elements,
            passed: comparison.passes(0),
        }
    }
}

/// Whether an array has the shape of a port, with any number of extents of 1 (such as a batch).
fn fits(port: &Port, array: &Array<f32>) -> bool {
    let extents = |shape: &[usize]| -> Vec<usize> {
        shape.iter().copied().filter(|&extent| extent != 1).collect()
    };
    extents(&port.shape) == extents(&array.shape)
}

impl BlockComparisons {
    fn missed(&self) -> impl Iterator<Item = &BlockComparison> {
        self.0
            .iter()
            .filter(|block| matches!(block.outcome, Outcome::Compared { passed: false, .. }))
    }

    /// Whether at most `flips` blocks miss the tolerance, and at least one was run.
    pub fn passes(&self, flips: usize) -> bool {
        self.missed().count() <= flips && !self.are_all_skipped()
    }

    fn are_all_skipped(&self) -> bool {
        self.0.iter().all(|block| matches!(block.outcome, Outcome::Skipped { .. }))
    }

    /// Writes the blocks for people.
    pub(crate) fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        use Align::{Left, Right};
        let mut table = Table::new([
            ("block", Left),
            ("elements", Right),
            ("differ", Right),
            ("beyond tolerance", Right),
            ("largest difference", Right),
            ("result", Left),
        ]);
        for BlockComparison { name, outcome } in &self.0 {
            match outcome {
                Outcome::Skipped { skipped } => {
                    let empty = || std::iter::repeat_n(String::new(), 4);
                    let reason = format!("skipped: {skipped}");
                    table.row(std::iter::once(name.clone()).chain(empty()).chain([reason]));
                }
                Outcome::Compared {
                    max_abs_diff,
                    differing,
                    beyond_tolerance,
                    elements,
                    passed,
                    ..
                } => {
                    table.row([
                        name.clone(),
                        elements.to_string(),
                        differing.to_string(),
                        beyond_tolerance.to_string(),
                        max_abs_diff
                            .map_or("infinite".to_owned(), |largest| format!("{largest:.3e}")),
                        if *passed { "passed" } else { "missed" }.to_owned(),
                    ]);
                }
            }
        }
        table.write(output, style)
    }

    /// The error, if too many blocks missed the tolerance or none could be run.
    pub(crate) fn check(&self, model: &str, golden: &str, flips: usize) -> Result<()> {
        if let Some(BlockComparison { name, outcome: Outcome::Skipped { skipped } }) =
            self.0.first().filter(|_| self.are_all_skipped())
        {
            return Err(Failure::new(
                Status::Unsupported,
                format_args!(
                    "{model}: none of the {} blocks of {golden} can run by itself, such as '{name}': \
                     {skipped}",
                    self.0.len()
                ),
            ));
        }
        let count = self.missed().count();
        let first = self.missed().next().filter(|_| count > flips);
        let Some(BlockComparison { name, outcome }) = first else { return Ok(()) };
        let Outcome::Compared { tolerance, beyond_tolerance, elements, .. } = outcome else {
            return Ok(());
        };
        let blocks = self.0.len();
        Err(Failure::new(
            Status::Verification,
            format_args!(
                "{model}: {count} of {blocks} blocks differ from {golden} by more than {tolerance} of \
                 their largest value (block '{name}': {beyond_tolerance} of {elements} elements), \
                 expected at most {flips}"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(tolerance: f64, expected: &[f32], actual: &[f32]) -> (usize, usize, bool) {
        let options = SessionOptions::default();
        let task = Task { model_name: "", golden_name: "", options: &options, tolerance };
        match task.outcome(expected, actual) {
            Outcome::Compared { differing, beyond_tolerance, passed, .. } => {
                (differing, beyond_tolerance, passed)
            }
            Outcome::Skipped { skipped } => panic!("{skipped}"),
        }
    }

    #[test]
    fn what_is_allowed_is_relative_to_the_largest_value() {
        let expected = [100.0, -1.0, 0.0];
        assert_eq!(outcome(1e-3, &expected, &[100.0, -1.09, 0.0]), (1, 0, true));
        assert_eq!(outcome(1e-3, &expected, &[100.0, -1.2, 0.01]), (2, 1, false));
        assert_eq!(outcome(0.0, &expected, &[100.0, -1.0, -0.0]), (1, 1, false));
        assert_eq!(outcome(0.0, &expected, &expected), (0, 0, true));
        assert_eq!(outcome(1e30, &expected, &[f32::NAN, -1.0, 0.0]), (1, 1, false));
    }

    #[test]
    fn extents_of_one_do_not_count() {
        let port = |shape: &[usize]| Port {
            name: String::new(),
            shape: shape.to_vec(),
            buffer: bnn::program::BufferId(0),
        };
        let array = |shape: &[usize]| Array {
            shape: shape.to_vec(),
            data: vec![0.0; shape.iter().product()],
        };
        assert!(fits(&port(&[3, 4, 5]), &array(&[1, 3, 4, 5])));
        assert!(fits(&port(&[3, 1, 1]), &array(&[1, 3])));
        assert!(!fits(&port(&[3, 4, 5]), &array(&[1, 4, 5, 3])));
        assert!(!fits(&port(&[3, 4]), &array(&[2, 3, 4])));
    }
}
