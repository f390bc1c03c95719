"""GET /v1/recommendations under load, on a pipeline with a catalogue and a history.

As much as wrk gets through, then a steady rate, during which the model server changes to other versions.
Baseline, in the same run: GET /healthz, which is what HTTP alone costs.
"""

import asyncio
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import psutil  # type: ignore[import-untyped]

from recpipe.bench.figures import Latency
from recpipe.bench.http_load import Sample, steady
from recpipe.bench.running import pipeline_running
from recpipe.bench.stream import Catalogue, events
from recpipe.cli.replay import replay_events
from recpipe.client import Client
from recpipe.local.home import Home

CONNECTIONS = 8
USERS = 5_000
SWAPS = 3
STEADY_SECONDS = 8.0
"""Between what is around one swap and the next."""
AROUND_SECONDS = 5.0
WARM_SECONDS = 1.0
"""Of the steady load, not timed: connections are opened, and what was idle wakes. Its errors count."""
_SCRIPT = """
math.randomseed(7)
request = function()
  local path = "/v1/recommendations?k=20&user_id=u" .. math.random(0, 4999)
  return wrk.format("GET", path, {["Authorization"] = "Bearer %s"})
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1_000.0}


@dataclass(frozen=True)
class Load:
    """One run of wrk."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True)
class Swap:
    """Answers at a steady rate, and around changes of the model's version, with nothing else going on."""

    rate: float
    steady: Latency
    around_swap: Latency
    """In the five seconds around each first answer of a new version: it was loaded in them."""
    ratio: float
    """Of the two p99."""
    errors: int


@dataclass(frozen=True)
class Recommend:
    items: int
    degraded: int
    """Of a hundred answers looked at after the load; 0 unless the model fell behind."""
    recommendations: Load
    cpu_us: dict[str, float]
    """Of each part's processor time, what a request of that load takes."""
    at_steady_rate: Swap
    healthz: Load


async def measure_recommend(items: int, count: int, seconds: int, rate: float) -> Recommend:
    """Raises FileNotFoundError, with how to get it, where wrk is missing."""
    if shutil.which("wrk") is None:
        raise FileNotFoundError("wrk makes the load: apt-get install wrk")
    catalogue = Catalogue(items)
    async with pipeline_running() as home, Client(home.endpoints().gateway, home.key("private")) as client:
        await client.import_items(catalogue.metadata())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "events.jsonl"
            file.write_bytes(b"\n".join(events(count, catalogue)))
            await replay_events(home, file)
        await client.model_served()
        script = _SCRIPT % home.key("private")
        await _wrk(home, "/", script, 3)  # warm
        before = _processor_seconds(home)
        recommendations = await _wrk(home, "/", script, seconds)
        requests = recommendations.requests_per_second * seconds
        cpu = {part: (now - before[part]) / requests * 1e6 for part, now in _processor_seconds(home).items()}
        swap = await _swap(home, rate)
        healthz = await _wrk(home, "/healthz", "", seconds)
        answers = [await client.recommendations(f"u{user}", 20) for user in range(100)]
    degraded = sum(bool(answer["degraded"]) for answer in answers)
    return Recommend(items, degraded, recommendations, cpu, swap, healthz)


def _processor_seconds(home: Home) -> dict[str, float]:
    times = {name: psutil.Process(pid).cpu_times() for name, pid in home.endpoints().pids.items()}
    return {name: each.user + each.system for name, each in times.items()}


async def _swap(home: Home, rate: float) -> Swap:
    """New versions are made of the newest one, as TensorFlow Serving would see any other; copied before the load."""
    newest = max(int(path.name) for path in home.models.iterdir() if path.name.isdigit())
    versions = range(newest + 1, newest + 1 + SWAPS)
    for version in versions:
        shutil.copytree(home.models / str(newest), home.models / f".{version}.bench")

    async def swap() -> None:
        await asyncio.sleep(WARM_SECONDS)
        for version in versions:
            await asyncio.sleep(STEADY_SECONDS + AROUND_SECONDS)
            (home.models / f".{version}.bench").rename(home.models / str(version))

    def path_of(number: int) -> str:
        return f"/v1/recommendations?k=20&user_id=u{number * 7919 % USERS}"

    where, key = home.endpoints().gateway, home.key("private")
    seconds = (SWAPS + 1) * (STEADY_SECONDS + AROUND_SECONDS)
    samples, _ = await asyncio.gather(
        asyncio.to_thread(steady, where, path_of, key, rate, WARM_SECONDS + seconds), swap()
    )
    warm = min(sample.due for sample in samples) + WARM_SECONDS
    first = _first_answers(samples)
    if missing := set(versions) - first.keys():
        raise RuntimeError(f"no answer came of model versions {missing} within {STEADY_SECONDS:.0f} s each")
    swapped_at = [first[version] for version in versions]
    calm, around = list[float](), list[float]()
    for sample in (sample for sample in samples if sample.due >= warm):
        near = any(abs(sample.due - moment) <= AROUND_SECONDS / 2 for moment in swapped_at)
        (around if near else calm).append(sample.seconds)
    steadily, swapping = Latency.of(calm), Latency.of(around)
    errors = sum(sample.status != httpx.codes.OK for sample in samples)
    return Swap(rate, steadily, swapping, swapping.p99_ms / steadily.p99_ms, errors)


def _first_answers(samples: Sequence[Sample]) -> dict[int, float]:
    """When the first answer of each model version came."""
    first: dict[int, float] = {}
    for sample in samples:
        if sample.status == httpx.codes.OK:
            version = msgspec.json.decode(sample.body)["model_version"]
            first[version] = min(first.get(version, math.inf), sample.due + sample.seconds)
    return first


async def _wrk(home: Home, path: str, script: str, seconds: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"] + (
            ["-s", file.name] if script else []
        )
        process = await asyncio.create_subprocess_exec(
            "wrk", *options, home.endpoints().gateway + path, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    text = output.decode()
    found = {
        share: float(value) * _UNITS[unit]
        for share, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", text)
    }
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if rate is None:
        raise RuntimeError(f"wrk said nothing of requests: {text}")
    return Load(float(rate[1]), found["50"], found["99"], int(errors[1]) if errors else 0)
