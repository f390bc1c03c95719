"""Rules of the spec that a type alone does not say, each said once for the API server and once for Python.

The API server evaluates them in CEL (https://kubernetes.io/docs/reference/using-api/cel/), so that
`kubectl apply` is refused with the message; Python with the same message when a file is read. A rule
stands on a section (`rules`) or on a field, in its `Annotated` type.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from recpipe.duration import PATTERN, parse

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """What must hold of a value (`self` in CEL); `message` says what to do."""

    cel: str
    holds: Callable[[Any], bool]
    message: str
    pattern: str | None = None
    """The same as a pattern, for editors."""

    def check(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        if self.pattern:
            schema["pattern"] = self.pattern
        return _with_validation(schema, self.cel, self.message)


@dataclass(frozen=True)
class Change:
    """What must hold of a value and the one before it (`oldSelf` in CEL): a file has no past."""

    cel: str
    message: str

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return _with_validation(handler(core), self.cel, self.message)


def _with_validation(schema: JsonSchemaValue, cel: str, message: str) -> JsonSchemaValue:
    return schema | {VALIDATIONS: [*schema.get(VALIDATIONS, []), {"rule": cel, "message": message}]}


def matching(pattern: str, message: str) -> Rule:
    """Text of a form; the pattern is anchored at both ends, and means the same to RE2 and to Python."""
    return Rule(
        f"self.matches({quoted(pattern)})", lambda text: bool(re.fullmatch(pattern, text)), message, pattern
    )


def between(least: str, most: str, reason: str = "") -> Rule:
    """A duration within bounds, both included."""
    low, high = parse(least), parse(most)
    return Rule(
        f"self.matches({quoted(PATTERN)})"
        f" && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')",
        lambda value: low <= value <= high,
        f"give between {least} and {most}, as a whole number and ms, s, m or h"
        + (f": {reason}" if reason else ""),
    )


def quoted(text: str) -> str:
    """As a string literal of CEL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
