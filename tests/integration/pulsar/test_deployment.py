"""Deploying a pipeline's topics to a real cluster."""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def test_the_command_prints_what_it_would_do_and_does_it_only_when_told(
    resource: dict[str, Any], tmp_path: Path
) -> None:
    file, package = tmp_path / "shop.yaml", tmp_path / "functions.zip"
    file.write_text(yaml.safe_dump(resource))

    def said(module: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.splitlines()

    def deployed(verb: str, *options: str) -> list[str]:
        return said("recpipe.pulsar", verb, "--file", str(file), *options)

    would = deployed("apply", "--dry-run")
    assert would[0] == f"+ tenant {resource['spec']['pulsar']['tenant']}"
    assert deployed("apply") == would
    assert deployed("apply") == ["nothing to change"]
    said("recpipe_functions.package", str(package))
    where = f"{resource['spec']['pulsar']['tenant']}/shop"
    assert deployed("apply", "--functions", str(package)) == [
        f"+ function {where}/shop-clean",
        f"+ function {where}/shop-features",
    ]
    assert deployed("apply", "--functions", str(package)) == ["nothing to change"]
    assert deployed("delete") == [f"- function {where}/shop-clean", f"- function {where}/shop-features"]
    assert deployed("delete") == ["nothing to change"]
    resource["spec"]["deletionPolicy"] = "Delete"
    file.write_text(yaml.safe_dump(resource))
    assert len(deployed("delete")) == 6
    assert deployed("delete") == ["nothing to change"]
