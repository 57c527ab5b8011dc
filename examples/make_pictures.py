#!/usr/bin/env python3
"""Paints the pictures of this folder: plain scenes for the default model to name.

    make_pictures.py [FOLDER]

Everything is drawn at four times its size and scaled down, so that edges are smooth. Needs Pillow.
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = 256
SCALE = 4


def mix(a, b, t):
    """Colour between a (t = 0) and b (t = 1)."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b, strict=True))


def gradient(image, top, bottom, start=0.0, end=1.0):
    """Fills the rows between two heights (fractions of the picture) with a vertical gradient."""
    draw = ImageDraw.Draw(image)
    first, last = round(start * image.height), round(end * image.height)
    for y in range(first, last):
        draw.line([(0, y), (image.width, y)], fill=mix(top, bottom, (y - first) / max(last - first - 1, 1)))


class Canvas:
    """Draws in fractions of the picture's side, y downwards."""

    def __init__(self, top, bottom):
        self.image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE))
        gradient(self.image, top, bottom)

    def points(self, points):
        return [(x * SIZE * SCALE, y * SIZE * SCALE) for x, y in points]

    def polygon(self, points, colour):
        ImageDraw.Draw(self.image).polygon(self.points(points), fill=colour)

    def ellipse(self, box, colour):
        ImageDraw.Draw(self.image).ellipse([v * SIZE * SCALE for v in box], fill=colour)

    def line(self, points, colour, width):
        draw = ImageDraw.Draw(self.image)
        draw.line(self.points(points), fill=colour, width=round(width * SIZE * SCALE), joint="curve")

    def blur(self, radius):
        self.image = self.image.filter(ImageFilter.GaussianBlur(radius * SIZE * SCALE))

    def finish(self):
        return self.image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def clouds(canvas, generator, count, low, high):
    """Soft white patches between two heights."""
    for _ in range(count):
        x, y = generator.uniform(0, 1), generator.uniform(low, high)
        for _ in range(7):
            dx, dy = generator.uniform(-0.12, 0.12), generator.uniform(-0.025, 0.025)
            r = generator.uniform(0.02, 0.05)
            canvas.ellipse((x + dx - 2 * r, y + dy - r, x + dx + 2 * r, y + dy + r), (236, 241, 247))
    canvas.blur(0.02)


def airplane():
    """An airliner from the side, climbing to the right."""
    canvas = Canvas((64, 118, 190), (178, 209, 238))
    clouds(canvas, random.Random(3), 5, 0.62, 0.95)
    white, shade, dark, glass = (240, 242, 245), (176, 184, 196), (44, 62, 104), (46, 60, 84)
    # Far wing and tailplane, behind the fuselage.
    canvas.polygon([(0.50, 0.47), (0.60, 0.45), (0.47, 0.30), (0.43, 0.31)], shade)
    canvas.polygon([(0.14, 0.50), (0.20, 0.49), (0.13, 0.43), (0.10, 0.44)], shade)
    # Fin.
    canvas.polygon([(0.12, 0.50), (0.26, 0.47), (0.14, 0.28), (0.07, 0.29)], dark)
    # Fuselage: a tapering tail, a tube, a rounded nose.
    canvas.polygon(
        [(0.06, 0.51), (0.24, 0.455), (0.70, 0.395), (0.82, 0.39), (0.89, 0.41), (0.935, 0.445),
         (0.92, 0.475), (0.86, 0.495), (0.72, 0.52), (0.30, 0.575), (0.16, 0.56)],
        white,
    )
    canvas.polygon(
        [(0.08, 0.525), (0.30, 0.535), (0.72, 0.48), (0.93, 0.455), (0.92, 0.475), (0.86, 0.495),
         (0.72, 0.52), (0.30, 0.575), (0.16, 0.56)],
        shade,
    )
    # Windows and cockpit.
    for step in range(17):
        x = 0.30 + 0.027 * step
        y = 0.497 - 0.1255 * (x - 0.30)
        canvas.ellipse((x - 0.006, y - 0.008, x + 0.006, y + 0.008), glass)
    canvas.polygon([(0.845, 0.413), (0.89, 0.418), (0.91, 0.436), (0.86, 0.438)], glass)
    # Near wing with its engine, near tailplane.
    canvas.polygon([(0.44, 0.53), (0.60, 0.505), (0.38, 0.735), (0.31, 0.745)], (206, 212, 221))
    canvas.polygon([(0.44, 0.53), (0.48, 0.525), (0.335, 0.742), (0.31, 0.745)], shade)
    canvas.ellipse((0.435, 0.585, 0.555, 0.640), dark)
    canvas.ellipse((0.525, 0.588, 0.556, 0.637), (200, 206, 214))
    canvas.polygon([(0.10, 0.535), (0.19, 0.53), (0.09, 0.615), (0.05, 0.615)], (206, 212, 221))
    return canvas.finish()


def ship():
    """A container ship at sea."""
    canvas = Canvas((120, 168, 214), (222, 232, 240))
    clouds(canvas, random.Random(5), 2, 0.06, 0.2)
    gradient(canvas.image, (62, 104, 142), (22, 52, 84), start=0.60)
    generator = random.Random(8)
    for _ in range(170):
        y = generator.uniform(0.61, 1.0)
        x, length = generator.uniform(-0.05, 1.0), generator.uniform(0.02, 0.09)
        canvas.line([(x, y), (x + length, y)], mix((70, 112, 150), (120, 156, 186), generator.random()), 0.003)
    hull, red, white, glass = (38, 42, 58), (150, 44, 40), (238, 240, 242), (40, 56, 78)
    # Containers in three rows on deck.
    colours = [(178, 60, 48), (46, 92, 146), (214, 142, 52), (64, 120, 84), (190, 190, 186)]
    for row in range(3):
        for column in range(8 - row):
            x, y = 0.34 + 0.062 * column, 0.475 - 0.048 * row
            colour = generator.choice(colours)
            canvas.polygon([(x, y), (x + 0.058, y), (x + 0.058, y + 0.045), (x, y + 0.045)], colour)
    # Bridge and funnel.
    canvas.polygon([(0.17, 0.29), (0.29, 0.29), (0.30, 0.53), (0.16, 0.53)], white)
    canvas.polygon([(0.15, 0.27), (0.31, 0.27), (0.31, 0.295), (0.15, 0.295)], white)
    for level in range(4):
        y = 0.315 + 0.045 * level
        canvas.polygon([(0.175, y), (0.288, y), (0.288, y + 0.016), (0.175, y + 0.016)], glass)
    canvas.polygon([(0.19, 0.18), (0.25, 0.18), (0.25, 0.275), (0.19, 0.275)], red)
    canvas.polygon([(0.19, 0.18), (0.25, 0.18), (0.25, 0.2), (0.19, 0.2)], hull)
    canvas.line([(0.86, 0.53), (0.86, 0.36)], white, 0.008)
    # Hull with its waterline.
    canvas.polygon([(0.08, 0.515), (0.94, 0.515), (0.97, 0.485), (0.90, 0.655), (0.12, 0.655)], hull)
    canvas.polygon([(0.105, 0.62), (0.913, 0.62), (0.90, 0.665), (0.13, 0.665)], red)
    # Foam along it.
    for step in range(60):
        x = 0.10 + 0.83 * step / 59
        r = generator.uniform(0.006, 0.013)
        canvas.ellipse((x - 2 * r, 0.668 - r, x + 2 * r, 0.668 + r), (206, 222, 234))
    return canvas.finish()


PICTURES = {"airplane": airplane, "ship": ship}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, paint in PICTURES.items():
        paint().save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
