"""Each metric against a case worked out by hand, and within its bounds for any input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recpipe_model.evaluation import metrics

K = 5
HITS = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
RELEVANT = np.array([1, 4, 2], np.int32)

some_hits = st.integers(1, 20).flatmap(lambda n: arrays(bool, (n, K)))


def lists(*items: list[int]) -> list[np.ndarray]:
    return [np.array(each, np.int32) for each in items]


def test_a_rank_within_k_is_a_hit_at_its_place_and_rank_0_is_a_miss() -> None:
    hits = metrics.hits_of_ranks(np.array([1, 3, 4, 0], np.int32), 3)
    assert hits.tolist() == [[True, False, False], [False, False, True], [False] * 3, [False] * 3]


def test_hits_of_lists_mark_the_places_of_relevant_items_and_short_lists_end_in_misses() -> None:
    hits = metrics.hits_of_lists(lists([7, 8, 9], [5]), lists([9, 7], [4]), 4)
    assert hits.tolist() == [[True, False, True, False], [False] * 4]


def test_hit_rate() -> None:
    assert metrics.hit_rate(HITS).tolist() == [1, 1, 0]


def test_recall_is_over_all_relevant_items() -> None:
    assert metrics.recall(HITS, RELEVANT).tolist() == [1, 0.5, 0]


def test_reciprocal_rank_is_of_the_first_hit() -> None:
    assert metrics.reciprocal_rank(HITS).tolist() == pytest.approx([1, 1 / 3, 0])


def test_ndcg_discounts_by_place_and_divides_by_the_best_possible() -> None:
    gain = 1 / math.log2(4) + 1 / math.log2(6)
    best = sum(1 / math.log2(place + 1) for place in (1, 2, 3, 4))
    assert metrics.ndcg(HITS, RELEVANT).tolist() == pytest.approx([1, gain / best, 0])


def test_ndcg_of_one_relevant_item_is_its_discount() -> None:
    hits = metrics.hits_of_ranks(np.array([1, 2, 3, 10], np.int32), 10)
    ones = np.ones(4, np.int32)
    assert metrics.ndcg(hits, ones).tolist() == pytest.approx([1 / math.log2(r + 1) for r in (1, 2, 3, 10)])


@given(some_hits, st.integers(0, 100))
def test_accuracy_metrics_are_between_0_and_1_and_0_only_without_a_hit(hits: np.ndarray, more: int) -> None:
    relevant = np.maximum(hits.sum(axis=1) + more, 1).astype(np.int32)
    for values in (
        metrics.hit_rate(hits),
        metrics.recall(hits, relevant),
        metrics.reciprocal_rank(hits),
        metrics.ndcg(hits, relevant),
    ):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
        assert ((values > 0) == hits.any(axis=1)).all()


@given(some_hits)
def test_a_hit_moved_up_never_lowers_ndcg(hits: np.ndarray) -> None:
    relevant = np.maximum(hits.sum(axis=1), 1).astype(np.int32)
    assert (
        metrics.ndcg(-np.sort(-hits.astype(int)) > 0, relevant) >= metrics.ndcg(hits, relevant) - 1e-12
    ).all()


def test_coverage_is_the_share_of_the_catalogue_shown() -> None:
    assert metrics.coverage(lists([0, 1], [1, 2]), items=6) == 0.5


def test_gini_is_0_where_all_are_shown_alike_and_near_1_where_one_is() -> None:
    assert metrics.gini(lists([0, 1], [2, 3]), items=4) == pytest.approx(0)
    assert metrics.gini(lists([3], [3], [3]), items=4) == pytest.approx(0.75)


def test_gini_by_hand() -> None:
    # Shown 1 and 3 times: mean absolute difference 2 over twice the mean of pairs (2 * 2 * 2).
    assert metrics.gini(lists([0, 1], [1], [1]), items=2) == pytest.approx(0.25)


def test_novelty_is_bits_of_surprise() -> None:
    counts = np.array([4, 2, 2], np.int32)
    assert metrics.novelty(lists([0, 1]), counts) == pytest.approx((1 + 2) / 2)


def test_intra_list_diversity_is_the_mean_jaccard_distance_of_pairs() -> None:
    categories = {0: frozenset({"a", "b"}), 1: frozenset({"b", "c"}), 2: frozenset({"a", "b"})}
    # Distances 2/3, 0, 2/3; a list of one has no pair; an item without categories is at distance 1.
    assert metrics.intra_list_diversity(lists([0, 1, 2], [0]), categories) == pytest.approx(4 / 9)
    assert metrics.intra_list_diversity(lists([0, 9]), categories) == 1


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True), min_size=1, max_size=9))
def test_list_metrics_keep_their_bounds(shown: list[list[int]]) -> None:
    counts = np.arange(1, 11, dtype=np.int32)
    categories = {item: frozenset({str(item % 3)}) for item in range(5)}
    assert 0 < metrics.coverage(lists(*shown), 10) <= 1
    assert -1e-12 <= metrics.gini(lists(*shown), 10) < 1
    assert 0 <= metrics.novelty(lists(*shown), counts) <= math.log2(counts.sum()) + 1e-9
    assert 0 <= metrics.intra_list_diversity(lists(*shown), categories) <= 1


def test_the_bootstrap_interval_of_a_constant_is_that_constant() -> None:
    assert metrics.bootstrap_interval(np.full(30, 0.25), np.arange(30), seed=0) == pytest.approx((0.25, 0.25))


def test_the_bootstrap_interval_has_the_width_of_theory_for_independent_values() -> None:
    values = np.random.default_rng(1).random(1600) < 0.3
    low, high = metrics.bootstrap_interval(values.astype(float), np.arange(1600), seed=0)
    expected = 2 * 1.96 * math.sqrt(0.3 * 0.7 / 1600)
    assert low < values.mean() < high
    assert high - low == pytest.approx(expected, rel=0.1)


def test_values_that_come_in_groups_have_a_wider_interval() -> None:
    values = np.repeat(np.random.default_rng(1).random(40) < 0.3, 40).astype(float)
    grouped = metrics.bootstrap_interval(values, np.repeat(np.arange(40), 40), seed=0)
    alone = metrics.bootstrap_interval(values, np.arange(1600), seed=0)
    assert grouped[1] - grouped[0] > 3 * (alone[1] - alone[0])


def test_many_groups_are_merged_without_changing_the_interval_much() -> None:
    values = np.random.default_rng(1).random(3 * metrics.BLOCKS)
    low, high = metrics.bootstrap_interval(values, np.arange(len(values)), seed=0)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / len(values)), rel=0.1)


def test_equal_seeds_give_equal_intervals() -> None:
    values = np.random.default_rng(1).random(50)
    one, other = (metrics.bootstrap_interval(values, np.arange(50), seed) for seed in (3, 3))
    assert one == other
