"""A user's live state, one compact value: written by features, read by the gateway.

In the store it is columns rather than rows, small differences rather than times, and numbers rather
than text: item ids that are numbers behind a common prefix take three bytes instead of eight. What is
decoded is exactly what was encoded, so that features never depend on how events were batched.
"""

import struct
import zlib
from collections.abc import Iterable
from itertools import accumulate
from operator import sub
from typing import NamedTuple

import msgspec

VERSION = 1
_SHARED_TYPES = ("click", "scroll", "hover", "purchase")
"""Event types that values name by number. Append only."""
_SHARED_INDEX = {name: index for index, name in enumerate(_SHARED_TYPES)}
_DECIMAL = "0123456789"
_SEPARATOR = "\x1f"
_TO_DIGIT = bytes.maketrans(bytes(range(16)), b"0123456789abcdef")
_FROM_DIGIT = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))
_MOST_DIGITS = 18  # an unsigned 64-bit integer holds any number of so many


class Touch(NamedTuple):
    """One event of the history."""

    item_id: str
    time: int
    """Seconds since the Unix epoch."""
    weight: float
    event_type: str


class UserState(msgspec.Struct):
    """Everything remembered of one user. Times are milliseconds since the Unix epoch.

    A score that fades (it halves every half-life) is kept as the moment at which it will have faded to
    one: such a number needs no update as time passes. See recpipe_functions.features.fading.
    """

    position: tuple[int, ...] = ()
    """Place on the bus of the newest event that is in this state: a redelivered event is dropped by it."""
    first: int = 0
    last: int = 0
    events: int = 0
    activity: int = 0
    """Moment at which the count of events, halved every half-life, will have faded to one."""
    rates: tuple[int, int] = (0, 0)
    """The same for a short and a long half-life: pace now, and as usual."""
    frequency: dict[str, tuple[int, ...]] = {}
    """For each event type, this and the previous bucket of each window, as of `last`."""
    interests: dict[int, int] = {}
    """For the fingerprint of each category recently touched, the moment its weight will have faded to one."""
    session: tuple[str, int, int] = ("", 0, 0)
    """The sender's id or "" where it names none, start, and events so far."""
    items: list[str] = []
    """History as columns, oldest first: item ids,"""
    times: list[int] = []
    """seconds since the Unix epoch, never falling,"""
    weights: list[int] = []
    """hundredths of each weight,"""
    types: list[str] = []
    """and event types."""

    def encode(self) -> bytes:
        """The value for the store."""
        last = self.last
        kinds = list(dict.fromkeys((*self.frequency, *self.types)))
        history = list(zip(self.types, self.weights, strict=True))
        marks = {mark: number for number, mark in enumerate(dict.fromkeys(history))}
        session, start, session_events = self.session
        return _ENCODER.encode(
            _Packed(
                version=VERSION,
                position=self.position,
                last=last,
                age=last - self.first,
                events=self.events,
                fading=[moment - last for moment in (self.activity, *self.rates, *self.interests.values())],
                interests=struct.pack(f"<{len(self.interests)}H", *self.interests),
                session=(session, last - start, session_events),
                kinds=[_SHARED_INDEX.get(kind, kind) for kind in kinds],
                frequency=list(self.frequency.values()),
                marks=[(kinds.index(kind), weight) for kind, weight in marks],
                history=_pack_marks([marks[mark] for mark in history]),
                ages=list(map(sub, (*self.times[1:], last // 1_000), self.times)),
                items=_pack_ids(self.items),
            )
        )

    @classmethod
    def decode(cls, data: bytes | None) -> "UserState":
        """The state in a store's value; a new user's where there is none. Raises ValueError if damaged."""
        if not data:
            return cls()
        try:
            return _unpack(_DECODER.decode(data))
        except (msgspec.MsgspecError, zlib.error, struct.error, LookupError, ArithmeticError) as error:
            raise ValueError(f"user state: {data[:16].hex()}... is damaged: {error}") from error

    def history(self) -> list[Touch]:
        """The remembered events, newest first."""
        columns = zip(self.items, self.times, self.weights, self.types, strict=True)
        return [Touch(item, time, weight / 100, kind) for item, time, weight, kind in columns][::-1]


class _Numbers(msgspec.Struct, array_like=True):
    """Item ids that are one prefix and a number."""

    prefix: str
    digits: int
    """How many digits each number has, with leading zeros; 0 where they have none and lengths differ."""
    planes: bytes
    """The lowest byte of each number, then the next byte of each, and so on."""


class _Packed(msgspec.Struct, array_like=True):
    """What the store holds. New fields go to the end, with a default."""

    version: int
    position: tuple[int, ...]
    last: int
    age: int
    """Milliseconds from `first` to `last`; so are `fading` and the session's start relative to `last`."""
    events: int
    fading: list[int]
    """Activity, rates, then interests."""
    interests: bytes
    session: tuple[str, int, int]
    kinds: list[int | str]
    """Event types: first those of `frequency`, by their number in _SHARED_TYPES or by name."""
    frequency: list[tuple[int, ...]]
    marks: list[tuple[int, int]]
    """The different pairs of kind and weight in the history."""
    history: bytes | list[int]
    """The mark of each event: four bits each as long as that is enough."""
    ages: list[int]
    """Seconds from each event to the next; from the newest to `last`."""
    items: _Numbers | bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Packed)
_TEXTS = msgspec.msgpack.Decoder(list[str])


def _unpack(packed: _Packed) -> UserState:
    if packed.version != VERSION:
        raise LookupError(f"version {packed.version} is not known here, {VERSION} is")
    last = packed.last
    activity, short, long, *interests = [moment + last for moment in packed.fading]
    session, since_start, session_events = packed.session
    kinds = [_SHARED_TYPES[kind] if isinstance(kind, int) else kind for kind in packed.kinds]
    marks = [(kinds[kind], weight) for kind, weight in packed.marks]
    count = len(packed.ages)
    history = [marks[number] for number in _unpack_marks(packed.history, count)]
    times = list(accumulate(reversed(packed.ages), sub, initial=last // 1_000))[:0:-1]
    return UserState(
        position=packed.position,
        first=last - packed.age,
        last=last,
        events=packed.events,
        activity=activity,
        rates=(short, long),
        frequency=dict(zip(kinds, packed.frequency, strict=False)),
        interests=dict(zip(struct.unpack(f"<{len(interests)}H", packed.interests), interests, strict=True)),
        session=(session, last - since_start, session_events),
        items=_unpack_ids(packed.items, count),
        times=times,
        weights=[weight for _, weight in history],
        types=[kind for kind, _ in history],
    )


def _pack_marks(numbers: list[int]) -> bytes | list[int]:
    """Numbers below 16 as one hexadecimal digit each, others as they are."""
    if max(numbers, default=0) > 15:
        return numbers
    digits = bytes(numbers).translate(_TO_DIGIT).decode()
    return bytes.fromhex(digits + "0" * (len(digits) % 2))


def _unpack_marks(packed: bytes | list[int], count: int) -> Iterable[int]:
    if isinstance(packed, list):
        return packed
    return packed.hex().encode().translate(_FROM_DIGIT)[:count]


def _pack_ids(ids: list[str]) -> _Numbers | bytes:
    prefix = ids[0].rstrip(_DECIMAL) if ids else ""
    texts = _SEPARATOR.join(ids)[len(prefix) :].split(_SEPARATOR + prefix)
    lengths = set(map(len, texts))
    same, longest = len(lengths) == 1, max(lengths)
    joined = "".join(texts)
    if (
        len(texts) == len(ids)
        and joined.isascii()
        and joined.isdigit()
        and 0 < min(lengths) <= longest <= _MOST_DIGITS
        and (same or not any(text[0] == "0" for text in texts))
    ):
        return _Numbers(prefix, longest if same else 0, _planes(list(map(int, texts))))
    deflate = zlib.compressobj(1, wbits=-15)
    return deflate.compress(_ENCODER.encode(ids)) + deflate.flush()


def _unpack_ids(packed: _Numbers | bytes, count: int) -> list[str]:
    if isinstance(packed, bytes):
        return _TEXTS.decode(zlib.decompress(packed, -15))
    numbers = _from_planes(packed.planes, count)
    if packed.digits == 0:
        return [packed.prefix + str(number) for number in numbers]
    form = f"{packed.prefix.replace('%', '%%')}%0{packed.digits}d"
    return [form % number for number in numbers]


def _planes(numbers: list[int]) -> bytes:
    raw = struct.pack(f"<{len(numbers)}Q", *numbers)
    width = (max(numbers).bit_length() + 7) // 8
    return b"".join([raw[plane::8] for plane in range(width)])


def _from_planes(planes: bytes, count: int) -> tuple[int, ...]:
    raw = bytearray(8 * count)
    for plane in range(len(planes) // count):
        raw[plane::8] = planes[plane * count : (plane + 1) * count]
    return struct.unpack(f"<{count}Q", raw)
