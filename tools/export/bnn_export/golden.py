"""Golden files: inputs and what the network said to them, for `bnn-convert --verify`."""

import pathlib

from . import network, tensor_file
from .errors import ExportError, package


def read_images(path, count=None):
    """Pixels u8 [N, H, W, C] and labels (or nothing): a safetensors or npz file with `images` (or
    `x`) and `labels` (or `y`), an npy file with the pixels alone, or a folder of pictures of one
    size."""
    numpy = package("numpy", "reading images")
    path = pathlib.Path(path)
    labels = None
    if path.is_dir():
        pixels = read_folder(path, count)
    elif path.suffix == ".npy":
        pixels = numpy.load(path)
    elif path.suffix in (".npz", ".safetensors"):
        if path.suffix == ".npz":
            arrays = dict(numpy.load(path))
        else:
            arrays = {name: tensor.array() for name, tensor in tensor_file.read(path).items()}
        pixels = arrays.get("images", arrays.get("x"))
        labels = arrays.get("labels", arrays.get("y"))
        if pixels is None:
            raise ExportError(f"{path}: no images, found {', '.join(arrays)}")
    else:
        raise ExportError(f"{path}: expected a folder, or .npy, .npz or .safetensors")
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.dtype != numpy.uint8 or pixels.ndim != 4 or len(pixels) == 0:
        raise ExportError(f"{path}: {pixels.dtype} {list(pixels.shape)}, expected u8 [N, H, W, C]")
    if labels is not None:
        if labels.shape != (len(pixels),):
            raise ExportError(f"{path}: labels {list(labels.shape)} for {len(pixels)} images")
        labels = labels[:count].astype("<i8")
    return pixels[:count], labels


def read_folder(path, count):
    numpy = package("numpy", "reading images")
    image = package("PIL.Image", "reading pictures")
    known = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in known)[:count]
    if not files:
        raise ExportError(f"{path}: no pictures")
    pictures = []
    for file in files:
        with image.open(file) as picture:
            pictures.append(numpy.asarray(picture.convert("RGB")))
        if pictures[-1].shape != pictures[0].shape:
            raise ExportError(f"{file}: another size than {files[0].name}; resize and crop them before")
    return numpy.stack(pictures)


def normalised(pixels, mean=(0.0,), std=(1.0,), value_range=1.0, layout="nchw"):
    """(pixel * range / 255 - mean) / std for each channel, in f32."""
    numpy = package("numpy", "normalising images")
    channels = pixels.shape[3]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise ExportError(f"{name}: {len(values)} numbers for {channels} channels")
    scaled = pixels.astype(numpy.float32) * numpy.float32(value_range / 255)
    inputs = (scaled - numpy.float32(mean)) / numpy.float32(std)
    return numpy.ascontiguousarray(inputs.transpose(0, 3, 1, 2) if layout == "nchw" else inputs)


def module_outputs(module, inputs, batch=32):
    """What a module of PyTorch says."""
    torch = package("torch", "running a network")
    numpy = package("numpy", "running a network")
    module.eval()
    with torch.no_grad():
        parts = [module(torch.from_numpy(inputs[first : first + batch]))
                 for first in range(0, len(inputs), batch)]
    if not all(isinstance(part, torch.Tensor) for part in parts):
        raise ExportError("the module has several outputs, expected the logits alone")
    return numpy.concatenate([part.numpy() for part in parts])


def onnx_outputs(path, inputs):
    """What an ONNX file says, image by image, as its batch may be fixed."""
    numpy = package("numpy", "running a network")
    _, run = network.onnx_runtime(path)
    return numpy.concatenate([run(inputs[row : row + 1]) for row in range(len(inputs))])


def write(path, inputs, logits, pixels=None, labels=None):
    """Writes a golden file; returns what looks odd about it, in words."""
    numpy = package("numpy", "writing a golden file")
    logits = numpy.asarray(logits, dtype=numpy.float32).reshape(len(logits), -1)
    if len(inputs) != len(logits):
        raise ExportError(f"{len(inputs)} inputs and {len(logits)} outputs")
    if not (numpy.isfinite(inputs).all() and numpy.isfinite(logits).all()):
        raise ExportError("inputs and outputs must be finite")
    arrays = {"input_f32": numpy.asarray(inputs, dtype=numpy.float32), "logits": logits}
    if pixels is not None:
        arrays["input_u8"] = numpy.asarray(pixels, dtype=numpy.uint8)
    if labels is not None:
        arrays["labels"] = numpy.asarray(labels, dtype=numpy.int64)
    tensor_file.write(path, {name: tensor_file.Tensor.from_array(array) for name, array in arrays.items()})
    remarks = []
    if logits.shape[1] > 1 and (logits >= 0).all() and numpy.allclose(logits.sum(1), 1, atol=1e-3):
        remarks.append("the outputs look like probabilities; logits are what goes into a final softmax")
    if len(logits) > 1 and (logits == logits[0]).all():
        remarks.append("all outputs are the same")
    return remarks
