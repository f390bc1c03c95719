"""A client of a pipeline's gateway: events in order and never lost, catalogue, recommendations."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

DEADLINE_SECONDS = 30.0
PATIENCE_SECONDS = 120.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


class GatewayError(Exception):
    """The gateway refuses the request or does not answer; the message says which and what to do."""


@dataclass
class Sent:
    """What has become of events so far."""

    accepted: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.accepted + self.rejected


class Client:
    """Talks to one gateway with one key.

    Example:
        async with Client("http://127.0.0.1:8080", key) as client:
            print(await client.recommendations("user-1", k=5))
    """

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=DEADLINE_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def send(self, events: Iterable[bytes], batch: int = 500) -> AsyncIterator[Sent]:
        """Sends events, each one's JSON, in order; yields the counts after each batch.

        What the gateway cannot take just now is sent again after a pause, for two minutes at most;
        events without an `event_id` are recognised by their bytes, so that none counts twice.
        """
        sent = Sent()
        waiting = iter(events)
        while chunk := list(islice(waiting, batch)):
            while chunk:
                answer = await self._patiently("POST", "/v1/events", b"[" + b",".join(chunk) + b"]")
                again = {each["index"] for each in answer["rejected"] if each["reason"] == "rate_limited"}
                sent.accepted += answer["accepted"]
                sent.rejected += len(answer["rejected"]) - len(again)
                chunk = [event for index, event in enumerate(chunk) if index in again]
                if chunk:
                    await asyncio.sleep(FIRST_PAUSE_SECONDS)
            yield sent

    async def import_items(self, lines: Iterable[bytes], batch: int = 500) -> int:
        """Imports items, each one's JSON; returns how many were taken, raises GatewayError for a bad one."""
        waiting, taken = iter(lines), 0
        while chunk := list(islice(waiting, batch)):
            answer = await self._patiently("POST", "/v1/items", b"\n".join(chunk), "application/x-ndjson")
            if answer["rejected"]:
                raise GatewayError(
                    f"item {taken + answer['rejected'][0]['line']}: {answer['rejected'][0]['detail']}"
                )
            taken += answer["accepted"]
        return taken

    async def put_profile(self, user: str, profile: Mapping[str, str]) -> None:
        await self._patiently("PUT", f"/v1/users/{quote(user, safe='')}", msgspec.json.encode(profile))

    async def recommendations(self, user: str, k: int = 10, **parameters: str) -> dict[str, Any]:
        answer = await self._http.get("/v1/recommendations", params={"user_id": user, "k": k, **parameters})
        return self._body(answer)

    async def model_served(self) -> None:
        """Waits for a model version that answers, two minutes at most: raises GatewayError."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while degraded := (await self.recommendations("nobody", 1))["degraded"]:
            if asyncio.get_running_loop().time() > deadline:
                raise GatewayError(
                    f"no model version answered within {PATIENCE_SECONDS:.0f} s (degraded: {degraded}): "
                    "see the logs of the learner and of serving"
                )
            await asyncio.sleep(0.5)

    async def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        return self._body(await self._http.get(path, params=parameters))

    async def _patiently(
        self, method: str, path: str, body: bytes, kind: str = "application/json"
    ) -> dict[str, Any]:
        """One request, again and again while the gateway says "later" or cannot be reached."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = await self._http.request(method, path, content=body, headers={"Content-Type": kind})
                if answer.status_code not in {429, 502, 503, 504}:
                    return self._body(answer)
                if answer.status_code == httpx.codes.TOO_MANY_REQUESTS and "rejected" in (
                    verdicts := _json(answer)
                ):
                    return verdicts
                problem = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                problem = repr(error)
            if loop.time() > deadline:
                raise GatewayError(
                    f"{method} {path}: no success within {PATIENCE_SECONDS:.0f} s, last: {problem}"
                )
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _body(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            raise GatewayError(
                f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}"
            )
        return _json(answer)


def _json(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(answer.content)
    return body
