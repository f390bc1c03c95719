"""The gRPC services: PredictionService, ModelService and health."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from recpipe_model.client._protos import GetModelStatusRequest, GetModelStatusResponse

from . import wire
from .batcher import Batcher
from .config import parse_config
from .predictor import Call, Predictor
from .servable import Servable
from .status import StatusError
from .store import ModelStore

_PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
_MODEL_SERVICE = "tensorflow.serving.ModelService"
_MAX_CONTROL_CALLS = 64
_RELOAD_SECONDS = 60.0
_START_SECONDS = 10.0
_MAX_MESSAGE_BYTES = 64 * 2**20

DEFAULT_OPTIONS: Sequence[tuple[str, int | str]] = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
)

T = TypeVar("T")
_Waiting = tuple[Call, "asyncio.Future[Any]"]


class GrpcServer:
    """Serves the API on one port.

    One thread takes requests and sends answers, others run models: what has come while a model ran is run together
    (`batcher.py`), and what needs no model, such as health, is answered while they are busy.

    Args:
        workers: threads that run models.
        max_requests: Predict requests running or waiting, above which one is answered RESOURCE_EXHAUSTED.
        options: gRPC channel arguments, over the defaults.
    """

    def __init__(
        self,
        predictor: Predictor,
        store: ModelStore[Servable],
        *,
        workers: int,
        max_requests: int,
        label_unavailable: bool,
        options: Sequence[tuple[str, int | str]] = (),
    ) -> None:
        self._predictor = predictor
        self._store = store
        self._max_requests = max_requests
        self._label_unavailable = label_unavailable
        self._options = [*DEFAULT_OPTIONS, *options]
        self._batcher: Batcher[_Waiting] = Batcher(self._run, workers)
        self._health = health.aio.HealthServicer()
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="grpc", daemon=True).start()
        self.report_health(False)

    def start(self, address: str) -> int:
        """Listen on "host:port", where port 0 takes a free one; returns the port.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        return self._in_loop(self._start(address)).result(_START_SECONDS)

    def report_health(self, serving: bool) -> None:
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )

        async def report() -> None:
            for service in (health.OVERALL_HEALTH, _PREDICTION_SERVICE, _MODEL_SERVICE):
                await self._health.set(service, status)

        self._in_loop(report())

    def stop(self, grace: float) -> None:
        """Report NOT_SERVING, take no more calls, and wait up to `grace` seconds for those in progress."""

        async def stop() -> None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)

        wait([self._in_loop(stop())], timeout=grace + 1)

    def _in_loop(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _start(self, address: str) -> int:
        self._server = grpc.aio.server(
            options=self._options, maximum_concurrent_rpcs=self._max_requests + _MAX_CONTROL_CALLS
        )
        predict = _handler(self._predict, wire.PredictRequest, wire.PredictResponse)
        metadata = _handler(self._metadata, wire.GetModelMetadataRequest, wire.GetModelMetadataResponse)
        status = _handler(self._status, GetModelStatusRequest, GetModelStatusResponse)
        reload = _handler(self._reload, wire.ReloadConfigRequest, wire.ReloadConfigResponse)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    _PREDICTION_SERVICE, {"Predict": predict, "GetModelMetadata": metadata}
                ),
                grpc.method_handlers_generic_handler(
                    _MODEL_SERVICE, {"GetModelStatus": status, "HandleReloadConfigRequest": reload}
                ),
            ]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        port = int(self._server.add_insecure_port(address))
        await self._server.start()
        return port

    async def _predict(self, request: Any, context: Any) -> Any:
        if self._batcher.pending >= self._max_requests:
            raise self._predictor.refusal()
        call = self._predictor.admit(request)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._batcher.submit((call, answer), call.kind, call.most)
        return await answer  # cancelled at the call's deadline

    def _run(self, waiting: Sequence[_Waiting]) -> None:
        if all(answer.cancelled() for _, answer in waiting):
            for call, _ in waiting:
                self._predictor.drop(call)
            return
        answers = self._predictor.run([call for call, _ in waiting])
        self._loop.call_soon_threadsafe(_deliver, waiting, answers)

    async def _metadata(self, request: Any, context: Any) -> Any:
        return self._predictor.metadata(request)

    async def _status(self, request: Any, context: Any) -> Any:
        return self._predictor.status(request)

    async def _reload(self, request: Any, context: Any) -> Any:
        """In a thread, for it waits for models."""
        remaining = context.time_remaining()

        def reload() -> Any:
            timeout = _RELOAD_SECONDS if remaining is None else min(remaining, _RELOAD_SECONDS)
            self._store.reload(
                parse_config(request.config), timeout=timeout, label_unavailable=self._label_unavailable
            )
            return wire.ReloadConfigResponse()

        return await asyncio.to_thread(reload)


def _deliver(waiting: Sequence[_Waiting], answers: Sequence[Any]) -> None:
    for (_, future), answer in zip(waiting, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, StatusError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _handler(behavior: Callable[[Any, Any], Awaitable[Any]], request: Any, response: Any) -> Any:
    """A method of the API; `StatusError` ends the call with that status."""

    async def answer(request: Any, context: Any) -> Any:
        try:
            return await behavior(request, context)
        except StatusError as error:
            await context.abort(error.code, error.message)

    return grpc.unary_unary_rpc_method_handler(answer, request.FromString, response.SerializeToString)
