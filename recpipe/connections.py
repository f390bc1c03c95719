"""Which bus and which store a part uses: the one place where they are chosen, and the flags for it."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from redis.asyncio import Redis

from recpipe import store
from recpipe.bus import Bus, ValkeyBus
from recpipe.spec import RecommenderPipeline
from recpipe.store import KeptConnection, Keys, located

PULSAR = "pulsar"
STORE_VARIABLE = "RECPIPE_STORE_URL"
STORE = f"env:{STORE_VARIABLE}"
SCHEMES = ("redis://", "rediss://", "unix://")

BUS_HELP = (
    "a redis, rediss or unix URL, env:NAME or file:PATH where it is found, "
    "or pulsar: the cluster of the pipeline's pulsar section"
)
STORE_HELP = f"where live state is, alike; if not given the bus's server, and beside Pulsar {STORE}"
CREDENTIALS_HELP = "folder with what Pulsar asks for: token, oauth2.json, ca.crt, tls.crt and tls.key"


@dataclass(frozen=True)
class Connections:
    """Where a pipeline's bus and store are, by URLs that may hold passwords and are never shown."""

    bus_url: str
    """Or `pulsar`."""
    store_url: str
    pulsar_credentials: Path | None = None

    @classmethod
    def of(cls, bus_url: str, store_url: str | None = None, pulsar_credentials: Path | None = None) -> Self:
        """By the values of the flags; raises ValueError where they name no bus or store."""
        bus = located(bus_url)
        store = located(store_url or (STORE if bus == PULSAR else bus_url))
        if bus != PULSAR and not bus.startswith(SCHEMES):
            raise ValueError(f"--bus-url: give {BUS_HELP}")
        if not store.startswith(SCHEMES):
            raise ValueError("--store-url: give a redis, rediss or unix URL, or env:NAME or file:PATH")
        return cls(bus, store, pulsar_credentials)

    def bus(
        self, pipeline: RecommenderPipeline, *, answer_seconds: float = store.ANSWER_SECONDS, retries: int = 3
    ) -> Bus:
        """The pipeline's bus, reached when it is first used; the limits are those of calls to Valkey."""
        keys = Keys(pipeline.name)
        if self.bus_url != PULSAR:
            client = store.connect(self.bus_url, answer_seconds=answer_seconds, retries=retries)
            return ValkeyBus(client, keys)
        # Only who uses Pulsar needs its extra.
        from recpipe.bus.pulsar import PulsarBus
        from recpipe.pulsar import Credentials

        counts = self.store(answer_seconds=answer_seconds, retries=retries)
        return PulsarBus.connect(pipeline.spec.pulsar, counts, keys, Credentials(self.pulsar_credentials))

    def store(self, *, answer_seconds: float = store.ANSWER_SECONDS, retries: int = 3) -> Redis:
        return store.connect(self.store_url, answer_seconds=answer_seconds, retries=retries)

    def kept(self) -> KeptConnection:
        """One connection to the store, for many small reads."""
        return KeptConnection(self.store_url)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags, which `from_arguments` takes up."""
    parser.add_argument("--bus-url", required=True, help=BUS_HELP)
    parser.add_argument("--store-url", help=STORE_HELP)
    parser.add_argument("--pulsar-credentials", type=Path, metavar="DIR", help=CREDENTIALS_HELP)


def from_arguments(given: argparse.Namespace) -> Connections:
    """Raises ValueError where a flag names no bus or store."""
    return Connections.of(given.bus_url, given.store_url, given.pulsar_credentials)
