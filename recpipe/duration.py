"""Durations as people and Kubernetes write them: one number and one unit, such as 500ms, 30s, 10m or 24h.

Only Go's units are taken, so that the same text works in CEL's `duration()`.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^(0|[1-9][0-9]{0,5})(ms|s|m|h)$"
FORM = "write one whole number of at most six digits and a unit: ms, s, m or h, such as 30s or 24h"
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def parse(text: object) -> timedelta:
    """Reads "10m" as ten minutes; raises ValueError with the accepted form for anything else."""
    if isinstance(text, timedelta):
        return text
    found = re.fullmatch(PATTERN, text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(FORM)
    return timedelta(milliseconds=int(found[1]) * _UNITS[found[2]])


def render(value: timedelta) -> str:
    """Writes a duration in the largest unit that loses nothing."""
    milliseconds = round(value.total_seconds() * 1_000)
    for unit, size in reversed(_UNITS.items()):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse),
    PlainSerializer(render, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": 9}),
]
