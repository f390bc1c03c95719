"""A user's live state, one compact value: written by features, read by the gateway.

Columns rather than rows, small numbers rather than floats, then deflate: item ids are most of it.
"""

import zlib
from typing import NamedTuple

import msgspec

_PLAIN, _DEFLATED = b"\x01", b"\x02"
_DEFLATE_FROM_BYTES = 96


class Touch(NamedTuple):
    """One event of the history."""

    item_id: str
    time: int
    """Seconds since the Unix epoch."""
    weight: float
    event_type: str


class UserState(msgspec.Struct, array_like=True):
    """Everything remembered of one user. Times are milliseconds since the Unix epoch."""

    position: str = ""
    """Bus position of the newest event that is in this state: a redelivered event is dropped by it."""
    first: int = 0
    last: int = 0
    events: int = 0
    activity: float = 0.0
    """Events, each halved every half-life, as of `last`."""
    rates: tuple[float, float] = (0.0, 0.0)
    """Events a second, decayed over a short and a long time, as of `last`."""
    frequency: dict[str, list[int]] = {}
    """For each event type, [this, previous] count of each window, as of `last`."""
    interests: dict[str, float] = {}
    """Decayed weight of the categories recently touched, as of `last`; bounded."""
    session: tuple[str, int, int] = ("", 0, 0)
    """Id, start, and events so far."""
    items: list[str] = []
    """History, oldest first, as columns: item ids,"""
    ages: list[int] = []
    """seconds from each event to the next (the last one: to `last`),"""
    weights: list[int] = []
    """hundredths of each weight,"""
    kinds: bytes = b""
    """index of each event's type in `types`."""
    types: list[str] = []

    def encode(self) -> bytes:
        packed = _ENCODER.encode(self)
        if len(packed) < _DEFLATE_FROM_BYTES:
            return _PLAIN + packed
        return _DEFLATED + zlib.compress(packed, 1)

    @classmethod
    def decode(cls, data: bytes | None) -> "UserState":
        """The state in a store's value; a new user's where there is none. Raises ValueError if damaged."""
        if not data:
            return cls()
        packed = zlib.decompress(data[1:]) if data[:1] == _DEFLATED else data[1:]
        return _DECODER.decode(packed)

    def history(self) -> list[Touch]:
        """The remembered events, newest first."""
        touches, time = [], self.last // 1_000
        columns = zip(self.items, self.ages, self.weights, self.kinds, strict=True)
        for item, age, weight, kind in reversed(list(columns)):
            time -= age
            touches.append(Touch(item, time, weight / 100, self.types[kind]))
        return touches


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(UserState)
