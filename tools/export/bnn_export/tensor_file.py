"""Safetensors files with nothing but the standard library.

A file is the length of its header in 8 bytes, a JSON header that says of each tensor its element
type, shape and place, and the elements of all tensors, little-endian and without gaps.
"""

import dataclasses
import json
import math
import os
import pathlib
import struct
import sys

from .errors import ExportError

# Bytes of an element.
SIZES = {
    "F64": 8, "I64": 8, "U64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "BOOL": 1, "I8": 1, "U8": 1,
}
# Names of NumPy's element types.
NUMPY = {
    "F64": "<f8", "I64": "<i8", "U64": "<u8",
    "F32": "<f4", "I32": "<i4", "U32": "<u4",
    "F16": "<f2", "I16": "<i2", "U16": "<u2",
    "BOOL": "|b1", "I8": "|i1", "U8": "|u1",
}
METADATA = "__metadata__"
MAX_HEADER_BYTES = 100 << 20


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Elements in row-major order as they stand in the file."""

    dtype: str
    shape: tuple
    data: bytes

    def __post_init__(self):
        if self.dtype not in SIZES:
            raise ExportError(f"elements of type {self.dtype}, expected one of {' '.join(SIZES)}")
        expected = math.prod(self.shape) * SIZES[self.dtype]
        if len(self.data) != expected:
            shape = list(self.shape)
            raise ExportError(f"{len(self.data)} bytes for {self.dtype} {shape}, expected {expected}")

    @classmethod
    def from_values(cls, code, shape, values):
        """From Python numbers; `code` is F32, I64 or U8."""
        letter = {"F32": "f", "I64": "q", "U8": "B"}[code]
        return cls(code, tuple(shape), struct.pack(f"<{len(values)}{letter}", *values))

    @classmethod
    def from_array(cls, array):
        """From an array of NumPy."""
        for code, name in NUMPY.items():
            if array.dtype == name:
                return cls(code, tuple(array.shape), array.astype(name, order="C").tobytes())
        raise ExportError(f"arrays of {array.dtype} cannot be stored")

    @classmethod
    def from_torch(cls, tensor):
        """From a tensor of PyTorch, whatever device it lies on."""
        tensor = tensor.detach().cpu().contiguous()
        code = {
            "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
            "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
            "uint8": "U8", "bool": "BOOL",
        }.get(str(tensor.dtype).removeprefix("torch."))
        if code is None:
            raise ExportError(f"tensors of {tensor.dtype} cannot be stored")
        if sys.byteorder != "little":
            raise ExportError("tensors can only be stored on a little-endian machine")
        import torch

        # As bytes, because NumPy knows no bfloat16; a scalar has no bytes to look at.
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        return cls(code, tuple(tensor.shape), data)

    def array(self):
        """As an array of NumPy."""
        from .errors import package

        numpy = package("numpy", "reading tensors")
        if self.dtype not in NUMPY:
            raise ExportError(f"NumPy has no elements of type {self.dtype}")
        return numpy.frombuffer(self.data, NUMPY[self.dtype]).reshape(self.shape)


def write(path, tensors, metadata=None):
    """Writes tensors by name; `metadata` maps strings to strings. The file is whole or not there."""
    # Wide elements first, so that every tensor is aligned.
    order = sorted(tensors, key=lambda name: (-SIZES[tensors[name].dtype], name))
    header, end = {}, 0
    if metadata:
        header[METADATA] = {str(key): str(value) for key, value in metadata.items()}
    for name in order:
        if name == METADATA:
            raise ExportError(f"a tensor cannot be named {METADATA}")
        tensor = tensors[name]
        start, end = end, end + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)))
            file.write(text)
            for name in order:
                file.write(tensors[name].data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ExportError(f"{path}: cannot be written: {error}") from error


def read(path):
    """All tensors of a file by name."""
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error}") from error
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > min(MAX_HEADER_BYTES, len(content) - 8):
            raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
        header = json.loads(content[8 : 8 + length])
        blobs = memoryview(content)[8 + length :]
        tensors = {}
        for name, entry in header.items():
            if name != METADATA:
                start, end = entry["data_offsets"]
                if not 0 <= start <= end <= len(blobs):
                    raise ValueError(f"tensor {name} lies outside of the file")
                tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), bytes(blobs[start:end]))
        return tensors
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{path}: not a safetensors file: {error}") from error
