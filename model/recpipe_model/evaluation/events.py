"""Files of public events and items as columns, checked line by line."""

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from recpipe import spec
from recpipe.admission import PublicEvent
from recpipe.catalogue import ITEM_DECODER, Item
from recpipe_model.hybrid.arrays import Array, Doubles, Floats, Ints

WEIGHT_KEYS = ("rating", "weight")
"""Keys of `additional_data` that hold an event's weight where no pipeline says otherwise."""
UNKNOWN_TYPE = spec.EventType(weight=1.0)
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")
Decoded = TypeVar("Decoded")


class InputError(ValueError):
    """Something that was given cannot be used; the message says what and what to do."""


class BadLineError(InputError):
    """A line of a file is wrong."""

    def __init__(self, path: Path, line: int, place: str, value: object, remedy: str) -> None:
        self.path, self.line, self.field, self.value = path, line, place, value
        shown = "missing" if value is msgspec.UNSET else repr(value)
        super().__init__(f"{path}:{line}: {place} is {shown}: {remedy}")


@dataclass(frozen=True, slots=True)
class Ids:
    """Indices 0, 1, .. of users, items and sessions in order of appearance, shared by all files of a run."""

    users: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Events of items in time order, one array a column.

    Attributes:
        users, items, sessions: [n] indices of `ids`.
        times: [n] seconds since the epoch, never falling.
        weights: [n] how much each event says of the user's interest.
        ids: what the indices stand for.
        without_item: events of the file that name no item, left out.
        sorted: whether the file was not in time order and had to be sorted (stably).
    """

    users: Ints
    items: Ints
    sessions: Ints
    times: Doubles
    weights: Floats
    ids: Ids
    without_item: int = 0
    sorted: bool = False

    def __len__(self) -> int:
        return len(self.times)

    def where(self, mask: Array) -> "Stream":
        """The events that a mask or indices name."""
        return replace(
            self,
            users=self.users[mask],
            items=self.items[mask],
            sessions=self.sessions[mask],
            times=self.times[mask],
            weights=self.weights[mask],
        )

    def positives(self, min_weight: float) -> "Stream":
        """The events of weight at least `min_weight`; those of no or negative weight are never among them.

        Raises:
            InputError: when there is none.
        """
        mask = (self.weights >= min_weight) & (self.weights > 0)
        if not mask.any():
            raise InputError(
                f"min-weight is {min_weight:g}: no event has a positive weight of at least that; "
                f"the greatest is {self.weights.max():g}"
            )
        return self.where(mask)


def read_events(
    *paths: Path, ids: Ids, events: spec.Events | None = None, need_session: bool = False
) -> tuple[Stream, ...]:
    """Each file's events that name an item, one JSON object a line in the public event format.

    Args:
        paths: files.
        ids: takes up the users, items and sessions met.
        events: a pipeline's rules for types, weights and item ids; without them any type is taken,
            weight comes from `additional_data.rating` or `.weight`, else from the type (unknown ones: 1).
        need_session: whether an event without `session_id` is an error.

    Raises:
        BadLineError: naming line, field and value.
        InputError: when a file holds no event of an item.
    """
    rules = _Rules(events)
    return tuple(_read(path, ids, rules, need_session) for path in paths)


def read_items(path: Path, ids: Ids) -> dict[int, Item]:
    """Metadata by item index: one JSON object a line with item_id, title, categories, attributes.

    Raises:
        BadLineError: naming line, field and value.
    """
    return {
        ids.items.setdefault(item.item_id, len(ids.items)): item for _, item in _decoded(path, ITEM_DECODER)
    }


class _Rules:
    """What a pipeline's spec says of events, or the defaults where there is no pipeline."""

    def __init__(self, events: spec.Events | None) -> None:
        rules = events or spec.Events()
        self._known = rules.all_types()
        self._any_type = events is None
        self._patterns = [re.compile(pattern) for pattern in rules.item_id_patterns]

    def weight(self, event_type: str, data: Mapping[str, Any]) -> float:
        """Raises _BadValueError."""
        kind = self._known.get(event_type, UNKNOWN_TYPE if self._any_type else None)
        if kind is None:
            raise _BadValueError(
                "event_type", event_type, f"this pipeline takes {', '.join(sorted(self._known))}"
            )
        for key in WEIGHT_KEYS if self._any_type else (kind.weight_from,):
            value = data.get(key) if key else None
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not -100 <= value <= 100:
                raise _BadValueError(f"additional_data.{key}", value, "send a number from -100 to 100")
            return float(value)
        return kind.weight

    def item_id(self, event: PublicEvent, data: Mapping[str, Any]) -> str | None:
        """Raises _BadValueError."""
        if event.item_id is not None:
            return event.item_id
        named = data.get("item_id")
        if named is not None:
            if isinstance(named, bool) or not isinstance(named, str | int) or not 1 <= len(str(named)) <= 128:
                raise _BadValueError("additional_data.item_id", named, "send text of 1 to 128 characters")
            return str(named)
        for pattern in self._patterns:
            if (found := pattern.search(event.page_url)) and found[1]:
                return found[1][:128]
        return None


class _BadValueError(ValueError):
    """A value of an event that the rules do not take: field, value, remedy."""

    def __init__(self, place: str, value: object, remedy: str) -> None:
        super().__init__(place, value, remedy)


def _read(path: Path, ids: Ids, rules: _Rules, need_session: bool) -> Stream:
    users, items, sessions = ids.users, ids.items, ids.sessions
    of_user, of_item, of_session = array("i"), array("i"), array("i")
    times, weights = array("d"), array("f")
    without_item = 0
    data_of = msgspec.json.Decoder(dict[str, Any]).decode
    for number, event in _decoded(path, msgspec.json.Decoder(PublicEvent)):
        try:
            data = data_of(event.additional_data)
            item = rules.item_id(event, data)
            weight = rules.weight(event.event_type, data)
        except msgspec.ValidationError as error:
            value = msgspec.json.decode(event.additional_data)
            raise BadLineError(path, number, "additional_data", value, _said(error)) from error
        except _BadValueError as error:
            raise BadLineError(path, number, *error.args) from error
        if need_session and not event.session_id:
            raise BadLineError(
                path, number, "session_id", "", "next-item follows sessions; give every event one"
            )
        if item is None:
            without_item += 1
            continue
        moment = event.timestamp
        of_user.append(users.setdefault(event.user_id, len(users)))
        of_item.append(items.setdefault(item, len(items)))
        of_session.append(sessions.setdefault(event.session_id, len(sessions)))
        # A moment without a zone is taken as UTC, as at the gateway.
        times.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        weights.append(weight)
    if not times:
        raise InputError(
            f"{path}: no event names an item; give item_id, additional_data.item_id or a page_url"
        )
    stream = Stream(
        users=np.array(of_user),
        items=np.array(of_item),
        sessions=np.array(of_session),
        times=np.array(times),
        weights=np.array(weights),
        ids=ids,
        without_item=without_item,
    )
    if (np.diff(stream.times) >= 0).all():
        return stream
    return replace(stream.where(np.argsort(stream.times, kind="stable")), sorted=True)


def _decoded(path: Path, decoder: msgspec.json.Decoder[Decoded]) -> Iterator[tuple[int, Decoded]]:
    """Each line's number and object; blank lines are passed over."""
    decode: Callable[[bytes], Decoded] = decoder.decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if line.strip():
                    raise _explained(path, number, line, error) from error


def _explained(path: Path, number: int, line: bytes, error: Exception) -> BadLineError:
    """The decoder's complaint, with the field and the value it is about."""
    if not isinstance(error, msgspec.ValidationError):
        return BadLineError(
            path, number, "the line", line.strip()[:80].decode(errors="replace"), f"no JSON: {error}"
        )
    if missing := _MISSING.search(str(error)):
        return BadLineError(path, number, missing[1], msgspec.UNSET, "give every line one")
    place = _PLACE.search(str(error))
    steps = re.findall(r"[^.\[\]]+", place[1]) if place else []
    value: Any = msgspec.json.decode(line)
    for step in steps:
        match value:
            case dict():
                value = value.get(step)
            case list() if step.isdigit():
                value = value[int(step)]
            case _:
                break
    return BadLineError(path, number, place[1] if place and place[1] else "the line", value, _said(error))


def _said(error: Exception) -> str:
    """The decoder's words without the place."""
    words = _PLACE.sub("", str(error))
    return words[:1].lower() + words[1:]
