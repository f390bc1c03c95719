"""The application: every endpoint under its path, CORS around them, errors as JSON."""

from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from recpipe_gateway.answers import Refusal, encode
from recpipe_gateway.endpoint import JSON, Call, Endpoint, Resource
from recpipe_gateway.events import Events
from recpipe_gateway.keys import ApiKeys, Role
from recpipe_gateway.openapi import describe

PREFLIGHT_SECONDS = 600


def application(
    pipeline: str, endpoints: Sequence[Endpoint], events: Events, keys: ApiKeys | None, origins: Sequence[str]
) -> Starlette:
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
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "X-API-Key", "Content-Type"],
        expose_headers=["Retry-After"],
        max_age=PREFLIGHT_SECONDS,
    )
    middleware = [cors] if origins else []
    application = Starlette(
        routes=routes, middleware=middleware, exception_handlers={HTTPException: _refused}
    )
    application.router.redirect_slashes = False
    return application


def _refused(request: Request, error: Exception) -> Response:
    """Starlette's own errors, such as an unknown path, in the shape of all others."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return Refusal(
            404, "not_found", f"there is nothing at {request.url.path}; see /openapi.json"
        ).response()
    return Refusal(status, "refused", str(error)).response()
