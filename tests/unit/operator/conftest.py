"""A pipeline in the cluster's eyes."""

from collections.abc import Callable
from typing import Any

import pytest

from recpipe.spec import RecommenderPipeline
from recpipe_operator.desired import Context, Object, desired_objects
from recpipe_operator.settings import Images, Settings

Describe = Callable[..., dict[tuple[str, str], Object]]

SETTINGS = Settings(
    Images("recpipe/gateway:1", "recpipe/learner:1", "tensorflow/serving:2.19.1"), namespace="system"
)


def context_of(spec: dict[str, Any], **content: Any) -> Context:
    pipeline = RecommenderPipeline.model_validate(
        {
            "apiVersion": "recpipe.dev/v1alpha1",
            "kind": "RecommenderPipeline",
            "metadata": {"name": "shop", "namespace": "prod"},
            "spec": spec,
        }
    )
    return Context(pipeline, "uid-1", SETTINGS, **content)


@pytest.fixture
def describe() -> Describe:
    """The desired objects of a spec, by kind and name."""

    def described(spec: dict[str, Any] | None = None, **content: Any) -> dict[tuple[str, str], Object]:
        objects = desired_objects(context_of(spec or {}, **content))
        found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
        assert len(found) == len(objects)
        return found

    return described
