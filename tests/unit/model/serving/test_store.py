"""The model store follows its directories, and never drops a version that a request still holds."""

import threading
import time
from collections import Counter

import grpc
import pytest

from recpipe_model.client import VersionState as State
from recpipe_model.server.config import All, Latest, ModelConfig, Specific
from recpipe_model.server.status import StatusError
from recpipe_model.server.store import ModelStore

SECONDS = 5.0


class Loaded:
    """A servable that only knows whether it was closed."""

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


class Disk:
    """A base path, and what happened to the versions in it."""

    def __init__(self, path):
        self.path = path
        self.broken = set()
        self.gates = {}
        self.attempts = Counter()
        self.seen = []
        self._changed = threading.Condition()

    def add(self, *numbers):
        for number in numbers:
            (self.path / str(number)).mkdir(parents=True)

    def remove(self, number):
        (self.path / str(number)).rmdir()

    def load(self, version):
        self.attempts[version.number] += 1
        if version.number in self.gates:
            assert self.gates[version.number].wait(SECONDS)
        if version.number in self.broken:
            raise StatusError(grpc.StatusCode.DATA_LOSS, "checksum mismatch")
        return Loaded()

    def record(self, version):
        with self._changed:
            self.seen.append((version.number, version.state))
            self._changed.notify_all()

    def wait_until(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, SECONDS), f"still not, after {self.seen}"

    def wait_for(self, number, state, times=1):
        self.wait_until(lambda: self.seen.count((number, state)) >= times)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "m")


@pytest.fixture
def make_store(disk):
    stores = []

    def make(*configs, **options):
        store = ModelStore(disk.load, **{"poll_seconds": 0.005, "on_change": disk.record} | options)
        store.start(configs or [ModelConfig("m", disk.path)])
        stores.append(store)
        return store

    yield make
    for store in stores:
        assert store.close(timeout=SECONDS)


def latest(store):
    version = store.borrow("m", None, None)
    store.give_back(version)
    return version.number


def states(store):
    return {status.version: status.state for status in store.statuses("m", None, None)}


def test_before_any_version_exists_there_is_nothing_and_that_is_no_failure(disk, make_store):
    store = make_store()
    assert not store.ready()
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(m\)"):
        store.borrow("m", None, None)
    with pytest.raises(StatusError, match="Could not find any versions of model m"):
        store.statuses("m", None, None)
    disk.add(1)
    disk.wait_for(1, State.AVAILABLE)
    assert store.ready()
    assert latest(store) == 1


def test_a_new_version_is_available_before_the_old_one_unloads(disk, make_store):
    disk.add(1)
    make_store()
    disk.wait_for(1, State.AVAILABLE)
    disk.add(2)
    disk.wait_for(1, State.END)
    assert disk.seen.index((2, State.AVAILABLE)) < disk.seen.index((1, State.UNLOADING))


def test_while_a_version_loads_the_old_one_serves(disk, make_store):
    disk.add(1)
    store = make_store()
    disk.wait_for(1, State.AVAILABLE)
    disk.gates[2] = threading.Event()
    disk.add(2)
    disk.wait_for(2, State.LOADING)
    assert latest(store) == 1
    disk.gates[2].set()
    disk.wait_for(2, State.AVAILABLE)
    assert latest(store) == 2


def test_a_version_stays_open_until_its_last_request_gives_it_back(disk, make_store):
    disk.add(1)
    store = make_store()
    disk.wait_for(1, State.AVAILABLE)
    held = [store.borrow("m", None, None) for _ in range(2)]
    servable = held[0].servable
    disk.add(2)
    disk.wait_for(1, State.UNLOADING)
    store.give_back(held.pop())
    assert states(store) == {2: State.AVAILABLE, 1: State.UNLOADING}
    assert not servable.closed
    store.give_back(held.pop())
    disk.wait_for(1, State.END)
    assert servable.closed


def test_a_broken_version_leaves_the_old_one_serving_and_says_why(disk, make_store):
    disk.add(1)
    store = make_store()
    disk.wait_for(1, State.AVAILABLE)
    disk.broken.add(2)
    disk.add(2)
    disk.wait_for(2, State.END)
    assert latest(store) == 1
    broken, good = store.statuses("m", None, None)
    assert (broken.version, broken.state, broken.message) == (2, State.END, "checksum mismatch")
    assert broken.code == grpc.StatusCode.DATA_LOSS.value[0]
    assert (good.version, good.state, good.code) == (1, State.AVAILABLE, 0)
    disk.add(3)
    disk.wait_for(1, State.END)
    assert latest(store) == 3


def test_a_broken_version_is_tried_again_a_limited_number_of_times(disk, make_store):
    disk.broken.add(1)
    disk.add(1)
    make_store(max_load_retries=2, retry_seconds=0.001)
    disk.wait_for(1, State.END, times=3)
    disk.add(2)  # once another version has come and gone through the loop, no retry was due
    disk.wait_for(2, State.AVAILABLE)
    assert disk.attempts[1] == 3


def test_a_version_that_was_half_written_loads_at_a_retry(disk, make_store):
    disk.broken.add(1)
    disk.add(1)
    store = make_store(retry_seconds=0.001)
    disk.wait_for(1, State.END)
    disk.broken.clear()
    disk.wait_for(1, State.AVAILABLE)
    assert store.statuses("m", None, None)[0].message == ""


def test_a_loader_that_fails_unexpectedly_breaks_the_version_and_not_the_store(disk, make_store):
    disk.add(1)
    calls = []

    def load(version):
        calls.append(version.number)
        if version.number == 1:
            raise KeyError("surprise")
        return Loaded()

    disk.load = load
    store = make_store()
    disk.wait_for(1, State.END)
    assert store.statuses("m", 1, None)[0].message == "KeyError: 'surprise'"
    disk.add(2)
    disk.wait_for(2, State.AVAILABLE)


def test_policies_keep_as_many_versions_as_they_say(disk, make_store):
    disk.add(1, 2, 3)
    store = make_store(ModelConfig("m", disk.path, Latest(2)))
    disk.wait_for(2, State.AVAILABLE)
    assert states(store) == {3: State.AVAILABLE, 2: State.AVAILABLE}
    store.reload([ModelConfig("m", disk.path, All())], timeout=SECONDS)
    disk.wait_for(1, State.AVAILABLE)
    store.reload([ModelConfig("m", disk.path, Specific(frozenset({1})))], timeout=SECONDS)
    disk.wait_for(3, State.END)
    disk.wait_for(2, State.END)
    assert latest(store) == 1
    with pytest.raises(StatusError, match=r"Servable not found for request: Specific\(m, 3\)"):
        store.borrow("m", 3, None)


def test_a_version_can_come_back(disk, make_store):
    disk.add(1, 2)
    store = make_store(ModelConfig("m", disk.path, Specific(frozenset({1}))))
    disk.wait_for(1, State.AVAILABLE)
    store.reload([ModelConfig("m", disk.path, Specific(frozenset({2})))], timeout=SECONDS)
    disk.wait_for(1, State.END)
    store.reload([ModelConfig("m", disk.path, Specific(frozenset({1})))], timeout=SECONDS)
    disk.wait_for(1, State.AVAILABLE, times=2)
    disk.wait_for(2, State.END)
    assert states(store) == {2: State.END, 1: State.AVAILABLE}


def test_labels_follow_the_configuration(disk, make_store):
    disk.add(1, 2)
    both = ModelConfig("m", disk.path, All(), {"stable": 1, "canary": 2})
    store = make_store(both)
    disk.wait_for(1, State.AVAILABLE)
    disk.wait_for(2, State.AVAILABLE)
    for label, number in both.labels.items():
        version = store.borrow("m", None, label)
        store.give_back(version)
        assert version.number == number
    with pytest.raises(StatusError, match="Unrecognized servable version label: beta"):
        store.borrow("m", None, "beta")
    store.reload([ModelConfig("m", disk.path, All(), {"stable": 2})], timeout=SECONDS)
    assert store.statuses("m", None, "stable")[0].version == 2


def test_a_label_may_not_be_put_on_a_version_that_is_not_there(disk, make_store):
    disk.add(1)
    store = make_store(ModelConfig("m", disk.path, labels={"stable": 1}))
    disk.wait_for(1, State.AVAILABLE)
    early = [ModelConfig("m", disk.path, labels={"stable": 1, "next": 2})]
    with pytest.raises(StatusError, match="label to version 2 of model m, which is not currently available"):
        store.reload(early, timeout=SECONDS)
    store.reload(early, timeout=SECONDS, label_unavailable=True)
    moved = [ModelConfig("m", disk.path, labels={"stable": 2})]
    with pytest.raises(StatusError, match="not currently available"):
        store.reload(moved, timeout=SECONDS, label_unavailable=True)
    assert store.statuses("m", None, "stable")[0].version == 1


def test_a_reload_waits_for_new_models_and_drops_removed_ones(disk, make_store, tmp_path):
    disk.add(1)
    store = make_store()
    disk.wait_for(1, State.AVAILABLE)
    (tmp_path / "other" / "5").mkdir(parents=True)
    store.reload([ModelConfig("other", tmp_path / "other")], timeout=SECONDS)
    version = store.borrow("other", None, None)
    store.give_back(version)
    assert version.number == 5
    disk.wait_for(1, State.END)
    with pytest.raises(StatusError, match="Servable not found"):
        store.borrow("m", None, None)


def test_a_reload_reports_a_new_model_that_does_not_load(disk, make_store, tmp_path):
    disk.add(1)
    store = make_store()
    (tmp_path / "other" / "5").mkdir(parents=True)
    disk.broken.add(5)
    with pytest.raises(
        StatusError, match=r"Some models did not become available: \{{name: other version: 5}, }"
    ):
        store.reload([ModelConfig("m", disk.path), ModelConfig("other", tmp_path / "other")], timeout=SECONDS)
    with pytest.raises(StatusError, match="No version yet of new models: empty") as late:
        store.reload([ModelConfig("m", disk.path), ModelConfig("empty", tmp_path / "empty")], timeout=0.05)
    assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_without_polling_only_a_reload_looks(disk, make_store):
    disk.add(1)
    store = make_store(poll_seconds=0)
    disk.wait_for(1, State.AVAILABLE)
    disk.add(2)
    assert latest(store) == 1
    assert 2 not in states(store)
    store.reload([ModelConfig("m", disk.path)], timeout=SECONDS)
    disk.wait_for(2, State.AVAILABLE)
    disk.wait_for(1, State.END)


def test_a_base_path_that_goes_away_unloads_nothing(disk, make_store):
    disk.add(1)
    store = make_store()
    disk.wait_for(1, State.AVAILABLE)
    away = disk.path.rename(disk.path.with_name("away"))
    (away / "2").mkdir()
    assert latest(store) == 1
    away.rename(disk.path)
    disk.wait_for(2, State.AVAILABLE)
    assert disk.seen.count((1, State.LOADING)) == 1


def test_a_base_path_that_comes_and_goes_while_it_is_read_unloads_nothing(disk, make_store):
    disk.add(1)
    make_store(poll_seconds=0.0001)
    disk.wait_for(1, State.AVAILABLE)
    for _ in range(2_000):
        disk.path.rename(disk.path.with_name("away")).rename(disk.path)
    assert disk.seen.count((1, State.LOADING)) == 1


def test_the_history_of_ended_versions_is_bounded(disk, make_store):
    store = make_store()
    for number in range(1, 25):
        disk.add(number)
        disk.wait_for(number, State.AVAILABLE)
    disk.wait_for(23, State.END)
    assert len(states(store)) <= 17


def test_many_threads_borrow_through_many_swaps(disk, make_store):
    disk.add(1)
    store = make_store()
    disk.wait_for(1, State.AVAILABLE)
    stop = threading.Event()
    faults = []

    def borrow():
        while not stop.is_set():
            version = store.borrow("m", None, None)
            if version.servable is None or version.servable.closed:
                faults.append(version.number)
            time.sleep(0)
            if version.servable is None or version.servable.closed:
                faults.append(version.number)
            store.give_back(version)

    threads = [threading.Thread(target=borrow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 12):
        disk.add(number)
        disk.wait_for(number, State.AVAILABLE)
    stop.set()
    for thread in threads:
        thread.join(SECONDS)
    assert not faults
    disk.wait_for(10, State.END)
    assert latest(store) == 11
