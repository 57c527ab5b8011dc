"""Files that are either whole or not there."""

import os
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def replacing(path):
    """Gives a temporary name beside `path` and renames it to `path` once the block has written it.

    If the block fails, the temporary file goes and an older file at `path` stays.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(path, state):
    """Writes a checkpoint."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load(path):
    """Reads a checkpoint; only tensors and plain values are taken from it, no code."""
    return torch.load(path, map_location="cpu", weights_only=True)
