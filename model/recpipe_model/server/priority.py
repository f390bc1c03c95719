"""Work that takes only what requests leave of the processor."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_NICENESS = 10  # above the other threads'
_NICEST = 19  # that Linux has

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> T:
    """Runs what computes for long without the interpreter's lock, and waits for it.

    With the lock it would be worse than at full priority: the others would wait for a thread that waits for a core.
    """
    with ThreadPoolExecutor(1, "background", initializer=_yield_to_others) as thread:
        return thread.submit(work).result()


def _yield_to_others() -> None:
    """Lowers this thread's priority; Linux alone has one of each thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _NICEST))
