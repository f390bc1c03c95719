"""Where a test ranks its item: among what may be recommended, or nowhere."""

from recpipe_model.hybrid import HybridModel, Tested


def watched(*items: str) -> HybridModel:
    model = HybridModel()
    model.put_item("unseen", time=0.0)
    for number, item in enumerate(items):
        model.learn("ann", item, float(number))
    return model


def test_an_item_outside_the_popular_list_has_no_popularity_rank() -> None:
    """Not even where the user has seen all of that list, so that nothing is left above it."""
    model = watched("a", "b", "c")
    tested = model.test(model.query_of("ann", 10.0), "unseen", model.seen("ann"))
    assert tested.popularity_rank is None
    assert tested.rank == 1


def test_an_excluded_item_is_a_miss() -> None:
    model = watched("a", "b", "c")
    assert model.test(model.query_of("ann", 10.0), "a", model.seen("ann")) == Tested(None, None)


def test_an_unknown_or_deleted_item_is_a_miss() -> None:
    model = watched("a", "b", "c")
    model.delete_item("a")
    query = model.query_of("bob", 10.0)
    assert model.test(query, "a") == model.test(query, "nowhere") == Tested(None, None)


def test_what_is_more_popular_and_allowed_comes_first() -> None:
    model = watched("a", "a", "a", "b", "b", "c")
    query = model.query_of("bob", 10.0)
    assert [model.test(query, item).popularity_rank for item in ("a", "b", "c")] == [1, 2, 3]
    assert model.test(query, "c", model.indices(["a"])).popularity_rank == 2


def test_a_test_while_learning_is_the_test_before_it() -> None:
    one, other = watched("a", "b", "c", "a", "d"), watched("a", "b", "c", "a", "d")
    for number, item in enumerate(["b", "unseen", "new", "c", "a"]):
        user, now = f"u{number % 2}", 20.0 + number
        exclude = one.seen(user)
        before = one.test(one.query_of(user, now), item, exclude)
        one.learn(user, item, now, exclude=exclude)
        assert other.learn(user, item, now, test=True, exclude=exclude) == before
