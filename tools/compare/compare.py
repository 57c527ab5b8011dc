#!/usr/bin/env python3
"""Runs bnn and other engines in one go, interleaved and pinned, and prints a table of ratios.

    tools/compare/compare.py [--isa avx512,avx2] [--threads 1,2] [--rounds 9] [--seconds 0.5]

Sets itself up on the first run: a virtual environment with the versions of requirements.txt and the
networks, under target/compare. Needs Linux on x86-64, Python 3.11, a C compiler and the release build
of the tools. The other engines cannot be told which instructions to use, so features of the processor
are hidden from them.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "compare"
TOOLS = ROOT / "target" / "release"
# Paths of bnn, and which features to hide from the others to be level with it.
HIDDEN = {"amx": "", "avx512vpopcnt": "amx", "avx512": "vpopcnt", "avx2": "avx512"}
# What bnn-run needs to look at a picture, whose memory is that of bnn in the table.
PREPROCESSING = ["--resize", "256", "--crop", "224", "--mean", "124,116,104", "--std", "58,57,57"]
PICTURE = ROOT / "examples" / "airplane.png"
# Outputs of engines that compute the same network in f32 agree up to rounding.
TOLERANCE = 1e-3


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **options):
    say("+ " + " ".join(str(part) for part in command))
    return subprocess.run([str(part) for part in command], check=True, **options)


def set_up(rebuild):
    """The environment, the networks, and the library that hides features."""
    python = WORK / "venv" / "bin" / "python"
    ready = WORK / "ready"
    wanted = "\n".join((HERE / name).read_text() for name in ("requirements.txt", "networks.py"))
    if rebuild or not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        run(sys.executable, "-m", "venv", WORK / "venv")
        run(python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt")
        run(python, HERE / "networks.py", WORK / "networks", stdout=sys.stderr)
        ready.write_text(wanted)
    for tool in ("bnn-run", "bnn-convert"):
        if not (TOOLS / tool).exists():
            sys.exit(f"{TOOLS / tool} is missing: cargo build --release --workspace")
    run("cc", "-O2", "-shared", "-fPIC", "-o", WORK / "hide_features.so", HERE / "hide_features.c")
    networks = WORK / "networks"
    run(TOOLS / "bnn-convert", networks / "bireal18.onnx", "-o", networks / "bireal18.bnn", "--strict",
        *PREPROCESSING, stdout=sys.stderr)
    return python, networks


@dataclass
class Contender:
    """One engine with one network at one setting."""

    network: str
    engine: str
    times: list = field(default_factory=list)  # Median of each round, milliseconds.
    best: float = float("inf")
    load_ms: float = 0.0
    memory_mb: float = 0.0
    answer: list | None = None

    def median(self):
        return statistics.median(self.times)


class Bnn(Contender):
    def start(self, networks, isa, threads, pin):
        self.model = networks / "bireal18.bnn"
        self.command = [*pin, TOOLS / "bnn-run", "bench", "-m", self.model, "--isa", isa,
                        "--threads", threads, "--json", "--seconds"]
        # A bench also holds the layers as floats; the memory is that of the ordinary use.
        self.memory_mb = peak_memory(TOOLS / "bnn-run", PICTURE, "-m", self.model, "--isa", isa,
                                     "--threads", threads, "--json")

    def round(self, seconds):
        command = [str(part) for part in [*self.command, seconds]]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        report = json.loads(done.stdout)
        self.times.append(report["median_ms"])
        self.best = min(self.best, report["min_ms"])
        self.load_ms = report["load_ms"]

    def check(self, answers, isa):
        """Whether another engine's answer is also this one's."""
        golden = WORK / "golden.safetensors"
        write_safetensors(golden, answers)
        run(TOOLS / "bnn-run", "verify", self.model, golden, "--isa", isa, "--tolerance", TOLERANCE,
            stdout=sys.stderr)

    def stop(self):
        pass


class Other(Contender):
    def start(self, python, kind, model, hidden, threads, pin):
        environment = dict(os.environ)
        if hidden:
            environment |= {"HIDE": hidden, "LD_PRELOAD": str(WORK / "hide_features.so")}
        command = [*pin, python, HERE / "worker.py", kind, model, threads]
        self.process = subprocess.Popen([str(part) for part in command], text=True, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first = self.read()
        self.load_ms, self.memory_mb = first["load_ms"], first["memory_mb"]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.engine}, {self.network}: ended early")
        return json.loads(line)

    def ask(self, question):
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return self.read()

    def round(self, seconds):
        times = self.ask(seconds)["ms"]
        self.times.append(statistics.median(times))
        self.best = min(self.best, min(times))

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def peak_memory(*command):
    """The largest memory that a command took, in MiB."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]}: exit code {process.returncode}")
    return usage.ru_maxrss / 1024


def write_safetensors(path, answer):
    """The image of networks.images and an engine's outputs for it, as bnn-run verify reads them."""
    image = subprocess.run(
        [WORK / "venv" / "bin" / "python", "-c",
         "import sys, networks; sys.stdout.buffer.write(networks.images().tobytes())"],
        check=True, capture_output=True, cwd=HERE).stdout
    outputs = struct.pack(f"<{len(answer)}f", *answer)
    header, at = {}, 0
    for name, shape, data in (("input_f32", [1, 3, 224, 224], image), ("logits", [1, len(answer)], outputs)):
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + image + outputs)


def compare(python, networks, isa, threads, rounds, seconds):
    pin = ["taskset", "-c", str(os.cpu_count() - 1)] if threads == 1 else []
    hidden = HIDDEN[isa]
    bnn = Bnn("Bi-Real-18", "bnn")
    bnn.start(networks, isa, threads, pin)
    others = [
        (Other("Bi-Real-18", "OpenVINO, bits"), "openvino", networks / "bireal18.xml"),
        (Other("ResNet-18", "OpenVINO, int8"), "openvino", networks / "resnet18_int8.xml"),
        (Other("ResNet-18", "OpenVINO, f32"), "openvino", networks / "resnet18.onnx"),
        (Other("ResNet-18", "ONNX Runtime, int8"), "onnxruntime", networks / "resnet18_int8.onnx"),
        (Other("ResNet-18", "ONNX Runtime, f32"), "onnxruntime", networks / "resnet18.onnx"),
        (Other("Bi-Real-18", "ONNX Runtime, ±1 as f32"), "onnxruntime", networks / "bireal18.onnx"),
    ]
    contenders = [bnn]
    for contender, kind, model in others:
        contender.start(python, kind, model, hidden, threads, pin)
        contenders.append(contender)
    bnn.check(others[0][0].ask("answer")["answer"], isa)
    for number in range(rounds):
        say(f"{isa}, {threads} thread(s): round {number + 1} of {rounds}")
        for contender in contenders:
            contender.round(seconds)
    for contender in contenders:
        contender.stop()
    return contenders


def table(isa, threads, contenders):
    bnn = contenders[0]
    lines = [
        f"\n{isa}, {threads} thread{'s' if threads > 1 else ''}\n",
        "| network | engine | median ms | rounds from–to | best run | bnn / engine | load ms | memory MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for contender in contenders:
        ratios = [own / other for own, other in zip(bnn.times, contender.times)]
        lines.append(
            f"| {contender.network} | {contender.engine} | {contender.median():.2f} "
            f"| {min(contender.times):.2f}–{max(contender.times):.2f} | {contender.best:.2f} "
            f"| {statistics.median(ratios):.2f} | {contender.load_ms:.0f} | {contender.memory_mb:.0f} |")
    return "\n".join(lines)


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def available():
    """The paths of bnn that this processor has and that others can be brought level with."""
    listed = json.loads(subprocess.run([str(TOOLS / "bnn-run"), "kernels", "--json"], check=True,
                                       capture_output=True, text=True).stdout)
    return [path["name"] for path in listed["isas"] if path["available"] and path["name"] in HIDDEN]


def main():
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", help="paths to compare, with commas [default: all that this machine has]")
    parser.add_argument("--threads", type=numbers, default=[1], help="numbers of threads, with commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each engine in each round")
    parser.add_argument("--rebuild", action="store_true", help="set everything up again")
    parser.add_argument("--record", type=Path, help="write the table and all rounds to this JSON file")
    options = parser.parse_args()
    python, networks = set_up(options.rebuild)
    paths = options.isa.split(",") if options.isa else available()
    unknown = [path for path in paths if path not in HIDDEN]
    if unknown:
        sys.exit(f"no such path: {', '.join(unknown)}; expected some of {', '.join(HIDDEN)}")
    record = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "command": "tools/compare/compare.py " + " ".join(sys.argv[1:]),
        "versions": (HERE / "requirements.txt").read_text().split()[-5:],
        "results": [],
    }
    print(f"{record['processor']}, {record['cores']} cores, {record['date']}; batch 1, 224x224")
    for threads in options.threads:
        for isa in paths:
            contenders = compare(python, networks, isa, threads, options.rounds, options.seconds)
            print(table(isa, threads, contenders), flush=True)
            rows = [{"network": c.network, "engine": c.engine, "median_ms": round(c.median(), 3),
                     "rounds_ms": [round(time, 3) for time in c.times], "best_ms": round(c.best, 3),
                     "load_ms": round(c.load_ms, 1), "memory_mb": round(c.memory_mb, 1)} for c in contenders]
            record["results"].append({"isa": isa, "threads": threads, "engines": rows})
    if options.record:
        options.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
