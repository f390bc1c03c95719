"""The API's calls, whether they come by gRPC or by REST."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from recpipe_model.client._protos import GetModelStatusResponse

from .metrics import Metrics
from .servable import DEFAULT_SIGNATURE, Servable
from .status import StatusError, invalid_argument
from .store import ModelStore
from .versions import Version
from .wire import GetModelMetadataResponse, PredictResponse, SignatureDefMap

SIGNATURE_DEF = "signature_def"


class Predictor:
    """Answers requests from the model store; every method raises `StatusError` as TensorFlow Serving would."""

    def __init__(self, store: ModelStore[Servable], metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def predict(self, request: Any) -> Any:
        """PredictRequest to PredictResponse, in the `wire` form, whose tensors are serialised."""
        started = time.perf_counter()
        version: Version[Servable] | None = None
        code = "OK"
        try:
            version = self._store.borrow(*_selection(request))
            return _run(version, request)
        except StatusError as error:
            code = error.code.name
            raise
        finally:
            # Counted while the version is still held, since its series end with it.
            model, number = ("", None) if version is None else (version.model, version.number)
            self._metrics.request(model, number, code, time.perf_counter() - started)
            if version is not None:
                self._store.give_back(version)

    def refuse(self, request: Any) -> Any:
        """What a Predict request gets for which there is no room."""
        error = StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests are waiting: try again later"
        )
        self._metrics.request("", None, error.code.name, 0.0)
        raise error

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

    @contextmanager
    def _borrowed(self, request: Any) -> Iterator[tuple[Version[Servable], Servable]]:
        version = self._store.borrow(*_selection(request))
        try:
            yield version, _servable(version)
        finally:
            self._store.give_back(version)


def _run(version: Version[Servable], request: Any) -> Any:
    spec = request.model_spec
    response = PredictResponse(
        outputs=_servable(version).run(spec.signature_name, request.inputs, request.output_filter)
    )
    response.model_spec.name = spec.name
    response.model_spec.signature_name = spec.signature_name or DEFAULT_SIGNATURE
    response.model_spec.version.value = version.number
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
