"""The learner tests each event before it learns from it, and a repeat teaches nothing."""

from typing import Any

import pytest

from recpipe.records import FeatureRow
from recpipe.spec import Drift as DriftSpec
from recpipe.spec import RecommenderPipeline
from recpipe_model.learner import checkpoint
from recpipe_model.learner.drift import Drift
from recpipe_model.learner.exposures import Exposures
from recpipe_model.learner.learner import Learner
from recpipe_model.learner.pace import LAG_SECONDS, SLOWEST, Pace
from recpipe_model.learner.prequential import Prequential
from tests.records import feature_row

NOW = 1_764_000_000.0


def row(number: int, **changes: Any) -> FeatureRow:
    who = {"event_id": f"e{number}", "user_id": f"u{number % 5}", "item_id": f"i{number * number % 11}"}
    return feature_row(1_764_000_000_000 + number * 1_000, **who | changes)


def test_a_users_first_event_is_learned_and_not_tested(pipeline: RecommenderPipeline) -> None:
    learner = Learner(pipeline)
    learner.learn([row(0), row(1)], NOW)
    assert learner.status(0, 0).hybrid.tested == 0
    learner.learn([row(5)], NOW)
    status = learner.status(0, 0)
    assert (status.learned, status.hybrid.tested, status.popularity.tested) == (3, 1, 1)


def test_a_repeated_row_is_counted_and_changes_nothing(pipeline: RecommenderPipeline) -> None:
    once, twice = Learner(pipeline), Learner(pipeline)
    once.learn([row(n) for n in range(20)], NOW)
    twice.learn([row(n) for n in range(20)], NOW)
    twice.learn([row(n) for n in range(20)], NOW)
    assert (twice.learned, twice.repeats) == (20, 20)
    assert once.model.row("i1") == twice.model.row("i1")


@pytest.mark.parametrize("changes", [{"item_id": None}, {"weight": 0.0}, {"weight": -1.0}])
def test_rows_that_name_no_liking_count_and_teach_nothing(
    pipeline: RecommenderPipeline, changes: dict[str, Any]
) -> None:
    learner = Learner(pipeline)
    learner.learn([row(0, **changes)], NOW)
    assert (learner.learned, len(learner.model.vocabulary)) == (1, 0)


def test_a_checkpoint_brings_back_counts_model_and_memory(
    pipeline: RecommenderPipeline, tmp_path: Any
) -> None:
    learner = Learner(pipeline)
    learner.learn([row(n) for n in range(30)], NOW)
    progress = checkpoint.Progress({"shop-features:0": "7-0"}, learner.status(0, 0), learner.memory())
    for _ in range(3):
        checkpoint.save(tmp_path, learner.model, progress)
    assert len(list(tmp_path.iterdir())) == 2

    found = checkpoint.load(tmp_path)
    assert found is not None
    resumed = Learner(pipeline, found[0])
    resumed.resume(found[1].status, found[1].memory)
    assert found[1].positions == {"shop-features:0": "7-0"}
    for each in (learner, resumed):
        each.learn([row(29), row(30), row(31)], NOW)
    assert resumed.repeats == 1
    assert resumed.status(0, 0).hybrid == learner.status(0, 0).hybrid
    assert resumed.model.row("i1") == learner.model.row("i1")


def test_quality_counts_a_miss_as_nothing_and_discounts_by_rank() -> None:
    quality = Prequential(k=10)
    assert [quality.count(rank) for rank in (1, 3, 11, None)] == [True, True, False, False]
    assert quality.quality.hit_rate == 0.5
    assert quality.quality.ndcg == pytest.approx((1 + 0.5) / 4)
    assert Prequential.of(quality.quality).quality == quality.quality


def test_a_learner_that_is_behind_tests_less_and_recovers() -> None:
    pace = Pace(1.0)
    assert pace.tests_next()
    for _ in range(20):
        pace.follow(LAG_SECONDS * 2)
    assert pace.rate == SLOWEST
    for _ in range(200):
        pace.follow(0.0)
    assert pace.rate == 1.0


def test_what_was_ranked_above_the_click_was_passed_over() -> None:
    exposures = Exposures(users=1)
    shown = {
        "request_id": "r",
        "user_id": "ann",
        "timestamp": 1_000,
        "items": ["a", "b", "c"],
        "scores": [],
        "propensity": 1.0,
        "model_version": 1,
        "degraded": "",
    }
    exposures.show(shown)  # type: ignore[arg-type]
    assert exposures.passed_over("ann", "c", 2_000) == ("a", "b")
    assert exposures.passed_over("ann", "elsewhere", 2_000) == ()
    assert exposures.passed_over("ann", "c", 999) == ()
    assert exposures.clicks == 1
    exposures.show({**shown, "user_id": "bob"})  # type: ignore[arg-type]
    assert exposures.passed_over("ann", "c", 2_000) == ()


def test_drift_is_seen_when_quality_falls_and_not_in_noise() -> None:
    steady = Drift(DriftSpec())
    for number in range(20_000):
        steady.see(number * 7919 % 100 < 20)
    assert not steady.drifted
    falling = Drift(DriftSpec())
    for number in range(20_000):
        falling.see(number * 7919 % 100 < (30 if number < 12_000 else 15))
    assert falling.drifted
    assert falling.reason
