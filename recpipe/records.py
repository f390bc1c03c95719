"""The records on the bus, as Python sees them; the Avro schemas beside this file say their units."""

from typing import TypedDict


class Event(TypedDict):
    """An admitted event (event.avsc)."""

    event_id: str
    user_id: str
    session_id: str
    event_type: str
    item_id: str | None
    timestamp: int
    ingested_at: int
    page_url: str
    additional_data: str
    user_agent: str
    referrer: str


class CleanEvent(Event):
    """An event that is true, new and human (clean.avsc)."""

    weight: float
    bot_score: float
    place: tuple[int, ...]
    """Of the event on the events topic, see recpipe.bus.Record.place."""


class FeatureRow(TypedDict):
    """One clean event with its user's live features, just after it (features.avsc)."""

    event_id: str
    user_id: str
    session_id: str
    event_type: str
    item_id: str | None
    timestamp: int
    ingested_at: int
    weight: float
    recency: float
    activity: float
    frequency: list[float]
    velocity: float
    diversity: float
    session_events: int
    session_seconds: float
    history_length: int
    categories: list[str]
    profile: dict[str, str]
    device: str
    hour: int
    referrer: str


class Item(TypedDict):
    """A change of the catalogue (item.avsc)."""

    item_id: str
    title: str
    categories: list[str]
    attributes: dict[str, float | str]
    timestamp: int
    deleted: bool


class Impression(TypedDict):
    """What was shown to whom (impression.avsc)."""

    request_id: str
    user_id: str
    timestamp: int
    items: list[str]
    scores: list[float]
    propensity: float
    model_version: int
    degraded: str


class Rejected(TypedDict):
    """A record that could not be used, whole (rejected.avsc)."""

    user_id: str
    stage: str
    reason: str
    detail: str
    timestamp: int
    value: bytes
