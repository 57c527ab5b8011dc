#!/usr/bin/env python3
"""A binary network from nothing: draws pictures of shapes and trains a small network to name them.

    python3 examples/pytorch/shapes.py FOLDER

writes into FOLDER the trained weights (shapes.pth), pictures to test with (test.npz, and a few of them
as PNG) and the names of the classes (labels.txt). It takes about a minute and needs PyTorch, NumPy
and Pillow. docs/from-pytorch.md goes on from there, to a C program.
"""

import argparse
import pathlib

import numpy as np
import torch
from torch import nn

LABELS = ["circle", "cross", "square", "triangle"]
SIZE = 32
SEED = 7


class Sign(torch.autograd.Function):
    """-1 below zero and +1 from zero on; behind it gradients pass where |x| <= 1 (BinaryNet, section 1.3)."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * (x.abs() <= 1)


class BinaryConv(nn.Conv2d):
    """A convolution whose weights and inputs are +1 and -1, and whose padding is 0."""

    def forward(self, x):
        return nn.functional.conv2d(
            Sign.apply(x), Sign.apply(self.weight), None, self.stride, self.padding
        )


class Block(nn.Module):
    """Binary convolution and BatchNorm with a shortcut around both (Bi-Real Net, section 3.1)."""

    def __init__(self, channels):
        super().__init__()
        self.conv = BinaryConv(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + self.norm(self.conv(x))


class ShapesNet(nn.Module):
    """Full-precision first, downsampling and last layers; four binary ones in between."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32)
        )
        self.fine = nn.Sequential(Block(32), Block(32))
        self.down = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64)
        )
        self.coarse = nn.Sequential(Block(64), Block(64))
        self.classifier = nn.Linear(64, len(LABELS))

    def forward(self, x):
        x = self.coarse(self.down(self.fine(self.stem(x))))
        return self.classifier(torch.relu(x).mean((2, 3)))


def inside(x, y):
    """Which points lie in each shape, drawn around (0, 0) with a radius of 1: bool [len(LABELS), ...]."""
    shapes = np.stack([
        x**2 + y**2 < 0.8,
        np.minimum(abs(x), abs(y)) < 0.25,
        np.maximum(abs(x), abs(y)) < 0.75,
        np.maximum(abs(x) * 1.732 + y, -y * 2) < 1,
    ])
    return shapes & (np.maximum(abs(x), abs(y)) < 1)


def draw(random, count):
    """`count` pictures u8 [count, SIZE, SIZE, 3] and their classes i64 [count]."""
    labels = random.integers(len(LABELS), size=count)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)

    def one(low, high):
        return random.uniform(low, high, (count, 1, 1)).astype(np.float32)

    # Every shape is turned, resized and moved.
    angle, radius = one(0, 2 * np.pi), one(8, 13)
    x, y = (columns - one(13, 19)) / radius, (rows - one(13, 19)) / radius
    x, y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    shape = inside(x, y)[labels, np.arange(count)][..., None]

    # Two colours that differ, a light that falls from one side, noise.
    back = random.integers(0, 256, (count, 1, 1, 3))
    front = (back + random.integers(70, 187, (count, 1, 1, 3))) % 256
    light = (one(-1, 1) * columns + one(-1, 1) * rows)[..., None]
    noise = random.normal(0, 8, (count, SIZE, SIZE, 3))
    pictures = np.where(shape, front, back) + light + noise
    return pictures.clip(0, 255).astype(np.uint8), labels


def normalised(pictures):
    """What the network is fed: f32 [N, 3, SIZE, SIZE], from -1 to 1."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5


def train(steps, batch=64):
    """A network after `steps` steps of `batch` new pictures each."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    net = ShapesNet().train()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        pictures, labels = draw(random, batch)
        loss = nn.functional.cross_entropy(net(normalised(pictures)), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    return net.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    net = train(arguments.steps)
    pictures, labels = draw(np.random.default_rng(SEED + 1), 256)
    with torch.no_grad():
        correct = (net(normalised(pictures)).argmax(1).numpy() == labels).sum()
    print(f"{correct} of {len(labels)} new pictures named rightly")

    torch.save(net.state_dict(), folder / "shapes.pth")
    np.savez_compressed(folder / "test.npz", images=pictures, labels=labels)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    from PIL import Image

    for index, label in enumerate(LABELS):
        picture = pictures[np.flatnonzero(labels == index)[0]]
        Image.fromarray(picture).save(folder / f"{label}.png")


if __name__ == "__main__":
    main()
