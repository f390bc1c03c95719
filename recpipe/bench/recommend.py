"""GET /v1/recommendations under load from wrk, on a pipeline with a catalogue and a history.

Baseline, in the same run: GET /healthz, which is what HTTP alone costs.
"""

import asyncio
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recpipe.bench.running import pipeline_running
from recpipe.bench.stream import Catalogue, events
from recpipe.cli.replay import replay_events
from recpipe.client import Client
from recpipe.local.home import Home

CONNECTIONS = 8
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
class Recommend:
    items: int
    degraded: int
    """Of a hundred answers looked at after the load; 0 unless the model fell behind."""
    recommendations: Load
    healthz: Load


async def measure_recommend(items: int, count: int, seconds: int) -> Recommend:
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
        recommendations = await _wrk(home, "/", script, seconds)
        healthz = await _wrk(home, "/healthz", "", seconds)
        answers = [await client.recommendations(f"u{user}", 20) for user in range(100)]
    degraded = sum(bool(answer["degraded"]) for answer in answers)
    return Recommend(items, degraded, recommendations, healthz)


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
