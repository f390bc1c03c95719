"""A client of TensorFlow Serving's gRPC API without TensorFlow: numpy, grpcio and protobuf only."""

from ._calls import Prediction, VersionState, VersionStatus
from .clients import AsyncPredictClient, PredictClient
from .errors import DeadlineExceeded, InvalidRequest, ModelNotFound, Overloaded, ServingError, Unavailable

__all__ = [
    "AsyncPredictClient",
    "DeadlineExceeded",
    "InvalidRequest",
    "ModelNotFound",
    "Overloaded",
    "PredictClient",
    "Prediction",
    "ServingError",
    "Unavailable",
    "VersionState",
    "VersionStatus",
]
