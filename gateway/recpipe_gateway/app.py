"""The application: every endpoint under its path, CORS around them, errors as JSON."""

from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from recpipe_gateway.answers import Refusal, encode
from recpipe_gateway.endpoint import JSON, Call, Endpoint, Resource
from recpipe_gateway.events import Events
from recpipe_gateway.keys import ApiKeys, Role
from recpipe_gateway.openapi import describe

PREFLIGHT_SECONDS = 600


def application(
    pipeline: str, endpoints: Sequence[Endpoint], events: Events, keys: ApiKeys | None, origins: Sequence[str]
) -> ASGIApp:
    """The ASGI application; paths are matched in the order of the endpoints."""
    described = encode(describe(endpoints, f"Recpipe: {pipeline}", version("recpipe")))

    async def openapi(call: Call) -> Response:
        return Response(described, media_type=JSON)

    description = Endpoint(
        method="GET",
        path="/openapi.json",
        summary="This description.",
        handle=openapi,
        needs=Role.ANYONE,
        answers={200: dict},
    )
    routes: list[BaseRoute] = [
        Route(path, Resource(list(group), keys))
        for path, group in groupby([*endpoints, description], key=lambda endpoint: endpoint.path)
    ]
    routes.append(WebSocketRoute("/v1/stream", events.stream))
    # A resource answers its own failures, so that none of Starlette's layers for them is needed around it.
    router = Router(routes, redirect_slashes=False, default=_nothing_there)
    if not origins:
        return router
    return CORSMiddleware(
        router,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "X-API-Key", "Content-Type"],
        expose_headers=["Retry-After"],
        max_age=PREFLIGHT_SECONDS,
    )


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocketClose()(scope, receive, send)
        return
    refusal = Refusal(404, "not_found", f"there is nothing at {scope['path']}; see /openapi.json")
    await refusal.response()(scope, receive, send)
