"""One operation of the API: declared once, for serving it and for describing it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from recpipe.admission import Identifier
from recpipe_gateway.answers import ErrorBody, Refusal, invalid
from recpipe_gateway.keys import ApiKeys, Role
from recpipe_gateway.metrics import REQUEST_SECONDS, REQUESTS

log = logging.getLogger(__name__)

BODY_SECONDS: Final = 10.0
"""Longest silence of a client that is sending a body."""
JSON: Final = "application/json"


@dataclass(frozen=True)
class Call:
    """A request on its way through: authorized, its parameters checked."""

    request: Request
    role: Role
    query: Any
    """Of the endpoint's `query` type."""

    def identifier(self, name: str) -> str:
        """A path parameter that is a user's or item's id; raises Refusal."""
        try:
            return msgspec.convert(self.request.path_params[name], Identifier)
        except msgspec.ValidationError as error:
            raise invalid(error, within=name) from error

    async def body(self, limit: int, types: Sequence[str] = (JSON,)) -> bytes:
        """The whole body; raises Refusal where it is of another type, too large or too slow."""
        self.require_type(types)
        declared = self.request.headers.get("content-length", "0")
        if int(declared) > limit:
            raise _too_large(limit)
        body = bytearray()
        chunks = self.request.stream().__aiter__()
        while chunk := await next_chunk(chunks):
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
        return bytes(body)

    def require_type(self, types: Sequence[str]) -> None:
        given = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given and given not in types:
            wanted = " or ".join(types)
            raise Refusal(
                415, "unsupported_media_type", f"the content type is {given!r}; send {wanted}", "content-type"
            )


async def next_chunk(chunks: Any) -> bytes:
    """The next part of a body, empty at its end; raises Refusal where it does not come in time."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while not (chunk := await anext(chunks, None)):
                if chunk is None:
                    return b""
            return bytes(chunk)
    except TimeoutError as error:
        raise Refusal(
            408, "too_slow", f"nothing came for {BODY_SECONDS:.0f} s; send the body without pausing"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An operation: its place, what it takes, what it answers, who may."""

    method: str
    path: str
    """As Starlette writes it, such as /v1/users/{user:path}."""
    summary: str
    handle: Callable[[Call], Awaitable[Response]]
    needs: Role = Role.PRIVATE
    key_in_url: bool = False
    """Whether the public key may stand in the URL, for senders that cannot set headers."""
    query: type[msgspec.Struct] | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    """Type of the body by content type."""
    answers: Mapping[int, Any] = field(default_factory=dict)
    """Type of the answer by status; None where there is no body."""
    refusals: tuple[int, ...] = ()
    """Statuses that come with an ErrorBody, beside those that follow from the rest."""

    @property
    def all_refusals(self) -> set[int]:
        from_key = {401, 403} if self.needs is not Role.ANYONE else set()
        from_query = {400} if self.query or "{" in self.path else set()
        from_body = {400, 408, 413, 415} if self.body else set()
        return {*self.refusals, *from_key, *from_query, *from_body} - self.answers.keys()


class Resource:
    """The ASGI application of one path: picks the endpoint, authorizes, decodes, answers, counts."""

    def __init__(self, endpoints: Sequence[Endpoint], keys: ApiKeys | None) -> None:
        self._endpoints = {endpoint.method: endpoint for endpoint in endpoints}
        self._keys = keys
        self.path = endpoints[0].path
        self._seconds = REQUEST_SECONDS.labels(self.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        try:
            response = await self._respond(Request(scope, receive))
        except Refusal as refusal:
            response = refusal.response()
        except ClientDisconnect:
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], self.path)
            response = Refusal(500, "internal", "the gateway failed; its log says how").response()
        self._seconds.observe(time.perf_counter() - begun)
        REQUESTS.labels(self.path, scope["method"], response.status_code).inc()
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._endpoints.get(method)
        if endpoint is None:
            allowed = ", ".join(self._endpoints)
            refusal = Refusal(
                405, "method_not_allowed", f"{request.method} is not possible here; use {allowed}"
            )
            return refusal.response(Allow=allowed)
        role = Role.ANYONE
        if self._keys:
            in_url = request.query_params if endpoint.key_in_url else None
            role = self._keys.authorize(request.headers, in_url, endpoint.needs)
        query = _decoded(request, endpoint.query) if endpoint.query else None
        return await endpoint.handle(Call(request, role, query))


@cache
def _is_repeatable(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """A query's parameters, and whether each may be given more than once."""
    fields = msgspec.inspect.type_info(kind).fields  # type: ignore[attr-defined]
    return {each.encode_name: _is_list(each.type) for each in fields}


def _is_list(kind: msgspec.inspect.Type) -> bool:
    while isinstance(kind, msgspec.inspect.Metadata):  # a described type
        kind = kind.type
    return isinstance(kind, msgspec.inspect.ListType)


def _decoded(request: Request, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The query string as a struct; raises Refusal naming parameter, value and what is wrong."""
    fields = _is_repeatable(kind)
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name not in fields:
            raise Refusal(400, "invalid", f"{name}: no such parameter; there is {', '.join(fields)}", name)
        if fields[name]:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Refusal(400, "invalid", f"{name}: given twice; give it once", name)
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        refusal = invalid(error)
        name = refusal.field.partition("[")[0]
        if name in values:
            raise Refusal(400, "invalid", f"{name} is {values[name]!r}; {refusal}", refusal.field) from error
        raise refusal from error


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body is larger than {limit} bytes; send it in parts")


__all__ = ["JSON", "Call", "Endpoint", "ErrorBody", "Resource", "next_chunk"]
