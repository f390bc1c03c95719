"""The gRPC services: PredictionService, ModelService and health."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from recpipe_model.client._protos import PREDICT, GetModelStatusRequest, GetModelStatusResponse

from . import wire
from .config import parse_config
from .predictor import Predictor
from .servable import Servable
from .status import StatusError
from .store import ModelStore

_PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
_MODEL_SERVICE = "tensorflow.serving.ModelService"
_CONTROL_THREADS = 2
_MAX_CONTROL_CALLS = 64
_RELOAD_SECONDS = 60.0
_MAX_MESSAGE_BYTES = 64 * 2**20

DEFAULT_OPTIONS: Sequence[tuple[str, int | str]] = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
)


class GrpcServer:
    """Serves the API on one port.

    Predict has a small pool of workers of its own: a synchronous server with one or two is the fastest shape measured,
    since a model keeps a core busy. The other calls have theirs, so that health is answered while Predict is
    saturated, and a configuration reload, which waits for models, keeps no request waiting.

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
        self._store = store
        self._label_unavailable = label_unavailable
        self._control = ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="control")
        self._health = health.HealthServicer(experimental_thread_pool=self._control)
        self._health.Check = self._controlled(self._health.Check)
        pool = _CountingPool(workers, thread_name_prefix="predict")
        self._server = grpc.server(
            pool,
            options=[*DEFAULT_OPTIONS, *options],
            maximum_concurrent_rpcs=max_requests + _MAX_CONTROL_CALLS,
        )
        predict = _handler(_answer(predictor.predict), wire.PredictRequest, wire.PredictResponse)
        refuse = _handler(
            self._controlled(_answer(predictor.refuse)), wire.PredictRequest, wire.PredictResponse
        )
        metadata = _handler(
            self._controlled(_answer(predictor.metadata)),
            wire.GetModelMetadataRequest,
            wire.GetModelMetadataResponse,
        )
        status = _handler(
            self._controlled(_answer(predictor.status)), GetModelStatusRequest, GetModelStatusResponse
        )
        reload = _handler(self._controlled(self._reload), wire.ReloadConfigRequest, wire.ReloadConfigResponse)
        self._server.add_generic_rpc_handlers(
            [
                _Admission(pool, max_requests, predict, refuse),
                grpc.method_handlers_generic_handler(_PREDICTION_SERVICE, {"GetModelMetadata": metadata}),
                grpc.method_handlers_generic_handler(
                    _MODEL_SERVICE, {"GetModelStatus": status, "HandleReloadConfigRequest": reload}
                ),
            ]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.report_health(False)

    def start(self, address: str) -> int:
        """Listen on "host:port", where port 0 takes a free one; returns the port.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        port = int(self._server.add_insecure_port(address))
        self._server.start()
        return port

    def report_health(self, serving: bool) -> None:
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in (health.OVERALL_HEALTH, _PREDICTION_SERVICE, _MODEL_SERVICE):
            self._health.set(service, status)

    def stop(self, grace: float) -> None:
        """Report NOT_SERVING, take no more calls, and wait up to `grace` seconds for those in progress."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait(grace + 1)
        self._control.shutdown(wait=False)

    def _controlled(self, behavior: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The same behaviour, run by the control threads: gRPC looks for this attribute of a handler's function."""

        def run(request: Any, context: Any) -> Any:
            return behavior(request, context)

        run.experimental_thread_pool = self._control  # type: ignore[attr-defined]
        return run

    def _reload(self, request: Any, context: Any) -> Any:
        def reload(request: Any) -> Any:
            remaining = context.time_remaining()
            timeout = _RELOAD_SECONDS if remaining is None else min(remaining, _RELOAD_SECONDS)
            self._store.reload(
                parse_config(request.config), timeout=timeout, label_unavailable=self._label_unavailable
            )
            return wire.ReloadConfigResponse()

        return _answer(reload)(request, context)


class _CountingPool(ThreadPoolExecutor):
    """Knows how many calls it runs or has waiting."""

    def __init__(self, workers: int, *, thread_name_prefix: str) -> None:
        super().__init__(workers, thread_name_prefix=thread_name_prefix)
        self._lock = threading.Lock()
        self.pending = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self.pending += 1
        future = super().submit(*args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: object) -> None:
        with self._lock:
            self.pending -= 1


class _Admission(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Chooses, as a Predict request arrives, whether it joins the queue or is refused.

    gRPC's own limit would count and refuse health checks too, so that an overloaded server looked broken.
    """

    def __init__(self, pool: _CountingPool, max_requests: int, predict: Any, refuse: Any) -> None:
        self._pool = pool
        self._max_requests = max_requests
        self._predict = predict
        self._refuse = refuse

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method != PREDICT:
            return None
        return self._predict if self._pool.pending < self._max_requests else self._refuse


def _answer(method: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def behavior(request: Any, context: Any) -> Any:
        if not context.is_active():  # its deadline passed while it waited: nobody would see the answer
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the request was run")
        try:
            return method(request)
        except StatusError as error:
            context.abort(error.code, error.message)

    return behavior


def _handler(behavior: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(behavior, request.FromString, response.SerializeToString)
