//! The operators of a [`Graph`](super::Graph), with ONNX semantics unless stated otherwise.
//!
//! Everything that ONNX lets be either an attribute or an operand depending on the opset (axes,
//! pads, clip bounds, split sizes) is an operand here where it may be computed in the graph, and an
//! attribute where the importer requires it to be constant.

/// Elementwise functions of one operand.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum UnaryOp {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x < 0 ? alpha * x : x`.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `clamp(alpha * x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * clamp(x / 6 + 1 / 2, 0, 1)`.
    HardSwish,
    /// Hyperbolic tangent.
    Tanh,
    /// `x < 0 ? alpha * (exp(x) - 1) : x`.
    Elu {
        /// Scale of the negative side.
        alpha: f32,
    },
    /// `ln(1 + exp(x))`.
    Softplus,
    /// Gauss error function.
    Erf,
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// `sqrt(x)`.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, halves to even.
    Round,
    /// ONNX `Sign`: -1, 0 or +1.
    Sign,
    /// Logical negation.
    Not,
}

/// Elementwise functions of two operands, with broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`; integers truncate.
    Div,
    /// `a ^ b`.
    Pow,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterOrEqual,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessOrEqual,
    /// `a == b`.
    Equal,
    /// Logical and.
    And,
    /// Logical or.
    Or,
}

/// Geometry of a convolution. Weights are `[out_channels, in_channels / groups, kernel_h, kernel_w]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvAttributes {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Number of groups.
    pub groups: usize,
}

/// Geometry of a pooling window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttributes {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right. Never part of a maximum.
    pub pads: [usize; 4],
    /// Whether the output size is rounded up.
    pub ceil_mode: bool,
    /// Whether padding counts in the divisor of an average.
    pub count_include_pad: bool,
}

/// Which statistic a reduction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceKind {
    /// Arithmetic mean.
    Mean,
    /// Sum.
    Sum,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
}

/// How QONNX operators round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundingMode {
    /// Nearest, halves to even.
    Round,
    /// Up.
    Ceil,
    /// Down.
    Floor,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
    /// Nearest, halves away from zero.
    HalfUp,
    /// Nearest, halves towards zero.
    HalfDown,
}

/// Attributes of QONNX `Quant` / `IntQuant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantAttributes {
    /// Whether the integer range is signed.
    pub signed: bool,
    /// Whether the range leaves out its lowest value.
    pub narrow: bool,
    /// How values are rounded to integers.
    pub rounding: RoundingMode,
}

/// An operator. The comment of each variant lists its operands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// `x`.
    Unary(UnaryOp),
    /// `a, b`.
    Binary(BinaryOp),
    /// `condition, x, y`.
    Where,
    /// `x, weights, bias?`.
    Conv(ConvAttributes),
    /// `a, b, c?`: `alpha * a' b' + beta * c`.
    Gemm {
        /// Factor of the product.
        alpha: f32,
        /// Factor of `c`.
        beta: f32,
        /// Whether `a` is transposed.
        trans_a: bool,
        /// Whether `b` is transposed.
        trans_b: bool,
    },
    /// `a, b`.
    MatMul,
    /// `x, gamma, beta, mean, variance` over axis 1, in inference mode:
    /// `inv = 1 / sqrt(variance + epsilon)`, `a = gamma * inv`, `b = beta - mean * a`, `y = a * x + b`,
    /// each operation rounded to f32.
    BatchNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x, slope`.
    PRelu,
    /// `x, minimum?, maximum?`.
    Clip,
    /// `x`.
    MaxPool(PoolAttributes),
    /// `x`.
    AveragePool(PoolAttributes),
    /// `x`: mean over all dimensions from the third on.
    GlobalAveragePool,
    /// `x`: maximum over all dimensions from the third on.
    GlobalMaxPool,
    /// `x, axes?`; all axes when left out.
    Reduce {
        /// The statistic.
        kind: ReduceKind,
        /// Whether reduced axes stay with length 1.
        keep_dims: bool,
    },
    /// `x`.
    Softmax {
        /// Axis of the classes.
        axis: i64,
    },
    /// `x`.
    LogSoftmax {
        /// Axis of the classes.
        axis: i64,
    },
    /// Any number of operands.
    Concat {
        /// Axis along which they are joined.
        axis: i64,
    },
    /// `x, sizes?`; equal parts when left out.
    Split {
        /// Axis along which it is cut.
        axis: i64,
    },
    /// `x, starts, ends, axes?, steps?`.
    Slice,
    /// `x, pads, value?, axes?`: constant padding; pads as in ONNX (all begins, then all ends).
    Pad,
    /// `x, shape`.
    Reshape {
        /// Whether a 0 in the shape means 0 rather than "as in the input".
        allow_zero: bool,
    },
    /// `x`.
    Flatten {
        /// First axis of the second output dimension.
        axis: i64,
    },
    /// `x`.
    Transpose {
        /// Output axis `i` is input axis `perm[i]`.
        perm: Vec<usize>,
    },
    /// `x, axes?`.
    Squeeze,
    /// `x, axes`.
    Unsqueeze,
    /// `x, shape`.
    Expand,
    /// `x, indices`.
    Gather {
        /// Axis that is indexed.
        axis: i64,
    },
    /// `x`: its shape as integers.
    Shape {
        /// First dimension reported.
        start: i64,
        /// One past the last dimension reported.
        end: Option<i64>,
    },
    /// `x`.
    Cast {
        /// Target element type, after widening.
        to: super::DataType,
    },
    /// `shape`: a tensor full of one value.
    ConstantOfShape {
        /// The value.
        value: f32,
        /// Its element type.
        data_type: super::DataType,
    },
    /// `start, limit, delta`.
    Range,
    /// `x`.
    ArgMax {
        /// Axis that is searched.
        axis: i64,
        /// Whether it stays with length 1.
        keep_dims: bool,
    },
    /// `x`: blocks of channels become blocks of pixels.
    DepthToSpace {
        /// Side of a block.
        block: usize,
        /// Column-row-depth order instead of depth-column-row.
        column_row_depth: bool,
    },
    /// QONNX `BipolarQuant`, `x, scale`: `x >= 0 ? scale : -scale`.
    BipolarQuant,
    /// QONNX `Quant` / `IntQuant`, `x, scale, zero_point, bit_width`.
    Quant(QuantAttributes),
    /// QONNX `Trunc`, `x, scale, zero_point, in_bit_width, out_bit_width`.
    Trunc {
        /// How the cut-off bits are rounded.
        rounding: RoundingMode,
    },
    /// QONNX `MultiThreshold`, `x, thresholds [channels or 1, steps]`:
    /// `out_scale * count(x >= threshold) + out_bias`.
    MultiThreshold {
        /// Factor of the count.
        out_scale: f32,
        /// Added to the scaled count.
        out_bias: f32,
    },
    /// Canonical binarisation that the converter's passes produce; no framework writes it.
    /// `x`: `high` where the comparison with zero holds, else `low`.
    Step {
        /// `true`: `x >= 0`; `false`: `x > 0`.
        at_least: bool,
        /// Value where the comparison fails (also for NaN).
        low: f32,
        /// Value where the comparison holds.
        high: f32,
    },
    /// Canonical two-slope unit (PReLU with a slope on either side, Maxout as AdaBin writes it);
    /// `x, positive slope, negative slope`: `x >= 0 ? positive * x : negative * x`.
    TwoSlope,
}

impl Op {
    /// The name of the operator in ONNX or QONNX, for messages and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unary(op) => op.name(),
            Self::Binary(op) => op.name(),
            Self::Where => "Where",
            Self::Conv(_) => "Conv",
            Self::Gemm { .. } => "Gemm",
            Self::MatMul => "MatMul",
            Self::BatchNormalization { .. } => "BatchNormalization",
            Self::PRelu => "PRelu",
            Self::Clip => "Clip",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool(_) => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::GlobalMaxPool => "GlobalMaxPool",
            Self::Reduce { kind, .. } => match kind {
                ReduceKind::Mean => "ReduceMean",
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Max => "ReduceMax",
                ReduceKind::Min => "ReduceMin",
            },
            Self::Softmax { .. } => "Softmax",
            Self::LogSoftmax { .. } => "LogSoftmax",
            Self::Concat { .. } => "Concat",
            Self::Split { .. } => "Split",
            Self::Slice => "Slice",
            Self::Pad => "Pad",
            Self::Reshape { .. } => "Reshape",
            Self::Flatten { .. } => "Flatten",
            Self::Transpose { .. } => "Transpose",
            Self::Squeeze => "Squeeze",
            Self::Unsqueeze => "Unsqueeze",
            Self::Expand => "Expand",
            Self::Gather { .. } => "Gather",
            Self::Shape { .. } => "Shape",
            Self::Cast { .. } => "Cast",
            Self::ConstantOfShape { .. } => "ConstantOfShape",
            Self::Range => "Range",
            Self::ArgMax { .. } => "ArgMax",
            Self::DepthToSpace { .. } => "DepthToSpace",
            Self::BipolarQuant => "BipolarQuant",
            Self::Quant(_) => "Quant",
            Self::Trunc { .. } => "Trunc",
            Self::MultiThreshold { .. } => "MultiThreshold",
            Self::Step { .. } => "Step",
            Self::TwoSlope => "TwoSlope",
        }
    }
}

impl UnaryOp {
    /// The name of the function in ONNX.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Relu => "Relu",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::Sigmoid => "Sigmoid",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::Tanh => "Tanh",
            Self::Elu { .. } => "Elu",
            Self::Softplus => "Softplus",
            Self::Erf => "Erf",
            Self::Neg => "Neg",
            Self::Abs => "Abs",
            Self::Sqrt => "Sqrt",
            Self::Reciprocal => "Reciprocal",
            Self::Exp => "Exp",
            Self::Log => "Log",
            Self::Floor => "Floor",
            Self::Ceil => "Ceil",
            Self::Round => "Round",
            Self::Sign => "Sign",
            Self::Not => "Not",
        }
    }
}

impl BinaryOp {
    /// The name of the function in ONNX.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Pow => "Pow",
            Self::Min => "Min",
            Self::Max => "Max",
            Self::Greater => "Greater",
            Self::GreaterOrEqual => "GreaterOrEqual",
            Self::Less => "Less",
            Self::LessOrEqual => "LessOrEqual",
            Self::Equal => "Equal",
            Self::And => "And",
            Self::Or => "Or",
        }
    }
}

impl RoundingMode {
    /// The nearest value that the mode allows.
    ///
    /// Half-way cases of [`Self::HalfUp`] and [`Self::HalfDown`] are decided on the exact fraction,
    /// not on `x + 0.5`, which rounds.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Round => x.round_ties_even(),
            Self::Ceil => x.ceil(),
            Self::Floor => x.floor(),
            Self::Up => x.abs().ceil().copysign(x),
            Self::Down => x.trunc(),
            Self::HalfUp => x.round(),
            Self::HalfDown => {
                let whole = x.trunc();
                // Exact: a float and its integer part differ by a float.
                if (x - whole).abs() > 0.5 { whole + 1.0_f32.copysign(x) } else { whole }
            }
        }
    }
}
