#!/usr/bin/env python3
"""Counts the instructions of the kernels' inner loops, and compares them with those on record.

    tools/count_loops.py            counts and compares: fails where a product costs more than 3 % more
    tools/count_loops.py --write    puts the counts on record

What count_instructions.py cannot run, for want of an emulator or a processor, is read off the finished program: of each
kernel the innermost loop with the most products, its loads and its own jump included. With the number of products that
gives the instructions of a network's products, trips times instructions; what lies around the loops is not in it. Loops of
another compiler cannot be compared, so then they are only shown. Needs objdump (binutils) and the release build of bnn-run.
"""

import json
import re
import sys
from typing import NamedTuple

from count_instructions import GROWTH, ROOT, output_of

RECORD = ROOT / "benches" / "record" / "loops.json"
PROGRAM = ROOT / "target" / "release" / "bnn-run"


class Kernel(NamedTuple):
    """Where the loop is, which instruction makes its products, and how many of them at once."""

    function: str
    instruction: str
    products: int


KERNELS = {
    "bits avx2": Kernel(r"Lut4<.*::Avx2>.*::compiled", r"vpshufb", 128),
    "bits avx512": Kernel(r"Lut4<.*::Avx512>.*::compiled", r"vpshufb", 256),
    "bits avx2 pairs": Kernel(r"Lut4Pairs<.*::Avx2>.*::compiled", r"vpshufb", 256),
    # Three of these are the products of six channels of 8 pixels and 64 outputs.
    "bits avx512 gfni": Kernel(r"bit_matrix::tile::tile", r"vgf2p8affineqb", 1024),
    "bits avx512vpopcnt": Kernel(r"PopcountLanes<.*::Avx512Bitalg>.*::compiled", r"vpopcntb", 512),
    "bytes amx": Kernel(r"byte_tiles|amx", r"tdpb..d", 16384),
    "f32 avx2": Kernel(r"float_conv::tiles::avx2::full", r"vfmadd\d+ps", 8),
    "f32 avx512": Kernel(r"float_conv::tiles::avx512::full", r"vfmadd\d+ps", 16),
}


class Loop(NamedTuple):
    """An innermost loop: its instructions, and those of them that make products."""

    instructions: int
    producing: int


def functions(listing):
    """Name and instructions (address, mnemonic, operands) of every function."""
    name, instructions = None, []
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if name:
                yield name, instructions
            name, instructions = header[1], []
        elif found := re.match(r" *([0-9a-f]+):\t(\S+) *([^#]*)", line):
            instructions.append((int(found[1], 16), found[2], found[3]))
    if name:
        yield name, instructions


def innermost_loops(instructions):
    """The runs of instructions from the target of a jump backwards to that jump which hold no other such run."""
    position = {address: index for index, (address, _, _) in enumerate(instructions)}
    spans = []
    for index, (_, mnemonic, operands) in enumerate(instructions):
        target = re.match(r"([0-9a-f]+) ", operands) if mnemonic.startswith("j") else None
        start = position.get(int(target[1], 16)) if target else None
        if start is not None and start <= index:
            spans.append((start, index))
    for start, end in spans:
        if not any((a, b) != (start, end) and start <= a and b <= end for a, b in spans):
            yield instructions[start : end + 1]


def find_loops(listing):
    """Of each kernel the innermost loop with the most products; of several such, the shortest."""
    found = {}
    for name, instructions in functions(listing):
        for kernel, (function, producing, _) in KERNELS.items():
            if not re.search(function, name):
                continue
            for body in innermost_loops(instructions):
                count = sum(bool(re.fullmatch(producing, mnemonic)) for _, mnemonic, _ in body)
                if count:
                    found.setdefault(kernel, []).append(Loop(len(body), count))
    return {kernel: max(loops, key=lambda loop: (loop.producing, -loop.instructions)) for kernel, loops in found.items()}


def main():
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit(__doc__)
    compiler = output_of("rustc", "--version").strip()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"compiler": None, "loops": {}}
    loops = find_loops(output_of("objdump", "-d", "-C", "--no-show-raw-insn", PROGRAM))
    if missing := KERNELS.keys() - loops.keys():
        sys.exit(f"no loop was found of {', '.join(sorted(missing))}")
    grown = []
    for name, loop in loops.items():
        cost = loop.instructions / loop.producing
        before = Loop(**record["loops"][name]) if name in record["loops"] else None
        change = f"{cost * before.producing / before.instructions - 1:+.2%}" if before else "new"
        each = cost / KERNELS[name].products
        print(f"{name:20} {loop.instructions:>4} instructions, {loop.producing:>3} producing: {each:.5f} a product {change:>8}")
        if before and cost * before.producing > before.instructions * GROWTH:
            grown.append(name)
    if "--write" in sys.argv:
        known = {name: loop._asdict() for name, loop in sorted(loops.items())}
        RECORD.write_text(json.dumps({"compiler": compiler, "loops": known}, indent=1) + "\n")
    elif record["compiler"] != compiler:
        print(f"not compared: on record are loops of {record['compiler']}, this is {compiler}")
    elif grown:
        sys.exit(f"more than 3 % more instructions a product: {', '.join(grown)}; if that is right, "
                 "tools/count_loops.py --write")


if __name__ == "__main__":
    main()
