#!/usr/bin/env python3
"""Runs all criterion benches and keeps what they found as one dated file.

    tools/record_benches.py benches/record/DATE-processor-benches.json [OPTION OF CRITERION ...]

`--warm-up-time 0.3 --measurement-time 0.7 --sample-size 10` takes a quarter of an hour, no options about three.
Times are nanoseconds of one turn, with the bounds of criterion's 95 % interval; a throughput is what a turn does
(images, products or bytes) by the second.
"""

import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRITERION = ROOT / "target" / "criterion"


def processor():
    """The processor's own name, where the system tells it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def measured(folder):
    """What criterion says of one bench."""
    bench = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    median = json.loads((folder / "estimates.json").read_text(encoding="utf-8"))["median"]
    interval = median["confidence_interval"]
    found = {
        "median_ns": round(median["point_estimate"]),
        "bounds_ns": [round(interval["lower_bound"]), round(interval["upper_bound"])],
    }
    for unit, count in (bench["throughput"] or {}).items():
        found[f"{unit.lower()}_per_second"] = round(count * 1e9 / median["point_estimate"], 1)
    return bench["full_id"], found


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    record, options = pathlib.Path(sys.argv[1]), sys.argv[2:]
    # What is left of an earlier run would be taken for this one's.
    shutil.rmtree(CRITERION, ignore_errors=True)
    command = ["cargo", "bench", "--bench", "kernels", "--bench", "float_kernels", "--bench", "networks"]
    if options:
        command += ["--", *options]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)
    compiler = subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, capture_output=True, text=True)
    folders = sorted(path.parent for path in CRITERION.glob("**/new/benchmark.json"))
    record.write_text(json.dumps({
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "compiler": compiler.stdout.strip(),
        "command": " ".join(command),
        "benches": dict(sorted(map(measured, folders))),
    }, indent=1) + "\n", encoding="utf-8")
    print(f"{len(folders)} benches in {record}")


if __name__ == "__main__":
    main()
