"""What the edge answers: JSON bodies, and refusals that say what is wrong and what to do."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from starlette.responses import Response

encode = msgspec.json.Encoder().encode
OBJECT_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
T = TypeVar("T")


class Problem(msgspec.Struct, omit_defaults=True):
    code: str
    """For machines."""
    message: str
    """For people: the field, the value and what to do."""
    field: str = ""


class ErrorBody(msgspec.Struct):
    error: Problem


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """Ends a request with an error body.

    Args:
        status: the HTTP status.
        code: for machines.
        message: for people.
        field: the parameter or JSON path at fault.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self, status: int, code: str, message: str, field: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.retry_after = status, field, retry_after
        self.body = ErrorBody(Problem(code, message, field))

    def response(self, **headers: str) -> Response:
        return json_response(self.body, self.status, self.retry_after, **headers)


def json_response(body: Any, status: int = 200, retry_after: float = 0.0, **headers: str) -> Response:
    """A body as JSON; `retry_after` in seconds, rounded up as HTTP has whole ones."""
    if retry_after:
        headers["Retry-After"] = str(math.ceil(retry_after))
    return Response(encode(body), status, headers, "application/json")


def invalid(error: msgspec.ValidationError, within: str = "") -> Refusal:
    """A refusal that names the field from msgspec's message, such as "Expected `int` - at `$.k`"."""
    problem, _, place = str(error).partition(" - at ")
    key, _, path = place.replace("`", "").rpartition(" in ")
    field = path.removeprefix("$").lstrip(".") or within
    where = " ".join(filter(None, (field, key)))
    return Refusal(400, "invalid", f"{where}: {problem}" if where else problem, field)


def decoded(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """A JSON body; raises Refusal naming the field at fault."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "malformed", f"the body is not JSON: {error}") from error


def merged(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396): objects are merged, null takes a key away, all else replaces."""
    after = dict(before)
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        elif isinstance(value, Mapping):
            old = after.get(key)
            after[key] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            after[key] = value
    return after
