"""Errors as TensorFlow Serving reports them: a status code and a message."""

import grpc

# TensorFlow's status codes are gRPC's numbers.
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_HTTP_CODES = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_MESSAGE_LIMIT = 1024  # gRPC sends messages as headers, which have a size limit


class StatusError(Exception):
    """A request failed with a status; carries what the client is told."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        if len(message) > _MESSAGE_LIMIT:
            message = f"{message[:_MESSAGE_LIMIT]}...TRUNCATED"
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def number(self) -> int:
        """The code's number in `tensorflow.error.Code`."""
        return int(self.code.value[0])

    @property
    def http_code(self) -> int:
        return _HTTP_CODES.get(self.code, 500)


def invalid_argument(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
