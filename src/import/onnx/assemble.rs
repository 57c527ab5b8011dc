//! From a decoded file to a graph.

use super::ImportOptions;
use super::error::ImportError;
use super::node::{Fault, NodeContext, node_name};
use super::operators;
use super::order::execution_order;
use super::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use super::{inputs, tensor};
use crate::graph::shape::shape_range;
use crate::graph::{
    DataType, Graph, MAX_NODES, MAX_PORTS, Node, Op, Tensor, ValueId, infer_shapes, result_type,
};
use crate::reference::{budget::Budget, evaluate_constant_node};
use crate::unsupported::{UnsupportedNode, nearest};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Versions of ONNX's own operators that are known. Before 7 broadcasting was another; up to 26 the
/// operators mapped here only gained element types.
const OPERATOR_SETS: std::ops::RangeInclusive<i64> = 7..=26;

/// Values up to this many elements are computed while reading, because shapes may depend on them.
const MAX_FOLDED: usize = 1024;

/// Elements read and written, and multiplications, that all of that may take: nodes are many.
const FOLDED_ELEMENTS: u64 = 1 << 24;
const FOLDED_PRODUCTS: u64 = 1 << 28;

/// The graph under construction.
pub(super) struct Assembly<'a> {
    pub(super) graph: Graph,
    /// Folder of the file, for tensors kept in other files.
    pub(super) base_dir: Option<&'a Path>,
    /// Version of ONNX's own operators.
    pub(super) operator_set: i64,
    /// Values by their names in the file.
    names: HashMap<&'a str, ValueId>,
    /// Every name that is taken.
    taken: HashSet<String>,
    /// Numbers used up for made-up names.
    made_names: usize,
    /// Shapes by value; unknown only behind nodes that are not supported.
    shapes: Vec<Option<Vec<usize>>>,
    /// Small values that are known but stay nodes of the graph.
    folded: Vec<Option<Tensor>>,
    /// Element types by value.
    types: Vec<Option<DataType>>,
    /// What computing values may still take.
    budget: Cell<Budget>,
}

/// Reads the graph of a model.
pub(super) fn assemble(
    model: ModelProto,
    base_dir: Option<&Path>,
    options: &ImportOptions,
) -> Result<Graph, ImportError> {
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    for (what, found, most) in
        [("nodes", graph.node.len(), MAX_NODES), ("outputs", graph.output.len(), MAX_PORTS)]
    {
        if found > most {
            return Err(ImportError::TooMany { what, found, most });
        }
    }
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().and_then(|values| values.name.clone());
        return Err(ImportError::Tensor {
            tensor: name.unwrap_or_default(),
            reason: "sparse tensors are not supported".to_owned(),
        });
    }
    let mut assembly = Assembly {
        graph: Graph::new(graph.name.clone().unwrap_or_default()),
        base_dir,
        operator_set: operator_set(&model.opset_import, &graph.node)?,
        names: HashMap::new(),
        taken: HashSet::new(),
        made_names: 0,
        shapes: Vec::new(),
        folded: Vec::new(),
        types: Vec::new(),
        budget: Cell::new(Budget::new(FOLDED_ELEMENTS, FOLDED_PRODUCTS)),
    };
    assembly.add_initializers(graph)?;
    assembly.add_inputs(graph, options)?;
    for node in &graph.node {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !assembly.taken.insert(output.clone()) {
                return Err(ImportError::DuplicateName(output.clone()));
            }
        }
    }
    assembly.add_nodes(&graph.node)?;
    assembly.add_outputs(graph)?;
    Ok(assembly.graph)
}

/// The version of ONNX's own operators that the file uses.
fn operator_set(sets: &[OperatorSetIdProto], nodes: &[NodeProto]) -> Result<i64, ImportError> {
    let (oldest, newest) = (*OPERATOR_SETS.start(), *OPERATOR_SETS.end());
    let own = |set: &&OperatorSetIdProto| is_own(set.domain.as_deref().unwrap_or_default());
    let version = sets.iter().find(own).map(|set| set.version.unwrap_or_default());
    match version {
        Some(version) if OPERATOR_SETS.contains(&version) => Ok(version),
        Some(version) => {
            Err(ImportError::OperatorSet { found: version.to_string(), oldest, newest })
        }
        // Without own operators the version does not matter.
        None if nodes.iter().all(|node| !is_own(node.domain.as_deref().unwrap_or_default())) => {
            Ok(newest)
        }
        None => Err(ImportError::OperatorSet { found: "is not stated".to_owned(), oldest, newest }),
    }
}

/// Whether a domain is ONNX's own.
pub(super) fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl<'a> Assembly<'a> {
    /// Adds the initializers that are read.
    fn add_initializers(&mut self, graph: &'a GraphProto) -> Result<(), ImportError> {
        let node_inputs = graph.node.iter().flat_map(|node| &node.input).map(String::as_str);
        let outputs = graph.output.iter().filter_map(|output| output.name.as_deref());
        let read: HashSet<&str> = node_inputs.chain(outputs).collect();
        for initializer in &graph.initializer {
            let name = initializer.name.as_deref().unwrap_or_default();
            if name.is_empty() {
                let reason = "an initializer has no name".to_owned();
                return Err(ImportError::Tensor { tensor: String::new(), reason });
            }
            if !self.taken.insert(name.to_owned()) {
                return Err(ImportError::DuplicateName(name.to_owned()));
            }
            if read.contains(name) {
                let value = self.add_tensor(name.to_owned(), self.read_tensor(initializer)?);
                self.names.insert(name, value);
            }
        }
        Ok(())
    }

    /// Adds the inputs; those that are also initializers are constants.
    fn add_inputs(
        &mut self,
        graph: &'a GraphProto,
        options: &ImportOptions,
    ) -> Result<(), ImportError> {
        let constants: HashSet<&str> =
            graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
        let mut cast_only: HashMap<&str, bool> = HashMap::new();
        for node in &graph.node {
            let cast = node.op_type.as_deref() == Some("Cast");
            for input in &node.input {
                *cast_only.entry(input).or_insert(true) &= cast;
            }
        }
        for input in &graph.input {
            let name = input.name.as_deref().unwrap_or_default();
            if constants.contains(name) {
                continue;
            }
            if name.is_empty() {
                let reason = "an input has no name".to_owned();
                return Err(ImportError::Input { input: String::new(), reason });
            }
            if !self.taken.insert(name.to_owned()) {
                return Err(ImportError::DuplicateName(name.to_owned()));
            }
            inputs::check_type(input, cast_only.get(name).copied().unwrap_or(true))?;
            let shape = inputs::shape(input, options)?;
            let value = self.graph.add_input(name, shape.clone());
            let (what, found) = ("inputs", self.graph.inputs.len());
            if found > MAX_PORTS {
                return Err(ImportError::TooMany { what, found, most: MAX_PORTS });
            }
            self.describe(Some(shape), None, Some(DataType::F32));
            self.names.insert(name, value);
        }
        let known = |name: &String| {
            graph.input.iter().any(|input| input.name.as_ref() == Some(name))
                && !constants.contains(name.as_str())
        };
        match options.input_shapes.keys().find(|name| !known(name)) {
            Some(name) => Err(ImportError::Input {
                input: name.clone(),
                reason: "a shape is given, but the model has no such input".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Adds the nodes. Those that are not supported are collected: the results of one make the nodes
    /// behind it unreadable, but not the others.
    fn add_nodes(&mut self, nodes: &'a [NodeProto]) -> Result<(), ImportError> {
        let results: HashSet<&str> =
            nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let mut unsupported = Vec::new();
        // Results of nodes that are not supported, or that could not be read because of one.
        let mut unreadable: HashSet<&str> = HashSet::new();
        for index in execution_order(nodes)? {
            let node = &nodes[index];
            let mut operands = Vec::with_capacity(node.input.len());
            let mut blocked = false;
            for name in node.input.iter().map(String::as_str) {
                let operand = self.names.get(name).copied();
                blocked |= unreadable.contains(name);
                if !name.is_empty() && operand.is_none() && !unreadable.contains(name) {
                    let reader = format!("node `{}`", node_name(node));
                    return Err(if results.contains(name) {
                        // The node is there, but this is one of its results that nobody maps.
                        let reason = format!("result `{name}` of another node is not supported");
                        let (node, op) = (node_name(node), op_type(node).to_owned());
                        ImportError::Node { node, op, reason }
                    } else {
                        ImportError::Missing { reader, tensor: name.to_owned() }
                    });
                }
                operands.push(operand);
            }
            let rule = operators::rule(node.domain.as_deref().unwrap_or_default(), op_type(node));
            let outcome = match rule {
                None => Err(Fault::Unsupported("the operator is not known".to_owned())),
                Some(_) if blocked => Ok(()),
                Some(rule) => NodeContext::new(self, node, operands.clone()).apply(rule),
            };
            match outcome {
                Ok(()) => {}
                Err(Fault::Unsupported(reason)) => {
                    let shape = |operand: &Option<ValueId>| self.shape(operand.as_ref()?);
                    let domain = node.domain.clone().unwrap_or_default();
                    // Where the operator is known, the reason says what about the node is not.
                    let nearest = match rule {
                        Some(_) => nearest::listed(op_type(node)),
                        None => Some(nearest::guessed(&domain, op_type(node))),
                    };
                    unsupported.push(UnsupportedNode {
                        node: node_name(node),
                        op: op_type(node).to_owned(),
                        domain,
                        input_shapes: operands.iter().map(shape).collect(),
                        reason,
                        nearest,
                    });
                }
                Err(Fault::Invalid(reason)) => {
                    let (node, op) = (node_name(node), op_type(node).to_owned());
                    return Err(ImportError::Node { node, op, reason });
                }
                Err(Fault::Import(error)) => return Err(error),
            }
            for output in node.output.iter().map(String::as_str).filter(|name| !name.is_empty()) {
                if !unsupported.is_empty() && !self.names.contains_key(output) {
                    unreadable.insert(output);
                }
            }
        }
        if unsupported.is_empty() { Ok(()) } else { Err(ImportError::Unsupported(unsupported)) }
    }

    fn add_outputs(&mut self, graph: &GraphProto) -> Result<(), ImportError> {
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            let value = self.names.get(name).ok_or_else(|| ImportError::Missing {
                reader: "the list of outputs".to_owned(),
                tensor: name.to_owned(),
            })?;
            self.graph.outputs.push(*value);
        }
        if self.graph.outputs.is_empty() {
            let (reader, tensor) = ("the model".to_owned(), "an output".to_owned());
            return Err(ImportError::Missing { reader, tensor });
        }
        Ok(())
    }

    /// Notes what is known about the value that was added last.
    fn describe(
        &mut self,
        shape: Option<Vec<usize>>,
        folded: Option<Tensor>,
        data_type: Option<DataType>,
    ) {
        self.shapes.push(shape);
        self.folded.push(folded);
        self.types.push(data_type);
    }

    fn add_tensor(&mut self, name: String, tensor: Tensor) -> ValueId {
        self.describe(Some(tensor.shape().to_vec()), None, Some(tensor.data_type()));
        self.graph.add_constant(name, tensor)
    }

    pub(super) fn read_tensor(&self, tensor: &TensorProto) -> Result<Tensor, ImportError> {
        tensor::read(tensor, self.base_dir)
    }

    /// Adds a constant under the name that the file gives it.
    pub(super) fn add_named_constant(&mut self, name: &'a str, tensor: Tensor) {
        let value = self.add_tensor(name.to_owned(), tensor);
        self.names.insert(name, value);
    }

    /// Adds a constant under a name made from `stem`.
    pub(super) fn add_made_constant(&mut self, stem: &str, tensor: Tensor) -> ValueId {
        let name = self.unused_name(stem);
        self.add_tensor(name, tensor)
    }

    /// A name that starts with `stem` and is not taken, which it is from now on.
    fn unused_name(&mut self, stem: &str) -> String {
        let mut name = stem.to_owned();
        while !self.taken.insert(name.clone()) {
            self.made_names += 1;
            name = format!("{stem}.{}", self.made_names);
        }
        name
    }

    /// Appends a node with results that the file names (empty: not wanted) or, where `outputs` is
    /// absent, with one result under a made-up name. Returns the first result.
    pub(super) fn push_node(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: Option<&'a [String]>,
    ) -> Result<ValueId, Fault> {
        let first = self.graph.values.len();
        let made = outputs.is_none().then(|| self.unused_name(&format!("{name}.part")));
        let names = match (&made, outputs) {
            (Some(made), _) => vec![made.clone()],
            (None, Some(outputs)) => outputs.to_vec(),
            (None, None) => Vec::new(),
        };
        let values: Vec<ValueId> = names
            .into_iter()
            .map(|name| {
                let name = if name.is_empty() { self.unused_name("unused") } else { name };
                self.graph.add_value(name)
            })
            .collect();
        let node = Node { name: name.to_owned(), op, inputs, outputs: values };
        let shapes = {
            let shapes: Vec<Option<&[usize]>> =
                node.inputs.iter().map(|id| self.shapes[(*id)?.index()].as_deref()).collect();
            let constants: Vec<Option<&Tensor>> =
                node.inputs.iter().map(|id| self.constant((*id)?)).collect();
            let shapes = infer_shapes(&node, &shapes, &constants)
                .map_err(|error| Fault::Import(ImportError::Shape(error)))?;
            let folded = self.fold(&node, &constants, &shapes)?;
            shapes.into_iter().zip(folded).collect::<Vec<_>>()
        };
        let types: Vec<Option<DataType>> =
            node.inputs.iter().map(|id| self.types[(*id)?.index()]).collect();
        let data_type = result_type(&node.op, &types);
        for (shape, folded) in shapes.into_iter().take(node.outputs.len()) {
            self.describe(Some(shape), folded, data_type);
        }
        if let Some(outputs) = outputs {
            for (name, &value) in outputs.iter().zip(&node.outputs) {
                if !name.is_empty() {
                    self.names.insert(name, value);
                }
            }
        }
        self.graph.nodes.push(node);
        Ok(ValueId(first as u32))
    }

    /// The results of a node, where they are small and known.
    fn fold(
        &self,
        node: &Node,
        constants: &[Option<&Tensor>],
        shapes: &[Vec<usize>],
    ) -> Result<Vec<Option<Tensor>>, Fault> {
        let unknown = vec![None; shapes.len()];
        if let (Op::Shape { start, end }, Some(x)) = (&node.op, node.input(0)) {
            let Some(dims) = self.shape(&x) else { return Ok(unknown) };
            let reported = &dims[shape_range(dims.len(), *start, *end)];
            let sizes = reported.iter().map(|&size| size as i64).collect();
            return Ok(vec![Some(Tensor::from_i64(sizes))]);
        }
        let all_known = node.inputs.iter().zip(constants).all(|(id, known)| {
            id.is_none() || known.is_some_and(|tensor| tensor.len() <= MAX_FOLDED)
        });
        let small = |shape: &Vec<usize>| shape.iter().product::<usize>() <= MAX_FOLDED;
        if !all_known || !shapes.iter().all(small) {
            return Ok(unknown);
        }
        let operands: Vec<Option<&[usize]>> =
            constants.iter().map(|known| known.map(Tensor::shape)).collect();
        let mut budget = self.budget.get();
        if !budget.take(node, &operands, shapes) {
            return Ok(unknown);
        }
        self.budget.set(budget);
        let results = evaluate_constant_node(node, constants)
            .map_err(|error| Fault::Import(ImportError::Evaluation(error)))?;
        Ok(results.into_iter().map(Some).collect())
    }

    /// The shape of a value, unless it lies behind a node that is not supported.
    pub(super) fn shape(&self, value: &ValueId) -> Option<Vec<usize>> {
        self.shapes[value.index()].clone()
    }

    /// The element type of a value, unless it lies behind a node that is not supported.
    pub(super) fn element_type(&self, value: ValueId) -> Option<DataType> {
        self.types[value.index()]
    }

    /// The contents of a value, where they are known.
    pub(super) fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.graph.constant(value).or(self.folded[value.index()].as_ref())
    }
}

/// The operator of a node.
pub(super) fn op_type(node: &NodeProto) -> &str {
    node.op_type.as_deref().unwrap_or_default()
}
