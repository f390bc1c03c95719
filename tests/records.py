"""Records of the bus, made for tests: each says only what it is about."""

from typing import Any, cast

from recpipe.records import CleanEvent, Event, FeatureRow


def event(timestamp: int, /, **changes: Any) -> Event:
    """An admitted click by ann on the lamp."""
    made: Event = {
        "event_id": f"e{timestamp}",
        "user_id": "ann",
        "session_id": "",
        "event_type": "click",
        "item_id": "lamp",
        "timestamp": timestamp,
        "ingested_at": timestamp,
        "page_url": "",
        "additional_data": "{}",
        "user_agent": "",
        "referrer": "",
    }
    return cast(Event, made | changes)


def clean_event(timestamp: int, /, **changes: Any) -> CleanEvent:
    """The same, judged to be true."""
    judged = {"weight": 1.0, "bot_score": 0.0, "place": ()}
    return cast(CleanEvent, event(timestamp) | judged | changes)


def feature_row(timestamp: int, /, **changes: Any) -> FeatureRow:
    """A click by ann on the lamp, the first of her session."""
    made: FeatureRow = {
        "event_id": f"e{timestamp}",
        "user_id": "ann",
        "session_id": "",
        "event_type": "click",
        "item_id": "lamp",
        "timestamp": timestamp,
        "ingested_at": timestamp,
        "weight": 1.0,
        "recency": 1.0,
        "activity": 1.0,
        "frequency": [],
        "velocity": 1.0,
        "diversity": 0.0,
        "session_events": 1,
        "session_seconds": 0.0,
        "history_length": 1,
        "categories": [],
        "profile": {},
        "device": "desktop",
        "hour": 12,
        "referrer": "",
    }
    return cast(FeatureRow, made | changes)
