"""What a function is told through its configuration, and how the worker is asked to run it."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from recpipe.connections import STORE_VARIABLE
from recpipe.pulsar.functions import Config, FunctionName
from recpipe.pulsar.names import TopicName
from recpipe.spec import RecommenderPipeline
from recpipe.store import located
from recpipe.topics import CLEAN_GROUP, FEATURES_GROUP, Topics

MODULE = "recpipe_functions.pulsar_functions"
PACKAGE = "package"
"""Key of the package's digest in a function's user configuration."""
SECTIONS = {"events", "cleaning", "features", "pulsar"}
"""Parts of the spec that functions go by; a change of another one restarts none."""


@dataclass(frozen=True)
class FunctionSettings:
    """The pipeline, and where the store's URL is found.

    `store` is `secret:NAME` (asked of the worker's secrets provider), `env:NAME`, `file:PATH`, or a URL
    without password: the worker logs what it passes on.
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

    def store_url(self, secret: Callable[[str], object]) -> str:
        """The URL itself, found now; raises ValueError. `secret` asks the secrets provider."""
        kind, _, name = self.store.partition(":")
        if kind != "secret":
            return located(self.store)
        found = secret(name)
        if not isinstance(found, str):
            raise ValueError(f"{self.store}: the worker's secrets provider has no text by this name")
        return found.strip()


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
) -> tuple[DesiredFunction, ...]:
    """Clean and features, running from `package` (see recpipe_functions.package).

    Where the spec names the store's secret, the worker's secrets provider is told of it under
    RECPIPE_STORE_URL, as the Kubernetes runtime takes it (a Secret's name and key): never its value.
    """
    where, topics = pipeline.spec.pulsar, Topics.of(pipeline)
    user_config = FunctionSettings(pipeline, store).to_config()
    user_config[PACKAGE] = hashlib.sha256(package).hexdigest()[:16]  # so that new code is a difference
    secret = pipeline.spec.store.url_secret
    secrets = {STORE_VARIABLE: {"path": secret, "key": "url"}} if secret else {}
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
                **({"secrets": secrets} if secrets else {}),
            },
            package,
        )
        for group, class_name, source in (
            (CLEAN_GROUP, "CleanFunction", topics.events),
            (FEATURES_GROUP, "FeaturesFunction", topics.clean),
        )
    )
