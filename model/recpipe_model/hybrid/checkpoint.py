"""A checkpoint: one uncompressed .npz file, replaced atomically."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recpipe_model.hybrid.arrays import State
from recpipe_model.hybrid.settings import Settings

_VERSION = 3


class VersionError(ValueError):
    """A file is a checkpoint of another version."""


def save(path: Path, settings: Settings, seed: int, state: State) -> None:
    """Writes the file aside, flushes it to the disk, and renames it into place."""
    head = json.dumps({"version": _VERSION, "settings": asdict(settings), "seed": seed})
    aside = path.with_name(path.name + ".writing")
    with aside.open("wb") as file:
        np.savez(file, allow_pickle=False, head=np.frombuffer(head.encode(), np.uint8), **state)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load(path: Path) -> tuple[Settings, int, State]:
    """The settings, the seed and the state of a file.

    Raises:
        VersionError: when the file is a checkpoint of another version.
        ValueError: when it is none.
    """
    with np.load(path, allow_pickle=False) as file:
        if "head" not in file:
            raise ValueError(f"{path} is not a model checkpoint: it has no head")
        head = json.loads(file["head"].tobytes())
        if head["version"] != _VERSION:
            raise VersionError(
                f"{path} has checkpoint version {head['version']}, this reads {_VERSION}: learn it anew"
            )
        return (
            Settings(**head["settings"]),
            head["seed"],
            {name: file[name] for name in file if name != "head"},
        )
