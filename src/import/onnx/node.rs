//! One node on its way into the graph.

use super::assemble::Assembly;
use super::attributes::Attributes;
use super::error::ImportError;
use super::operators::Rule;
use super::proto::{NodeProto, TensorProto};
use crate::graph::{DataType, Op, Tensor, ValueId};

/// Why a node does not become part of the graph.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is well-formed, but its meaning cannot be expressed.
    Unsupported(String),
    /// It is malformed.
    Invalid(String),
    /// Reading it failed in a way that has its own message.
    Import(ImportError),
}

impl From<ImportError> for Fault {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

/// What messages call a node: its name, or else that of its first result, or else its operator.
pub(super) fn node_name(node: &NodeProto) -> String {
    let candidates = [node.name.as_ref(), node.output.first(), node.op_type.as_ref()];
    let name = candidates.into_iter().flatten().find(|name| !name.is_empty());
    name.cloned().unwrap_or_default()
}

/// A node, its attributes and operands, and the graph that it becomes part of.
pub(super) struct NodeContext<'a, 'g> {
    assembly: &'g mut Assembly<'a>,
    node: &'a NodeProto,
    name: String,
    operands: Vec<Option<ValueId>>,
    pub(super) attributes: Attributes<'a>,
}

impl<'a, 'g> NodeContext<'a, 'g> {
    /// A node whose operands have been found.
    pub(super) fn new(
        assembly: &'g mut Assembly<'a>,
        node: &'a NodeProto,
        operands: Vec<Option<ValueId>>,
    ) -> Self {
        let attributes = Attributes::new(&node.attribute);
        Self { assembly, node, name: node_name(node), operands, attributes }
    }

    /// Applies the rule of the node's operator.
    pub(super) fn apply(mut self, rule: Rule) -> Result<(), Fault> {
        self.attributes.check()?;
        if self.node.output.first().is_none_or(String::is_empty) {
            return Err(Fault::Invalid("has no first result".to_owned()));
        }
        rule(&mut self)?;
        self.attributes.all_known()
    }

    /// The version of ONNX's own operators.
    pub(super) fn operator_set(&self) -> i64 {
        self.assembly.operator_set
    }

    /// Number of operands, left out ones between others counted.
    pub(super) fn operand_count(&self) -> usize {
        self.operands.len()
    }

    /// Number of results.
    pub(super) fn result_count(&self) -> usize {
        self.node.output.len()
    }

    /// Checks that there are at most so many operands.
    pub(super) fn at_most(&self, count: usize) -> Result<(), Fault> {
        if self.operands.len() <= count {
            return Ok(());
        }
        let found = self.operands.len();
        Err(Fault::Invalid(format!("has {found} operands, expected at most {count}")))
    }

    /// An operand that has to be there.
    pub(super) fn operand(&self, index: usize) -> Result<ValueId, Fault> {
        self.optional(index).ok_or_else(|| Fault::Invalid(format!("operand {index} is missing")))
    }

    /// An operand, if it is there.
    pub(super) fn optional(&self, index: usize) -> Option<ValueId> {
        self.operands.get(index).copied().flatten()
    }

    /// All operands, those left out included, without such at the end.
    pub(super) fn operands(&self) -> Vec<Option<ValueId>> {
        let count = self.operands.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.operands[..count].to_vec()
    }

    /// The shape of an operand that has to be there.
    pub(super) fn shape(&self, index: usize) -> Result<Vec<usize>, Fault> {
        let value = self.operand(index)?;
        self.assembly
            .shape(&value)
            .ok_or_else(|| Fault::Invalid(format!("the shape of operand {index} is not known")))
    }

    /// The element type of an operand that has to be there.
    pub(super) fn element_type(&self, index: usize) -> Result<DataType, Fault> {
        let value = self.operand(index)?;
        self.assembly
            .element_type(value)
            .ok_or_else(|| Fault::Invalid(format!("the type of operand {index} is not known")))
    }

    /// The contents of an operand, where they are known.
    pub(super) fn constant(&self, index: usize) -> Option<&Tensor> {
        self.assembly.constant(self.optional(index)?)
    }

    /// Reads a tensor that stands in an attribute.
    pub(super) fn read_tensor(&self, tensor: &TensorProto) -> Result<Tensor, Fault> {
        Ok(self.assembly.read_tensor(tensor)?)
    }

    /// Adds a constant that stands for an attribute.
    pub(super) fn add_constant(&mut self, what: &str, tensor: Tensor) -> ValueId {
        let stem = format!("{}.{what}", self.name);
        self.assembly.add_made_constant(&stem, tensor)
    }

    /// Makes the first result of the node a constant.
    pub(super) fn define(&mut self, tensor: Tensor) {
        let node = self.node;
        if let Some(name) = node.output.first() {
            self.assembly.add_named_constant(name, tensor);
        }
    }

    /// Adds an operator whose result another one of this node reads.
    pub(super) fn push_part(
        &mut self,
        op: Op,
        inputs: Vec<Option<ValueId>>,
    ) -> Result<ValueId, Fault> {
        self.assembly.push_node(&self.name, op, inputs, None)
    }

    /// Adds the operator that gives the first result of the node; the others are not provided.
    pub(super) fn push(&mut self, op: Op, inputs: Vec<Option<ValueId>>) -> Result<(), Fault> {
        let node = self.node;
        self.assembly.push_node(&self.name, op, inputs, node.output.get(..1))?;
        Ok(())
    }

    /// Adds the operator that gives all results of the node.
    pub(super) fn push_all(&mut self, op: Op, inputs: Vec<Option<ValueId>>) -> Result<(), Fault> {
        let node = self.node;
        self.assembly.push_node(&self.name, op, inputs, Some(&node.output))?;
        Ok(())
    }
}
