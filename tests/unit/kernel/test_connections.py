"""How a part is told which bus and which store to use."""

from pathlib import Path

import pytest

from recpipe.bus import ValkeyBus
from recpipe.bus.pulsar import PulsarBus
from recpipe.connections import Connections
from recpipe.spec import RecommenderPipeline

SHOP = RecommenderPipeline.model_validate(
    {"apiVersion": "recpipe.dev/v1alpha1", "kind": "RecommenderPipeline", "metadata": {"name": "shop"}}
)


def test_the_store_is_the_buss_server_unless_it_is_named() -> None:
    assert Connections.of("redis://bus:6379").store_url == "redis://bus:6379"
    assert Connections.of("unix:///run/bus", "redis://store:6379").store_url == "redis://store:6379"


def test_a_url_is_found_in_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("redis://:secret@file:6379\n")
    monkeypatch.setenv("BUS", "redis://:secret@env:6379")
    found = Connections.of("env:BUS", f"file:{tmp_path / 'url'}")
    assert found.bus_url == "redis://:secret@env:6379"
    assert found.store_url == "redis://:secret@file:6379"


def test_beside_pulsar_the_store_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECPIPE_STORE_URL", raising=False)
    with pytest.raises(ValueError, match="RECPIPE_STORE_URL is not set"):
        Connections.of("pulsar")
    monkeypatch.setenv("RECPIPE_STORE_URL", "redis://store:6379")
    assert Connections.of("pulsar") == Connections("pulsar", "redis://store:6379")


@pytest.mark.parametrize(
    ("bus", "store", "says"),
    [
        ("kafka://:secret@bus:9092", None, "--bus-url: give a redis"),
        ("redis://bus:6379", "pulsar", "--store-url: give a redis"),
        ("env:NOT_SET", None, "NOT_SET is not set"),
        ("file:/no/such/file", None, "/no/such/file: No such file"),
    ],
)
def test_what_names_no_bus_or_store_is_refused_with_what_to_do(
    bus: str, store: str | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Connections.of(bus, store)
    assert "secret" not in str(caught.value)


async def test_a_bus_is_chosen_by_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECPIPE_STORE_URL", "redis://127.0.0.1:1")
    valkey = Connections.of("redis://127.0.0.1:1").bus(SHOP)
    cluster = Connections.of("pulsar").bus(SHOP)
    assert isinstance(valkey, ValkeyBus)
    assert isinstance(cluster, PulsarBus)
    await valkey.close()
    await cluster.close()
