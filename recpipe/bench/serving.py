"""Predict requests a second of the model server, for an export of the whole hybrid.

Baseline, in the same run: numpy alone in this process, the top k of one user's vector against all
item vectors of the same size, with no server and no hybrid around it.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from recpipe.bench.stream import CLUSTER, Catalogue, name
from recpipe.local.home import free_port

K = 20
RECENT = 10
EVENTS = 30_000
USERS = 3_000
CALLERS = 32
START_SECONDS = 180.0
MODEL = "bench"


@dataclass(frozen=True)
class ServingLoad:
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


@dataclass(frozen=True)
class Serving:
    items: int
    dimensions: int
    k: int
    export_seconds: float
    export_mib: float
    closed_loop: ServingLoad
    """As many callers as CALLERS, each sending its next request on its last one's answer."""
    open_loop: ServingLoad
    """At a steady rate, timed from when each request was due."""
    numpy_us: float
    """Baseline."""


def measure_serving(items: int, dimensions: int, seconds: int, rate: float) -> Serving:
    return asyncio.run(_measure(items, dimensions, seconds, rate))


async def _measure(items: int, dimensions: int, seconds: int, rate: float) -> Serving:
    from recpipe_model.server.load import measure_predict

    with tempfile.TemporaryDirectory(prefix="recpipe-bench-") as folder:
        # The model goes with the process that trains it: what measures is small, and does nothing else.
        with ProcessPoolExecutor(1, get_context("spawn")) as trainer:
            inputs, export_seconds = trainer.submit(_export, items, dimensions, Path(folder)).result()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        async with _served(Path(folder)) as target:

            async def load(**kind: Any) -> ServingLoad:
                found = await asyncio.to_thread(measure_predict, target, MODEL, inputs, seconds, **kind)
                return ServingLoad(
                    found.requests_per_second, found.p50_ms, found.p99_ms, sum(found.failed.values())
                )

            closed = await load(concurrency=CALLERS)
            steady = await load(rate=rate)
    return Serving(
        items=items,
        dimensions=dimensions,
        k=K,
        export_seconds=export_seconds,
        export_mib=size / 2**20,
        closed_loop=closed,
        open_loop=steady,
        numpy_us=_numpy_alone(items, dimensions),
    )


def _export(items: int, dimensions: int, folder: Path) -> tuple[dict[str, Any], float]:
    """Leaves a version in the folder; gives a request, and the seconds that exporting took."""
    from recpipe_model.export import export

    model, inputs = trained(items, dimensions)
    begun = time.perf_counter()
    export(model, folder, 1)
    return inputs, time.perf_counter() - begun


def trained(items: int, dimensions: int) -> tuple[Any, dict[str, Any]]:
    """A hybrid with a whole catalogue and a short stream behind it, and one request of a user with a history."""
    from recpipe_model.hybrid import HybridModel, Settings

    catalogue, choose = Catalogue(items), random.Random(0)
    model = HybridModel(Settings(dimensions=dimensions))
    for item in range(items):
        model.put_item(name(item), categories=[f"cluster-{item // CLUSTER}"], title=f"Item {item}", time=0.0)
    latest: dict[int, int] = {}
    for number in range(EVENTS):
        user = choose.randrange(USERS)
        before = latest.get(user)
        near = before is not None and choose.random() < 0.8
        item = catalogue.near(before, choose) if near and before is not None else catalogue.draw(choose)
        latest[user] = item
        model.learn(str(user), name(item), float(number))
    query = model.query_of("1", float(EVENTS))
    recent = [model.vocabulary[index] for index in query.items[:RECENT]]
    inputs = {
        "recent_items": np.array([[item.encode() for item in recent]], object),
        "recent_ages": query.ages[None, :RECENT],
        "recent_weights": query.weights[None, :RECENT],
        "rows": np.array([[model.row(item) for item in recent]], object),
        "live": np.array(model.live(since=items), object),
        "exclude": np.array([[b""]], object),
        "context": np.array([[b"device=mobile", b"hour=20"]], object),
        "k": np.array(K, np.int32),
    }
    return model, inputs


@asynccontextmanager
async def _served(models: Path) -> AsyncIterator[str]:
    """The model server as a process of its own, on a core of its own where there is more than one."""
    port, rest = free_port(), free_port()
    command = [sys.executable, "-m", "recpipe_model.server", "--model-name", MODEL]
    command += ["--model-base-path", str(models), "--port", str(port), "--rest-api-port", str(rest)]
    cores = sorted(os.sched_getaffinity(0))
    process = await asyncio.create_subprocess_exec(
        *command,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
    )
    os.sched_setaffinity(0, cores[1:] or cores)  # the load's threads are made with this
    try:
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(timeout=1.0) as client:
            while not await _available(client, f"http://127.0.0.1:{rest}/v1/models/{MODEL}"):
                if process.returncode is not None or time.monotonic() > deadline:
                    raise RuntimeError("the model server did not come up; run it by hand to see why")
                await asyncio.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
        os.sched_setaffinity(0, cores)


async def _available(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return "AVAILABLE" in (await client.get(url)).text
    except httpx.HTTPError:
        return False


def _numpy_alone(items: int, dimensions: int, repeats: int = 200) -> float:
    """Microseconds of a dot product with every item and a partial sort."""
    random_numbers = np.random.default_rng(0)
    table = random_numbers.standard_normal((items, dimensions)).astype(np.float32)
    user = random_numbers.standard_normal(dimensions).astype(np.float32)
    begun = time.perf_counter()
    for _ in range(repeats):
        scores = table @ user
        best = np.argpartition(scores, -K)[-K:]
        best[np.argsort(-scores[best])]
    return (time.perf_counter() - begun) / repeats * 1e6
