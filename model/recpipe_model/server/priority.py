"""Work that leaves the processor to requests."""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_NICENESS = 10  # above the other threads'
_NICEST = 19  # that Linux has
_LONGEST_REST_SECONDS = 0.2

T = TypeVar("T")


def gently(piece: Callable[[], T]) -> T:
    """Runs a piece of what computes for long without the interpreter's lock, and then rests for twice the time.

    At low priority; with the lock that would be worse than none, for others would wait for a thread that waits for a
    core. The rest lets them catch up where all cores are busy.
    """
    started = time.perf_counter()
    try:
        with ThreadPoolExecutor(1, "gently", initializer=_yield_to_others) as thread:
            return thread.submit(piece).result()
    finally:
        time.sleep(min(2 * (time.perf_counter() - started), _LONGEST_REST_SECONDS))


def _yield_to_others() -> None:
    """Lowers this thread's priority; Linux alone has one of each thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _NICEST))
