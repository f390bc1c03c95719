"""Whatever is posted to /v1/events, the gateway says what became of it, and goes on."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error

from .conftest import KEYS, Gateway, StartGateway

SPEC: dict[str, Any] = {
    "events": {"partitions": 2, "maxEventBytes": 1_000},
    "gateway": {"userEventsPerSecond": 100_000},
}
GENEROUS = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ANSWERS = {202, 400, 413, 415, 422}

odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.just("x" * 2_000)
)
nested = st.recursive(
    odd, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=4
)
moments = st.sampled_from(("2026-11-25T10:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999Z", "now"))
fields = {
    "user_id": st.just("ann") | nested,
    "event_type": st.sampled_from(("click", "purchase", "wink")) | nested,
    "timestamp": moments | nested,
}
optional = {"item_id": nested, "page_url": nested, "event_id": nested, "additional_data": nested}
nearly = st.fixed_dictionaries(fields, optional=optional)


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, bus_url: str) -> Gateway:
    return start_gateway(bus_url, SPEC)


def posted(gateway: Gateway, body: bytes) -> tuple[int, int]:
    """Events taken and refused."""
    answer = gateway.public.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in ANSWERS, answer.text
    verdicts = answer.json()
    if answer.status_code == 202 or "accepted" in verdicts:
        assert all(each["reason"] and each["detail"] for each in verdicts["rejected"])
        return verdicts["accepted"], len(verdicts["rejected"])
    return 0, 0


def test_a_body_of_any_bytes_is_answered(gateway: Gateway) -> None:
    @GENEROUS
    @given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
    def check(body: bytes) -> None:
        posted(gateway, body)

    check()
    assert gateway.nobody.get("/healthz").status_code == 200


def test_each_event_that_is_nearly_one_gets_a_verdict_and_is_kept(gateway: Gateway) -> None:

    sent = taken = refused = 0
    before = gateway.tally()
    kept = len(gateway.records(gateway.topics.events)), len(gateway.records(gateway.topics.rejected))

    @GENEROUS
    @given(st.lists(nearly, min_size=1, max_size=8))
    def check(events: list[dict[str, Any]]) -> None:
        nonlocal sent, taken, refused
        verdicts = posted(gateway, json.dumps(events).encode())
        assert sum(verdicts) == len(events)
        sent, taken, refused = sent + len(events), taken + verdicts[0], refused + verdicts[1]

    check()
    assert taken
    assert refused
    after = gateway.tally()
    assert after["gateway.accepted"] - before.get("gateway.accepted", 0) == taken
    assert len(gateway.records(gateway.topics.events)) - kept[0] == taken
    assert len(gateway.records(gateway.topics.rejected)) - kept[1] == refused


def test_what_its_own_description_allows_and_forbids_is_no_server_error(gateway: Gateway) -> None:
    description = schemathesis.openapi.from_dict(gateway.nobody.get("/openapi.json").json())
    headers = {"Authorization": f"Bearer {KEYS['public']}"}

    @settings(GENEROUS, max_examples=60)
    @given(description["/v1/events"]["POST"].as_strategy())
    def check(case: Any) -> None:
        answer = case.call(base_url=gateway.url, headers=headers)
        case.validate_response(answer, checks=[not_a_server_error])

    check()
