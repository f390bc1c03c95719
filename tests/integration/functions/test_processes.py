"""The functions as processes: shared partitions, metrics, and kill -9 in the middle of a stream."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec

from recpipe.bus import Message, ValkeyBus
from recpipe.pipeline_file import load_pipeline
from recpipe.records import Event
from recpipe.schema import EVENT, FEATURES
from recpipe.state import UserState
from recpipe.store import Keys, connect
from recpipe.topics import Topics
from recpipe_functions.backfill import Backfill
from tests.records import event

PIPELINE = """\
apiVersion: recpipe.dev/v1alpha1
kind: RecommenderPipeline
metadata: {name: shop}
spec: {cleaning: {bots: {maxEventsPerSecond: 2, burst: 40}}}
"""
EVENTS, USERS, CHUNK = 6_000, 50, 500
BEGIN = 1_764_000_000_000
DEADLINE = 60.0


def story() -> list[Event]:
    """Users of different speed, some too fast; each tenth event is sent twice."""
    events: list[Event] = []
    for number in range(EVENTS):
        original = number - (number % 10 == 9)
        events.append(
            event(
                BEGIN + number // USERS * (100 + 20 * (number % USERS)),
                event_id=f"e{original}",
                user_id=f"u{original % USERS}",
                event_type="hover",
                item_id=f"p{number * 7 % 113}",
                ingested_at=BEGIN + 10**6,
            )
        )
    return events


@contextmanager
def process(name: str, file: Path, url: str, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", f"recpipe_functions.{name}", "--pipeline", str(file), "--bus-url", url]
    with subprocess.Popen([*command, *more]) as running:
        try:
            yield running
        finally:
            running.kill()


async def until(holds: Callable[[dict[str, int]], bool], bus: ValkeyBus) -> dict[str, int]:
    async with asyncio.timeout(DEADLINE):
        while not holds(tally := await bus.tally()):
            await asyncio.sleep(0.02)
    return tally


def metrics(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


def verdicts(tally: dict[str, int]) -> int:
    return sum(tally.get(f"clean.{name}", 0) for name in ("accepted", "duplicate", "rejected"))


async def test_killed_processes_lose_nothing_and_count_nothing_twice(tmp_path: Path, valkey_url: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    pipeline = load_pipeline(file)
    events, batch = story(), Backfill(pipeline)
    rows = {row["event_id"]: FEATURES.encode(row) for row in batch.rows(events)}
    assert batch.tally["clean.rejected.bot"] > 500
    assert batch.tally["clean.duplicate"] > 500

    client, keys, topics = connect(valkey_url), Keys("shop"), Topics.of(pipeline)
    bus = ValkeyBus(client, keys)
    await bus.create(list(topics))
    with process("clean", file, valkey_url, "--instances", "2", "--instance", "1"):
        for kill_at in (1_000, 2_500):
            with (
                process("clean", file, valkey_url, "--instances", "2", "--instance", "0") as clean,
                process("features", file, valkey_url) as features,
            ):
                while events and verdicts(await bus.tally()) < kill_at:
                    chunk, events = events[:CHUNK], events[CHUNK:]
                    await bus.publish(
                        topics.events, [Message(each["user_id"], EVENT.encode(each)) for each in chunk]
                    )
                    sent = EVENTS - len(events)
                    await until(lambda tally, sent=sent: verdicts(tally) >= sent // 4, bus)  # type: ignore[misc]
                clean.send_signal(signal.SIGKILL)
                features.send_signal(signal.SIGKILL)
        await bus.publish(topics.events, [Message(each["user_id"], EVENT.encode(each)) for each in events])
        with (
            process("clean", file, valkey_url, "--instances", "2", "--instance", "0"),
            process("features", file, valkey_url),
        ):
            tally = await until(
                lambda tally: verdicts(tally) >= EVENTS and tally.get("features.rows", 0) >= len(rows), bus
            )

    assert {name: count for name, count in tally.items() if name != "features.repeat"} == batch.tally
    streams: list[Any] = [
        await client.xrange(f"shop-features:{n}") for n in range(topics.features.partitions)
    ]
    published = [FEATURES.decode(fields[b"v"]) for entries in streams for _, fields in entries]
    assert {row["event_id"] for row in published} == set(rows)
    assert all(FEATURES.encode(row) == rows[row["event_id"]] for row in published)
    for user, expected in batch.states.items():
        value: Any = await client.get(keys.state(user))
        assert msgspec.structs.replace(UserState.decode(value), position=()) == expected
    await bus.close()


async def test_a_process_shows_its_metrics_and_ends_when_told(tmp_path: Path, valkey_url: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    topics = Topics.of(load_pipeline(file))
    bus = ValkeyBus(connect(valkey_url), Keys("shop"))
    with process("clean", file, valkey_url, "--metrics-port", str(port)) as running:
        await bus.create(list(topics))
        await bus.publish(topics.events, [Message("u0", EVENT.encode(story()[0])), Message("u0", b"garbage")])
        await until(lambda tally: verdicts(tally) == 2, bus)
        expected = (
            'recpipe_function_events_total{function="clean",reason="",verdict="accepted"} 1.0',
            'recpipe_function_events_total{function="clean",reason="malformed",verdict="rejected"} 1.0',
            'recpipe_function_batch_seconds_count{function="clean"}',
        )
        async with asyncio.timeout(DEADLINE):
            shown = ""
            while not all(each in shown for each in expected):
                await asyncio.sleep(0.02)
                shown = await asyncio.to_thread(metrics, port)
        running.terminate()
        assert running.wait(10) == 0
    await bus.close()
