"""What the features say of a user, in order and out of order."""

from datetime import timedelta
from math import log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe.catalogue import Item
from recpipe.records import CleanEvent, FeatureRow
from recpipe.schema import FEATURES
from recpipe.spec import Features
from recpipe.state import UserState
from recpipe_functions.features.context import device_of, host_of
from recpipe_functions.features.fading import joined, moment_of, score
from recpipe_functions.features.update import MOST_INTERESTS, Update
from recpipe_functions.features.windows import Windows
from tests.records import clean_event as event

HOUR = 3_600_000
BEGIN = 1_764_000_000_000 // HOUR * HOUR
SPEC = Features(half_life=timedelta(hours=6), history_length=5)
UPDATE = Update(SPEC)


def lived(
    *events: CleanEvent, update: Update = UPDATE, item: Item | None = None
) -> tuple[UserState, FeatureRow]:
    """A new user's state after the events, and the last one's row."""
    state = UserState()
    for each in events:
        state, row = update(state, each, item, {})
    return state, row


def test_a_first_event_says_so() -> None:
    state, row = lived(event(BEGIN + 7 * HOUR, user_agent="iPhone", referrer="https://News.example/a"))
    assert row == {
        "event_id": f"e{BEGIN + 7 * HOUR}",
        "user_id": "ann",
        "session_id": f"ann@{BEGIN + 7 * HOUR}",
        "event_type": "click",
        "item_id": "lamp",
        "timestamp": BEGIN + 7 * HOUR,
        "ingested_at": BEGIN + 7 * HOUR,
        "weight": 1.0,
        "recency": -1.0,
        "activity": 1.0,
        "frequency": [1.0, 1.0, 1.0],
        "velocity": 1.0,
        "diversity": 0.0,
        "session_events": 1,
        "session_seconds": 0.0,
        "history_length": 1,
        "categories": [],
        "profile": {},
        "device": "mobile",
        "hour": (BEGIN // HOUR + 7) % 24,
        "referrer": "news.example",
    }
    assert FEATURES.decode(FEATURES.encode(row)) == row
    assert [touch.item_id for touch in state.history()] == ["lamp"]


def test_recency_and_activity_fade_with_the_half_life() -> None:
    _, row = lived(event(BEGIN), event(BEGIN + 6 * HOUR))
    assert row["recency"] == 6 * 3_600.0
    assert row["activity"] == pytest.approx(1.5)


def test_frequency_counts_the_events_of_a_type_in_each_window() -> None:
    """Half an hour into its bucket, the hour's window still has half of the previous bucket's events."""
    early = [event(BEGIN + n) for n in range(10)]
    _, row = lived(*early, event(BEGIN, event_type="hover"), event(BEGIN + HOUR + HOUR // 2))
    assert row["frequency"] == pytest.approx([6.0, 11.0, 11.0])
    _, row = lived(*early, event(BEGIN + 500 * HOUR))
    assert row["frequency"] == [1.0, 1.0, 1.0]


def test_velocity_is_one_at_an_even_pace_and_more_in_a_rush() -> None:
    even = [event(BEGIN + n * HOUR) for n in range(24 * 21)]
    _, row = lived(*even)
    assert row["velocity"] == pytest.approx(
        1.5, abs=0.5
    )  # just after an event: the short rate is at its peak
    rush = [event(even[-1]["timestamp"] + n * 1_000) for n in range(1, 30)]
    _, row = lived(*even, *rush)
    assert row["velocity"] > 15
    _, young = lived(*[event(BEGIN + n * 1_000) for n in range(10)])
    assert young["velocity"] == pytest.approx(1.0, abs=0.01)


def test_diversity_is_the_entropy_of_the_categories_touched() -> None:
    state = UserState()
    for number in range(4):
        item = Item(f"i{number}", categories=[f"c{number}"])
        state, row = UPDATE(state, event(BEGIN), item, {})
        assert row["diversity"] == pytest.approx(log2(number + 1))
    _, row = UPDATE(state, event(BEGIN, weight=100.0), Item("i0", categories=["c0"]), {})
    assert 0 < row["diversity"] < 0.4
    _, row = UPDATE(state, event(BEGIN, weight=-5.0), Item("i9", categories=["c9"]), {})
    assert row["diversity"] == pytest.approx(2.0), "dislike is no interest"


def test_interests_are_few_and_the_faded_ones_go_first() -> None:
    state = UserState()
    for number in range(3 * MOST_INTERESTS):
        state, _ = UPDATE(state, event(BEGIN + number), Item("i", categories=[f"c{number}"]), {})
    assert len(state.interests) == MOST_INTERESTS
    state, _ = UPDATE(state, event(BEGIN + 100 * HOUR), Item("i", categories=["new"]), {})
    assert len(state.interests) == 1


def test_history_keeps_the_newest_by_time_with_weight_and_type() -> None:
    state, row = lived(*[event(BEGIN + n * 1_000, item_id=f"i{n}") for n in (0, 1, 2, 4, 5, 6, 3)])
    assert [touch.item_id for touch in state.history()] == ["i6", "i5", "i4", "i3", "i2"]
    assert row["history_length"] == 5
    state, _ = lived(event(BEGIN, weight=-0.5, event_type="hover"))
    assert state.history() == [("lamp", BEGIN // 1_000, -0.5, "hover")]


@pytest.mark.parametrize("changes", [{"item_id": None}, {"weight": 0.0}])
def test_an_event_without_item_or_weight_still_has_a_row(changes: dict[str, Any]) -> None:
    state, row = lived(event(BEGIN), event(BEGIN + 1_000, **changes))
    assert state.events == 2
    assert (row["session_events"], row["recency"], row["weight"]) == (2, 1.0, changes.get("weight", 1.0))


def test_a_session_is_the_senders_or_ends_with_silence() -> None:
    first = event(BEGIN, session_id="s1")
    _, row = lived(first, event(BEGIN + 5 * HOUR, session_id="s1"))
    assert (row["session_id"], row["session_events"], row["session_seconds"]) == ("s1", 2, 5 * 3_600.0)
    _, row = lived(first, event(BEGIN + 1_000, session_id="s2"))
    assert (row["session_id"], row["session_events"], row["session_seconds"]) == ("s2", 1, 0.0)
    _, row = lived(first, event(BEGIN + 1_000))
    assert (row["session_id"], row["session_events"]) == ("s1", 2), (
        "a backend's event within the tracker's session"
    )
    unnamed = [event(BEGIN), event(BEGIN + HOUR // 2), event(BEGIN + 2 * HOUR)]
    assert lived(*unnamed[:2])[1]["session_id"] == f"ann@{BEGIN}"
    assert lived(*unnamed)[1]["session_id"] == f"ann@{BEGIN + 2 * HOUR}"


def test_a_late_event_counts_at_its_own_time_and_moves_nothing_back() -> None:
    newest = event(BEGIN + 6 * HOUR, session_id="s2")
    before, _ = lived(newest)
    after, row = lived(newest, event(BEGIN, session_id="s1", item_id="old"))
    assert after.last == before.last
    assert after.first == BEGIN
    assert row["recency"] == 0.0
    assert row["activity"] == pytest.approx(1.5), "as if it had come in order"
    assert row["frequency"] == [1.0, 2.0, 2.0], "too old for the hour's window"
    assert (row["session_id"], row["session_events"], row["session_seconds"]) == ("s1", 1, 0.0)
    assert after.session == before.session
    assert [touch.item_id for touch in after.history()] == ["lamp", "old"]


times = st.integers(0, 4 * 10**12) | st.integers(BEGIN, BEGIN + 50 * HOUR)
stories = st.lists(
    st.builds(
        event,
        times,
        session_id=st.sampled_from(["", "s1", "s2"]),
        event_type=st.sampled_from(["click", "purchase", "rating"]),
        item_id=st.none() | st.sampled_from("abcdefgh"),
        weight=st.floats(-100, 100),
    ),
    min_size=1,
    max_size=15,
)
ITEM = Item("any", categories=["c1", "c2"])


@given(stories)
def test_no_order_of_events_gives_negative_ages_or_more_than_there_was(story: list[CleanEvent]) -> None:
    state = UserState()
    for number, each in enumerate(story):
        state, row = UPDATE(state, each, ITEM, {})
        assert row["recency"] >= 0.0 or number == 0
        assert 0.0 < row["activity"] <= number + 1.001
        assert all(0.0 <= count <= number + 1 for count in row["frequency"])
        assert row["velocity"] >= 0.0
        assert 0.0 <= row["diversity"] <= log2(MOST_INTERESTS)
        assert row["session_seconds"] >= 0.0
        assert 1 <= row["session_events"] <= number + 1
        assert state.times == sorted(state.times)
        assert all(touch.time * 1_000 <= state.last for touch in state.history())
    assert state.first == min(each["timestamp"] for each in story)
    assert state.last == max(each["timestamp"] for each in story)


@given(stories)
def test_a_row_is_the_same_whether_the_state_was_stored_in_between_or_not(story: list[CleanEvent]) -> None:
    kept = stored = UserState()
    for each in story:
        kept, row = UPDATE(kept, each, ITEM, {})
        stored, again = UPDATE(UserState.decode(stored.encode()), each, ITEM, {})
        assert row == again
    assert UserState.decode(stored.encode()) == kept


@given(stories)
def test_the_state_before_is_left_as_it_is(story: list[CleanEvent]) -> None:
    state = UserState()
    for each in story:
        before = state.encode()
        after, _ = UPDATE(state, each, ITEM, {})
        assert state.encode() == before
        state = after


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0.01, 100)), min_size=1, max_size=20), st.data())
def test_a_faded_sum_does_not_depend_on_order(events: list[tuple[int, float]], data: st.DataObject) -> None:
    half_life, now = 10**7, 10**9

    def summed(some: list[tuple[int, float]]) -> float:
        first, *rest = (moment_of(weight, at, half_life) for at, weight in some)
        moment = first
        for other in rest:
            moment = joined(moment, other, half_life)
        return score(moment, now, half_life)

    exact = sum(weight * 2.0 ** ((at - now) / half_life) for at, weight in events)
    assert summed(events) == pytest.approx(exact, rel=1e-4)
    assert summed(data.draw(st.permutations(events))) == pytest.approx(exact, rel=1e-4)


@given(st.lists(st.integers(0, 3 * HOUR), max_size=30))
def test_a_window_counts_its_two_buckets_in_any_order_of_events(times: list[int]) -> None:
    windows, last = Windows([timedelta(hours=1)]), 0
    frequency: dict[str, tuple[int, ...]] = {}
    for at in times:
        now = max(last, at)
        frequency = windows.move(frequency, last, now)
        frequency["click"] = windows.add(frequency.get("click"), at, now)
        last = now
        assert 0.0 <= windows.estimates(frequency["click"], now)[0] <= len(times)
    bucket = last // HOUR
    assert frequency.get("click", (0, 0)) == (
        sum(at // HOUR == bucket for at in times),
        sum(at // HOUR == bucket - 1 for at in times),
    )


def test_a_spec_with_other_windows_or_a_shorter_half_life_takes_over_a_state() -> None:
    state, _ = lived(*[event(BEGIN + n) for n in range(50)])
    other = Update(Features(windows=[timedelta(hours=1)], half_life=timedelta(seconds=1), history_length=2))
    after, row = other(state, event(BEGIN + 60), None, {})
    assert row["frequency"] == [1.0]
    assert row["history_length"] == 2
    assert row["activity"] > 0
    assert after.events == 51


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Mobile/15E148", "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/131.0 Mobile Safari/537.36", "mobile"),
        ("Mozilla/5.0 (Linux; Android 13; SM-X906C) Chrome/131.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) Mobile/15E148", "tablet"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Firefox/132.0", "desktop"),
        ("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0)", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_device_is_told_by_the_user_agent(agent: str, device: str) -> None:
    assert device_of(agent) == device


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://www.Google.com:443/search?q=a@b", "www.google.com"),
        ("https://ann:secret@shop.example/", "shop.example"),
        ("android-app://com.example.app", "com.example.app"),
        ("/relative", ""),
        ("", ""),
    ],
)
def test_the_referrer_is_a_host(referrer: str, host: str) -> None:
    assert host_of(referrer) == host
