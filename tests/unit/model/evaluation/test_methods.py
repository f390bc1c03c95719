"""Histories and baselines against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe_model.evaluation import Ids, InputError, Roster
from recpipe_model.evaluation.baselines import Isgd, ItemKnn, Popularity
from recpipe_model.evaluation.histories import Histories, Visit
from recpipe_model.evaluation.methods import Method, Scored
from recpipe_model.evaluation.replay import earlier, spread

ITEMS, VISITORS = 6, 4
events = st.lists(st.tuples(st.integers(0, VISITORS - 1), st.integers(0, ITEMS - 1)), max_size=40)


def taught(method: Method, rows: list[tuple[int, int]]) -> Histories:
    histories = Histories(np.array([visitor for visitor, _ in rows], np.int64), VISITORS)
    for time, (visitor, item) in enumerate(rows):
        method.learn(histories.visit(visitor, time, excludes=True), item, 1.0)
        histories.add(visitor, item, time, 1.0)
    return histories


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 5)), max_size=40))
def test_a_history_is_the_distinct_items_by_last_touch_with_their_greatest_weight(
    rows: list[tuple[int, int, int]],
) -> None:
    histories = Histories(np.array([visitor for visitor, _, _ in rows], np.int64), 3)
    expected: list[dict[int, tuple[int, int]]] = [{}, {}, {}]
    for time, (visitor, item, weight) in enumerate(rows):
        histories.add(visitor, item, time, weight)
        _, heaviest = expected[visitor].pop(item, (0, 0))
        expected[visitor][item] = (time, max(weight, heaviest))
    for visitor, known in enumerate(expected):
        visit = histories.visit(visitor, 99, excludes=False)
        assert visit.items.tolist() == list(known)
        assert list(zip(visit.times, visit.weights, strict=True)) == list(known.values())


@given(st.lists(st.integers(0, 5), min_size=1))
def test_earlier_counts_the_events_of_the_same_group_before(groups: list[int]) -> None:
    assert earlier(np.array(groups)).tolist() == [groups[:n].count(group) for n, group in enumerate(groups)]


def test_spread_picks_evenly() -> None:
    tests = np.arange(1000) % 2 == 0
    chosen = np.flatnonzero(spread(tests, 50))
    assert chosen.tolist() == list(range(0, 1000, 20))
    assert not spread(tests, 0).any()
    assert spread(tests, 10_000).sum() == 500


@given(events, st.integers(0, VISITORS - 1), st.integers(0, ITEMS - 1), st.booleans())
def test_popularitys_quick_rank_is_that_of_its_scores(
    rows: list[tuple[int, int]], visitor: int, item: int, excludes: bool
) -> None:
    method = Popularity(ITEMS)
    visit = taught(method, rows).visit(visitor, 99, excludes)
    assert method.rank(visit, item) == Scored.rank(method, visit, item)


@given(events, st.integers(0, VISITORS - 1), st.integers(1, ITEMS + 2))
def test_the_top_is_sorted_new_to_the_visitor_and_agrees_with_the_ranks(
    rows: list[tuple[int, int]], visitor: int, k: int
) -> None:
    method = Popularity(ITEMS)
    visit = taught(method, rows).visit(visitor, 99, excludes=True)
    top = method.top(visit, k)
    known = {item for _, item in rows} - set(visit.items.tolist())
    assert len(top) == min(k, len(known))
    assert set(top.tolist()) <= known
    counts = method.counts[top]
    assert (np.diff(counts) <= 0).all()
    assert all(method.rank(visit, item) >= place for place, item in enumerate(top.tolist(), 1))


def test_a_rank_among_others_counts_only_them() -> None:
    method = Popularity(ITEMS)
    visit = taught(method, [(0, 0), (1, 0), (1, 1), (2, 2)]).visit(3, 99, excludes=True)
    assert method.rank_among(visit, 2, np.array([0, 5], np.int32)) == 2
    assert method.rank_among(visit, 2, np.array([5], np.int32)) == 1
    assert method.rank_among(visit, 4, np.array([5], np.int32)) == 0


@given(events, st.integers(0, VISITORS - 1))
def test_item_knn_is_the_cosine_of_the_visitors_of_items_the_latest_counting_most(
    rows: list[tuple[int, int]], visitor: int
) -> None:
    method = ItemKnn(ITEMS)
    visit = taught(method, rows).visit(visitor, 99, excludes=False)
    touched = np.zeros((VISITORS, ITEMS))
    for who, item in rows:
        touched[who, item] = 1
    norms = np.sqrt(np.maximum(touched.sum(axis=0), 1))
    cosine = touched.T @ touched / norms / norms[:, None]
    np.fill_diagonal(cosine, 0)
    attention = 0.9 ** np.arange(len(visit.items))[::-1]
    assert method.scores(visit) == pytest.approx(attention @ cosine[visit.items], abs=1e-5)


def test_item_knn_refuses_more_pairs_than_fit() -> None:
    with pytest.raises(InputError, match=r"20,001 items would take 1\.5 GiB"):
        ItemKnn(20_001)


def test_isgd_draws_a_visitor_and_its_item_together() -> None:
    method = Isgd(ITEMS, VISITORS, seed=0)
    visit = Histories(np.zeros(0, np.int64), VISITORS).visit(0, 0, excludes=False)
    before = method.scores(visit)[3]
    for _ in range(200):
        method.learn(visit, 3, 1.0)
    assert abs(1 - method.scores(visit)[3]) < 0.2 < abs(1 - before)


def test_isgd_folds_in_a_visitor_it_never_learned_of() -> None:
    method = Isgd(ITEMS, VISITORS, seed=0)
    taught(method, [(0, 0), (0, 1), (1, 2), (1, 3)] * 200)
    stranger = Visit(
        3, 0.0, np.array([0] * 40, np.int32), np.zeros(40), np.ones(40, np.float32), excludes=False
    )
    scores = method.scores(stranger)
    assert scores[1] > max(scores[2], scores[3])


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(InputError, match="baselines: 'svd' is none; there is popularity, isgd"):
        Roster(Ids(), baselines=("svd",))
