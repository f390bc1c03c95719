"""The REST API: paths and JSON, for `HttpServer` to serve."""

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from google.protobuf import json_format

from recpipe_model.client import VersionState
from recpipe_model.client._protos import GetModelStatusRequest

from . import wire
from .http_server import JSON, Answer, error_answer
from .json_tensor import format_response, parse_request
from .metrics import Metrics
from .predictor import SIGNATURE_DEF, Predictor
from .status import CODES, StatusError, invalid_argument, not_found

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"{_MODEL}:predict", re.IGNORECASE)
_READ = re.compile(rf"{_MODEL}(/metadata)?", re.IGNORECASE)
_INT64_MAX = 2**63 - 1

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class RestApi:
    """Answers a request by its method, its path and its body."""

    def __init__(self, predictor: Predictor, metrics: Metrics) -> None:
        self._predictor = predictor
        self._metrics = metrics

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        path = urlsplit(target).path
        try:
            if method == "GET" and path == Metrics.PATH:
                return Answer(200, PROMETHEUS, self._metrics.page())
            if method == "POST" and (match := _PREDICT.fullmatch(path)):
                return Answer(200, JSON, self._predict(match, body))
            if method == "GET" and (match := _READ.fullmatch(path)):
                read = self._metadata if match[4] else self._status
                return Answer(200, JSON, json.dumps(read(match), indent=1).encode())
            if path.lower().startswith("/v1/"):
                raise invalid_argument(f"Malformed request: {method} {path}")
            raise not_found(f"Nothing is served at {path}")
        except StatusError as error:
            return error_answer(error.http_code, error.message)

    def _predict(self, match: re.Match[str], body: bytes) -> bytes:
        request = wire.PredictRequest()
        _select(request.model_spec, match)

        def input_types(signature: str) -> dict[str, int]:
            request.model_spec.signature_name = signature
            return self._predictor.input_types(request)

        parsed = parse_request(body, input_types)
        for name, tensor in parsed.inputs.items():
            request.inputs[name] = tensor
        return format_response(self._predictor.predict(request).outputs, rows=parsed.rows)

    def _status(self, match: re.Match[str]) -> dict[str, Any]:
        request = GetModelStatusRequest()
        _select(request.model_spec, match)
        return {
            "model_version_status": [
                {
                    "version": str(item.version),
                    "state": VersionState(item.state).name,
                    "status": {
                        "error_code": CODES[item.status.error_code].name,
                        "error_message": item.status.error_message,
                    },
                }
                for item in self._predictor.status(request).model_version_status
            ]
        }

    def _metadata(self, match: re.Match[str]) -> dict[str, Any]:
        request = wire.GetModelMetadataRequest()
        _select(request.model_spec, match)
        version, definitions = self._predictor.signatures(request)
        return {
            "model_spec": {"name": request.model_spec.name, "signature_name": "", "version": str(version)},
            "metadata": {
                SIGNATURE_DEF: {
                    SIGNATURE_DEF: {name: _to_dict(item) for name, item in sorted(definitions.items())}
                }
            },
        }


def _select(spec: Any, match: re.Match[str]) -> None:
    spec.name = unquote(match[1])
    if match[2] is not None:
        if int(match[2]) > _INT64_MAX:
            raise invalid_argument(f"Failed to convert version: {match[2]} to numeric.")
        spec.version.value = int(match[2])
    elif match[3] is not None:
        spec.version_label = unquote(match[3])


def _to_dict(message: Any) -> dict[str, Any]:
    return dict(
        json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )
