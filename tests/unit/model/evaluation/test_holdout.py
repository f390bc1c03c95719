"""How the holdout protocols split a stream, and what they ask."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe.horizon import Horizon
from recpipe_model.evaluation import (
    Ids,
    InputError,
    Roster,
    Stream,
    by_time,
    by_user,
    leave_one_out,
    rank_all,
)
from recpipe_model.evaluation.holdout import last_of_each_user

StreamOf = Callable[[str], Stream]
events = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 20)), min_size=1, max_size=40
)


def stream(rows: list[tuple[int, int, int]]) -> Stream:
    users, items, times = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    return Stream(users, items, users, np.sort(times).astype(float), np.ones(len(rows), np.float32), Ids())


def told(stream: Stream, mask: np.ndarray) -> str:
    users, items = list(stream.ids.users), list(stream.ids.items)
    return " ".join(
        f"{users[u]}:{items[i]}" for u, i in zip(stream.users[mask], stream.items[mask], strict=True)
    )


def test_leave_one_out_holds_out_the_item_a_user_came_to_last_with_all_its_events(
    stream_of: StreamOf,
) -> None:
    whole = stream_of("ann:a bob:a ann:b ann:c ann:c ann:a cat:b bob:d")
    split = last_of_each_user(whole)
    assert told(whole, split.test) == "ann:c bob:d"
    assert told(whole, split.train) == "ann:a bob:a ann:b ann:a cat:b"


@given(events)
def test_leave_one_out_never_trains_on_what_it_tests(rows: list[tuple[int, int, int]]) -> None:
    whole = stream(rows)
    split = last_of_each_user(whole)
    trained = set(zip(whole.users[split.train].tolist(), whole.items[split.train].tolist(), strict=True))
    held = list(zip(whole.users[split.test].tolist(), whole.items[split.test].tolist(), strict=True))
    assert trained.isdisjoint(held)
    assert len(held) == sum(
        len({item for u, item, _ in rows if u == user}) > 1 for user in {u for u, _, _ in rows}
    )


@given(events, st.floats(0, 1))
def test_a_time_split_trains_on_nothing_later_than_what_it_tests(
    rows: list[tuple[int, int, int]], quantile: float
) -> None:
    whole = stream(rows)
    split = by_time(whole, quantile)
    assert (split.train ^ split.test).all()
    if split.test.any():
        assert whole.times[split.train].max() < whole.times[split.test].min()
        asked_at = split.asked_at[whole.users[split.test]]
        assert (asked_at <= whole.times[split.test]).all()


@given(events, st.integers(0, 9))
def test_a_share_split_takes_its_share_of_every_user(rows: list[tuple[int, int, int]], seed: int) -> None:
    whole = stream(rows)
    split = by_user(whole, 0.75, seed)
    assert (split.train ^ split.test).all()
    for user in np.unique(whole.users):
        mine = whole.users == user
        assert split.train[mine].sum() == max(1, np.round(0.75 * mine.sum()))
    assert (by_user(whole, 0.75, seed).train == split.train).all()


def test_rank_all_takes_the_share_of_each_users_new_items_that_its_list_holds(stream_of: StreamOf) -> None:
    whole = stream_of("bob:a cat:a bob:b cat:b bob:c ann:c bob:d ann:a ann:x ann:c")
    split = by_time(whole, 0.7)
    report = rank_all(whole, split, Roster(whole.ids), k=2, step=lambda _: None)
    # Ann is shown a and b (c is hers); of a and x, new to her, a comes first and x nobody trained on.
    assert told(whole, split.test) == "ann:a ann:x ann:c"
    assert (report.counts["users"], report.counts["relevant"]) == (1, 2)
    popularity = report.methods["popularity"]
    assert (popularity["hr@2"], popularity["recall@2"], popularity["mrr@2"]) == (1, 0.5, 1)
    assert popularity["ndcg@2"] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_a_user_without_training_events_is_not_asked_for(stream_of: StreamOf) -> None:
    whole = stream_of("bob:a cat:b bob:b cat:a ann:a bob:c")
    report = rank_all(whole, by_time(whole, 0.6), Roster(whole.ids), k=2, step=lambda _: None)
    assert report.counts["users"] == 1


def test_leave_one_out_ranks_among_items_that_the_user_never_touched(stream_of: StreamOf) -> None:
    whole = stream_of("bob:a cat:a dan:a bob:b cat:b bob:c ann:a ann:b")
    report = leave_one_out(whole, Roster(whole.ids), k=1, step=lambda _: None)
    # Held out: ann's b (c is the only negative), cat's b (c), bob's c (never trained: a miss); dan has one item.
    # b is trained on once, by bob; c by nobody, so there is no negative and b is first of one.
    assert report.counts["users"] == 3
    assert report.methods["popularity"]["hr@1"] == pytest.approx(2 / 3)


def test_a_split_that_leaves_nothing_to_test_is_refused(stream_of: StreamOf) -> None:
    whole = stream_of("ann:a bob:b")
    for split in (by_time(whole, 1.0), by_time(whole, 0.5)):
        with pytest.raises(InputError, match="nothing to test"):
            rank_all(whole, split, Roster(whole.ids), k=1, step=lambda _: None)


@pytest.mark.parametrize("name", ["hybrid", "item-knn", "als", "bpr"])
def test_a_method_finds_the_taste_that_users_share(stream_of: StreamOf, name: str) -> None:
    random = np.random.default_rng(0)
    rows = [f"u{user}:i{10 * (user % 2) + item}" for user in range(60) for item in random.permutation(10)]
    whole = stream_of(" ".join(random.permutation(rows)))
    roster = Roster(whole.ids, baselines=(name,) if name != "hybrid" else (), horizon=Horizon.TASTE)
    report = rank_all(whole, by_user(whole, 0.75, 0), roster, k=2, step=lambda _: None)
    assert report.methods[name]["recall@2"] > 0.9
    assert report.methods["popularity"]["recall@2"] < 0.7


def test_equal_seeds_give_equal_reports(stream_of: StreamOf) -> None:
    random = np.random.default_rng(0)
    whole = stream_of(" ".join(f"u{random.integers(9)}:i{random.zipf(1.3) % 40}" for _ in range(300)))
    roster = Roster(whole.ids, baselines=("isgd", "als", "bpr"), seed=4)
    one, other = (leave_one_out(whole, roster, k=3, step=lambda _: None) for _ in range(2))
    assert one == other
