"""Adaptive batching: what is asked while a call is out goes out together next."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe_gateway.coalescer import Coalescer, OverloadedError

SECONDS = 5.0


class Doubling:
    """Answers with twice the question; holds its calls until the gate opens."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.calls: list[list[int]] = []

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.calls.append(list(questions))
        async with asyncio.timeout(SECONDS):
            await self.gate.wait()
        if -1 in questions:
            raise ConnectionError("the backend is gone")
        return [2 * question for question in questions]


async def turn() -> None:
    await asyncio.sleep(0)


async def test_a_lone_question_goes_out_at_once() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=10, waiting=10)
    answer = coalescer.submit(1)
    await turn()
    assert backend.calls == [[1]]
    backend.gate.set()
    assert await answer == 2


async def test_what_is_asked_during_a_call_goes_out_together_in_order() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=3, waiting=10)
    answers = [coalescer.submit(0)]
    await turn()
    answers += [coalescer.submit(number) for number in range(1, 6)]
    backend.gate.set()
    assert await asyncio.gather(*answers) == [0, 2, 4, 6, 8, 10]
    assert backend.calls == [[0], [1, 2, 3], [4, 5]]


async def test_more_than_may_wait_is_refused_and_what_waits_is_still_answered() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=10, waiting=3)
    answers = [coalescer.submit(0)]
    await turn()
    answers += [coalescer.submit(number, size=1) for number in (1, 2)]
    with pytest.raises(OverloadedError):
        coalescer.submit(3, size=2)
    backend.gate.set()
    assert await asyncio.gather(*answers) == [0, 2, 4]


async def test_one_question_larger_than_a_batch_goes_alone() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=3, waiting=3)
    backend.gate.set()
    assert await coalescer.submit(7, size=50) == 14


async def test_a_failed_call_fails_its_own_askers_and_no_others() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=2, waiting=10)
    answers = [coalescer.submit(number) for number in (-1, 1, 2)]
    backend.gate.set()
    first, second, third = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(first, ConnectionError)
    assert isinstance(second, ConnectionError)
    assert third == 4


async def test_who_no_longer_waits_is_not_asked_for() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=10, waiting=10)
    first = coalescer.submit(1)
    await turn()
    impatient, patient = coalescer.submit(2), coalescer.submit(3)
    impatient.cancel()
    backend.gate.set()
    assert [await first, await patient] == [2, 6]
    assert backend.calls == [[1], [3]]


async def test_drain_returns_when_all_is_answered() -> None:
    backend = Doubling()
    coalescer = Coalescer(backend, batch=1, waiting=10)
    answers = [coalescer.submit(number) for number in range(4)]
    backend.gate.set()
    async with asyncio.timeout(SECONDS):
        await coalescer.drain()
    assert all(answer.done() for answer in answers)


@given(
    sizes=st.lists(st.integers(1, 5), max_size=30),
    batch=st.integers(1, 8),
    pauses=st.sets(st.integers(0, 30)),
)
def test_every_question_gets_its_own_answer_whatever_the_batches(
    sizes: list[int], batch: int, pauses: set[int]
) -> None:
    async def scenario() -> None:
        backend = Doubling()
        backend.gate.set()
        coalescer = Coalescer(backend, batch=batch, waiting=1_000)
        answers = []
        for number, size in enumerate(sizes):
            answers.append(coalescer.submit(number, size))
            if number in pauses:
                await turn()
        assert await asyncio.gather(*answers) == [2 * number for number in range(len(sizes))]
        assert [each for call in backend.calls for each in call] == list(range(len(sizes)))
        assert all(len(call) == 1 or sum(sizes[each] for each in call) <= batch for call in backend.calls)

    asyncio.run(scenario())
