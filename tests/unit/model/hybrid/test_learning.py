"""What events, ratings and skips teach, and what learning costs."""

from collections.abc import Callable

import pytest

from recpipe_model.hybrid import HybridModel, Settings

Teach = Callable[..., HybridModel]


def rank(model: HybridModel, item: str) -> int:
    tested = model.test(model.query_of("ann", 1e6), item)
    assert tested.rank is not None
    return tested.rank


def test_a_purchase_or_a_better_rating_counts_for_more() -> None:
    model = HybridModel()
    for number in range(10):
        model.learn(f"u{number}", "seed", 10.0 * number)
        model.learn(
            f"u{number}", "bought" if number % 2 else "clicked", 10.0 * number + 1, 5.0 if number % 2 else 1.0
        )
    model.learn("ann", "seed", 1e6 - 1)
    assert rank(model, "bought") < rank(model, "clicked")


def test_what_is_shown_and_passed_over_falls_behind() -> None:
    """Popular items, so that both are candidates in any case: being shown is what makes the difference."""

    def after(negatives: list[str]) -> float:
        model = HybridModel()
        for number in range(60):
            user = f"u{number}"
            for place, item in enumerate(("seed", "left", "right")):
                model.learn(user, item, 100.0 * number + place)
        for number in range(60):
            model.learn(f"v{number}", "seed", 1e4 + 10.0 * number)
            model.learn(f"v{number}", "right", 1e4 + 10.0 * number + 1, negatives=negatives)
        model.learn("ann", "seed", 1e6)
        found = model.recommend(model.query_of("ann", 1e6 + 1), 10)
        scores = dict(zip(found.items, found.scores.tolist(), strict=True))
        return scores["right"] - scores["left"]

    assert after(["left"]) > after([])


def test_what_may_not_be_recommended_is_not_in_the_lesson() -> None:
    """A user's favourite that is never shown again must not be unlearned for others."""

    def popularity_of_the_favourite(excluded: bool) -> int:
        model = HybridModel()
        for number in range(400):
            user, item = f"u{number % 20}", "favourite" if number < 20 else f"i{number % 37}"
            model.learn(user, item, 10.0 * number, exclude=model.seen(user) if excluded else None)
        return rank(model, "favourite")

    assert popularity_of_the_favourite(True) <= popularity_of_the_favourite(False)


@pytest.mark.parametrize("items", [30, 300])
def test_candidates_and_rows_do_not_grow_with_the_catalogue(
    small: Settings, teach: Teach, items: int
) -> None:
    model = HybridModel(small)
    for item in range(items):
        model.put_item(f"i{item}", time=0.0)
    teach(model, 300, items=items)
    s = small
    found = model.recommend(model.query_of("u1", 1e6), 10_000)
    assert len(found.items) <= s.shortlist + s.recent + s.popular + s.fresh
    assert all(len(model.row(f"i{item}")) <= 16 + 12 * s.neighbours for item in range(items))
    other = HybridModel(small)
    for item in range(7):
        other.put_item(f"i{item}", time=0.0)
    assert model.bytes_per_item == other.bytes_per_item


def test_an_item_takes_at_most_4_kib() -> None:
    assert HybridModel().bytes_per_item <= 4096


def test_only_the_items_asked_for_are_ranked(small: Settings, teach: Teach) -> None:
    model = teach(HybridModel(small), 200)
    model.put_item("new", time=0.0)
    query, few = model.query_of("u1", 1e6), model.indices(["new", "i1", "i2"])
    ranks = sorted(model.test(query, item, among=few).rank or 0 for item in ("new", "i1", "i2"))
    assert ranks == [1, 2, 3]
    assert model.test(query, "i3", among=few).rank is None
