"""Recommendations by a served model: what comes next, and what the user likes at all."""

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from recpipe.state import UserState
from recpipe.store import Keys

from .conftest import NAME, Gateway, ModelServer, StartGateway, wait_until


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, bus_url: str, model_server: ModelServer) -> Gateway:
    spec = {"serving": {"excludeSeen": True, "deadline": "10s"}}
    gateway = start_gateway(bus_url, spec, model=model_server.target)
    wait_until(lambda: gateway.nobody.get("/readyz").json()["model"] == "ok", "the model to be served")
    return gateway


@pytest.fixture(autouse=True)
def ann(bus_url: str) -> Iterator[None]:
    """She has long liked the a's, and has just met one of the b's."""
    now = int(time.time())
    history = [*((f"a{item}", now - 86_400 * (9 - item)) for item in range(7)), ("b0", now)]
    state = UserState(
        first=1_000 * history[0][1],
        last=1_000 * now,
        events=len(history),
        items=[item for item, _ in history],
        times=[at for _, at in history],
        weights=[100] * len(history),
        types=["click"] * len(history),
    )
    with Redis.from_url(bus_url) as store:
        store.set(Keys(NAME).state("ann"), state.encode())
        yield


def asked(gateway: Gateway, **parameters: str) -> list[str]:
    answer = gateway.private.get("/v1/recommendations", params={"user_id": "ann", "k": "2", **parameters})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["degraded"], body["model_version"]) == ("", 1), body
    return [each["item_id"] for each in body["items"]]


def test_next_follows_the_latest_item_and_taste_the_whole_history(gateway: Gateway) -> None:
    assert {item[0] for item in asked(gateway)} == {"b"}
    assert asked(gateway) == asked(gateway, horizon="next")
    assert {item[0] for item in asked(gateway, horizon="taste")} == {"a"}


def test_taste_leaves_out_what_is_excluded_and_says_why(gateway: Gateway) -> None:
    first, second = asked(gateway, horizon="taste")
    assert asked(gateway, horizon="taste", exclude=first)[0] == second
    body = gateway.private.get("/v1/recommendations?user_id=ann&horizon=taste").json()
    assert all(list(each["why"]) == ["taste"] for each in body["items"])


def test_a_new_user_is_answered_by_what_all_have_in_common(gateway: Gateway) -> None:
    body = gateway.private.get("/v1/recommendations?user_id=nobody&horizon=taste&k=20").json()
    assert body["degraded"] == ""
    assert len(body["items"]) == 20


def test_an_item_is_similar_by_either(gateway: Gateway) -> None:
    gateway.private.put("/v1/items/a3", json={"title": "A3"}).raise_for_status()
    body = gateway.private.get("/v1/similar/a3?horizon=taste&k=5").json()
    assert {each["item_id"][0] for each in body["items"]} == {"a"}


def test_an_unknown_horizon_is_refused_by_name(gateway: Gateway) -> None:
    answer = gateway.private.get("/v1/recommendations?user_id=ann&horizon=never")
    assert answer.status_code == 400
    assert "horizon is 'never'" in answer.json()["error"]["message"]
