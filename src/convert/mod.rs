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
