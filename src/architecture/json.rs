//! Networks as JSON: what `--graph` reads and `bnn-convert archs NAME --graph` prints.
//!
//! Every layer is parsed by itself, so that an error names the line where its layer begins.

use super::{Architecture, ArchitectureError, Block, Input, Layer, Operation, Unused};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use std::{collections::BTreeMap, fmt::Write as _};

/// Version of the schema, the value of the key `bnn_graph`.
const VERSION: u32 = 1;

/// Key that marks the text, and under which it stands in the metadata of a safetensors file.
pub(crate) const KEY: &str = "bnn_graph";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    bnn_graph: u32,
    name: String,
    inputs: Vec<Input>,
    #[serde(borrow)]
    layers: Vec<&'a RawValue>,
    outputs: Vec<String>,
    #[serde(default)]
    blocks: Vec<Block>,
    #[serde(default)]
    unused: Vec<Unused>,
}

impl Architecture {
    /// Reads a network from JSON and checks its names and shapes; `docs/graph.md` has the schema.
    ///
    /// # Errors
    /// [`ArchitectureError`] with the line at fault.
    pub fn from_json(text: &str) -> Result<Self, ArchitectureError> {
        let document: Document<'_> = serde_json::from_str(text).map_err(|error| at(&error, 0))?;
        if document.bnn_graph != VERSION {
            let network = document.name;
            let problem = format!("{KEY} is {}, this version reads {VERSION}", document.bnn_graph);
            return Err(ArchitectureError::Network { network, problem });
        }
        // Where the text of each layer begins, to name its line.
        let base = text.as_ptr() as usize;
        let mut before = match &*document.inputs {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        let mut layers = Vec::with_capacity(document.layers.len());
        let (mut line, mut counted) = (1, 0);
        for (index, raw) in document.layers.iter().enumerate() {
            let start = raw.get().as_ptr() as usize - base;
            line += text.as_bytes()[counted..start].iter().filter(|&&byte| byte == b'\n').count();
            counted = start;
            let layer = parse_layer(raw.get(), before.take()).map_err(|(name, problem)| {
                let layer = name.unwrap_or_else(|| format!("number {}", index + 1));
                ArchitectureError::Layer { line: Some(line), layer, problem }
            })?;
            before = Some(layer.name.clone());
            layers.push((layer, line));
        }
        // Of two layers of one name it is the second that is refused.
        let lines: BTreeMap<String, usize> =
            layers.iter().map(|(layer, line)| (layer.name.clone(), *line)).collect();
        let architecture = Self {
            name: document.name,
            inputs: document.inputs,
            layers: layers.into_iter().map(|(layer, _)| layer).collect(),
            outputs: document.outputs,
            blocks: document.blocks,
            unused: document.unused,
        };
        match architecture.resolve() {
            Ok(_) => Ok(architecture),
            Err(ArchitectureError::Layer { layer, problem, .. }) => {
                let line = lines.get(&layer).copied();
                Err(ArchitectureError::Layer { line, layer, problem })
            }
            Err(other) => Err(other),
        }
    }

    /// Writes the network as JSON, one layer a line.
    pub fn to_json(&self) -> String {
        let mut text = format!("{{\n  \"{KEY}\": {VERSION},\n");
        let _ = writeln!(text, "  \"name\": {},", Value::from(self.name.as_str()));
        list(&mut text, "inputs", self.inputs.iter().map(to_line), ",");
        list(&mut text, "layers", self.layers.iter().map(layer_line), ",");
        if !self.blocks.is_empty() {
            list(&mut text, "blocks", self.blocks.iter().map(to_line), ",");
        }
        if !self.unused.is_empty() {
            list(&mut text, "unused", self.unused.iter().map(to_line), ",");
        }
        let outputs = self.outputs.iter().map(|name| Value::from(name.as_str()).to_string());
        list(&mut text, "outputs", outputs, "");
        text.push_str("}\n");
        text
    }
}

/// One key of the document with a list as its value, one entry a line.
fn list(text: &mut String, key: &str, entries: impl Iterator<Item = String>, end: &str) {
    let entries: Vec<String> = entries.map(|entry| format!("    {entry}")).collect();
    let _ = writeln!(text, "  \"{key}\": [\n{}\n  ]{end}", entries.join(",\n"));
}

fn to_line(value: &impl serde::Serialize) -> String {
    // Plain structures of strings and numbers: writing them cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// Name, operation and inputs first: a map would sort them.
fn layer_line(layer: &Layer) -> String {
    let mut fields = match serde_json::to_value(&layer.operation) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let operation = fields.remove("op").unwrap_or_default();
    let mut text = format!("{{\"name\": {}, \"op\": {operation}", Value::from(layer.name.as_str()));
    let _ = match &*layer.inputs {
        [only] => write!(text, ", \"input\": {}", Value::from(only.as_str())),
        several => write!(text, ", \"inputs\": {}", Value::from(several)),
    };
    for (key, value) in fields {
        let _ = write!(text, ", \"{key}\": {}", shortened(value));
    }
    if !layer.parameters.is_empty() {
        let _ = write!(text, ", \"parameters\": {}", to_line(&layer.parameters));
    }
    text.push('}');
    text
}

/// Single-precision numbers were widened; written as the shortest number that reads back the same.
fn shortened(value: Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            format!("{:?}", number as f32)
        }
        Value::Array(entries) => {
            let entries: Vec<String> = entries.into_iter().map(shortened).collect();
            format!("[{}]", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// A layer, or its name (where it has one) and what is wrong with it.
fn parse_layer(text: &str, before: Option<String>) -> Result<Layer, (Option<String>, String)> {
    let mut fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| (None, message(&error)))?;
    let name = match fields.remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(other) => return Err((None, format!("its name is {other}, expected a string"))),
        None => return Err((None, "it has no name".to_owned())),
    };
    let fail = |problem: String| (Some(name.clone()), problem);
    let inputs = match (fields.remove("input"), fields.remove("inputs")) {
        (Some(Value::String(input)), None) => vec![input],
        (None, Some(inputs)) => serde_json::from_value(inputs).map_err(|error| {
            fail(format!("inputs: {}, expected a list of names", message(&error)))
        })?,
        (None, None) => match before {
            Some(before) => vec![before],
            None => return Err(fail("it has no input".to_owned())),
        },
        (Some(_), Some(_)) => return Err(fail("it has both input and inputs".to_owned())),
        (Some(other), None) => return Err(fail(format!("input is {other}, expected a name"))),
    };
    let parameters = match fields.remove("parameters") {
        Some(parameters) => serde_json::from_value(parameters).map_err(|error| {
            fail(format!("parameters: {}, expected role and name", message(&error)))
        })?,
        None => BTreeMap::new(),
    };
    let operation: Operation =
        serde_json::from_value(Value::Object(fields)).map_err(|error| fail(message(&error)))?;
    Ok(Layer { name, inputs, operation, parameters })
}

fn at(error: &serde_json::Error, lines_before: usize) -> ArchitectureError {
    ArchitectureError::Json {
        line: error.line() + lines_before,
        column: error.column(),
        message: message(error),
    }
}

/// The message without the place, which is told on its own.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Network, Scale, Window};

    fn network() -> Architecture {
        let mut net = Network::new("tiny", [3, 8, 8]);
        let x = net.input();
        let x = net.convolution("stem", x, 16, Window::square(3).stride(2).padding(1));
        let x = net.operation(
            "norm",
            &[x],
            Operation::BatchNormalization { epsilon: 2e-5, scale: true, shift: false },
        );
        let y = net.sign("sign", x);
        let y = net.binary_convolution("conv", y, 16, Window::square(3).padding(1), Scale::Channel);
        let x = net.add("add", &[x, y]);
        net.mark_block("block", "norm", "add");
        let x = net.global_average("mean", x);
        let x = net.linear("classifier", x, 10);
        net.unused("old.weight", &[3, 4]);
        net.finish([x]).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let text = network().to_json();
        assert!(text.contains("\"op\": \"batch_normalization\", \"input\": \"stem\", \"epsilon\": 2e-5, \"shift\": false"), "{text}");
        assert_eq!(Architecture::from_json(&text).unwrap(), network());
    }

    fn error(text: &str) -> String {
        Architecture::from_json(text).unwrap_err().to_string()
    }

    /// A document of one layer, on line 5.
    fn with_layer(layer: &str) -> String {
        format!(
            "{{\"bnn_graph\": 1, \"name\": \"n\",\n\"inputs\": [\n{{\"name\": \"x\", \"shape\": [3, 8, 8]}}],\n\
             \"layers\": [\n{layer}],\n\"outputs\": [\"a\"]}}"
        )
    }

    #[test]
    fn faults_name_their_line() {
        let cases = [
            (
                r#"{"name": "a", "op": "relu", "slope": 1}"#,
                "line 5: layer a: unknown field `slope`",
            ),
            (r#"{"op": "relu"}"#, "line 5: layer number 1: it has no name"),
            (r#"{"name": "a", "op": "relux"}"#, "line 5: layer a: unknown variant `relux`"),
            (
                r#"{"name": "a", "op": "convolution", "kernel": 3}"#,
                "line 5: layer a: missing field `out_channels`",
            ),
            (
                r#"{"name": "a", "op": "convolution", "kernel": 9, "out_channels": 4}"#,
                "line 5: layer a: kernel [9, 9]",
            ),
            (
                r#"{"name": "a", "op": "relu", "input": "y"}"#,
                "line 5: layer a: its input y is neither",
            ),
            ("{\"name\": \"x\",\n\"op\": \"relu\"}", "line 5: layer x: another layer or input"),
            (
                r#"{"name": "a", "op": "shift", "parameters": {"weight": "w"}}"#,
                "line 5: layer a: it has no parameter weight, expected bias",
            ),
            (
                r#"{"name": "a", "op": "max_pool", "kernel": [1, 2, 3]}"#,
                "line 5: layer a: expected a number or [vertical, horizontal]",
            ),
            (
                r#"{"name": "a", "op": "binary_convolution", "out_channels": 1, "kernel": 1, "pad_value": 2}"#,
                "line 5: layer a: pad_value 2",
            ),
        ];
        for (layer, expected) in cases {
            let found = error(&with_layer(layer));
            assert!(found.starts_with(expected), "{found}\nexpected {expected}");
        }
    }

    #[test]
    fn faults_of_the_document() {
        assert!(error("{\n\"name\": }").starts_with("line 2, column 9"));
        assert!(error(r#"{"bnn_graph": 1}"#).contains("missing field `name`"));
        let newer = with_layer(r#"{"name": "a", "op": "relu"}"#).replace(": 1,", ": 2,");
        assert!(error(&newer).contains("this version reads 1"));
        let nowhere = with_layer(r#"{"name": "b", "op": "relu"}"#);
        assert!(error(&nowhere).contains("output a is no layer"), "{}", error(&nowhere));
    }

    #[test]
    fn the_layer_before_is_the_input_that_is_left_out() {
        let text = with_layer(r#"{"name": "b", "op": "relu"}, {"name": "a", "op": "sign"}"#);
        let architecture = Architecture::from_json(&text).unwrap();
        assert_eq!(architecture.layers[0].inputs, ["x"]);
        assert_eq!(architecture.layers[1].inputs, ["b"]);
    }
}
