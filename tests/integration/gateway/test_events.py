"""POST /v1/events on a real gateway and a real bus."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from recpipe.store import Keys

from .conftest import NAME, Gateway, StartGateway, wait_until

LIMIT = 50
SPEC: dict[str, Any] = {
    "events": {"partitions": 2, "maxEventBytes": 1_000},
    "gateway": {"maxBatch": 100, "userEventsPerSecond": LIMIT, "corsOrigins": ["https://shop.example"]},
}


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, bus_url: str) -> Gateway:
    return start_gateway(bus_url, SPEC)


@pytest.fixture(autouse=True)
def _fresh(gateway: Gateway) -> None:
    """Each test begins with empty topics."""
    for topic in (gateway.topics.events, gateway.topics.rejected):
        for partition in range(topic.partitions):
            gateway.bus.xtrim(f"{topic.name}:{partition}", maxlen=0, approximate=False)
    gateway.bus.delete(Keys(NAME).tally)


def event(user: str = "ann", **changes: Any) -> dict[str, Any]:
    return {
        "user_id": user,
        "session_id": "s1",
        "event_type": "click",
        "timestamp": datetime.now(UTC).isoformat(),
        "page_url": "https://shop.example/items/lamp-7",
        **changes,
    }


def test_an_event_is_on_the_bus_when_it_is_accepted(gateway: Gateway) -> None:
    answer = gateway.public.post(
        "/v1/events", json=event(event_id="e1"), headers={"User-Agent": "Mozilla/5.0"}
    )
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    (record,) = gateway.records(gateway.topics.events)
    assert (record["event_id"], record["item_id"], record["user_agent"]) == ("e1", "lamp-7", "Mozilla/5.0")
    assert gateway.tally() == {"gateway.accepted": 1}


def test_a_backends_events_carry_no_user_agent(gateway: Gateway) -> None:
    gateway.private.post("/v1/events", json=event(), headers={"Referer": "https://backend.example"})
    (record,) = gateway.records(gateway.topics.events)
    assert record["user_agent"] == record["referrer"] == ""


def test_each_event_of_an_array_has_its_own_verdict_and_what_is_rejected_is_kept_whole(
    gateway: Gateway,
) -> None:
    events = [
        event(event_id="good"),
        event(event_type="purchas"),
        5,
        event("x" * 200),
        event(page_url="y" * 999),
    ]
    answer = gateway.public.post("/v1/events", json=events)
    assert answer.status_code == 202
    verdicts = answer.json()
    assert verdicts["accepted"] == 1
    reasons = [(each["index"], each["reason"]) for each in verdicts["rejected"]]
    assert reasons == [(1, "unknown_event_type"), (2, "malformed"), (3, "malformed"), (4, "too_large")]
    rejected = gateway.records(gateway.topics.rejected)
    assert {each["stage"] for each in rejected} == {"gateway"}
    kept = sorted((msgspec.json.decode(each["value"]) for each in rejected), key=str)
    assert kept == sorted(events[1:], key=str)
    assert gateway.tally() == {
        "gateway.accepted": 1,
        "gateway.rejected": 4,
        "gateway.rejected.malformed": 2,
        "gateway.rejected.too_large": 1,
        "gateway.rejected.unknown_event_type": 1,
    }


def test_a_beacon_sends_text_and_its_key_in_the_url(gateway: Gateway) -> None:
    answer = gateway.nobody.post(
        "/v1/events?key=public-key-0123456789",
        content=msgspec.json.encode(event()),
        headers={"Content-Type": "text/plain;charset=UTF-8"},
    )
    assert answer.json() == {"accepted": 1, "rejected": []}


def test_events_of_one_user_stay_in_order_across_requests(gateway: Gateway) -> None:
    for first in range(0, 40, 10):
        events = [event("order", event_id=str(number)) for number in range(first, first + 10)]
        assert gateway.public.post("/v1/events", json=events).json()["accepted"] == 10
    ids = [each["event_id"] for each in gateway.records(gateway.topics.events)]
    assert ids == [str(number) for number in range(40)]


def test_concurrent_requests_are_all_stored_and_counted(gateway: Gateway) -> None:
    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            base_url=gateway.url, headers=gateway.public.headers, timeout=30
        ) as client:
            bodies = [event(f"user-{number}", event_id=str(number)) for number in range(300)]
            return await asyncio.gather(*(client.post("/v1/events", json=body) for body in bodies))

    answers = asyncio.run(send())
    assert all(answer.json() == {"accepted": 1, "rejected": []} for answer in answers)
    ids = {each["event_id"] for each in gateway.records(gateway.topics.events)}
    assert ids == {str(number) for number in range(300)}
    assert gateway.tally() == {"gateway.accepted": 300}


def test_a_flooding_user_is_limited_and_others_are_not(gateway: Gateway) -> None:
    events = [event("flood", event_id=str(number)) for number in range(LIMIT + 10)] + [event("calm")]
    answer = gateway.public.post("/v1/events", json=events)
    verdicts = answer.json()
    assert answer.status_code == 202
    assert {each["reason"] for each in verdicts["rejected"]} == {"rate_limited"}
    assert LIMIT + 1 <= verdicts["accepted"] < len(events)
    assert len(events) - 1 not in {each["index"] for each in verdicts["rejected"]}
    assert int(answer.headers["Retry-After"]) >= 1
    assert gateway.records(gateway.topics.rejected) == [], "early is not bad: the sender may repeat it"


def test_a_request_that_is_limited_as_a_whole_is_429_and_may_be_repeated(gateway: Gateway) -> None:
    gateway.public.post("/v1/events", json=[event("flood") for _ in range(LIMIT)])
    answer = gateway.public.post("/v1/events", json=[event("flood") for _ in range(40)])
    while answer.status_code == 202:
        answer = gateway.public.post("/v1/events", json=[event("flood") for _ in range(40)])
    assert answer.status_code == 429
    assert answer.json()["accepted"] == 0
    wait_until(
        lambda: gateway.public.post("/v1/events", json=event("flood")).status_code == 202, "the next token"
    )


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"not json", 400, "malformed"),
        (b'{"user_id": "\xff"}', 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b"[" + b"{}," * 100 + b"{}]", 413, "too_many"),
        (b" " * (8 * 2**20 + 1), 413, "too_large"),
    ],
)
def test_a_body_that_holds_no_events_is_refused_whole(
    gateway: Gateway, body: bytes, status: int, code: str
) -> None:
    answer = gateway.public.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert gateway.records(gateway.topics.events) == []


def test_a_body_without_a_length_is_bounded_as_it_comes_in(gateway: Gateway) -> None:
    chunks = (b" " * 65_536 for _ in range(200))
    answer = gateway.public.post("/v1/events", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_a_form_is_told_what_to_send(gateway: Gateway) -> None:
    answer = gateway.public.post("/v1/events", data={"user_id": "ann"})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]


def test_an_event_nested_too_deeply_is_a_verdict_or_a_refusal_but_never_a_fault(gateway: Gateway) -> None:
    deep = msgspec.json.encode(event())[:-1] + b',"additional_data":{"a":' + b"[" * 400 + b"]" * 400 + b"}}"
    answer = gateway.public.post(
        "/v1/events", content=b"[" + deep + b"]", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {202, 400}


def test_keys_are_required_and_the_public_one_only_sends(gateway: Gateway) -> None:
    assert gateway.nobody.post("/v1/events", json=event()).status_code == 401
    assert gateway.public.get("/v1/recommendations?user_id=ann").status_code == 403
    assert gateway.public.get("/v1/users/ann").status_code == 403
    assert gateway.nobody.get("/v1/recommendations?user_id=ann&key=private-key-0123456789").status_code == 401


def test_pages_of_the_named_origins_may_send_and_others_may_not(gateway: Gateway) -> None:
    def preflight(origin: str) -> httpx.Response:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        return gateway.nobody.options("/v1/events", headers=headers)

    allowed = preflight("https://shop.example")
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "Access-Control-Allow-Origin" not in preflight("https://evil.example").headers
    sent = gateway.public.post("/v1/events", json=event(), headers={"Origin": "https://shop.example"})
    assert sent.headers["Access-Control-Allow-Origin"] == "https://shop.example"


def test_a_full_bus_refuses_without_storing_and_takes_again_when_there_is_room(
    start_gateway: StartGateway, bus_url: str
) -> None:
    bounded = start_gateway(
        bus_url,
        {"events": {"partitions": 1, "maxBacklog": 1_000}, "gateway": {"userEventsPerSecond": 100_000}},
    )
    stream = f"{bounded.topics.events.name}:0"
    bounded.bus.xtrim(stream, maxlen=0, approximate=False)
    full = [event(f"u{number}", event_id=str(number)) for number in range(1_000)]
    assert bounded.public.post("/v1/events", json=full).json()["accepted"] == 1_000
    answer = bounded.public.post("/v1/events", json=event(event_id="late"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "full")
    assert int(answer.headers["Retry-After"]) >= 1
    assert bounded.bus.xlen(stream) == 1_000
    bounded.bus.xtrim(stream, maxlen=500, approximate=False)
    assert bounded.public.post("/v1/events", json=event(event_id="late")).status_code == 202


def test_many_senders_at_once_lose_nothing(gateway: Gateway) -> None:
    def send(sender: int) -> int:
        with httpx.Client(base_url=gateway.url, headers=gateway.public.headers, timeout=30) as client:
            bodies = [
                [event(f"s{sender}", event_id=f"{sender}-{n}-{i}") for i in range(5)] for n in range(10)
            ]
            return sum(client.post("/v1/events", json=body).json()["accepted"] for body in bodies)

    with ThreadPoolExecutor(8) as senders:
        accepted = sum(senders.map(send, range(8)))
    ids = {each["event_id"] for each in gateway.records(gateway.topics.events)}
    assert len(ids) == accepted == 400
