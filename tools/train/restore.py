#!/usr/bin/env python3
"""Brings recompressed pictures nearer to what they were before, given some of them in both forms.

    restore.py DAMAGED COMPRESSED LOSSLESS -o restored.npz [--steps 600 --seed 0]

COMPRESSED and LOSSLESS hold the same pictures in the same order. A small network learns on these pairs what compression
did; DAMAGED, a training set of which there is no better copy, is then given to it. Least squares blurs what it cannot
know, and a network that has only seen blurred pictures is as wrong about sharp ones as one that has only seen blocks,
so every picture goes a random part of the way, between a quarter and three quarters. Labels are kept.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import data

BATCH = 64
LEARNING_RATE = 2e-3
# Which parts of the way from the damaged to the restored picture are taken.
NEAREST, FARTHEST = 0.25, 0.75


class Restorer(nn.Module):
    """Pictures f32 [N, 3, H, W] in 0..1 to the same; a residual network of 3x3 convolutions that starts as the identity."""

    def __init__(self, width=32, blocks=4):
        super().__init__()

        def convolution(inputs, outputs):
            return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")

        self.first = convolution(3, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(width, width), nn.ReLU(), convolution(width, width)) for _ in range(blocks)
        )
        self.last = convolution(width, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, pictures):
        x = torch.relu(self.first(pictures - 0.5))
        for block in self.blocks:
            x = x + block(x)
        return pictures + self.last(x)


def _planes(pictures):
    return pictures.permute(0, 3, 1, 2).float() / 255


def learn(compressed, lossless, steps, seed):
    """A restorer trained on pairs of pictures u8 [N, H, W, 3]."""
    torch.manual_seed(seed)
    network = Restorer().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters())
    for step in range(steps):
        part = step / steps
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1, 20 * part + 0.05) * (1 - part)
        chosen = torch.randint(0, len(compressed), (BATCH,))
        # Mirrored or not, but not moved: the blocks of JPEG begin at the picture's corner.
        before, after = (_planes(pictures[chosen]) for pictures in (compressed, lossless))
        if torch.rand(()) < 0.5:
            before, after = before.flip(3), after.flip(3)
        loss = functional.mse_loss(network(before), after)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


@torch.no_grad()
def restore(network, pictures, seed, batch=500):
    """Pictures u8 [N, H, W, 3], each a random part of the way to its restored form."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.empty_like(pictures)
    for start in range(0, len(pictures), batch):
        damaged = _planes(pictures[start : start + batch])
        part = NEAREST + (FARTHEST - NEAREST) * torch.rand(len(damaged), 1, 1, 1, generator=generator)
        restored = torch.lerp(damaged, network(damaged), part)
        out[start : start + batch] = (255 * restored).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return out


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Brings recompressed pictures nearer to what they were before.")
    forms = "folder of class folders, .npz or .safetensors"
    parser.add_argument("damaged", type=Path, help=f"training set to restore: {forms}")
    parser.add_argument("compressed", type=Path, help="pictures that exist in both forms, compressed")
    parser.add_argument("lossless", type=Path, help="the same pictures in the same order, lossless")
    parser.add_argument("-o", "--output", type=Path, required=True, help="training set to write, .npz")
    parser.add_argument("--steps", type=int, default=600, help="of learning (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch on the CPU (default %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        damaged, labels = data.load(options.damaged)
        compressed, lossless = (data.load(path)[0] for path in (options.compressed, options.lossless))
    except (data.DataError, OSError) as error:
        sys.exit(f"error: {error}")
    if compressed.shape != lossless.shape:
        sys.exit(
            f"error: {options.lossless}: pictures have shape {list(lossless.shape)}, "
            f"those of {options.compressed} {list(compressed.shape)}"
        )
    network = learn(compressed, lossless, options.steps, options.seed)
    np.savez(options.output, x=restore(network, damaged, options.seed).numpy(), y=labels.numpy())


if __name__ == "__main__":
    main()
