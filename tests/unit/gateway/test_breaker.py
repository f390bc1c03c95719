"""A failing dependency is left alone, tried now and then, and taken back when it answers."""

import pytest

from recpipe_gateway.breaker import CircuitBreaker, CircuitOpenError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(ConnectionError), breaker.watching():
        raise ConnectionError


def succeed(breaker: CircuitBreaker) -> None:
    with breaker.watching():
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failures=3, pause=1.0, longest=4.0, clock=clock)


def open_it(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        fail(breaker)


def test_it_opens_after_failures_in_a_row_only(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        fail(breaker)
        fail(breaker)
        succeed(breaker)
    assert breaker.closed
    open_it(breaker)
    assert not breaker.closed
    with pytest.raises(CircuitOpenError), breaker.watching():
        pytest.fail("an open breaker must not make the call")


def test_after_the_pause_one_call_is_let_through_and_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    assert not breaker.admits
    clock.now += 1.0
    assert breaker.admits
    with breaker.watching():
        assert not breaker.admits, "one trial at a time"
    assert breaker.closed


def test_each_failed_trial_makes_the_next_pause_longer_up_to_a_bound(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    open_it(breaker)
    for longest in (1.0, 2.0, 4.0, 4.0):
        clock.now += longest / 2 - 0.01
        assert not breaker.admits, "jitter takes at most half of a pause away"
        clock.now += longest / 2 + 0.01
        assert breaker.admits
        fail(breaker)


def test_a_trial_that_was_given_up_leaves_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 1.0
    with pytest.raises(KeyboardInterrupt), breaker.watching():
        raise KeyboardInterrupt
    assert breaker.admits
