"""Events in: admitted one by one, stored together, a verdict for each."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from redis.exceptions import RedisError

from recpipe.admission import Admission, NotAdmittedError, Receipt
from recpipe.bus import Bus, BusFullError, BusUnavailableError, Message
from recpipe.records import Rejected
from recpipe.schema import EVENT, REJECTED
from recpipe.spec import PipelineSpec
from recpipe.topics import Topics
from recpipe_gateway.answers import Refusal
from recpipe_gateway.coalescer import Coalescer, OverloadedError
from recpipe_gateway.metrics import EVENTS
from recpipe_gateway.rates import UserRates

MAX_BODY_BYTES: Final = 8 * 2**20
PUBLISH_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 1.0
PUBLISH_BATCH, PUBLISH_WAITING = 2_000, 20_000
"""Events in one call of the bus, and events that may wait for the next."""


class Rejection(msgspec.Struct):
    """Why one event was not taken."""

    index: int
    """Its place in the request, from 0."""
    reason: str
    """For machines; `rate_limited` may be sent again."""
    detail: str


class Verdicts(msgspec.Struct, omit_defaults=True):
    """What became of a request's events."""

    accepted: int
    rejected: list[Rejection]
    retry_after: float = 0.0
    """Seconds until what was rate_limited may be sent again."""

    @property
    def all_limited(self) -> bool:
        limited = all(each.reason == "rate_limited" for each in self.rejected)
        return bool(self.retry_after) and limited and not self.accepted


class _Sorted(NamedTuple):
    """One request's events as messages."""

    accepted: list[Message]
    rejected: list[Message]
    reasons: list[str]


class _Who(msgspec.Struct):
    user_id: str = ""


class Intake:
    """Takes bodies of events and stores them, those of concurrent requests together."""

    def __init__(self, spec: PipelineSpec, topics: Topics, bus: Bus) -> None:
        self._admission = Admission(spec.events)
        self._rates = UserRates(spec.gateway.user_events_per_second)
        self._max_batch = spec.gateway.max_batch
        self._topics, self._bus = topics, bus
        self._publisher: Coalescer[_Sorted, None] = Coalescer(
            self._publish, batch=PUBLISH_BATCH, waiting=PUBLISH_WAITING
        )
        self._array = msgspec.json.Decoder(list[msgspec.Raw])
        self._one = msgspec.json.Decoder(msgspec.Raw)
        self._who = msgspec.json.Decoder(_Who)

    async def take(self, body: bytes, receipt: Receipt) -> Verdicts:
        """Verdicts once the bus has the events; raises Refusal where there are none or it cannot."""
        verdicts, events = self._sort(self._split(body), receipt)
        if events.accepted or events.rejected:
            await self._store(events)
        EVENTS.labels("accepted").inc(verdicts.accepted)
        for each in verdicts.rejected:
            EVENTS.labels(each.reason).inc()
        return verdicts

    async def drain(self) -> None:
        await self._publisher.drain()

    def _split(self, body: bytes) -> list[msgspec.Raw]:
        try:
            body.decode()
            one = not body.lstrip(b" \t\r\n").startswith(b"[")
            raws = [self._one.decode(body)] if one else self._array.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(
                400, "malformed", f"the body is not JSON: {error}; send one event or an array of them"
            ) from error
        if len(raws) > self._max_batch:
            raise Refusal(
                413, "too_many", f"{len(raws)} events in one request; send {self._max_batch} or fewer at once"
            )
        return raws

    def _sort(self, raws: Iterable[msgspec.Raw], receipt: Receipt) -> tuple[Verdicts, _Sorted]:
        verdicts, events = Verdicts(0, []), _Sorted([], [], [])
        for index, raw in enumerate(raws):
            data = bytes(raw)
            try:
                event = self._admission.admit(data, receipt)
            except (NotAdmittedError, RecursionError) as error:
                reason, detail = _why(error)
                verdicts.rejected.append(Rejection(index, reason, detail))
                events.rejected.append(self._rejected(data, reason, detail, receipt))
                events.reasons.append(reason)
                continue
            if wait := self._rates.wait(event["user_id"]):
                # Not a bad event but one too early: it is neither kept nor counted as rejected.
                detail = f"user_id {event['user_id']!r} sends too many; again in {wait:.3f} s"
                verdicts.rejected.append(Rejection(index, "rate_limited", detail))
                verdicts.retry_after = max(verdicts.retry_after, wait)
                continue
            events.accepted.append(Message(event["user_id"], EVENT.encode(event)))
        verdicts.accepted = len(events.accepted)
        return verdicts, events

    def _rejected(self, data: bytes, reason: str, detail: str, receipt: Receipt) -> Message:
        user = self._user_of(data)
        record = Rejected(
            user_id=user,
            stage="gateway",
            reason=reason,
            detail=detail,
            timestamp=receipt.received_at,
            value=data,
        )
        return Message(user, REJECTED.encode(record))

    def _user_of(self, data: bytes) -> str:
        try:
            return self._who.decode(data).user_id[:128]
        except (msgspec.DecodeError, RecursionError):
            return ""

    async def _store(self, events: _Sorted) -> None:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publisher.submit(events, len(events.accepted) + len(events.rejected))
        except (BusFullError, OverloadedError) as error:
            raise Refusal(
                503, "full", f"{error}; nothing was stored, send it again", retry_after=RETRY_SECONDS
            ) from error
        except (BusUnavailableError, RedisError, OSError) as error:
            raise Refusal(
                503, "unavailable", "the bus cannot be reached; send it again", retry_after=RETRY_SECONDS
            ) from error

    async def _publish(self, requests: Sequence[_Sorted]) -> list[None]:
        accepted = [message for request in requests for message in request.accepted]
        rejected = [message for request in requests for message in request.rejected]
        if accepted:
            await self._bus.publish(self._topics.events, accepted, {"gateway.accepted": len(accepted)})
        if rejected:
            reasons = Counter(
                f"gateway.rejected.{reason}" for request in requests for reason in request.reasons
            )
            await self._bus.publish(
                self._topics.rejected, rejected, {"gateway.rejected": len(rejected), **reasons}
            )
        return [None] * len(requests)


def _why(error: Exception) -> tuple[str, str]:
    if isinstance(error, NotAdmittedError):
        return error.reason, error.detail
    return "malformed", "nested too deeply"
