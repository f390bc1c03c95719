"""Is an event well-formed and on time? What is gets its canonical form and its weight."""

import re
from datetime import UTC, datetime, timedelta

import msgspec

from recpipe.admission import weight_of
from recpipe.records import CleanEvent, Event
from recpipe.schema import EVENT, UnreadableRecordError
from recpipe.spec import PipelineSpec
from recpipe_functions.clean.urls import canonical_url

LONGEST_ID = 128
LONGEST_URL = 2_048
LONGEST_USER_AGENT = 512
_MILLISECOND = timedelta(milliseconds=1)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class UnusableError(ValueError):
    """The event is rejected: `reason` for machines, `detail` for people."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


class Checks:
    """The checks of one pipeline's spec. Times are milliseconds."""

    def __init__(self, spec: PipelineSpec) -> None:
        self._types = spec.events.all_types()
        self._max_bytes = spec.events.max_event_bytes
        self._max_lateness = spec.cleaning.max_lateness // _MILLISECOND
        self._max_skew = spec.cleaning.max_future_skew // _MILLISECOND

    def record(self, key: str, value: bytes) -> CleanEvent:
        """The event in a record of the events topic; raises UnusableError."""
        try:
            event: Event = EVENT.decode(value)  # type: ignore[assignment]
        except UnreadableRecordError as error:
            raise UnusableError("malformed", str(error)) from error
        if key != event["user_id"]:
            raise UnusableError(
                "malformed", f"user_id is {event['user_id']!r}, but the record's key {key!r}: use user_id"
            )
        return self(event)

    def __call__(self, event: Event) -> CleanEvent:
        """The event as the clean topic has it; raises UnusableError."""
        _check_ids(event)
        self._check_sizes(event)
        self._check_time(event["timestamp"], event["ingested_at"])
        if event["event_type"] not in self._types:
            known = ", ".join(sorted(self._types))
            raise UnusableError(
                "unknown_event_type", f"event_type is {event['event_type']!r}; this pipeline takes {known}"
            )
        try:
            _OBJECT.decode(event["additional_data"])
        except msgspec.DecodeError as error:
            raise UnusableError("malformed", f"additional_data is no JSON object: {error}") from error
        try:
            weight = weight_of(event, self._types)
        except ValueError as error:
            raise UnusableError("bad_weight", str(error)) from error
        clean: CleanEvent = {**event, "weight": weight, "bot_score": 0.0, "place": ()}
        clean["page_url"] = canonical_url(event["page_url"])
        clean["user_agent"] = event["user_agent"][:LONGEST_USER_AGENT]
        clean["referrer"] = event["referrer"][:LONGEST_URL]
        return clean

    def _check_sizes(self, event: Event) -> None:
        sizes = (
            ("page_url", len(event["page_url"]), LONGEST_URL),
            ("additional_data", len(event["additional_data"]), self._max_bytes),
        )
        for name, size, limit in sizes:
            if size > limit:
                raise UnusableError("too_large", f"{name} has {size} characters, the limit is {limit}")

    def _check_time(self, timestamp: int, arrival: int) -> None:
        if timestamp > arrival + self._max_skew:
            raise UnusableError(
                "future",
                f"timestamp {_moment(timestamp)} is {(timestamp - arrival) / 1_000:.1f} s after its arrival; "
                f"cleaning.maxFutureSkew allows {self._max_skew / 1_000:g} s",
            )
        if timestamp < arrival - self._max_lateness:
            raise UnusableError(
                "late",
                f"timestamp {_moment(timestamp)} is {(arrival - timestamp) / 1_000:.1f} s before its arrival; "
                f"cleaning.maxLateness allows {self._max_lateness / 1_000:g} s",
            )


def _check_ids(event: Event) -> None:
    ids = {
        "event_id": event["event_id"],
        "user_id": event["user_id"],
        "session_id": event["session_id"] or "none",
        "item_id": "none" if event["item_id"] is None else event["item_id"],
    }
    for name, text in ids.items():
        if not text or text.isspace():
            raise UnusableError("malformed", f"{name} is {text!r}: it must not be empty")
        if len(text) > LONGEST_ID or _CONTROL.search(text):
            raise UnusableError(
                "malformed",
                f"{name} is {text[:LONGEST_ID]!r}: use at most {LONGEST_ID} characters, none of them control",
            )


def _moment(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"
