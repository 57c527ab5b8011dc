//! Running a model on golden inputs and comparing its outputs with golden ones.

use crate::{
    block_comparison::{BlockComparisons, compare_blocks},
    comparison::Comparison,
    engine,
    exit::{Failure, Result, Status},
    golden::Golden,
    output::Output,
    picture::PictureInput,
    tensors::Array,
    terminal::{Style, shape},
};
use bnn::{
    Model, Session, SessionOptions,
    program::{Epilogue, EpilogueOp, Program, StepKind},
};
use serde::Serialize;

/// Rows that run at once: enough to keep threads busy, few enough to fit any memory.
const BATCH: usize = 16;

/// How far a softmax may be from another implementation of it, relative to the largest
/// probability: it takes exponentials, which differ in their last bits.
const SOFTMAX_TOLERANCE: f64 = 1e-4;

/// How strict the comparison is.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
pub struct Strictness {
    /// Largest difference allowed, relative to the largest |logit| of a row; 0: equal to the bit
    #[arg(long, value_name = "X", default_value = "1e-4", value_parser = tolerance, allow_negative_numbers = true)]
    pub tolerance: f64,
    /// Rows that may miss the tolerance: a sign within rounding of zero turned over
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub allow_flips: usize,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let valid = |value: &f64| value.is_finite() && *value >= 0.0;
    text.parse().ok().filter(valid).ok_or_else(|| "expected a number, 0 or more".to_owned())
}

/// The outcome of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// The model.
    pub model: String,
    /// The golden file.
    pub golden: String,
    /// The instruction set that was used.
    pub isa: &'static str,
    /// Which inputs the comparison below is for: `input_f32`, or `input_u8` where there is no other.
    pub input: &'static str,
    /// What is compared: `logits` or `probabilities`.
    pub output: &'static str,
    /// The comparison.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The same outputs computed from `input_u8` through the preprocessing of the file.
    pub input_u8: Option<Comparison>,
    /// The probabilities, where the logits before the softmax were compared above.
    pub probabilities: Option<Comparison>,
    /// The blocks by themselves, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<BlockComparisons>,
    /// Rows that may miss the tolerance, in each comparison, and blocks.
    pub allow_flips: usize,
    /// Whether every comparison passed.
    pub passed: bool,
}

/// Runs `model` on the golden inputs.
///
/// # Errors
/// If inputs or outputs do not fit the model, or it cannot run. Differences are no error here.
pub fn verify(
    (model_name, model): (&str, &Model),
    (golden_name, golden): (&str, &Golden),
    options: &SessionOptions,
    strictness: Strictness,
) -> Result<Verification> {
    let Strictness { tolerance, allow_flips } = strictness;
    let task = Task { model_name, model, golden_name, golden, options };
    task.check_outputs()?;
    let classes = task.classes()?;

    // The logits are compared where they can be had, because they can be equal to the bit.
    let before_softmax = golden
        .logits
        .as_ref()
        .and_then(|_| without_softmax(model.program()))
        .and_then(|program| Model::from_program(program).ok());
    let gives_probabilities = model.program().metadata.outputs_are_probabilities;
    let (subject, output, expected) = match (&before_softmax, &golden.logits) {
        (Some(shortened), Some(logits)) => (shortened, "logits", logits.data.clone()),
        (None, Some(logits)) if !gives_probabilities => (model, "logits", logits.data.clone()),
        _ => (model, "probabilities", golden_probabilities(golden, classes)),
    };
    let mut session = task.session(subject)?;
    let isa = session.isa().name();

    let mut from_floats = None;
    if let Some(inputs) = &golden.input_f32 {
        let actual = task.run(&mut session, &inputs.data)?;
        from_floats = Some(task.compare(&expected, &actual, tolerance)?);
    }
    let mut from_pictures = None;
    if let (Some(pictures), Some(_)) = (&golden.input_u8, model.preprocessing()) {
        let actual = task.run(&mut session, &task.normalised(pictures)?)?;
        from_pictures = Some(task.compare(&expected, &actual, tolerance)?);
    }
    let mut probabilities = None;
    if let (Some(_), Some(inputs)) = (&before_softmax, &golden.input_f32) {
        let expected = golden_probabilities(golden, classes);
        let actual = task.run(&mut task.session(model)?, &inputs.data)?;
        let tolerance = tolerance.max(SOFTMAX_TOLERANCE);
        probabilities = Some(task.compare(&expected, &actual, tolerance)?);
    }

    let (input, comparison, input_u8) = match (from_floats, from_pictures) {
        (Some(floats), pictures) => ("input_f32", floats, pictures),
        (None, Some(pictures)) => ("input_u8", pictures, None),
        (None, None) => {
            return Err(Failure::new(
                Status::Input,
                format_args!(
                    "{golden_name}: no tensor 'input_f32', and {model_name} has no preprocessing \
                     for 'input_u8'"
                ),
            ));
        }
    };
    let passed = [Some(&comparison), input_u8.as_ref(), probabilities.as_ref()]
        .into_iter()
        .flatten()
        .all(|comparison| comparison.passes(allow_flips));
    Ok(Verification {
        model: model_name.to_owned(),
        golden: golden_name.to_owned(),
        isa,
        input,
        output,
        comparison,
        input_u8,
        probabilities,
        blocks: None,
        allow_flips,
        passed,
    })
}

/// As [`verify`], and runs each block of the model on its golden input.
///
/// # Errors
/// As [`verify`] and [`compare_blocks`].
pub fn verify_with_blocks(
    model: (&str, &Model),
    golden: (&str, &Golden),
    options: &SessionOptions,
    strictness: Strictness,
) -> Result<Verification> {
    let Strictness { tolerance, allow_flips } = strictness;
    let blocks = compare_blocks(model, golden, options, tolerance)?;
    let mut verification = verify(model, golden, options, strictness)?;
    verification.passed &= blocks.passes(allow_flips);
    verification.blocks = Some(blocks);
    Ok(verification)
}

/// What is verified against what.
struct Task<'a> {
    model_name: &'a str,
    model: &'a Model,
    golden_name: &'a str,
    golden: &'a Golden,
    options: &'a SessionOptions,
}

impl Task<'_> {
    /// Values of the one output of the model.
    fn classes(&self) -> Result<usize> {
        match (self.model.inputs(), self.model.outputs()) {
            ([_], [output]) => Ok(output.shape.iter().product()),
            (inputs, outputs) => Err(Failure::new(
                Status::Unsupported,
                format_args!(
                    "{}: {} inputs and {} outputs, expected one of each to verify",
                    self.model_name,
                    inputs.len(),
                    outputs.len()
                ),
            )),
        }
    }

    fn session(&self, model: &Model) -> Result<Session> {
        model.session(self.options).map_err(|error| engine::failure(self.model_name, error))
    }

    fn misfit(&self, message: std::fmt::Arguments<'_>) -> Failure {
        let (golden, model) = (self.golden_name, self.model_name);
        Failure::new(Status::Input, format_args!("{golden}: {message} for {model}"))
    }

    /// Outputs for all rows.
    fn run(&self, session: &mut Session, inputs: &[f32]) -> Result<Vec<f32>> {
        let (rows, classes) = (self.golden.rows(), self.classes()?);
        let shape = &self.model.inputs()[0].shape;
        let length: usize = shape.iter().product();
        if rows.checked_mul(length) != Some(inputs.len()) {
            return Err(self.misfit(format_args!(
                "tensor 'input_f32' has {} values a row, expected {length} (shape {shape:?})",
                inputs.len() / rows
            )));
        }
        let mut outputs = vec![0.0; rows * classes];
        let batches = inputs.chunks(BATCH * length).zip(outputs.chunks_mut(BATCH * classes));
        for (inputs, outputs) in batches {
            session
                .run_into(&[inputs], &mut [outputs])
                .map_err(|error| engine::failure(self.golden_name, error))?;
        }
        Ok(outputs)
    }

    /// Inputs made of pictures that have been resized and cropped already.
    fn normalised(&self, pictures: &Array<u8>) -> Result<Vec<f32>> {
        let input = PictureInput::new(self.model_name, self.model)?;
        if pictures.shape[1..] != input.size() {
            return Err(self.misfit(format_args!(
                "tensor 'input_u8' has pictures of {}, expected {}",
                shape(&pictures.shape[1..]),
                shape(&input.size())
            )));
        }
        let mut values = vec![0.0; self.golden.rows() * input.len()];
        for (row, values) in values.chunks_exact_mut(input.len()).enumerate() {
            input.normalise(pictures.row(row), values);
        }
        Ok(values)
    }

    /// Checks that the golden outputs are as many as those of the model.
    fn check_outputs(&self) -> Result<()> {
        let classes = self.classes()?;
        let Golden { logits, probabilities, .. } = self.golden;
        for (tensor, array) in [("logits", logits), ("probabilities", probabilities)] {
            if let Some(found) = array.as_ref().map(Array::row_len).filter(|&len| len != classes) {
                return Err(self.misfit(format_args!(
                    "tensor '{tensor}' has {found} values a row, expected {classes}"
                )));
            }
        }
        Ok(())
    }

    fn compare(&self, expected: &[f32], actual: &[f32], tolerance: f64) -> Result<Comparison> {
        let labels = self.golden.labels.as_deref();
        Ok(Comparison::new(expected, actual, self.classes()?, labels, tolerance))
    }
}

impl Verification {
    fn comparisons(&self) -> impl Iterator<Item = (&'static str, &'static str, &Comparison)> {
        [
            Some((self.input, self.output, &self.comparison)),
            self.input_u8.as_ref().map(|comparison| ("input_u8", self.output, comparison)),
            self.probabilities
                .as_ref()
                .map(|comparison| ("input_f32", "probabilities", comparison)),
        ]
        .into_iter()
        .flatten()
    }

    /// Writes the outcome for people.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        for (input, what, comparison) in self.comparisons() {
            let title = format!("{input} → {what}");
            let Comparison { rows, rows_exact, rows_within, max_abs_diff, tolerance, .. } =
                comparison;
            output.line(format_args!(
                "{}: {rows} rows on {}, {rows_exact} equal to the bit, {rows_within} within the tolerance of {tolerance}, {} flipped",
                style.bold(&title),
                self.isa,
                comparison.missed.len(),
            ))?;
            let accuracy = comparison.top1_accuracy;
            output.line(format_args!(
                "  largest difference {max_abs_diff:.3e}, same top-1 {:.2} %{}",
                100.0 * comparison.top1_agreement,
                accuracy.map_or(String::new(), |a| format!(", top-1 accuracy {:.2} %", 100.0 * a)),
            ))?;
        }
        if let Some(blocks) = &self.blocks {
            blocks.write(output, style)?;
        }
        output.line(if self.passed { style.good("passed") } else { style.bad("failed") })
    }

    /// The error, if the verification did not pass.
    ///
    /// # Errors
    /// [`Status::Verification`], with the first comparison that failed and its first row, or the first
    /// block that failed; [`Status::Unsupported`] if no block could be run.
    pub fn check(&self) -> Result<()> {
        let failed =
            self.comparisons().find(|(_, _, comparison)| !comparison.passes(self.allow_flips));
        let Some((input, what, comparison)) = failed else {
            let blocks = self.blocks.as_ref();
            return blocks.map_or(Ok(()), |blocks| {
                blocks.check(&self.model, &self.golden, self.allow_flips)
            });
        };
        let (row, difference) = comparison.missed[0];
        Err(Failure::new(
            Status::Verification,
            format_args!(
                "{}: {} of {} rows of {what} from {input} differ from {} by more than {} of their largest value (row {row}: {difference:.2e}), expected at most {}",
                self.model,
                comparison.missed.len(),
                comparison.rows,
                self.golden,
                comparison.tolerance,
                self.allow_flips,
            ),
        ))
    }
}

/// The program with a copy in place of the softmax at its end; `None` if it does not end with one.
fn without_softmax(program: &Program) -> Option<Program> {
    let is_copy = |kind: &StepKind| matches!(kind, StepKind::Gather { .. });
    let index = program.steps.iter().rposition(|step| !is_copy(&step.kind))?;
    let StepKind::Softmax { input, output, log: false } = program.steps[index].kind else {
        return None;
    };
    let mut program = program.clone();
    program.steps[index].kind = StepKind::Elementwise {
        input,
        flatten: false,
        epilogue: Epilogue { ops: vec![EpilogueOp::Store { output }] },
    };
    Some(program)
}

/// The golden probabilities, or the softmax of the golden logits.
fn golden_probabilities(golden: &Golden, classes: usize) -> Vec<f32> {
    match (&golden.probabilities, &golden.logits) {
        (Some(probabilities), _) => probabilities.data.clone(),
        (None, Some(logits)) => logits.data.chunks(classes).flat_map(softmax).collect(),
        (None, None) => Vec::new(),
    }
}

/// Softmax in f64, rounded once.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_adds_up_and_survives_large_logits() {
        let probabilities = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(probabilities, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn tolerances_are_finite_and_not_negative() {
        assert_eq!(tolerance("0"), Ok(0.0));
        assert_eq!(tolerance("1e-4"), Ok(1e-4));
        for bad in ["-1", "nan", "inf", "x", ""] {
            assert!(tolerance(bad).is_err(), "{bad}");
        }
    }
}
