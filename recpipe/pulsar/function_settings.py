"""What a function is told through its configuration, and how the worker is asked to run it."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from recpipe.pulsar.functions import Config, FunctionName
from recpipe.pulsar.names import TopicName
from recpipe.spec import RecommenderPipeline
from recpipe.store import located
from recpipe.topics import CLEAN_GROUP, FEATURES_GROUP, Topics

MODULE = "recpipe_functions.pulsar_functions"
SECTIONS = {"events", "cleaning", "features", "pulsar"}
"""Parts of the spec that functions go by; a change of another one restarts none."""


@dataclass(frozen=True)
class FunctionSettings:
    """The pipeline, and where the store's URL is found.

    `store` is `env:NAME`, `file:PATH`, or a URL without password: the worker logs what it passes on.
    """

    pipeline: RecommenderPipeline
    store: str

    def __post_init__(self) -> None:
        if urlsplit(self.store).password:
            raise ValueError("store: the URL holds a password; give env:NAME or file:PATH where it is found")

    def to_config(self) -> dict[str, str]:
        """As `userConfig`. In base64, for some runtimes pass it through a shell."""
        resource = {
            "apiVersion": self.pipeline.api_version,
            "kind": self.pipeline.kind,
            "metadata": {"name": self.pipeline.name},
            "spec": self.pipeline.spec.model_dump(mode="json", by_alias=True, include=SECTIONS),
        }
        text = json.dumps(resource, sort_keys=True).encode()
        return {"pipeline": base64.b64encode(text).decode(), "store": self.store}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        pipeline = json.loads(base64.b64decode(config["pipeline"]))
        return cls(RecommenderPipeline.model_validate(pipeline), config["store"])

    def store_url(self) -> str:
        """The URL itself, found now; raises ValueError."""
        return located(self.store)


@dataclass(frozen=True)
class DesiredFunction:
    name: FunctionName
    config: Config
    package: bytes


def desired_functions(
    pipeline: RecommenderPipeline,
    package: bytes,
    store: str,
    *,
    parallelism: int = 1,
    secrets: Mapping[str, Any] | None = None,
) -> tuple[DesiredFunction, ...]:
    """Clean and features, running from `package` (see recpipe_functions.package).

    `secrets` goes to the worker's secrets provider, by which a Kubernetes runtime sets `env:NAME`.
    """
    where, topics = pipeline.spec.pulsar, Topics.of(pipeline)
    user_config = FunctionSettings(pipeline, store).to_config()
    user_config["package"] = hashlib.sha256(package).hexdigest()[:16]  # so that new code is a difference
    return tuple(
        DesiredFunction(
            FunctionName(where.tenant, where.namespace, f"{pipeline.name}-{group}"),
            {
                "className": f"{MODULE}.{class_name}",
                "runtime": "PYTHON",
                "inputSpecs": {
                    str(TopicName(where.tenant, where.namespace, source.name)): {
                        "serdeClassName": f"{MODULE}.Raw"
                    }
                },
                "subName": group,
                "subscriptionPosition": "Earliest",
                "cleanupSubscription": False,
                "processingGuarantees": "MANUAL",
                "autoAck": False,
                "retainKeyOrdering": True,
                "parallelism": parallelism,
                "userConfig": user_config,
                **({"secrets": dict(secrets)} if secrets else {}),
            },
            package,
        )
        for group, class_name, source in (
            (CLEAN_GROUP, "CleanFunction", topics.events),
            (FEATURES_GROUP, "FeaturesFunction", topics.clean),
        )
    )
