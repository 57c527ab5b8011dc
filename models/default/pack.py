#!/usr/bin/env python3
"""Makes the shipped weights from what the training run left behind.

    pack.py LATENT.safetensors MODEL.onnx -o resnete18-w32-cifar10.safetensors

The run's latent weights were archived with their large tensors rounded to f16. That keeps the sign of every binary
weight, but it also rounded two of the three float 1x1 convolutions of the shortcuts. Their f32 values survive in the
exported ONNX model, there multiplied by the BatchNorm behind them; they are divided out again here, and each must round
to the archived f16 value. (Weights from today's `tools/train/train.py` are f32 and need only `tools/train/pack.py`.)

Needs NumPy, safetensors and onnx.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "train"))
import pack  # noqa: E402

EPSILON = np.float32(1e-5)
METADATA = {
    "name": "resnete18-w32-cifar10",
    "license": "MIT OR Apache-2.0",
    "data": "the 50,000 CIFAR-10 training pictures, recompressed as JPEG",
    "accuracy": "84.7 % of the first 1,000 CIFAR-10 test pictures (standard error 1.1 points)",
    "input": "RGB, 32x32, (pixel / 255 - mean) / std, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
}


def folded_shortcuts(model):
    """Weights of the 1x1 convolutions, BatchNorm folded in, in the order of the graph."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = (constants[node.input[1]] for node in model.graph.node if node.op_type == "Conv")
    return [weight for weight in weights if weight.shape[2:] == (1, 1)]


def restore_shortcuts(latent, folded):
    """Replaces shortcut weights in f16 by the f32 ones they were rounded from."""
    names = [name for name in latent if pack.canonical_name(name).endswith("shortcut.conv.weight")]
    names.sort(key=lambda name: int(pack.canonical_name(name).split(".")[1]))
    if len(names) != len(folded):
        raise pack.PackError(f"{len(names)} shortcut convolutions in the weights, {len(folded)} in the ONNX model")
    for name, weight in zip(names, folded, strict=True):
        if latent[name].dtype != np.float16:
            continue
        norm = name.replace(".d.1.weight", ".d.2")
        gain = latent[f"{norm}.weight"] / np.sqrt(latent[f"{norm}.running_var"] + EPSILON)
        restored = (weight.astype(np.float64) / gain.astype(np.float64)[:, None, None, None]).astype(np.float32)
        if not np.array_equal(restored.astype(np.float16), latent[name]):
            raise pack.PackError(f"tensor {name}: the ONNX model holds other weights")
        latent[name] = restored


def main():
    parser = argparse.ArgumentParser(description="Makes the shipped weights from what the training run left behind.")
    parser.add_argument("latent", type=Path, help="archived latent weights")
    parser.add_argument("onnx", type=Path, help="the exported model")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    latent = load_file(options.latent)
    try:
        restore_shortcuts(latent, folded_shortcuts(onnx.load(options.onnx)))
        pack.write_packed(options.output, latent, METADATA)
    except pack.PackError as error:
        sys.exit(f"error: {options.latent}: {error}")


if __name__ == "__main__":
    main()
