"""A pipeline file says what is wrong with it: field, value, remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from recpipe.crd import custom_resource_definition, render_crd
from recpipe.pipeline_file import InvalidPipelineError, load_pipeline
from recpipe.reference import render_reference
from recpipe.spec import PipelineSpec

ROOT = Path(__file__).parents[3]
HEAD = "apiVersion: recpipe.dev/v1alpha1\nkind: RecommenderPipeline\nmetadata: {name: shop}\n"


def problems_of(tmp_path: Path, spec: str, head: str = HEAD) -> str:
    file = tmp_path / "pipeline.yaml"
    file.write_text(head + f"spec: {spec}\n")
    with pytest.raises(InvalidPipelineError) as caught:
        load_pipeline(file)
    return str(caught.value)


def test_an_empty_spec_is_a_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(HEAD)
    assert load_pipeline(file).spec == PipelineSpec()


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(example: Path) -> None:
    load_pipeline(example)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{events: {partitons: 3}}", "spec.events.partitons: no such field; did you mean partitions?"),
        (
            "{events: {partitions: 0}}",
            "spec.events.partitions: 0: input should be greater than or equal to 1",
        ),
        (
            "{events: {retention: 7d}}",
            "spec.events.retention: '7d': write one whole number of at most six digits",
        ),
        ("{events: {itemIdPatterns: ['(']}}", "is not a regular expression"),
        ("{events: {itemIdPatterns: ['/items/']}}", "put a group around the item id"),
        ("{events: {types: {Like: {}}}}", "name event types with a-z, 0-9 and _"),
        ("{cleaning: {bots: {threshold: 7}}}", "spec.cleaning.bots.threshold: 7: input should be less than"),
        ("{model: {liveInterval: 1s}}", "spec.model.liveInterval: '1s': give between 1ms and 200ms"),
        ("{model: {publishInterval: 1s}}", "spec.model.publishInterval: '1s': give between 5s and 720h"),
        ("{store: {urlSecret: a, managed: {}}}", "urlSecret: cannot be combined with managed"),
        (
            "{serving: {autoscaling: {minReplicas: 5, maxReplicas: 2}}}",
            "minReplicas: must not be above maxReplicas",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(tmp_path: Path, spec: str, said: str) -> None:
    assert said in problems_of(tmp_path, spec)


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    said = problems_of(tmp_path, "{paused: 7, events: {partitions: 0}}")
    assert "spec.paused" in said
    assert "spec.events.partitions" in said


def test_a_name_that_topics_cannot_bear_is_refused(tmp_path: Path) -> None:
    assert "metadata.name: 'Shop'" in problems_of(tmp_path, "{}", HEAD.replace("shop", "Shop"))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidPipelineError, match="does not exist"):
        load_pipeline(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("file", "generated"),
    [
        ("crds/recommenderpipelines.recpipe.dev.yaml", render_crd),
        ("charts/recpipe/files/crd.yaml", render_crd),
        ("docs/reference.md", render_reference),
    ],
)
def test_what_is_generated_from_the_spec_is_current(file: str, generated: Callable[[], str]) -> None:
    assert (ROOT / file).read_text() == generated(), "run `make crds`"


def test_a_duration_too_long_for_any_clock_is_refused(tmp_path: Path) -> None:
    assert "at most six digits" in problems_of(tmp_path, "{events: {retention: 99999999999999h}}")


@pytest.mark.parametrize("pattern", ["/items/(?=x)(.*)", r"/(a)/\1", "/items/(?<!x)(.*)"])
def test_a_pattern_that_the_api_server_cannot_read_is_refused(tmp_path: Path, pattern: str) -> None:
    """RE2 knows neither look-around nor references back."""
    said = problems_of(tmp_path, f"{{events: {{itemIdPatterns: ['{pattern}']}}}}")
    assert "is not a regular expression of RE2" in said


def spec_schema() -> dict[str, object]:
    (version,) = custom_resource_definition()["spec"]["versions"]
    schema: dict[str, object] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def test_the_crd_is_structural() -> None:
    """Kubernetes refuses references, unions and untyped nodes."""

    def walk(node: dict[str, object], path: str) -> None:
        assert node.get("type"), f"{path} has no type"
        assert not {"$ref", "anyOf", "oneOf", "allOf", "$defs"} & set(node), path
        for name, child in dict(node.get("properties", {})).items():  # type: ignore[call-overload]
            walk(child, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            if isinstance(child := node.get(key), dict):
                walk(child, f"{path}.{key}")

    walk(spec_schema(), "spec")


def test_the_crd_defaults_are_the_models_defaults() -> None:
    """What the API server fills in is what Python fills in."""

    def defaulted(node: dict[str, object], value: object) -> object:
        properties = node.get("properties")
        if not isinstance(properties, dict) or not isinstance(value, dict):
            return value
        filled = {**value}
        for name, child in properties.items():
            if name not in filled and "default" in child:
                filled[name] = child["default"]
            if name in filled:
                filled[name] = defaulted(child, filled[name])
        return filled

    expected = PipelineSpec().model_dump(by_alias=True, mode="json", exclude_none=True)
    assert defaulted(spec_schema(), {}) == expected


def test_the_crd_accepts_every_example() -> None:
    validator = Draft202012Validator(_without_openapi_bounds(spec_schema()))
    for example in (ROOT / "examples").glob("*.yaml"):
        validator.validate(yaml.safe_load(example.read_text())["spec"])


def _without_openapi_bounds(node: object) -> object:
    """OpenAPI's boolean exclusive bounds, as JSON Schema has them."""
    if isinstance(node, list):
        return [_without_openapi_bounds(each) for each in node]
    if not isinstance(node, dict):
        return node
    out = {key: _without_openapi_bounds(value) for key, value in node.items()}
    for bound in ("Minimum", "Maximum"):
        if out.get(f"exclusive{bound}") is True:
            out[f"exclusive{bound}"] = out.pop(bound.lower())
    return out
