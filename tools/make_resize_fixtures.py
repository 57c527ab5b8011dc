#!/usr/bin/env python3
"""Writes tests/data/resize.json: what Pillow makes of small pictures of our own.

    pip install pillow==13.0.0
    python3 tools/make_resize_fixtures.py

Each case names the seed and the size of a picture that the test generates itself, and holds the
resized pixels in hexadecimal. The pictures mix a gradient, hard edges and noise, so that rounding,
overshooting and clamping all take place.
"""

import json
import pathlib

import PIL
from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

# Width and height before and after: shrinking, growing, either axis alone, none, one pixel, odd
# ratios, and both orders of the two passes.
SIZES = [
    ((34, 40), (10, 10)),
    ((34, 40), (30, 30)),
    ((40, 34), (30, 30)),
    ((12, 9), (12, 9)),
    ((12, 9), (5, 9)),
    ((12, 9), (12, 4)),
    ((7, 5), (16, 11)),
    ((5, 30), (9, 7)),
    ((30, 5), (7, 9)),
    ((1, 1), (3, 2)),
    ((50, 1), (3, 4)),
    ((1, 50), (3, 4)),
    ((64, 48), (1, 1)),
    ((97, 61), (13, 8)),
]


def picture(seed, width, height):
    """The bytes of an RGB picture; tests/vision_resize.rs has the same generator."""
    state = seed
    data = bytearray()
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                state = (state * 1103515245 + 12345) % 2**31
                noise = state >> 16 & 0x3F
                edge = 255 if (x // 4 + y // 3 + channel) % 2 else 0
                ramp = (x * 7 + y * 5 + channel * 40) % 256
                value = (edge, ramp, (ramp + noise) % 256)[(x + y) // 5 % 3]
                data.append(value)
    return bytes(data)


def main():
    cases = []
    for seed, (size, target) in enumerate(SIZES, start=1):
        image = Image.frombytes("RGB", size, picture(seed, *size))
        for name, resample in FILTERS.items():
            resized = image.resize(target, resample)
            cases.append(
                {
                    "seed": seed,
                    "from": size,
                    "to": target,
                    "filter": name,
                    "pixels": resized.tobytes().hex(),
                }
            )
    fixture = {
        "about": f"made by tools/make_resize_fixtures.py with Pillow {PIL.__version__}",
        "gray": Image.frombytes("RGB", (16, 4), picture(99, 16, 4)).convert("L").tobytes().hex(),
        "cases": cases,
    }
    path = pathlib.Path(__file__).parent.parent / "tests/data/resize.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
