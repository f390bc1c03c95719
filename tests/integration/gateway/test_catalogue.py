"""Users' profiles and items' metadata on a real gateway, store and bus."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import msgspec
import pytest
from redis import Redis

from recpipe.store import Keys

from .conftest import NAME, Gateway, StartGateway

NDJSON = {"Content-Type": "application/x-ndjson"}
AWKWARD = ["ann", "a/b", "ä?&#%", "..", "x" * 128]


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, bus_url: str) -> Gateway:
    return start_gateway(bus_url)


@pytest.fixture
def store(bus_url: str) -> Iterator[Redis]:
    with Redis.from_url(bus_url) as client:
        yield client


def path(kind: str, name: str) -> str:
    return f"/v1/{kind}/{quote(name, safe='')}".replace("..", "%2E%2E")


@pytest.mark.parametrize("user", AWKWARD)
def test_a_profile_is_set_changed_read_and_forgotten(gateway: Gateway, store: Redis, user: str) -> None:
    url = path("users", user)
    assert gateway.private.get(url).status_code == 404
    assert gateway.private.put(url, json={"plan": "gold", "country": "de"}).status_code == 200
    patched = gateway.private.patch(url, json={"plan": None, "city": "Köln"})
    assert patched.json() == {"country": "de", "city": "Köln"} == gateway.private.get(url).json()
    assert msgspec.json.decode(store.get(Keys(NAME).profile(user))) == patched.json()
    assert gateway.private.delete(url).status_code == 204
    assert gateway.private.get(url).status_code == 404


def test_forgetting_a_user_takes_state_and_bot_record_too(gateway: Gateway, store: Redis) -> None:
    keys = Keys(NAME)
    kept = [keys.profile("bob"), keys.state("bob"), keys.bot("bob")]
    for key in kept:
        store.set(key, b"x")
    assert gateway.private.delete("/v1/users/bob").status_code == 204
    assert store.exists(*kept) == 0


def test_concurrent_changes_of_a_profile_are_all_kept(gateway: Gateway) -> None:
    def change(number: int) -> int:
        while (
            status := gateway.private.patch("/v1/users/busy", json={f"k{number}": "v"}).status_code
        ) == 409:
            pass
        return status

    with ThreadPoolExecutor(8) as senders:
        assert set(senders.map(change, range(24))) == {200}
    assert len(gateway.private.get("/v1/users/busy").json()) == 24


@pytest.mark.parametrize(
    ("body", "field"), [({"age": 30}, "[...]"), ([], ""), ({"x" * 65: "v"}, ""), ({"k": "v" * 513}, "[...]")]
)
def test_a_profile_is_strings_of_bounded_size(gateway: Gateway, body: object, field: str) -> None:
    answer = gateway.private.put("/v1/users/ann", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field", "") == field


@pytest.mark.parametrize("item", AWKWARD)
def test_an_item_is_set_changed_read_and_forgotten(gateway: Gateway, item: str) -> None:
    url = path("items", item)
    lamp = {"title": "Lamp", "categories": ["home", "light"], "attributes": {"price": 9.5, "maker": "Lux"}}
    assert gateway.private.put(url, json=lamp).json() == {"item_id": item, **lamp}
    patched = gateway.private.patch(url, json={"attributes": {"price": 8.0, "maker": None}})
    assert patched.json() == gateway.private.get(url).json()
    assert patched.json()["attributes"] == {"price": 8.0}
    assert gateway.private.delete(url).status_code == 204
    assert gateway.private.get(url).status_code == 404
    changes = [each for each in gateway.records(gateway.topics.items) if each["item_id"] == item]
    assert [each["deleted"] for each in changes] == [False, False, True]
    assert changes[1]["attributes"] == {"price": 8.0}


def test_an_import_takes_good_lines_and_names_bad_ones(gateway: Gateway, store: Redis) -> None:
    lines = [b'{"item_id": "i%d", "title": "Item %d"}' % (number, number) for number in range(1_200)]
    lines[3], lines[700] = b"{oops", b'{"title": "no id"}'
    lines.insert(10, b"")
    before = gateway.tally().get("gateway.items", 0)
    answer = gateway.private.post("/v1/items", content=b"\r\n".join(lines), headers=NDJSON)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 1_198
    assert [(each["line"], each["reason"]) for each in answer.json()["rejected"]] == [
        (4, "malformed"),
        (702, "invalid"),
    ]
    assert gateway.tally()["gateway.items"] - before == 1_198
    assert msgspec.json.decode(store.get(Keys(NAME).item("i1199")))["title"] == "Item 1199"


def test_an_import_is_read_as_it_comes_in(gateway: Gateway) -> None:
    body = b"".join(b'{"item_id": "s%d"}\n' % number for number in range(300))
    pieces = (body[at : at + 7] for at in range(0, len(body), 7))
    answer = gateway.private.post("/v1/items", content=pieces, headers=NDJSON)
    assert answer.json() == {"accepted": 300, "rejected": []}


def test_an_import_of_something_else_ends_early(gateway: Gateway) -> None:
    answer = gateway.private.post("/v1/items", content=b"garbage\n" * 5_000, headers=NDJSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_errors")
    answer = gateway.private.post("/v1/items", content=b"x" * 300_000, headers=NDJSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": 5}, "title"),
        ({"categories": "home"}, "categories"),
        ({"attributes": {"price": []}}, "attributes[...]"),
    ],
)
def test_bad_metadata_names_its_field(gateway: Gateway, body: object, field: str) -> None:
    for method in ("PUT", "PATCH"):
        answer = gateway.private.request(method, "/v1/items/lamp", json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_ids_have_a_length(gateway: Gateway) -> None:
    assert gateway.private.get("/v1/items/" + "x" * 129).status_code == 400
    assert gateway.private.get("/v1/users/").status_code == 400
