"""Work that leaves the processor to requests."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

PATIENCE_SECONDS = 2.0
_NICENESS = 10  # above the other threads'
_NICEST = 19  # that Linux has
_LONGEST_REST_SECONDS = 0.2

T = TypeVar("T")


@contextmanager
def resting() -> Iterator[None]:
    """Rests for twice the time that the body took: others catch up meanwhile, where all cores are busy."""
    started = time.perf_counter()
    try:
        yield
    finally:
        time.sleep(min(2 * (time.perf_counter() - started), _LONGEST_REST_SECONDS))


def take_turns() -> None:
    """This thread, and those that it starts, no longer interrupt another when they wake, but wait for their turn.

    On Linux (`SCHED_BATCH`). For threads that share one core with those they give work to: each interruption costs,
    and what wakes meanwhile can be done at once later.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # a sandbox may know of no priorities
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_BATCH, os.sched_param(0))


class Background:
    """Runs pieces of what computes for long without the interpreter's lock, in the time that others leave.

    On Linux, which has priorities of threads. With the lock, low priority would be worse than none: others would wait
    for a thread that waits for a core.
    """

    def __init__(self) -> None:
        self._patience = PATIENCE_SECONDS

    def run(self, piece: Callable[[], T]) -> T:
        """What the piece gives; then rests.

        It is interrupted whenever another thread wants the core. After waiting for `PATIENCE_SECONDS` in all, pieces
        get a small share of it instead: they must come to an end on a machine that is never idle.
        """
        thread = _IDLE if self._patience > 0 else _NICE
        with resting():
            return thread.submit(self._timed, piece).result()

    def _timed(self, piece: Callable[[], T]) -> T:
        before = _not_computing()
        try:
            return piece()
        finally:
            self._patience -= _not_computing() - before


def _become_idle() -> None:
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may know of no priorities
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def _become_nice() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _NICEST))


# Two threads for the life of the process, for none gets its priority back; and TensorFlow remembers, for each thread,
# what it looked up to prepare a graph: in a new one that takes six times as long.
_IDLE = ThreadPoolExecutor(1, "idle", initializer=_become_idle)
_NICE = ThreadPoolExecutor(1, "nice", initializer=_become_nice)


def _not_computing() -> float:
    """Seconds, from some moment on, in which this thread had no processor."""
    return time.perf_counter() - time.thread_time()
