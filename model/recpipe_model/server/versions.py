"""A version's life, and the rule for which version to load or unload next."""

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from recpipe_model.client import VersionState as State
from recpipe_model.client import VersionStatus

from .status import StatusError


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


@dataclass(eq=False)
class Version(Generic[T]):
    """One version, from START to END; `servable` is what requests run while it is AVAILABLE."""

    model: str
    number: int
    path: Path
    state: State = State.START
    error: StatusError | None = None
    servable: T | None = None
    lent: int = 0  # requests that hold it now
    failures: int = 0
    retry_at: float = 0.0  # time.monotonic() seconds

    def status(self) -> VersionStatus:
        code, message = (self.error.number, self.error.message) if self.error else (0, "")
        return VersionStatus(self.number, self.state, code, message)


class Action(Enum):
    LOAD = "load"
    UNLOAD = "unload"


def next_action(aspired: Set[int], available: Set[int], loadable: Set[int]) -> tuple[Action, int] | None:
    """TensorFlow Serving's availability-preserving policy: the next step towards the aspired versions.

    A version that is no longer wanted goes on serving until a wanted one is available, so that a model that has a
    version always has one.

    Args:
        aspired: the versions that the model's policy chooses.
        available: those serving now.
        loadable: the aspired ones that are neither loaded nor waiting for a retry.
    """
    unwanted = available - aspired
    if unwanted and (not aspired or aspired & available or len(unwanted) > 1):
        return Action.UNLOAD, min(unwanted)
    if loadable:
        return Action.LOAD, max(loadable)
    return None
