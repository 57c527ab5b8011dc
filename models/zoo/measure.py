#!/usr/bin/env python3
"""Measures the default model and the networks of this folder: figures.json, from which `cargo xtask pictures` draws.

    measure.py DATA [--tools FOLDER] [--measured TEXT]

DATA are the labelled test pictures, as `bnn-run eval` takes them. FOLDER holds bnn-run and bnn-convert (default:
target/release); TEXT says on which machine and when. The networks take turns, and each time is the median of several.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROUNDS = 7


def answer(*command):
    """What a tool says with --json."""
    result = subprocess.run([*map(str, command), "--json"], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(description="Measures the networks of this folder.")
    parser.add_argument("data", type=Path, metavar="DATA", help="labelled test pictures")
    parser.add_argument("--tools", type=Path, default=ROOT / "target/release", metavar="FOLDER", help="bnn-run, bnn-convert")
    parser.add_argument("--measured", default="", metavar="TEXT", help="machine and date")
    options = parser.parse_args()
    run, convert = options.tools / "bnn-run", options.tools / "bnn-convert"

    paths = sorted([*(ROOT / "models/default").glob("*.bnn"), *HERE.glob("*.bnn")])
    networks, times = [], {path: [] for path in paths}
    for path in paths:
        accuracy = answer(run, "eval", options.data, "-m", path)
        share = accuracy["top1"]
        networks.append(
            {
                "name": path.stem,
                "accuracy": share,
                "standard_error": round((share * (1 - share) / accuracy["images"]) ** 0.5, 5),
                "operations": answer(convert, "archs", path.stem)["flops"],
                "bytes": path.stat().st_size,
            }
        )
    for _ in range(ROUNDS):
        for path in paths:
            times[path].append(answer(run, "bench", "-m", path, "--seconds", "0.3")["median_ms"])
    for network, path in zip(networks, paths, strict=True):
        network["milliseconds"] = round(statistics.median(times[path]), 4)
        print(network)
    networks.sort(key=lambda network: -network["accuracy"])
    text = json.dumps({"measured": options.measured, "networks": networks}, indent=2)
    (HERE / "figures.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
