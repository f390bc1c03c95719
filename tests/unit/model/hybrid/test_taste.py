"""The horizon of taste: what a user likes at all, whenever it was touched."""

import numpy as np
import pytest

from recpipe.horizon import Horizon
from recpipe_model.hybrid import HybridModel, Query, Recommendation
from recpipe_model.hybrid.taste import Taste

TASTE = Horizon.TASTE


def of_two_tastes(users: int = 60) -> HybridModel:
    """Half the users like items a0 .. a9, the others b0 .. b9, six each; the ninth is the first of all."""
    model, choose = HybridModel(), np.random.default_rng(0)
    for number in range(users):
        kind = "ab"[number % 2]
        for place, item in enumerate([9, *choose.permutation(9)[:5]]):
            model.learn(f"u{number}", f"{kind}{item}", 100.0 * number + place)
    return model


def best(model: HybridModel, query: Query, k: int = 10, exclude: list[str] | None = None) -> Recommendation:
    return model.recommend(query, k, model.indices(exclude or []))


def test_a_user_gets_what_those_of_the_same_taste_like() -> None:
    model = of_two_tastes()
    found = best(model, model.query_of("u0", 1e6, horizon=TASTE), k=10)
    assert {item[0] for item in found.items} == {"a"}
    assert found.components == ("taste",)
    assert found.shares[:, 0] == pytest.approx(found.scores)


def test_neither_time_nor_order_matters() -> None:
    model = of_two_tastes()
    items = model.indices(["a1", "a2", "a3"])
    ages, weights = np.array([1, 60, 3600], np.float32), np.array([1, 2, 3], np.float32)
    one = best(model, Query(items, ages, weights, horizon=TASTE))
    other = best(model, Query(items[::-1], 1e6 * ages, weights[::-1], horizon=TASTE))
    assert one.items == other.items
    assert one.scores == pytest.approx(other.scores, rel=1e-5)


def test_what_was_touched_long_ago_counts_beyond_the_recent_items() -> None:
    model = of_two_tastes()
    model.learn("ann", "a1", 1e6)
    for number in range(model.settings.recent):
        model.learn("ann", f"odd{number}", 1e6 + number)
    assert len(model.query_of("ann", 2e6).items) == model.settings.recent
    query = model.query_of("ann", 2e6, horizon=TASTE)
    assert query.items[-1] == model.indices(["a1"])[0]


def test_a_better_liked_item_counts_for_more() -> None:
    model = of_two_tastes()
    items, ages = model.indices(["a1", "b1"]), np.zeros(2, np.float32)

    def share_of_a(weights: list[float]) -> int:
        found = best(model, Query(items, ages, np.array(weights, np.float32), horizon=TASTE), k=8)
        return sum(item.startswith("a") for item in found.items)

    assert share_of_a([5.0, 1.0]) > share_of_a([1.0, 5.0])


def test_without_a_history_the_popular_come_first() -> None:
    model = of_two_tastes()
    query = model.query_of("nobody", 1e6, horizon=TASTE)
    found = best(model, query, k=2)
    assert set(found.items) == {"a9", "b9"}


def test_only_items_that_may_be_recommended_are() -> None:
    model = of_two_tastes()
    model.put_item("untouched", time=1e6)
    model.delete_item("a1")
    query = model.query_of("u0", 1e6, horizon=TASTE)
    everything = set(best(model, query, k=1000, exclude=["a2"]).items)
    assert everything == {f"{kind}{item}" for kind in "ab" for item in range(10)} - {"a1", "a2"}
    assert model.test(query, "a2", model.indices(["a2"])).rank is None
    assert model.test(query, "a3").rank is not None
    assert model.test(query, "a3", among=model.indices(["a3", "untouched"])).rank == 1


def test_a_deleted_item_is_known_again_after_its_next_event() -> None:
    model = of_two_tastes()
    model.delete_item("a1")
    model.put_item("a1", time=1e6)
    query = model.query_of("u0", 1e6, horizon=TASTE)
    assert "a1" not in best(model, query, k=1000).items
    model.learn("u2", "a1", 1e6)
    assert "a1" in best(model, query, k=1000).items


def test_it_comes_to_the_regularised_autoencoder_of_the_histories() -> None:
    """Whose optimum is known: along each singular vector of the histories, 1 - ridge / singular value squared."""
    choose = np.random.default_rng(0)
    groups, size, dimensions, ridge = 3, 12, 3, 1.0
    taste = Taste(dimensions, ridge, seed=0)
    taste.grow(groups * size)
    visits = np.zeros(groups * size, np.float32)
    rows = np.zeros((4000, groups * size + 1))
    for number, row in enumerate(rows):
        items = number % groups * size + choose.permutation(size)[:4]
        visits[items[-1]] += 1
        query = Query(items[:-1].astype(np.int32), np.zeros(3, np.float32), np.ones(3, np.float32))
        taste.learn(int(items[-1]), query, 1.0, visits)
        row[items] = 0.5 / (1 + visits[items]) ** 0.25
        row[-1] = 0.5 / (2 + number) ** 0.25
    vectors, _, common = taste.vectors(visits)
    share = min(ridge / len(visits), 0.01)
    late = rows * np.sqrt(np.arange(1, len(rows) + 1))[:, None]
    _, values, axes = np.linalg.svd(late, full_matrices=False)
    kept = np.maximum(1 - share * (late**2).sum() / values**2, 0)[:dimensions]
    expected = (axes[:dimensions].T * kept) @ axes[:dimensions]
    learned = np.vstack([vectors, common * (1 + len(rows)) ** 0.25])
    assert learned @ learned.T == pytest.approx(expected, abs=0.02)


def test_its_vectors_are_its_scores() -> None:
    model = of_two_tastes()
    taste, query = model._scoring.taste, model.query_of("u0", 1e6, horizon=TASTE)
    items = np.arange(len(model.vocabulary), dtype=np.int32)
    visits = model._scoring.covisits.visits
    vectors, scales, common = taste.vectors(visits[: len(items)])
    roots = np.sqrt(query.weights)
    shares = roots / roots.mean() / np.sqrt(len(roots))
    user = (shares / scales[query.items]) @ vectors[query.items] + common / np.sqrt(len(roots))
    assert scales * (vectors @ user) == pytest.approx(taste.scores(query, items, visits), rel=1e-4, abs=1e-6)


def test_a_billion_events_leave_finite_numbers() -> None:
    taste = Taste(4, 1.0, seed=0)
    taste.grow(50)
    taste.totals[0] = 1e9
    visits = np.ones(50, np.float32)
    query = Query(np.arange(5, dtype=np.int32), np.zeros(5, np.float32), np.ones(5, np.float32))
    for item in range(5, 50):
        taste.learn(item, query, 1.0, visits)
    assert np.isfinite(taste.scores(query, np.arange(50, dtype=np.int32), visits)).all()
