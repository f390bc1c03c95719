"""Files of public events: what counts as the item and the weight, the order, and what a bad line says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recpipe import spec
from recpipe_model.evaluation import BadLineError, Ids, InputError, Stream, read_events, read_items

Read = Callable[..., Stream]
TIME = "2026-01-02T03:04:05Z"


def event(**changes: Any) -> dict[str, Any]:
    return {"user_id": "ann", "event_type": "click", "timestamp": TIME, "item_id": "a"} | changes


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(*lines: dict[str, Any] | str, **rules: Any) -> Stream:
        path = tmp_path / "events.jsonl"
        path.write_text(
            "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        )
        (stream,) = read_events(path, ids=Ids(), **rules)
        return stream

    return read


@pytest.mark.parametrize(
    ("changes", "item"),
    [
        ({"item_id": "a", "additional_data": {"item_id": "b"}}, "a"),
        ({"item_id": None, "additional_data": {"item_id": "b"}}, "b"),
        ({"item_id": None, "additional_data": {"item_id": 7}}, "7"),
        ({"item_id": None, "page_url": "https://shop.example/items/lamp-7?x=1"}, "lamp-7"),
    ],
)
def test_the_item_is_the_events_own_else_its_datas_else_its_pages(
    read: Read, changes: dict[str, Any], item: str
) -> None:
    assert list(read(event(**changes)).ids.items) == [item]


def test_events_without_an_item_are_left_out_and_counted(read: Read) -> None:
    stream = read(event(), event(item_id=None, page_url="https://shop.example/"), "", event())
    assert (len(stream), stream.without_item) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({"event_type": "purchase"}, 5),
        ({"event_type": "stream"}, 1),
        ({"additional_data": {"rating": 4.5, "weight": 2}}, 4.5),
        ({"additional_data": {"weight": -2}}, -2),
        ({"event_type": "purchase", "additional_data": {"rating": None}}, 5),
    ],
)
def test_the_weight_is_the_rating_else_the_weight_else_the_types(
    read: Read, changes: dict[str, Any], weight: float
) -> None:
    assert read(event(**changes)).weights.tolist() == [weight]


def test_a_pipeline_says_which_types_there_are_and_where_their_weight_is(read: Read) -> None:
    rules = spec.Events(types={"rate": spec.EventType(weight=2, weight_from="stars")})
    stream = read(
        event(event_type="rate", additional_data={"stars": 3, "rating": 5}),
        event(event_type="rate"),
        event(additional_data={"rating": 5}),
        events=rules,
    )
    assert stream.weights.tolist() == [3, 2, 1]
    with pytest.raises(BadLineError, match=r":1: event_type is 'stream': this pipeline takes click, .*rate"):
        read(event(event_type="stream"), events=rules)


def test_a_file_in_time_order_is_taken_as_it_is_and_another_is_sorted_stably(read: Read) -> None:
    early, late = "2026-01-02T03:04:05Z", "2026-01-02T04:04:06+01:00"
    ordered = read(event(timestamp=early), event(item_id="b", timestamp=late))
    assert not ordered.sorted
    assert ordered.times.tolist() == [1767323045, 1767323046]
    mixed = read(
        event(item_id="x", timestamp=late),
        event(item_id="y", timestamp=early),
        event(item_id="z", timestamp=early),
    )
    assert mixed.sorted
    assert [list(mixed.ids.items)[item] for item in mixed.items] == ["y", "z", "x"]


def test_a_moment_without_a_zone_is_utc(read: Read) -> None:
    assert read(event(timestamp="2026-01-02T03:04:05")).times.tolist() == [1767323045]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (event(user_id=5), r":2: user_id is 5: expected `str`, got `int`"),
        (event(timestamp="noon"), r":2: timestamp is 'noon': invalid RFC3339"),
        ({"user_id": "ann"}, r":2: event_type is missing: "),
        (event(additional_data=[1]), r":2: additional_data is \[1\]: expected `object`"),
        (event(additional_data={"rating": "5"}), r":2: additional_data.rating is '5': send a number"),
        (event(additional_data={"rating": True}), r":2: additional_data.rating is True: send a number"),
        (event(additional_data={"weight": 1000}), r":2: additional_data.weight is 1000: send a number"),
        (
            event(item_id=None, additional_data={"item_id": ""}),
            r":2: additional_data.item_id is '': send text",
        ),
        ("{", r":2: the line is '{': no JSON"),
        ("[1]", r":2: the line is \[1\]: expected `object`"),
    ],
)
def test_a_bad_line_is_named_with_field_and_value(read: Read, line: dict[str, Any] | str, said: str) -> None:
    with pytest.raises(BadLineError, match=said):
        read(event(), line)


def test_sessions_are_asked_for_where_they_are_followed(read: Read) -> None:
    assert len(read(event(session_id="s"), need_session=True)) == 1
    with pytest.raises(BadLineError, match=r":1: session_id is ''"):
        read(event(), need_session=True)


def test_a_file_without_items_is_refused(read: Read) -> None:
    with pytest.raises(InputError, match="no event names an item"):
        read(event(item_id=None))


def test_positives_are_of_the_weight_asked_for_and_above_nothing(read: Read) -> None:
    stream = read(*(event(additional_data={"rating": rating}) for rating in (-1, 0, 3, 4, 5)))
    assert stream.positives(4).weights.tolist() == [4, 5]
    assert stream.positives(-5).weights.tolist() == [3, 4, 5]
    with pytest.raises(InputError, match=r"min-weight is 6: .* the greatest is 5"):
        stream.positives(6)


def test_items_are_read_by_index_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.ndjson"
    path.write_text('{"item_id": "a", "categories": ["x"]}\n{"item_id": "b", "title": "B"}\n')
    ids = Ids(items={"b": 0})
    catalogue = read_items(path, ids)
    assert ids.items == {"b": 0, "a": 1}
    assert (catalogue[0].title, catalogue[1].categories) == ("B", ["x"])
    path.write_text('{"item_id": "a"}\n{"item_id": "b", "categories": ["x", 5]}\n')
    with pytest.raises(BadLineError, match=r":2: categories\[1\] is 5: expected `str`"):
        read_items(path, ids)
