"""The API server itself refuses every invalid pipeline, with a message that says what to do.

Each case is also given to the file reader: a laptop and a cluster must not disagree.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recpipe.pipeline_file import InvalidPipelineError, load_pipeline
from recpipe.spec import PipelineSpec

from ..conftest import ROOT, Kubernetes

NAMESPACE = "admission"

INVALID = {
    # what is not there
    "unknown section": ("{pulser: {}}", 'unknown field "spec.pulser"'),
    "unknown field": ("{events: {partitons: 3}}", 'unknown field "spec.events.partitons"'),
    "unknown field in a map": ("{events: {types: {like: {wait: 1}}}}", "unknown field"),
    # types
    "text for a number": ("{events: {partitions: four}}", "must be of type integer"),
    "fraction for a number": ("{events: {partitions: 1.5}}", "must be of type integer"),
    "text for a switch": ("{paused: 'soon'}", "must be of type boolean"),
    "list for a section": ("{serving: []}", "must be of type object"),
    "text for a list": ("{gateway: {corsOrigins: https://shop.example}}", "must be of type array"),
    "number for a duration": ("{events: {retention: 7}}", "must be of type string"),
    # bounds
    "no partitions": ("{events: {partitions: 0}}", "greater than or equal to 1"),
    "too many partitions": ("{events: {partitions: 1000}}", "less than or equal to 256"),
    "no replicas": ("{serving: {replicas: 0}}", "greater than or equal to 1"),
    "threshold above one": ("{cleaning: {bots: {threshold: 7}}}", "less than or equal to 1"),
    "threshold of nothing": ("{cleaning: {bots: {threshold: 0}}}", "greater than 0"),
    "certain drift": ("{model: {drift: {delta: 1}}}", "less than 1"),
    "narrow embedding": ("{model: {dimensions: 4}}", "greater than or equal to 8"),
    "no windows": ("{features: {windows: []}}", "at least 1 items"),
    "five windows": ("{features: {windows: [1h, 2h, 3h, 4h, 5h]}}", "at most 4 items"),
    "heavy weight": ("{events: {types: {like: {weight: 1000}}}}", "less than or equal to 100"),
    "huge events": ("{events: {maxEventBytes: 2000000}}", "less than or equal to 1048576"),
    # choices
    "unknown policy": ("{deletionPolicy: Keep}", 'supported values: "Retain", "Delete"'),
    # durations
    "days": ("{events: {retention: 7d}}", "as a whole number and ms, s, m or h"),
    "two units": ("{features: {halfLife: 1h30m}}", "as a whole number and ms, s, m or h"),
    "longer than any clock": ("{events: {retention: 9999999h}}", "as a whole number and ms, s, m or h"),
    "no half-life": ("{features: {halfLife: 0s}}", "give between 1s and 87600h"),
    "slow live state": ("{model: {liveInterval: 1s}}", "recommendations would lag behind the last click"),
    "hectic publishing": ("{model: {publishInterval: 1s}}", "give between 5s and 720h"),
    "impatient deadline": ("{serving: {deadline: 0ms}}", "give between 1ms and 30s"),
    "a window of nothing": ("{features: {windows: [0s]}}", "give between 1s and 8760h"),
    # forms
    "pattern that is none": ("{events: {itemIdPatterns: ['/items/([a-z)']}}", "missing closing ]"),
    "pattern without a group": (
        "{events: {itemIdPatterns: ['/items/.*']}}",
        "put a group around the item id",
    ),
    "group that keeps nothing": (
        "{events: {itemIdPatterns: ['/(?:items)/.*']}}",
        "put a group around the item",
    ),
    "look-ahead": ("{events: {itemIdPatterns: ['/items/(?=a)(.*)']}}", "invalid or unsupported Perl syntax"),
    "event type in capitals": ("{events: {types: {Like: {}}}}", "name event types with a-z, 0-9 and _"),
    "size without a unit": ("{model: {storage: {size: '5'}}}", "such as 5Gi"),
    "size of nothing": ("{model: {storage: {size: 0Gi}}}", "such as 5Gi"),
    "memory in megabytes": ("{serving: {resources: {memory: 512MB}}}", "such as 512Mi or 2Gi"),
    "cores in words": ("{serving: {resources: {cpu: two}}}", "such as 2 or 0.5"),
    "cron of four fields": ("{model: {retrainSchedule: '0 4 * *'}}", "give a cron expression of five fields"),
    "cron in words": ("{model: {retrainSchedule: nightly}}", "give a cron expression of five fields"),
    "image with a scheme": ("{serving: {image: 'https://registry/x'}}", "without https:// in front"),
    "host with a scheme": ("{gateway: {ingress: {host: 'https://shop'}}}", "without https:// or a path"),
    "ingress without host": ("{gateway: {ingress: {}}}", "host: Required value"),
    "origin with a path": ("{gateway: {corsOrigins: ['https://shop.example/']}}", "without a path"),
    "broker over http": ("{pulsar: {serviceUrl: 'http://pulsar:8080'}}", "give pulsar://host:6650"),
    "admin of the broker": ("{pulsar: {adminUrl: 'pulsar://pulsar:6650'}}", "give http://host:8080"),
    "password in a URL": ("{pulsar: {adminUrl: 'http://a:b@pulsar:8080'}}", "credentialsSecret"),
    "tenant with a slash": ("{pulsar: {tenant: a/b}}", "use A-Z, a-z, 0-9"),
    "secret in capitals": ("{store: {urlSecret: Shop}}", "give the name of an object in this namespace"),
    # between fields
    "two stores": ("{store: {urlSecret: a, managed: {}}}", "cannot be combined with managed"),
    "more at least than at most": (
        "{gateway: {autoscaling: {minReplicas: 5, maxReplicas: 2}}}",
        "must not be above maxReplicas",
    ),
    "rhythm of an unknown type": (
        "{cleaning: {bots: {rhythmTypes: [like]}}}",
        "name only built-in event types and those of events.types",
    ),
}

NAMES = {"capitals": "Shop", "too long": "s" * 41, "dots": "shop.example"}

FORBIDDEN_CHANGES = {
    "partitions shrink": (
        "{events: {partitions: 8}}",
        "{events: {partitions: 4}}",
        "partitions can only grow",
    ),
    "tenant": ("{}", "{pulsar: {tenant: other}}", "topics cannot move"),
    "namespace": ("{pulsar: {namespace: a}}", "{pulsar: {namespace: b}}", "topics cannot move"),
    "smaller volume": ("{}", "{model: {storage: {size: 1Gi}}}", "a volume can only grow"),
    "another class": ("{}", "{model: {storage: {storageClass: fast}}}", "a volume keeps its class"),
    "smaller store": (
        "{store: {managed: {storage: 2Gi}}}",
        "{store: {managed: {storage: 1024Mi}}}",
        "a volume can only grow",
    ),
}

ALLOWED_CHANGES = {
    "partitions grow": ("{events: {partitions: 4}}", "{events: {partitions: 8}}"),
    "larger volume in another unit": (
        "{model: {storage: {size: 2Gi}}}",
        "{model: {storage: {size: 2049Mi}}}",
    ),
    "another broker address": ("{}", "{pulsar: {serviceUrl: 'pulsar+ssl://pulsar.example:6651'}}"),
    "everything else": (
        "{}",
        "{paused: true, serving: {replicas: 3}, gateway: {ingress: {host: a.example}}}",
    ),
}


def resource(spec: str | None, name: str = "shop") -> str:
    head = {"apiVersion": "recpipe.dev/v1alpha1", "kind": "RecommenderPipeline", "metadata": {"name": name}}
    return yaml.safe_dump(head if spec is None else head | {"spec": yaml.safe_load(spec)})


@pytest.fixture(scope="module")
def cluster(kubernetes: Kubernetes) -> Kubernetes:
    kubernetes.kubectl("create", "namespace", NAMESPACE)
    return kubernetes


@pytest.fixture
def name(cluster: Kubernetes, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a pipeline that is gone after the test."""
    mine = "p" + "".join(letter for letter in request.node.name if letter.isalpha()).lower()[-30:]
    yield mine
    cluster.kubectl("delete", "recpipe", mine, "-n", NAMESPACE, "--ignore-not-found")


def apply(cluster: Kubernetes, text: str) -> tuple[bool, str]:
    done = cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=text)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("spec", "says"), INVALID.values(), ids=INVALID)
def test_an_invalid_spec_is_refused(cluster: Kubernetes, tmp_path: Path, spec: str, says: str) -> None:
    taken, said = apply(cluster, resource(spec))
    assert not taken
    assert says in said
    file = tmp_path / "pipeline.yaml"
    file.write_text(resource(spec))
    with pytest.raises(InvalidPipelineError):
        load_pipeline(file)


@pytest.mark.parametrize("bad", NAMES.values(), ids=NAMES)
def test_a_name_that_topics_cannot_bear_is_refused(cluster: Kubernetes, bad: str) -> None:
    taken, said = apply(cluster, resource("{}", bad))
    assert not taken
    assert "metadata.name" in said


def test_nothing_invalid_has_reached_the_operator(cluster: Kubernetes) -> None:
    """Runs after the refusals: what is not stored, nobody watches."""
    assert cluster.get("recpipe", "-n", NAMESPACE)["items"] == []


@pytest.mark.parametrize(("before", "after", "says"), FORBIDDEN_CHANGES.values(), ids=FORBIDDEN_CHANGES)
def test_a_change_that_would_lose_data_is_refused(
    cluster: Kubernetes, name: str, before: str, after: str, says: str
) -> None:
    assert apply(cluster, resource(before, name)) == (
        True,
        f"recommenderpipeline.recpipe.dev/{name} created\n",
    )
    taken, said = apply(cluster, resource(after, name))
    assert not taken
    assert says in said


@pytest.mark.parametrize(("before", "after"), ALLOWED_CHANGES.values(), ids=ALLOWED_CHANGES)
def test_other_changes_are_taken(cluster: Kubernetes, name: str, before: str, after: str) -> None:
    assert apply(cluster, resource(before, name))[0]
    assert apply(cluster, resource(after, name)) == (
        True,
        f"recommenderpipeline.recpipe.dev/{name} configured\n",
    )


@pytest.mark.parametrize(
    "spec", ["{}", None, "{events: {}, store: {managed: {}}, gateway: {ingress: {host: a}}}"]
)
def test_what_is_left_out_gets_the_defaults_that_python_has(
    cluster: Kubernetes, name: str, spec: str | None
) -> None:
    assert apply(cluster, resource(spec, name))[0]
    stored: dict[str, Any] = cluster.get("recpipe", name, "-n", NAMESPACE)["spec"]
    expected = PipelineSpec.model_validate(yaml.safe_load(spec or "{}"))
    assert stored == expected.model_dump(by_alias=True, mode="json", exclude_none=True)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_taken(cluster: Kubernetes, example: Path) -> None:
    taken, said = apply(cluster, example.read_text())
    assert taken, said
    cluster.kubectl("delete", "-n", NAMESPACE, "-f", str(example))
