"""From the public JSON event to the record on the bus, or a reason why not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe.admission import Admission, NotAdmittedError, Receipt, weight_of
from recpipe.schema import EVENT
from recpipe.spec import Events, EventType

RECEIPT = Receipt(received_at=1_764_000_000_000, user_agent="Mozilla/5.0")
ADMISSION = Admission(Events(types={"rating": EventType(weight_from="rating")}))
EVENT_JSON: dict[str, Any] = {
    "user_id": "ann",
    "session_id": "s1",
    "event_type": "click",
    "timestamp": "2025-11-24T16:00:00Z",
    "page_url": "https://shop.example/items/lamp-7?color=red",
}


def admit(**changes: Any) -> Any:
    return ADMISSION.admit(json.dumps(EVENT_JSON | changes).encode(), RECEIPT)


def refusal(data: bytes) -> NotAdmittedError:
    with pytest.raises(NotAdmittedError) as caught:
        ADMISSION.admit(data, RECEIPT)
    return caught.value


def test_the_trackers_event_is_admitted() -> None:
    event = admit(additional_data={"position": 3})
    assert event["item_id"] == "lamp-7"
    assert event["timestamp"] == 1_764_000_000_000
    assert event["ingested_at"] == RECEIPT.received_at
    assert json.loads(event["additional_data"]) == {"position": 3}


@pytest.mark.parametrize(
    ("changes", "item"),
    [
        ({}, "lamp-7"),
        ({"item_id": "given"}, "given"),
        ({"additional_data": {"item_id": "in-data"}}, "in-data"),
        ({"additional_data": {"item_id": 42}}, "42"),
        ({"item_id": "given", "additional_data": {"item_id": "in-data"}}, "given"),
        ({"page_url": "https://shop.example/cart"}, None),
    ],
)
def test_the_item_is_the_one_named_else_the_one_in_the_page(
    changes: dict[str, Any], item: str | None
) -> None:
    assert admit(**changes)["item_id"] == item


def test_a_moment_without_a_zone_is_utc_and_other_zones_are_converted() -> None:
    assert admit(timestamp="2025-11-24T16:00:00")["timestamp"] == 1_764_000_000_000
    assert admit(timestamp="2025-11-24T18:00:00+02:00")["timestamp"] == 1_764_000_000_000


def test_the_same_bytes_get_the_same_id_and_others_another() -> None:
    assert admit()["event_id"] == admit()["event_id"] != admit(session_id="s2")["event_id"]


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"user_id": ""}, "malformed", "user_id"),
        ({"user_id": 7}, "malformed", "$.user_id"),
        ({"user_id": "x" * 129}, "malformed", "user_id"),
        ({"timestamp": "yesterday"}, "malformed", "timestamp"),
        ({"event_type": "levitate"}, "unknown_event_type", "'levitate'"),
        ({"additional_data": [1]}, "malformed", "object"),
        ({"additional_data": {"note": "x" * 20_000}}, "too_large", "16384"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], reason: str, said: str) -> None:
    error = refusal(json.dumps(EVENT_JSON | changes).encode())
    assert error.reason == reason
    assert said in error.detail


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    assert refusal(data).reason in {"malformed", "unknown_event_type"}


@given(
    st.fixed_dictionaries(
        {
            "user_id": st.text(min_size=1, max_size=128),
            "session_id": st.text(max_size=128),
            "event_type": st.sampled_from(["click", "scroll", "hover", "purchase", "rating"]),
            "timestamp": st.datetimes().map(lambda moment: moment.isoformat()),
            "page_url": st.text(max_size=500),
            "additional_data": st.dictionaries(
                st.text(max_size=10), st.text(max_size=20) | st.integers(), max_size=4
            ),
        }
    )
)
def test_what_is_admitted_survives_the_bus(event: dict[str, Any]) -> None:
    data = json.dumps(event).encode()
    try:
        admitted = ADMISSION.admit(data, RECEIPT)
    except NotAdmittedError:
        return  # such as an item_id of the wrong type in additional_data
    assert EVENT.decode(EVENT.encode(admitted)) == admitted


def test_the_weight_is_the_types_or_the_events_own() -> None:
    types = {"click": EventType(weight=1), "rating": EventType(weight=2, weight_from="rating")}
    assert weight_of(admit(), types) == 1
    assert weight_of(admit(event_type="rating", additional_data={"rating": 4.5}), types) == 4.5
    assert weight_of(admit(event_type="rating"), types) == 2
    for bad in ("five", True, 1e9):
        with pytest.raises(ValueError, match=r"additional_data\.rating"):
            weight_of(admit(event_type="rating", additional_data={"rating": bad}), types)
