"""Accuracy with its standard error."""

import math
from typing import NamedTuple

import torch

import data


class Accuracy(NamedTuple):
    """How many of how many pictures were named rightly."""

    correct: int
    total: int

    @property
    def fraction(self):
        return self.correct / self.total

    @property
    def standard_error(self):
        """Of the fraction, for pictures drawn independently: sqrt(p (1 - p) / n)."""
        return math.sqrt(self.fraction * (1 - self.fraction) / self.total)

    def __str__(self):
        percent, error = 100 * self.fraction, 100 * self.standard_error
        return f"{percent:.2f} % ({self.correct} of {self.total}; standard error {error:.2f} points)"


@torch.no_grad()
def accuracy(network, pictures, labels, device, batch=250):
    """Top-1 accuracy over a data set, in f32, without augmentation. The network's mode is put back afterwards."""
    was_training = network.training
    network.eval()
    correct = 0
    for start in range(0, len(pictures), batch):
        logits = network(data.normalise(pictures[start : start + batch].to(device)))
        correct += int((logits.argmax(1).cpu() == labels[start : start + batch]).sum())
    network.train(was_training)
    return Accuracy(correct, len(pictures))
