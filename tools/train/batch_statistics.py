#!/usr/bin/env python3
"""Takes the statistics of BatchNorm from other pictures than those of the training.

    batch_statistics.py LATENT.safetensors SET -o FOLDER

Training sees distorted pictures, and maybe compressed ones. Where the network will see others, a thousand of those are
enough to put the statistics right: no label is needed, and no weight changes. FOLDER gets `latent.safetensors` and
`packed.safetensors`, as from train.py.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

import data
import pack
from families import FAMILIES
from weights import load_weights, save_packed, save_weights


@torch.no_grad()
def take_statistics(network, pictures, device, batch=250):
    """Means and variances of every BatchNorm over these pictures as they are, not over the last training steps."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    network.train()
    for step, chosen in enumerate(torch.arange(len(pictures)).tensor_split(math.ceil(len(pictures) / batch))):
        for norm in norms:
            # All batches count alike.
            norm.momentum = 1 / (step + 1)
        network(data.normalise(pictures[chosen].to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def main():
    parser = argparse.ArgumentParser(description="Takes the statistics of BatchNorm from other pictures.")
    parser.add_argument("latent", type=Path, help="weights as trained, .safetensors")
    parser.add_argument("pictures", type=Path, help="folder of class folders, .npz or .safetensors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args()
    try:
        pictures, _ = data.load(options.pictures)
        shapes = {pack.canonical_name(name): tensor.shape for name, tensor in load_file(options.latent).items()}
        if "stem.norm.weight" not in shapes or "classifier.bias" not in shapes:
            raise pack.PackError("tensor stem.norm.weight or classifier.bias: missing")
        with safe_open(options.latent, framework="pt") as file:
            training = {key: value for key, value in (file.metadata() or {}).items() if key == "training"}
        # Weights of the first runs do not say what they are of.
        family = json.loads(training.get("training", "{}")).get("family", "resnete18")
        network = FAMILIES[family](shapes["stem.norm.weight"].numel(), shapes["classifier.bias"].numel())
        load_weights(network, options.latent)
    except (data.DataError, pack.PackError, SafetensorError, OSError) as error:
        sys.exit(f"error: {options.latent}: {error}")
    take_statistics(network, pictures, "cpu")
    options.output.mkdir(parents=True, exist_ok=True)
    save_weights(network, options.output / "latent.safetensors", training)
    save_packed(network, options.output / "packed.safetensors", training)


if __name__ == "__main__":
    main()
