"""The same networks for every engine, with random weights from one seed.

Bi-Real-18 (Liu et al., "Bi-Real Net", ECCV 2018) as an ONNX file of floats, from which bnn-convert
makes its own, and as OpenVINO's BinaryConvolution; ResNet-18 (He et al., CVPR 2016) in f32 and in
8 bits, as what one would take instead of a binary network.

    python networks.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = (64, 128, 256, 512)
CLASSES = 1000
IMAGE = (1, 3, 224, 224)
EPSILON = 1e-5


def images(count=1, seed=3):
    """Made-up inputs, normalised."""
    shape = (count, *IMAGE[1:])
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def kernel(random, outputs, inputs, size):
    """Weights that keep the variance of what passes through (He initialisation)."""
    deviation = np.sqrt(2 / (inputs * size * size))
    return random.normal(0, deviation, (outputs, inputs, size, size)).astype(np.float32)


def signs(random, outputs, inputs, size):
    return np.where(random.random((outputs, inputs, size, size)) < 0.5, -1, 1).astype(np.float32)


def batch_norm(random, channels):
    """Scale and shift of a batch normalisation."""
    scale = random.uniform(0.6, 1.4, channels) / np.sqrt(random.uniform(0.5, 1.5, channels) + EPSILON)
    shift = random.normal(0, 0.2, channels) - random.normal(0, 0.2, channels) * scale
    return scale.astype(np.float32), shift.astype(np.float32)


def folded(weights, norm):
    """A convolution with its batch normalisation: weights and bias."""
    scale, shift = norm
    return weights * scale[:, None, None, None], shift


def bireal18(seed=2):
    """Weights of Bi-Real-18. Batch normalisations behind binary convolutions stay apart."""
    random = np.random.default_rng(seed)
    network = {"stem": folded(kernel(random, 64, 3, 7), batch_norm(random, 64)), "layers": []}
    inputs = 64
    for stage, channels in enumerate(STAGES):
        for index in range(4):
            halves = stage > 0 and index == 0
            weights = signs(random, channels, inputs, 3)
            scale, shift = batch_norm(random, channels)
            # Sums of 9 * inputs signs, brought to the size of the shortcut.
            scale = (scale / np.sqrt(9 * inputs)).astype(np.float32)
            layer = {"weights": weights, "norm": (scale, shift), "stride": 2 if halves else 1}
            if halves:
                down = kernel(random, channels, inputs, 1)
                layer["shortcut"] = folded(down, batch_norm(random, channels))
            network["layers"].append(layer)
            inputs = channels
    network["classifier"] = classifier(random)
    return network


def resnet18(seed=1):
    """Weights of ResNet-18, batch normalisations folded."""
    random = np.random.default_rng(seed)
    network = {"stem": folded(kernel(random, 64, 3, 7), batch_norm(random, 64)), "blocks": []}
    inputs = 64
    for stage, channels in enumerate(STAGES):
        for index in range(2):
            halves = stage > 0 and index == 0
            first = folded(kernel(random, channels, inputs, 3), batch_norm(random, channels))
            second = folded(kernel(random, channels, channels, 3), batch_norm(random, channels))
            block = {"first": first, "second": (second[0] * 0.3, second[1]), "stride": 2 if halves else 1}
            if halves:
                down = kernel(random, channels, inputs, 1)
                block["shortcut"] = folded(down, batch_norm(random, channels))
            network["blocks"].append(block)
            inputs = channels
    network["classifier"] = classifier(random)
    return network


def classifier(random):
    weights = random.normal(0, 0.04, (CLASSES, STAGES[-1])).astype(np.float32)
    return weights, random.normal(0, 0.1, CLASSES).astype(np.float32)


class Onnx:
    """An ONNX graph that grows node by node."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, values):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator, inputs, **attributes):
        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, x, weights, bias, stride):
        size = weights.shape[2]
        inputs = [x, self.constant(weights)] + ([] if bias is None else [self.constant(bias)])
        return self.node("Conv", inputs, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)

    def max_pool(self, x):
        return self.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def head(self, x, weights, bias):
        x = self.node("Flatten", [self.node("GlobalAveragePool", [x])], axis=1)
        return self.node("Gemm", [x, self.constant(weights), self.constant(bias)], transB=1)

    def save(self, path, output):
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, CLASSES])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def write_bireal18_onnx(path):
    network, graph = bireal18(), Onnx()
    x = graph.max_pool(graph.convolution("x", *network["stem"], 2))
    for layer in network["layers"]:
        scale, shift = (values.reshape(1, -1, 1, 1) for values in layer["norm"])
        y = graph.convolution(graph.node("Sign", [x]), layer["weights"], None, layer["stride"])
        y = graph.node("Mul", [y, graph.constant(scale)])
        y = graph.node("Add", [y, graph.constant(shift)])
        if "shortcut" in layer:
            x = graph.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = graph.convolution(x, *layer["shortcut"], 1)
        x = graph.node("Add", [y, x])
    graph.save(path, graph.head(x, *network["classifier"]))


def write_resnet18_onnx(path):
    network, graph = resnet18(), Onnx()
    x = graph.max_pool(graph.node("Relu", [graph.convolution("x", *network["stem"], 2)]))
    for block in network["blocks"]:
        y = graph.node("Relu", [graph.convolution(x, *block["first"], block["stride"])])
        y = graph.convolution(y, *block["second"], 1)
        if "shortcut" in block:
            x = graph.convolution(x, *block["shortcut"], block["stride"])
        x = graph.node("Relu", [graph.node("Add", [y, x])])
    graph.save(path, graph.head(x, *network["classifier"]))


def write_onnxruntime_int8(source, path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Calibration(CalibrationDataReader):
        def __init__(self):
            self.images = iter([{"x": image[None]} for image in images(4, seed=5)])

        def get_next(self):
            return next(self.images, None)

    quantize_static(
        source,
        path,
        Calibration(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def write_openvino_int8(source, path):
    import nncf
    import openvino

    calibration = nncf.Dataset(list(images(8, seed=5)), lambda image: {"x": image[None]})
    model = nncf.quantize(openvino.Core().read_model(source), calibration, subset_size=8)
    openvino.save_model(model, path, compress_to_fp16=False)


def write_bireal18_openvino(path):
    """The form in which OpenVINO runs bits: the sign as FakeQuantize of two levels with outputs 0 and 1
    (with -1 and +1 it answers wrongly and says nothing), weights as u1, zero padding as pad value 0."""
    import openvino
    import openvino.opset1 as opset1
    import openvino.opset13 as opset

    network = bireal18()
    kept = []  # A constant borrows the memory of its array.

    def constant(values):
        return opset.constant(np.asarray(values, np.float32))

    def per_channel(values):
        return constant(values.reshape(1, -1, 1, 1))

    def bits(weights):
        packed = np.packbits((weights > 0).reshape(-1), bitorder="little")
        kept.append(packed)
        shape = openvino.Shape(list(weights.shape))
        return openvino.op.Constant(openvino.Tensor(packed, shape, openvino.Type.u1))

    def sign(x):
        zero, one = (constant(np.full((1, 1, 1, 1), value)) for value in (0, 1))
        return opset.fake_quantize(x, zero, zero, zero, one, 2)

    def convolution(x, weights, bias, stride):
        pad = [weights.shape[2] // 2] * 2
        y = opset.convolution(x, constant(weights), [stride] * 2, pad, pad, [1, 1])
        return opset.add(y, per_channel(bias))

    parameter = opset.parameter(list(IMAGE), openvino.Type.f32, name="x")
    x = convolution(parameter, *network["stem"], 2)
    x = opset.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    for layer in network["layers"]:
        scale, shift = layer["norm"]
        stride = [layer["stride"]] * 2
        weights = bits(layer["weights"])
        y = opset1.binary_convolution(
            sign(x), weights, stride, [1, 1], [1, 1], [1, 1], "xnor-popcount", 0.0
        )
        y = opset.add(opset.multiply(y, per_channel(scale)), per_channel(shift))
        if "shortcut" in layer:
            x = opset.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True)
            x = convolution(x, *layer["shortcut"], 1)
        x = opset.add(y, x)
    x = opset.reduce_mean(x, opset.constant(np.array([2, 3], np.int64)), False)
    weights, bias = network["classifier"]
    x = opset.add(opset.matmul(x, constant(weights), False, True), constant(bias.reshape(1, -1)))
    model = openvino.Model([opset.result(x)], [parameter], "bireal18")
    openvino.save_model(model, path, compress_to_fp16=False)


def write_all(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_bireal18_onnx(folder / "bireal18.onnx")
    write_resnet18_onnx(folder / "resnet18.onnx")
    write_onnxruntime_int8(folder / "resnet18.onnx", folder / "resnet18_int8.onnx")
    write_bireal18_openvino(folder / "bireal18.xml")
    write_openvino_int8(folder / "resnet18.onnx", folder / "resnet18_int8.xml")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
