//! ONNX files, node by node.

use crate::random::Random;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};
use std::cell::RefCell;

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(r#type), ..Default::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::INT) }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::INTS) }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::FLOAT) }
}

pub(crate) fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::FLOATS) }
}

pub(crate) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.to_owned()), ..attribute(name, AttributeType::STRING) }
}

/// A file under construction. Values are called by their names.
pub(crate) struct Writer {
    pub(crate) operator_set: i64,
    pub(crate) graph: GraphProto,
    names: usize,
}

impl Writer {
    pub(crate) fn new(operator_set: i64) -> Self {
        Self { operator_set, graph: GraphProto::default(), names: 0 }
    }

    pub(crate) fn name(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("{stem}_{}", self.names)
    }

    fn value_info(name: &str, dims: Option<&[i64]>) -> ValueInfoProto {
        let dim = |&size: &i64| match size {
            0 => Dimension { dim_value: None, dim_param: Some("batch".to_owned()) },
            size => Dimension { dim_value: Some(size), dim_param: None },
        };
        let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape };
        let r#type = TypeProto { tensor_type: Some(tensor), ..Default::default() };
        ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type) }
    }

    /// An input; a size of 0 is left open under a name.
    pub(crate) fn input(&mut self, name: &str, dims: &[i64]) {
        self.graph.input.push(Self::value_info(name, Some(dims)));
    }

    pub(crate) fn output(&mut self, name: &str) {
        self.graph.output.push(Self::value_info(name, None));
    }

    pub(crate) fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        results: usize,
        attributes: Vec<AttributeProto>,
    ) -> Vec<String> {
        let outputs: Vec<String> = (0..results).map(|_| self.name(&op.to_lowercase())).collect();
        let quantiser = ["BipolarQuant", "Quant", "MultiThreshold"].contains(&op);
        self.graph.node.push(NodeProto {
            name: Some(format!("node {}", outputs[0])),
            op_type: Some(op.to_owned()),
            domain: quantiser.then(|| "qonnx.custom_op.general".to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: outputs.clone(),
            attribute: attributes,
        });
        outputs
    }

    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.nodes(op, inputs, 1, attributes).remove(0)
    }

    /// A constant in one of the forms that tensors are written in.
    pub(crate) fn tensor(&mut self, random: &mut Random, dims: &[usize], values: &[f32]) -> String {
        assert_eq!(dims.iter().product::<usize>(), values.len());
        let name = self.name("tensor");
        let mut tensor = TensorProto {
            name: Some(name.clone()),
            data_type: Some(DataType::FLOAT),
            dims: dims.iter().map(|&size| size as i64).collect(),
            ..Default::default()
        };
        if random.chance(50) {
            tensor.float_data = values.to_vec();
        } else {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensor.raw_data = Some(RefCell::new(bytes));
        }
        if random.chance(20) {
            tensor.name = None;
            let value =
                AttributeProto { t: Some(tensor), ..attribute("value", AttributeType::TENSOR) };
            return self.node("Constant", &[], vec![value]);
        }
        self.graph.initializer.push(tensor);
        name
    }

    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        let name = self.name("integers");
        self.graph.initializer.push(TensorProto {
            name: Some(name.clone()),
            data_type: Some(DataType::INT64),
            dims: vec![values.len() as i64],
            int64_data: values.to_vec(),
            ..Default::default()
        });
        name
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let set = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(version),
        };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph.clone()),
            opset_import: vec![set("", self.operator_set), set("qonnx.custom_op.general", 1)],
            ..Default::default()
        };
        model.write_buf().expect("the model is written")
    }
}
