"""What prequential and next-item test, what they rank, and what they learn, on streams small enough to follow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recpipe.catalogue import Item
from recpipe_model.evaluation import InputError, Report, Roster, Stream, next_item, prequential
from recpipe_model.hybrid import HybridModel

StreamOf = Callable[[str], Stream]


def prequential_report(
    stream: Stream, k: int = 1, catalogue: dict[int, Item] | None = None, **more: Any
) -> Report:
    return prequential(stream, Roster(stream.ids, catalogue or {}), k=k, step=lambda _: None, **more)


def followed(train: Stream, test: Stream, k: int = 1, **more: Any) -> Report:
    return next_item(train, test, Roster(train.ids), k=k, step=lambda _: None, **more)


def popularity_hits(report: Report) -> list[float]:
    return report.curves["popularity"].tolist()


def test_a_users_first_event_is_learned_and_not_tested(stream_of: StreamOf) -> None:
    report = prequential_report(stream_of("ann:a bob:a bob:b ann:b"))
    assert report.counts == {"events": 4, "tested": 2, "first_events": 2, "repeats": 0, "unseen": 1}


def test_an_item_never_seen_is_a_miss_for_everyone(stream_of: StreamOf) -> None:
    report = prequential_report(stream_of("ann:a ann:b ann:c"), k=10)
    assert {name: hits.tolist() for name, hits in report.curves.items()} == {
        "hybrid": [0, 0],
        "popularity": [0, 0],
    }


def test_the_users_history_is_not_ranked(stream_of: StreamOf) -> None:
    # Ann has the most popular item, so b comes first of what is left.
    assert popularity_hits(prequential_report(stream_of("bob:a cat:a bob:b ann:a ann:b"))) == [0, 1]


def test_items_of_equal_score_come_before_the_one_asked_for(stream_of: StreamOf) -> None:
    assert popularity_hits(prequential_report(stream_of("ann:a bob:b cat:c cat:a"))) == [0]


def test_a_repeat_is_learned_from_and_not_tested(stream_of: StreamOf) -> None:
    report = prequential_report(stream_of("ann:a ann:a bob:b cat:c cat:a"))
    assert (report.counts["tested"], report.counts["repeats"]) == (1, 1)
    # Only with both of ann's events does a stand above b.
    assert popularity_hits(report) == [1]


def test_a_stream_with_nothing_to_test_is_refused(stream_of: StreamOf) -> None:
    with pytest.raises(InputError, match="nothing to test"):
        prequential_report(stream_of("ann:a ann:a bob:b"))


def test_the_hybrids_figures_are_those_of_the_model_driven_by_hand(stream_of: StreamOf) -> None:
    random = np.random.default_rng(0)
    stream = stream_of(" ".join(f"u{random.integers(9)}:i{random.zipf(1.3) % 40}" for _ in range(400)))
    names, model, hits = list(stream.ids.items), HybridModel(), []
    for user, item, time in zip(
        stream.users.tolist(), stream.items.tolist(), stream.times.tolist(), strict=True
    ):
        context = (f"hour={int(time // 3600) % 24}",)
        seen, index = model.seen(str(user)).copy(), model.indices([names[item]])
        if len(seen) and not np.isin(index, seen).any():
            rank = model.test(model.query_of(str(user), time, context), names[item], seen).rank
            hits.append(rank is not None and rank <= 5)
        model.learn(str(user), names[item], time, 1.0, context=context, exclude=seen)
    curve = prequential_report(stream, k=5).curves["hybrid"]
    assert 0 < sum(hits) < len(hits)
    assert curve.tolist() == hits


def test_metadata_is_told_at_the_first_event_so_that_an_unseen_item_stays_a_miss(stream_of: StreamOf) -> None:
    stream = stream_of("ann:a bob:b ann:c")
    catalogue = {item: Item(name, categories=["x"]) for name, item in stream.ids.items.items()}
    assert prequential_report(stream, k=10, catalogue=catalogue).curves["hybrid"].tolist() == [0]


def test_new_users_are_tested_on_their_first_and_second_event(stream_of: StreamOf) -> None:
    parts = prequential_report(stream_of("ann:a bob:a cat:b ann:b bob:b ann:c"), slices=("new-user",)).slices
    first, second = (parts["new_user"][part].as_dict() for part in ("context_only", "after_one_event"))
    assert (first["tests"], second["tests"]) == (3, 2)
    assert first["popularity"]["hr@1"] == pytest.approx(1 / 3)
    assert second["popularity"]["hr@1"] == 1


def test_a_new_item_is_named_by_its_metadata_where_the_catalogue_is_known_before(stream_of: StreamOf) -> None:
    stream = stream_of("ann:a bob:b ann:c bob:c")
    catalogue = {item: Item(name, categories=["x"]) for name, item in stream.ids.items.items()}
    report = prequential_report(stream, k=3, catalogue=catalogue, slices=("new-item",))
    new, second = (report.slices["new_item"][part].as_dict() for part in ("metadata_only", "after_one_event"))
    assert (new["tests"], new["hr@3"], new["popularity"]["hr@3"], new["chance"]["hr@3"]) == (1, 1, 0, 1)
    assert (second["tests"], second["popularity"]["hr@3"]) == (1, 1)
    assert report.curves["hybrid"].tolist()[0] == 0


@pytest.mark.parametrize(
    ("name", "said"), [("new-item", "give it with --items"), ("old-item", "there is new-user")]
)
def test_a_slice_that_cannot_be_is_refused(stream_of: StreamOf, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        prequential_report(stream_of("ann:a ann:b"), slices=(name,))


def test_next_item_ranks_what_the_session_has_seen(stream_of: StreamOf) -> None:
    report = followed(stream_of("s:a s:b t:a"), stream_of("v:a v:a v:b"))
    assert popularity_hits(report) == [1, 0]
    assert report.counts == {"events": 6, "positions": 2, "sessions": 1, "unseen": 0}


def test_next_item_tests_each_session_from_its_second_event_on(stream_of: StreamOf) -> None:
    report = followed(stream_of("s:a s:b"), stream_of("v:a w:b v:b w:c x:a v:a"))
    assert (report.counts["positions"], report.counts["sessions"], report.counts["unseen"]) == (3, 2, 1)


def test_next_item_learns_nothing_from_the_test_unless_told_to(stream_of: StreamOf) -> None:
    train, test = stream_of("s:a"), stream_of("v:c v:c v:c")
    assert popularity_hits(followed(train, test)) == [0, 0]
    # At the second c it ties with a, at the third it is ahead.
    assert popularity_hits(followed(train, test, learns=True)) == [0, 1]


def test_a_session_is_predicted_as_if_it_were_the_only_one(stream_of: StreamOf) -> None:
    random = np.random.default_rng(0)
    train = stream_of(" ".join(f"s{n // 4}:i{random.integers(12)}" for n in range(200)))
    alone = " ".join(f"v:i{random.integers(12)}" for _ in range(30))
    amid = " ".join(f"{event} w:i{random.integers(12)}" for event in alone.split())
    hits = followed(train, stream_of(alone), k=3).curves["hybrid"]
    among_others = followed(train, stream_of(amid), k=3).curves["hybrid"][::2]
    assert 0 < hits.sum() < len(hits)
    # The other session's events move the clock, so times differ and with them a few ranks at most.
    assert np.abs(hits - among_others).sum() <= 6


def test_next_item_needs_a_session_of_two_events(stream_of: StreamOf) -> None:
    with pytest.raises(InputError, match="nothing to test"):
        followed(stream_of("s:a s:b"), stream_of("v:a w:b"))


@pytest.mark.parametrize("name", ["als", "bpr"])
def test_methods_that_learn_in_batches_take_no_part_in_a_stream(stream_of: StreamOf, name: str) -> None:
    stream = stream_of("ann:a ann:b")
    with pytest.raises(InputError, match=f"{name} learns from a whole training set"):
        prequential(stream, Roster(stream.ids, baselines=(name,)), k=1, step=lambda _: None)


def test_lists_are_judged_beyond_accuracy_where_they_are_kept(stream_of: StreamOf) -> None:
    stream = stream_of("ann:a bob:b ann:c bob:c ann:b bob:a")
    catalogue = {item: Item(name, categories=[name]) for name, item in stream.ids.items.items()}
    kept = prequential_report(stream, k=2, catalogue=catalogue, lists=10).methods["popularity"]
    # Shown: b (ann has a), a (bob has b), b (ann has a and c), a (bob has b and c), as c ties below its elders.
    assert (kept["lists"], kept["coverage"], kept["diversity"]) == (4, pytest.approx(1.0), pytest.approx(1.0))
    assert "coverage" not in prequential_report(stream, k=2).methods["popularity"]


def test_every_event_is_stepped_over_once(stream_of: StreamOf) -> None:
    stream, steps = stream_of(" ".join(f"u{n % 7}:i{n % 11}" for n in range(501))), []
    prequential(stream, Roster(stream.ids), k=1, step=steps.append)
    assert sum(steps) == 501
