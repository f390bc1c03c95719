"""Profiles of users: JSON objects of strings, joined to their events; and forgetting a user."""

import asyncio
from typing import Annotated, Final

import msgspec
from redis.asyncio import Redis
from starlette.responses import Response

from recpipe.store import Keys
from recpipe_gateway.answers import OBJECT_DECODER, Refusal, decoded, encode, invalid, json_response, merged
from recpipe_gateway.endpoint import JSON, Call, Endpoint
from recpipe_gateway.writes import SECONDS, change, outage_refused, read, write

MAX_BODY_BYTES: Final = 64 * 1024

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=512)]
Profile = Annotated[dict[Name, Text], msgspec.Meta(max_length=64)]
Changes = Annotated[dict[Name, Text | None], msgspec.Meta(max_length=64)]
"""A JSON merge patch (RFC 7396): null takes a key away."""


class Users:
    """PUT, PATCH, GET and DELETE of /v1/users/{id}."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._profile: msgspec.json.Decoder[dict[str, str]] = msgspec.json.Decoder(Profile)

    def endpoints(self) -> list[Endpoint]:
        path = "/v1/users/{user:path}"
        return [
            Endpoint(
                method="PUT",
                path=path,
                summary="Set a user's profile.",
                handle=self._put,
                body={JSON: Profile},
                answers={200: Profile},
                refusals=(503,),
            ),
            Endpoint(
                method="PATCH",
                path=path,
                summary="Change some of a user's profile; null takes a key away.",
                handle=self._patch,
                body={JSON: Changes},
                answers={200: Profile},
                refusals=(409, 503),
            ),
            Endpoint(
                method="GET",
                path=path,
                summary="A user's profile.",
                handle=self._get,
                answers={200: Profile},
                refusals=(404, 503),
            ),
            Endpoint(
                method="DELETE",
                path=path,
                summary="Forget a user: profile, history and live state.",
                handle=self._delete,
                answers={204: None},
                refusals=(503,),
            ),
        ]

    async def _put(self, call: Call) -> Response:
        user = call.identifier("user")
        profile = decoded(self._profile, await call.body(MAX_BODY_BYTES))
        with outage_refused():
            await write(self._client, {self._keys.profile(user): encode(profile)})
        return json_response(profile)

    async def _patch(self, call: Call) -> Response:
        user = call.identifier("user")
        changes = decoded(OBJECT_DECODER, await call.body(MAX_BODY_BYTES))

        def edit(old: bytes | None) -> bytes:
            profile = merged(msgspec.json.decode(old) if old else {}, changes)
            try:
                return encode(msgspec.convert(profile, Profile))
            except msgspec.ValidationError as error:
                raise invalid(error) from error

        value = await change(self._client, self._keys.profile(user), edit)
        return Response(value, media_type=JSON)

    async def _get(self, call: Call) -> Response:
        user = call.identifier("user")
        value = await read(self._client, self._keys.profile(user))
        if value is None:
            raise Refusal(404, "not_found", f"user {user!r} has no profile; PUT one", "user")
        return Response(value, media_type=JSON)

    async def _delete(self, call: Call) -> Response:
        user = call.identifier("user")
        keys = self._keys
        with outage_refused():
            async with asyncio.timeout(SECONDS):
                await self._client.delete(keys.profile(user), keys.state(user), keys.bot(user))
        return Response(status_code=204)
