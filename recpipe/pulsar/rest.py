"""Requests to the admin REST: authentication, redirects to the owning broker, bounded retries, errors."""

import asyncio
import html
import random
import re
from typing import Any

import httpx

from recpipe.pulsar.authentication import authentication
from recpipe.pulsar.credentials import Credentials
from recpipe.pulsar.errors import (
    AdminError,
    ConflictError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
DEADLINE_SECONDS = 60.0
REDIRECTS = 5

_RETRIED = {429, 500, 502, 503, 504}
_ERRORS: dict[int, type[AdminError]] = {
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
}


class Rest:
    """One admin endpoint. Every request has a deadline; those that no broker could answer are repeated."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/admin/",
            auth=authentication(credentials),
            verify=credentials.tls() if url.startswith("https:") else True,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )

    async def get(self, path: str, **parameters: str | int | bool) -> Any:
        return await self.send("GET", path, params=parameters)

    async def put(self, path: str, body: Any = None) -> Any:
        return await self.send("PUT", path, json=body)

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.send("POST", path, json=body)

    async def delete(self, path: str, **parameters: str | int | bool) -> None:
        await self.send("DELETE", path, params=parameters)

    async def send(self, method: str, path: str, **content: Any) -> Any:
        """The answer's JSON, None where it has none; raises AdminError's kinds."""
        request = f"{method} {path}"
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._send_until_answered(request, method, path, content)
        except TimeoutError as error:
            raise UnavailableError(request, 0, f"no answer within {DEADLINE_SECONDS:.0f} s") from error

    async def _send_until_answered(
        self, request: str, method: str, path: str, content: dict[str, Any]
    ) -> Any:
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._send_to_owner(method, path, content)
            except httpx.TransportError as error:
                failure: AdminError = UnavailableError(request, 0, str(error) or type(error).__name__)
            else:
                if response.is_success:
                    return response.json() if response.content else None
                failure = _failure(request, response)
                if response.status_code not in _RETRIED:
                    raise failure
            if attempt < ATTEMPTS:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        raise failure

    async def _send_to_owner(self, method: str, path: str, content: dict[str, Any]) -> httpx.Response:
        """Follows brokers to the one that owns a topic, with our credentials, which httpx would leave out."""
        response = await self._client.request(method, path, **content)
        for _ in range(REDIRECTS):
            if response.status_code not in {307, 308} or "location" not in response.headers:
                break
            location = response.url.join(response.headers["location"])
            content = {name: value for name, value in content.items() if name != "params"}
            response = await self._client.request(method, location, **content)
        return response

    async def close(self) -> None:
        await self._client.aclose()


def _failure(request: str, response: httpx.Response) -> AdminError:
    status = response.status_code
    kind = _ERRORS.get(status, UnavailableError if status in _RETRIED else RefusedError)
    return kind(request, status, _reason(response))


def _reason(response: httpx.Response) -> str:
    """The broker's words: from its JSON, or from the title of an error page, without stack traces."""
    try:
        text = str(response.json()["reason"])
    except (ValueError, LookupError, TypeError):
        title = re.search(r"<title>(.*?)</title>", response.text, re.DOTALL)
        text = html.unescape(title[1]) if title else response.text
    text = text.partition("\n\nStacktrace:")[0].rpartition("\n\nMessage: ")[2]
    return text.strip()[:1_000] or response.reason_phrase
