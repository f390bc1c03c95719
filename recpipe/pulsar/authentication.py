"""How requests to the admin REST say who sends them."""

import time
from collections.abc import AsyncGenerator
from typing import TypeVar

import httpx
import msgspec

from recpipe.pulsar.credentials import ClientCredentials, Credentials
from recpipe.pulsar.errors import UnauthorizedError

_RENEW_BEFORE_SECONDS = 30.0
_Answer = TypeVar("_Answer")


def authentication(credentials: Credentials) -> httpx.Auth | None:
    """Client credentials where there are any, else a token, else nothing."""
    if credentials.oauth2():
        return ClientCredentialsFlow(credentials)
    return TokenFlow(credentials) if credentials.token() else None


class TokenFlow(httpx.Auth):
    """Sends the token as it is in its file now."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._credentials.token() or ''}"
        yield request


class _Discovery(msgspec.Struct):
    """OpenID Connect Discovery 1.0: where tokens are given."""

    token_endpoint: str


class _Grant(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0


class ClientCredentialsFlow(httpx.Auth):
    """Asks the issuer for an access token, keeps it until shortly before its end, and renews it on a 401."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._token, self._until = "", 0.0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        kept = time.monotonic() < self._until
        for fresh in (not kept, True):
            if fresh:
                client = self._credentials.oauth2()
                if client is None:
                    raise UnauthorizedError(_name(request), 0, "oauth2.json is gone from the credentials")
                found = yield httpx.Request("GET", _discovery_url(client))
                endpoint = (await _decoded(found, _Discovery)).token_endpoint
                granted = yield httpx.Request("POST", endpoint, data=_form(client))
                grant = await _decoded(granted, _Grant)
                self._token = grant.access_token
                self._until = time.monotonic() + grant.expires_in - _RENEW_BEFORE_SECONDS
            request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if fresh or answer.status_code != 401:
                return


def _discovery_url(client: ClientCredentials) -> str:
    return f"{client.issuer_url.rstrip('/')}/.well-known/openid-configuration"


def _form(client: ClientCredentials) -> dict[str, str]:
    form = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "audience": client.audience,
        "scope": client.scope,
    }
    return {name: value for name, value in form.items() if value}


async def _decoded(response: httpx.Response, kind: type[_Answer]) -> _Answer:
    if not response.is_success:
        raise UnauthorizedError(
            _name(response.request), response.status_code, "the issuer refuses the client"
        )
    try:
        return msgspec.json.decode(await response.aread(), type=kind)
    except msgspec.DecodeError as error:
        raise UnauthorizedError(_name(response.request), response.status_code, str(error)) from error


def _name(request: httpx.Request) -> str:
    return f"{request.method} {request.url.copy_with(query=None)}"
