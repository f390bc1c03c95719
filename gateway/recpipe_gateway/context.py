"""The context of a request, in the words that the features use."""

from datetime import UTC, datetime

TABLETS = ("ipad", "tablet", "kindle", "silk/")
MOBILES = ("mobi", "iphone", "ipod")
DESKTOPS = ("windows nt", "macintosh", "x11", "cros")


def device_of(user_agent: str) -> str:
    """mobile, tablet, desktop, or unknown where the user agent names none."""
    agent = user_agent.lower()
    if any(mark in agent for mark in TABLETS):
        return "tablet"
    if any(mark in agent for mark in MOBILES):
        return "mobile"
    if "android" in agent:  # Android's tablets are those that do not say "Mobile"
        return "tablet"
    if any(mark in agent for mark in DESKTOPS):
        return "desktop"
    return "unknown"


def hour_of(seconds: float) -> int:
    """Hour of the day, UTC, 0 to 23, of seconds since the Unix epoch."""
    return datetime.fromtimestamp(seconds, UTC).hour
