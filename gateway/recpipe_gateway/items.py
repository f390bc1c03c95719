"""The catalogue: items' metadata, one by one and in bulk; every change goes to the store and on the bus."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from redis.asyncio import Redis
from starlette.responses import Response

from recpipe.bus import Bus, Message
from recpipe.catalogue import ITEM_DECODER, Category, Item, Text
from recpipe.schema import ITEM
from recpipe.store import Keys
from recpipe.topics import Topic
from recpipe_gateway.answers import OBJECT_DECODER, Refusal, decoded, encode, invalid, json_response, merged
from recpipe_gateway.endpoint import JSON, Call, Endpoint, next_chunk
from recpipe_gateway.writes import SECONDS, change, outage_refused, read, write

MAX_BODY_BYTES: Final = 256 * 1024
MAX_IMPORT_BYTES: Final = 512 * 2**20
IMPORT_CHUNK: Final = 500
MOST_REJECTED: Final = 1_000
NDJSON: Final = "application/x-ndjson"

Attributes = Annotated[dict[str, float | Text], msgspec.Meta(max_length=64)]
Categories = Annotated[list[Category], msgspec.Meta(max_length=32)]


class ItemBody(msgspec.Struct):
    """An item's metadata; its id is in the path."""

    title: Text = ""
    categories: Categories = []
    attributes: Attributes = {}


class ItemChanges(msgspec.Struct):
    """A JSON merge patch (RFC 7396): what is left out stays, null takes away."""

    title: Text | None = None
    categories: Categories | None = None
    attributes: Annotated[dict[str, float | Text | None], msgspec.Meta(max_length=64)] | None = None


class BadLine(msgspec.Struct):
    line: int
    """From 1."""
    reason: str
    detail: str


class Imported(msgspec.Struct):
    """What became of an import's lines."""

    accepted: int
    rejected: list[BadLine]


class Items:
    """PUT, PATCH, GET and DELETE of /v1/items/{id}, and POST of /v1/items."""

    def __init__(self, client: Redis, keys: Keys, bus: Bus, topic: Topic) -> None:
        self._client, self._keys, self._bus, self._topic = client, keys, bus, topic
        self._body = msgspec.json.Decoder(ItemBody)

    def endpoints(self) -> list[Endpoint]:
        path = "/v1/items/{item:path}"
        return [
            Endpoint(
                method="POST",
                path="/v1/items",
                summary="Import items, one JSON object a line.",
                handle=self._import,
                body={NDJSON: str},
                answers={200: Imported},
                refusals=(503,),
            ),
            Endpoint(
                method="PUT",
                path=path,
                summary="Set an item's metadata.",
                handle=self._put,
                body={JSON: ItemBody},
                answers={200: Item},
                refusals=(503,),
            ),
            Endpoint(
                method="PATCH",
                path=path,
                summary="Change some of an item's metadata.",
                handle=self._patch,
                body={JSON: ItemChanges},
                answers={200: Item},
                refusals=(409, 503),
            ),
            Endpoint(
                method="GET",
                path=path,
                summary="An item's metadata.",
                handle=self._get,
                answers={200: Item},
                refusals=(404, 503),
            ),
            Endpoint(
                method="DELETE",
                path=path,
                summary="Forget an item; it is recommended no more.",
                handle=self._delete,
                answers={204: None},
                refusals=(503,),
            ),
        ]

    async def _put(self, call: Call) -> Response:
        item_id = call.identifier("item")
        body = decoded(self._body, await call.body(MAX_BODY_BYTES))
        item = Item(item_id, body.title, body.categories, body.attributes)
        await self._take([item])
        return json_response(item)

    async def _patch(self, call: Call) -> Response:
        item_id = call.identifier("item")
        changes = decoded(OBJECT_DECODER, await call.body(MAX_BODY_BYTES))

        def edit(old: bytes | None) -> bytes:
            before = msgspec.json.decode(old) if old else {}
            return encode(_item({**merged(before, changes), "item_id": item_id}))

        value = await change(self._client, self._keys.item(item_id), edit)
        await self._publish([ITEM_DECODER.decode(value)])
        return Response(value, media_type=JSON)

    async def _get(self, call: Call) -> Response:
        item_id = call.identifier("item")
        value = await read(self._client, self._keys.item(item_id))
        if value is None:
            raise Refusal(404, "not_found", f"item {item_id!r} has no metadata; PUT it", "item")
        return Response(value, media_type=JSON)

    async def _delete(self, call: Call) -> Response:
        item_id = call.identifier("item")
        with outage_refused():
            async with asyncio.timeout(SECONDS):
                await self._client.delete(self._keys.item(item_id))
        await self._publish([Item(item_id)], deleted=True)
        return Response(status_code=204)

    async def _import(self, call: Call) -> Response:
        call.require_type([NDJSON, "application/jsonl", "text/plain"])
        imported, chunk = Imported(0, []), list[Item]()
        number = 0
        async for line in _lines(call):
            number += 1
            if not line.strip():
                continue
            try:
                chunk.append(ITEM_DECODER.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                kind = "invalid" if isinstance(error, msgspec.ValidationError) else "malformed"
                imported.rejected.append(BadLine(number, kind, str(error)))
                if len(imported.rejected) == MOST_REJECTED:
                    raise Refusal(
                        400,
                        "too_many_errors",
                        f"line {number} is the {MOST_REJECTED}th bad one: {error}; "
                        f"{imported.accepted} items are stored",
                    ) from error
            if len(chunk) == IMPORT_CHUNK:
                await self._take(chunk, f"{imported.accepted} items are stored; ")
                imported.accepted += len(chunk)
                chunk = []
        if chunk:
            await self._take(chunk, f"{imported.accepted} items are stored; ")
        imported.accepted += len(chunk)
        return json_response(imported)

    async def _take(self, items: Sequence[Item], done: str = "") -> None:
        with outage_refused(done):
            await write(self._client, {self._keys.item(item.item_id): encode(item) for item in items})
        await self._publish(items, done)

    async def _publish(self, items: Sequence[Item], done: str = "", deleted: bool = False) -> None:
        now = int(time.time() * 1_000)
        messages = [Message(item.item_id, ITEM.encode(item.record(now, deleted=deleted))) for item in items]
        with outage_refused(done):
            async with asyncio.timeout(SECONDS):
                await self._bus.publish(self._topic, messages, {"gateway.items": len(items)})


async def _lines(call: Call) -> AsyncIterator[bytes]:
    """Lines of a body as they come in; raises Refusal for a line or a body that is too large."""
    chunks = call.request.stream().__aiter__()
    rest, size = b"", 0
    while chunk := await next_chunk(chunks):
        size += len(chunk)
        if size > MAX_IMPORT_BYTES:
            raise Refusal(
                413, "too_large", f"the import is larger than {MAX_IMPORT_BYTES} bytes; send it in parts"
            )
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_BODY_BYTES:
            raise Refusal(
                413, "too_large", f"a line is larger than {MAX_BODY_BYTES} bytes; is it one item a line?"
            )
    if rest:
        yield rest


def _item(fields: dict[str, Any]) -> Item:
    try:
        return msgspec.convert(fields, Item)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
