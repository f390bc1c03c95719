"""Versions appear whole, whoever else publishes, and whatever becomes of the checkpoint."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from recpipe.status import LearnerStatus
from recpipe_model.hybrid import HybridModel
from recpipe_model.learner import checkpoint
from recpipe_model.learner.learner import Memory
from recpipe_model.learner.publisher import ASIDE, EXPORT_SECONDS, Publisher


@pytest.fixture
def model() -> HybridModel:
    model = HybridModel()
    for number in range(20):
        model.learn(f"u{number % 2}", f"i{number % 7}", float(number))
    return model


@pytest.mark.timeout(240)
async def test_two_publish_at_once_and_their_checkpoints_go(model: HybridModel, tmp_path: Path) -> None:
    """A learner and a training: both see the same newest version, and the learner drops what it took up."""
    checkpoints, models = tmp_path / "checkpoints", tmp_path / "models"
    progress = checkpoint.Progress({}, LearnerStatus(), Memory([], {}))
    one, other = Publisher(models, keep=3), Publisher(models, keep=3)
    for publisher in (one, other):
        publisher.publish(checkpoint.save(checkpoints, model, progress) / "model.npy")
    for dropped in ("1", "2"):
        shutil.rmtree(checkpoints / dropped)
    await asyncio.gather(one.published(), other.published())
    assert sorted(path.name for path in models.iterdir()) == ["1", "2"]
    assert all((models / version / "saved_model.pb").exists() for version in ("1", "2"))
    assert list(checkpoints.iterdir()) == []


async def test_what_a_killed_export_left_goes_with_a_later_one(model: HybridModel, tmp_path: Path) -> None:
    checkpoints, models = tmp_path / "checkpoints", tmp_path / "models"
    place = checkpoint.save(checkpoints, model, checkpoint.Progress({}, LearnerStatus(), Memory([], {})))
    publisher = Publisher(models, keep=3)
    left, others = checkpoints / f"{ASIDE}left", models / f"{ASIDE}of-another"
    for folder in (left, others):
        folder.mkdir()
    os.utime(left, (0, 0))
    os.utime(others, (others.stat().st_atime, others.stat().st_mtime - EXPORT_SECONDS))
    publisher.publish(place / "model.npy")
    await publisher.finish()
    assert not left.exists()
    assert others.exists()


@pytest.mark.timeout(240)
async def test_the_oldest_versions_go_but_for_those_that_are_named(
    model: HybridModel, tmp_path: Path
) -> None:
    checkpoints, models = tmp_path / "checkpoints", tmp_path / "models"
    place = checkpoint.save(checkpoints, model, checkpoint.Progress({}, LearnerStatus(), Memory([], {})))
    named = {2}
    for version in ("1", "2", "3"):
        (models / version).mkdir(parents=True)
    publisher = Publisher(models, keep=1, named=lambda: named)
    publisher.publish(place / "model.npy")
    assert await publisher.published() == 4
    assert publisher.versions == (2, 4)
    named.clear()
    publisher.publish(place / "model.npy")
    assert await publisher.published() == 5
    assert publisher.versions == (5,)


@pytest.mark.timeout(240)
async def test_items_count_as_known_when_the_newest_two_versions_and_the_named_ones_know_them(
    model: HybridModel, tmp_path: Path
) -> None:
    """The newest but one is served until the newest is loaded, though it may be gone from the disk."""
    checkpoints, models = tmp_path / "checkpoints", tmp_path / "models"
    progress = checkpoint.Progress({}, LearnerStatus(), Memory([], {}))
    named: set[int] = set()
    publisher = Publisher(models, keep=1, named=lambda: named)
    assert (publisher.items_in_newest, publisher.items_in_served) == (0, 0)
    for newest, served in ((7, 7), (8, 7), (9, 8), (10, 8)):
        publisher.publish(checkpoint.save(checkpoints, model, progress) / "model.npy")
        assert await publisher.published() == newest - 6
        assert (publisher.items_in_newest, publisher.items_in_served) == (newest, served)
        model.put_item(f"new{newest}", categories=[], time=0.0)
        named = {2}
    assert Publisher(models, keep=1, named=lambda: named).items_in_served == 8
