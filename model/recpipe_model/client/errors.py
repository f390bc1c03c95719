"""What can go wrong with a call, as exceptions that a caller can tell apart."""
# The names are gRPC's own for these statuses.
# ruff: noqa: N818

import grpc


class ServingError(Exception):
    """A call failed: the server's gRPC status code and message."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class Unavailable(ServingError):
    """No server answers at the address, or it is shutting down: try again, or elsewhere."""


class DeadlineExceeded(ServingError):
    """No answer within the call's timeout."""


class Overloaded(ServingError):
    """The server has as many calls waiting as it admits: back off."""


class InvalidRequest(ServingError):
    """The signature does not take these inputs, or the model rejects their values: trying again will not help."""


class ModelNotFound(ServingError):
    """The server has no available version of the model, or not the one asked for."""


_TYPES: dict[grpc.StatusCode, type[ServingError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
}


def from_rpc(error: grpc.RpcError) -> ServingError:
    """The typed form of a failed call's error, for the synchronous and the asyncio API alike."""
    code = error.code()
    return _TYPES.get(code, ServingError)(code, error.details() or "")
