"""Calls that wait are run together where they may be, and none waits for others to come."""

import threading
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recpipe_model.server.batcher import Batcher

SECONDS = 10.0


class Runs:
    """What a batcher ran; the first run ends when `go` is set."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()
        self.began = threading.Event()
        self.ended = threading.Semaphore(0)

    def __call__(self, calls):
        self.began.set()
        assert self.go.wait(SECONDS)
        self.batches.append(list(calls))
        for _ in calls:
            self.ended.release()

    def wait(self, calls):
        for _ in range(calls):
            assert self.ended.acquire(timeout=SECONDS)


@pytest.fixture
def runs():
    return Runs()


@contextmanager
def busy(runs):
    """A batcher whose only thread runs a call, until the block ends."""
    batcher = Batcher(runs, threads=1)
    batcher.submit("first")
    assert runs.began.wait(SECONDS)
    try:
        yield batcher
    finally:
        runs.go.set()


def test_a_lone_call_is_run_at_once(runs):
    runs.go.set()
    Batcher(runs, threads=1).submit("lone", kind="a", most=8)
    runs.wait(1)
    assert runs.batches == [["lone"]]


def test_calls_of_a_kind_that_came_meanwhile_are_run_together(runs):
    with busy(runs) as batcher:
        for number in range(4):
            batcher.submit(number, kind="a", most=8)
        assert batcher.pending == 5
    runs.wait(5)
    assert runs.batches == [["first"], [0, 1, 2, 3]]


def test_calls_without_a_kind_are_run_one_by_one(runs):
    with busy(runs) as batcher:
        batcher.submit("a")
        batcher.submit("b")
    runs.wait(3)
    assert runs.batches == [["first"], ["a"], ["b"]]


def test_a_kind_with_many_calls_keeps_no_other_waiting(runs):
    with busy(runs) as batcher:
        for number in range(6):
            batcher.submit(number, kind="a", most=2)
        batcher.submit("b", kind="b", most=2)
    runs.wait(8)
    assert runs.batches == [["first"], [0, 1], ["b"], [2, 3], [4, 5]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("ab"), max_size=40), st.sampled_from([1, 2, 8]), st.integers(1, 3))
def test_every_call_is_run_once_in_the_order_of_its_kind_and_in_batches_of_a_power_of_two(
    kinds, most, threads
):
    runs = Runs()
    batcher = Batcher(runs, threads)
    for number, kind in enumerate(kinds):
        batcher.submit((kind, number), kind, most)
    runs.go.set()
    runs.wait(len(kinds))
    assert sorted(call for batch in runs.batches for call in batch) == sorted(
        zip(kinds, range(len(kinds)), strict=True)
    )
    for batch in runs.batches:
        assert len(batch) in {1, 2, 4, 8}
        assert len(batch) <= most
        assert len({kind for kind, _ in batch}) == 1
        assert batch == sorted(batch)
