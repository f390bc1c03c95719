"""Warming a version before it serves, so that its first request is as fast as the others."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from recpipe.priority import Background
from recpipe_model.client._protos import TensorProto

from .servable import Servable
from .signature import Inputs, Signature
from .status import CODES, StatusError, invalid_argument
from .wire import PredictionLog

REQUESTS_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_MAX_RECORDS = 1000

_log = logging.getLogger(__name__)


def warm_up(servable: Servable, path: Path) -> None:
    """Replay the model's recorded requests, or make one of zeros for each signature if it has none.

    Raises:
        StatusError: a recorded request is unreadable or fails. That the model refuses zeros is no error.
    """
    background = Background()
    if (path / REQUESTS_FILE).exists():
        _replay(servable, path / REQUESTS_FILE, background)
        return
    for name, signature in servable.signatures.items():
        if signature.refusal is not None:
            continue
        inputs = {alias: _zeros(info) for alias, info in signature.definition.inputs.items()}
        try:
            _run(signature, inputs, background)
        except StatusError as error:
            _log.info("%s: signature %s refuses an empty warm-up request: %s", path, name, error.message)


def _replay(servable: Servable, file: Path, background: Background) -> None:
    """Run a TFRecord file of `tensorflow.serving.PredictionLog`; only Predict requests, the kind served here."""
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            count += 1
            if count > _MAX_RECORDS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}"
                )
            request = PredictionLog.FromString(record).predict_log.request
            if request.inputs:
                _run(
                    servable.signature(request.model_spec.signature_name),
                    request.inputs,
                    background,
                    request.output_filter,
                )
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record {count} from {file}: {error}") from error
    except tf.errors.OpError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise StatusError(CODES[tf.errors.DATA_LOSS], message) from error


def _run(
    signature: Signature, inputs: Inputs, background: Background, output_filter: Sequence[str] = ()
) -> None:
    """Runs a request alone, and as often as may be together."""
    background.run(lambda: signature.run(inputs, output_filter))
    if (kind := signature.kind(inputs)) is not None:
        count = signature.most_together(kind)
        while count > 1:
            background.run(partial(signature.run_together, [inputs] * count))
            count //= 2


def _zeros(info: Any) -> bytes:
    """A serialised tensor of zeros or empty strings: one where the signature leaves a size open.

    TensorFlow fills a tensor that has a shape and no values.
    """
    proto = TensorProto(dtype=info.dtype)
    for dim in info.tensor_shape.dim:
        proto.tensor_shape.dim.add(size=1 if dim.size < 0 else dim.size)
    return bytes(proto.SerializeToString())
