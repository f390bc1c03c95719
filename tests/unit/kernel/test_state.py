"""A user's state in the store: nothing is lost on the way, and it is small."""

import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe.spec import BUILT_IN_TYPES
from recpipe.state import Touch, UserState

NEWEST = 4_000_000_000_000
moments = st.integers(0, NEWEST)
types = st.sampled_from([*BUILT_IN_TYPES, "rating", "watch"])
ids = st.one_of(
    st.integers(0, 10**20).map(str),
    st.integers(0, 9_999_999).map("p{:07d}".format),
    st.integers(0, 99).map("sku%s-{}".format),
    st.text(max_size=12),
)


@st.composite
def states(draw: st.DrawFn) -> UserState:
    last = draw(moments)
    seconds = sorted(draw(st.lists(st.integers(0, last // 1_000), max_size=60)))
    count = len(seconds)
    some_ids = draw(st.sampled_from([ids, st.integers(0, 10**7).map(str), st.just("0")]))
    return UserState(
        position=tuple(draw(st.lists(st.integers(0, 2**62), max_size=4))),
        first=draw(st.integers(0, last)),
        last=last,
        events=draw(st.integers(0, 10**6)),
        activity=draw(moments),
        rates=(draw(moments), draw(moments)),
        frequency=draw(st.dictionaries(types, st.tuples(*[st.integers(0, 10**6)] * 6))),
        interests=draw(st.dictionaries(st.integers(0, 2**16 - 1), moments, max_size=8)),
        session=(draw(st.text(max_size=40)), draw(moments), draw(st.integers(0, 10**4))),
        items=draw(st.lists(some_ids, min_size=count, max_size=count)),
        times=seconds,
        weights=draw(st.lists(st.integers(-10_000, 10_000), min_size=count, max_size=count)),
        types=draw(st.lists(types, min_size=count, max_size=count)),
    )


@given(states())
def test_what_is_encoded_comes_back_whole_and_in_order(state: UserState) -> None:
    again = UserState.decode(state.encode())
    assert again == state
    assert list(again.interests) == list(state.interests)
    assert list(again.frequency) == list(state.frequency)


def test_a_user_without_a_value_is_new() -> None:
    assert UserState.decode(None) == UserState()


@given(states(), st.data())
def test_a_damaged_value_is_an_error_and_nothing_else(state: UserState, data: st.DataObject) -> None:
    value = state.encode()
    with pytest.raises(ValueError, match="damaged"):
        UserState.decode(value[: data.draw(st.integers(1, len(value) - 1))])


def test_a_value_of_an_unknown_version_is_an_error() -> None:
    value = bytearray(UserState().encode())
    value[1] = 99
    with pytest.raises(ValueError, match="version 99 is not known"):
        UserState.decode(bytes(value))


def test_history_is_newest_first() -> None:
    state = UserState(
        last=30_000, items=["a", "b"], times=[10, 30], weights=[100, -50], types=["click", "rating"]
    )
    assert UserState.decode(state.encode()).history() == [
        Touch("b", 30, -0.5, "rating"),
        Touch("a", 10, 1.0, "click"),
    ]


@pytest.mark.parametrize("form", ["{}", "p{:06d}", "SKU-{:07d}"])
def test_fifty_items_of_numbered_products_take_some_four_hundred_bytes(form: str) -> None:
    """With Valkey's 100 bytes a key that is half a GiB for a million users."""
    choose = random.Random(1)
    catalogue = list(accumulate(1 / (rank + 1) for rank in range(100_000)))
    sizes = []
    for _ in range(200):
        last, back = 1_764_000_000_000, 0
        ages = [back := back + round(choose.lognormvariate(11 if n % 7 == 0 else 3, 1.2)) for n in range(50)]
        kinds = choose.choices(list(BUILT_IN_TYPES), [70, 12, 12, 6], k=50)
        state = UserState(
            position=(3, last + 40, 1),
            first=last - 1_000 * ages[-1],
            last=last,
            events=choose.randrange(50, 500),
            activity=last + choose.randrange(10**8),
            rates=(last + choose.randrange(10**7), last + choose.randrange(10**9)),
            frequency={kind: tuple(choose.choices(range(20), k=6)) for kind in BUILT_IN_TYPES},
            interests={choose.randrange(2**16): last - choose.randrange(10**8) for _ in range(6)},
            session=(f"{choose.getrandbits(64):016x}", last - choose.randrange(10**6), 8),
            items=[form.format(n) for n in choose.choices(range(100_000), cum_weights=catalogue, k=50)],
            times=[last // 1_000 - age for age in reversed(ages)],
            weights=[round(100 * BUILT_IN_TYPES[kind].weight) for kind in kinds],
            types=kinds,
        )
        sizes.append(len(state.encode()))
    assert sum(sizes) / len(sizes) < 430
