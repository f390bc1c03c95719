"""What the request says of the moment: device and where the user came from."""

import re
from functools import lru_cache

_DEVICES = re.compile(
    r"(?P<tablet>iPad|Tablet|Kindle|Silk/|PlayBook|Android(?!.*Mobile))"
    r"|(?P<mobile>Mobi|iPhone|iPod|Android|Windows Phone|BlackBerry|Opera Mini)"
    r"|(?P<unknown>TV|PlayStation|Xbox|Nintendo)"
    r"|(?P<desktop>Windows NT|Macintosh|CrOS|X11|Linux)"
)
_HOST = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:@]+)")


@lru_cache(maxsize=4_096)
def device_of(user_agent: str) -> str:
    """mobile, tablet, desktop or unknown."""
    kinds = {found.lastgroup for found in _DEVICES.finditer(user_agent)}
    return next((kind for kind in ("unknown", "tablet", "mobile", "desktop") if kind in kinds), "unknown")


@lru_cache(maxsize=4_096)
def host_of(referrer: str) -> str:
    """The host of a URL, in lower case; empty where there is none."""
    found = _HOST.match(referrer)
    return found[1].lower() if found else ""
