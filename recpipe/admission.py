"""Admission: from the public JSON event to the record on the bus, or a reason why not.

Only the event's own shape is looked at here; whether it is true, new and human is cleaning's to say.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from recpipe import spec
from recpipe.records import Event

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class PublicEvent(msgspec.Struct, frozen=True):
    """The JSON that the tracker and backends send."""

    user_id: Identifier
    event_type: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    timestamp: datetime
    session_id: Annotated[str, msgspec.Meta(max_length=128)] = ""
    page_url: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    additional_data: msgspec.Raw = msgspec.Raw(b"{}")
    event_id: Identifier | None = None
    item_id: Identifier | None = None


class _ItemReference(msgspec.Struct):
    item_id: Identifier | int | None = None


class NotAdmittedError(ValueError):
    """The event cannot be taken: `reason` for machines, `detail` for people."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class Receipt:
    """What the request itself says of its events."""

    received_at: int
    """Milliseconds since the Unix epoch."""
    user_agent: str = ""
    referrer: str = ""


class Admission:
    """Admits events by one pipeline's spec."""

    def __init__(self, events: spec.Events) -> None:
        self._types = events.all_types()
        self._max_bytes = events.max_event_bytes
        self._item_patterns = [re.compile(pattern) for pattern in events.item_id_patterns]
        self._decoder = msgspec.json.Decoder(PublicEvent)
        self._reference = msgspec.json.Decoder(_ItemReference)

    def admit(self, data: bytes, receipt: Receipt) -> Event:
        """One event's JSON as the record for the bus; raises NotAdmittedError."""
        if len(data) > self._max_bytes:
            raise NotAdmittedError(
                "too_large", f"the event has {len(data)} bytes, the limit is {self._max_bytes}"
            )
        try:
            event = self._decoder.decode(data)
            reference = self._reference.decode(event.additional_data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotAdmittedError("malformed", str(error)) from error
        if event.event_type not in self._types:
            known = ", ".join(sorted(self._types))
            raise NotAdmittedError(
                "unknown_event_type",
                f"event_type is {event.event_type!r}; this pipeline takes {known}",
            )
        item_id = event.item_id or reference.item_id
        return Event(
            event_id=event.event_id or _derived_id(data),
            user_id=event.user_id,
            session_id=event.session_id,
            event_type=event.event_type,
            item_id=self._item_in(event.page_url) if item_id is None else str(item_id),
            timestamp=_milliseconds(event.timestamp),
            ingested_at=receipt.received_at,
            page_url=event.page_url,
            additional_data=bytes(event.additional_data).decode(),
            user_agent=receipt.user_agent,
            referrer=receipt.referrer,
        )

    def _item_in(self, page_url: str) -> str | None:
        for pattern in self._item_patterns:
            if (found := pattern.search(page_url)) and found[1]:
                return found[1][:128]
        return None


def weight_of(event: Event, types: Mapping[str, spec.EventType]) -> float:
    """The event's weight by the spec: from its own data where the type says so, else the type's.

    Raises ValueError, naming the key, where the event's data holds something that is no finite number.
    """
    kind = types[event["event_type"]]
    if kind.weight_from is None:
        return kind.weight
    value = msgspec.json.decode(event["additional_data"]).get(kind.weight_from)
    if value is None:
        return kind.weight
    if isinstance(value, bool) or not isinstance(value, int | float) or not -100 <= value <= 100:
        raise ValueError(f"additional_data.{kind.weight_from} is {value!r}; send a number from -100 to 100")
    return float(value)


def _derived_id(data: bytes) -> str:
    """The same bytes are the same event: a sender without ids is still deduplicated."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _milliseconds(moment: datetime) -> int:
    """A moment without a zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1_000)
