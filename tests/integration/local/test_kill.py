"""kill -9 of any one process of `recpipe run`, mid-replay: nothing is lost and nothing counts twice."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recpipe.cli.replay import Counts, Gauge
from recpipe.client import Client
from recpipe.local.home import Home, NotRunningError
from recpipe.schema import FEATURES
from recpipe.state import UserState
from recpipe.store import Keys, connect

PIPELINE = """\
apiVersion: recpipe.dev/v1alpha1
kind: RecommenderPipeline
metadata: {name: kill}
spec:
  cleaning: {bots: {enabled: false}}
  model: {checkpointInterval: 1s}
  gateway: {userEventsPerSecond: 100000}
"""
EVENTS, USERS, BATCH = 3_000, 40, 50
KILL_AT_EVENT = 750
BEGIN = 1_764_000_000
DRAIN_SECONDS = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("kill")
    file = folder / "pipeline.yaml"
    file.write_text(PIPELINE.replace("cleaning: {", "cleaning: {maxLateness: 876000h, "))
    home = Home(folder / "home")
    command = [sys.executable, "-m", "recpipe.cli", "run", "-f", str(file), "--home", str(home.path)]
    with (folder / "run.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _until_up(home, process, folder / "run.log")
            yield home
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _until_up(home: Home, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            home.endpoints()
        except NotRunningError:
            time.sleep(0.2)
            continue
        return
    raise AssertionError(f"the pipeline did not come up: {log.read_text()}")


def events(run: str) -> list[bytes]:
    """The same story for each run, told of users of its own."""
    return [
        msgspec.json.encode(
            {
                "event_id": f"{run}-{number}",
                "user_id": f"{run}:{number * 7 % USERS}",
                "session_id": f"s{number // 1_000}",
                "event_type": ("click", "hover", "scroll", "purchase")[number % 4],
                "timestamp": datetime.fromtimestamp(BEGIN + number, UTC),
                "page_url": f"https://shop.example/items/{number * 13 % 97}",
            }
        )
        for number in range(EVENTS)
    ]


async def replay(home: Home, run: str, kill: str | None) -> Counts:
    """Sends the story, kills one part on the way, waits until all is learned; what it added to the counts."""
    gauge = Gauge(home)
    before, _ = await gauge.read()
    async with Client(home.endpoints().gateway, home.key("public")) as client:
        async for sent in client.send(events(run), batch=BATCH):
            if kill and sent.total == KILL_AT_EVENT:
                os.kill(home.endpoints().pids[kill], signal.SIGKILL)
    deadline = time.monotonic() + DRAIN_SECONDS
    await gauge.close()
    while True:
        gauge = Gauge(home)
        try:
            now, _ = await gauge.read()
        except OSError:
            now = before
        finally:
            await gauge.close()
        counts = now.since(before)
        if counts.drained and counts.clean >= EVENTS:
            return counts
        assert time.monotonic() < deadline, f"not drained: {counts}"
        await asyncio.sleep(0.2)


async def outcome(home: Home, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run left: its users' states, and its feature rows by event."""
    client, keys = connect(home.endpoints().store), Keys(home.endpoints().pipeline)
    users = [f"{run}:{number}" for number in range(USERS)]
    values = await client.mget([keys.state(user) for user in users])
    states = {}
    for number, value in enumerate(values):
        state = msgspec.structs.asdict(UserState.decode(value))
        del state["position"]  # says when it was stored, not what happened
        states[str(number)] = state
    rows: dict[str, Any] = {}
    for partition in range(4):
        for _, fields in await client.xrange(f"kill-features:{partition}"):
            row = FEATURES.decode(fields[b"v"])
            if row["user_id"].startswith(f"{run}:"):
                told = {k: v for k, v in row.items() if k not in {"event_id", "user_id", "ingested_at"}}
                number = row["event_id"].partition("-")[2]
                assert rows.setdefault(number, told) == told, "a repeated row differs from the first"
    await client.aclose()
    return states, rows


@pytest.fixture(scope="module")
def undisturbed(home: Home) -> tuple[dict[str, Any], dict[str, Any]]:
    counts = asyncio.run(replay(home, "calm", kill=None))
    assert counts == Counts(admitted=EVENTS, clean=EVENTS, rows=EVENTS, learned=EVENTS)
    states, rows = asyncio.run(outcome(home, "calm"))
    assert len(rows) == EVENTS
    assert sum(state["events"] for state in states.values()) == EVENTS
    return states, rows


@pytest.mark.parametrize("part", ["clean", "features", "learner", "serving", "gateway", "valkey"])
def test_killing_a_part_changes_neither_counts_nor_features(
    home: Home, undisturbed: tuple[dict[str, Any], dict[str, Any]], part: str
) -> None:
    killed = home.endpoints().pids[part]
    counts = asyncio.run(replay(home, part, kill=part))
    assert home.endpoints().pids[part] != killed, "the supervisor started it again"
    assert counts.admitted - counts.duplicate == EVENTS
    assert (counts.clean, counts.rejected, counts.rows, counts.learned) == (EVENTS, 0, EVENTS, EVENTS)
    assert asyncio.run(outcome(home, part)) == undisturbed
