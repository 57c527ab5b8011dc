//! What a network means: operators, tensors and shapes, with the float semantics of the framework
//! that trained it and no memory layout.
//!
//! A [`Graph`] is in static single assignment form: every [`ValueId`] is either a graph input, a
//! constant, or the output of exactly one node, and nodes are stored in execution order. The first
//! dimension of an input is the batch; everything here is worked out for a batch of one image,
//! because images of a batch never meet.

mod element_type;
mod op;
pub(crate) mod shape;
mod tensor;

pub use element_type::{element_types, result_type};
pub use op::{
    BinaryOp, ConvAttributes, Op, PoolAttributes, QuantAttributes, ReduceKind, RoundingMode,
    UnaryOp,
};
pub use shape::{
    MAX_ELEMENTS, MAX_RANK, ShapeError, broadcast_shapes, element_count, infer_shapes,
};
pub use tensor::{Data, DataType, Tensor, TensorError};

/// Most nodes of a network that is imported or converted. Published networks have a few thousand; passes
/// over a graph may take time that grows faster than its size.
pub const MAX_NODES: usize = 1 << 14;

/// Most inputs, and most outputs, of a network.
pub const MAX_PORTS: usize = 1 << 10;

/// Names one value of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The position of the value in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value: its name in the file it came from and, for an initializer, its contents.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Name of the tensor in the source file; unique within the graph.
    pub name: String,
    /// Contents, if the value is known before the network runs.
    pub constant: Option<Tensor>,
}

/// An input of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphInput {
    /// The value that the caller provides.
    pub value: ValueId,
    /// Its shape for a batch of one: the first entry is 1.
    pub shape: Vec<usize>,
}

/// One operator application.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name of the node in the source file, or a made-up one; for messages.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Operands; `None` where an optional operand is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results.
    pub outputs: Vec<ValueId>,
}

impl Node {
    /// The `index`-th operand, if it is present.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The first result.
    ///
    /// # Panics
    /// If the node has no result; [`Graph::push_node`] refuses such nodes.
    pub fn output(&self) -> ValueId {
        self.outputs[0]
    }
}

/// A named part of a network with one input and one output, such as a module `layer1.0`.
///
/// Blocks change nothing of what is computed: they are names under which parts can be looked at
/// and run by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name in the source; unique within the graph.
    pub name: String,
    /// What it reads.
    pub input: ValueId,
    /// What it computes from that.
    pub output: ValueId,
}

/// A network as its training framework means it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Name of the network, for reports.
    pub name: String,
    /// Inputs that the caller provides, in order.
    pub inputs: Vec<GraphInput>,
    /// Results, in order.
    pub outputs: Vec<ValueId>,
    /// Operators in execution order.
    pub nodes: Vec<Node>,
    /// All values; indexed by [`ValueId`].
    pub values: Vec<Value>,
    /// Named parts, in any order.
    pub blocks: Vec<Block>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a value that a node or the caller will provide.
    pub fn add_value(&mut self, name: impl Into<String>) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(Value { name: name.into(), constant: None });
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let id = self.add_value(name);
        self.values[id.index()].constant = Some(tensor);
        id
    }

    /// Adds an input of the given shape (batch of one first).
    pub fn add_input(&mut self, name: impl Into<String>, shape: Vec<usize>) -> ValueId {
        let value = self.add_value(name);
        self.inputs.push(GraphInput { value, shape });
        value
    }

    /// Appends a node with one result, named after it, and returns the result.
    pub fn push_node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: impl IntoIterator<Item = ValueId>,
    ) -> ValueId {
        let name = name.into();
        let output = self.add_value(name.clone());
        let inputs = inputs.into_iter().map(Some).collect();
        self.nodes.push(Node { name, op, inputs, outputs: vec![output] });
        output
    }

    /// Follows a renaming of values where nodes do not read them: the results of the network, and the
    /// inputs and outputs of its blocks.
    pub(crate) fn rename_ends(&mut self, rename: impl Fn(ValueId) -> ValueId) {
        let blocks = self.blocks.iter_mut().flat_map(|block| [&mut block.input, &mut block.output]);
        for end in self.outputs.iter_mut().chain(blocks) {
            *end = rename(*end);
        }
    }

    /// The contents of a value, if it is a constant.
    pub fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.values[value.index()].constant.as_ref()
    }

    /// The name of a value.
    pub fn value_name(&self, value: ValueId) -> &str {
        &self.values[value.index()].name
    }

    /// For each value the index of the node that computes it.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for output in &node.outputs {
                producers[output.index()] = Some(index);
            }
        }
        producers
    }

    /// For each value the indices of the nodes that read it, once per operand.
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for input in node.inputs.iter().flatten() {
                consumers[input.index()].push(index);
            }
        }
        consumers
    }
}
