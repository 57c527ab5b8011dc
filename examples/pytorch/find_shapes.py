#!/usr/bin/env python3
"""A binary detector from nothing: draws pictures with several shapes and trains a small network to find them.

    python3 examples/pytorch/find_shapes.py FOLDER

writes into FOLDER the network as ONNX (find_shapes.onnx) and as weights (find_shapes.pth), the names of the classes
(labels.txt), how a row of the output becomes a box (boxes.json), pictures of several sizes, and what is on them
(truth.json). It takes about a quarter of an hour and needs PyTorch, NumPy, ONNX, onnxruntime and Pillow; `--steps 300` is
enough to see it work. examples/detector has the files of a whole run, and goes on from there.

The detector is a small SSD (Liu et al., "SSD: Single Shot MultiBox Detector", 2016). At each place of two maps lie
anchors, boxes of fixed shapes, and for each anchor the network gives one row

    score of the background, score of every class, dx, dy, dw, dh

where the last four move and resize the anchor. Rows are ordered by map, row, column and shape of the anchor.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from shapes import LABELS, SEED, Block, inside, normalised
from torch import nn
from torch.nn import functional

SIZE = 128
# The maps that are searched, the finer one first. `step` is the distance of their places in pixels of the input,
# `shapes` the heights and widths of the anchors there.
MAPS = [
    {"size": [16, 16], "step": [8, 8], "shapes": [[17, 17], [26, 26], [20, 30], [30, 20]]},
    {"size": [8, 8], "step": [16, 16], "shapes": [[38, 38], [56, 56], [36, 50], [50, 36]]},
]
VARIANCES = [0.1, 0.1, 0.2, 0.2]
SCORE_THRESHOLD = 0.01
# Of two boxes of one class that overlap by more than this, only the likelier one is kept.
OVERLAP_THRESHOLD = 0.45
# Boxes of a picture that are compared with one another, those of the highest probabilities, and that are kept at most.
CANDIDATES, BOXES = 400, 100
# A box that overlaps by more than this with what is there was right, in training and in the evaluation.
RIGHT = 0.5


def down(in_channels, out_channels):
    """Half the height and width, in full precision."""
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
    )


class Head(nn.Module):
    """The rows of all anchors of a map, in full precision."""

    def __init__(self, channels, anchors):
        super().__init__()
        self.values = 1 + len(LABELS) + 4
        self.prelu = nn.PReLU(channels)
        self.conv = nn.Conv2d(channels, anchors * self.values, 1)

    def forward(self, x):
        return self.conv(self.prelu(x)).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)


class FindShapesNet(nn.Module):
    """Pictures f32 [N, 3, SIZE, SIZE] to rows f32 [N, anchors, 1 + classes + 4]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
        )
        self.fine = Block(32)
        self.middle = nn.Sequential(down(32, 48), Block(48), Block(48))
        self.coarse = nn.Sequential(down(48, 48), Block(48))
        self.middle_head = Head(48, len(MAPS[0]["shapes"]))
        self.coarse_head = Head(48, len(MAPS[1]["shapes"]))

    def forward(self, x):
        middle = self.middle(self.fine(self.stem(x)))
        coarse = self.coarse(middle)
        return torch.cat([self.middle_head(middle), self.coarse_head(coarse)], dim=1)


def anchors():
    """Centre and size of every anchor in pixels, f32 [anchors, 4]: x, y, width, height."""
    boxes = []
    for place in MAPS:
        rows, columns = np.mgrid[: place["size"][0], : place["size"][1]] + 0.5
        for height, width in place["shapes"]:
            x, y = columns * place["step"][1], rows * place["step"][0]
            boxes.append(np.stack([x, y, np.full_like(x, width), np.full_like(x, height)], axis=2))
        # Shapes change fastest.
        boxes[-len(place["shapes"]) :] = [np.stack(boxes[-len(place["shapes"]) :], axis=2).reshape(-1, 4)]
    return np.concatenate(boxes).astype(np.float32)


# --- Pictures


def background(random, size):
    """f32 [size, size, 3]: a colour, often with a slope, clouds, stripes or a second colour beside it."""

    def colours(low, high):
        return random.uniform(low, high, 3).astype(np.float32)

    columns = np.arange(size, dtype=np.float32) / size
    rows = columns[:, None]
    picture = colours(20, 235) + rows[..., None] * colours(-50, 50) + columns[..., None] * colours(-50, 50)
    angle = random.uniform(0, 2 * np.pi)
    along = np.float32(np.cos(angle)) * (columns - 0.5) + np.float32(np.sin(angle)) * (rows - 0.5)
    kind = random.integers(4)
    if kind == 1:
        cells = random.normal(0, random.uniform(5, 30), (1, 3, *random.integers(3, 17, 2))).astype(np.float32)
        clouds = functional.interpolate(torch.from_numpy(cells), (size, size), mode="bilinear")
        picture += clouds[0].permute(1, 2, 0).numpy()
    elif kind == 2:
        stripes = np.sin(along * np.float32(random.uniform(15, 90)) + np.float32(random.uniform(0, 6)))
        picture += np.float32(random.uniform(5, 20)) * stripes[..., None]
    elif kind == 3:
        picture[along > random.uniform(-0.3, 0.3)] += colours(-90, 90)
    return picture


def overlap(first, second):
    """Area of the intersection by that of the union, of boxes [..., 4] as left, top, right, bottom. Arrays or tensors."""
    library = torch if isinstance(first, torch.Tensor) else np
    width = library.minimum(first[..., 2], second[..., 2]) - library.maximum(first[..., 0], second[..., 0])
    height = library.minimum(first[..., 3], second[..., 3]) - library.maximum(first[..., 1], second[..., 1])
    common = width.clip(0) * height.clip(0)

    def area(boxes):
        return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])

    return common / (area(first) + area(second) - common)


def draw_one(random, size=SIZE):
    """One picture u8 [size, size, 3] with one to six shapes, their boxes f32 [N, 4] (left, top, right, bottom, in pixels)
    and classes i64 [N]."""
    picture = background(random, size)
    boxes, classes = [], []
    for _ in range(random.integers(1, 7)):
        # Small ones are as frequent as large ones; a shape is a little wider or narrower than tall.
        radius = size / 2 * np.exp(random.uniform(np.log(0.14), np.log(0.5)))
        stretch = np.exp(random.uniform(-0.25, 0.25))
        centre = random.uniform(radius * 0.8, size - radius * 0.8, 2)
        top, left = np.maximum((centre - radius * 1.3).astype(int), 0)
        bottom, right = np.minimum((centre + radius * 1.3).astype(int), size)
        x = ((np.arange(left, right) - centre[1]) / (radius * stretch)).astype(np.float32)
        y = ((np.arange(top, bottom) - centre[0]) / (radius / stretch)).astype(np.float32)[:, None]
        angle = random.uniform(0, 2 * np.pi)
        sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
        x, y = cosine * x + sine * y, cosine * y - sine * x
        kind = random.integers(len(LABELS))
        shape = inside(x, y)[kind]
        down_rows, across = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
        box = np.array([left + across[0], top + down_rows[0], left + across[-1] + 1, top + down_rows[-1] + 1], np.float32)
        if boxes and overlap(np.stack(boxes), box).max() > 0.1:
            continue
        here = picture[top:bottom, left:right]
        around = here.mean((0, 1))
        colour = random.uniform(0, 255, 3)
        # One that cannot be told from what is behind it would be no fair question.
        if abs(colour - around).max() < 60:
            colour = (around + random.choice([-1, 1]) * random.uniform(60, 120, 3)) % 256
        here[shape] = colour + 0.2 * (here[shape] - around)
        boxes.append(box)
        classes.append(kind)
    picture += np.float32(random.uniform(1, 8)) * random.standard_normal(picture.shape, np.float32)
    return picture.clip(0, 255).astype(np.uint8), np.stack(boxes), np.array(classes)


def draw(random, count):
    """Pictures u8 [count, SIZE, SIZE, 3], and for each its boxes and its classes."""
    pictures, boxes, classes = zip(*(draw_one(random) for _ in range(count)), strict=True)
    return np.stack(pictures), boxes, classes


# --- Training


def corners(boxes):
    """Boxes as centre and size to left, top, right, bottom. Arrays or tensors."""
    library = torch if isinstance(boxes, torch.Tensor) else np
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return library.concatenate([centre - half, centre + half], -1)


def targets(anchor_boxes, boxes, classes):
    """What every anchor should say: classes i64 [N, anchors], 0 for the background, and moves f32 [N, anchors, 4].

    An anchor stands for the shape that it overlaps most, if by more than half, and for every shape the anchor that
    overlaps it most stands for it in any case.
    """
    count, most = len(boxes), max(len(one) for one in boxes)
    # Pictures with fewer shapes get empty boxes far outside.
    truth = torch.full((count, most, 4), -1e4)
    truth[..., 2:] += 1
    kinds = torch.zeros(count, most, dtype=torch.long)
    for row, (one, its_classes) in enumerate(zip(boxes, classes, strict=True)):
        truth[row, : len(one)] = torch.from_numpy(one)
        kinds[row, : len(one)] = torch.from_numpy(its_classes) + 1
    overlaps = overlap(corners(anchor_boxes)[None, :, None], truth[:, None])
    best, chosen = overlaps.max(2)
    best_anchor = overlaps.argmax(1)
    for index in range(most):
        real = kinds[:, index] > 0
        rows = torch.arange(count)[real]
        best[rows, best_anchor[real, index]] = 1
        chosen[rows, best_anchor[real, index]] = index
    kind = torch.where(best > RIGHT, kinds.gather(1, chosen), 0)
    truth = truth.gather(1, chosen[..., None].expand(-1, -1, 4))
    centre, size = (truth[..., :2] + truth[..., 2:]) / 2, truth[..., 2:] - truth[..., :2]
    moves = torch.cat([(centre - anchor_boxes[:, :2]) / anchor_boxes[:, 2:], (size / anchor_boxes[:, 2:]).log()], 2)
    return kind, moves / torch.tensor(VARIANCES)


def detection_loss(rows, kind, moves):
    """SSD's: cross-entropy over the anchors that stand for a shape and the three times as many others that were
    mistaken worst, and smooth L1 of the moves; both for each anchor that stands for a shape."""
    is_shape = kind > 0
    entropy = functional.cross_entropy(rows[..., :-4].transpose(1, 2), kind, reduction="none")
    mistaken = entropy.detach().masked_fill(is_shape, -1)
    rank = mistaken.argsort(1, descending=True).argsort(1)
    hard = rank < 3 * is_shape.sum(1, keepdim=True)
    distance = functional.smooth_l1_loss(rows[..., -4:][is_shape], moves[is_shape], reduction="sum")
    return (entropy[is_shape | hard].sum() + distance) / is_shape.sum().clamp(min=1)


def train(steps, batch=16):
    """A network after `steps` steps of `batch` new pictures each."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    net = FindShapesNet().train()
    anchor_boxes = torch.from_numpy(anchors())
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    mean = 0.0
    for step in range(steps):
        pictures, boxes, classes = draw(random, batch)
        loss = detection_loss(net(normalised(pictures)), *targets(anchor_boxes, boxes, classes))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        mean += loss.item() / 100
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {mean:.3f}", flush=True)
            mean = 0.0
    return net.eval()


# --- From rows to boxes, and how good they are


def decode(rows):
    """Boxes of one picture from its rows f32 [anchors, 1 + classes + 4], the likeliest first: boxes f32 [N, 4] (left, top,
    right, bottom, in pixels of the input), classes i64 [N], probabilities f32 [N].

    This is what boxes.json asks for, in its plainest form.
    """
    scores = np.exp(rows[:, :-4] - rows[:, :-4].max(1, keepdims=True))
    scores = (scores / scores.sum(1, keepdims=True))[:, 1:]
    anchor_boxes = anchors()
    moves = rows[:, -4:] * np.array(VARIANCES, np.float32)
    centre = moves[:, :2] * anchor_boxes[:, 2:] + anchor_boxes[:, :2]
    boxes = corners(np.concatenate([centre, np.exp(moves[:, 2:]) * anchor_boxes[:, 2:]], 1))
    # Of equal probabilities the lower class comes first, then the earlier anchor.
    order = np.argsort(-scores.T.ravel(), kind="stable")[:CANDIDATES]
    kept = []
    for kind, anchor in zip(*np.unravel_index(order, scores.T.shape), strict=True):
        if len(kept) == BOXES or not scores[anchor, kind] > SCORE_THRESHOLD:
            break
        rivals = [other for other_kind, other in kept if other_kind == kind]
        if not rivals or overlap(boxes[rivals], boxes[anchor]).max() <= OVERLAP_THRESHOLD:
            kept.append((kind, anchor))
    classes, index = np.array(kept, int).reshape(-1, 2).T
    return boxes[index], classes, scores[index, classes]


def judge(found, truth):
    """For every class: probabilities of the boxes that were found, whether each was right, and the number of shapes.

    A box is right if it overlaps by more than half with a shape of its class that no likelier box has found.
    """
    results = []
    for kind in range(len(LABELS)):
        scores, right, shapes = [], [], 0
        for (boxes, classes, probabilities), (true_boxes, true_classes) in zip(found, truth, strict=True):
            open_boxes = true_boxes[true_classes == kind]
            shapes += len(open_boxes)
            for box, score in zip(boxes[classes == kind], probabilities[classes == kind], strict=True):
                overlaps = overlap(open_boxes, box)
                hit = len(open_boxes) > 0 and overlaps.max() > RIGHT
                if hit:
                    open_boxes = np.delete(open_boxes, overlaps.argmax(), axis=0)
                scores.append(score)
                right.append(hit)
        results.append((np.array(scores), np.array(right, bool), shapes))
    return results


def average_precision(scores, right, shapes):
    """Area under precision over recall, where precision is the best at this recall or a higher one."""
    right = right[np.argsort(-scores, kind="stable")]
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return precision[right].sum() / shapes


def evaluate(net, count=200):
    """Prints how well shapes are found on new pictures; returns the mean of the classes' average precisions."""
    pictures, boxes, classes = draw(np.random.default_rng(SEED + 1), count)
    with torch.no_grad():
        rows = torch.cat([net(normalised(pictures[start : start + 50])) for start in range(0, count, 50)]).numpy()
    results = judge([decode(one) for one in rows], list(zip(boxes, classes, strict=True)))
    precisions = []
    for label, (scores, right, shapes) in zip(LABELS, results, strict=True):
        precisions.append(average_precision(scores, right, shapes))
        likely = scores >= 0.5
        print(
            f"{label:9} {shapes} shapes: average precision {precisions[-1]:.3f};"
            f" at a probability of 0.5 precision {right[likely].mean():.3f}, recall {right[likely].sum() / shapes:.3f}"
        )
    print(f"mean average precision {np.mean(precisions):.3f} on {count} new pictures")
    return np.mean(precisions)


# --- Files


def export(net, path):
    """Writes the network as ONNX with binary weights as what they are, and holds the file to the network."""
    import onnxruntime

    example = normalised(draw(np.random.default_rng(SEED + 2), 4)[0])
    torch.onnx.export(
        net, (example[:1],), str(path), dynamo=False, opset_version=17, do_constant_folding=True,
        input_names=["input"], output_names=["rows"],
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = torch.cat([net(one[None]) for one in example]).numpy()
    found = np.concatenate([session.run(None, {"input": one[None].numpy()})[0] for one in example])
    difference = abs(found - expected).max() / abs(expected).max()
    if not difference < 1e-4:
        raise SystemExit(f"{path}: differs from the network by {difference:.1e} of the largest value")
    print(f"{path}: {path.stat().st_size} bytes, within {difference:.0e} of PyTorch")


def settings():
    """How rows become boxes, as the converter reads it."""
    values = {
        "variances": VARIANCES,
        "score_threshold": SCORE_THRESHOLD,
        "overlap_threshold": OVERLAP_THRESHOLD,
        "candidates": CANDIDATES,
        "boxes": BOXES,
    }
    maps = ",\n  ".join(json.dumps(one) for one in MAPS)
    return '{"maps": [\n  ' + maps + "\n], " + json.dumps(values)[1:] + "\n"


def write_pictures(folder, random):
    """Pictures to try the detector on, some of other sizes, with the truth in their own pixels."""
    from PIL import Image

    truth = {}
    for index, (width, height) in enumerate([(128, 128), (128, 128), (200, 150), (320, 240), (96, 128)]):
        picture, boxes, classes = draw_one(random, max(width, height))
        # Cut from a square one, so that shapes are as they were drawn; half a shape does not count.
        top, left = (max(width, height) - height) // 2, (max(width, height) - width) // 2
        name = f"{index}_{width}x{height}.png"
        Image.fromarray(picture[top : top + height, left : left + width]).save(folder / name)
        truth[name] = []
        for box, kind in zip(boxes - [left, top, left, top], classes, strict=True):
            seen = box.clip(0, [width, height, width, height])
            if np.prod(seen[2:] - seen[:2]) > 0.5 * np.prod(box[2:] - box[:2]):
                truth[name].append({"label": LABELS[kind], "box": [float(edge) for edge in seen]})
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    net = train(arguments.steps)
    evaluate(net)
    torch.save(net.state_dict(), folder / "find_shapes.pth")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (folder / "boxes.json").write_text(settings())
    write_pictures(folder, np.random.default_rng(SEED + 3))
    export(net, folder / "find_shapes.onnx")


if __name__ == "__main__":
    main()
