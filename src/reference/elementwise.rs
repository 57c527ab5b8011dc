//! Functions of one element at a time, with broadcasting.

use super::strided::{Positions, take};
use super::{Operands, Reason};
use crate::graph::{BinaryOp, Data, DataType, Tensor, UnaryOp};
use crate::program::UnaryFunction;

/// The function at `x`. Those that the engine knows are the engine's, to the bit.
fn unary_f32(function: UnaryOp, x: f32) -> f32 {
    let known = match function {
        UnaryOp::Identity => return x,
        UnaryOp::LeakyRelu { alpha } => return if x < 0.0 { alpha * x } else { x },
        UnaryOp::HardSigmoid { alpha, beta } => return clamp(alpha * x + beta, 0.0, 1.0),
        UnaryOp::HardSwish => return x * clamp(x / 6.0 + 0.5, 0.0, 1.0),
        UnaryOp::Elu { alpha } => {
            return if x < 0.0 { alpha * (libm::expf(x) - 1.0) } else { x };
        }
        UnaryOp::Not => return if x == 0.0 { 1.0 } else { 0.0 },
        UnaryOp::Relu => UnaryFunction::Relu,
        UnaryOp::Sigmoid => UnaryFunction::Sigmoid,
        UnaryOp::Tanh => UnaryFunction::Tanh,
        UnaryOp::Softplus => UnaryFunction::Softplus,
        UnaryOp::Erf => UnaryFunction::Erf,
        UnaryOp::Neg => UnaryFunction::Negate,
        UnaryOp::Abs => UnaryFunction::Absolute,
        UnaryOp::Sqrt => UnaryFunction::Sqrt,
        UnaryOp::Reciprocal => UnaryFunction::Reciprocal,
        UnaryOp::Exp => UnaryFunction::Exp,
        UnaryOp::Log => UnaryFunction::Log,
        UnaryOp::Floor => UnaryFunction::Floor,
        UnaryOp::Ceil => UnaryFunction::Ceil,
        UnaryOp::Round => UnaryFunction::Round,
        UnaryOp::Sign => UnaryFunction::Sign,
    };
    known.apply(x)
}

/// `max` first, then `min`, as the engine does it one after the other.
fn clamp(x: f32, minimum: f32, maximum: f32) -> f32 {
    let x = if x > minimum { x } else { minimum };
    if x < maximum { x } else { maximum }
}

pub(super) fn unary(function: UnaryOp, x: &Tensor) -> Result<Tensor, Reason> {
    let unsupported = || {
        Reason(format!(
            "{} is not defined for elements of type {:?}",
            function.name(),
            x.data_type()
        ))
    };
    let data = match (x.data(), function) {
        (data, UnaryOp::Identity) => data.clone(),
        (Data::Bool(values), UnaryOp::Not) => Data::Bool(values.iter().map(|&v| !v).collect()),
        (_, UnaryOp::Not) => return Err(unsupported()),
        (Data::F32(values), _) => {
            Data::F32(values.iter().map(|&v| unary_f32(function, v)).collect())
        }
        (Data::I64(values), _) => {
            let apply: fn(i64) -> Option<i64> = match function {
                UnaryOp::Neg => i64::checked_neg,
                UnaryOp::Abs => i64::checked_abs,
                UnaryOp::Sign => |v| Some(v.signum()),
                UnaryOp::Relu => |v| Some(v.max(0)),
                UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => Some,
                _ => return Err(unsupported()),
            };
            let values: Option<Vec<i64>> = values.iter().map(|&v| apply(v)).collect();
            Data::I64(values.ok_or_else(overflow)?)
        }
        (Data::Bool(_), _) => return Err(unsupported()),
    };
    Ok(Tensor::new(x.shape().to_vec(), data)?)
}

fn overflow() -> Reason {
    Reason("integer overflow or division by zero".to_owned())
}

/// The arithmetic that a binary function does, by what it takes and gives.
enum Arithmetic<T> {
    Value(fn(T, T) -> Option<T>),
    Comparison(fn(&T, &T) -> bool),
}

fn f32_arithmetic(function: BinaryOp) -> Option<Arithmetic<f32>> {
    use Arithmetic::{Comparison, Value};
    Some(match function {
        BinaryOp::Add => Value(|a, b| Some(a + b)),
        BinaryOp::Sub => Value(|a, b| Some(a - b)),
        BinaryOp::Mul => Value(|a, b| Some(a * b)),
        BinaryOp::Div => Value(|a, b| Some(a / b)),
        BinaryOp::Pow => Value(|a, b| Some(libm::powf(a, b))),
        BinaryOp::Min => Value(|a, b| Some(if a < b { a } else { b })),
        BinaryOp::Max => Value(|a, b| Some(if a > b { a } else { b })),
        BinaryOp::Greater => Comparison(f32::gt),
        BinaryOp::GreaterOrEqual => Comparison(f32::ge),
        BinaryOp::Less => Comparison(f32::lt),
        BinaryOp::LessOrEqual => Comparison(f32::le),
        BinaryOp::Equal => Comparison(f32::eq),
        BinaryOp::And | BinaryOp::Or => return None,
    })
}

fn i64_arithmetic(function: BinaryOp) -> Option<Arithmetic<i64>> {
    use Arithmetic::{Comparison, Value};
    Some(match function {
        BinaryOp::Add => Value(i64::checked_add),
        BinaryOp::Sub => Value(i64::checked_sub),
        BinaryOp::Mul => Value(i64::checked_mul),
        BinaryOp::Div => Value(i64::checked_div),
        BinaryOp::Pow => Value(|a, b| u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
        BinaryOp::Min => Value(|a, b| Some(a.min(b))),
        BinaryOp::Max => Value(|a, b| Some(a.max(b))),
        BinaryOp::Greater => Comparison(i64::gt),
        BinaryOp::GreaterOrEqual => Comparison(i64::ge),
        BinaryOp::Less => Comparison(i64::lt),
        BinaryOp::LessOrEqual => Comparison(i64::le),
        BinaryOp::Equal => Comparison(i64::eq),
        BinaryOp::And | BinaryOp::Or => return None,
    })
}

fn bool_arithmetic(function: BinaryOp) -> Option<Arithmetic<bool>> {
    Some(match function {
        BinaryOp::And => Arithmetic::Value(|a, b| Some(a && b)),
        BinaryOp::Or => Arithmetic::Value(|a, b| Some(a || b)),
        BinaryOp::Equal => Arithmetic::Comparison(bool::eq),
        _ => return None,
    })
}

/// Applies the arithmetic to every pair of elements that broadcasting brings together.
fn combine<T: Copy>(
    arithmetic: &Arithmetic<T>,
    pairs: impl Iterator<Item = (T, T)>,
    wrap: fn(Vec<T>) -> Data,
) -> Result<Data, Reason> {
    Ok(match arithmetic {
        Arithmetic::Value(apply) => {
            let values: Option<Vec<T>> = pairs.map(|(a, b)| apply(a, b)).collect();
            wrap(values.ok_or_else(overflow)?)
        }
        Arithmetic::Comparison(holds) => Data::Bool(pairs.map(|(a, b)| holds(&a, &b)).collect()),
    })
}

pub(super) fn binary(
    function: BinaryOp,
    a: &Tensor,
    b: &Tensor,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let unsupported = || {
        Reason(format!(
            "{} is not defined for elements of types {:?} and {:?}",
            function.name(),
            a.data_type(),
            b.data_type()
        ))
    };
    let positions =
        Positions::broadcast(a.shape(), &shape).zip(Positions::broadcast(b.shape(), &shape));
    let data = match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => {
            let arithmetic = f32_arithmetic(function).ok_or_else(unsupported)?;
            combine(&arithmetic, positions.map(|(i, j)| (a[i], b[j])), Data::F32)?
        }
        (Data::I64(a), Data::I64(b)) => {
            let arithmetic = i64_arithmetic(function).ok_or_else(unsupported)?;
            combine(&arithmetic, positions.map(|(i, j)| (a[i], b[j])), Data::I64)?
        }
        (Data::Bool(a), Data::Bool(b)) => {
            let arithmetic = bool_arithmetic(function).ok_or_else(unsupported)?;
            combine(&arithmetic, positions.map(|(i, j)| (a[i], b[j])), Data::Bool)?
        }
        // ONNX allows an integer exponent of a float.
        (Data::F32(_), Data::I64(_)) if function == BinaryOp::Pow => {
            return binary(function, a, &cast(b, DataType::F32)?, shape);
        }
        _ => return Err(unsupported()),
    };
    Ok(Tensor::new(shape, data)?)
}

/// `condition ? x : y`.
pub(super) fn select(
    condition: &Tensor,
    x: &Tensor,
    y: &Tensor,
    shape: Vec<usize>,
) -> Result<Tensor, Reason> {
    let Data::Bool(holds) = condition.data() else {
        return Err(Reason("the condition is not of truth values".to_owned()));
    };
    fn pick<T: Copy>(
        holds: &[bool],
        positions: impl Iterator<Item = ((usize, usize), usize)>,
        x: &[T],
        y: &[T],
    ) -> Vec<T> {
        positions.map(|((c, i), j)| if holds[c] { x[i] } else { y[j] }).collect()
    }
    let positions = Positions::broadcast(condition.shape(), &shape)
        .zip(Positions::broadcast(x.shape(), &shape))
        .zip(Positions::broadcast(y.shape(), &shape));
    let data = match (x.data(), y.data()) {
        (Data::F32(x), Data::F32(y)) => Data::F32(pick(holds, positions, x, y)),
        (Data::I64(x), Data::I64(y)) => Data::I64(pick(holds, positions, x, y)),
        (Data::Bool(x), Data::Bool(y)) => Data::Bool(pick(holds, positions, x, y)),
        _ => {
            return Err(Reason("the two branches have different element types".to_owned()));
        }
    };
    Ok(Tensor::new(shape, data)?)
}

/// `x, minimum?, maximum?`.
pub(super) fn clip(operands: &Operands<'_>) -> Result<Tensor, Reason> {
    let x = operands.get(0)?;
    let present = |index: usize| operands.optional(index).map(|_| index);
    let data = match x.data() {
        Data::F32(values) => {
            let bound = |index| -> Result<Option<f32>, Reason> {
                present(index).map(|index| Ok(operands.f32(index)?[0])).transpose()
            };
            let (minimum, maximum) = (bound(1)?, bound(2)?);
            let apply = |&v: &f32| {
                let v = minimum.map_or(v, |low| if v > low { v } else { low });
                maximum.map_or(v, |high| if v < high { v } else { high })
            };
            Data::F32(values.iter().map(apply).collect())
        }
        Data::I64(values) => {
            let bound = |index| -> Result<Option<i64>, Reason> {
                present(index).map(|index| Ok(operands.i64(index)?[0])).transpose()
            };
            let (minimum, maximum) = (bound(1)?, bound(2)?);
            let apply = |&v: &i64| {
                let v = minimum.map_or(v, |low| v.max(low));
                maximum.map_or(v, |high| v.min(high))
            };
            Data::I64(values.iter().map(apply).collect())
        }
        Data::Bool(_) => return Err(Reason("truth values cannot be clipped".to_owned())),
    };
    Ok(Tensor::new(x.shape().to_vec(), data)?)
}

/// Conversion of elements: floats to integers towards zero and saturating, truth is 1.
pub(super) fn cast(x: &Tensor, to: DataType) -> Result<Tensor, Reason> {
    let data = match (x.data(), to) {
        (Data::F32(values), DataType::I64) => Data::I64(values.iter().map(|&v| v as i64).collect()),
        (Data::F32(values), DataType::Bool) => {
            Data::Bool(values.iter().map(|&v| v != 0.0).collect())
        }
        (Data::I64(values), DataType::F32) => Data::F32(values.iter().map(|&v| v as f32).collect()),
        (Data::I64(values), DataType::Bool) => Data::Bool(values.iter().map(|&v| v != 0).collect()),
        (Data::Bool(values), DataType::F32) => {
            Data::F32(values.iter().map(|&v| f32::from(u8::from(v))).collect())
        }
        (Data::Bool(values), DataType::I64) => {
            Data::I64(values.iter().map(|&v| i64::from(v)).collect())
        }
        (data, _) => data.clone(),
    };
    Ok(Tensor::new(x.shape().to_vec(), data)?)
}

/// Applies a function of an element of `x` and the elements of other tensors that broadcast to it.
fn with_broadcast<const N: usize>(
    x: &Tensor,
    others: [&Tensor; N],
    apply: impl Fn(f32, [f32; N]) -> f32,
) -> Result<Tensor, Reason> {
    let mut data = Vec::with_capacity(x.len());
    let mut positions = others.map(|other| Positions::broadcast(other.shape(), x.shape()));
    let mut slices = [&[][..]; N];
    for (slice, other) in slices.iter_mut().zip(others) {
        *slice = other.f32()?;
    }
    for &v in x.f32()? {
        let mut values = [0.0; N];
        for ((value, positions), slice) in values.iter_mut().zip(&mut positions).zip(slices) {
            // Positions cover the whole of `x`.
            *value = positions.next().map_or(f32::NAN, |at| slice[at]);
        }
        data.push(apply(v, values));
    }
    Ok(Tensor::from_f32(x.shape().to_vec(), data)?)
}

/// `x < 0 ? slope * x : x`.
pub(super) fn prelu(x: &Tensor, slope: &Tensor) -> Result<Tensor, Reason> {
    with_broadcast(x, [slope], |v, [slope]| if v < 0.0 { slope * v } else { v })
}

/// `x >= 0 ? positive * x : negative * x`.
pub(super) fn two_slope(
    x: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
) -> Result<Tensor, Reason> {
    with_broadcast(
        x,
        [positive, negative],
        |v, [positive, negative]| {
            if v >= 0.0 { positive * v } else { negative * v }
        },
    )
}

/// `high` where the comparison with zero holds, else `low`.
pub(super) fn step(x: &Tensor, at_least: bool, low: f32, high: f32) -> Result<Tensor, Reason> {
    let holds = |v: f32| if at_least { v >= 0.0 } else { v > 0.0 };
    let data = x.f32()?.iter().map(|&v| if holds(v) { high } else { low }).collect();
    Ok(Tensor::from_f32(x.shape().to_vec(), data)?)
}

/// `start + i * delta`.
pub(super) fn range(start: &Tensor, delta: &Tensor, shape: Vec<usize>) -> Result<Tensor, Reason> {
    let count = shape.iter().product::<usize>();
    let data = match (start.data(), delta.data()) {
        (Data::I64(start), Data::I64(delta)) => {
            // Counts are at most 2^31.
            let value = |i| delta[0].checked_mul(i as i64)?.checked_add(start[0]);
            let values: Option<Vec<i64>> = (0..count).map(value).collect();
            Data::I64(values.ok_or_else(overflow)?)
        }
        (Data::F32(start), Data::F32(delta)) => {
            Data::F32((0..count).map(|i| start[0] + i as f32 * delta[0]).collect())
        }
        _ => {
            return Err(Reason("the operands have different element types".to_owned()));
        }
    };
    Ok(Tensor::new(shape, data)?)
}

/// The elements of `x`, broadcast to a shape, as floats.
pub(super) fn broadcast_f32(x: &Tensor, shape: &[usize]) -> Result<Vec<f32>, Reason> {
    match take(x.data(), Positions::broadcast(x.shape(), shape)) {
        Data::F32(values) => Ok(values),
        // Bit widths and zero points are sometimes written as integers.
        Data::I64(values) => Ok(values.into_iter().map(|v| v as f32).collect()),
        Data::Bool(_) => Err(Reason("expected numbers, found truth values".to_owned())),
    }
}
