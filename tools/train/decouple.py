#!/usr/bin/env python3
"""Takes a coupled BinaryDuo network apart into the binary one that is trained on and deployed.

    decouple.py LATENT.safetensors -o DECOUPLED.safetensors

LATENT is what `train.py --family duo-vgg7-coupled` wrote. The result gives the same answers;
`train.py --family duo-vgg7 --start-from DECOUPLED.safetensors` trains it on.
"""

import argparse
import sys
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

import families
import pack
from weights import load_weights, save_weights


def main():
    parser = argparse.ArgumentParser(description="Takes a coupled BinaryDuo network apart into the binary one.")
    parser.add_argument("latent", type=Path, help="weights of the coupled network, .safetensors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    try:
        # Convolutions have four dimensions; the last one is the classifier.
        shapes = {name: tensor.shape for name, tensor in load_file(options.latent).items() if tensor.dim() == 4}
        *widths, classes = (shapes[name][0] for name in sorted(shapes, key=lambda name: int(name.split(".")[0])))
        if len(widths) != len(families.DuoVgg7.WIDTHS):
            raise pack.PackError(f"{len(widths) + 1} convolutions, expected {len(families.DuoVgg7.WIDTHS) + 1}")
        coupled, decoupled = (families.DuoVgg7(which, widths, classes) for which in (True, False))
        load_weights(coupled, options.latent)
        families.decouple(coupled, decoupled)
        save_weights(decoupled, options.output, {})
    except (pack.PackError, SafetensorError, OSError, ValueError) as error:
        sys.exit(f"error: {options.latent}: {error}")


if __name__ == "__main__":
    main()
