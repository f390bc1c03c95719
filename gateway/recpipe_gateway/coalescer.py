"""Many small calls as few large ones: adaptive batching that never waits for more."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class OverloadedError(Exception):
    """As much is waiting as may; nothing was done. Ask again later."""


class _Waiting(NamedTuple, Generic[Q, A]):
    question: Q
    size: int
    answer: "asyncio.Future[A]"


class Coalescer(Generic[Q, A]):
    """Answers together whatever was asked while the last call was out.

    One call is out at a time, so a lone question goes out at once and batches grow with the load.

    Args:
        answer_all: answers questions, in their order; what it raises, each asker gets.
        batch: the greatest total size of one call (a single larger question goes alone).
        waiting: the greatest total size that may wait.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], *, batch: int, waiting: int
    ) -> None:
        self._answer_all = answer_all
        self._batch, self._bound = batch, waiting
        self._waiting: deque[_Waiting[Q, A]] = deque()
        self._size = 0
        self._running: asyncio.Task[None] | None = None

    def submit(self, question: Q, size: int = 1) -> "asyncio.Future[A]":
        """A future of the answer; raises OverloadedError. A cancelled future's question is dropped."""
        if self._waiting and self._size + size > self._bound:
            raise OverloadedError(f"{self._size} waiting, the limit is {self._bound}")
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(question, size, answer))
        self._size += size
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return answer

    async def drain(self) -> None:
        """Returns when nothing is waiting or out."""
        while self._running:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._running = None

    def _take(self) -> list[_Waiting[Q, A]]:
        batch: list[_Waiting[Q, A]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._batch):
            each = self._waiting.popleft()
            self._size -= each.size
            if not each.answer.done():
                batch.append(each)
                size += each.size
        return batch

    async def _answer(self, batch: list[_Waiting[Q, A]]) -> None:
        try:
            answers = await self._answer_all([each.question for each in batch])
        except Exception as error:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for each, answer in zip(batch, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)
