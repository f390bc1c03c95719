"""`recpipe train` from files: a version to serve, and a model for the learner to begin with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recpipe_model.learner import checkpoint

PIPELINE = """\
apiVersion: recpipe.dev/v1alpha1
kind: RecommenderPipeline
metadata: {name: shop}
spec:
  cleaning: {bots: {enabled: false}}
"""
SECONDS = 200


def recpipe(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("recpipe")), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False)


def event(number: int) -> str:
    moment = f"2025-01-01T{number // 60:02d}:{number % 60:02d}:00Z"
    return json.dumps(
        {
            "event_id": f"e{number}",
            "user_id": f"u{number % 7}",
            "event_type": "click",
            "timestamp": moment,
            "item_id": f"i{number * number % 17}",
        }
    )


@pytest.mark.timeout(SECONDS + 30)
def test_a_file_becomes_a_version_and_a_model_to_begin_with(tmp_path: Path) -> None:
    lines = [*map(event, range(300)), event(299), '{"user_id": "nobody"}']
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    (tmp_path / "items.ndjson").write_text(json.dumps({"item_id": "lamp", "title": "Lamp"}))
    done = recpipe(
        *("train", "-f", "pipeline.yaml", "--events", "events.jsonl", "--items", "items.ndjson"),
        *("--checkpoints", "checkpoints", "--models", "models", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    trained = json.loads(done.stdout)
    assert (trained["learned"], trained["refused"], trained["version"]) == (300, 2, 1)
    assert (tmp_path / "models" / "1" / "saved_model.pb").exists()
    found = checkpoint.load(tmp_path / "checkpoints" / checkpoint.RETRAINED)
    assert found
    assert found[1].status.learned == 300
    assert found[0].vocabulary.find("lamp") >= 0


def test_without_a_file_or_a_bus_it_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    done = recpipe("train", "-f", "pipeline.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "--bus-url or --events" in done.stderr.replace("\n", " ")
