"""Labelled pictures of one size, from wherever they lie, and what training does to them.

A data set is a pair: pictures u8 [N, H, W, 3] (RGB) and labels i64 [N].
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class DataError(Exception):
    """The data cannot be read, or is not what training needs."""


def load(path):
    """Reads a data set as tensors.

    `path` is one of
    - an .npz file with `x` (or `images`) and `y` (or `labels`),
    - a .safetensors file with `images` and `labels`,
    - a folder with one folder of pictures per class, classes numbered in the order of the folders' names (a name may
      start with its number, as in `3_cat`).
    """
    path = Path(path)
    if path.is_dir():
        pictures, labels = _load_folders(path)
    elif path.suffix == ".npz":
        with np.load(path) as file:
            pictures, labels = _pick(path, file, ("x", "images")), _pick(path, file, ("y", "labels"))
    elif path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        file = load_file(path)
        pictures, labels = _pick(path, file, ("images", "x")), _pick(path, file, ("labels", "y"))
    else:
        raise DataError(f"{path}: expected a folder, an .npz or a .safetensors file")
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        raise DataError(f"{path}: pictures are {pictures.dtype} {pictures.shape}, expected uint8 [N, H, W, 3]")
    if labels.shape != pictures.shape[:1]:
        raise DataError(f"{path}: labels have shape {labels.shape} for {len(pictures)} pictures")
    if len(labels) == 0:
        raise DataError(f"{path}: holds no picture")
    if labels.min() < 0:
        raise DataError(f"{path}: label {labels.min()} is negative")
    return torch.from_numpy(np.ascontiguousarray(pictures)), torch.from_numpy(labels.astype(np.int64))


def _pick(path, arrays, names):
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path}: holds no array named {' or '.join(names)}")


def _load_folders(path):
    from PIL import Image

    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    # 10_x sorts before 2_x as text, so numbers in front of the names decide where every folder has one.
    numbers = [folder.name.split("_")[0] for folder in folders]
    if all(number.isdigit() for number in numbers):
        folders.sort(key=lambda folder: int(folder.name.split("_")[0]))
    pictures, labels = [], []
    for label, folder in enumerate(folders):
        for file in sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in PICTURES):
            with Image.open(file) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
            labels.append(label)
            if pictures[-1].shape != pictures[0].shape:
                raise DataError(f"{file}: has shape {pictures[-1].shape}, the first picture {pictures[0].shape}")
    if not pictures:
        raise DataError(f"{path}: holds no folder with pictures")
    return np.stack(pictures), np.array(labels, dtype=np.int64)


def normalise(pictures):
    """Pictures u8 or f32 [N, H, W, 3] in 0..255 to the network's input, f32 [N, 3, H, W]."""
    mean = torch.tensor(MEAN, device=pictures.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=pictures.device).view(1, 3, 1, 1)
    scaled = pictures.permute(0, 3, 1, 2).float() / 255
    return ((scaled - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(pictures, generator, reach=4):
    """Shifts every picture by up to `reach` pixels either way (the border is reflected) and mirrors half of them.

    Pictures u8 [N, H, W, 3] to f32 [N, H, W, 3]. `generator` is a CPU generator, so that the same seed gives the same
    pictures on every device.
    """
    count, height, width, _ = pictures.shape
    padded = functional.pad(pictures.permute(0, 3, 1, 2).float(), (reach,) * 4, mode="reflect")
    top, left = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    columns = torch.arange(width).repeat(count, 1)
    columns[mirrored] = columns[mirrored].flip(1)
    device = pictures.device
    rows = (torch.arange(height) + top[:, None]).to(device)[:, :, None]
    columns = (columns + left[:, None]).to(device)[:, None, :]
    picture = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows, columns]


def distort(pictures, probability, generator):
    """What happens to photos and not to the pictures of a data set, each kind with the same small probability.

    Pictures f32 [N, H, W, 3] in 0..255 to the same. In this order: another scale, blur or sharpening, brightness and
    colour, noise, JPEG compression. `generator` is a CPU generator, as for `augment`.
    """
    pictures = pictures.permute(0, 3, 1, 2)
    for change in (_scale, _blur, _colour, _noise, _compress):
        chosen = torch.rand(len(pictures), generator=generator) < probability
        if chosen.any():
            chosen = chosen.to(pictures.device)
            pictures[chosen] = change(pictures[chosen], generator)
    return pictures.clamp(0, 255).permute(0, 2, 3, 1)


def _random(generator, low, high, like, channels=1):
    """Uniform numbers [N, channels, 1, 1]."""
    numbers = torch.rand(len(like), channels, 1, 1, generator=generator) * (high - low) + low
    return numbers.to(like.device)


def _scale(pictures, generator):
    """Nearer or farther, and a little wider or narrower than tall; the border is reflected."""
    size = _random(generator, 0.8, 1.25, pictures) * _random(generator, 0.9, 1.1, pictures, 2)
    transform = torch.zeros(len(pictures), 2, 3, device=pictures.device)
    transform[:, 0, 0], transform[:, 1, 1] = size[:, 0, 0, 0], size[:, 1, 0, 0]
    grid = functional.affine_grid(transform, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _blur(pictures, generator):
    """Mixed with a blurred copy; a negative part sharpens."""
    line = torch.tensor([0.25, 0.5, 0.25], device=pictures.device)
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    part = _random(generator, -0.5, 1.0, pictures)
    return torch.lerp(pictures, functional.conv2d(padded, kernel, groups=3), part).clamp(0, 255)


def _colour(pictures, generator):
    """Other light: brightness, its tint, contrast and saturation."""
    pictures = pictures * _random(generator, 0.75, 1.25, pictures) * _random(generator, 0.92, 1.08, pictures, 3)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = mean + (pictures - mean) * _random(generator, 0.7, 1.3, pictures)
    grey = pictures.mean(dim=1, keepdim=True)
    return (grey + (pictures - grey) * _random(generator, 0.3, 1.5, pictures)).clamp(0, 255)


def _noise(pictures, generator):
    """Normal noise, of each value on its own, as of a sensor in poor light."""
    noise = torch.randn(pictures.shape, generator=generator).to(pictures.device)
    return (pictures + noise * _random(generator, 2, 12, pictures)).clamp(0, 255)


def _compress(pictures, generator):
    """Through JPEG and back."""
    import io

    from PIL import Image

    qualities = torch.randint(35, 95, (len(pictures),), generator=generator).tolist()
    bytes_in = pictures.permute(0, 2, 3, 1).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
    out = []
    for picture, quality in zip(bytes_in, qualities, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(out)).to(pictures.device, torch.float32).permute(0, 3, 1, 2)
