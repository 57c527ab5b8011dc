#!/usr/bin/env python3
"""Counts the instructions that a network's run takes, and compares them with those on record.

    tools/count_instructions.py [NETWORK...]    counts and compares: fails on growth of more than 3 %
    tools/count_instructions.py --write         puts the counts on record

Counts repeat exactly where times do not: valgrind's callgrind counts what one thread executes between
entering and leaving the run, loading and decoding left out. It knows the instructions up to AVX2. Counts
of another compiler cannot be compared, so then they are only shown. Needs valgrind and the release build
of the tools.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benches" / "record" / "instructions.json"
TOOLS = ROOT / "target" / "release"
IMAGE = ROOT / "examples" / "airplane.png"
# What is counted: the function that runs images, and all that it calls.
RUN = "*run_images*"
PREPROCESSING = ["--resize", "256", "--crop", "224", "--mean", "124,116,104", "--std", "58,57,57"]
# Networks, with random weights but for the default one, and the paths that are counted.
NETWORKS = {
    "default": ["scalar", "v2", "avx2"],
    "bireal18": ["v2", "avx2"],
    "bdn28": ["v2", "avx2"],
}
GROWTH = 1.03


def output_of(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def count(network, path, folder):
    model = []
    if network != "default":
        file = folder / f"{network}.bnn"
        if not file.exists():
            output_of(TOOLS / "bnn-convert", "--arch", network, "--random-weights", 1, *PREPROCESSING,
                      "-o", file)
        model = ["-m", file]
    text = output_of("valgrind", "--tool=callgrind", f"--toggle-collect={RUN}",
                     f"--callgrind-out-file={folder / 'counts'}",
                     TOOLS / "bnn-run", IMAGE, *model, "--isa", path, "--threads", 1)
    found = re.search(r"Collected : (\d+)", text)
    if not found or int(found[1]) == 0:
        sys.exit(f"{network} on {path}: nothing was counted\n{text}")
    return int(found[1])


def main():
    write = sys.argv[1:] == ["--write"]
    chosen = [] if write else sys.argv[1:]
    if any(name not in NETWORKS for name in chosen):
        sys.exit(__doc__)
    compiler = output_of("rustc", "--version").strip()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"compiler": None, "counts": {}}
    counts, grown = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for network in chosen or NETWORKS:
            for path in NETWORKS[network]:
                name = f"{network}/{path}"
                counts[name] = count(network, path, Path(folder))
                before = record["counts"].get(name)
                change = f"{counts[name] / before - 1:+.2%}" if before else "new"
                print(f"{name:20} {counts[name]:>14,} {change:>9}", flush=True)
                if before and counts[name] > before * GROWTH:
                    grown.append(name)
    if write:
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps({"compiler": compiler, "counts": counts}, indent=1) + "\n")
    elif record["compiler"] != compiler:
        print(f"not compared: on record are counts of {record['compiler']}, this is {compiler}")
    elif grown:
        sys.exit(f"more than 3 % more instructions: {', '.join(grown)}; if that is right, "
                 "tools/count_instructions.py --write")


if __name__ == "__main__":
    main()
