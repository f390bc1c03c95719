"""How functions are configured and packed."""

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from recpipe.pulsar import Admin
from recpipe.pulsar.deployment import Observed, apply, desired, plan, removal
from recpipe.pulsar.function_settings import FunctionSettings, desired_functions
from recpipe.pulsar.functions import Config, FunctionName, FunctionStatus
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
    provider: dict[str, object] = {"KNOWN": "redis://:secret@provider:6379\n", "PATH_ONLY": {"path": "store"}}

    def url(store: str) -> str:
        return FunctionSettings(shop(), store).store_url(provider.get)

    assert url(f"file:{tmp_path / 'url'}") == "redis://:secret@file:6379"
    assert url("env:STORE_URL") == "redis://:secret@env:6379"
    assert url("secret:KNOWN") == "redis://:secret@provider:6379"
    assert url("redis://plain:6379") == "redis://plain:6379"
    for missing, why in (
        ("env:NOT_SET", "NOT_SET is not set"),
        ("secret:NOT_SET", "no text by this name"),
        ("secret:PATH_ONLY", "no text by this name"),
    ):
        with pytest.raises(ValueError, match=why):
            url(missing)


def test_the_secrets_provider_is_told_where_the_store_is_and_never_what_it_is() -> None:
    (clean, _) = desired_functions(shop(store={"urlSecret": "valkey"}), b"1", "secret:RECPIPE_STORE_URL")
    assert clean.config["secrets"] == {"RECPIPE_STORE_URL": {"path": "valkey", "key": "url"}}
    assert "secrets" not in desired_functions(shop(), b"1", "env:STORE")[0].config


async def test_the_package_is_uploaded_once_a_version() -> None:
    uploads: list[bytes | None] = []

    class Worker:
        async def update(self, _name: FunctionName, _config: Config, package: bytes | None) -> None:
            uploads.append(package)

    async def update(wanted: RecommenderPipeline, package: bytes) -> None:
        running = desired_functions(shop(), b"1", "env:STORE")
        what = dataclasses.replace(
            desired(wanted, desired_functions(wanted, package, "env:STORE")), topics=()
        )
        observed = Observed(True, True, functions={each.name: each.config for each in running})
        await apply(cast(Admin, SimpleNamespace(functions=Worker())), plan(what, observed).changes)

    await update(shop(features={"halfLife": "1h"}), b"1")
    await update(shop(), b"2")
    assert uploads == [None, None, b"2", b"2"]


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


@pytest.mark.parametrize(
    ("running", "error", "restarts", "stuck"),
    [(False, "", 3, [7]), (False, "", 2, []), (False, "boom", 9, []), (True, "", 9, [])],
)
def test_an_instance_is_stuck_that_ends_again_and_again_and_does_not_say_why(
    running: bool, error: str, restarts: int, stuck: list[int]
) -> None:
    instance = {"instanceId": 7, "status": {"running": running, "error": error, "numRestarts": restarts}}
    answer = {"numInstances": 1, "numRunning": int(running), "instances": [instance]}
    assert msgspec.convert(answer, FunctionStatus).stuck == stuck
