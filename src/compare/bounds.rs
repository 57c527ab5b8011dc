//! How far two right evaluations of a node may lie apart.
//!
//! A running error analysis. For every element there is a bound on the difference between the
//! interpreter and the engine; a node turns the bounds of its operands into those of its results and
//! adds what its own rounding may contribute. With `u = 2^-24`, half a unit in the last place of 1:
//!
//! | operator | bound of the result |
//! |---|---|
//! | convolution, dense layer | `sum of abs(w) e(x)`, plus `(8 + 4 sqrt(K)) u sum of abs(w x)` for K products, plus what a weight lost when it was stored as one of two values or as f16 |
//! | batch normalisation `a x + b` | `abs(a) e(x) + 4 u (abs(a x) + abs(b))` |
//! | mean, sum | that of the bounds, plus the term of K products |
//! | maximum, and whatever moves elements | that of the bounds |
//! | any other function of elements | largest change at the corners of the bounds, plus `4 u abs(y)` (transcendental: `16 u abs(y)`) |
//! | comparison, sign | the distance of the two values where the comparison lies within the bound, else 0 |
//!
//! Integers below `2^24` are exact: a layer of ±1 with ±1 adds nothing. Rounding errors of a sum behave
//! like a random walk, hence the root of K; the factors leave room of more than ten times of what is seen.

use crate::{
    convert::binary_weights,
    graph::{BinaryOp, Data, DataType, Node, Op, ReduceKind, Tensor, UnaryOp, ValueId},
    reference::{EvaluationError, evaluate_node},
};

/// Half a unit in the last place of 1.
const UNIT: f32 = f32::EPSILON / 2.0;

/// Integers up to here are exact, and so are their sums.
const EXACT: f32 = 16_777_216.0;

/// Functions of more varying operands than this are not looked at: there are none.
const MOST_VARYING: usize = 4;

/// The bounds of an operand, or nothing where it is the same in both evaluations. Of truth values:
/// 1 where they may differ.
pub(super) type Bound = Option<Tensor>;

/// A node with its operands and results in the interpreter.
pub(super) struct Evaluation<'a> {
    pub(super) node: &'a Node,
    pub(super) operands: &'a [Option<&'a Tensor>],
    pub(super) results: &'a [Tensor],
    /// What the weights of a layer lost in the conversion.
    pub(super) weight_loss: Option<&'a Tensor>,
}

impl Evaluation<'_> {
    /// The bounds of the results.
    ///
    /// # Errors
    /// If the node cannot be evaluated on bounds, which have the shapes of its operands.
    pub(super) fn bounds(&self, of: &[Option<&Tensor>]) -> Result<Vec<Bound>, EvaluationError> {
        let moved = of.iter().any(Option::is_some);
        if self.results.iter().any(|y| y.data_type() == DataType::I64) {
            // Indices and shapes: the same in both.
            return Ok(vec![None; self.results.len()]);
        }
        let bounds = match &self.node.op {
            Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Expand
            | Op::Gather { .. }
            | Op::Slice
            | Op::Split { .. }
            | Op::DepthToSpace { .. }
            | Op::MaxPool(_)
            | Op::GlobalMaxPool
            | Op::Unary(UnaryOp::Identity) => return self.on_bounds(&self.node.op, of),
            Op::Reduce { kind: ReduceKind::Max | ReduceKind::Min, keep_dims } => {
                let op = Op::Reduce { kind: ReduceKind::Max, keep_dims: *keep_dims };
                return self.on_bounds(&op, of);
            }
            Op::Pad if !moved => None,
            Op::Pad => {
                let zero = Tensor::scalar(0.0);
                let mut operands = self.operands.to_vec();
                operands[0] = of[0];
                if let Some(value) = operands.get_mut(2) {
                    *value = value.map(|_| &zero);
                }
                self.evaluate(&Op::Pad, &operands)?.pop()
            }
            Op::Concat { .. } if !moved => None,
            Op::Concat { .. } => {
                let zeros: Vec<Option<Tensor>> =
                    self.operands.iter().map(|x| x.map(zeros_like)).collect();
                let operands: Vec<Option<&Tensor>> =
                    of.iter().zip(&zeros).map(|(bound, zeros)| bound.or(zeros.as_ref())).collect();
                self.evaluate(&self.node.op, &operands)?.pop()
            }
            Op::Conv(_) | Op::Gemm { .. } | Op::MatMul => self.layer(of)?,
            Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Sum, .. } => self.sum(of)?,
            Op::BatchNormalization { .. } => self.batch_normalization(of)?,
            Op::Softmax { .. } | Op::LogSoftmax { .. } => self.softmax(of),
            Op::Binary(op) if is_comparison(*op) => self.comparison(of)?,
            Op::Binary(BinaryOp::And | BinaryOp::Or) | Op::Unary(UnaryOp::Not) if moved => {
                // Whichever operand may differ, the result may.
                let masks: Vec<Tensor> = self
                    .operands
                    .iter()
                    .zip(of)
                    .filter_map(|(x, bound)| bound.cloned().or_else(|| x.map(zeros_like)))
                    .collect();
                match masks.as_slice() {
                    [a, b] => self.evaluate(&Op::Binary(BinaryOp::Max), &[Some(a), Some(b)])?.pop(),
                    _ => masks.into_iter().next(),
                }
            }
            Op::Cast { .. } if self.is_truth(0) => of[0].cloned(),
            Op::Cast { to: DataType::Bool } => of[0].zip(self.operands[0]).and_then(|(e, x)| {
                let uncertain = |x: f32, e: f32| f32::from(u8::from(e > 0.0 && x.abs() <= e));
                zip(x, e, uncertain)
            }),
            Op::Where => self.selection(of)?,
            Op::Shape { .. }
            | Op::ConstantOfShape { .. }
            | Op::Range
            | Op::ArgMax { .. }
            | Op::Unary(UnaryOp::Not)
            | Op::Binary(BinaryOp::And | BinaryOp::Or) => None,
            _ => self.elementwise(of)?,
        };
        Ok(vec![bounds.filter(is_positive)])
    }

    /// Applies an operator like that of the node to other operands.
    fn evaluate(
        &self,
        op: &Op,
        operands: &[Option<&Tensor>],
    ) -> Result<Vec<Tensor>, EvaluationError> {
        let present = |(i, x): (usize, &Option<&Tensor>)| x.map(|_| ValueId(i as u32));
        let node = Node {
            name: self.node.name.clone(),
            op: op.clone(),
            inputs: operands.iter().enumerate().map(present).collect(),
            outputs: self.node.outputs.clone(),
        };
        evaluate_node(&node, operands)
    }

    /// The operator applied to the bounds of the first operand.
    fn on_bounds(&self, op: &Op, of: &[Option<&Tensor>]) -> Result<Vec<Bound>, EvaluationError> {
        let Some(bound) = of.first().copied().flatten() else {
            return Ok(vec![None; self.results.len()]);
        };
        let mut operands = self.operands.to_vec();
        operands[0] = Some(bound);
        let results = self.evaluate(op, &operands)?;
        Ok(results.into_iter().map(|bound| Some(bound).filter(is_positive)).collect())
    }

    fn is_truth(&self, operand: usize) -> bool {
        self.operands[operand].is_some_and(|x| x.data_type() == DataType::Bool)
    }

    /// Sums of products.
    fn layer(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        let (Some(x), Some(w)) = (self.operands[0], self.operands[1]) else { return Ok(None) };
        let bias = self.operands.get(2).copied().flatten();
        let products = products(&self.node.op, w);
        let exact = of.iter().all(Option::is_none)
            && self.weight_loss.is_none()
            && largest_integer(x) * largest_integer(w) * products as f32 <= EXACT
            && bias.is_none_or(|bias| largest_integer(bias) <= EXACT)
            && !matches!(self.node.op, Op::Gemm { alpha, beta, .. } if (alpha, beta) != (1.0, 1.0));
        if exact {
            return Ok(None);
        }
        let op = match &self.node.op {
            Op::Gemm { alpha, beta, trans_a, trans_b } => Op::Gemm {
                alpha: alpha.abs(),
                beta: beta.abs(),
                trans_a: *trans_a,
                trans_b: *trans_b,
            },
            other => other.clone(),
        };
        let growth = growth(products);
        let x_bound = with_bound(x, of[0], |x, e| x.abs() * growth + e);
        let w_bound = with_bound(w, of[1].or(self.weight_loss), |w, e| w.abs() + e);
        let bias_bound = bias.and_then(|bias| {
            with_bound(bias, of.get(2).copied().flatten(), |b, e| b.abs() * 4.0 * UNIT + e)
        });
        let mut operands = vec![x_bound.as_ref(), w_bound.as_ref()];
        if bias.is_some() {
            operands.push(bias_bound.as_ref());
        }
        let mut bound = self.evaluate(&op, &operands)?.pop();
        // The products of x with what the weights lost.
        if let Some(loss) = of[1].or(self.weight_loss) {
            let x = with_bound(x, None, |x, _| x.abs());
            let lost = self.evaluate(&op, &[x.as_ref(), Some(loss)])?.pop();
            bound = bound.zip(lost).and_then(|(bound, lost)| zip(&bound, &lost, |a, b| a + b));
        }
        Ok(bound)
    }

    /// Means and sums.
    fn sum(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        let Some(x) = self.operands[0] else { return Ok(None) };
        let terms = x.len() / self.results.first().map_or(1, Tensor::len).max(1);
        let growth = growth(terms);
        let bound = with_bound(x, of[0], |x, e| x.abs() * growth + e);
        let mut operands = self.operands.to_vec();
        operands[0] = bound.as_ref();
        Ok(self.evaluate(&self.node.op, &operands)?.pop())
    }

    fn batch_normalization(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        let Some(x) = self.operands[0] else { return Ok(None) };
        let zeros = zeros_like(x);
        let mut operands = self.operands.to_vec();
        operands[0] = Some(&zeros);
        let offsets = self.evaluate(&self.node.op, &operands)?.pop();
        let rounding = offsets.and_then(|offsets| {
            zip(&self.results[0], &offsets, |y, b| 4.0 * UNIT * ((y - b).abs() + b.abs()))
        });
        let change = self.corners(of)?;
        Ok(match (rounding, change) {
            (Some(rounding), Some(change)) => zip(&rounding, &change, |a, b| a + b),
            (rounding, change) => rounding.or(change),
        })
    }

    /// `p` changes by at most `p (exp(2 e) - 1)` where no exponent changes by more than `e`.
    fn softmax(&self, of: &[Option<&Tensor>]) -> Bound {
        let e = of[0].and_then(|e| e.f32().ok()).unwrap_or_default();
        let e = e.iter().copied().fold(0.0_f32, f32::max);
        let log = matches!(self.node.op, Op::LogSoftmax { .. });
        with_bound(&self.results[0], None, |y, _| {
            let change = if log { 2.0 * e } else { (y * (2.0 * e).exp_m1()).min(1.0) };
            change + 16.0 * UNIT * y.abs()
        })
    }

    /// 1 where a comparison lies within the bounds of its operands.
    fn comparison(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        if of.iter().all(Option::is_none) {
            return Ok(None);
        }
        let bounds: Vec<Option<Tensor>> = self
            .operands
            .iter()
            .zip(of)
            .map(|(x, bound)| bound.cloned().or_else(|| x.map(zeros_like)))
            .collect();
        let bounds: Vec<Option<&Tensor>> = bounds.iter().map(Option::as_ref).collect();
        if self.operands.iter().flatten().any(|x| x.data_type() != DataType::F32) {
            return Ok(None);
        }
        let distance = self.evaluate(&Op::Binary(BinaryOp::Sub), self.operands)?.pop();
        let bound = self.evaluate(&Op::Binary(BinaryOp::Add), &bounds)?.pop();
        let uncertain = |distance: f32, e: f32| f32::from(u8::from(e > 0.0 && distance.abs() <= e));
        Ok(distance.zip(bound).and_then(|(distance, bound)| zip(&distance, &bound, uncertain)))
    }

    /// `Where`: the distance of the two values where the condition is uncertain.
    fn selection(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        let (Some(condition), Some(a), Some(b)) =
            (self.operands[0], self.operands[1], self.operands[2])
        else {
            return Ok(None);
        };
        let bound =
            |operand: usize, x: &Tensor| of[operand].cloned().unwrap_or_else(|| zeros_like(x));
        let (bound_a, bound_b) = (bound(1, a), bound(2, b));
        let kept =
            self.evaluate(&Op::Where, &[Some(condition), Some(&bound_a), Some(&bound_b)])?.pop();
        let Some(uncertain) = of[0] else { return Ok(kept) };
        let [sum, difference] = [BinaryOp::Add, BinaryOp::Sub].map(Op::Binary);
        let bounds = self.evaluate(&sum, &[Some(&bound_a), Some(&bound_b)])?.pop();
        let distance = self.evaluate(&difference, &[Some(a), Some(b)])?.pop();
        let distance = distance.and_then(|d| with_bound(&d, None, |d, _| d.abs()));
        let jump = self.evaluate(&sum, &[bounds.as_ref(), distance.as_ref()])?.pop();
        let jump =
            self.evaluate(&Op::Binary(BinaryOp::Mul), &[Some(uncertain), jump.as_ref()])?.pop();
        Ok(kept.zip(jump).and_then(|(kept, jump)| zip(&kept, &jump, f32::max)))
    }

    /// A function of single elements.
    fn elementwise(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        let result = &self.results[0];
        if result.data_type() != DataType::F32 {
            return Ok(None);
        }
        let change = self.corners(of)?;
        let units = units(&self.node.op);
        let exact = units == 0.0
            || change.is_none()
                && largest_integer(result) <= EXACT
                && self.operands.iter().flatten().all(|x| largest_integer(x) <= EXACT);
        if exact {
            return Ok(change);
        }
        let rounding = |y: f32, e: f32| e + units * UNIT * y.abs();
        Ok(with_bound(result, change.as_ref(), rounding))
    }

    /// The largest change of the result where every operand moves to the end of its bound.
    fn corners(&self, of: &[Option<&Tensor>]) -> Result<Bound, EvaluationError> {
        let varying: Vec<usize> = (0..of.len()).filter(|&i| of[i].is_some()).collect();
        if varying.is_empty() || varying.len() > MOST_VARYING {
            return Ok(None);
        }
        let mut largest: Bound = None;
        for corner in 0..1_usize << varying.len() {
            let mut moved: Vec<Option<Tensor>> = vec![None; of.len()];
            for (position, &operand) in varying.iter().enumerate() {
                let (Some(x), Some(e)) = (self.operands[operand], of[operand]) else { continue };
                let up = corner >> position & 1 == 1;
                moved[operand] = zip(x, e, |x, e| if up { x + e } else { x - e });
            }
            let operands: Vec<Option<&Tensor>> =
                moved.iter().zip(self.operands).map(|(moved, x)| moved.as_ref().or(*x)).collect();
            let Some(there) = self.evaluate(&self.node.op, &operands)?.pop() else { continue };
            let change = zip(&self.results[0], &there, |y, there| match (y - there).abs() {
                change if change.is_nan() && !y.is_nan() => f32::INFINITY,
                change => change,
            });
            largest = match (largest, change) {
                (Some(a), Some(b)) => zip(&a, &b, f32::max),
                (a, b) => a.or(b),
            };
        }
        Ok(largest)
    }
}

/// What a layer's weights lose when they are stored as bits, or as f16.
pub(super) fn weight_loss(op: &Op, weights: &Tensor, f16: bool) -> Option<Tensor> {
    // Filters first, as in a convolution.
    let inputs_first = matches!(op, Op::MatMul | Op::Gemm { trans_b: false, .. });
    let filters_first = if inputs_first { turned(weights)? } else { weights.clone() };
    let (filters, values) = (*filters_first.shape().first()?, filters_first.f32().ok()?);
    let Ok(binary) = binary_weights(values, filters) else {
        let half = |w: f32, _| w.abs() / 2048.0;
        return if f16 { with_bound(weights, None, half) } else { None };
    };
    let per_filter = (values.len() / filters.max(1)).max(1);
    let lost = values.iter().zip(&binary.signs).enumerate().map(|(at, (&w, &sign))| {
        let (scale, centre) = (binary.scales[at / per_filter], binary.centres[at / per_filter]);
        (w - (if sign { scale } else { -scale } + centre)).abs()
    });
    let lost = Tensor::from_f32(filters_first.shape().to_vec(), lost.collect()).ok()?;
    if !is_positive(&lost) {
        return None;
    }
    if inputs_first { turned(&lost) } else { Some(lost) }
}

/// A matrix with rows and columns exchanged.
fn turned(matrix: &Tensor) -> Option<Tensor> {
    let &[rows, columns] = matrix.shape() else { return None };
    let values = matrix.f32().ok()?;
    let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    Tensor::from_f32(vec![columns, rows], turned.map(|at| values[at]).collect()).ok()
}

/// Number of products in one sum.
fn products(op: &Op, weights: &Tensor) -> usize {
    let shape = weights.shape();
    match op {
        Op::Gemm { trans_b: true, .. } => shape.get(1).copied().unwrap_or(1),
        Op::Conv(_) => shape.iter().skip(1).product(),
        _ => shape.iter().rev().nth(1).copied().unwrap_or(1),
    }
}

/// Factor of the sum of magnitudes that a sum of so many terms may be off by.
fn growth(terms: usize) -> f32 {
    UNIT * (8.0 + 4.0 * (terms as f32).sqrt())
}

/// How many units of its result an operator may be off by.
fn units(op: &Op) -> f32 {
    match op {
        Op::Unary(
            UnaryOp::Relu
            | UnaryOp::Neg
            | UnaryOp::Abs
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Sign,
        )
        | Op::Binary(BinaryOp::Min | BinaryOp::Max)
        | Op::Clip
        | Op::Cast { .. }
        | Op::Step { .. }
        | Op::BipolarQuant => 0.0,
        Op::Unary(UnaryOp::LeakyRelu { .. } | UnaryOp::Sqrt | UnaryOp::Reciprocal)
        | Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div)
        | Op::PRelu
        | Op::TwoSlope => 4.0,
        _ => 16.0,
    }
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    matches!(op, Equal | Greater | GreaterOrEqual | Less | LessOrEqual)
}

/// The largest magnitude of a tensor of integers; infinite if there is anything else in it.
fn largest_integer(x: &Tensor) -> f32 {
    match x.data() {
        Data::F32(values) => values.iter().fold(0.0, |largest: f32, &v| {
            if v.fract() == 0.0 { largest.max(v.abs()) } else { f32::INFINITY }
        }),
        Data::I64(_) | Data::Bool(_) => 1.0,
    }
}

fn is_positive(bound: &Tensor) -> bool {
    bound.f32().is_ok_and(|values| values.iter().any(|&e| e != 0.0))
}

fn zeros_like(x: &Tensor) -> Tensor {
    // Only the number of elements could be wrong.
    Tensor::from_f32(x.shape().to_vec(), vec![0.0; x.len()]).unwrap_or(Tensor::scalar(0.0))
}

/// Combines the elements of two float tensors of one shape.
fn zip(a: &Tensor, b: &Tensor, combine: impl Fn(f32, f32) -> f32) -> Option<Tensor> {
    let (values, others) = (a.f32().ok()?, b.f32().ok()?);
    let combined = values.iter().zip(others).map(|(&a, &b)| combine(a, b)).collect();
    Tensor::from_f32(a.shape().to_vec(), combined).ok()
}

/// As [`zip`], with zeros where there is no bound.
fn with_bound(
    x: &Tensor,
    bound: Option<&Tensor>,
    combine: impl Fn(f32, f32) -> f32,
) -> Option<Tensor> {
    match bound {
        Some(bound) => zip(x, bound, combine),
        None => {
            let combined = x.f32().ok()?.iter().map(|&x| combine(x, 0.0)).collect();
            Tensor::from_f32(x.shape().to_vec(), combined).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ConvAttributes;

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap()
    }

    /// The bounds of a node with one result.
    fn bound(op: Op, operands: &[&Tensor], of: &[Option<&Tensor>]) -> Option<Vec<f32>> {
        let node = Node {
            name: "node".to_owned(),
            op,
            inputs: (0..operands.len()).map(|i| Some(ValueId(i as u32))).collect(),
            outputs: vec![ValueId(operands.len() as u32)],
        };
        let operands: Vec<Option<&Tensor>> = operands.iter().copied().map(Some).collect();
        let results = evaluate_node(&node, &operands).unwrap();
        let evaluation =
            Evaluation { node: &node, operands: &operands, results: &results, weight_loss: None };
        let bounds = evaluation.bounds(of).unwrap().pop().unwrap();
        bounds.map(|bound| {
            assert_eq!(bound.shape(), results[0].shape());
            bound.f32().unwrap().to_vec()
        })
    }

    #[test]
    fn integers_add_up_exactly_and_floats_do_not() {
        let x = floats(&[1, 3], &[1.0, -1.0, 1.0]);
        let ones = floats(&[3, 1], &[1.0, 1.0, -1.0]);
        assert_eq!(bound(Op::MatMul, &[&x, &ones], &[None, None]), None);
        let tenths = floats(&[3, 1], &[0.1, 0.1, -0.1]);
        let found = bound(Op::MatMul, &[&x, &tenths], &[None, None]).unwrap();
        assert!(found[0] > 0.3 * UNIT && found[0] < 1e-5, "{found:?}");
        // A bit that turned over moves the sum by its weight twice.
        let flipped = floats(&[1, 3], &[0.0, 2.0, 0.0]);
        assert_eq!(
            bound(Op::MatMul, &[&x, &ones], &[Some(&flipped), None]).unwrap()[0].floor(),
            2.0
        );
    }

    #[test]
    fn comparisons_turn_over_within_the_bound_only() {
        let x = floats(&[1, 4], &[0.5, 1e-6, -1e-6, 0.0]);
        let e = floats(&[1, 4], &[1e-5, 1e-5, 1e-7, 0.0]);
        let step = Op::Step { at_least: true, low: -0.5, high: 1.5 };
        assert_eq!(bound(step.clone(), &[&x], &[Some(&e)]).unwrap(), [0.0, 2.0, 0.0, 0.0]);
        assert_eq!(bound(step, &[&x], &[None]), None);
        let zero = Tensor::scalar(0.0);
        let at_least = Op::Binary(BinaryOp::GreaterOrEqual);
        let mask = bound(at_least, &[&x, &zero], &[Some(&e), None]).unwrap();
        assert_eq!(mask, [0.0, 1.0, 0.0, 0.0]);
        let condition = Tensor::new(vec![1, 4], Data::Bool(vec![true, true, false, true])).unwrap();
        let (high, low) = (Tensor::scalar(1.0), Tensor::scalar(-1.0));
        let mask = floats(&[1, 4], &mask);
        let found = bound(Op::Where, &[&condition, &high, &low], &[Some(&mask), None, None]);
        assert_eq!(found.unwrap(), [0.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn bounds_move_with_their_elements() {
        let x = floats(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let e = floats(&[1, 2, 1, 2], &[0.1, 0.0, 0.0, 0.4]);
        let turned = Op::Transpose { perm: vec![0, 2, 3, 1] };
        assert_eq!(bound(turned, &[&x], &[Some(&e)]).unwrap(), [0.1, 0.0, 0.0, 0.4]);
        assert_eq!(bound(Op::GlobalMaxPool, &[&x], &[Some(&e)]).unwrap(), [0.1, 0.4]);
        let pads = Tensor::from_i64(vec![0, 0, 0, 1, 0, 0, 0, 0]);
        let seven = Tensor::scalar(7.0);
        let padded = bound(Op::Pad, &[&x, &pads, &seven], &[Some(&e), None, None]).unwrap();
        assert_eq!(padded, [0.0, 0.1, 0.0, 0.0, 0.0, 0.4]);
        let joined = bound(Op::Concat { axis: 1 }, &[&x, &x], &[None, Some(&e)]).unwrap();
        assert_eq!(joined[..5], [0.0, 0.0, 0.0, 0.0, 0.1]);
    }

    #[test]
    fn products_of_two_moving_values_reach_the_corners() {
        let (a, b) = (floats(&[1, 1], &[1.0]), floats(&[1, 1], &[-1.0]));
        let two = floats(&[1, 1], &[2.0]);
        let found = bound(Op::Binary(BinaryOp::Mul), &[&a, &b], &[Some(&two), Some(&two)]);
        // (1 + 2) (-1 - 2) = -9 is 8 away from -1.
        assert_eq!(found.unwrap()[0].floor(), 8.0);
    }

    #[test]
    fn what_weights_lose_is_known() {
        let conv = Op::Conv(ConvAttributes {
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            groups: 1,
        });
        let exact = floats(&[2, 2, 1, 1], &[0.5, -0.5, 3.0, -3.0]);
        assert_eq!(weight_loss(&conv, &exact, false), None);
        assert_eq!(weight_loss(&conv, &exact, true), None, "bits are not rounded to f16");
        // The residue of a straight-through estimator, in the second filter.
        let residue = floats(&[2, 3, 1, 1], &[1.0, -1.0, 1.0, 1.0, -1.0, 1.000_001]);
        let lost = weight_loss(&conv, &residue, false).unwrap();
        assert_eq!(lost.shape(), residue.shape());
        assert!(lost.f32().unwrap()[5] > 9e-7 && lost.f32().unwrap()[..5] == [0.0; 5]);
        let turned_over = turned(&residue.reshaped(vec![2, 3]).unwrap()).unwrap();
        let lost = weight_loss(&Op::MatMul, &turned_over, false).unwrap();
        assert_eq!(lost.shape(), [3, 2]);
        assert!(lost.f32().unwrap()[5] > 9e-7);
        let float = floats(&[1, 3, 1, 1], &[0.1, 0.2, 0.3]);
        assert_eq!(weight_loss(&conv, &float, false), None);
        assert!(weight_loss(&conv, &float, true).unwrap().f32().unwrap()[2] > 1e-4);
    }
}
