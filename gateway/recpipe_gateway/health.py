"""What machines ask of the gateway itself: alive, ready, metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from recpipe.worker import OUTAGES
from recpipe_gateway.answers import json_response
from recpipe_gateway.endpoint import Call, Endpoint
from recpipe_gateway.keys import Role
from recpipe_model.client import ServingError, VersionState, VersionStatus

PROBE_SECONDS: Final = 0.5


class Alive(msgspec.Struct):
    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct):
    """Ready where the bus is: without a model answers are degraded, not wrong."""

    ready: bool
    bus: Literal["ok", "unreachable"]
    model: Literal["ok", "unavailable"]


class Health:
    """Probes and metrics; no key is needed.

    Args:
        probe_bus: fails where the bus cannot take events.
        probe_model: the versions that are served; fails where the server cannot be reached.
    """

    def __init__(
        self,
        probe_bus: Callable[[], Awaitable[object]],
        probe_model: Callable[[float], Awaitable[list[VersionStatus]]],
    ) -> None:
        self._probe_bus, self._probe_model = probe_bus, probe_model

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET",
                path="/healthz",
                summary="Whether the process runs.",
                handle=self._healthz,
                needs=Role.ANYONE,
                answers={200: Alive},
            ),
            Endpoint(
                method="GET",
                path="/readyz",
                summary="Whether events can be taken, and whether the model answers.",
                handle=self._readyz,
                needs=Role.ANYONE,
                answers={200: Ready, 503: Ready},
            ),
            Endpoint(
                method="GET",
                path="/metrics",
                summary="Metrics in Prometheus' text format.",
                handle=self._metrics,
                needs=Role.ANYONE,
                answers={200: str},
            ),
        ]

    async def _healthz(self, call: Call) -> Response:
        return json_response(Alive())

    async def _readyz(self, call: Call) -> Response:
        bus, model = await asyncio.gather(self._bus(), self._model())
        ready = Ready(bus, "ok" if bus else "unreachable", "ok" if model else "unavailable")
        return json_response(ready, 200 if bus else 503)

    async def _metrics(self, call: Call) -> Response:
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _bus(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probe_bus()
        except OUTAGES:
            return False
        return True

    async def _model(self) -> bool:
        try:
            statuses = await self._probe_model(PROBE_SECONDS)
        except ServingError:
            return False
        return any(each.state is VersionState.AVAILABLE for each in statuses)
