"""Ten thousand malformed, hostile and edge-case events through real Functions: each gets one verdict."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from recpipe.bus import Message
from recpipe.pulsar import Admin
from recpipe.pulsar.functions import FunctionName
from recpipe.records import Event
from recpipe.schema import EVENT, HEADER_BYTES
from recpipe.spec import Pulsar
from tests.integration.pulsar.shop import deployed, resource
from tests.records import event

EVENTS = 10_000
NOW = int(time.time() * 1_000)
REASONS = {"malformed", "too_large", "future", "late", "unknown_event_type", "bad_weight", "bot"}
HOSTILE = (
    "", " ", "\x00", "\u202e", "\ufeff", "a" * 129, "x" * 5_000, "'; DROP TABLE users; --", "${jndi:ldap://x}",
    "../../etc/passwd", "{user}", "%s%n", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "NaN", "-0", "nul\x00l", "\r\nSET a b\r\n", "user\x1f", "<script>alert(1)</script>",
)  # fmt: skip
DATA = (
    "{}", "[]", "null", "", "{", "{" * 300, '{"a":' * 300, '{"rating": 1e999}', '{"rating": NaN}', '{"rating": "5"}',
    '{"rating": true}', '{"rating": -1000}', '{"_hints": {"webdriver": true}}', '{"_hints": []}', '{"a": "\\ud800"}',
    '{"item_id": {"$gt": ""}}', '{"a": 1, "a": 2}', '"' + "x" * 40_000 + '"',
)  # fmt: skip

INSTANTS = (0, -1, NOW, NOW + 10**9, -(2**63), 2**63 - 1, 10**15)
TYPES = ("click", "purchase", "rating", "wink")
URLS = (
    "https://shop.example/",
    "http://[",
    "https://user:pw@h:99999/",
    "javascript:1",
    "//",
    "http://\u00e9/",
)


def good(number: int) -> Event:
    return event(
        NOW,
        event_id=f"good-{number}",
        user_id=f"user-{number % 50}",
        item_id=f"item-{number % 7}",
        page_url=URLS[0],
    )


class Adversary:
    """Makes records that are events, nearly events, or nothing of the kind; the same in each run."""

    def __init__(self) -> None:
        self._choose = random.Random(5)

    def records(self, count: int) -> Iterator[Message]:
        """A fifth of them are good, and a few are the same as one before."""
        kinds = (self._good, self._odd, self._odd, self._broken, self._foreign)
        sent: list[Message] = []
        for number in range(count):
            again = number % 50 == 49
            message = self._choose.choice(sent) if again else self._choose.choice(kinds)(number)
            sent.append(message)
            yield message

    def _good(self, number: int) -> Message:
        event = good(number)
        return Message(event["user_id"], EVENT.encode(event))

    def _odd(self, number: int) -> Message:
        """Avro, with something in it that is extreme, empty, too long or another program's syntax."""
        choose = self._choose
        event: Any = good(number)
        for field in choose.sample(sorted(event), choose.randint(1, 3)):
            if field in {"timestamp", "ingested_at"}:
                event[field] = choose.choice(INSTANTS)
            elif field == "additional_data":
                event[field] = choose.choice(DATA)
            else:
                event[field] = choose.choice((*HOSTILE, *URLS, *TYPES, "Googlebot/2.1", self._noise()))
        return Message(event["user_id"], EVENT.encode(event))

    def _broken(self, number: int) -> Message:
        """Cut off, or with a few bytes changed, behind a true header."""
        choose, body = self._choose, bytearray(self._odd(number).value[HEADER_BYTES:])
        for _ in range(choose.randint(0, 4)):
            body[choose.randrange(len(body))] = choose.randrange(256)
        return Message(f"user-{number % 50}", EVENT.header + bytes(body[: choose.randint(0, len(body))]))

    def _foreign(self, _number: int) -> Message:
        """Any bytes under any key."""
        value = EVENT.header + self._choose.randbytes(self._choose.randint(0, 200))
        return Message(self._choose.choice((*HOSTILE, "k" * 2_000)), value)

    def _noise(self) -> str:
        return "".join(chr(self._choose.randrange(0xD800)) for _ in range(self._choose.randint(0, 40)))


async def test_each_is_accepted_or_rejected_with_a_reason_and_none_ends_an_instance(
    cluster: Pulsar, namespace: str, admin: Admin, valkey_url: str
) -> None:
    types = {"rating": {"weightFrom": "rating"}}
    spec = resource(cluster, events={"partitions": 2, "types": types}, cleaning={"bots": {"burst": 10_000}})
    sent = list(Adversary().records(EVENTS))
    async with deployed(admin, spec, valkey_url) as shop:
        await shop.reads(shop.topics.rejected, "audit")
        for first in range(0, EVENTS, 1_000):
            await shop.send(sent[first : first + 1_000])

        def verdicts(tally: dict[str, int]) -> int:
            return sum(tally.get(f"clean.{name}", 0) for name in ("accepted", "duplicate", "rejected"))

        tally = await shop.tally_until(lambda tally: verdicts(tally) >= EVENTS)
        assert verdicts(tally) == EVENTS, "each has one verdict"
        assert min(tally[f"clean.{name}"] for name in ("accepted", "duplicate", "rejected")) > 100

        await shop.read_until(shop.topics.rejected, lambda read: len(read) >= tally["clean.rejected"])
        rejected = shop.read[shop.topics.rejected.name]
        reasons = Counter(each["reason"] for each in rejected)
        assert reasons.keys() <= REASONS
        assert len(reasons) > 5
        assert all(each["detail"] for each in rejected)
        assert Counter(each["value"] for each in rejected) <= Counter(message.value for message in sent)

        await shop.read_until(shop.topics.features, lambda rows: len(rows) >= tally["clean.accepted"])
        assert (
            len({row["event_id"] for row in shop.read[shop.topics.features.name]}) == tally["clean.accepted"]
        )
        for part in ("clean", "features"):
            name = FunctionName(cluster.tenant, cluster.namespace, f"{shop.pipeline.name}-{part}")
            status = await admin.functions.status(name)
            assert [each.status.num_restarts for each in status.instances] == [0]
            assert [each.status.num_user_exceptions for each in status.instances] == [0]
    print(dict(reasons), tally)
