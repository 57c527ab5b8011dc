//! `--verify-layers`: the converted model beside the float graph, tensor by tensor.

use super::made_up;
use crate::{
    engine::{self, EngineArguments},
    exit::{Failure, Result, Status},
    golden::Golden,
    output::Output,
    table::{Align, Table},
    tensors::{Array, TensorFile},
    terminal::{Style, printable, shape},
};
use bnn::{
    Model,
    compare::{CompareError, LayerComparison, TensorDifference, Verdict, compare_layers},
    convert::Trace,
    graph::Graph,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Rows that are run unless the caller says how many.
const ROWS: usize = 2;

/// What is compared, and on which inputs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LayerArguments {
    /// Compare layer by layer with the float graph and say where they part, on the inputs of --verify,
    /// of --verify-input, or made up; if it fails, no file is left
    #[arg(long)]
    pub(super) verify_layers: bool,
    /// Inputs for --verify-layers: a tensor 'input_f32' [rows, ...] as the graph takes them
    #[arg(long, value_name = "FILE.safetensors", requires = "verify_layers")]
    verify_input: Option<PathBuf>,
    /// Rows of inputs for --verify-layers
    #[arg(
        long,
        value_name = "N",
        default_value_t = ROWS,
        requires = "verify_layers",
        value_parser = rows
    )]
    verify_rows: usize,
}

fn rows(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&rows| rows > 0).ok_or_else(|| "expected a number from 1 on".into())
}

/// The outcome.
#[derive(Debug, Serialize)]
pub(super) struct LayerCheck {
    /// The model.
    #[serde(skip)]
    model: String,
    /// Where the inputs came from: a file, or `made up`.
    input: String,
    #[serde(flatten)]
    comparison: LayerComparison,
}

/// What is compared with what.
pub(super) struct Subjects<'a> {
    pub(super) graph: &'a Graph,
    pub(super) trace: &'a Trace,
    /// The model as it will be written.
    pub(super) bytes: &'a [u8],
    pub(super) model_name: &'a str,
    /// Golden rows and the name of their file.
    pub(super) golden: Option<(&'a Path, &'a Golden)>,
}

impl LayerArguments {
    /// The file of inputs, if one is given.
    pub(super) fn input(&self) -> Option<&Path> {
        self.verify_input.as_deref()
    }

    /// Runs graph and model side by side.
    pub(super) fn check(&self, subjects: &Subjects<'_>) -> Result<LayerCheck> {
        let Subjects { graph, trace, bytes, model_name, golden } = *subjects;
        let fail = |error| engine::failure(model_name, error);
        let model = Model::from_bytes(bytes).map_err(fail)?;
        let (input, rows) = self.rows(&model, model_name, golden)?;
        let options = EngineArguments::default().options()?;
        let comparison = compare_layers(graph, trace, &model, &rows, &options);
        let comparison = comparison.map_err(|error| match error {
            CompareError::Model(error) => engine::failure(&input, error),
            CompareError::Inputs { .. } => {
                Failure::new(Status::Input, format_args!("{input}: {error}"))
            }
            CompareError::Reference(_) => {
                Failure::new(Status::Unsupported, format_args!("{model_name}: {error}"))
            }
        })?;
        Ok(LayerCheck { model: model_name.to_owned(), input, comparison })
    }

    /// Inputs, and where they come from.
    fn rows(
        &self,
        model: &Model,
        model_name: &str,
        golden: Option<(&Path, &Golden)>,
    ) -> Result<(String, Vec<Vec<Vec<f32>>>)> {
        let given = match (&self.verify_input, golden) {
            (Some(path), _) => {
                let array = TensorFile::open(path)?.f32("input_f32")?;
                let missing = || Failure::input(path, "no tensor 'input_f32'");
                Some((path.as_path(), array.ok_or_else(missing)?))
            }
            (None, Some((path, golden))) => golden.input_f32.clone().map(|array| (path, array)),
            (None, None) => None,
        };
        let Some((path, array)) = given else {
            let rows = (0..self.verify_rows as u64).map(|row| made_up::of_model(model, row));
            return Ok(("made up".to_owned(), rows.collect()));
        };
        let [port] = model.inputs() else {
            let count = model.inputs().len();
            return Err(Failure::new(
                Status::Unsupported,
                format_args!("{model_name}: {count} inputs, a file has rows for one only"),
            ));
        };
        let Array { shape: found, data } = &array;
        if found.is_empty() || data.is_empty() || array.row_len() != port.elements() {
            return Err(Failure::input(
                path,
                format_args!(
                    "tensor 'input_f32' is {}, expected rows of {} for '{}'",
                    shape(found),
                    shape(&port.shape),
                    port.name
                ),
            ));
        }
        let rows = data.chunks(port.elements()).take(self.verify_rows);
        Ok((path.display().to_string(), rows.map(|row| vec![row.to_vec()]).collect()))
    }
}

impl LayerCheck {
    /// Whether nothing differs beyond what is explained.
    pub(super) fn passed(&self) -> bool {
        self.comparison.passed
    }

    /// Writes where the two part, the tensors that differ, and totals, for people.
    pub(super) fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        let LayerComparison { rows, zeros_at_signs, tensors, .. } = &self.comparison;
        let count = |verdict| self.comparison.count(verdict);
        output.line(format_args!(
            "{}: {rows} rows ({}), {} tensors: {} equal to the bit, {} within rounding, {} on the \
             fence, {} after a flip, {} wrong",
            style.bold("layer by layer"),
            printable(&self.input),
            tensors.len(),
            count(Verdict::Equal),
            count(Verdict::Rounding),
            count(Verdict::OnTheFence),
            count(Verdict::AfterFlip),
            count(Verdict::Differs),
        ))?;
        let rounded = tensors.iter().filter(|tensor| tensor.verdict == Verdict::Rounding);
        if let Some(worst) = rounded.max_by(|a, b| a.max_relative.total_cmp(&b.max_relative)) {
            output.line(format_args!(
                "  rounding: at most {:.1e} of the largest value (tensor '{}')",
                worst.max_relative,
                printable(&worst.tensor)
            ))?;
        }
        if *zeros_at_signs > 0 {
            output.line(format_args!(
                "  {zeros_at_signs} inputs of Sign are exactly 0: ONNX says 0 there, the engine and \
                 this comparison +1"
            ))?;
        }
        if let Some(first) = self.comparison.first_difference() {
            output.line(format_args!("  first: {}", printable(&describe(first))))?;
            self.table().write(output, style)?;
        }
        output.line(if self.passed() { style.good("passed") } else { style.bad("failed") })
    }

    /// The tensors that differ by more than rounding.
    fn table(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new([
            ("tensor", Left),
            ("layer", Left),
            ("as", Left),
            ("elements", Right),
            ("differ", Right),
            ("unexplained", Right),
            ("largest", Right),
            ("relative", Right),
            ("verdict", Left),
        ]);
        for tensor in &self.comparison.tensors {
            if matches!(tensor.verdict, Verdict::Equal | Verdict::Rounding) {
                continue;
            }
            table.row([
                tensor.tensor.clone(),
                tensor.layer.clone(),
                tensor.kind.to_owned(),
                tensor.elements.to_string(),
                tensor.differing.to_string(),
                tensor.unexplained.to_string(),
                format!("{:.1e}", tensor.max_difference),
                format!("{:.1e}", tensor.max_relative),
                verdict(tensor.verdict).to_owned(),
            ]);
        }
        table
    }

    /// The error, if something differs beyond what is explained.
    ///
    /// # Errors
    /// [`Status::Verification`], with the first layer that does.
    pub(super) fn check(&self) -> Result<()> {
        match self.comparison.first_failure() {
            None => Ok(()),
            Some(first) => Err(Failure::new(
                Status::Verification,
                format_args!("{}: {}, more than rounding explains", self.model, describe(first)),
            )),
        }
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Rounding => "rounding",
        Verdict::OnTheFence => "on the fence",
        Verdict::AfterFlip => "after a flip",
        Verdict::Differs => "wrong",
    }
}

/// One tensor in words.
fn describe(tensor: &TensorDifference) -> String {
    let TensorDifference { layer, node, op, differing, elements, .. } = tensor;
    let mut text = format!("layer '{layer}' ({op} '{node}'): ");
    if tensor.kind == "bits" {
        text += &format!("{differing} of {elements} bits differ");
        if let Some(distances) = tensor.distances {
            text += &format!(
                " where sums are {:.1e} to {:.1e} from the threshold (all sums: ±{:.1e})",
                distances.smallest, distances.largest, distances.spread
            );
        }
    } else {
        text += &format!(
            "{differing} of {elements} floats differ, by up to {:.1e} ({:.1e} of the largest)",
            tensor.max_difference, tensor.max_relative
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bnn::{
        convert::{Conversion, ConvertOptions, convert},
        format,
        graph::{Op, Tensor},
        program::TensorData,
    };

    #[test]
    fn a_wrong_layer_is_told_in_one_line() {
        let mut graph = Graph::new("network");
        let x = graph.add_input("x", vec![1, 8]);
        let step = Op::Step { at_least: true, low: -1.0, high: 1.0 };
        let bits = graph.push_node("sign1", step.clone(), [x]);
        let ones = Tensor::from_f32(vec![8, 3], vec![1.0; 24]).unwrap();
        let ones = graph.add_constant("ones", ones);
        let sums = graph.push_node("first", Op::MatMul, [bits, ones]);
        let bits = graph.push_node("sign2", step, [sums]);
        let last = Tensor::from_f32(vec![3, 1], vec![1.0, -1.0, 1.0]).unwrap();
        let last = graph.add_constant("last", last);
        graph.outputs = vec![graph.push_node("second", Op::MatMul, [bits, last])];
        let Conversion { mut program, trace, .. } =
            convert(graph.clone(), &ConvertOptions::default()).unwrap();
        let mut check = |at: Option<i32>| {
            for tensor in &mut program.tensors {
                if let (TensorData::I32(thresholds), Some(at)) = (&mut tensor.data, at) {
                    // One channel is never set, one always.
                    (thresholds[0], thresholds[1]) = (i32::MAX, -at);
                }
            }
            let bytes = format::write(&program).unwrap();
            let arguments =
                LayerArguments { verify_layers: true, verify_input: None, verify_rows: 6 };
            let subjects = Subjects {
                graph: &graph,
                trace: &trace,
                bytes: &bytes,
                model_name: "out.bnn",
                golden: None,
            };
            arguments.check(&subjects).unwrap()
        };
        assert!(check(None).check().is_ok());
        let wrong = check(Some(100));
        assert!(!wrong.passed());
        let Failure::Error { status, message } = wrong.check().unwrap_err() else {
            panic!("an error")
        };
        assert_eq!(status, Status::Verification);
        for part in ["out.bnn: layer 'first'", "6 of 18 bits", "'sign2'", "from the threshold"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(wrong.table().lines().len(), 3, "{:?}", wrong.table().lines());
    }
}
