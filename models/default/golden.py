#!/usr/bin/env python3
"""What the training framework answers with the shipped weights: the numbers that a test holds the engine to.

    golden.py -o ../tests/default_model.safetensors

`images` u8 [N, 32, 32, 3] are the two example pictures and noise of different kinds, `logits` f32 [N, 10] what PyTorch
makes of them with the network of tools/train.

Needs PyTorch, NumPy, Pillow and safetensors.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train"))
import data  # noqa: E402
from network import ResNetE18  # noqa: E402

WEIGHTS = Path(__file__).with_name("resnete18-full-w32-cifar10.safetensors")
EXAMPLES = ("airplane.png", "ship.png")


def unpacked(packed, shapes):
    """Weights as `network.py` has them, signs as ±1."""
    weights = {}
    for name, values in packed.items():
        if name.endswith(".bits"):
            name = name.removesuffix("bits") + "weight"
            out_channels, in_channels, height, width = shapes[name]
            bits = np.unpackbits(values.view(np.uint8), count=int(np.prod(shapes[name])), bitorder="little")
            signs = bits.reshape(out_channels, height, width, in_channels).transpose(0, 3, 1, 2)
            values = signs.astype(np.float32) * 2 - 1
        weights[name] = torch.from_numpy(values.astype(np.float32).reshape(shapes[name]))
    return weights


def pictures():
    """u8 [N, 32, 32, 3]."""
    generator = np.random.default_rng(0)
    examples = [np.asarray(Image.open(ROOT / "examples" / name).convert("RGB").resize((32, 32))) for name in EXAMPLES]
    fine = generator.integers(0, 256, (2, 32, 32, 3))
    coarse = generator.integers(0, 256, (4, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.concatenate([np.stack(examples), fine, coarse]).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description="Writes pictures and what PyTorch makes of them.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    network = ResNetE18(pooled=False).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(unpacked(load_file(WEIGHTS), shapes), strict=False)
    images = pictures()
    with torch.no_grad():
        logits = network(data.normalise(torch.from_numpy(images)))
    save_file({"images": images, "logits": logits.numpy()}, options.output)


if __name__ == "__main__":
    main()
