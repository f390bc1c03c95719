"""API keys and what they open: the public key sends events, the private key does everything."""

import hmac
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers, QueryParams

from recpipe_gateway.answers import Refusal

SHORTEST: Final = 16


class Role(IntEnum):
    """Who asks; a higher role may do all that a lower one may."""

    ANYONE = 0
    PUBLIC = 1
    PRIVATE = 2


class KeysError(ValueError):
    """The keys are missing or weak; the message says what to set."""


class ApiKeys:
    """The two keys of a gateway."""

    def __init__(self, public: str, private: str) -> None:
        for name, key in (("public", public), ("private", private)):
            if len(key) < SHORTEST:
                raise KeysError(
                    f"the {name} key has {len(key)} characters; use {SHORTEST} or more, random ones"
                )
        if hmac.compare_digest(public.encode(), private.encode()):
            raise KeysError(
                "the public and the private key are the same; every page would hold the private one"
            )
        self._public, self._private = public.encode(), private.encode()

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> "ApiKeys":
        """From RECPIPE_PUBLIC_KEY and RECPIPE_PRIVATE_KEY, else from files in RECPIPE_KEYS_DIR."""
        folder = environment.get("RECPIPE_KEYS_DIR")
        found = {}
        for name in ("public", "private"):
            key = environment.get(f"RECPIPE_{name.upper()}_KEY", "").strip()
            file = Path(folder, name) if folder else None
            if not key and file and file.is_file():
                key = file.read_text().strip()
            if not key:
                place = f"the file {file}" if file else "RECPIPE_KEYS_DIR with the files public and private"
                raise KeysError(
                    f"no {name} API key: set RECPIPE_{name.upper()}_KEY or {place}, "
                    "or set gateway.authentication.enabled to false in the pipeline"
                )
            found[name] = key
        return cls(**found)

    def role_of(self, key: str) -> Role:
        """Compares with both keys in constant time."""
        given = key.encode()
        public, private = (hmac.compare_digest(given, each) for each in (self._public, self._private))
        return Role.PRIVATE if private else Role.PUBLIC if public else Role.ANYONE

    def authorize(self, headers: Headers, query: QueryParams | None, needed: Role) -> Role:
        """The asker's role; raises Refusal where it does not reach.

        `query` is given where a key may stand in the URL, as browsers' beacons and WebSockets can
        send no headers: the public key only, because URLs end up in logs.
        """
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        role = self.role_of(key)
        if not key and query is not None and (key := query.get("key", "")):
            role = self.role_of(key)
            if role is Role.PRIVATE:
                raise Refusal(
                    403, "forbidden", "the private key may not be sent in a URL; use a header", "key"
                )
        if role is Role.ANYONE and needed is not Role.ANYONE:
            problem = "is not a key of this pipeline" if key else "is missing"
            raise Refusal(
                401,
                "unauthorized",
                f"the API key {problem}; send it as `Authorization: Bearer KEY` or `X-API-Key`",
            )
        if role < needed:
            raise Refusal(403, "forbidden", "the public key may only send events; this needs the private key")
        return role
