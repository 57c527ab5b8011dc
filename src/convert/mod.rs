//! Turns a [`Graph`] into a [`Program`]: what the network means into what the machine does.
//!
//! The passes, in order, each in its own file:
//!
//! 1. `fold`: constants and shapes.
//! 2. `signs`: every spelling of a binarisation becomes one operator, by what it does (`pieces`); `units`
//!    does the same for two-slope activations, `pads` moves padding behind the sign and into convolutions; `expand` writes
//!    compound operators as simple ones, `exchange` moves signs to where bits can be read; `clean`
//!    removes what is left over.
//! 3. `lower`: layers whose weights (`weights`) and inputs (`facts`) take two values become binary, also
//!    those whose inputs take a few evenly spaced ones (`lattice`), plane by plane;
//!    transpositions and reshapes dissolve into views (`view`); what follows a layer (`chain`)
//!    becomes its epilogue, or, where it leads to a sign, a threshold found by search (`threshold`).
//!
//! ```
//! use bnn::{Model, SessionOptions, convert::{ConvertOptions, convert}};
//! use bnn::graph::{ConvAttributes, Graph, Op, Tensor};
//!
//! // The signs of three channels, and two weighted sums of them: a binary 1x1 convolution.
//! let mut graph = Graph::new("tiny");
//! let x = graph.add_input("x", vec![1, 3, 1, 1]);
//! let sign = Op::Step { at_least: true, low: -1.0, high: 1.0 };
//! let signs = graph.push_node("sign", sign, [x]);
//! let weights = vec![1.0, 1.0, 1.0, 1.0, -1.0, 1.0];
//! let weights = graph.add_constant("weights", Tensor::from_f32(vec![2, 3, 1, 1], weights)?);
//! let conv = Op::Conv(ConvAttributes {
//!     kernel: [1, 1],
//!     stride: [1, 1],
//!     dilation: [1, 1],
//!     pads: [0; 4],
//!     groups: 1,
//! });
//! graph.outputs = vec![graph.push_node("sums", conv, [signs, weights])];
//!
//! let conversion = convert(graph, &ConvertOptions::default())?;
//! assert_eq!(conversion.report.binary_layers, 1);
//! let mut session =
//!     Model::from_program(conversion.program)?.session(&SessionOptions::default())?;
//! assert_eq!(session.run(&[0.3, -2.0, 0.0])?, [1.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the buffers of the program hold is recorded on the way (`trace`), so that
//! [`compare`](crate::compare) can hold it against the graph as it was imported.

mod blocks;
mod broadcast;
mod chain;
mod clean;
mod describe;
mod error;
mod exchange;
mod expand;
mod facts;
mod fold;
mod lattice;
mod limits;
mod lower;
mod pads;
mod pieces;
mod report;
mod rewrite;
mod signs;
mod threshold;
mod trace;
mod units;
mod view;
mod weights;

pub use crate::unsupported::UnsupportedNode;
pub use error::ConvertError;
pub use report::{LayerReport, MacCount, Precision, Report, WeightBytes};
pub use trace::{Elements, Plane, Segment, Trace, TracedValue};
pub(crate) use weights::binary_weights;

use crate::{
    graph::{Graph, Op},
    program::{Metadata, Program},
};

/// Choices of a conversion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConvertOptions {
    /// Whether an approximate or guessed step is an error.
    pub strict: bool,
    /// Whether float weights are stored as f16 (approximate).
    pub f16: bool,
    /// Preprocessing and labels to store in the model.
    pub metadata: Metadata,
}

/// A converted network.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// What the runtime executes.
    pub program: Program,
    /// What became of each layer.
    pub report: Report,
    /// Which values of the graph the program computes, and where.
    pub trace: Trace,
}

/// Converts a network.
///
/// # Errors
/// [`ConvertError`], naming the nodes that cannot be converted and why.
pub fn convert(mut graph: Graph, options: &ConvertOptions) -> Result<Conversion, ConvertError> {
    limits::check(&graph)?;
    let mut budget = fold::budget(&graph);
    let originals = graph.values.len();
    let shapes = fold::fold_constants(&mut graph, &mut budget)?;
    clean::clean(&mut graph, &shapes);
    let ambiguous_signs = signs::canonicalise_signs(&mut graph, &shapes)?;
    blocks::unfold_blocks(&mut graph, &shapes);
    expand::expand_compound_operators(&mut graph, &shapes);
    units::canonicalise_units(&mut graph);
    pads::move_pads_behind_steps(&mut graph);
    let shapes = fold::fold_constants(&mut graph, &mut budget)?;
    pads::absorb_zero_pads(&mut graph, &shapes);
    broadcast::repeat_smaller_operands(&mut graph, &shapes);
    let shapes = fold::fold_constants(&mut graph, &mut budget)?;
    exchange::exchange_signs(&mut graph, &shapes);
    let shapes = fold::fold_constants(&mut graph, &mut budget)?;
    clean::clean(&mut graph, &shapes);
    limits::check(&graph)?;
    let mut conversion = lower::lower(&graph, options, &ambiguous_signs)?;
    // What the graph says may be beyond what a program can: nobody gets one that cannot be written.
    conversion.program.validate()?;
    let trace = &mut conversion.trace;
    trace.values.retain(|traced| traced.value.index() < originals);
    trace.not_two_valued.retain(|(_, value)| value.index() < originals);
    // Some are merged with others or lead nowhere.
    let live_steps = graph.nodes.iter().filter(|node| matches!(node.op, Op::Step { .. }));
    let is_ambiguous = |id: &crate::graph::ValueId| ambiguous_signs.contains(id);
    trace.signs = live_steps.map(|node| node.output()).filter(is_ambiguous).collect();
    if options.strict
        && let Some(warning) = conversion.report.warnings.first()
    {
        return Err(ConvertError::Strict { warning: warning.clone() });
    }
    Ok(conversion)
}
