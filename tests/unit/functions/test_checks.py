"""Which events can be used, and what is said of those that cannot."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe.records import CleanEvent, Event
from recpipe.schema import EVENT
from recpipe.spec import Cleaning, Events, EventType, PipelineSpec
from recpipe_functions.clean.checks import Checks, UnusableError
from recpipe_functions.clean.urls import canonical_url
from tests import records

NOW = 1_764_000_000_000
SPEC = PipelineSpec(
    events=Events(types={"rating": EventType(weight_from="stars")}, max_event_bytes=256),
    cleaning=Cleaning(max_lateness=timedelta(hours=1), max_future_skew=timedelta(minutes=5)),
)
CHECKS = Checks(SPEC)


def event(**changes: Any) -> Event:
    return records.event(NOW, **{"event_id": "e1", "page_url": "https://shop.example/items/lamp"} | changes)


def clean(**changes: Any) -> CleanEvent:
    return CHECKS(event(**changes))


def reason(**changes: Any) -> tuple[str, str]:
    with pytest.raises(UnusableError) as caught:
        clean(**changes)
    return caught.value.reason, caught.value.detail


def test_a_sound_event_keeps_all_it_said_and_gets_its_weight() -> None:
    assert clean() == {**event(), "weight": 1.0, "bot_score": 0.0, "place": ()}
    assert clean(event_type="purchase")["weight"] == 5.0
    assert clean(event_type="rating", additional_data='{"stars": 4.5}')["weight"] == 4.5


@pytest.mark.parametrize("offset", [-3_600_000, 0, 300_000])
def test_clocks_may_differ_as_far_as_the_spec_says(offset: int) -> None:
    assert clean(timestamp=NOW + offset)["timestamp"] == NOW + offset


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"timestamp": NOW + 300_001}, "future", "cleaning.maxFutureSkew allows 300 s"),
        ({"timestamp": NOW - 3_600_001}, "late", "3600.0 s before its arrival; cleaning.maxLateness allows"),
        ({"timestamp": 2**62}, "future", f"timestamp {2**62} ms"),
        ({"user_id": ""}, "malformed", "user_id is ''"),
        ({"event_id": "  "}, "malformed", "event_id is '  '"),
        ({"item_id": ""}, "malformed", "item_id is ''"),
        ({"session_id": " "}, "malformed", "session_id is ' '"),
        ({"item_id": "a\x00b"}, "malformed", r"item_id is 'a\x00b'"),
        ({"user_id": "a" * 129}, "malformed", "at most 128 characters"),
        ({"page_url": "https://a/" + "b" * 2_048}, "too_large", "page_url has 2058 characters"),
        ({"additional_data": '{"a":"' + "b" * 256 + '"}'}, "too_large", "additional_data has 264"),
        ({"additional_data": "[1]"}, "malformed", "additional_data is no JSON object"),
        ({"additional_data": '{"a":'}, "malformed", "additional_data is no JSON object"),
        ({"event_type": "wink"}, "unknown_event_type", "this pipeline takes click, hover, purchase, rating"),
        ({"event_type": "rating", "additional_data": '{"stars":"five"}'}, "bad_weight", "stars is 'five'"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_field_value_and_reason(
    changes: dict[str, Any], code: str, said: str
) -> None:
    found, detail = reason(**changes)
    assert found == code
    assert said in detail


def test_a_record_that_is_no_event_or_has_another_key_is_malformed() -> None:
    assert CHECKS.record("ann", EVENT.encode(event())) == clean()
    for key, value in (("ann", b"\xc3\x01nonsense"), ("bob", EVENT.encode(event()))):
        with pytest.raises(UnusableError) as caught:
            CHECKS.record(key, value)
        assert caught.value.reason == "malformed"


@given(st.binary(max_size=64), st.booleans())
def test_no_bytes_whatever_break_the_checks(value: bytes, framed: bool) -> None:
    with pytest.raises(UnusableError):
        CHECKS.record("ann", EVENT.header + value if framed else value)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTPS://Shop.Example:443/Items/A?b=1#top", "https://shop.example/Items/A?b=1"),
        ("http://shop.example:8080", "http://shop.example:8080/"),
        ("https://shop.example/a?utm_source=x&id=7&GCLID=y&fbclid=z", "https://shop.example/a?id=7"),
        ("https://shop.example/a?utm_source=x", "https://shop.example/a"),
        ("https://ann:secret@shop.example/a", "https://shop.example/a"),
        ("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("/items/a?utm_medium=mail#reviews", "/items/a"),
        ("", ""),
        ("https://[broken", "https://[broken"),
        ("https://shop.example:no-port/", "https://shop.example:no-port/"),
    ],
)
def test_urls_get_one_form(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical


@given(st.text(max_size=60) | st.text("ab:/?#&=@[]%. \\", max_size=40).map("https://{}".format))
def test_the_canonical_form_is_its_own_canonical_form(url: str) -> None:
    assert canonical_url(canonical_url(url)) == canonical_url(url)
