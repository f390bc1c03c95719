"""POST /v1/events and the WebSocket /v1/stream: two doors to the same intake."""

import asyncio
import time
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from recpipe.admission import PublicEvent, Receipt
from recpipe_gateway.answers import Refusal, encode, json_response
from recpipe_gateway.endpoint import JSON, Call, Endpoint
from recpipe_gateway.intake import MAX_BODY_BYTES, Intake, Verdicts
from recpipe_gateway.keys import ApiKeys, Role
from recpipe_gateway.metrics import STREAMS

BEACON: Final = "text/plain"
"""What navigator.sendBeacon sends without a preflight."""
SILENCE_SECONDS: Final = 600.0
UNSUPPORTED, GOING_AWAY = 1003, 1001
USER_AGENT_BYTES, REFERRER_BYTES = 512, 1_024


class Event(PublicEvent, frozen=True):
    """An event, as the API's description shows it."""

    additional_data: dict[str, Any] = {}  # type: ignore[assignment]  # noqa: RUF012 - a struct copies it


class Events:
    """The public doors for events.

    Args:
        intake: where they go.
        keys: who may; None where authentication is off.
        origins: whose pages may open a stream; `*` for all.
    """

    def __init__(self, intake: Intake, keys: ApiKeys | None, origins: list[str]) -> None:
        self._intake, self._keys, self._origins = intake, keys, origins

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="POST",
                path="/v1/events",
                summary="Send one event or an array of them.",
                handle=self._post,
                needs=Role.PUBLIC,
                key_in_url=True,
                body={JSON: Event | list[Event], BEACON: str},
                answers={202: Verdicts, 429: Verdicts},
                refusals=(503,),
            )
        ]

    async def _post(self, call: Call) -> Response:
        body = await call.body(MAX_BODY_BYTES, (JSON, BEACON))
        verdicts = await self._intake.take(body, receipt_of(call.request.headers, call.role))
        return json_response(verdicts, 429 if verdicts.all_limited else 202, verdicts.retry_after)

    async def stream(self, socket: WebSocket) -> None:
        """Each text message is a body as POST takes it and is answered by its verdicts, in order."""
        try:
            role = self._admitted(socket)
        except Refusal as refusal:
            await socket.send_denial_response(refusal.response())
            return
        await socket.accept()
        with STREAMS.track_inprogress():
            try:
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        message = await socket.receive()
                    if message["type"] == "websocket.disconnect":
                        return
                    if (text := message.get("text")) is None:
                        await socket.close(UNSUPPORTED, "send text, not binary")
                        return
                    await socket.send_text(await self._verdicts(text, receipt_of(socket.headers, role)))
            except TimeoutError:
                await socket.close(GOING_AWAY, "silent too long")
            except WebSocketDisconnect:
                return

    def _admitted(self, socket: WebSocket) -> Role:
        origin = socket.headers.get("origin")
        if origin and "*" not in self._origins and origin not in self._origins:
            raise Refusal(403, "forbidden", f"origin {origin!r} is not one of gateway.corsOrigins", "origin")
        if self._keys is None:
            return Role.ANYONE
        return self._keys.authorize(socket.headers, socket.query_params, Role.PUBLIC)

    async def _verdicts(self, text: str, receipt: Receipt) -> str:
        try:
            return encode(await self._intake.take(text.encode(), receipt)).decode()
        except Refusal as refusal:
            return encode(refusal.body).decode()


def receipt_of(headers: Headers, role: Role) -> Receipt:
    """What a request says of its events; a backend's own user agent is not its users'."""
    now = int(time.time() * 1_000)
    if role is Role.PRIVATE:
        return Receipt(now)
    return Receipt(
        now, headers.get("user-agent", "")[:USER_AGENT_BYTES], headers.get("referer", "")[:REFERRER_BYTES]
    )
