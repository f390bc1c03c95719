"""Avro schemas registered on topics."""

import json
from typing import Any

import msgspec

from recpipe.pulsar.errors import ConflictError, IncompatibleSchemaError
from recpipe.pulsar.names import TopicName
from recpipe.pulsar.rest import Rest

Definition = dict[str, Any]


class Version(msgspec.Struct, frozen=True):
    """One registered version."""

    version: int
    type: str
    data: str

    @property
    def definition(self) -> Definition | None:
        """None for what is no Avro."""
        return json.loads(self.data) if self.type == "AVRO" else None


class Schemas:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def versions(self, topic: TopicName) -> list[Version]:
        """Oldest first; empty where none is registered."""
        found = await self._rest.get(f"v2/schemas/{topic.path}/schemas")
        return msgspec.convert(found["getSchemaResponses"], list[Version])

    async def register(self, topic: TopicName, definition: Definition) -> int:
        """Its version: a new one, or that of the same schema; raises IncompatibleSchemaError."""
        body = {"type": "AVRO", "schema": json.dumps(definition), "properties": {}}
        try:
            found = await self._rest.post(f"v2/schemas/{topic.path}/schema", body)
        except ConflictError as error:
            raise IncompatibleSchemaError(error.request, error.status, error.reason) from error
        return int(found["version"]["version"])

    async def delete(self, topic: TopicName) -> None:
        """All versions. Records that were stored with them can then not be read by others."""
        await self._rest.delete(f"v2/schemas/{topic.path}/schema", force=True)
