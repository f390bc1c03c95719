"""Load on a prediction server, and how it answers: for benchmarks. Run it in another process than the server."""

import asyncio
import gc
import selectors
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import grpc
import grpc.aio
import numpy as np
from numpy.typing import ArrayLike

from recpipe_model.client._calls import DEFAULT_OPTIONS, predict_request
from recpipe_model.client._protos import PREDICT

_MAX_WAITING = 4096


@dataclass(frozen=True)
class Load:
    """What was measured; latencies are of the calls that succeeded."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    requests: int
    failed: Mapping[str, int] = field(default_factory=dict)  # by status code

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def measure_predict(
    target: str,
    model: str,
    inputs: Mapping[str, ArrayLike],
    seconds: float,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    signature: str = "",
    timeout: float = 5.0,
    warm_up_seconds: float = 0.5,
) -> Load:
    """Send one request over and over.

    Args:
        target: the server's address.
        model, signature, inputs: the request.
        seconds: how long to measure.
        concurrency: closed loop: so many callers, each sending its next request on its last one's answer. Finds the
            greatest throughput.
        rate: open loop: so many requests a second, sent when they are due whether or not others have been answered,
            and timed from when they were due, as users would see it. Give this or `concurrency`.
        timeout: seconds until a call fails.
        warm_up_seconds: of the same load, before measuring.

    Raises:
        ValueError: neither or both of `concurrency` and `rate`.
        RuntimeError: more than 4,096 calls wait: the server cannot keep up with `rate`.
    """
    if (concurrency is None) == (rate is None):
        raise ValueError("give concurrency (closed loop) or rate (open loop), one of them")
    request = predict_request(model, signature, inputs, (), None, None).SerializeToString()
    with undisturbed(), asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(_measure(target, request, seconds, concurrency, rate, timeout, warm_up_seconds))


@contextmanager
def undisturbed() -> Iterator[None]:
    """No collection of garbage meanwhile, whose tens of milliseconds would be counted as the server's."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes when it should: the usual one rounds every wait up to a millisecond of epoll's.

    For loads, which would count their own lateness as the server's. No file number may reach 1,024.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _measure(
    target: str,
    request: bytes,
    seconds: float,
    concurrency: int | None,
    rate: float | None,
    timeout: float,  # noqa: ASYNC109 - the calls' deadline
    warm_up_seconds: float,
) -> Load:
    async with grpc.aio.insecure_channel(target, options=DEFAULT_OPTIONS) as channel:
        predict = channel.unary_unary(PREDICT)
        latencies: list[float] = []
        failed: Counter[str] = Counter()

        async def call(due: float) -> None:
            try:
                await predict(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                failed[error.code().name] += 1
            else:
                latencies.append(time.perf_counter() - due)

        async def run(duration: float) -> float:
            started = time.perf_counter()
            end = started + duration
            if concurrency is not None:
                await asyncio.gather(*(_closed_loop(call, end) for _ in range(concurrency)))
            elif rate is not None:
                await _open_loop(call, started, end, rate)
            return time.perf_counter() - started

        await run(warm_up_seconds)
        latencies.clear()
        failed.clear()
        elapsed = await run(seconds)
    milliseconds = np.array(latencies or [np.nan]) * 1e3
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return Load(
        requests_per_second=len(latencies) / elapsed,
        p50_ms=float(p50),
        p99_ms=float(p99),
        max_ms=float(milliseconds.max()),
        requests=len(latencies) + failed.total(),
        failed=dict(failed),
    )


async def _closed_loop(call: Callable[[float], Awaitable[None]], end: float) -> None:
    while (now := time.perf_counter()) < end:
        await call(now)


async def _open_loop(
    call: Callable[[float], Coroutine[None, None, None]], due: float, end: float, rate: float
) -> None:
    waiting: set[asyncio.Task[None]] = set()
    while due < end:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        if len(waiting) >= _MAX_WAITING:
            raise RuntimeError(
                f"{len(waiting)} calls wait for an answer: the server cannot keep up with {rate}/s"
            )
        task = asyncio.create_task(call(due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        due += 1 / rate
    if waiting:
        await asyncio.wait(waiting)
