"""`recpipe validate` and `recpipe doctor`, as a person at a terminal meets them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recpipe.cli import app, pipelines

ROOT = Path(__file__).parents[3]
runner = CliRunner()


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(example: Path) -> None:
    assert runner.invoke(app, ["validate", str(example)]).exit_code == 0


def test_an_invalid_pipeline_ends_with_code_2_and_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text((ROOT / "examples" / "shop.yaml").read_text() + "\n")
    text = file.read_text().replace("spec: {}", "spec: {model: {publishInterval: 1s}}")
    file.write_text(text)
    assert runner.invoke(app, ["validate", str(file)]).exit_code == 2


def test_doctor_finds_all_that_run_needs_in_this_environment() -> None:
    answer = runner.invoke(app, ["doctor"])
    assert answer.exit_code == 0, answer.output


def test_doctor_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "find_spec", lambda name: None if name == "numba" else object())
    answer = runner.invoke(app, ["doctor"])
    assert answer.exit_code == 1
    assert "recpipe[local]" in answer.output
