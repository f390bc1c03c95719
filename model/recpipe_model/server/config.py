"""Which models to serve, and which of the versions found on disk."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from .status import invalid_argument
from .wire import BatchingParameters, ModelServerConfig

PLATFORM = "tensorflow"
BATCHING_FILE = Path("assets.extra") / "batching_params.pbtxt"
_MOST_ROWS = 64
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Latest:
    """Serve the `count` highest versions."""

    count: int = 1

    def choose(self, versions: Iterable[int]) -> set[int]:
        return set(sorted(versions, reverse=True)[: max(self.count, 1)])


@dataclass(frozen=True)
class All:
    """Serve every version."""

    def choose(self, versions: Iterable[int]) -> set[int]:
        return set(versions)


@dataclass(frozen=True)
class Specific:
    """Serve exactly these versions, where they exist: for canaries and for rolling back."""

    versions: frozenset[int]

    def choose(self, versions: Iterable[int]) -> set[int]:
        return set(versions) & self.versions


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """A model: versions are the integer-named directories under `base_path`, and labels are names for versions."""

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)


def find_versions(base_path: Path) -> dict[int, Path]:
    """The version directories under a model's base path; other names, such as a writer's hidden ones, are ignored.

    Raises:
        OSError: the base path cannot be read.
    """
    # The kinds come with the listing: asked for one by one, a path that goes away meanwhile would look empty.
    with os.scandir(base_path) as entries:
        versions = {
            int(entry.name): base_path / entry.name
            for entry in entries
            if entry.name.isascii() and entry.name.isdigit() and int(entry.name) in _INT64 and entry.is_dir()
        }
    return dict(sorted(versions.items()))


def parse_config(proto: Any) -> list[ModelConfig]:
    """Check a ModelServerConfig.

    Raises:
        StatusError: INVALID_ARGUMENT, with TensorFlow Serving's message where it has one.
    """
    if not proto.HasField("model_config_list"):
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    configs: dict[str, ModelConfig] = {}
    for item in proto.model_config_list.config:
        if not item.name:
            raise invalid_argument("ModelConfig has no name specified: set `name`")
        if item.name in configs:
            raise invalid_argument(f"Illegal to list model {item.name} multiple times in config list")
        if not item.model_platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                "nor ModelServerConfig::model_platform."
            )
        if item.model_platform != PLATFORM:
            raise invalid_argument(f"Model {item.name} requests unsupported platform {item.model_platform}")
        if not Path(item.base_path).is_absolute():
            raise invalid_argument(
                f"Expected model {item.name} to have an absolute path; got {item.base_path!r}"
            )
        configs[item.name] = ModelConfig(
            item.name, Path(item.base_path), _policy(item.model_version_policy), dict(item.version_labels)
        )
    return list(configs.values())


def read_config_file(path: Path) -> list[ModelConfig]:
    """Read a `--model_config_file`: a ModelServerConfig in protobuf's text format."""
    try:
        proto = text_format.Parse(path.read_text(), ModelServerConfig())
    except text_format.ParseError as error:
        raise invalid_argument(f"Invalid protobuf file: '{path}': {error}") from error
    return parse_config(proto)


def max_batch_rows(version: Path) -> int:
    """How many rows of requests the version lets run together: 1 unless it says so.

    By TensorFlow Serving's file for it, `BatchingParameters` in text format. Here inputs may be without rows, too:
    requests run together if they are equal in those.
    """
    file = version / BATCHING_FILE
    try:
        proto = text_format.Parse(file.read_text(), BatchingParameters(), allow_unknown_field=True)
    except FileNotFoundError:
        return 1
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise invalid_argument(f"Invalid protobuf file: '{file}': {error}") from error
    size = int(proto.max_batch_size.value)
    if not 0 < size <= _MOST_ROWS:
        raise invalid_argument(f"'{file}': max_batch_size is {size}: give 1 to {_MOST_ROWS}")
    return size


def _policy(proto: Any) -> VersionPolicy:
    match proto.WhichOneof("choice"):
        case "all":
            return All()
        case "specific":
            return Specific(frozenset(proto.specific.versions))
        case _:
            return Latest(max(proto.latest.num_versions, 1))
