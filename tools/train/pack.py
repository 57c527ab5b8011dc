#!/usr/bin/env python3
"""Packs trained weights: signs of the binary convolutions as bits, everything else as it is.

    pack.py LATENT.safetensors -o PACKED.safetensors [--metadata KEY=VALUE ...]

The latent weight of a binary convolution, as `blocks.N.conv.weight` [O, I, H, W], becomes `blocks.N.conv.bits`: its
signs (1 for w >= 0, 0 for w < 0) as one dense string in the order O, H, W, I, in little-endian 64-bit words, first bit
lowest, unused bits of the last word 0. Where the network scales the signs, `blocks.N.conv.scale` is their one factor, the
mean magnitude of the latent weights. Which convolutions are binary stands in the metadata that train.py writes. Floats
that f16 holds exactly are stored as f16, all others as f32; vectors per channel have one dimension. BatchNorm's step
counters are left out. The same input gives the same bytes, always.

Needs NumPy and safetensors.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

# Binary convolutions of weights whose metadata does not name them.
BINARY = re.compile(r"(blocks\.\d+\.conv)\.weight")
# Key of the metadata that does: JSON, from the name of each binary convolution to whether its signs are scaled.
BINARY_KEY = "binary_convolutions"
DTYPES = {"uint64": "U64", "float32": "F32", "float16": "F16"}

# The weights of the shipped model were written by an early form of the training script, whose layers had no names but
# their positions: stem 0 (convolution) and 1 (BatchNorm), blocks 3 to 18, classifier 21.
FIRST_BLOCK = 3
POSITIONAL = {
    "sh": "sign.shift",
    "c.weight": "conv.weight",
    "b1": "activation.shift_before",
    "p.weight": "activation.slope",
    "b2": "activation.shift_after",
    "d.1.weight": "shortcut.conv.weight",
}


class PackError(Exception):
    """The weights are not those of the network."""


def canonical_name(name):
    """The name in `network.py` of a tensor that may still be named by position."""
    match = re.fullmatch(r"(\d+)\.(.+)", name)
    if not match:
        return name
    position, rest = int(match[1]), match[2]
    if position == 0:
        return f"stem.conv.{rest}"
    if position == 1:
        return f"stem.norm.{rest}"
    if position == 21:
        return f"classifier.{rest}"
    block = f"blocks.{position - FIRST_BLOCK}"
    if rest in POSITIONAL:
        return f"{block}.{POSITIONAL[rest]}"
    if rest.startswith("b."):
        return f"{block}.norm.{rest[2:]}"
    if rest.startswith("d.2."):
        return f"{block}.shortcut.norm.{rest[4:]}"
    raise PackError(f"tensor {name}: unknown name")


def pack_signs(weight):
    """Signs of a weight [O, I, H, W] as words u64 of a bit string in the order O, H, W, I."""
    bits = (weight.transpose(0, 2, 3, 1) >= 0).ravel()
    padded = np.zeros(-(-bits.size // 64) * 64, dtype=np.uint8)
    padded[: bits.size] = bits
    return np.packbits(padded, bitorder="little").view("<u8")


def smallest_float(values):
    """The same numbers as f16 if that loses nothing, else as f32. Minus zero keeps its sign in both."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.array_equal(half.astype(values.dtype), values):
        return half
    single = values.astype(np.float32)
    if not np.array_equal(single.astype(values.dtype), values):
        raise PackError(f"values of type {values.dtype} do not fit f32")
    return single


def pack(latent, binary=None):
    """Packed tensors by name, from latent ones.

    `binary` says of each binary convolution whether its signs are scaled; None is the default model, whose tensors
    may be named by position.
    """
    packed = {}
    if binary is not None and (missing := [name for name in binary if f"{name}.weight" not in latent]):
        raise PackError(f"tensor {missing[0]}.weight: missing")
    for source, values in latent.items():
        name = canonical_name(source) if binary is None else source
        if name.endswith(".num_batches_tracked"):
            continue
        if not np.issubdtype(values.dtype, np.floating):
            raise PackError(f"tensor {source}: holds {values.dtype}, expected floats")
        if not np.isfinite(values).all():
            raise PackError(f"tensor {source}: holds values that are not finite")
        stem = name.removesuffix(".weight")
        if BINARY.fullmatch(name) if binary is None else name != stem and stem in binary:
            if values.ndim != 4:
                raise PackError(f"tensor {source}: has shape {values.shape}, expected four dimensions")
            packed[f"{stem}.bits"] = pack_signs(values)
            if binary is not None and binary[stem]:
                packed[f"{stem}.scale"] = (
                    np.abs(values).mean(dtype=np.float64, keepdims=True).astype(np.float32).ravel()
                )
        elif values.ndim == 4 and values.shape[0] == 1 and values.shape[2:] == (1, 1):
            packed[name] = smallest_float(values.ravel())
        else:
            packed[name] = smallest_float(values)
    return packed


def write_safetensors(path, tensors, metadata):
    """Writes a safetensors file whose bytes depend on its contents alone (the library's own writer puts metadata in
    random order). Wider elements come first, so that every tensor is aligned to its element."""
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    for name in order:
        values = tensors[name]
        end = offset + values.nbytes
        header[name] = {
            "dtype": DTYPES[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            values = tensors[name]
            file.write(values.astype(values.dtype.newbyteorder("<")).tobytes())


def write_packed(path, latent, metadata, binary=None):
    """Packs latent weights into a file; `binary` as for `pack`."""
    facts = {"format": "packed signs: *.bits are bit strings O,H,W,I in u64 words, first bit lowest, 1 = +1"}
    if binary is None:
        facts["format"] = facts["format"].replace("*.bits", "*.conv.bits")
        facts["architecture"] = "resnet-e18"
    write_safetensors(path, pack(latent, binary), facts | metadata)


def main():
    parser = argparse.ArgumentParser(description="Packs trained weights for the engine.")
    parser.add_argument("latent", type=Path, help="weights as trained, .safetensors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    parser.add_argument("--metadata", nargs="*", default=[], metavar="KEY=VALUE", help="facts to put into the file")
    options = parser.parse_args()
    pairs = [entry.partition("=") for entry in options.metadata]
    if any(not separator for _, separator, _ in pairs):
        parser.error("--metadata takes KEY=VALUE")
    part = options.output.with_name(options.output.name + ".part")
    try:
        with safe_open(options.latent, "numpy") as file:
            stored = (file.metadata() or {}).get(BINARY_KEY)
        facts = {key: value for key, _, value in pairs}
        write_packed(part, load_file(options.latent), facts, None if stored is None else json.loads(stored))
        part.replace(options.output)
    except (PackError, SafetensorError, OSError) as error:
        part.unlink(missing_ok=True)
        sys.exit(f"error: {options.latent}: {error}")


if __name__ == "__main__":
    main()
