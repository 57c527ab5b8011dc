//! The steps of a program as blocks of a drawing, and who reads whose results.

use crate::{
    layers::{self, Flow},
    terminal,
};
use bnn::{
    convert::{LayerReport, Precision},
    program::{Buffer, BufferId, BufferKind, ConvGeometry, Program, StepKind},
};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// What a block stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A convolution or dense layer.
    Layer(Precision),
    /// A step without weights.
    Other,
    /// An input or output of the network.
    Port,
}

/// One block.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// Name in the original graph.
    pub(super) name: String,
    /// What it is, in very few letters: `3x3`, `pool`.
    pub(super) caption: String,
    /// Height, width and channels of what it writes first.
    pub(super) shape: [usize; 3],
    /// Its row in the report. Several steps may belong to one row; the first one has it.
    pub(super) layer: Option<usize>,
}

/// A map on its way from one block to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether it consists of bits.
    pub(super) bits: bool,
}

/// A network as it is drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Blocks {
    /// In the order in which they run.
    pub(super) blocks: Vec<Block>,
    /// Without repetitions, sorted.
    pub(super) edges: Vec<Edge>,
}

impl Blocks {
    /// The blocks of a program whose layers the report describes.
    pub(super) fn new(program: &Program, layers: &[LayerReport]) -> Self {
        // Names need not be unique; layers and their steps have the same order.
        let mut rows: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (index, layer) in layers.iter().enumerate() {
            rows.entry(&layer.name).or_default().push_back(index);
        }
        let mut network = Self::default();
        let mut written: HashMap<BufferId, usize> = HashMap::new();
        let mut edges = BTreeSet::new();
        for port in &program.inputs {
            written.insert(port.buffer, network.blocks.len());
            network.port("in", &port.name, input_shape(program, port.buffer));
        }
        for step in &program.steps {
            let flow = Flow::of(&step.kind);
            let block = network.blocks.len();
            for &id in &flow.reads {
                if let Some(&from) = written.get(&id) {
                    edges.insert(Edge { from, to: block, bits: is_bits(program, id) });
                }
            }
            written.extend(flow.writes.iter().map(|&id| (id, block)));
            let layer = match step.kind {
                StepKind::BinaryConv { .. } | StepKind::FloatConv { .. } => {
                    rows.get_mut(step.name.as_str()).and_then(VecDeque::pop_front)
                }
                _ => None,
            };
            let row = layer.and_then(|layer| layers.get(layer));
            network.blocks.push(Block {
                kind: kind(&step.kind, row),
                name: step.name.clone(),
                // A dense layer is a convolution as large as the map; nobody calls it that.
                caption: match row {
                    Some(row) if row.kind == "dense" => row.kind.clone(),
                    _ => caption(&step.kind),
                },
                shape: flow.writes.first().map_or([0; 3], |&id| shape(program, id)),
                layer,
            });
        }
        for port in &program.outputs {
            if let Some(&from) = written.get(&port.buffer) {
                edges.insert(Edge { from, to: network.blocks.len(), bits: false });
            }
            network.port("out", &port.name, shape(program, port.buffer));
        }
        network.edges = edges.into_iter().collect();
        network
    }

    fn port(&mut self, caption: &str, name: &str, shape: [usize; 3]) {
        self.blocks.push(Block {
            kind: Kind::Port,
            name: name.to_owned(),
            caption: caption.to_owned(),
            shape,
            layer: None,
        });
    }
}

fn shape(program: &Program, id: BufferId) -> [usize; 3] {
    let Buffer { height, width, channels, .. } = *program.buffer(id);
    [height, width, channels]
}

/// The map that an input is: the channels of most graphs come first, which the first step changes.
fn input_shape(program: &Program, input: BufferId) -> [usize; 3] {
    let reordered = program.steps.iter().find_map(|step| match step.kind {
        StepKind::Gather { input: read, output, .. } if read == input => Some(output),
        _ => None,
    });
    shape(program, reordered.unwrap_or(input))
}

fn is_bits(program: &Program, id: BufferId) -> bool {
    program.buffer(id).kind == BufferKind::Bits
}

fn kind(step: &StepKind, layer: Option<&LayerReport>) -> Kind {
    match (layer, step) {
        (Some(layer), _) => Kind::Layer(layer.precision()),
        (None, StepKind::BinaryConv { .. }) => Kind::Layer(Precision::Binary),
        (None, StepKind::FloatConv { .. }) => Kind::Layer(Precision::Float),
        _ => Kind::Other,
    }
}

fn caption(step: &StepKind) -> String {
    let kernel = |[height, width]: [usize; 2]| terminal::shape(&[height, width]);
    let convolution = |geometry: &ConvGeometry| kernel(geometry.kernel);
    match step {
        StepKind::BinaryConv { conv, .. } => convolution(&conv.geometry),
        StepKind::FloatConv { conv, .. } => convolution(&conv.geometry),
        StepKind::MaxPool { .. } | StepKind::MaxPoolBits { .. } | StepKind::AveragePool { .. } => {
            "pool".to_owned()
        }
        StepKind::Elementwise { .. } => "maths".to_owned(),
        StepKind::ReduceChannels { .. } => "reduce".to_owned(),
        StepKind::Threshold { .. } => "sign".to_owned(),
        StepKind::Concat { .. } => "join".to_owned(),
        StepKind::Gather { .. } => "move".to_owned(),
        StepKind::Pad { .. } => "pad".to_owned(),
        StepKind::Softmax { .. } => layers::kind_name(step).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bnn::{
        convert::{ConvertOptions, convert},
        graph::{BinaryOp, ConvAttributes, Graph, Op, Tensor},
    };

    /// `x + conv(sign(x))` behind a convolution of floats, with two layers of the same name.
    fn network() -> (Program, Vec<LayerReport>) {
        let mut graph = Graph::new("residual");
        let x = graph.add_input("x", vec![1, 2, 4, 4]);
        let conv = || {
            Op::Conv(ConvAttributes {
                kernel: [1, 1],
                stride: [1, 1],
                dilation: [1, 1],
                pads: [0; 4],
                groups: 1,
            })
        };
        let mut weights = |name: &str, values: [f32; 4]| {
            graph.add_constant(name, Tensor::from_f32(vec![2, 2, 1, 1], values.to_vec()).unwrap())
        };
        let float = weights("float", [0.25, 2.0, 3.0, 0.5]);
        let binary = weights("binary", [1.0, -1.0, -1.0, -1.0]);
        let stem = graph.push_node("same", conv(), [x, float]);
        let step = Op::Step { at_least: true, low: -1.0, high: 1.0 };
        let sign = graph.push_node("sign", step, [stem]);
        let layer = graph.push_node("same", conv(), [sign, binary]);
        let sum = graph.push_node("sum", Op::Binary(BinaryOp::Add), [layer, stem]);
        graph.outputs = vec![sum];
        let conversion = convert(graph, &ConvertOptions::default()).unwrap();
        (conversion.program, conversion.report.layers)
    }

    #[test]
    fn blocks_follow_the_steps_and_know_their_rows() {
        let (program, layers) = network();
        let network = Blocks::new(&program, &layers);
        let kinds: Vec<Kind> = network.blocks.iter().map(|block| block.kind).collect();
        let layer_kinds: Vec<Kind> =
            kinds.iter().copied().filter(|kind| matches!(kind, Kind::Layer(_))).collect();
        assert_eq!(layer_kinds, [Kind::Layer(Precision::Float), Kind::Layer(Precision::Binary)]);
        assert_eq!((kinds.first(), kinds.last()), (Some(&Kind::Port), Some(&Kind::Port)));
        let rows: Vec<usize> = network.blocks.iter().filter_map(|block| block.layer).collect();
        assert_eq!(rows, [0, 1]);
        assert_eq!(network.blocks[0].shape, [4, 4, 2], "not in the order of the graph");
    }

    #[test]
    fn a_shortcut_and_the_bits_beside_it_are_two_edges() {
        let (program, layers) = network();
        let network = Blocks::new(&program, &layers);
        let at = |row| network.blocks.iter().position(|block| block.layer == Some(row)).unwrap();
        let between: Vec<bool> = network
            .edges
            .iter()
            .filter(|edge| (edge.from, edge.to) == (at(0), at(1)))
            .map(|edge| edge.bits)
            .collect();
        assert_eq!(between, [false, true]);
        assert!(network.edges.iter().all(|edge| edge.from < edge.to));
    }
}
