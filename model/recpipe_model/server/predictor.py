"""The API's calls, whether they come by gRPC or by REST."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from recpipe_model.client._protos import GetModelStatusResponse

from .metrics import Metrics
from .servable import DEFAULT_SIGNATURE, Servable
from .signature import Inputs, Signature
from .status import StatusError, invalid_argument
from .store import ModelStore
from .versions import Version
from .wire import GetModelMetadataResponse, PredictResponse, SignatureDefMap

SIGNATURE_DEF = "signature_def"


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A Predict request under way.

    Attributes:
        kind: of calls that may be run together; None for one that is run alone.
        most: how many of them.
    """

    request: Any
    inputs: Inputs
    version: Version[Servable]
    signature: Signature
    started: float
    kind: Any
    most: int


class Predictor:
    """Answers requests from the model store; every method raises `StatusError` as TensorFlow Serving would."""

    def __init__(self, store: ModelStore[Servable], metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def predict(self, request: Any) -> Any:
        """PredictRequest to PredictResponse, in the `wire` form, whose tensors are serialised."""
        [answer] = self.run([self.admit(request)])
        if isinstance(answer, StatusError):
            raise answer
        return answer

    def admit(self, request: Any) -> Call:
        """A PredictRequest as a call, which holds the model's version until it is run or dropped."""
        started = time.perf_counter()
        version: Version[Servable] | None = None
        try:
            version = self._store.borrow(*_selection(request))
            signature = _servable(version).signature(request.model_spec.signature_name)
        except StatusError as error:
            self._settle(version, error.code.name, started)
            raise
        inputs = dict(request.inputs)
        kind = None if request.output_filter else signature.kind(inputs)
        if kind is None:
            return Call(request, inputs, version, signature, started, kind=None, most=1)
        most = signature.most_together(kind)
        return Call(request, inputs, version, signature, started, (signature, kind), most)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """The answer to each call, a PredictResponse or a StatusError. Several are of one kind and run together."""
        answers = _run(calls)
        for call, answer in zip(calls, answers, strict=True):
            code = answer.code.name if isinstance(answer, StatusError) else "OK"
            self._settle(call.version, code, call.started)
        self._metrics.batch(len(calls))
        return answers

    def drop(self, call: Call) -> None:
        """Ends a call without running it, for nobody waits for the answer any more."""
        self._store.give_back(call.version)

    def refusal(self) -> StatusError:
        """What a Predict request gets for which there is no room."""
        error = StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests are waiting: try again later"
        )
        self._metrics.request("", None, error.code.name, 0.0)
        return error

    def input_types(self, request: Any) -> dict[str, int]:
        """The TensorFlow data types, by name, of the inputs that a PredictRequest's signature takes."""
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        with self._borrowed(request) as (_, servable):
            if name not in servable.signatures:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            return {alias: info.dtype for alias, info in servable.signatures[name].definition.inputs.items()}

    def signatures(self, request: Any) -> tuple[int, dict[str, Any]]:
        """The version a request selects, and its signatures' definitions (`tensorflow.SignatureDef`) by name."""
        with self._borrowed(request) as (version, servable):
            return version.number, {
                name: signature.definition for name, signature in servable.signatures.items()
            }

    def metadata(self, request: Any) -> Any:
        """GetModelMetadataRequest to GetModelMetadataResponse."""
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {name} is not supported")
        number, definitions = self.signatures(request)
        packed = SignatureDefMap(
            signature_def={name: definition.SerializeToString() for name, definition in definitions.items()}
        )
        response = GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.metadata[SIGNATURE_DEF].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        response.metadata[SIGNATURE_DEF].value = packed.SerializeToString()
        return response

    def status(self, request: Any) -> Any:
        """GetModelStatusRequest to GetModelStatusResponse."""
        response = GetModelStatusResponse()
        for status in self._store.statuses(*_selection(request)):
            response.model_version_status.add(
                version=status.version,
                state=status.state,
                status={"error_code": status.code, "error_message": status.message},
            )
        return response

    def _settle(self, version: Version[Servable] | None, code: str, started: float) -> None:
        # Counted while the version is still held, since its series end with it.
        model, number = ("", None) if version is None else (version.model, version.number)
        self._metrics.request(model, number, code, time.perf_counter() - started)
        if version is not None:
            self._store.give_back(version)

    @contextmanager
    def _borrowed(self, request: Any) -> Iterator[tuple[Version[Servable], Servable]]:
        version = self._store.borrow(*_selection(request))
        try:
            yield version, _servable(version)
        finally:
            self._store.give_back(version)


def _run(calls: Sequence[Call]) -> list[Any]:
    try:
        if len(calls) > 1:
            outputs = calls[0].signature.run_together([call.inputs for call in calls])
        else:
            outputs = [calls[0].signature.run(calls[0].inputs, calls[0].request.output_filter)]
    except StatusError as error:
        # One of several was wrong: each by itself gets its own error, or its answer.
        return [error] if len(calls) == 1 else [answer for call in calls for answer in _run([call])]
    except Exception as error:  # the thread must outlive any request
        _log.exception("running %s", calls[0].request.model_spec.name)
        message = f"{type(error).__name__}: {error}"
        return [StatusError(grpc.StatusCode.INTERNAL, message) for _ in calls]
    return [_response(call, each) for call, each in zip(calls, outputs, strict=True)]


def _response(call: Call, outputs: Mapping[str, bytes]) -> Any:
    spec = call.request.model_spec
    response = PredictResponse(outputs=outputs)
    response.model_spec.name = spec.name
    response.model_spec.signature_name = spec.signature_name or DEFAULT_SIGNATURE
    response.model_spec.version.value = call.version.number
    return response


def _selection(request: Any) -> tuple[str, int | None, str | None]:
    """The model's name, and its version by number or by label, that a request's ModelSpec selects."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    match spec.WhichOneof("choice"):
        case "version":
            return spec.name, spec.version.value, None
        case "version_label":
            return spec.name, None, spec.version_label
        case _:
            return spec.name, None, None


def _servable(version: Version[Servable]) -> Servable:
    assert version.servable is not None  # it has one while it is lent
    return version.servable
