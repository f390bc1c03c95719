"""What a status says, and that `Ready` never hides anything."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recpipe.pulsar.status import FunctionFares
from recpipe.spec import Serving
from recpipe.status import LearnerStatus
from recpipe_operator.conditions import Finding, Findings, conditions, merged, transitions
from recpipe_operator.learner_report import drifted, missing_versions, model_fresh
from recpipe_operator.objects import Problem
from recpipe_operator.pulsar_side import explain, functions_finding
from recpipe_operator.workloads import Workload

FINE = Findings(
    topics=Finding.true("TopicsDeployed"),
    functions=Finding.true("FunctionsRunning"),
    workloads={
        part: Workload(part, 1, 1, rolling=False) for part in ("store", "learner", "gateway", "serving")
    },
    fresh=Finding.true("VersionPublished"),
    drifted=Finding.false("Stable"),
    has_model=True,
)


def with_workload(part: str, workload: Workload) -> Findings:
    return replace(FINE, workloads={**FINE.workloads, part: workload})


def test_all_is_well() -> None:
    found = conditions(FINE)
    assert found["Ready"] == Finding.true("Running", "events are taken and learned from")
    assert found["Progressing"].reason == "Settled"
    assert found["Paused"].status == "False"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (replace(FINE, topics=Finding.false("PulsarUnreachable", "gone")), "PulsarUnreachable"),
        (replace(FINE, functions=Finding.false("FunctionsFailing", "dead")), "FunctionsFailing"),
        (replace(FINE, problems=(Problem("SecretMissing", "no secret"),)), "SecretMissing"),
        (
            # One good old pod does not make up for a new one that cannot get its image.
            with_workload(
                "gateway", Workload("gateway", 1, 1, True, Problem("ImagePullBackOff", "no image"))
            ),
            "ImagePullBackOff",
        ),
        (with_workload("learner", Workload("learner", 1, 0, True)), "LearnerNotAvailable"),
        (with_workload("serving", Workload("serving", 2, 1, True)), "ServingNotAvailable"),
        (
            with_workload("store", Workload("store", 1, 0, True, Problem("CrashLoopBackOff", "x"))),
            "CrashLoopBackOff",
        ),
    ],
)
def test_ready_hides_nothing(found: Findings, reason: str) -> None:
    ready = conditions(found)["Ready"]
    assert (ready.status, ready.reason) == ("False", reason)
    assert ready.message


def test_every_reason_is_in_the_message() -> None:
    found = replace(
        with_workload("learner", Workload("learner", 1, 0, rolling=False)),
        topics=Finding.false("PulsarUnreachable", "pulsar is away"),
        functions=Finding.false("PulsarUnreachable", "pulsar is away"),
    )
    assert conditions(found)["Ready"].message == "pulsar is away; learner: 0 of 1 pods available"


def test_a_pipeline_without_events_is_ready_before_its_first_model() -> None:
    found = replace(with_workload("serving", Workload("serving", 1, 0, rolling=False)), has_model=False)
    assert conditions(found)["Ready"].status == "True"
    assert conditions(found)["Progressing"].status == "False"
    assert conditions(found)["ServingAvailable"].reason == "WaitingForFirstModel"
    broken = with_workload(
        "serving", Workload("serving", 1, 0, False, Problem("ImagePullBackOff", "no image"))
    )
    assert conditions(replace(broken, has_model=False))["Ready"].reason == "ImagePullBackOff"


def test_a_pause_is_said_and_nothing_progresses() -> None:
    found = conditions(
        replace(with_workload("gateway", Workload("gateway", 1, 0, True)), paused="spec.paused is true")
    )
    assert found["Paused"] == Finding.true("Paused", "spec.paused is true")
    assert found["Progressing"].status == "False"


def test_the_time_of_a_transition_stays_until_the_status_changes() -> None:
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    before = merged({"Ready": Finding.false("A")}, [], 1, first)
    same = merged({"Ready": Finding.false("B", "other reason")}, before, 2, later)
    assert same[0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert same[0]["observedGeneration"] == 2
    other = merged({"Ready": Finding.true("C")}, same, 2, later)
    assert other[0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"


def test_conditions_that_were_not_looked_at_stay() -> None:
    before = merged({"Ready": Finding.true("A"), "TopicsReady": Finding.true("B")}, [], 1)
    after = merged({"Ready": Finding.false("InvalidSpec")}, before, 2)
    assert {each["type"]: each["status"] for each in after} == {"Ready": "False", "TopicsReady": "True"}


def test_only_what_is_new_is_told() -> None:
    before = merged({"Ready": Finding.true("A"), "TopicsReady": Finding.true("B", "x")}, [], 1)
    found = {"Ready": Finding.false("C"), "TopicsReady": Finding.true("B", "y")}
    assert list(transitions(found, before)) == ["Ready"]


NOW = 1_000_000.0
REPORT = LearnerStatus(model_version=3, reported_at=NOW, published_at=NOW - 10, events_per_second=5.0)


@pytest.mark.parametrize(
    ("report", "status", "reason"),
    [
        (REPORT, "True", "VersionPublished"),
        (LearnerStatus(), "Unknown", "NoReport"),
        (LearnerStatus(reported_at=NOW), "False", "NoModelYet"),
        (Finding.unknown("StoreUnreachable"), "Unknown", "StoreUnreachable"),
        (LearnerStatus(model_version=3, reported_at=NOW - 120), "False", "LearnerSilent"),
        (LearnerStatus(model_version=3, reported_at=NOW, lag_seconds=90), "False", "LearnerBehind"),
        (
            LearnerStatus(model_version=3, reported_at=NOW, published_at=NOW - 3600, events_per_second=1),
            "False",
            "PublishingFails",
        ),
        (
            LearnerStatus(model_version=3, reported_at=NOW, published_at=NOW - 3600),
            "True",
            "VersionPublished",
        ),
    ],
)
def test_a_model_is_fresh_while_the_learner_reports_and_publishes(
    report: LearnerStatus | Finding, status: str, reason: str
) -> None:
    found = model_fresh(report, 60.0, NOW)
    assert (found.status, found.reason) == (status, reason)


def test_drift_is_the_learners_word() -> None:
    assert drifted(REPORT).status == "False"
    found = drifted(
        LearnerStatus(reported_at=NOW, drifted=True, drift_reason="hit rate fell from 0.2 to 0.1")
    )
    assert found.status == "True"
    assert "hit rate fell" in found.message


def test_functions_say_which_does_not_run_and_why() -> None:
    broken = FunctionFares("p/n/shop-features", instances=2, restarts=3, exceptions=["boom"])
    found = functions_finding([FunctionFares("p/n/shop-clean", 1, 1), broken])
    assert (found.status, found.reason) == ("False", "FunctionsFailing")
    assert found.message == "p/n/shop-features: 0 of 2 instances run: boom"
    starting = FunctionFares("p/n/shop-clean", 1, exceptions=["UNAVAILABLE: io exception"])
    assert functions_finding([starting]).reason == "FunctionsStarting"
    assert (
        functions_finding([FunctionFares("p/n/shop-clean")]).message == "p/n/shop-clean: 0 of 1 instances run"
    )
    assert functions_finding([FunctionFares("p/n/shop-clean", 2, 2)]).status == "True"


def test_what_is_no_pulsar_is_said() -> None:
    found = explain(UnicodeDecodeError("utf-8", b"\x8b", 0, 1, "invalid start byte"), "http://proxy:8080")
    assert (found.status, found.reason) == ("False", "PulsarRefused")
    assert "spec.pulsar.adminUrl" in found.message


def test_a_version_that_was_dropped_is_named_with_those_that_are_kept() -> None:
    report = LearnerStatus(model_version=9, versions=(7, 8, 9))
    (problem,) = missing_versions(report, Serving(version=4, labels={"canary": 9}))
    assert problem.reason == "VersionMissing"
    assert "names version 4, but kept are 7, 8, 9" in problem.message
    assert missing_versions(report, Serving(version=8)) == []
    assert missing_versions(LearnerStatus(), Serving(version=4)) == []  # nothing was reported yet
    assert missing_versions(Finding.unknown("StoreUnreachable"), Serving(version=4)) == []
