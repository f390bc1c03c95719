"""What may take long gives way to requests."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recpipe import priority
from recpipe.priority import Background, take_turns

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority of each thread")


def standing() -> tuple[int, int]:
    """The policy and the niceness of this thread."""
    thread = threading.get_native_id()
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)


@linux
def test_background_work_gets_what_others_leave() -> None:
    before = standing()
    assert Background().run(standing)[0] == os.SCHED_IDLE
    assert standing() == before


@linux
def test_background_work_that_had_to_wait_too_long_gets_a_small_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(priority, "PATIENCE_SECONDS", 0.01)
    background = Background()
    background.run(lambda: time.sleep(0.02))  # as where nothing is left
    policy, niceness = background.run(standing)
    assert policy == os.SCHED_OTHER
    assert niceness > standing()[1]


def test_work_that_computes_does_not_count_as_waiting() -> None:
    background = Background()
    background.run(lambda: sum(range(1_000_000)))
    assert background._patience > priority.PATIENCE_SECONDS / 2


@linux
def test_a_thread_that_takes_turns_interrupts_none_nor_do_those_it_starts() -> None:
    def work() -> list[tuple[int, int]]:
        take_turns()
        with ThreadPoolExecutor(1) as child:
            return [standing(), child.submit(standing).result()]

    before = standing()
    with ThreadPoolExecutor(1) as thread:
        policies = [policy for policy, _ in thread.submit(work).result()]
    assert policies == [os.SCHED_BATCH, os.SCHED_BATCH]
    assert standing() == before


@linux
def test_where_priorities_cannot_be_set_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("this policy is not known here")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(priority, "_IDLE", ThreadPoolExecutor(1, initializer=priority._become_idle))
    take_turns()
    assert Background().run(lambda: 42) == 42


def test_all_of_it_is_done_by_one_thread_which_remembers_what_it_looked_up() -> None:
    assert Background().run(threading.get_native_id) == Background().run(threading.get_native_id)


def test_what_fails_fails_for_who_asked() -> None:
    with pytest.raises(ZeroDivisionError):
        Background().run(lambda: 1 // 0)


def test_it_rests_longer_than_it_worked() -> None:
    started = time.perf_counter()
    worked = Background().run(lambda: (time.sleep(0.02), time.perf_counter() - started)[1])
    assert time.perf_counter() - started > 2.5 * worked
