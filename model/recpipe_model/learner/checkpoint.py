"""Checkpoints: the model, the counts and the stream positions, replaced together."""

import asyncio
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import msgspec

from recpipe.priority import resting
from recpipe.status import LearnerStatus
from recpipe_model.hybrid import HybridModel
from recpipe_model.hybrid.checkpoint import Pause, VersionError
from recpipe_model.learner.learner import Memory

log = logging.getLogger(__name__)

RETRAINED = "retrained"
"""Folder among the checkpoints where training leaves its model for the learner to take up."""
MODEL = "model.npy"
"""The model's file in a checkpoint."""
_KEEP = 2
_NICENESS = 10
_FORK = multiprocessing.get_context("fork")


class CheckpointError(OSError):
    """A checkpoint could not be written; the one before it stays."""


class Progress(msgspec.Struct, frozen=True):
    """How far the learner had come; fields are added with defaults only, so that later learners read it."""

    positions: dict[str, str]
    """By "topic:partition", the position of the newest record in the model."""
    status: LearnerStatus
    memory: Memory


def save(
    folder: Path, model: HybridModel, progress: Progress, during: Callable[[], Pause] = nullcontext
) -> Path:
    """Writes a checkpoint beside the earlier ones and renames it into place; keeps the last two.

    Each piece of the model's file is written within what `during` makes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in _checkpoints(folder)), default=0) + 1
    beside = folder / f"{number}.writing"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    model.save(beside / MODEL, during)
    (beside / "progress.json").write_bytes(msgspec.json.encode(progress))
    place = beside.rename(folder / str(number))
    for old in _checkpoints(folder)[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return place


async def save_aside(folder: Path, model: HybridModel, progress: Callable[[], Progress]) -> None:
    """`save`, by a process that is forked off with the model as it is now, while this one goes on learning.

    `progress` is called there: what it gathers is of this moment too, and takes this process no time.

    Raises:
        CheckpointError: when that fails; its log says why.
    """
    child = _FORK.Process(target=_save_gently, args=(folder, model, progress), daemon=True)
    child.start()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(child.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(child.sentinel)
    child.join()
    if child.exitcode != 0:
        raise CheckpointError(f"writing a checkpoint to {folder} ended with {child.exitcode}")


def _save_gently(folder: Path, model: HybridModel, progress: Callable[[], Progress]) -> None:
    os.nice(_NICENESS)  # what answers requests may have the processor first
    save(folder, model, progress(), resting)


def load(folder: Path) -> tuple[HybridModel | None, Progress] | None:
    """The newest checkpoint, without its model where that is of another version; None where there is none."""
    if not (places := _checkpoints(folder)):
        return None
    progress = msgspec.json.decode((places[-1] / "progress.json").read_bytes(), type=Progress)
    try:
        return HybridModel.load(places[-1] / MODEL), progress
    except VersionError as error:
        log.warning("%s", error)
        return None, progress


def newest(folder: Path) -> Path | None:
    """The newest checkpoint's model file."""
    places = _checkpoints(folder)
    return places[-1] / MODEL if places else None


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.exists():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
