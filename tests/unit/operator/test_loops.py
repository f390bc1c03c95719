"""One pipeline never waits for another."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from recpipe_operator.loops import Known, Loops


def resource(name: str, generation: int = 1, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name, "uid": name, "generation": generation, **metadata}}


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_pipeline_that_hangs_delays_no_other() -> None:
    seen: list[str] = []

    async def reconcile(known: Known) -> float:
        name = known.resource["metadata"]["name"]
        if name == "broken":
            await asyncio.Event().wait()
        seen.append(name)
        return 60.0

    loops = Loops(reconcile)
    for name in ("broken", *(f"p{n}" for n in range(50))):
        loops.seen(resource(name))
    await until(lambda: len(seen) == 50)


async def test_a_failure_is_tried_again_and_a_burst_of_triggers_is_one() -> None:
    calls: list[int] = []

    async def reconcile(known: Known) -> float:
        calls.append(known.generation)
        if len(calls) == 1:
            raise RuntimeError("the first one fails")
        return 60.0

    loops = Loops(reconcile)
    loops.seen(resource("p"))
    await until(lambda: len(calls) == 2)
    for _ in range(20):
        loops.touched(("ns", "p"))
    await until(lambda: len(calls) == 3)
    await asyncio.sleep(0.5)
    assert len(calls) == 3


async def test_our_own_writes_of_the_status_are_no_trigger() -> None:
    calls: list[int] = []

    async def reconcile(known: Known) -> float:
        calls.append(known.generation)
        return 60.0

    loops = Loops(reconcile)
    loops.seen(resource("p"))
    await until(lambda: len(calls) == 1)
    loops.seen(resource("p", resourceVersion="2") | {"status": {"observedGeneration": 1}})
    await asyncio.sleep(0.5)
    assert calls == [1]
    loops.seen(resource("p", generation=2))
    await until(lambda: calls == [1, 2])


async def test_the_loop_of_a_pipeline_that_is_gone_ends() -> None:
    calls: list[int] = []

    async def reconcile(known: Known) -> float:
        calls.append(1)
        return 0.05

    loops = Loops(reconcile)
    loops.seen(resource("p"))
    await until(lambda: len(calls) > 2)
    loops.gone(resource("p"))
    await asyncio.sleep(0.1)
    ended = len(calls)
    await asyncio.sleep(0.3)
    assert len(calls) == ended


@pytest.mark.parametrize("steps", range(4))
async def test_an_object_that_changes_while_its_pipeline_goes_wakes_nobody(steps: int) -> None:
    calls: list[int] = []

    async def reconcile(known: Known) -> float:
        calls.append(1)
        return 60.0

    loops = Loops(reconcile)
    loops.seen(resource("p"))
    await until(lambda: len(calls) == 1)
    await asyncio.sleep(0.05)
    loops.touched(("ns", "p"))
    for _ in range(steps):
        await asyncio.sleep(0)
    loops.gone(resource("p"))
    await asyncio.sleep(0.4)
    assert len(calls) == 1


async def test_a_reconciliation_that_survives_its_end_is_the_last() -> None:
    calls: list[int] = []

    async def reconcile(known: Known) -> float:
        calls.append(1)
        with suppress(asyncio.CancelledError):  # as libraries do that are cut off amid an error of their own
            await asyncio.sleep(60)
        return 0.01

    loops = Loops(reconcile)
    loops.seen(resource("p"))
    await until(lambda: len(calls) == 1)
    loops.gone(resource("p"))
    await asyncio.sleep(0.3)
    assert len(calls) == 1
