"""The part of Pulsar's administration that a pipeline needs, typed, over the admin REST."""

from recpipe.pulsar.credentials import Credentials
from recpipe.pulsar.functions import Functions
from recpipe.pulsar.rest import Rest
from recpipe.pulsar.schemas import Schemas
from recpipe.pulsar.topics import Topics

_NO_TOPICS_BY_CLIENTS = {"allowAutoTopicCreation": False}


class Admin:
    """One cluster. Calls raise the kinds of recpipe.pulsar.errors.AdminError."""

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        self._rest = Rest(url, credentials or Credentials())
        self.tenants = Tenants(self._rest)
        self.namespaces = Namespaces(self._rest)
        self.topics = Topics(self._rest)
        self.schemas = Schemas(self._rest)
        self.functions = Functions(self._rest)

    async def clusters(self) -> list[str]:
        found: list[str] = await self._rest.get("v2/clusters")
        return found

    async def close(self) -> None:
        await self._rest.close()

    async def __aenter__(self) -> "Admin":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Tenants:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def all(self) -> list[str]:
        found: list[str] = await self._rest.get("v2/tenants")
        return found

    async def create(self, name: str, clusters: list[str]) -> None:
        await self._rest.put(f"v2/tenants/{name}", {"allowedClusters": clusters, "adminRoles": []})

    async def delete(self, name: str) -> None:
        await self._rest.delete(f"v2/tenants/{name}")


class Namespaces:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def of(self, tenant: str) -> list[str]:
        """Names without the tenant; NotFoundError where there is no such tenant."""
        found: list[str] = await self._rest.get(f"v2/namespaces/{tenant}")
        return [name.removeprefix(f"{tenant}/") for name in found]

    async def create(self, tenant: str, name: str, *, topics_by_clients: bool = True) -> None:
        """Clients that ask for a topic that does not exist may make it, unless `topics_by_clients` says no."""
        policies = None if topics_by_clients else {"autoTopicCreationOverride": _NO_TOPICS_BY_CLIENTS}
        await self._rest.put(f"v2/namespaces/{tenant}/{name}", policies)

    async def delete(self, tenant: str, name: str) -> None:
        """Refused while there are topics in it."""
        await self._rest.delete(f"v2/namespaces/{tenant}/{name}")
