"""`recpipe evaluate`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from recpipe.cli import app

ACCURACY = {"hr@3", "ndcg@3", "mrr@3"}


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Two hundred ratings of one to five by ten users, in time order, in sessions of four."""
    random = np.random.default_rng(0)
    lines = [
        {
            "user_id": f"u{random.integers(10)}",
            "session_id": f"s{number // 4}",
            "event_type": "rating",
            "timestamp": f"2026-01-02T03:{number // 60:02}:{number % 60:02}Z",
            "page_url": f"https://films.example/movies/{random.zipf(1.4) % 30}",
            "additional_data": {"rating": int(random.integers(1, 6))},
        }
        for number in range(200)
    ]
    return written(tmp_path / "events.jsonl", lines)


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def figures(*arguments: object) -> dict[str, Any]:
    result = evaluate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*arguments: object) -> str:
    result = evaluate(*arguments)
    assert result.exit_code == 2
    return result.output


def test_prequential_as_json(events: Path) -> None:
    found = figures("--events", events, "--protocol", "prequential", "--k", 3, "--min-weight", 4)
    assert found["protocol"] == "prequential"
    assert found["events"] == found["tested"] + found["first_events"] + found["repeats"]
    assert found["events"] + found["below_min_weight"] == 200
    for method in (found, found["popularity"]):
        assert method.keys() >= ACCURACY | {"confidence", "coverage", "gini", "novelty", "us_per_event"}
        assert 0 < method["hr@3"] <= 1
        low, high = method["confidence"]["hr@3"]
        assert low <= method["hr@3"] <= high
        assert method["us_per_event"] > 0


def test_next_item_as_json(events: Path) -> None:
    found = figures("--train", events, "--test", events, "--protocol", "next-item", "-k", 3, "--learn")
    assert (found["positions"], found["sessions"], found["unseen"]) == (150, 50, 0)
    assert found.keys() >= ACCURACY
    assert found["popularity"].keys() >= ACCURACY


@pytest.mark.parametrize(
    ("protocol", "metrics"),
    [
        ("leave-one-out", ACCURACY),
        ("time-split", ACCURACY | {"recall@3"}),
        ("75/25", ACCURACY | {"recall@3"}),
    ],
)
def test_holdouts_as_json(events: Path, protocol: str, metrics: set[str]) -> None:
    baselines = "popularity,isgd,item-knn,als,bpr"
    found = figures("--events", events, "--protocol", protocol, "-k", 3, "--baselines", baselines)
    for method in (found, *(found[name] for name in baselines.split(","))):
        assert method.keys() >= metrics
    assert found["users"] > 0


@pytest.mark.parametrize(
    ("options", "horizon"),
    [
        (["--protocol", "prequential"], "next"),
        (["--protocol", "time-split"], "next"),
        (["--protocol", "75/25"], "taste"),
        (["--protocol", "75/25", "--horizon", "next"], "next"),
        (["--protocol", "prequential", "--horizon", "taste"], "taste"),
    ],
)
def test_the_report_says_what_was_asked(events: Path, options: list[str], horizon: str) -> None:
    assert figures("--events", events, *options)["horizon"] == horizon


def test_slices_and_a_picture(events: Path, tmp_path: Path) -> None:
    items = written(tmp_path / "items.ndjson", [{"item_id": str(n), "categories": ["x"]} for n in range(30)])
    picture = tmp_path / "quality.png"
    found = figures(
        "--events",
        events,
        "--items",
        items,
        "--slice",
        "new-user,new-item",
        "--plot",
        picture,
        "--baselines",
        "isgd",
    )
    assert {name: set(parts) for name, parts in found["slices"].items()} == {
        "new_user": {"context_only", "after_one_event"},
        "new_item": {"metadata_only", "after_one_event"},
    }
    assert found["slices"]["new_user"]["context_only"]["tests"] == found["first_events"]
    assert found["slices"]["new_item"]["metadata_only"]["tests"] == found["unseen"]
    assert "diversity" in found["isgd"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_pipelines_file_gives_weights_and_the_least_of_them(events: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        """
        apiVersion: recpipe.dev/v1alpha1
        kind: RecommenderPipeline
        metadata: {name: films}
        spec:
          events: {types: {rating: {weightFrom: rating}}}
          model: {minWeight: 5}
        """
    )
    by_spec = figures("--events", events, "-f", pipeline)
    by_option = figures("--events", events, "--min-weight", 5)
    assert (by_spec["min_weight"], by_spec["events"]) == (5, by_option["events"])


def test_a_file_out_of_order_is_sorted_and_the_report_says_so(events: Path, tmp_path: Path) -> None:
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("\n".join(reversed(events.read_text().splitlines())))
    in_order, sorted_ = figures("--events", events), figures("--events", backwards)
    assert (in_order["order"], sorted_["order"]) == ("as in the file", "sorted by time")
    assert sorted_["tested"] == in_order["tested"]
    assert sorted_["hr@10"] == in_order["hr@10"]


def test_the_table_names_methods_metrics_and_counts(events: Path) -> None:
    result = evaluate("--events", events, "--slice", "new-user")
    assert result.exit_code == 0
    for word in (
        "hybrid",
        "popularity",
        "hr@10",
        "us_per_event",
        "new user, context only",
        "Events taken as in",
    ):
        assert word in result.output


def test_help_spells_out_the_protocols() -> None:
    result = evaluate("--help")
    for word in ("prequential", "next-item", "leave-one-out", "time-split", "75/25", "Example"):
        assert word in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--protocol", "next-item"], "next-item reads --train and --test"),
        (["--learn"], "--learn: has no meaning for prequential; it goes with next-item"),
        (["--protocol", "75/25", "--slice", "new-user"], "--slice: has no meaning for 75/25"),
        (["--baselines", "svd"], "'svd' is none; there is popularity, isgd, item-knn, als, bpr"),
        (["--baselines", "als"], "takes no part in prequential"),
        (["--min-weight", "9"], "min-weight is 9: no event has"),
        (["--slice", "new-item"], "give it with --items"),
        (["--plot", "quality.docx"], "end it in"),
        (["--plot", "nowhere/quality.png"], "there is no folder 'nowhere'"),
        (["--k", "0"], "--k"),
        (["--protocol", "guess"], "--protocol"),
        (["-f", "nowhere.yaml"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(events: Path, options: list[str], said: str) -> None:
    assert said in " ".join(refused("--events", events, *options).replace("│", " ").split())


def test_no_events_are_a_usage_error() -> None:
    assert "prequential reads --events" in refused()


def test_a_bad_line_is_a_usage_error_that_names_it(events: Path) -> None:
    with events.open("a") as file:
        file.write('{"user_id": "ann", "event_type": "click", "timestamp": "noon", "item_id": "1"}\n')
    assert f"{events}:201: timestamp is 'noon': invalid RFC3339" in refused("--events", events)


def test_without_matplotlib_a_picture_is_refused_before_the_run(events: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not installed')")
    command = [
        sys.executable,
        "-m",
        "recpipe.cli",
        "evaluate",
        "--events",
        str(events),
        "--plot",
        "quality.png",
    ]
    path = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    ended = subprocess.run(command, env=path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--plot needs matplotlib: pip install" in ended.stderr
