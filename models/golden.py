#!/usr/bin/env python3
"""What the training framework answers with weights of ours: the numbers that tests hold the engine to.

    golden.py PACKED.safetensors -o GOLDEN.safetensors

PACKED is the packed.safetensors of tools/train, or the default model's weights
(default/resnete18-full-w32-cifar10.safetensors; the result is tests/default_model.safetensors). `images` u8 [N, 32, 32, 3] are the two
example pictures and noise of different kinds, `logits` f32 [N, 10] what PyTorch makes of them with the networks of
tools/train.

Needs PyTorch, NumPy, Pillow and safetensors.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "train"))
import data  # noqa: E402
from families import FAMILIES  # noqa: E402

EXAMPLES = ("airplane.png", "ship.png")


def network_of(path, family):
    """The network with the weights of a packed file, signs times their scale."""
    with safe_open(path, "numpy") as file:
        training = (file.metadata() or {}).get("training", "{}")
    training = {"family": family, "width": 32, "classes": 10} | json.loads(training)
    network = FAMILIES[training["family"]](training["width"], training["classes"])
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    packed = load_file(path)
    weights = {}
    for name, values in packed.items():
        if name.endswith(".scale"):
            continue
        if name.endswith(".bits"):
            scale = packed.get(name.removesuffix("bits") + "scale", np.float32(1))
            name = name.removesuffix("bits") + "weight"
            out_channels, in_channels, height, width = shapes[name]
            bits = np.unpackbits(values.view(np.uint8), count=int(np.prod(shapes[name])), bitorder="little")
            signs = bits.reshape(out_channels, height, width, in_channels).transpose(0, 3, 1, 2)
            values = (signs.astype(np.float32) * 2 - 1) * scale
        weights[name] = torch.from_numpy(values.astype(np.float32).reshape(shapes[name]))
    missing = network.load_state_dict(weights, strict=False).missing_keys
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        sys.exit(f"error: {path}: {missing[0]} is missing")
    return network.eval()


def pictures():
    """u8 [N, 32, 32, 3]."""
    generator = np.random.default_rng(0)
    examples = [np.asarray(Image.open(ROOT / "examples" / name).convert("RGB").resize((32, 32))) for name in EXAMPLES]
    fine = generator.integers(0, 256, (2, 32, 32, 3))
    coarse = generator.integers(0, 256, (4, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.concatenate([np.stack(examples), fine, coarse]).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description="Writes pictures and what PyTorch makes of them.")
    parser.add_argument("weights", type=Path, metavar="PACKED", help="packed weights that train.py wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--family",
        choices=FAMILIES,
        default="resnete18-full",
        help="network of 32 channels and ten classes, where the weights do not say (default %(default)s)",
    )
    options = parser.parse_args()
    images = pictures()
    with torch.no_grad():
        logits = network_of(options.weights, options.family)(data.normalise(torch.from_numpy(images)))
    save_file({"images": images, "logits": logits.numpy()}, options.output)


if __name__ == "__main__":
    main()
