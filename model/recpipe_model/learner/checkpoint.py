"""Checkpoints: the model, the counts and the stream positions, replaced together."""

import shutil
from pathlib import Path

import msgspec

from recpipe.status import LearnerStatus
from recpipe_model.hybrid import HybridModel

_KEEP = 2


class Progress(msgspec.Struct, frozen=True):
    """How far the learner had come."""

    positions: dict[str, str]
    """By "topic:partition", the position of the newest record in the model."""
    status: LearnerStatus
    recent: list[str]
    """Ids of the rows most recently learned from."""


def save(folder: Path, model: HybridModel, progress: Progress) -> Path:
    """Writes a checkpoint beside the earlier ones and renames it into place; keeps the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in _checkpoints(folder)), default=0) + 1
    beside = folder / f"{number}.writing"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    model.save(beside / "model.npz")
    (beside / "progress.json").write_bytes(msgspec.json.encode(progress))
    place = beside.rename(folder / str(number))
    for old in _checkpoints(folder)[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def load(folder: Path) -> tuple[HybridModel, Progress] | None:
    """The newest checkpoint; None where there is none."""
    if not (places := _checkpoints(folder)):
        return None
    progress = msgspec.json.decode((places[-1] / "progress.json").read_bytes(), type=Progress)
    return HybridModel.load(places[-1] / "model.npz"), progress


def newest(folder: Path) -> Path | None:
    """The newest checkpoint's model file."""
    places = _checkpoints(folder)
    return places[-1] / "model.npz" if places else None


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.exists():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
