"""What the operator is told by its environment: images, the functions' package, intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

from recpipe.connections import STORE_VARIABLE

FIELD_MANAGER = "recpipe-operator"
GROUP, VERSION, PLURAL, KIND = "recpipe.dev", "v1alpha1", "recommenderpipelines", "RecommenderPipeline"
FINALIZER = f"{GROUP}/pulsar"
PAUSED = f"{GROUP}/paused"
PIPELINE = f"{GROUP}/pipeline"
"""The label that every object of a pipeline bears; its value is the pipeline's name."""


@dataclass(frozen=True)
class Images:
    """One image for each role."""

    gateway: str
    learner: str
    serving: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        version = metadata.version("recpipe")
        secrets = environment.get("RECPIPE_IMAGE_PULL_SECRETS", "")
        return cls(
            environment.get("RECPIPE_IMAGE_GATEWAY") or f"recpipe/gateway:{version}",
            environment.get("RECPIPE_IMAGE_LEARNER") or f"recpipe/learner:{version}",
            environment.get("RECPIPE_IMAGE_SERVING") or "tensorflow/serving:2.19.1",
            environment.get("RECPIPE_IMAGE_PULL_POLICY") or "IfNotPresent",
            tuple(name.strip() for name in secrets.split(",") if name.strip()),
        )


@dataclass(frozen=True)
class Settings:
    """Everything that holds for all pipelines."""

    images: Images
    functions_package: Path | None = None
    """The zip that `recpipe functions package` wrote; part of the operator's image."""
    functions_store: str = f"secret:{STORE_VARIABLE}"
    """Where functions find the URL of a store that the operator does not run; see recpipe.pulsar.function_settings."""
    namespace: str = "default"
    """The operator's own: its Lease is there, and stores let its pods in."""
    watched: tuple[str, ...] = ()
    """Namespaces whose pipelines count; all of them where empty."""
    resync_seconds: float = 20.0
    """Longest time between two looks at a pipeline: drift of Pulsar's objects is repaired within it."""
    deletion_grace_seconds: float = 60.0
    """How long a deletion waits for a Pulsar that does not answer."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Raises ValueError, naming the variable."""
        package = environment.get("RECPIPE_FUNCTIONS_PACKAGE")
        if package and not Path(package).is_file():
            raise ValueError(
                f"RECPIPE_FUNCTIONS_PACKAGE: {package} does not exist; "
                "write it with `recpipe functions package`"
            )
        watched = environment.get("RECPIPE_NAMESPACES", "")
        return cls(
            images=Images.of(environment),
            functions_package=Path(package) if package else None,
            functions_store=environment.get("RECPIPE_FUNCTIONS_STORE") or f"secret:{STORE_VARIABLE}",
            namespace=environment.get("RECPIPE_OPERATOR_NAMESPACE") or "default",
            watched=tuple(name.strip() for name in watched.split(",") if name.strip()),
            resync_seconds=_seconds(environment, "RECPIPE_RESYNC_SECONDS", 20.0),
            deletion_grace_seconds=_seconds(environment, "RECPIPE_DELETION_GRACE_SECONDS", 60.0),
        )


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 3_600:
        raise ValueError(f"{name}: {text!r} is not a number of seconds from 1 to 3600")
    return value
