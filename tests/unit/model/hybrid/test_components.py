"""What each component says of an item, by itself."""

import numpy as np
import pytest

from recpipe_model.hybrid.blend import Blend
from recpipe_model.hybrid.component import Component
from recpipe_model.hybrid.content import Content
from recpipe_model.hybrid.covisits import CoVisits
from recpipe_model.hybrid.embedding import Embedding
from recpipe_model.hybrid.query import EMPTY, Query
from recpipe_model.hybrid.repeats import Repeats
from recpipe_model.hybrid.trends import Trends

DAY = 86_400.0


def query_of(*items: int, age: float = 0.0) -> Query:
    """The items, newest first, each `age` seconds older than the one before."""
    count = len(items)
    ages = np.arange(count, dtype=np.float32) * np.float32(age)
    return Query(np.array(items, np.int32), ages, np.ones(count, np.float32))


def says(component: Component, query: Query, *candidates: int) -> dict[str, list[float]]:
    out = np.zeros((len(component.names), len(candidates)), np.float32)
    component.evidence(query, np.array(candidates, np.int32), out)
    return dict(zip(component.names, out.tolist(), strict=True))


def covisits(neighbours: int = 8) -> CoVisits:
    component = CoVisits(neighbours, window=10, rows=5, shortlist=5)
    component.grow(20)
    return component


def test_what_followed_is_evidence_forwards_and_in_part_backwards() -> None:
    component = covisits()
    component.learn(2, query_of(1), 0.0, 1.0)
    forwards, backwards = says(component, query_of(1), 2), says(component, query_of(2), 1)
    assert forwards["next"][0] > 0
    assert backwards["next"] == [0]
    assert forwards["covisit"] == backwards["covisit"]
    assert says(component, query_of(1), 3) == {name: [0] for name in component.names}


def test_what_followed_soon_counts_more_than_what_followed_late() -> None:
    component = covisits()
    for after, age in ((2, 10.0), (3, 10_000.0)):
        component.learn(
            after,
            Query(*query_of(1).items[None], np.array([age], np.float32), np.ones(1, np.float32)),
            0.0,
            1.0,
        )
    soon, late = says(component, query_of(1), 2, 3)["soon"]
    assert soon > 10 * late


def test_a_heavier_event_is_more_evidence() -> None:
    component = covisits()
    component.learn(2, query_of(1), 0.0, 5.0)  # a purchase
    component.learn(3, query_of(1), 0.0, 1.0)
    evidence = says(component, query_of(1), 2, 3)
    assert all(evidence[name][0] > evidence[name][1] for name in component.names)


def test_a_visit_counts_as_a_cosine_so_that_the_popular_are_not_alike_to_all() -> None:
    component = covisits()
    for _ in range(3):
        component.learn(2, query_of(1), 0.0, 1.0)
        component.learn(3, query_of(1), 0.0, 1.0)
    for other in range(4, 12):
        component.learn(3, query_of(other), 0.0, 1.0)
    rare, popular = says(component, query_of(1), 2, 3)["similar"]
    assert rare > popular > 0


def test_a_row_is_bounded_and_keeps_who_comes_again() -> None:
    component = covisits(neighbours=4)
    for _ in range(5):
        component.learn(1, query_of(0), 0.0, 1.0)
    for passing in range(2, 20):
        component.learn(passing, query_of(0), 0.0, 1.0)
    row = component.row(0)
    assert len(row.neighbours) == 4
    assert 1 in row.neighbours


def test_the_shortlist_takes_the_strongest_that_are_not_excluded() -> None:
    component = covisits(neighbours=16)
    for item in range(1, 12):
        component.learn(item, query_of(0), 0.0, float(item))
    found = component.read(query_of(0))
    assert sorted(component.propose(found, np.array([11], np.int32))) == [6, 7, 8, 9, 10]


def test_rows_read_back_as_they_were_published_up_to_float16() -> None:
    component = covisits()
    for item in (2, 3, 4):
        component.learn(item, query_of(1, 5, 7), 0.0, 1.0)
    own, published = (read(query_of(1, 5)) for read in (component.read, component.reread))
    # Both are views of one buffer, so the later one is all that is left of it.
    assert own.items.tolist() == published.items.tolist()
    assert component.read(query_of(1, 5)).evidence == pytest.approx(
        component.reread(query_of(1, 5)).evidence.copy(), rel=2e-3
    )


def test_trends_count_all_time_and_fade() -> None:
    component = Trends(half_life=DAY, popular=2, hot=4)
    component.grow(5)
    for _ in range(8):
        component.learn(0, EMPTY, 0.0, 1.0)
    for _ in range(3):
        component.learn(1, EMPTY, 4 * DAY, 1.0)
    component.learn(2, EMPTY, 4 * DAY, 1.0)
    evidence = says(component, EMPTY, 0, 1)
    assert evidence["popular"][0] > evidence["popular"][1]
    assert evidence["trending"][0] < evidence["trending"][1]
    assert evidence["fresh"][0] < evidence["fresh"][1]
    assert component.popular().tolist() == [0, 1]


def test_an_item_is_newer_than_one_known_for_longer() -> None:
    component = Trends(half_life=DAY, popular=2, hot=4)
    component.grow(2)
    component.appear(1, 9 * DAY)
    component.learn(0, EMPTY, 10 * DAY, 1.0)
    old, new = says(component, EMPTY, 0, 1)["new"]
    assert new > 5 * old


def test_repeats_know_what_was_just_looked_at() -> None:
    evidence = says(Repeats(), query_of(4, 5, age=60.0), 4, 5, 6)
    assert evidence["seen"] == [20, 20, 0]
    assert evidence["repeat"][0] > evidence["repeat"][1] > evidence["repeat"][2] == 0


def test_content_is_likeness_by_rare_words_and_near_numbers() -> None:
    component = Content(tokens=4, buckets=64, numbers=1)
    component.grow(6)
    for item in range(4, 6):
        component.describe(item, ["drama"], {}, "")
    component.describe(0, ["drama", "space"], {"year": 1980.0}, "")
    component.describe(1, ["space"], {"year": 1982.0}, "")
    component.describe(2, ["drama"], {"year": 2020.0}, "")
    evidence = says(component, query_of(0), 1, 2, 3)
    assert evidence["content"][0] > evidence["content"][1] > evidence["content"][2] == 0
    assert evidence["numbers"][0] > evidence["numbers"][1] > evidence["numbers"][2] == 0
    component.clear(1)
    assert says(component, query_of(0), 1) == {"content": [0], "numbers": [0]}


def test_the_embedding_learns_to_prefer_what_was_chosen() -> None:
    embedding = Embedding(8, embedded=2, rate=0.1, seed=0)
    embedding.grow(6)
    query, candidates = query_of(0, 1, 2), np.array([3, 4, 5], np.int32)
    for _ in range(30):
        scores = embedding.scores(embedding.encode(query), candidates).sum(axis=0)
        residual = -np.exp(scores) / np.exp(scores).sum()
        residual[1] += 1
        embedding.learn(query, embedding.encode(query), candidates, residual.astype(np.float32))
    sequence, taste = embedding.scores(embedding.encode(query), candidates)
    assert sequence.argmax() == taste.argmax() == 1


def test_the_sequence_reads_the_latest_and_taste_reads_all_alike() -> None:
    embedding = Embedding(4, embedded=2, rate=0.1, seed=0)
    embedding.grow(4)
    embedding.source[:] = embedding.taste[:] = np.eye(4, dtype=np.float32)
    sequence, taste = embedding.encode(query_of(2, 1, 3))
    assert sequence == pytest.approx([0, 0.32, 0.4, 0])
    assert taste == pytest.approx([0, 0.5 / 3**0.5, 0.5 / 3**0.5, 0.5 / 3**0.5])


def test_the_blend_learns_which_component_to_trust_in_which_context() -> None:
    blend = Blend(components=2, contexts=1, rate=0.1)
    blend.meet(("device=mobile",))
    blend.meet(("device=desktop",))
    assert list(blend.contexts) == ["device=mobile"]
    buckets = blend.buckets(
        Query(EMPTY.items, EMPTY.ages, EMPTY.weights, ("device=mobile", "device=desktop"))
    )
    features = np.array([[1, 0], [0, 1]], np.float32)
    blend.learn(buckets, features, np.array([0.5, -0.5], np.float32))
    weights = blend.weights[buckets]
    assert (weights[:, 0] > weights[:, 1]).all()
    elsewhere = blend.buckets(query_of(1, 2, 3, 4, 5, age=1.0))
    assert (blend.weights[elsewhere[1:]] == 0).all()
