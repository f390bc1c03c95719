"""The blocking client, and the asyncio client with the same methods."""
# The timeouts here are gRPC deadlines, which travel with the call: asyncio.timeout would not tell the server.
# ruff: noqa: ASYNC109

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from numpy.typing import ArrayLike

from . import _protos as protos
from ._calls import (
    DEFAULT_OPTIONS,
    Options,
    Prediction,
    VersionStatus,
    predict_request,
    require_timeout,
    status_request,
    version_statuses,
)
from .errors import from_rpc


class _Methods:
    """The calls that both clients make, on either kind of channel."""

    def __init__(self, channel: Any) -> None:
        self.predict = channel.unary_unary(
            protos.PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString
        )
        self.status = channel.unary_unary(
            protos.GET_MODEL_STATUS,
            protos.GetModelStatusRequest.SerializeToString,
            protos.GetModelStatusResponse.FromString,
        )
        self.health = channel.unary_unary(
            protos.HEALTH_CHECK,
            protos.HealthCheckRequest.SerializeToString,
            protos.HealthCheckResponse.FromString,
        )


class PredictClient:
    """A connection to a server of TensorFlow Serving's API; safe to share between threads.

    Args:
        target: the server's address, such as "127.0.0.1:8500" or "dns:///serving:8500".
        options: gRPC channel arguments, over the defaults.
    """

    def __init__(self, target: str, *, options: Options = ()) -> None:
        self._channel = grpc.insecure_channel(target, options=[*DEFAULT_OPTIONS, *options])
        self._methods = _Methods(self._channel)

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, ArrayLike],
        *,
        timeout: float,
        outputs: Sequence[str] = (),
        version: int | None = None,
        label: str | None = None,
    ) -> Prediction:
        """Run a signature.

        Args:
            model, signature: their names; an empty signature is the default one, "serving_default".
            inputs: arrays, or nested lists of bytes, str or numbers, by input name.
            timeout: seconds until the call fails with `DeadlineExceeded`.
            outputs: the names of the outputs wanted; all, if none is named.
            version, label: the model's version, by number or by label; the latest by default.

        Returns:
            Arrays by output name, with strings as bytes; `.version` is the version that answered.

        Raises:
            ServingError: the call failed; its subclasses say how.
            TypeError, ValueError: an input cannot be sent as a tensor.
        """
        request = predict_request(model, signature, inputs, outputs, version, label)
        return Prediction.from_response(_call(self._methods.predict, request, timeout))

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """The versions the server knows of a model, newest first; raises `ModelNotFound` if it knows none."""
        return version_statuses(_call(self._methods.status, status_request(model), timeout))

    def is_serving(self, *, timeout: float) -> bool:
        """Whether the server reports itself healthy: `recpipe_model.server` does once every model is available."""
        response = _call(self._methods.health, protos.HealthCheckRequest(), timeout)
        return bool(response.status == protos.SERVING)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncPredictClient:
    """`PredictClient` for asyncio: the same arguments, results and errors. Make it inside the running event loop."""

    def __init__(self, target: str, *, options: Options = ()) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=[*DEFAULT_OPTIONS, *options])
        self._methods = _Methods(self._channel)

    async def predict(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, ArrayLike],
        *,
        timeout: float,
        outputs: Sequence[str] = (),
        version: int | None = None,
        label: str | None = None,
    ) -> Prediction:
        request = predict_request(model, signature, inputs, outputs, version, label)
        return Prediction.from_response(await _call_async(self._methods.predict, request, timeout))

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        return version_statuses(await _call_async(self._methods.status, status_request(model), timeout))

    async def is_serving(self, *, timeout: float) -> bool:
        response = await _call_async(self._methods.health, protos.HealthCheckRequest(), timeout)
        return bool(response.status == protos.SERVING)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _call(method: Any, request: Any, timeout: float) -> Any:
    try:
        return method(request, timeout=require_timeout(timeout))
    except grpc.RpcError as error:
        raise from_rpc(error) from error


async def _call_async(method: Any, request: Any, timeout: float) -> Any:
    try:
        return await method(request, timeout=require_timeout(timeout))
    except grpc.RpcError as error:
        raise from_rpc(error) from error
