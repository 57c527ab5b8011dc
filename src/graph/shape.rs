//! Shapes of results.

mod rearrange;
mod window;

pub(crate) use rearrange::{axis_index, pad_amounts, reduced_axes, slice_cuts, split_sizes};
pub(crate) use window::pool_output;

use super::{Node, Op, Tensor};
use thiserror::Error;

/// Largest number of elements that a tensor may have.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Most dimensions that a tensor may have. Every value has its shape: without a limit a chain of nodes
/// behind a tensor of many dimensions would take the square of the file's size.
pub const MAX_RANK: usize = 32;

/// Why the shape of a result cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

impl ShapeError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Number of elements of a tensor of the given shape.
///
/// # Errors
/// If there are more than [`MAX_ELEMENTS`], or more than [`MAX_RANK`] dimensions.
pub fn element_count(shape: &[usize]) -> Result<usize, ShapeError> {
    if shape.len() > MAX_RANK {
        let found = shape.len();
        return Err(ShapeError(format!("{found} dimensions, expected at most {MAX_RANK}")));
    }
    shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        // A zero elsewhere must not hide a size that no loop could count to.
        .filter(|&count| count <= MAX_ELEMENTS && shape.iter().all(|&size| size <= MAX_ELEMENTS))
        .ok_or_else(|| ShapeError(format!("shape {shape:?} has more than {MAX_ELEMENTS} elements")))
}

/// The common shape of two operands under NumPy broadcasting.
///
/// # Errors
/// If the shapes do not broadcast.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Result<Vec<usize>, ShapeError> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(ShapeError(format!("shapes {a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

/// Checks that `operand` broadcasts to `target` without changing it.
fn broadcasts_into(operand: &[usize], target: &[usize], what: &str) -> Result<(), ShapeError> {
    if broadcast_shapes(operand, target).is_ok_and(|shape| shape == target) {
        return Ok(());
    }
    Err(ShapeError(format!("{what} of shape {operand:?} does not broadcast into {target:?}")))
}

/// Shapes of the results of a node, given the shapes of its operands and the contents of those that
/// are known. Entries of both lists stand for the operands in order; those of operands that the node
/// leaves out, and entries past the end of a list, do not matter.
///
/// Contents are needed where they decide a shape: axes, pads, split sizes, slice bounds, the shapes
/// given to Reshape, Expand and ConstantOfShape, and the operands of Range.
///
/// # Errors
/// If operands are missing or do not fit the operator, if a shape depends on contents that are not
/// known, or if a result would have more than [`MAX_ELEMENTS`] elements.
pub fn infer_shapes(
    node: &Node,
    shapes: &[Option<&[usize]>],
    constants: &[Option<&Tensor>],
) -> Result<Vec<Vec<usize>>, ShapeError> {
    let infer = || {
        let operands = Operands { node, shapes, constants };
        let results = result_shapes(&operands)?;
        for shape in &results {
            element_count(shape)?;
        }
        if node.outputs.len() > results.len() {
            let (found, most) = (node.outputs.len(), results.len());
            return Err(ShapeError(format!("has {found} results, expected at most {most}")));
        }
        Ok(results)
    };
    infer().map_err(|error: ShapeError| {
        ShapeError(format!("node `{}` ({}): {error}", node.name, node.op.name()))
    })
}

/// What is known about the operands of a node.
struct Operands<'a> {
    node: &'a Node,
    shapes: &'a [Option<&'a [usize]>],
    constants: &'a [Option<&'a Tensor>],
}

impl<'a> Operands<'a> {
    /// The shape of an operand that has to be there.
    fn shape(&self, index: usize, what: &str) -> Result<&'a [usize], ShapeError> {
        self.optional_shape(index, what)?
            .ok_or_else(|| ShapeError(format!("operand {index} ({what}) is missing")))
    }

    /// The shape of an operand, if the node has it.
    fn optional_shape(&self, index: usize, what: &str) -> Result<Option<&'a [usize]>, ShapeError> {
        if self.node.input(index).is_none() {
            return Ok(None);
        }
        match self.shapes.get(index).copied().flatten() {
            Some(shape) => Ok(Some(shape)),
            None => Err(ShapeError(format!("the shape of operand {index} ({what}) is not known"))),
        }
    }

    /// The contents of an operand that has to be there.
    fn constant(&self, index: usize, what: &str) -> Result<&'a Tensor, ShapeError> {
        self.optional_constant(index, what)?
            .ok_or_else(|| ShapeError(format!("operand {index} ({what}) is missing")))
    }

    /// The contents of an operand, if the node has it.
    fn optional_constant(
        &self,
        index: usize,
        what: &str,
    ) -> Result<Option<&'a Tensor>, ShapeError> {
        if self.node.input(index).is_none() {
            return Ok(None);
        }
        match self.constants.get(index).copied().flatten() {
            Some(tensor) => Ok(Some(tensor)),
            None => Err(ShapeError(format!(
                "operand {index} ({what}) is computed from the input; it has to be constant"
            ))),
        }
    }

    /// The contents of an integer operand that has to be there.
    fn integers(&self, index: usize, what: &str) -> Result<&'a [i64], ShapeError> {
        integers(self.constant(index, what)?, what)
    }

    /// The contents of an integer operand, if the node has it.
    fn optional_integers(&self, index: usize, what: &str) -> Result<Option<&'a [i64]>, ShapeError> {
        self.optional_constant(index, what)?.map(|tensor| integers(tensor, what)).transpose()
    }

    /// Checks that a per-channel operand has one entry for each channel.
    fn per_channel(&self, index: usize, channels: usize, what: &str) -> Result<(), ShapeError> {
        match self.optional_shape(index, what)? {
            Some(shape) if shape != [channels] => {
                Err(ShapeError(format!("{what} has shape {shape:?}, expected [{channels}]")))
            }
            _ => Ok(()),
        }
    }
}

/// The elements of a tensor of integers.
pub(crate) fn integers<'a>(tensor: &'a Tensor, what: &str) -> Result<&'a [i64], ShapeError> {
    tensor.i64().map_err(|error| ShapeError(format!("{what}: {error}")))
}

/// The sizes in a shape operand.
fn sizes(values: &[i64], what: &str) -> Result<Vec<usize>, ShapeError> {
    values
        .iter()
        .map(|&size| usize::try_from(size))
        .collect::<Result<_, _>>()
        .map_err(|_| ShapeError(format!("{what} {values:?} has a negative entry")))
}

fn result_shapes(operands: &Operands<'_>) -> Result<Vec<Vec<usize>>, ShapeError> {
    let x = |what| operands.shape(0, what);
    let result = match &operands.node.op {
        Op::Unary(_) | Op::Cast { .. } | Op::Step { .. } => x("x")?.to_vec(),
        Op::Binary(_) => broadcast_shapes(x("a")?, operands.shape(1, "b")?)?,
        Op::Where => {
            let branches = broadcast_shapes(operands.shape(1, "x")?, operands.shape(2, "y")?)?;
            broadcast_shapes(x("condition")?, &branches)?
        }
        Op::Conv(attributes) => {
            let (x, weights) = (x("x")?, operands.shape(1, "weights")?);
            let shape = window::conv_output(attributes, x, weights)?;
            operands.per_channel(2, shape[1], "bias")?;
            shape
        }
        Op::Gemm { trans_a, trans_b, .. } => {
            let (a, b) = (matrix(x("a")?, "a")?, matrix(operands.shape(1, "b")?, "b")?);
            let [rows, inner] = if *trans_a { [a[1], a[0]] } else { a };
            let [inner_b, columns] = if *trans_b { [b[1], b[0]] } else { b };
            if inner != inner_b {
                return Err(ShapeError(format!(
                    "a has {inner} columns and b has {inner_b} rows (after transposition)"
                )));
            }
            let shape = vec![rows, columns];
            if let Some(c) = operands.optional_shape(2, "c")? {
                broadcasts_into(c, &shape, "c")?;
            }
            shape
        }
        Op::MatMul => matmul(x("a")?, operands.shape(1, "b")?)?,
        Op::BatchNormalization { .. } => {
            let x = x("x")?;
            let channels = channels(x)?;
            for (index, what) in ["gamma", "beta", "mean", "variance"].into_iter().enumerate() {
                operands.shape(index + 1, what)?;
                operands.per_channel(index + 1, channels, what)?;
            }
            x.to_vec()
        }
        Op::PRelu => {
            let x = x("x")?;
            broadcasts_into(operands.shape(1, "slope")?, x, "slope")?;
            x.to_vec()
        }
        Op::TwoSlope => {
            let x = x("x")?;
            broadcasts_into(operands.shape(1, "positive slope")?, x, "positive slope")?;
            broadcasts_into(operands.shape(2, "negative slope")?, x, "negative slope")?;
            x.to_vec()
        }
        Op::Clip => {
            for (index, what) in [(1, "minimum"), (2, "maximum")] {
                if let Some(shape) = operands.optional_shape(index, what)? {
                    single(shape, what)?;
                }
            }
            x("x")?.to_vec()
        }
        Op::MaxPool(attributes) => {
            let x = x("x")?;
            pool_output(attributes, x, true)?
        }
        Op::AveragePool(attributes) => {
            let x = x("x")?;
            pool_output(attributes, x, !attributes.count_include_pad)?
        }
        Op::GlobalAveragePool | Op::GlobalMaxPool => {
            let x = x("x")?;
            if x.len() < 3 || x.contains(&0) {
                return Err(ShapeError(format!(
                    "x has shape {x:?}, expected pixels from axis 2 on"
                )));
            }
            x.iter().enumerate().map(|(axis, &size)| if axis < 2 { size } else { 1 }).collect()
        }
        Op::Reduce { keep_dims, .. } => {
            let x = x("x")?;
            let reduced = reduced_axes(operands.optional_integers(1, "axes")?, x.len())?;
            if let Some(axis) = (0..x.len()).find(|&axis| reduced[axis] && x[axis] == 0) {
                return Err(ShapeError(format!("axis {axis} of shape {x:?} is empty")));
            }
            rearrange::without(x, &reduced, *keep_dims)
        }
        Op::ArgMax { axis, keep_dims } => {
            let x = x("x")?;
            let axis = axis_index(*axis, x.len())?;
            if x[axis] == 0 {
                return Err(ShapeError(format!("axis {axis} of shape {x:?} is empty")));
            }
            let reduced: Vec<bool> = (0..x.len()).map(|other| other == axis).collect();
            rearrange::without(x, &reduced, *keep_dims)
        }
        Op::Softmax { axis } | Op::LogSoftmax { axis } => {
            let x = x("x")?;
            axis_index(*axis, x.len())?;
            x.to_vec()
        }
        Op::Concat { axis } => {
            let parts: Vec<&[usize]> = (0..operands.node.inputs.len())
                .map(|index| operands.shape(index, "part"))
                .collect::<Result<_, _>>()?;
            rearrange::concat(&parts, *axis)?
        }
        Op::Split { axis } => {
            let x = x("x")?;
            let given = operands.optional_integers(1, "sizes")?;
            let axis = axis_index(*axis, x.len())?;
            let sizes = split_sizes(given, x[axis], operands.node.outputs.len())?;
            let part = |size| {
                let mut shape = x.to_vec();
                shape[axis] = size;
                shape
            };
            return Ok(sizes.into_iter().map(part).collect());
        }
        Op::Slice => {
            let cuts = slice_cuts(
                x("x")?,
                operands.integers(1, "starts")?,
                operands.integers(2, "ends")?,
                operands.optional_integers(3, "axes")?,
                operands.optional_integers(4, "steps")?,
            )?;
            cuts.into_iter().map(|cut| cut.count).collect()
        }
        Op::Pad => {
            let x = x("x")?;
            let pads = operands.integers(1, "pads")?;
            if let Some(value) = operands.optional_shape(2, "value")? {
                single(value, "value")?;
            }
            let amounts = pad_amounts(pads, operands.optional_integers(3, "axes")?, x.len())?;
            rearrange::padded(x, &amounts)?
        }
        Op::Reshape { allow_zero } => {
            rearrange::reshape(x("x")?, operands.integers(1, "shape")?, *allow_zero)?
        }
        Op::Flatten { axis } => rearrange::flatten(x("x")?, *axis)?,
        Op::Transpose { perm } => rearrange::transpose(x("x")?, perm)?,
        Op::Squeeze => rearrange::squeeze(x("x")?, operands.optional_integers(1, "axes")?)?,
        Op::Unsqueeze => rearrange::unsqueeze(x("x")?, operands.integers(1, "axes")?)?,
        Op::Expand => {
            let shape = sizes(operands.integers(1, "shape")?, "shape")?;
            broadcast_shapes(x("x")?, &shape)?
        }
        Op::Gather { axis } => {
            let (x, indices) = (x("x")?, operands.shape(1, "indices")?);
            let axis = axis_index(*axis, x.len())?;
            [&x[..axis], indices, &x[axis + 1..]].concat()
        }
        Op::Shape { start, end } => {
            let dims = shape_range(x("x")?.len(), *start, *end);
            vec![dims.len()]
        }
        Op::ConstantOfShape { .. } => sizes(operands.integers(0, "shape")?, "shape")?,
        Op::Range => {
            let [start, limit, delta] = [(0, "start"), (1, "limit"), (2, "delta")]
                .map(|(index, what)| operands.constant(index, what));
            vec![range_count(start?, limit?, delta?)?]
        }
        Op::DepthToSpace { block, .. } => rearrange::depth_to_space(x("x")?, *block)?,
        Op::BipolarQuant => broadcast_shapes(x("x")?, operands.shape(1, "scale")?)?,
        Op::Quant(_) => {
            let mut shape = x("x")?.to_vec();
            for (index, what) in [(1, "scale"), (2, "zero point"), (3, "bit width")] {
                shape = broadcast_shapes(&shape, operands.shape(index, what)?)?;
            }
            shape
        }
        Op::Trunc { .. } => {
            let mut shape = x("x")?.to_vec();
            let others =
                [(1, "scale"), (2, "zero point"), (3, "input bit width"), (4, "output bit width")];
            for (index, what) in others {
                shape = broadcast_shapes(&shape, operands.shape(index, what)?)?;
            }
            shape
        }
        Op::MultiThreshold { .. } => {
            let (x, thresholds) = (x("x")?, operands.shape(1, "thresholds")?);
            let rows = matrix(thresholds, "thresholds")?[0];
            if rows != 1 && rows != channels(x)? {
                return Err(ShapeError(format!(
                    "thresholds have shape {thresholds:?}, expected one row or one for each of the \
                     {} channels",
                    channels(x)?
                )));
            }
            x.to_vec()
        }
    };
    Ok(vec![result])
}

/// The dimensions that a Shape operator reports; bounds are clamped as in ONNX.
pub(crate) fn shape_range(rank: usize, start: i64, end: Option<i64>) -> std::ops::Range<usize> {
    // Ranks are small, so they fit into any integer.
    let signed_rank = rank as i64;
    let clamp = |at: i64| {
        let at = if at < 0 { at.saturating_add(signed_rank) } else { at };
        at.clamp(0, signed_rank) as usize
    };
    let start = clamp(start);
    start..clamp(end.unwrap_or(signed_rank)).max(start)
}

/// Number of elements of a Range: `max(ceil((limit - start) / delta), 0)`.
pub(crate) fn range_count(
    start: &Tensor,
    limit: &Tensor,
    delta: &Tensor,
) -> Result<usize, ShapeError> {
    for (tensor, what) in [(start, "start"), (limit, "limit"), (delta, "delta")] {
        single(tensor.shape(), what)?;
    }
    let count = match (start.i64(), limit.i64(), delta.i64()) {
        (Ok(start), Ok(limit), Ok(delta)) => {
            let (span, delta) = (i128::from(limit[0]) - i128::from(start[0]), i128::from(delta[0]));
            if delta == 0 {
                return Err(ShapeError::new("delta is 0"));
            }
            let whole = span / delta + i128::from(span % delta != 0 && (span < 0) == (delta < 0));
            usize::try_from(whole.max(0)).unwrap_or(usize::MAX)
        }
        _ => {
            let float = |tensor: &Tensor| match tensor.f32() {
                Ok(values) => Ok(f64::from(values[0])),
                Err(error) => Err(ShapeError(error.to_string())),
            };
            let (start, limit, delta) = (float(start)?, float(limit)?, float(delta)?);
            let count = ((limit - start) / delta).ceil();
            if !count.is_finite() {
                return Err(ShapeError(format!("from {start} to {limit} by {delta} never ends")));
            }
            // The conversion saturates; the element limit catches what is too large.
            count.max(0.0) as usize
        }
    };
    element_count(&[count])
}

/// Number of channels: the size of axis 1.
fn channels(shape: &[usize]) -> Result<usize, ShapeError> {
    shape
        .get(1)
        .copied()
        .ok_or_else(|| ShapeError(format!("x has shape {shape:?}, expected channels in axis 1")))
}

/// The two sizes of a matrix.
fn matrix(shape: &[usize], what: &str) -> Result<[usize; 2], ShapeError> {
    <[usize; 2]>::try_from(shape)
        .map_err(|_| ShapeError(format!("{what} has shape {shape:?}, expected two dimensions")))
}

/// Checks that an operand has one element.
fn single(shape: &[usize], what: &str) -> Result<(), ShapeError> {
    if shape.iter().all(|&size| size == 1) {
        return Ok(());
    }
    Err(ShapeError(format!("{what} has shape {shape:?}, expected one element")))
}

/// NumPy `matmul`: the last two dimensions are matrices, those before them broadcast; a
/// one-dimensional operand is a row on the left and a column on the right, and its made-up dimension
/// disappears again.
fn matmul(a: &[usize], b: &[usize]) -> Result<Vec<usize>, ShapeError> {
    let mismatch = || ShapeError(format!("shapes {a:?} and {b:?} do not multiply"));
    if a.is_empty() || b.is_empty() {
        return Err(mismatch());
    }
    let (batch_a, rows, inner_a) = match a {
        [inner] => (&a[..0], None, *inner),
        [batch @ .., rows, inner] => (batch, Some(*rows), *inner),
        [] => return Err(mismatch()),
    };
    let (batch_b, inner_b, columns) = match b {
        [inner] => (&b[..0], *inner, None),
        [batch @ .., inner, columns] => (batch, *inner, Some(*columns)),
        [] => return Err(mismatch()),
    };
    if inner_a != inner_b {
        return Err(mismatch());
    }
    let mut shape = broadcast_shapes(batch_a, batch_b).map_err(|_| mismatch())?;
    shape.extend(rows);
    shape.extend(columns);
    Ok(shape)
}
