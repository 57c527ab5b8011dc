//! What every operator means, in plain code: a slow interpreter of a [`Graph`](crate::graph::Graph)
//! that the converter folds constants with and the engine is compared to.
//!
//! The order of additions is part of the meaning wherever floats are summed: convolutions add up in
//! the order kernel row, kernel column, input channel, with one fused multiply-add per product (or,
//! when asked, two operations: [`Products`]), starting at +0; matrix products in the order of the inner
//! dimension; averages and reductions in row-major order. Each other operation is rounded to `f32` on its
//! own. What does not depend on the input of the network is the exception: sums over constants are taken
//! in f64 and rounded once.

mod bounded;
pub(crate) mod budget;
mod convolution;
mod elementwise;
mod interpreter;
mod matrix;
mod normalisation;
mod pooling;
mod quantisation;
mod rearrange;
mod reduction;
mod strided;

pub use bounded::evaluate_within;
pub use interpreter::{Evaluated, Interpreter, run, run_all};

pub use bnn_kernels::Products;

use crate::graph::shape::shape_range;
use crate::graph::{DataType, Node, Op, ReduceKind, ShapeError, Tensor, TensorError, infer_shapes};
use reduction::Summation;
use thiserror::Error;

/// Why a graph cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// Operands do not fit an operator.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// An operator is not defined for its operands.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Another number of inputs was handed over than the graph has.
    #[error("the graph has {expected} inputs, {found} were given")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input has another shape than the graph expects.
    #[error("input `{name}` has shape {found:?}, expected {expected:?}")]
    InputShape {
        /// Name of the input.
        name: String,
        /// Shape of the graph's input.
        expected: Vec<usize>,
        /// Shape of the tensor given.
        found: Vec<usize>,
    },
    /// A value is read before anything computes it.
    #[error("value `{name}` is read before it is computed")]
    NotComputed {
        /// Name of the value.
        name: String,
    },
}

/// What an interpreter may choose in the arithmetic of operators.
#[derive(Debug, Clone, Copy)]
struct Arithmetic {
    summation: Summation,
    products: Products,
}

/// Why an operator cannot be applied; the node's name is added further up.
#[derive(Debug)]
struct Reason(String);

impl From<TensorError> for Reason {
    fn from(error: TensorError) -> Self {
        Self(error.to_string())
    }
}

impl From<ShapeError> for Reason {
    fn from(error: ShapeError) -> Self {
        Self(error.0)
    }
}

/// The operands of a node whose shapes have been found to fit it.
struct Operands<'a>(&'a [Option<&'a Tensor>]);

impl<'a> Operands<'a> {
    fn get(&self, index: usize) -> Result<&'a Tensor, Reason> {
        self.optional(index).ok_or_else(|| Reason(format!("operand {index} is missing")))
    }

    fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.0.get(index).copied().flatten()
    }

    fn f32(&self, index: usize) -> Result<&'a [f32], Reason> {
        self.get(index)?.f32().map_err(|error| Reason(format!("operand {index}: {error}")))
    }

    fn i64(&self, index: usize) -> Result<&'a [i64], Reason> {
        self.get(index)?.i64().map_err(|error| Reason(format!("operand {index}: {error}")))
    }

    fn optional_i64(&self, index: usize) -> Result<Option<&'a [i64]>, Reason> {
        self.optional(index).map(|_| self.i64(index)).transpose()
    }
}

/// The results of a node for the given operands, `None` where one is left out.
///
/// # Errors
/// If the operands do not fit the operator in number, shape or element type, if integer arithmetic
/// overflows or divides by zero, or if an index is out of range.
pub fn evaluate_node(
    node: &Node,
    inputs: &[Option<&Tensor>],
) -> Result<Vec<Tensor>, EvaluationError> {
    evaluate_with(node, inputs, Products::Fused)
}

/// As [`evaluate_node`], with the products added as asked.
fn evaluate_with(
    node: &Node,
    inputs: &[Option<&Tensor>],
    products: Products,
) -> Result<Vec<Tensor>, EvaluationError> {
    evaluate_by(node, inputs, Arithmetic { summation: Summation::InOrder, products })
}

/// As [`evaluate_node`], for operands that do not depend on the input of the network: sums are taken in
/// f64 and rounded once. Nothing has to be as fast as the engine here, and a mean over millions of
/// weights would lose half of its digits in f32.
///
/// # Errors
/// As [`evaluate_node`].
pub fn evaluate_constant_node(
    node: &Node,
    inputs: &[Option<&Tensor>],
) -> Result<Vec<Tensor>, EvaluationError> {
    let products = Products::Fused;
    evaluate_by(node, inputs, Arithmetic { summation: Summation::Wide, products })
}

fn evaluate_by(
    node: &Node,
    inputs: &[Option<&Tensor>],
    arithmetic: Arithmetic,
) -> Result<Vec<Tensor>, EvaluationError> {
    let shapes: Vec<Option<&[usize]>> =
        inputs.iter().map(|input| input.map(Tensor::shape)).collect();
    let shapes = infer_shapes(node, &shapes, inputs)?;
    evaluate(&node.op, &Operands(inputs), shapes, arithmetic).map_err(|Reason(reason)| {
        EvaluationError::Node { node: node.name.clone(), op: node.op.name(), reason }
    })
}

/// Applies an operator to operands of which [`infer_shapes`] has worked out the shapes of the results.
fn evaluate(
    op: &Op,
    operands: &Operands<'_>,
    mut shapes: Vec<Vec<usize>>,
    Arithmetic { summation, products }: Arithmetic,
) -> Result<Vec<Tensor>, Reason> {
    if let Op::Split { axis } = op {
        return rearrange::split(operands.get(0)?, *axis, &shapes);
    }
    // Every other operator has exactly one result.
    let shape = shapes.pop().unwrap_or_default();
    let x = || operands.get(0);
    let result = match op {
        Op::Unary(function) => elementwise::unary(*function, x()?)?,
        Op::Binary(function) => elementwise::binary(*function, x()?, operands.get(1)?, shape)?,
        Op::Where => elementwise::select(x()?, operands.get(1)?, operands.get(2)?, shape)?,
        Op::Clip => elementwise::clip(operands)?,
        Op::Cast { to } => elementwise::cast(x()?, *to)?,
        Op::PRelu => elementwise::prelu(x()?, operands.get(1)?)?,
        Op::TwoSlope => elementwise::two_slope(x()?, operands.get(1)?, operands.get(2)?)?,
        Op::Step { at_least, low, high } => elementwise::step(x()?, *at_least, *low, *high)?,
        Op::Conv(attributes) => convolution::convolve(attributes, operands, shape, products)?,
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            matrix::gemm(operands, shape, [*alpha, *beta], [*trans_a, *trans_b], products)?
        }
        Op::MatMul => matrix::matmul(x()?, operands.get(1)?, shape, products)?,
        Op::BatchNormalization { epsilon } => {
            normalisation::batch_normalization(operands, *epsilon)?
        }
        Op::Softmax { axis } => normalisation::softmax(x()?, *axis, false)?,
        Op::LogSoftmax { axis } => normalisation::softmax(x()?, *axis, true)?,
        Op::MaxPool(attributes) => pooling::max_pool(attributes, x()?, shape)?,
        Op::AveragePool(attributes) => pooling::average_pool(attributes, x()?, shape)?,
        Op::GlobalAveragePool => reduction::global(ReduceKind::Mean, x()?, shape, summation)?,
        Op::GlobalMaxPool => reduction::global(ReduceKind::Max, x()?, shape, summation)?,
        Op::Reduce { kind, .. } => {
            reduction::reduce(*kind, x()?, operands.optional_i64(1)?, shape, summation)?
        }
        Op::ArgMax { axis, .. } => reduction::arg_max(x()?, *axis, shape)?,
        Op::Concat { axis } => {
            let parts: Result<Vec<_>, _> =
                (0..operands.0.len()).map(|index| operands.get(index)).collect();
            rearrange::concat(&parts?, *axis, shape)?
        }
        Op::Slice => rearrange::slice(operands, shape)?,
        Op::Pad => rearrange::pad(operands, shape)?,
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze => {
            x()?.clone().reshaped(shape)?
        }
        Op::Transpose { perm } => rearrange::transpose(x()?, perm, shape)?,
        Op::Expand => rearrange::expand(x()?, shape)?,
        Op::Gather { axis } => rearrange::gather(x()?, operands.get(1)?, *axis, shape)?,
        Op::DepthToSpace { block, column_row_depth } => {
            rearrange::depth_to_space(x()?, *block, *column_row_depth, shape)?
        }
        Op::Shape { start, end } => {
            let dims = x()?.shape();
            let reported = &dims[shape_range(dims.len(), *start, *end)];
            // Sizes are at most 2^31.
            Tensor::from_i64(reported.iter().map(|&size| size as i64).collect())
        }
        Op::ConstantOfShape { value, data_type } => {
            let full = Tensor::from_f32(shape.clone(), vec![*value; shape.iter().product()])?;
            if *data_type == DataType::F32 { full } else { elementwise::cast(&full, *data_type)? }
        }
        Op::Range => elementwise::range(x()?, operands.get(2)?, shape)?,
        Op::BipolarQuant => quantisation::bipolar_quant(x()?, operands.get(1)?, shape)?,
        Op::Quant(attributes) => quantisation::quant(attributes, operands, shape)?,
        Op::Trunc { rounding } => quantisation::trunc(*rounding, operands, shape)?,
        Op::MultiThreshold { out_scale, out_bias } => {
            quantisation::multi_threshold(x()?, operands.get(1)?, *out_scale, *out_bias)?
        }
        // Handled above.
        Op::Split { .. } => return Err(Reason("Split has several results".to_owned())),
    };
    Ok(vec![result])
}
