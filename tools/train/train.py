#!/usr/bin/env python3
"""Trains the default model and writes its weights.

    train.py TRAIN --test TEST -o FOLDER [--width 32 --epochs 38 --batch 128 --seed 0 --threads 2 --device cpu]

FOLDER gets `checkpoint.pt` after every epoch (training goes on from it when the same command runs again), one line
of JSON per epoch in `log.jsonl`, and at the end `latent.safetensors` (all weights as trained) and
`packed.safetensors` (what the engine reads; see pack.py).
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

import checkpoint
import data
import pack
from evaluate import accuracy
from network import ResNetE18

# How often, in steps, latent weights are brought back into their range.
LIMIT_EVERY = 20


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Trains the default model and writes its weights.")
    parser.add_argument("train", type=Path, help="training set: folder of class folders, .npz or .safetensors")
    parser.add_argument("--test", type=Path, required=True, help="test set, in the same forms")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for checkpoint, log and weights")
    parser.add_argument("--width", type=int, default=32, help="channels of the first stage (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=38, help="passes over the training set (default %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="pictures per step (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="at its peak (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch on the CPU (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default %(default)s)")
    parser.add_argument("--stop-after", type=int, metavar="EPOCHS", help="stop early, to go on another time")
    options = parser.parse_args(arguments)
    for name in ("width", "epochs", "batch", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def recipe(options, classes):
    """What must be the same for a checkpoint to be continued."""
    names = ("width", "epochs", "batch", "learning_rate", "seed")
    return {name: getattr(options, name) for name in names} | {"classes": classes}


def train_epoch(network, optimiser, schedule, pictures, labels, options, epoch):
    """One pass over the training set in random order; returns the mean loss.

    Order and augmentation depend on the seed and the epoch's number alone, so that a continued run takes the very
    steps that an uninterrupted one would have taken.
    """
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + epoch)
    order = torch.randperm(len(pictures), generator=generator)
    steps = len(pictures) // options.batch
    device_type = torch.device(options.device).type
    total = 0.0
    network.train()
    for step in range(steps):
        chosen = order[step * options.batch : (step + 1) * options.batch]
        inputs = data.normalise(data.augment(pictures[chosen].to(options.device), generator))
        with torch.autocast(device_type, torch.bfloat16):
            logits = network(inputs)
        loss = functional.cross_entropy(logits.float(), labels[chosen].to(options.device), label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % LIMIT_EVERY == 0:
            network.limit_latent_weights()
    return total / steps


def export(network, folder, metadata):
    """Writes `latent.safetensors` and, packed for the engine, `packed.safetensors`."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with checkpoint.replacing(folder / "latent.safetensors") as temporary:
        save_file(state, temporary, metadata)
    with checkpoint.replacing(folder / "packed.safetensors") as temporary:
        pack.write_packed(temporary, {name: tensor.numpy() for name, tensor in state.items()}, metadata)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        pictures, labels = data.load(options.train)
        test_pictures, test_labels = data.load(options.test)
    except (data.DataError, OSError) as error:
        sys.exit(f"error: {error}")
    classes = int(max(labels.max(), test_labels.max())) + 1
    if len(pictures) < options.batch:
        sys.exit(f"error: {options.train}: {len(pictures)} pictures do not fill a batch of {options.batch}")
    options.output.mkdir(parents=True, exist_ok=True)

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = ResNetE18(options.width, classes).to(options.device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        options.learning_rate,
        total_steps=options.epochs * (len(pictures) // options.batch),
        pct_start=0.1,
    )

    path, done, minutes = options.output / "checkpoint.pt", 0, 0.0
    if path.exists():
        saved = checkpoint.load(path)
        if saved["recipe"] != recipe(options, classes):
            sys.exit(f"error: {path}: was trained with {saved['recipe']}, not {recipe(options, classes)}")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        done, minutes = saved["epochs"], saved["minutes"]
        print(f"{path}: going on after epoch {done}", file=sys.stderr)

    last = min(options.epochs, options.stop_after or options.epochs)
    for epoch in range(done, last):
        start = time.monotonic()
        loss = train_epoch(network, optimiser, schedule, pictures, labels, options, epoch)
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
                "schedule": schedule.state_dict(),
            },
        )
    if last < options.epochs:
        return

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
