//! How much of what should have been two-valued is exactly 0, which tells a {0, 1} activation from
//! one that cuts off nothing.
//!
//! The converter looks at a network without running it. Here one input runs, and the reasons that the
//! report gives become figures.

use super::made_up;
use crate::{
    engine::EngineArguments, exit::Result, golden::Golden, picture::PictureInput,
    tensors::TensorFile,
};
use bnn::{
    Model,
    convert::{ConvertError, Elements, LayerReport, Report, Trace},
    graph::{Graph, Tensor},
    program::{BufferId, Preprocessing},
    reference::evaluate_within,
    runtime::{BufferContents, TracedWrite},
};
use std::{collections::HashMap, path::Path};

/// Most multiplications that the plain interpreter does for the figure in a refusal: some seconds.
const MOST_PRODUCTS: u64 = 2_000_000_000;

/// Most values of an input that is made up for a refusal.
const MOST_VALUES: usize = 1 << 24;

/// The input that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    /// A file, or `made up`.
    pub(super) name: String,
    /// Where the zeros were counted, in words.
    words: &'static str,
}

impl Source {
    fn made_up() -> Self {
        Self { name: "made up".to_owned(), words: "on made-up input" }
    }

    fn given(path: &Path) -> Self {
        Self { name: path.display().to_string(), words: "on the given input" }
    }
}

/// Why a layer is not binary, with what was counted in its input.
pub(super) fn reason(layer: &LayerReport, source: Option<&Source>) -> Option<String> {
    let reason = layer.reason.clone()?;
    let zeros = layer.input_zeros.and_then(percent).zip(source);
    Some(match zeros {
        Some((zeros, Source { words, .. })) => {
            format!("{reason}; {zeros} of its input is exactly 0 {words}")
        }
        None => reason,
    })
}

/// A share in words; nothing to say of none.
fn percent(share: f32) -> Option<String> {
    Some(match share {
        0.0 => return None,
        1.0 => "all".to_owned(),
        share if share < 0.01 => "less than 1 %".to_owned(),
        share if share > 0.99 => "more than 99 %".to_owned(),
        share => format!("{:.0} %", 100.0 * share),
    })
}

/// Counts zeros in the inputs of the layers that are not binary because of them, and says on which
/// input; nothing where no layer asks for it or the model does not run.
pub(super) fn count(
    report: &mut Report,
    trace: &Trace,
    bytes: &[u8],
    golden: Option<(&Path, &Golden)>,
    given: Option<&Path>,
) -> Option<Source> {
    let wanted = places(trace);
    if wanted.is_empty() {
        return None;
    }
    let model = Model::from_bytes(bytes).ok()?;
    let (source, inputs) = one_input(&model, golden, given);
    let shares = shares(&model, &inputs, &wanted)?;
    for (layer, buffer) in wanted {
        if let Some(layer) = report.layers.get_mut(layer) {
            layer.input_zeros = shares.get(&buffer).copied();
        }
    }
    Some(source)
}

/// Where the inputs in question lie as floats.
fn places(trace: &Trace) -> Vec<(usize, BufferId)> {
    let buffer = |value| {
        let mut places = trace.values.iter().filter(|traced| traced.value == value);
        places.find(|traced| traced.elements == Elements::F32).map(|traced| traced.buffer)
    };
    let layers = trace.not_two_valued.iter();
    layers.filter_map(|&(layer, value)| Some((layer, buffer(value)?))).collect()
}

/// The first input of the golden file, else the first one that is given, else one that is made up.
fn one_input(
    model: &Model,
    golden: Option<(&Path, &Golden)>,
    given: Option<&Path>,
) -> (Source, Vec<Vec<f32>>) {
    let from_file = || {
        let [port] = model.inputs() else { return None };
        let fits = |row: &[f32]| row.len() == port.elements();
        if let Some((path, golden)) = golden {
            let floats = golden.input_f32.as_ref().map(|array| array.row(0).to_vec());
            let row = floats.or_else(|| first_picture(model, golden)).filter(|row| fits(row))?;
            return Some((Source::given(path), vec![row]));
        }
        let path = given?;
        let array = TensorFile::open(path).and_then(|file| file.f32("input_f32")).ok()??;
        let row = array.data.get(..array.row_len()).filter(|row| fits(row))?;
        Some((Source::given(path), vec![row.to_vec()]))
    };
    from_file().unwrap_or_else(|| (Source::made_up(), made_up::of_model(model, 0)))
}

/// The first picture of a golden file as the model takes it.
fn first_picture(model: &Model, golden: &Golden) -> Option<Vec<f32>> {
    let input = PictureInput::new("", model).ok()?;
    let pictures = golden.input_u8.as_ref()?;
    let pixels = pictures.data.get(..pictures.row_len()).filter(|row| row.len() == input.len())?;
    let mut values = vec![0.0; input.len()];
    input.normalise(pixels, &mut values);
    Some(values)
}

/// The share of zeros in each of the buffers.
fn shares(
    model: &Model,
    inputs: &[Vec<f32>],
    wanted: &[(usize, BufferId)],
) -> Option<HashMap<BufferId, f32>> {
    let mut session = model.session(&EngineArguments::default().options().ok()?).ok()?;
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<Vec<f32>> =
        model.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
    let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let mut shares = HashMap::new();
    let run = session.run_traced(&inputs, &mut outputs, &mut |write| {
        let TracedWrite { buffer, contents, .. } = write;
        if let BufferContents::F32(values) = contents
            && wanted.iter().any(|&(_, wanted)| wanted == buffer)
        {
            shares.extend(share(values).map(|share| (buffer, share)));
        }
    });
    run.ok().map(|()| shares)
}

/// The share of zeros.
fn share(values: &[f32]) -> Option<f32> {
    let zeros = values.iter().filter(|&&value| value == 0.0).count();
    (!values.is_empty()).then(|| (zeros as f64 / values.len() as f64) as f32)
}

/// A refusal in words. Where the reason is a sign of values that are never negative, it says how many
/// of them are 0, if that is known soon: `import` reads the network, whose conversion took it apart.
pub(super) fn refusal(
    error: &ConvertError,
    preprocessing: Option<&Preprocessing>,
    import: impl FnOnce() -> Result<Graph>,
) -> String {
    let ConvertError::NonNegativeSign { input, .. } = error else { return error.to_string() };
    let zeros = import().ok().and_then(|graph| zeros_of(&graph, input, preprocessing));
    match zeros.and_then(percent) {
        Some(zeros) => format!("{error}; {zeros} of it is exactly 0 {}", Source::made_up().words),
        None => error.to_string(),
    }
}

/// The share of zeros of the value of a graph with the given name, on made-up input.
fn zeros_of(graph: &Graph, name: &str, preprocessing: Option<&Preprocessing>) -> Option<f32> {
    let value = graph.values.iter().position(|value| value.name == name)?;
    let shapes: Option<Vec<&[usize]>> =
        graph.inputs.iter().map(|input| input.shape.get(1..)).collect();
    let shapes = shapes?;
    let count = |shape: &[usize]| {
        shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent))
    };
    let counts: Option<Vec<usize>> = shapes.iter().map(|shape| count(shape)).collect();
    if counts?.iter().any(|&count| count > MOST_VALUES) {
        return None;
    }
    let rows = made_up::of_shapes(&shapes, preprocessing, 0);
    let tensors: Option<Vec<Tensor>> = graph
        .inputs
        .iter()
        .zip(rows)
        .map(|(input, values)| Tensor::from_f32(input.shape.clone(), values).ok())
        .collect();
    let value = bnn::graph::ValueId(u32::try_from(value).ok()?);
    let found = evaluate_within(graph, &tensors?, value, MOST_PRODUCTS).ok()??;
    share(found.f32().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_in_words() {
        let said = [1.0, 0.999, 0.414, 0.004].map(|share| percent(share).unwrap());
        assert_eq!(said, ["all", "more than 99 %", "41 %", "less than 1 %"]);
        assert_eq!(percent(0.0), None);
    }

    #[test]
    fn zeros_of_both_signs_count() {
        assert_eq!(share(&[0.0, -0.0, 1.0, -1.0]), Some(0.5));
        assert_eq!(share(&[]), None);
    }
}
