"""Business rules over a ranking."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from recpipe.catalogue import Item
from recpipe_gateway.rules import Rules
from recpipe_gateway.tensors import Candidate

CATALOGUE = {
    "lamp": Item("lamp", categories=["light", "home"]),
    "bulb": Item("bulb", categories=["light"]),
    "torch": Item("torch", categories=["light", "outdoor"]),
    "tent": Item("tent", categories=["outdoor"]),
    "gift": Item("gift"),
}


def chosen(rules: Rules, *items: str) -> list[str]:
    candidates = [Candidate(item, 1.0 / (1 + rank)) for rank, item in enumerate(items)]
    return [each.item_id for each in rules.choose(candidates, CATALOGUE)]


def test_without_rules_the_best_k_are_shown_each_once() -> None:
    assert chosen(Rules(2), "lamp", "lamp", "bulb", "tent") == ["lamp", "bulb"]


def test_excluded_items_are_left_out_and_others_move_up() -> None:
    assert chosen(Rules(2, exclude={"lamp"}), "lamp", "bulb", "tent") == ["bulb", "tent"]


def test_a_category_is_matched_at_any_level_and_items_without_metadata_are_in_none() -> None:
    assert chosen(Rules(9, category="outdoor"), "lamp", "torch", "unknown", "gift", "tent") == [
        "torch",
        "tent",
    ]


def test_so_many_of_one_first_category_and_no_more() -> None:
    rules = Rules(9, max_per_category=2)
    assert chosen(rules, "lamp", "bulb", "torch", "tent", "gift") == ["lamp", "bulb", "tent", "gift"]


def test_more_candidates_are_asked_for_only_where_rules_may_drop_some() -> None:
    assert Rules(10).width == 10
    assert Rules(10, category="light").width > 10
    assert Rules(100, max_per_category=1).width <= 500


ITEMS = st.sampled_from([*CATALOGUE, "unknown"])


@given(
    ranking=st.lists(ITEMS, max_size=20),
    k=st.integers(1, 8),
    exclude=st.frozensets(ITEMS),
    category=st.sampled_from(["", "light", "outdoor"]),
    limit=st.none() | st.integers(1, 3),
)
def test_an_answer_holds_to_every_rule_and_keeps_the_order(
    ranking: list[str], k: int, exclude: frozenset[str], category: str, limit: int | None
) -> None:
    answer = chosen(Rules(k, exclude, category, limit), *ranking)
    assert len(answer) == len(set(answer)) <= k
    assert not exclude & set(answer)
    assert sorted(answer, key=ranking.index) == answer
    if category:
        assert all(category in CATALOGUE[item].categories for item in answer)
    firsts = Counter(CATALOGUE[item].categories[0] for item in answer if item in CATALOGUE and item != "gift")
    assert limit is None or all(count <= limit for count in firsts.values())
