"""What a shop does, from a pod inside the cluster: `python client.py VERB`; each verb prints one JSON object.

The private key comes on standard input: a command line shows in lists of processes and in failures.
Accepted events are noted by id in a file, so that `account` can look for each of them at the far end.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recpipe.connections import Connections
from recpipe.schema import FEATURES, REJECTED
from recpipe.spec import RecommenderPipeline
from recpipe.status import LearnerStatus
from recpipe.store import Keys, connect
from recpipe.topics import Topics
from recpipe_gateway.tensors import Question, inputs_of
from recpipe_model.client import PredictClient, Unavailable

ACCEPTED, STOP, PROGRESS = Path("/tmp/accepted"), Path("/tmp/stop"), Path("/tmp/progress")
USERS, ITEMS, AISLES = 2_000, 200, 10
TICK_SECONDS = 0.05
PROGRESS_SECONDS = 0.2
LARGEST_BATCH = 500
EVENT_PATIENCE_SECONDS = 90.0
RESOLVED_SECONDS = 30.0


def event(user: str, item: str) -> dict[str, Any]:
    return {
        "event_id": uuid.uuid4().hex,
        "user_id": user,
        "session_id": f"session-{user}",
        "event_type": random.choices(["click", "hover", "purchase"], [8, 3, 1])[0],
        "timestamp": datetime.now(UTC).isoformat(),
        "page_url": f"https://shop.example/items/{item}",
        "additional_data": {},
    }


def some_event() -> dict[str, Any]:
    """Users keep to an aisle of the shop, so that there is something to learn."""
    user = random.randrange(USERS)
    return event(
        f"user-{user}", f"item-{user % AISLES + AISLES * int(ITEMS / AISLES * random.random() ** 2)}"
    )


class Pulse:
    """The longest time between signs of life."""

    def __init__(self) -> None:
        self._last, self.longest = time.monotonic(), 0.0

    def beat(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now


class Shop:
    """The gateway's Service, asked as browsers and backends do; every connection is new, as a Service's are."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(30, pool=None),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=0),
        )
        self.sent = {"sent": 0, "accepted": 0, "refused": 0, "given up": 0, "sent again": 0}
        self.asked = {"answered": 0, "degraded": 0, "failed": 0, "asked again": 0}
        self.milliseconds: list[float] = []
        self.failures: list[str] = []
        self.learned = 0
        self.pulses = {"events": Pulse(), "answers": Pulse(), "learning": Pulse()}

    async def send(self, events: list[dict[str, Any]]) -> None:
        """Until the gateway has taken them; the same ids again are the same events."""
        deadline = time.monotonic() + EVENT_PATIENCE_SECONDS
        self.sent["sent"] += len(events)
        while events:
            try:
                answer = await self._http.post("/v1/events", json=events)
                problem = f"{answer.status_code} {answer.text[:100]}"
                if answer.status_code in {202, 429}:
                    events = self._taken(events, answer.json())
                    if not events:
                        return
            except httpx.TransportError as error:
                problem = repr(error)
            if time.monotonic() > deadline:
                self.sent["given up"] += len(events)
                self.failures.append(problem)
                return
            self.sent["sent again"] += 1
            await asyncio.sleep(random.uniform(0.1, 0.4))

    def _taken(self, events: list[dict[str, Any]], answer: dict[str, Any]) -> list[dict[str, Any]]:
        """Those that have to be sent again."""
        refused = {each["index"]: each["reason"] for each in answer["rejected"]}
        taken = [each["event_id"] for index, each in enumerate(events) if index not in refused]
        with ACCEPTED.open("a") as file:
            file.writelines(f"{each}\n" for each in taken)
        self.sent["accepted"] += len(taken)
        if taken:
            self.pulses["events"].beat()
        again = [events[index] for index, reason in refused.items() if reason == "rate_limited"]
        self.sent["refused"] += len(refused) - len(again)
        return again

    async def ask(self, user: str, patience: float) -> dict[str, Any] | None:
        """One answer within `patience` seconds; 0 is one try."""
        began = time.monotonic()
        while True:
            try:
                answer = await self._http.get("/v1/recommendations", params={"user_id": user, "k": 10})
                problem = f"{answer.status_code} {answer.text[:100]}"
                if answer.status_code == 200:
                    self.milliseconds.append((time.monotonic() - began) * 1_000)
                    found: dict[str, Any] = answer.json()
                    self.asked["answered"] += 1
                    self.pulses["answers"].beat()
                    self.asked["degraded"] += bool(found.get("degraded"))
                    return found
            except httpx.TransportError as error:
                problem = repr(error)
            if time.monotonic() - began > patience:
                self.asked["failed"] += 1
                self.failures.append(problem)
                return None
            self.asked["asked again"] += 1
            await asyncio.sleep(0.1)

    async def watch(self, store: Redis, pipeline: str) -> None:
        """Notes how far learning is, by the learner's own report, and keeps the file of progress."""
        while True:
            try:
                said = await store.get(Keys(pipeline).learner)
            except RedisError:
                said = None
            if said and (learned := msgspec.json.decode(said, type=LearnerStatus).learned) != self.learned:
                self.learned = learned
                self.pulses["learning"].beat()
            counts = {
                "accepted": self.sent["accepted"],
                "answered": self.asked["answered"],
                "learned": self.learned,
            }
            beside = PROGRESS.with_suffix(".new")
            beside.write_text(json.dumps(counts))
            beside.replace(PROGRESS)
            await asyncio.sleep(PROGRESS_SECONDS)

    def report(self, seconds: float) -> dict[str, Any]:
        waits = sorted(self.milliseconds) or [0.0]
        return {
            "seconds": round(seconds, 1),
            "events": self.sent,
            "recommendations": self.asked,
            "p50 ms": round(statistics.median(waits), 1),
            "p99 ms": round(waits[int(len(waits) * 0.99) - 1], 1),
            "longest pause s": {name: round(pulse.longest, 1) for name, pulse in self.pulses.items()},
            "failures": self.failures[:5],
        }


async def load(given: argparse.Namespace) -> dict[str, Any]:
    """Steady events and questions, until so many events are sent, or until told to stop."""
    STOP.unlink(missing_ok=True)
    shop = Shop(given.url, given.key)
    store = connect(given.store, answer_seconds=1.0, retries=0)
    watching = asyncio.create_task(shop.watch(store, given.name))
    began, due, asks, tasks = time.monotonic(), 0.0, 0.0, set[asyncio.Task[Any]]()
    sent = 0
    while not STOP.exists() and time.monotonic() - began < given.seconds and sent < given.events:
        now = time.monotonic() - began
        behind = int(now * given.rate - due)  # after a stall it may be more than a request may hold
        batch = [some_event() for _ in range(min(behind, given.events - sent, LARGEST_BATCH))]
        due, sent = due + len(batch), sent + len(batch)
        work = [shop.send(batch)] if batch else []
        while asks < now * given.asks:
            asks += 1
            work.append(shop.ask(f"user-{random.randrange(USERS)}", given.patience))  # type: ignore[arg-type]
        for each in work:
            task = asyncio.create_task(each)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(TICK_SECONDS)
    await asyncio.gather(*tasks)
    watching.cancel()
    return shop.report(time.monotonic() - began)


async def click(given: argparse.Namespace) -> dict[str, Any]:
    """A new visitor's recommendations before and after the first click."""
    shop, user = Shop(given.url, given.key), f"visitor-{uuid.uuid4().hex[:8]}"

    async def items() -> list[str]:
        answer = await shop.ask(user, 10)
        assert answer, shop.failures
        return [each["item_id"] for each in answer["items"]]

    before = await items()
    await shop.send([event(user, f"item-{AISLES + 3}") | {"event_type": "click"}])
    clicked = time.monotonic()
    while (after := await items()) == before and time.monotonic() - clicked < given.seconds:
        await asyncio.sleep(0.02)
    return {"before": before, "after": after, "ms": round((time.monotonic() - clicked) * 1_000)}


async def account(given: argparse.Namespace) -> dict[str, Any]:
    """Looks for every accepted event at the far end: a feature row of it, or its rejection."""
    resource = {"apiVersion": "recpipe.dev/v1alpha1", "kind": "RecommenderPipeline"}
    text = json.loads(given.spec)
    pipeline = RecommenderPipeline.model_validate(resource | {"metadata": {"name": given.name}, "spec": text})
    bus = Connections.of("pulsar", given.store).bus(pipeline)
    topics = Topics.of(pipeline)
    wanted = set(ACCEPTED.read_text().split())
    rows, rejected = set[str](), set[str]()
    for topic in (topics.features, topics.rejected):
        for partition in range(topic.partitions):
            async for records in bus.history(topic, partition):
                for record in records:
                    if topic is topics.features:
                        rows.add(str(FEATURES.decode(record.value)["event_id"]))
                    else:
                        rejected.update(_ids(REJECTED.decode(record.value)["value"]))
    await bus.close()
    missing = wanted - rows - rejected
    return {
        "accepted": len(wanted),
        "rows": len(wanted & rows),
        "rejected": len(wanted & rejected),
        "missing": len(missing),
        "for example": sorted(missing)[:3],
    }


def _ids(value: Any) -> list[str]:
    """Of a rejected record, which is kept as it was received: JSON at the gateway, Avro behind it."""
    from recpipe.schema import EVENT

    try:
        found = msgspec.json.decode(value)
    except msgspec.DecodeError:
        found = EVENT.decode(value)
    return [found["event_id"]] if "event_id" in found else []


async def predict(given: argparse.Namespace) -> dict[str, Any]:
    """One Predict call by the project's own client, with no live inputs; again while the name does not resolve."""
    deadline = time.monotonic() + RESOLVED_SECONDS
    with PredictClient(given.target) as client:
        while True:
            try:
                answer = client.predict(given.name, "", question(), timeout=10)
                break
            except Unavailable:  # a cluster's DNS may stumble on a busy machine
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)
    return {"version": answer.version, "items": [each.decode() for each in answer["items"][0]]}


def question() -> dict[str, Any]:
    asked = Question([f"item-{AISLES + 3}"], [1.0], [1.0], [b""], [], [], 5)
    return inputs_of([asked], b"")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["load", "click", "account", "predict"])
    parser.add_argument("--url")
    parser.add_argument("--name", default="shop")
    parser.add_argument("--events", type=int, default=10**9)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--asks", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--patience", type=float, default=0.0)
    parser.add_argument("--spec", default="{}")
    parser.add_argument("--store")
    parser.add_argument("--target")
    given = parser.parse_args()
    given.key = sys.stdin.readline().strip()
    verb = {"load": load, "click": click, "account": account, "predict": predict}[given.verb]
    sys.stdout.write(json.dumps(asyncio.run(verb(given))) + "\n")


if __name__ == "__main__":
    main()
