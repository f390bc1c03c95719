"""Deploying a pipeline's topics to a real cluster."""

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from recpipe.cli import app
from recpipe.pulsar import Admin
from recpipe.pulsar.deployment import apply, desired, observe, plan, removal
from recpipe.pulsar.errors import IncompatibleSchemaError
from recpipe.spec import DeletionPolicy, Pulsar, RecommenderPipeline


@pytest.fixture
def resource(cluster: Pulsar) -> dict[str, Any]:
    """A pipeline of its own, in a tenant that is not there yet."""
    tenant = f"t{uuid.uuid4().hex[:8]}"
    return {
        "apiVersion": "recpipe.dev/v1alpha1",
        "kind": "RecommenderPipeline",
        "metadata": {"name": "shop"},
        "spec": {
            "events": {"partitions": 2},
            "pulsar": {"tenant": tenant, "namespace": "shop", "adminUrl": cluster.admin_url},
        },
    }


async def deploy(admin: Admin, resource: dict[str, Any]) -> list[str]:
    """Applies the resource; what was changed."""
    wanted = desired(RecommenderPipeline.model_validate(resource))
    changes, _ = plan(wanted, await observe(admin, wanted))
    await apply(admin, changes)
    return [change.text for change in changes]


async def test_applying_twice_changes_nothing_the_second_time(admin: Admin, resource: dict[str, Any]) -> None:
    assert len(await deploy(admin, resource)) > 20
    assert await deploy(admin, resource) == []


async def test_what_was_changed_by_hand_is_repaired(admin: Admin, resource: dict[str, Any]) -> None:
    await deploy(admin, resource)
    events = desired(RecommenderPipeline.model_validate(resource)).topics[0].name
    await admin.topics.unsubscribe(events, "clean")
    await admin.topics.set_compatibility(events, "ALWAYS_COMPATIBLE")
    assert await deploy(admin, resource) == [
        f"~ schema compatibility of {events}: ALWAYS_COMPATIBLE -> FULL_TRANSITIVE",
        f"+ subscription clean on {events}",
    ]
    assert await deploy(admin, resource) == []


async def test_partitions_grow_with_the_resource_and_keep_their_subscriptions(
    admin: Admin, resource: dict[str, Any]
) -> None:
    await deploy(admin, resource)
    resource["spec"]["events"]["partitions"] = 3
    changes = await deploy(admin, resource)
    assert len(changes) == 6
    assert all(text.endswith("2 -> 3 partitions") for text in changes)
    assert await deploy(admin, resource) == []
    events = desired(RecommenderPipeline.model_validate(resource)).topics[0].name
    assert await admin.topics.partitions(events) == 3
    assert await admin.topics.subscriptions(events) == ["clean"]


async def test_a_schema_that_would_break_readers_is_refused(admin: Admin, resource: dict[str, Any]) -> None:
    await deploy(admin, resource)
    events = desired(RecommenderPipeline.model_validate(resource)).topics[0]
    required = {"name": "tracking", "type": "string"}
    broken = events.definition | {"fields": [*events.definition["fields"], required]}
    with pytest.raises(IncompatibleSchemaError, match="FULL_TRANSITIVE"):
        await admin.schemas.register(events.name, broken)
    optional = required | {"default": ""}
    extended = events.definition | {"fields": [*events.definition["fields"], optional]}
    assert await admin.schemas.register(events.name, extended) == 1


async def test_two_pipelines_share_a_namespace_and_go_alone(admin: Admin, resource: dict[str, Any]) -> None:
    await deploy(admin, resource)
    other = resource | {"metadata": {"name": "films"}}
    other["spec"] = resource["spec"] | {"events": {"partitions": 1, "retention": "1h"}}
    await deploy(admin, other)
    assert await deploy(admin, resource) == []
    films = desired(RecommenderPipeline.model_validate(other))
    await apply(admin, removal(await observe(admin, films), DeletionPolicy.DELETE))
    assert removal(await observe(admin, films), DeletionPolicy.DELETE) == []
    assert await deploy(admin, resource) == []


def test_the_commands_show_what_they_would_do_and_do_it_only_when_told(
    resource: dict[str, Any], cluster: Pulsar, tmp_path: Path
) -> None:
    file, package = tmp_path / "shop.yaml", tmp_path / "functions.zip"
    file.write_text(yaml.safe_dump(resource))

    def said(*arguments: str, code: int = 0) -> list[str]:
        answer = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert answer.exit_code == code, answer.output
        return answer.output.splitlines()

    def pulsar(command: str, *options: str, code: int = 0) -> list[str]:
        return said(command, "--pipeline", str(file), *options, code=code)

    would = pulsar("deploy", "--dry-run")
    where = f"{resource['spec']['pulsar']['tenant']}/shop"
    assert would[0] == f"+ tenant {resource['spec']['pulsar']['tenant']}"
    assert would[-2:] == [f"+ function {where}/shop-clean", f"+ function {where}/shop-features"]
    assert any("missing" in line for line in pulsar("status", code=1))
    assert pulsar("deploy") == would
    status = pulsar("status")
    assert any("shop-events" in line and "2 partitions" in line and "0 by clean" in line for line in status)
    assert any("shop-features" in line and "1 of 1 run" in line for line in status)
    said("functions", "package", str(package))
    assert pulsar("deploy", "--package", str(package)) == ["nothing to change"]

    resource["spec"]["events"]["partitions"] = 1
    file.write_text(yaml.safe_dump(resource))
    assert sum(line.startswith("! ") for line in pulsar("deploy", "--dry-run", code=1)) == 6
    retained = "topics and their data stay: deletionPolicy is Retain"
    gone = [f"- function {where}/shop-clean", f"- function {where}/shop-features", retained]
    assert pulsar("delete", "--dry-run") == gone
    assert pulsar("delete") == gone
    assert pulsar("delete") == ["nothing to change", retained]
    resource["spec"]["deletionPolicy"] = "Delete"
    file.write_text(yaml.safe_dump(resource))
    assert len(pulsar("delete")) == 6
    assert pulsar("delete") == ["nothing to change"]
