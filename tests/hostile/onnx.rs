//! ONNX files, node by node.

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::INTS),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// A model under construction, with the input `x`.
pub(crate) struct File {
    pub(crate) graph: GraphProto,
}

impl File {
    pub(crate) fn new(input: &[i64]) -> Self {
        let dim = |&size: &i64| Dimension { dim_value: Some(size), dim_param: None };
        let shape = TensorShapeProto { dim: input.iter().map(dim).collect() };
        let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(shape) };
        let r#type = TypeProto { tensor_type: Some(tensor), ..Default::default() };
        let input = vec![ValueInfoProto { name: Some("x".to_owned()), r#type: Some(r#type) }];
        Self { graph: GraphProto { input, ..Default::default() } }
    }

    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: attributes,
            ..Default::default()
        });
    }

    /// `count` nodes one behind the other; the operands behind the first are the same for all.
    pub(crate) fn chain(
        &mut self,
        op: &str,
        start: &str,
        others: &[&str],
        count: usize,
        attributes: &[AttributeProto],
    ) -> String {
        let mut last = start.to_owned();
        for index in 0..count {
            let next = format!("{op}{index}");
            let inputs: Vec<&str> =
                std::iter::once(last.as_str()).chain(others.iter().copied()).collect();
            self.node(op, &inputs, &next, attributes.to_vec());
            last = next;
        }
        last
    }

    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(DataType::INT64),
            dims: vec![values.len() as i64],
            int64_data: values.to_vec(),
            ..Default::default()
        });
    }

    pub(crate) fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(DataType::FLOAT),
            dims: dims.to_vec(),
            float_data: values.to_vec(),
            ..Default::default()
        });
    }

    pub(crate) fn output(&mut self, name: &str) {
        self.graph.output.push(ValueInfoProto { name: Some(name.to_owned()), r#type: None });
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let set = OperatorSetIdProto { domain: Some(String::new()), version: Some(13) };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![set],
            ..Default::default()
        };
        model.write_buf().expect("the model is written")
    }
}
