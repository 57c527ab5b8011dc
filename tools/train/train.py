#!/usr/bin/env python3
"""Trains the default model and writes its weights.

    train.py TRAIN... --test TEST -o FOLDER [--width 32 --epochs 38 --batch 128 --seed 0 --threads 2 --device cpu]
    train.py TRAIN... --test TEST -o FOLDER --start-from LATENT.safetensors [--hold EPOCHS --distort PROBABILITY]

The learning rate rises in the first tenth of the epochs, stays at its peak for `--hold` epochs on top of them, and
falls to nearly nothing as a cosine. A run that has not begun to fall may be continued with another number of epochs to
hold, so it can be started before it is known how much time there is.

FOLDER gets `checkpoint.pt` after every epoch (training goes on from it when the same command runs again), one line
of JSON per epoch in `log.jsonl`, and at the end `latent.safetensors` (all weights as trained) and
`packed.safetensors` (what the engine reads; see pack.py).
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch.nn import functional

import checkpoint
import data
import fused
import pack
from batch_statistics import take_statistics
from evaluate import accuracy
from families import FAMILIES
from weights import load_weights, save_packed, save_weights

# How often, in steps, latent weights are brought back into their range.
LIMIT_EVERY = 20
# Part of the epochs, without the held ones, in which the learning rate rises, and what it begins and ends with.
RISE = 0.1
FIRST_FACTOR = 1 / 25
LAST_FACTOR = 1 / 250_000


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Trains the default model and writes its weights.")
    parser.add_argument(
        "train", type=Path, nargs="+", help="training sets: folders of class folders, .npz or .safetensors"
    )
    parser.add_argument("--test", type=Path, required=True, help="test set, in the same forms")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for checkpoint, log and weights")
    parser.add_argument(
        "--family", choices=FAMILIES, default="resnete18", help="network, see families.py (default %(default)s)"
    )
    parser.add_argument(
        "--width", type=int, default=32, help="of the first stage, or of each unit (default %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=38, help="passes over the training set (default %(default)s)")
    parser.add_argument(
        "--hold", type=int, default=0, help="of the epochs, those at the peak learning rate (default %(default)s)"
    )
    parser.add_argument(
        "--start-from", type=Path, metavar="LATENT", help="weights to begin with, the latent.safetensors of a run"
    )
    parser.add_argument(
        "--distort",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="of each kind of distortion: scale, blur, colour, noise, compression (default %(default)s)",
    )
    parser.add_argument(
        "--statistics", type=Path, metavar="SET", help="take BatchNorm's statistics from these pictures at the end"
    )
    parser.add_argument("--batch", type=int, default=128, help="pictures per step (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="at its peak (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch on the CPU (default %(default)s)")
    parser.add_argument("--fused", action="store_true", help="compile faster steps for this CPU, see fused.py")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default %(default)s)")
    parser.add_argument("--stop-after", type=int, metavar="EPOCHS", help="stop early, to go on another time")
    options = parser.parse_args(arguments)
    for name in ("width", "epochs", "batch", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if not 0 <= options.hold < options.epochs:
        parser.error("--hold must be at least 0 and below --epochs")
    if options.fused and torch.device(options.device).type != "cpu":
        parser.error("--fused is for --device cpu")
    if not 0 <= options.distort <= 1:
        parser.error("--distort must be between 0 and 1")
    return options


def recipe(options, classes):
    """What must be the same for a checkpoint to be continued."""
    names = ("family", "width", "batch", "learning_rate", "seed", "distort")
    chosen = {name: getattr(options, name) for name in names}
    return chosen | {"classes": classes, "cycle": options.epochs - options.hold}


def learning_rate_factor(epoch, epochs, hold):
    """What the peak learning rate is multiplied by at a point of training, in epochs from its start.

    Rise and fall are halves of a cosine; together they last `epochs - hold`, and `hold` epochs lie between them.
    """
    rise = RISE * (epochs - hold)
    fall = (epochs - hold) - rise
    if epoch < rise:
        low, part = FIRST_FACTOR, 1 - epoch / rise
    else:
        low, part = LAST_FACTOR, min(max(0.0, epoch - rise - hold) / fall, 1.0)
    return low + (1 - low) * (1 + math.cos(math.pi * part)) / 2


def set_learning_rate(optimiser, peak, factor):
    """Sets Adam's learning rate and, the other way round, its momentum (Smith and Topin, "Super-Convergence", 2018)."""
    for group in optimiser.param_groups:
        group["lr"] = peak * factor
        group["betas"] = (0.95 - 0.1 * factor, group["betas"][1])


def load_all(paths):
    """The pictures and labels of several data sets, one after the other."""
    sets = [data.load(path) for path in paths]
    if len({pictures.shape[1:] for pictures, _ in sets}) > 1:
        raise data.DataError(f"{paths[0]} and another training set hold pictures of different sizes")
    return tuple(torch.cat(parts) for parts in zip(*sets, strict=True))


def half_precision(options):
    """bf16 where the device computes with it; on a CPU that does not it would be slower than f32."""
    kind = torch.device(options.device).type
    able = kind != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(kind, torch.bfloat16, enabled=able and not options.fused)


def train_epoch(network, optimiser, pictures, labels, options, epoch):
    """One pass over the training set in random order; returns the mean loss.

    Order and augmentation depend on the seed and the epoch's number alone, so that a continued run takes the very
    steps that an uninterrupted one would have taken.
    """
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + epoch)
    order = torch.randperm(len(pictures), generator=generator)
    steps = len(pictures) // options.batch
    total = 0.0
    network.train()
    for step in range(steps):
        chosen = order[step * options.batch : (step + 1) * options.batch]
        inputs = data.augment(pictures[chosen].to(options.device), generator)
        if options.distort:
            inputs = data.distort(inputs, options.distort, generator)
        with half_precision(options):
            logits = network(data.normalise(inputs))
        loss = functional.cross_entropy(logits.float(), labels[chosen].to(options.device), label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        factor = learning_rate_factor(epoch + step / steps, options.epochs, options.hold)
        set_learning_rate(optimiser, options.learning_rate, factor)
        optimiser.step()
        total += loss.item()
        if step % LIMIT_EVERY == 0:
            network.limit_latent_weights()
    return total / steps


def export(network, folder, metadata):
    """Writes `latent.safetensors` and, packed for the engine, `packed.safetensors`."""
    save_weights(network, folder / "latent.safetensors", metadata)
    save_packed(network, folder / "packed.safetensors", metadata)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        pictures, labels = load_all(options.train)
        test_pictures, test_labels = data.load(options.test)
        statistics_pictures, _ = data.load(options.statistics) if options.statistics else (None, None)
    except (data.DataError, OSError) as error:
        sys.exit(f"error: {error}")
    classes = int(max(labels.max(), test_labels.max())) + 1
    if len(pictures) < options.batch:
        sys.exit(f"error: {options.train[0]}: {len(pictures)} pictures do not fill a batch of {options.batch}")
    options.output.mkdir(parents=True, exist_ok=True)

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = FAMILIES[options.family](options.width, classes).to(options.device, memory_format=torch.channels_last)
    if options.start_from:
        try:
            load_weights(network, options.start_from)
        except (pack.PackError, SafetensorError, OSError) as error:
            sys.exit(f"error: {options.start_from}: {error}")
    if options.fused:
        fused.install(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate, fused=True)

    path, done, minutes = options.output / "checkpoint.pt", 0, 0.0
    if path.exists():
        saved = checkpoint.load(path)
        if saved["recipe"] != recipe(options, classes):
            sys.exit(f"error: {path}: was trained with {saved['recipe']}, not {recipe(options, classes)}")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        # Until the fall begins, epochs to hold may be added or left out; from then on the plan is fixed.
        if saved["hold"] != options.hold:
            rise = RISE * (options.epochs - options.hold)
            if saved["epochs"] > rise + min(saved["hold"], options.hold):
                sys.exit(f"error: {path}: the learning rate has begun to fall, go on with --hold {saved['hold']}")
        done, minutes = saved["epochs"], saved["minutes"]
        print(f"{path}: going on after epoch {done}", file=sys.stderr)

    last = min(options.epochs, options.stop_after or options.epochs)
    for epoch in range(done, last):
        start = time.monotonic()
        loss = train_epoch(network, optimiser, pictures, labels, options, epoch)
        result = accuracy(network, test_pictures, test_labels, options.device)
        minutes += (time.monotonic() - start) / 60
        line = json.dumps(
            {
                "epoch": epoch + 1,
                "loss": round(loss, 5),
                "accuracy": result.fraction,
                "standard_error": round(result.standard_error, 5),
                "minutes": round(minutes, 2),
            }
        )
        print(line, flush=True)
        with open(options.output / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(line + "\n")
        checkpoint.save(
            path,
            {
                "recipe": recipe(options, classes),
                "epochs": epoch + 1,
                "minutes": minutes,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "hold": options.hold,
            },
        )
    if last < options.epochs:
        return

    if statistics_pictures is not None:
        take_statistics(network, statistics_pictures, options.device)
    result = accuracy(network, test_pictures, test_labels, options.device)
    print(f"test accuracy {result}", file=sys.stderr)
    export(
        network,
        options.output,
        {
            "training": json.dumps(recipe(options, classes), sort_keys=True),
            "test_correct": str(result.correct),
            "test_total": str(result.total),
        },
    )


if __name__ == "__main__":
    main()
