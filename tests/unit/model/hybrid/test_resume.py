"""Equal seeds and events give equal models, and a checkpoint goes on as if nothing had happened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import sub
from pathlib import Path

import numpy as np
import pytest

from recpipe_model.hybrid import HybridModel, Settings, checkpoint
from recpipe_model.hybrid.checkpoint import VersionError

Teach = Callable[..., HybridModel]


def assert_same(one: HybridModel, other: HybridModel) -> None:
    """Bit for bit, but for room that is not in use."""
    mine, theirs = one.state(), other.state()
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].tobytes() == theirs[name].tobytes(), name


def test_equal_seeds_and_events_give_equal_models(small: Settings, teach: Teach) -> None:
    assert_same(teach(HybridModel(small, seed=3), 300), teach(HybridModel(small, seed=3), 300))


def test_another_seed_gives_another_model(small: Settings, teach: Teach) -> None:
    one, other = (teach(HybridModel(small, seed=seed), 300) for seed in (3, 4))
    assert not np.array_equal(one.state()["embedding.target"], other.state()["embedding.target"])


@pytest.mark.parametrize("events", [0, 1, 150])
def test_a_checkpoint_goes_on_bit_for_bit(small: Settings, teach: Teach, tmp_path: Path, events: int) -> None:
    model = teach(HybridModel(small, seed=1), events)
    model.delete_item("i3")
    model.save(tmp_path / "model.npy")
    resumed = HybridModel.load(tmp_path / "model.npy")
    assert_same(model, resumed)
    assert_same(teach(model, 200, start=1_000), teach(resumed, 200, start=1_000))
    assert model.live(0) == resumed.live(0)
    assert model.touched() == resumed.touched()


def test_a_file_that_is_not_there_or_no_checkpoint_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="missing"):
        HybridModel.load(tmp_path / "model.npy")
    (tmp_path / "model.npy").write_bytes(b"something else, and more of it")
    with pytest.raises(ValueError, match="allow_pickle"):
        HybridModel.load(tmp_path / "model.npy")


def test_a_checkpoint_is_written_in_pieces_between_which_others_have_their_turn(
    small: Settings, tmp_path: Path
) -> None:
    rows, sizes = np.arange(1_000_000).reshape(-1, 4).T, [0]  # whose memory is in another order

    @contextmanager
    def piece() -> Iterator[None]:
        yield
        sizes.append((tmp_path / "model.npy.writing").stat().st_size)

    checkpoint.save(tmp_path / "model.npy", small, 1, {"none": rows[:, :0], "rows": rows}, piece)
    assert max(map(sub, sizes[1:], sizes)) < rows.nbytes / 10
    settings, seed, state = checkpoint.load(tmp_path / "model.npy")
    assert (settings, seed) == (small, 1)
    assert state["none"].shape == (4, 0)
    assert np.array_equal(state["rows"], rows)
