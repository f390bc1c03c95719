"""Pulsar Functions: what runs in the cluster's function workers."""

import json
from typing import Any

import msgspec

from recpipe.pulsar.errors import AdminError, ConflictError, NotFoundError, RefusedError
from recpipe.pulsar.rest import Rest

Config = dict[str, Any]
"""A FunctionConfig as the REST takes and gives it."""


STUCK_RESTARTS = 3
"""Of an instance that has not run in between."""


class FunctionName(msgspec.Struct, frozen=True):
    tenant: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.namespace}/{self.name}"


class Raised(msgspec.Struct, frozen=True, rename="camel"):
    """An exception that the function's framework has seen."""

    exception_string: str = ""
    timestamp_ms: int = 0


class InstanceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One instance; the counts begin anew when it restarts."""

    running: bool = False
    error: str = ""
    num_restarts: int = 0
    num_received: int = 0
    num_successfully_processed: int = 0
    num_user_exceptions: int = 0
    num_system_exceptions: int = 0
    latest_user_exceptions: list[Raised] = []
    latest_system_exceptions: list[Raised] = []
    worker_id: str = ""


class _Instance(msgspec.Struct, frozen=True, rename="camel"):
    instance_id: int
    status: InstanceStatus


class FunctionStatus(msgspec.Struct, frozen=True, rename="camel"):
    num_instances: int
    num_running: int
    instances: list[_Instance] = []

    @property
    def stuck(self) -> list[int]:
        """Instances that end as soon as they begin, again and again, and give no reason.

        A worker finds two free ports for an instance, each by itself, and starts it with the same two for ever. Where
        they are one port, or another process has taken one meanwhile, it never runs until it is told to restart.
        """
        return [
            each.instance_id
            for each in self.instances
            if not each.status.running
            and not each.status.error
            and each.status.num_restarts >= STUCK_RESTARTS
        ]


class Functions:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def all(self, tenant: str, namespace: str) -> list[str]:
        found: list[str] = await self._rest.get(f"v3/functions/{tenant}/{namespace}")
        return found

    async def config(self, name: FunctionName) -> Config:
        """As the worker keeps it: defaults filled in, whole numbers of `userConfig` turned into floats."""
        found: Config = await self._rest.get(f"v3/functions/{name}")
        return found

    async def create(self, name: FunctionName, config: Config, package: bytes) -> None:
        """Starts it; ConflictError where one of that name runs. `package` is a zip or wheel."""
        await self._upload("POST", name, config, package)

    async def update(self, name: FunctionName, config: Config, package: bytes | None = None) -> bool:
        """Whether anything changed. Inputs cannot be: that needs a deletion and a creation (RefusedError)."""
        try:
            await self._upload("PUT", name, config, package)
        except RefusedError as error:
            if "no change" in error.reason:
                return False
            raise
        return True

    async def delete(self, name: FunctionName) -> None:
        await self._rest.delete(f"v3/functions/{name}")

    async def status(self, name: FunctionName) -> FunctionStatus:
        return msgspec.convert(await self._rest.get(f"v3/functions/{name}/status"), FunctionStatus)

    async def stats(self, name: FunctionName) -> dict[str, Any]:
        """Counts, latencies in milliseconds and user metrics; in all, in the last minute and by instance."""
        found: dict[str, Any] = await self._rest.get(f"v3/functions/{name}/stats")
        return found

    async def start(self, name: FunctionName) -> None:
        await self._rest.post(f"v3/functions/{name}/start")

    async def stop(self, name: FunctionName) -> None:
        """Its subscription stays, and what arrives meanwhile waits there."""
        await self._rest.post(f"v3/functions/{name}/stop")

    async def restart(self, name: FunctionName, instance: int | None = None) -> None:
        """All of its instances or one, each with ports of its own anew."""
        which = "" if instance is None else f"/{instance}"
        await self._rest.post(f"v3/functions/{name}{which}/restart")

    async def _upload(self, method: str, name: FunctionName, config: Config, package: bytes | None) -> None:
        identity = {"tenant": name.tenant, "namespace": name.namespace, "name": name.name}
        files: dict[str, tuple[str | None, bytes, str]] = {
            "functionConfig": (None, json.dumps(config | identity).encode(), "application/json")
        }
        if package is not None:
            files["data"] = (f"{name.name}.zip", package, "application/octet-stream")
        try:
            await self._rest.send(method, f"v3/functions/{name}", files=files)
        except RefusedError as error:
            raise _told_apart(error) from error


def _told_apart(error: RefusedError) -> AdminError:
    """The worker answers 400 to a missing and to an existing function alike; its words differ."""
    for words, kind in (("already exists", ConflictError), ("doesn't exist", NotFoundError)):
        if words in error.reason:
            return kind(error.request, error.status, error.reason)
    return error
