"""The admission limit: a token bucket for each user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe_gateway.rates import UserRates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_user_may_send_a_seconds_worth_at_once_and_is_told_when_to_come_back() -> None:
    clock = Clock()
    rates = UserRates(10.0, clock=clock)
    assert [rates.wait("ann") for _ in range(10)] == [0.0] * 10
    wait = rates.wait("ann")
    assert wait == pytest.approx(0.1)
    clock.now += wait
    assert rates.wait("ann") == 0.0
    assert rates.wait("ann") > 0.0


def test_one_users_flood_does_not_touch_another() -> None:
    rates = UserRates(5.0, clock=Clock())
    while not rates.wait("flood"):
        pass
    assert rates.wait("ann") == 0.0


def test_a_rate_below_one_a_second_still_lets_the_first_event_in() -> None:
    assert UserRates(0.1, clock=Clock()).wait("ann") == 0.0


def test_only_the_users_seen_latest_are_remembered() -> None:
    rates = UserRates(1.0, users=2, clock=Clock())
    for user in ("ann", "bob", "eve"):
        assert rates.wait(user) == 0.0
    assert rates.wait("eve") > 0.0
    assert rates.wait("ann") == 0.0, "forgotten, so a full bucket again"


@given(rate=st.floats(0.5, 1_000), gaps=st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_burst_and_the_rate_allow(rate: float, gaps: list[float]) -> None:
    clock = Clock()
    rates = UserRates(rate, clock=clock)
    admitted = 0
    for gap in gaps:
        clock.now += gap
        admitted += rates.wait("ann") == 0.0
    assert admitted <= max(rate, 1.0) + rate * clock.now + 1e-6
