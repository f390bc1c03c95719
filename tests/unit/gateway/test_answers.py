"""Error bodies, and JSON merge patches."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe_gateway.answers import Refusal, decoded, merged
from recpipe_gateway.items import ItemBody
from recpipe_gateway.users import Profile


def test_a_refusal_is_a_json_body_with_whole_seconds_to_wait() -> None:
    response = Refusal(503, "full", "the topic is full", retry_after=0.2).response()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert msgspec.json.decode(response.body) == {"error": {"code": "full", "message": "the topic is full"}}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"title": 5}', "invalid", "title"),
        (b'{"categories": ["a", 7]}', "invalid", "categories[1]"),
        (b"[]", "invalid", ""),
        (b"{", "malformed", ""),
        (b'{"title": "\xff"}', "malformed", ""),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed", ""),
    ],
)
def test_a_bad_body_names_the_field_at_fault(body: bytes, code: str, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        decoded(msgspec.json.Decoder(ItemBody), body)
    problem = caught.value.body.error
    assert (caught.value.status, problem.code, problem.field) == (400, code, field)


def test_profiles_are_strings_only() -> None:
    decoder: msgspec.json.Decoder[dict[str, str]] = msgspec.json.Decoder(Profile)
    assert decoded(decoder, b'{"country": "de"}') == {"country": "de"}
    with pytest.raises(Refusal):
        decoded(decoder, b'{"age": 30}')


RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("before", "patch", "after"), RFC_7396)
def test_merge_patches_are_those_of_the_rfc(
    before: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]
) -> None:
    assert merged(before, patch) == after


OBJECTS = st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.none(), max_size=5)


@given(OBJECTS, OBJECTS)
def test_a_patch_applied_twice_changes_nothing_more(before: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merged(before, patch)
    assert merged(once, patch) == once
