"""How soon a click changes what is recommended, and how fast recommendations are answered."""

import asyncio
import random
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from recpipe.bench.figures import Latency
from recpipe.bench.running import pipeline_running
from recpipe.bench.stream import Catalogue
from recpipe.bench.stream import events as stream_events
from recpipe.cli.replay import replay_events
from recpipe.client import Client, GatewayError
from recpipe.local.home import Home

CHANGE_SECONDS = 10.0
USERS = 20
NEW_ITEMS = 20


async def measure_freshness(home: Home, events: int, seed: int = 0) -> Latency:
    """Time from posting one click to the first recommendation that knows of it.

    A click on a recommended item; the answer knows of it when it is based on one event more. Raises
    GatewayError where that takes more than ten seconds.
    """
    choose = random.Random(seed)
    times = []
    async with Client(home.endpoints().gateway, home.key("private")) as client:
        for number in range(events):
            user = f"freshness-{seed}-{number % USERS}"
            before = await client.recommendations(user, 20)
            item = choose.choice(before["items"])["item_id"] if before["items"] else "freshness-item"
            begun = time.perf_counter()
            async for _ in client.send([_click(user, item)]):
                pass
            while (await client.recommendations(user, 20))["events"] <= before["events"]:
                if time.perf_counter() - begun > CHANGE_SECONDS:
                    raise GatewayError(f"a click of {user} changed nothing within {CHANGE_SECONDS:.0f} s")
            times.append(time.perf_counter() - begun)
    return Latency.of(times)


async def measure_answers(home: Home, requests: int, connections: int = 4) -> Latency:
    """Time of one recommendation request, for users who have a history and some who have none."""
    times = []

    async def ask(client: Client, numbers: range) -> None:
        for number in numbers:
            begun = time.perf_counter()
            await client.recommendations(str(number % 1_000), 20)
            times.append(time.perf_counter() - begun)

    async with Client(home.endpoints().gateway, home.key("private")) as client:
        await asyncio.gather(
            *(ask(client, range(first, requests, connections)) for first in range(connections))
        )
    return Latency.of(times)


def _click(user: str, item: str) -> bytes:
    moment = datetime.now(UTC).isoformat()
    return msgspec.json.encode({"user_id": user, "event_type": "click", "timestamp": moment, "item_id": item})


async def measure_new_items(home: Home, items: int, *, imported: bool) -> Latency:
    """Time from an item's import, or its first event, to the first recommendation that holds it.

    Two items are new. Imported, they share a category; else a user meets one after the other. Another user
    meets the first, and is recommended the second.
    """
    times = []
    async with Client(home.endpoints().gateway, home.key("private")) as client:
        for number in range(items):
            name = f"{'imported' if imported else 'met'}-{number}"
            first, second, user = f"{name}-a", f"{name}-b", f"{name}-user"
            begun = time.perf_counter()
            if imported:
                await client.import_items([_metadata(item, category=name) for item in (first, second)])
            clicks = [_click(user, first)]
            if not imported:
                clicks = [_click(f"{name}-other", first), _click(f"{name}-other", second), *clicks]
            async for _ in client.send(clicks):
                pass
            while not await _holds(client, user, second):
                if time.perf_counter() - begun > CHANGE_SECONDS:
                    raise GatewayError(f"{second} was not recommended within {CHANGE_SECONDS:.0f} s")
            times.append(time.perf_counter() - begun)
    return Latency.of(times)


async def _holds(client: Client, user: str, item: str) -> bool:
    answer = await client.recommendations(user, 100)
    return any(each["item_id"] == item for each in answer["items"])


def _metadata(item: str, category: str) -> bytes:
    return msgspec.json.encode({"item_id": item, "title": f"Item {item}", "categories": [category]})


@dataclass(frozen=True)
class Freshness:
    """A click's way into the next recommendation, and a new item's."""

    event_to_recommendation: Latency
    first_event_to_recommended: Latency
    """From posting a new item's first event to an answer that holds it."""
    import_to_recommended: Latency
    """From importing a new item to an answer that holds it."""
    answer: Latency
    """Baseline: one recommendation, asked with nothing else going on."""


async def measure(events: int) -> Freshness:
    """On a pipeline of its own, with a catalogue and some history."""
    catalogue = Catalogue(2_000)
    async with pipeline_running() as home:
        async with Client(home.endpoints().gateway, home.key("private")) as client:
            await client.import_items(catalogue.metadata())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "events.jsonl"
            file.write_bytes(b"\n".join(stream_events(10_000, catalogue)))
            await replay_events(home, file)
        effect = await measure_freshness(home, events)
        async with Client(home.endpoints().gateway, home.key("private")) as client:
            await client.model_served()
        met = await measure_new_items(home, NEW_ITEMS, imported=False)
        imported = await measure_new_items(home, NEW_ITEMS, imported=True)
        answer = await measure_answers(home, events, connections=1)
    return Freshness(effect, met, imported, answer)
