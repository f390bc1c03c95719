"""Calls that wait are run together where they may be."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

C = TypeVar("C")


@dataclass(slots=True)
class _Group(Generic[C]):
    """Calls of one kind, of which so many may be run at once."""

    kind: Any
    most: int
    calls: deque[C] = field(default_factory=deque)


class Batcher(Generic[C]):
    """Runs calls in threads of its own, and together those of a kind that came while the threads were busy.

    None waits for others to come: a lone call is run at once, and batches grow with the load.

    Args:
        run: runs calls of one kind, in the order in which they came: one, or a power of two. It must not raise.
        threads: that run them.
    """

    def __init__(self, run: Callable[[Sequence[C]], None], threads: int) -> None:
        self._run = run
        self._waiting: deque[_Group[C]] = deque()
        self._changed = threading.Condition()
        self.pending = 0
        """Calls that wait or run."""
        for number in range(threads):
            threading.Thread(target=self._work, name=f"predict-{number}", daemon=True).start()

    def submit(self, call: C, kind: Any = None, most: int = 1) -> None:
        """Runs a call soon.

        Args:
            kind: of calls that may be run together, compared by ==; None for one that is run alone.
            most: how many of them.
        """
        with self._changed:
            self.pending += 1
            group = self._group(kind)
            if group is None:
                group = _Group(kind, most)
                self._waiting.append(group)
            group.calls.append(call)
            self._changed.notify()

    def _group(self, kind: Any) -> _Group[C] | None:
        if kind is None:
            return None
        return next((group for group in self._waiting if group.kind == kind), None)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                calls = self._take()
            self._run(calls)
            with self._changed:
                self.pending -= len(calls)

    def _take(self) -> list[C]:
        group = self._waiting.popleft()
        count = min(len(group.calls), group.most)
        count = 1 << (count.bit_length() - 1)  # the powers of two are what is prepared
        calls = [group.calls.popleft() for _ in range(count)]
        if group.calls:
            self._waiting.append(group)  # behind the others: no kind keeps another waiting
        return calls
