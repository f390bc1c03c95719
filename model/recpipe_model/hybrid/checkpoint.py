"""A checkpoint: a file of .npy arrays one after the other, replaced atomically.

Not an .npz, whose checksum costs twice what writing does, on the processor that answers requests.
"""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format

from recpipe_model.hybrid.arrays import Array, State
from recpipe_model.hybrid.settings import Settings

Pause = AbstractContextManager[None]

_VERSION = 4
_PIECE_BYTES = 512 * 1024


class VersionError(ValueError):
    """A file is a checkpoint of another version."""


def save(
    path: Path, settings: Settings, seed: int, state: State, during: Callable[[], Pause] = nullcontext
) -> None:
    """Writes the file aside, flushes it to the disk, and renames it into place.

    Each piece is written within what `during` makes, where a process may rest.
    """
    head = {"version": _VERSION, "settings": asdict(settings), "seed": seed, "arrays": list(state)}
    aside = path.with_name(path.name + ".writing")
    with aside.open("wb") as file:
        for array in (np.frombuffer(json.dumps(head).encode(), np.uint8), *state.values()):
            _write(file, array, during)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _write(file: BinaryIO, array: Array, during: Callable[[], Pause]) -> None:
    """As numpy.save, in pieces of less than a millisecond each."""
    array = np.ascontiguousarray(array)
    format.write_array_header_1_0(file, format.header_data_from_array_1_0(array))
    values = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(values), _PIECE_BYTES):
        with during():
            file.write(values[start : start + _PIECE_BYTES])


def load(path: Path) -> tuple[Settings, int, State]:
    """The settings, the seed and the state of a file.

    Raises:
        VersionError: when the file is a checkpoint of another version, or is not there, as beside one of those.
        ValueError: when it is none.
    """
    if not path.exists():
        raise VersionError(f"{path} is missing, as where a checkpoint has an earlier version: learn it anew")
    with path.open("rb") as file:
        head = json.loads(np.load(file, allow_pickle=False).tobytes())
        if head["version"] != _VERSION:
            raise VersionError(
                f"{path} has checkpoint version {head['version']}, this reads {_VERSION}: learn it anew"
            )
        state = {name: np.load(file, allow_pickle=False) for name in head["arrays"]}
    return Settings(**head["settings"]), head["seed"], state
