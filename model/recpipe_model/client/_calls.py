"""What both clients share: building requests, reading answers, and the channel's options."""

import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from numpy.typing import ArrayLike, NDArray

from ._protos import GetModelStatusRequest, ModelSpec, PredictRequest
from .errors import ServingError
from .tensors import decode, encode

Options = Sequence[tuple[str, int | str]]

_MAX_MESSAGE_BYTES = 64 * 2**20

# Reconnect quickly, since a local server restarts in seconds; ping only while calls are out, since a gRPC server
# drops clients that ping an idle connection more often than every five minutes.
DEFAULT_OPTIONS: Options = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 0),
)


class VersionState(enum.IntEnum):
    """A version's place in its life, as TensorFlow Serving numbers them."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionStatus(NamedTuple):
    """One version of a model, and what went wrong with it, if anything (`code` 0 is OK)."""

    version: int
    state: VersionState
    code: int
    message: str


class Prediction(dict[str, NDArray[Any]]):
    """The outputs by name, and the version of the model that made them."""

    version: int

    @classmethod
    def from_response(cls, response: Any) -> "Prediction":
        prediction = cls((name, _decoded(name, proto)) for name, proto in response.outputs.items())
        prediction.version = response.model_spec.version.value
        return prediction


def predict_request(
    model: str,
    signature: str,
    inputs: Mapping[str, ArrayLike],
    outputs: Sequence[str],
    version: int | None,
    label: str | None,
) -> Any:
    """A PredictRequest.

    Raises:
        ValueError, TypeError: an input cannot be sent as a tensor; names it.
    """
    request = PredictRequest(output_filter=outputs)
    _fill_spec(request.model_spec, model, version, label)
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        try:
            encode(value, request.inputs[name])
        except (TypeError, ValueError) as error:
            raise type(error)(f"input {name!r}: {error}") from error
    return request


def status_request(model: str) -> Any:
    return GetModelStatusRequest(model_spec=ModelSpec(name=model))


def version_statuses(response: Any) -> list[VersionStatus]:
    """Newest first, as the server lists them."""
    return [
        VersionStatus(
            item.version, VersionState(item.state), item.status.error_code, item.status.error_message
        )
        for item in response.model_version_status
    ]


def require_timeout(timeout: float) -> float:
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
    return timeout


def _fill_spec(spec: Any, model: str, version: int | None, label: str | None) -> None:
    if version is not None and label is not None:
        raise ValueError(f"give a version ({version}) or a label ({label!r}), not both")
    spec.name = model
    if version is not None:
        spec.version.value = version
    elif label is not None:
        spec.version_label = label


def _decoded(name: str, proto: Any) -> NDArray[Any]:
    try:
        return decode(proto)
    except ValueError as error:
        raise ServingError(grpc.StatusCode.INTERNAL, f"output {name!r}: {error}") from error
