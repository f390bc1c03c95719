"""How functions are configured and packed."""

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recpipe.pulsar.deployment import Observed, desired, plan, removal
from recpipe.pulsar.function_settings import FunctionSettings, desired_functions
from recpipe.spec import DeletionPolicy, RecommenderPipeline
from recpipe_functions.package import build


def shop(**spec: Any) -> RecommenderPipeline:
    return RecommenderPipeline.model_validate(
        {
            "apiVersion": "recpipe.dev/v1alpha1",
            "kind": "RecommenderPipeline",
            "metadata": {"name": "shop"},
            "spec": spec,
        }
    )


def changes(wanted: RecommenderPipeline, there: RecommenderPipeline, package: bytes = b"1") -> list[str]:
    """What happens to functions when one resource takes the other's place."""
    running = desired_functions(there, b"1", "env:STORE")
    observed = Observed(
        functions={function.name: as_the_worker_answers(function.config) for function in running}
    )
    what = dataclasses.replace(desired(wanted, desired_functions(wanted, package, "env:STORE")), topics=())
    return [change.text for change in plan(what, observed).changes if "function" in change.text]


def as_the_worker_answers(config: dict[str, Any]) -> dict[str, Any]:
    """With its defaults, and whole numbers as floats."""
    specs = {
        topic: spec | {"schemaProperties": {}, "poolMessages": False}
        for topic, spec in config["inputSpecs"].items()
    }
    return config | {
        "inputSpecs": specs,
        "parallelism": float(config["parallelism"]),
        "resources": {"cpu": 1.0},
    }


def test_functions_that_are_missing_are_made_and_those_that_agree_are_left() -> None:
    wanted = desired(shop(), desired_functions(shop(), b"1", "env:STORE"))
    made = [change.text for change in plan(wanted, Observed()).changes][-2:]
    assert made == ["+ function public/default/shop-clean", "+ function public/default/shop-features"]
    assert changes(shop(), shop()) == []


def test_new_settings_and_new_code_update_them_and_other_parts_settings_do_not() -> None:
    updated = [f"~ function public/default/shop-{name}: userConfig" for name in ("clean", "features")]
    assert changes(shop(features={"halfLife": "1h"}), shop()) == updated
    assert changes(shop(), shop(), package=b"2") == updated
    assert changes(shop(serving={"replicas": 3}, model={"dimensions": 8}), shop()) == []


def test_functions_go_with_the_resource_even_where_data_stays() -> None:
    functions = desired_functions(shop(), b"1", "env:STORE")
    observed = Observed(functions={function.name: function.config for function in functions})
    assert [change.text for change in removal(observed, DeletionPolicy.RETAIN)] == [
        "- function public/default/shop-clean",
        "- function public/default/shop-features",
    ]


def test_settings_come_back_as_they_were_given() -> None:
    pipeline = shop(events={"itemIdPatterns": [r"/it's/(\d+)"]}, features={"halfLife": "90m"})
    config = FunctionSettings(pipeline, "env:STORE").to_config()
    assert "'" not in config["pipeline"]
    given = FunctionSettings.from_config(config)
    assert given.pipeline.name == "shop"
    assert given.pipeline.spec.events == pipeline.spec.events
    assert given.pipeline.spec.features == pipeline.spec.features


def test_the_stores_url_is_found_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("redis://:secret@file:6379\n")
    monkeypatch.setenv("STORE_URL", "redis://:secret@env:6379")
    assert FunctionSettings(shop(), f"file:{tmp_path / 'url'}").store_url() == "redis://:secret@file:6379"
    assert FunctionSettings(shop(), "env:STORE_URL").store_url() == "redis://:secret@env:6379"
    assert FunctionSettings(shop(), "redis://plain:6379").store_url() == "redis://plain:6379"
    with pytest.raises(ValueError, match="NOT_SET is not set"):
        FunctionSettings(shop(), "env:NOT_SET").store_url()


def test_a_password_is_never_passed_through_the_configuration() -> None:
    with pytest.raises(ValueError, match="holds a password") as caught:
        FunctionSettings(shop(), "redis://:secret@valkey:6379")
    assert "secret" not in str(caught.value)


def test_the_package_is_the_same_each_time_and_stands_alone(tmp_path: Path) -> None:
    package = build()
    assert package == build()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        archive.extractall(tmp_path)
        names = set(archive.namelist())
    assert "recpipe/schemas/event.avsc" in names
    assert not [name for name in names if name.startswith(("recpipe/cli/", "recpipe/bench/"))]
    check = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from recpipe_functions import pulsar_functions as module; from recpipe import schema; "
        "print(module.__file__, schema.__file__)"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", check], capture_output=True, text=True, timeout=60, check=True
    )
    assert [Path(path).is_relative_to(tmp_path) for path in said.stdout.split()] == [True, True]
