"""The context of a request, in the words that the features use."""

import re
from datetime import UTC, datetime
from functools import lru_cache

# As recpipe_functions.features.context has it; a test holds the two together.
_DEVICES = re.compile(
    r"(?P<tablet>iPad|Tablet|Kindle|Silk/|PlayBook|Android(?!.*Mobile))"
    r"|(?P<mobile>Mobi|iPhone|iPod|Android|Windows Phone|BlackBerry|Opera Mini)"
    r"|(?P<unknown>TV|PlayStation|Xbox|Nintendo)"
    r"|(?P<desktop>Windows NT|Macintosh|CrOS|X11|Linux)"
)


@lru_cache(maxsize=4_096)
def device_of(user_agent: str) -> str:
    """mobile, tablet, desktop, or unknown where the user agent names none."""
    kinds = {found.lastgroup for found in _DEVICES.finditer(user_agent)}
    return next((kind for kind in ("unknown", "tablet", "mobile", "desktop") if kind in kinds), "unknown")


def hour_of(seconds: float) -> int:
    """Hour of the day, UTC, 0 to 23, of seconds since the Unix epoch."""
    return datetime.fromtimestamp(seconds, UTC).hour
