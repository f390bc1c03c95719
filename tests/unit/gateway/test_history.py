"""A user's history as the model takes it."""

from hypothesis import given
from hypothesis import strategies as st

from recpipe.horizon import Horizon
from recpipe.state import Touch
from recpipe_gateway.history import MOST_RECENT, recent

NOW = 1_764_000_000.0


def touch(item: str, seconds_ago: int, weight: float = 1.0) -> Touch:
    return Touch(item, int(NOW) - seconds_ago, weight, "click")


def test_items_are_distinct_with_their_latest_time_and_greatest_weight() -> None:
    history = [touch("lamp", 1), touch("tent", 5), touch("lamp", 60, 5.0)]
    assert recent(history, NOW) == (["lamp", "tent"], [1.0, 5.0], [5.0, 1.0])


def test_dislike_weak_events_and_events_without_an_item_are_left_out() -> None:
    history = [
        touch("lamp", 1, -1.0),
        touch("", 2),
        touch("tent", 3, 0.0),
        touch("bulb", 4, 0.2),
        touch("cup", 5, 3.0),
    ]
    assert recent(history, NOW, min_weight=1.0).items == ["cup"]


def test_a_client_clock_that_runs_ahead_gives_age_zero() -> None:
    assert recent([touch("lamp", -30)], NOW).ages == [0.0]


def test_no_history_is_an_empty_question() -> None:
    assert recent([], NOW) == ([], [], [])


TOUCHES = st.builds(
    touch,
    st.sampled_from([f"item-{number}" for number in range(80)]),
    st.integers(0, 10**6),
    st.floats(-5, 5),
)


@given(st.lists(TOUCHES, max_size=120))
def test_what_the_model_is_given_is_bounded_positive_and_newest_first(history: list[Touch]) -> None:
    history.sort(key=lambda each: -each.time)
    items, ages, weights = recent(history, NOW)
    assert len(items) == len(set(items)) <= MOST_RECENT
    assert len(items) == len(ages) == len(weights)
    assert ages == sorted(ages)
    assert all(age >= 0 for age in ages)
    assert all(weight > 0 for weight in weights)


def test_of_the_taste_the_whole_history_is_asked() -> None:
    history = [touch(f"item-{number}", number) for number in range(MOST_RECENT + 30)]
    assert len(recent(history, NOW).items) == MOST_RECENT
    assert len(recent(history, NOW, horizon=Horizon.TASTE).items) == MOST_RECENT + 30
