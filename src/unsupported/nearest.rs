//! For operators that have no counterpart: the nearest thing that works.

/// No step makes a map larger.
const LARGER: &str =
    "none: nothing makes a map larger; Conv, pools and Pad work on the map as it is";
/// There is neither control flow nor memory from one image to the next.
const RECURRENT: &str =
    "none: there are no recurrent layers and no control flow; unroll what has a fixed length";
/// Integer arithmetic of ONNX.
const QUANTISED: &str = "float weights with QONNX BipolarQuant or Quant, or weights of two values in \
                         a plain Conv, Gemm or MatMul";
/// Normalisations whose statistics depend on the image.
const STATISTICS: &str = "BatchNormalization, whose statistics are constants";
/// Ranking.
const RANKING: &str =
    "end the network at the scores; ranking them is the caller's, as bnn-run does";
/// Indexing with data or lists.
const INDEXING: &str = "Slice, Split and Concat with constant bounds";
/// Sampling at computed places.
const SAMPLING: &str = "cut it off before the export; resizing, cropping and normalising a picture \
                        are stored with the model instead";
/// Randomness.
const TRAINING: &str = "export the network in evaluation mode, in which nothing is random";
/// Products of two results.
const ATTENTION: &str = "Conv, Gemm and MatMul with constant weights; products of two results only \
                         element by element (Mul)";
/// Binarisations of other tools.
const BINARISATION: &str = "Sign, Where(x >= 0, 1, -1), or QONNX BipolarQuant, before a Conv, Gemm \
                            or MatMul";
/// Everything.
const ANYTHING: &str = "Conv, Gemm and MatMul with constant weights, pools, BatchNormalization, \
                        elementwise arithmetic, Concat, Split, Slice, Pad, Reshape, Transpose, \
                        Softmax";

/// The nearest thing to an operator that is listed here.
pub(crate) fn listed(op: &str) -> Option<&'static str> {
    Some(match op {
        "ConvTranspose" => "Conv; nothing makes a map larger",
        "DeformConv" | "CausalConvWithState" => "Conv",
        "Resize" | "Upsample" | "MaxUnpool" | "Col2Im" | "CenterCropPad" => LARGER,
        "LSTM" | "GRU" | "RNN" | "Scan" | "Loop" | "If" => RECURRENT,
        "ConvInteger"
        | "MatMulInteger"
        | "QLinearConv"
        | "QLinearMatMul"
        | "QGemm"
        | "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear" => QUANTISED,
        "InstanceNormalization"
        | "GroupNormalization"
        | "LayerNormalization"
        | "SimplifiedLayerNormalization"
        | "RMSNormalization"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "LRN" => STATISTICS,
        "Gelu" | "FastGelu" | "BiasGelu" => {
            "x * 0.5 * (1 + Erf(x / sqrt(2))), as operator sets before 20 write it"
        }
        "Mish" => "x * Tanh(Softplus(x))",
        "Swish" | "SiLU" | "QuickGelu" => "x * Sigmoid(x)",
        "HardSwish" => "x * HardSigmoid(x)",
        "Softsign" => "x / (1 + Abs(x))",
        "Elu" | "Selu" | "Celu" | "ThresholdedRelu" | "Shrink" => {
            "Relu, LeakyRelu, PRelu, Clip or Softplus"
        }
        "LpPool" => "AveragePool or MaxPool",
        "GlobalLpPool" => "GlobalAveragePool or GlobalMaxPool",
        "ReduceL1" => "Abs, then ReduceSum",
        "ReduceL2" => "Mul of the tensor with itself, ReduceSum, Sqrt",
        "ReduceSumSquare" => "Mul of the tensor with itself, ReduceSum",
        "ReduceLogSum" => "ReduceSum, then Log",
        "ReduceLogSumExp" => "Exp, ReduceSum, Log",
        "ReduceProd" => "ReduceSum, ReduceMean, ReduceMax or ReduceMin",
        "ArgMax" | "ArgMin" | "TopK" | "Hardmax" | "NonMaxSuppression" => RANKING,
        "DepthToSpace" | "SpaceToDepth" => "Reshape, Transpose, Reshape, which say the same",
        "Tile" | "Expand" => {
            "Concat of the tensor with itself; Add and Mul broadcast by themselves"
        }
        "Gather" | "GatherND" | "GatherElements" | "ScatterND" | "ScatterElements" | "Scatter"
        | "Compress" | "TensorScatter" => INDEXING,
        "Where" => {
            "Where(x >= c, a, b) with constants, which is a binarisation; otherwise Clip, Max or Min"
        }
        "Cast" | "CastLike" => {
            "Cast of a comparison with a constant to float, which is a {0, 1} activation; Round and \
             Floor keep floats"
        }
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Not" | "And" | "Or"
        | "Xor" => "a comparison with a constant, followed by Where between constants or Cast",
        "Shape" | "Size" | "ConstantOfShape" | "Range" | "NonZero" | "Unique" | "OneHot"
        | "EyeLike" => "shapes and lists that are known when the network is converted",
        "GridSample" | "AffineGrid" | "RoiAlign" | "MaxRoiPool" | "ImageDecoder" => SAMPLING,
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike"
        | "Bernoulli" | "Multinomial" => TRAINING,
        "Einsum" => "MatMul or Gemm with constant weights",
        "Attention"
        | "MultiHeadAttention"
        | "RotaryEmbedding"
        | "EmbedLayerNormalization"
        | "SkipLayerNormalization" => ATTENTION,
        "MultiThreshold" => "Where(x >= c, a, b) or BipolarQuant, one threshold at a time",
        "Trunc" => "Quant with the width that is left",
        "BipolarQuant" => "BipolarQuant with one scale, and a Mul behind it",
        "LceQuantize" | "LceBconv2d" | "LceBMaxPool2d" | "LceDequantize" => {
            "the Keras model itself, converted to ONNX; not the file that Larq Compute Engine runs"
        }
        _ => return None,
    })
}

/// The nearest thing to any operator: the one listed, or what its name suggests, or all there is.
pub(crate) fn guessed(domain: &str, op: &str) -> &'static str {
    let lower = op.to_ascii_lowercase();
    let named = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if let Some(found) = listed(op) {
        found
    } else if named(&["binari", "bipolar", "sign", "ste"]) {
        BINARISATION
    } else if named(&["quant", "integer", "int8", "fp8"]) {
        QUANTISED
    } else if named(&["transpose", "upsampl", "resize", "unpool"]) {
        LARGER
    } else if named(&["conv"]) {
        "Conv"
    } else if named(&["pool"]) {
        "MaxPool, AveragePool, GlobalMaxPool or GlobalAveragePool"
    } else if named(&["attention"]) {
        ATTENTION
    } else if named(&["norm"]) {
        STATISTICS
    } else if named(&["reduce"]) {
        "ReduceMean, ReduceSum, ReduceMax or ReduceMin"
    } else if named(&["matmul", "gemm", "linear", "dense"]) {
        "Gemm or MatMul with constant weights"
    } else if named(&["elu", "swish", "softmax", "sigmoid", "tanh"]) {
        "Relu, LeakyRelu, PRelu, Clip, Sigmoid, HardSigmoid, Tanh, Softplus or Softmax"
    } else if named(&["gather", "scatter", "index"]) {
        INDEXING
    } else if named(&["random"]) {
        TRAINING
    } else if named(&["sequence", "optional", "loop", "lstm", "gru"]) {
        RECURRENT
    } else if !matches!(domain, "" | "ai.onnx") {
        "the ONNX operators that it consists of; a binarisation as Sign or Where(x >= 0, 1, -1)"
    } else {
        ANYTHING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_have_a_neighbour_of_their_family() {
        for (domain, op, expected) in [
            ("", "ConvTranspose", "nothing makes a map larger"),
            ("", "LSTM", "no recurrent layers"),
            ("", "InstanceNormalization", "BatchNormalization"),
            ("", "Gelu", "Erf"),
            ("com.microsoft", "FusedConv", "Conv"),
            ("com.microsoft", "QLinearAveragePool", "MaxPool, AveragePool"),
            ("custom", "BinarizeSTE", "BipolarQuant"),
            ("custom", "Frobnicate", "operators that it consists of"),
            ("", "Frobnicate", "elementwise arithmetic"),
        ] {
            let nearest = guessed(domain, op);
            assert!(nearest.contains(expected), "{op}: {nearest}");
        }
        assert_eq!(listed("Frobnicate"), None);
    }
}
