"""Names of topics, as Pulsar's protocol and its admin REST write them."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

_PARTITION = "-partition-"


class TopicName(NamedTuple):
    """A persistent topic in a namespace of a tenant."""

    tenant: str
    namespace: str
    name: str

    @classmethod
    @lru_cache(maxsize=1_024)
    def parse(cls, url: str) -> "TopicName":
        """From `persistent://tenant/namespace/name`; a partition's name gives its topic."""
        tenant, namespace, name = url.removeprefix("persistent://").split("/", 2)
        return cls(tenant, namespace, name.rpartition(_PARTITION)[0] or name)

    @lru_cache(maxsize=1_024)  # noqa: B019 - a handful of names, asked for with each message
    def __str__(self) -> str:
        return f"persistent://{self.tenant}/{self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """Part of a REST path."""
        return "/".join(quote(part, safe="") for part in self)
