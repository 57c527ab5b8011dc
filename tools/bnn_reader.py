#!/usr/bin/env python3
"""Reads .bnn files without the engine: a second implementation of docs/format.md.

    python3 tools/bnn_reader.py FILE.bnn           a table of what is in the file
    python3 tools/bnn_reader.py FILE.bnn --json    everything as JSON; the values of small tensors too

As a module: `read(path)` returns a `File` whose `values(tensor)` are Python numbers. Needs nothing
beyond the standard library.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import struct
import sys
import zlib

MAGIC = b"\x89BNN\r\n\x1a\n"
MAJOR_VERSIONS = (1, 2)
# The program has buffers of integers or threshold steps.
FLAG_INTEGERS = 1
# Magic, major and minor version, flags, file length, compressed and plain header length, CRC-32.
PREAMBLE = struct.Struct("<8sHHIQIII")
MAX_HEADER_BYTES = 32 << 20
BLOB_ALIGNMENT = 64
SMALL_BLOB_ALIGNMENT = 16
SMALL_BLOB_BYTES = 4096

# The fields of a step that hold numbers of buffers and tensors, or objects with such, in the order
# in which they count.
NUMBER_FIELDS = {
    "conv": None,
    "input": "buffer",
    "inputs": "buffer",
    "weights": "tensor",
    "affine": None,
    "dot": "tensor",
    "weight_sum": "tensor",
    "input_sum": "tensor",
    "count": "tensor",
    "channel": None,
    **dict.fromkeys(("add", "subtract", "subtract_from", "multiply"), "tensor"),
    **dict.fromkeys(("divide", "divide_into", "minimum", "maximum", "wrap"), "tensor"),
    "two_slope": None,
    "positive": "tensor",
    "negative": "tensor",
    "combine": None,
    "operand": "buffer",
    "store": None,
    "store_bits": None,
    "floats": "tensor",
    "integers": "tensor",
    "threshold": None,
    "thresholds": "tensor",
    "flip": "tensor",
    "output": "buffer",
    "float": None,
    "epilogue": None,
}

# Bytes of an element and its code for the struct module; bits come in 64-bit words.
KINDS = {"f32": (4, "f"), "f16": (2, "e"), "i32": (4, "i")}


class FormatError(Exception):
    """The file is broken or from another version of the format."""


def require(condition, message):
    if not condition:
        raise FormatError(message)


def align(offset, alignment):
    return -(-offset // alignment) * alignment


@dataclasses.dataclass
class File:
    """A file that passed all checks of the container."""

    version: tuple
    file_bytes: int
    header_bytes: int
    compressed_header_bytes: int
    header_crc32: int
    blob_section: int
    program: dict
    tensors: list
    data: bytes

    def blob(self, tensor):
        """The bytes of an entry of the tensor table."""
        start = self.blob_section + tensor["offset"]
        return self.data[start : start + tensor["bytes"]]

    def values(self, tensor):
        """The elements of a tensor, row-major; bits as 0 and 1."""
        blob, count = self.blob(tensor), math.prod(tensor["shape"])
        if tensor["kind"] == "bits":
            # Little-endian words with the first bit lowest: so are the bytes.
            return [blob[index // 8] >> (index % 8) & 1 for index in range(count)]
        return list(struct.unpack(f"<{count}{KINDS[tensor['kind']][1]}", blob))


def needed_flags(program):
    """The flags of a file that holds a program."""
    integers = any(buffer["kind"] == "i16" for buffer in program["buffers"])
    thresholds = any("threshold" in step["kind"] for step in program["steps"])
    return FLAG_INTEGERS if integers or thresholds else 0


class Numbers:
    """Numbers relative to the largest one so far."""

    def __init__(self):
        self.next = 0

    def expand(self, code):
        number = (self.next - code) % 2**32
        self.next = max(self.next, number + 1)
        return number


class Names:
    """Names of a list, each an addition to the beginning of the one before."""

    def __init__(self, room):
        self.previous = b""
        self.room = room

    def expand(self, coded):
        shared, rest = coded
        length = len(self.previous)
        require(0 <= shared <= length, f"a name shares {shared} bytes with one of {length}")
        rest = rest.encode("utf-8")
        self.room.take(shared + len(rest))
        self.previous = self.previous[:shared] + rest
        return self.previous.decode("utf-8")


class Room:
    """What all names together may take."""

    def __init__(self):
        self.left = MAX_HEADER_BYTES

    def take(self, size):
        self.left -= size
        require(self.left >= 0, f"more than {MAX_HEADER_BYTES} bytes of names")


def expand_numbers(value, visit):
    """Replaces the numbers in a step by `visit(kind, number)`."""
    if isinstance(value, list):
        for item in value:
            expand_numbers(item, visit)
    elif isinstance(value, dict):
        for field, kind in NUMBER_FIELDS.items():
            inner = value.get(field)
            if field == "inputs" and inner is not None:
                value[field] = [visit(kind, number) for number in inner]
            elif isinstance(inner, int) and kind:
                value[field] = visit(kind, inner)
            else:
                expand_numbers(inner, visit)


def expand_place(place, buffers, numbers):
    """Where an end of a block lies, as version 1 has it."""
    if "map" in place:
        number = numbers.expand(place["map"])
        require(number < len(buffers), f"a block in buffer {number} of {len(buffers)}")
        buffer = buffers[number]
        height, width, channels = (buffer[extent] for extent in ("height", "width", "channels"))
        dims = [channels, height, width]
        strides = [1, width * channels, channels]
        return {"shape": dims, "parts": [{"buffer": number, "dims": dims, "strides": strides}]}
    tensor = place["tensor"]
    for part in tensor["parts"]:
        part["buffer"] = numbers.expand(part["buffer"])
    return tensor


def expand(header, checksums):
    """Turns a header of version 2 into one of version 1, but for the places of the tensors."""
    program, tensors = header["program"], header["tensors"]
    room = Room()
    program["buffers"] = [
        {"kind": kind, "height": height, "width": width, "channels": channels}
        for buffer in program["buffers"]
        for kind, (height, width, channels) in buffer.items()
    ]
    numbers = {"buffer": Numbers(), "tensor": Numbers()}
    names, first_steps = Names(room), {}
    for step in program["steps"]:
        step["name"] = names.expand(step["name"])

        def visit(kind, code):
            number = numbers[kind].expand(code)
            if kind == "tensor":
                first_steps.setdefault(number, step["name"])
            return number

        for inner in step["kind"].values():
            expand_numbers(inner, visit)

    numbers, names = Numbers(), Names(room)
    program["metadata"]["blocks"] = blocks = program.pop("blocks", [])
    for block in blocks:
        block["name"] = names.expand(block["name"])
        for end in ("input", "output"):
            if end in block:
                block[end] = expand_place(block[end], program["buffers"], numbers)

    for index, (tensor, checksum) in enumerate(zip(tensors, checksums)):
        if "name" not in tensor:
            require(index in first_steps and "role" in tensor, f"tensor {index} has no name")
            tensor["name"] = f"{first_steps[index]}.{tensor.pop('role')}"
        room.take(len(tensor["name"].encode("utf-8")))
        tensor["crc32"] = checksum


def parse(data):
    """Checks the bytes of a file and takes them apart."""
    require(data[:8] == MAGIC, "no .bnn signature")
    require(len(data) >= PREAMBLE.size, f"{len(data)} bytes, expected at least {PREAMBLE.size}")
    _, major, minor, flags, file_bytes, compressed_bytes, json_bytes, crc32 = PREAMBLE.unpack_from(
        data
    )
    known = " or ".join(f"{version}.x" for version in MAJOR_VERSIONS)
    require(major in MAJOR_VERSIONS, f"format version {major}.{minor}, expected {known}")
    require(flags & ~FLAG_INTEGERS == 0, f"unknown flags {flags:#x}")
    require(file_bytes == len(data), f"{len(data)} bytes, expected {file_bytes}")
    header_end = PREAMBLE.size + compressed_bytes
    require(header_end <= file_bytes, "the header is longer than the file")
    compressed = data[PREAMBLE.size : header_end]
    found = zlib.crc32(compressed, zlib.crc32(data[: PREAMBLE.size - 4]))
    require(found == crc32, f"header: CRC-32 is {found:08x}, expected {crc32:08x}")

    require(json_bytes <= MAX_HEADER_BYTES, f"header of {json_bytes} bytes")
    decompressor = zlib.decompressobj()
    try:
        # One byte more than there may be, so that a longer stream shows.
        text = decompressor.decompress(compressed, json_bytes + 1)
    except zlib.error as error:
        raise FormatError(f"header: {error}") from error
    require(
        len(text) == json_bytes and decompressor.eof and not decompressor.unused_data,
        f"header: not exactly {json_bytes} bytes of JSON",
    )
    header = json.loads(text.decode("utf-8"))
    if major > 1:
        checksums_end = header_end + 4 * len(header["tensors"])
        require(checksums_end <= file_bytes, "the file ends before the checksums")
        expand(header, [crc for (crc,) in struct.iter_unpack("<I", data[header_end:checksums_end])])
        header_end = checksums_end
    require(flags == needed_flags(header["program"]), f"flags {flags:#x} do not fit the program")

    blob_section = align(header_end, BLOB_ALIGNMENT)
    require(blob_section <= file_bytes, "the file ends before the blob section")
    require(not any(data[header_end:blob_section]), "padding is not zero")
    end = 0
    for tensor in header["tensors"]:
        name, count = tensor["name"], math.prod(tensor["shape"])
        if tensor["kind"] == "bits":
            size = -(-count // 64) * 8
        else:
            require(tensor["kind"] in KINDS, f"{name}: unknown kind {tensor['kind']}")
            size = count * KINDS[tensor["kind"]][0]
        stated = tensor.setdefault("bytes", size)
        require(stated == size, f"{name}: {stated} bytes, expected {size}")
        small = size < SMALL_BLOB_BYTES
        start = align(end, SMALL_BLOB_ALIGNMENT if small else BLOB_ALIGNMENT)
        stated = tensor.setdefault("offset", start)
        require(stated == start, f"{name}: starts at {stated}, not {start}")
        require(not any(data[blob_section + end : blob_section + start]), "padding is not zero")
        end = start + size
        require(blob_section + end <= file_bytes, f"{name}: ends after the file")
        blob = data[blob_section + start : blob_section + end]
        found = zlib.crc32(blob)
        require(
            found == tensor["crc32"], f"{name}: CRC-32 {found:08x}, not {tensor['crc32']:08x}"
        )
        if tensor["kind"] == "bits" and count % 64:
            last = int.from_bytes(blob[-8:], "little")
            require(last >> count % 64 == 0, f"{name}: unused bits are set")
    require(blob_section + end == file_bytes, "bytes after the last blob")
    return File(
        (major, minor),
        file_bytes,
        json_bytes,
        compressed_bytes,
        crc32,
        blob_section,
        header["program"],
        header["tensors"],
        data,
    )


def read(path):
    """Reads and checks a file."""
    with open(path, "rb") as file:
        return parse(file.read())


def to_json(file, most_values):
    """Everything in the file; values of tensors of up to `most_values` elements."""
    tensors = []
    for tensor in file.tensors:
        entry = dict(tensor, sha256=hashlib.sha256(file.blob(tensor)).hexdigest())
        if math.prod(tensor["shape"]) <= most_values:
            # JSON has no infinities: they become strings.
            entry["values"] = [
                value if math.isfinite(value) else str(value) for value in file.values(tensor)
            ]
        tensors.append(entry)
    return {
        "version": file.version,
        "file_bytes": file.file_bytes,
        "header_bytes": file.header_bytes,
        "compressed_header_bytes": file.compressed_header_bytes,
        "header_crc32": file.header_crc32,
        "blob_section": file.blob_section,
        "program": file.program,
        "tensors": tensors,
    }


def place(tensor):
    """Where the input or output of a block lies."""
    if tensor is None:
        return "not kept"
    buffers = [str(part["buffer"]) for part in tensor["parts"]]
    return f"{tensor['shape']} in buffer{'s' * (len(buffers) > 1)} {', '.join(buffers)}"


def print_table(file):
    major, minor = file.version
    program = file.program
    print(f"{program['name']}: format {major}.{minor}, {file.file_bytes} bytes")
    for direction in ("inputs", "outputs"):
        for port in program[direction]:
            print(f"  {direction[:-1]} {port['name']} {port['shape']}")
    print(f"  {len(program['buffers'])} buffers, {len(program['steps'])} steps:")
    for step in program["steps"]:
        (kind,) = step["kind"]
        print(f"    {kind:16} {step['name']}")
    blocks = program["metadata"].get("blocks", [])
    if blocks:
        print(f"  {len(blocks)} blocks:")
    for block in blocks:
        print(f"    {block['name']}: {place(block.get('input'))} -> {place(block.get('output'))}")
    print(f"  {len(file.tensors)} tensors:")
    for tensor in file.tensors:
        print(
            f"    {tensor['kind']:4} {tensor['bytes']:9} bytes  {tensor['crc32']:08x}  "
            f"{tensor['name']} {tensor['shape']}"
        )


def main():
    parser = argparse.ArgumentParser(description="Shows what is in a .bnn file.")
    parser.add_argument("file")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--values",
        type=int,
        default=16,
        metavar="N",
        help="with --json: list the values of tensors of up to N elements (default 16)",
    )
    arguments = parser.parse_args()
    try:
        file = read(arguments.file)
    except (OSError, FormatError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 3
    if arguments.json:
        json.dump(to_json(file, arguments.values), sys.stdout)
        print()
    else:
        print_table(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
