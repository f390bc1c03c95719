"""The user's live state after an event, and the event's feature row: pure functions of what came before.

Events of one user may arrive out of order. A late one (older than the newest event in the state) counts
in everything with its own time, and moves nothing back: what is said of the user is always as of the
newest event, so that no age is negative and no score is larger for being late.
"""

from bisect import bisect_right
from datetime import timedelta
from functools import lru_cache
from math import exp2, expm1, log, log2
from typing import TypeVar
from zlib import crc32

from recpipe.catalogue import Item
from recpipe.records import CleanEvent, FeatureRow
from recpipe.spec import Features
from recpipe.state import UserState
from recpipe_functions.features.context import device_of, host_of
from recpipe_functions.features.fading import joined, moment_of, score
from recpipe_functions.features.windows import Windows

VELOCITY_SPREAD = 12
"""Velocity compares half-lives of a twelfth and of twelve times the spec's: half an hour with three days."""
MOST_INTERESTS = 8
FADED_AFTER = 6
"""Half-lives after which an interest of weight one is forgotten."""
_MILLISECOND = timedelta(milliseconds=1)
_HOUR = 3_600_000
_LN2 = log(2.0)

T = TypeVar("T")


class Update:
    """The update by one pipeline's spec."""

    def __init__(self, features: Features) -> None:
        self._half_life = features.half_life // _MILLISECOND
        self._short, self._long = (
            max(self._half_life // VELOCITY_SPREAD, 1),
            self._half_life * VELOCITY_SPREAD,
        )
        self._windows = Windows(features.windows)
        self._session_gap = features.session_gap // _MILLISECOND
        self._history_length = features.history_length

    def __call__(
        self, state: UserState, event: CleanEvent, item: Item | None, profile: dict[str, str]
    ) -> tuple[UserState, FeatureRow]:
        """State and row after one event; `state` itself is left as it is. `position` is not looked at."""
        at, kind, new = event["timestamp"], event["event_type"], state.events == 0
        now, first = (at, at) if new else (max(state.last, at), min(state.first, at))
        categories = item.categories if item else []
        activity = at if new else joined(state.activity, at, self._half_life)
        rates = (
            (at, at)
            if new
            else (joined(state.rates[0], at, self._short), joined(state.rates[1], at, self._long))
        )
        counts = self._windows.move(state.frequency, state.last, now)
        frequency = counts | {kind: self._windows.add(counts.get(kind), at, now)}
        interests = self._interests(state.interests, categories, event["weight"], at, now)
        kept, session = self._session(state, event["session_id"], at)
        session_id, session_start, session_events = session
        after = UserState(
            position=state.position,
            first=first,
            last=now,
            events=state.events + 1,
            activity=activity,
            rates=rates,
            frequency=frequency,
            interests=interests,
            session=kept,
            items=state.items,
            times=state.times,
            weights=state.weights,
            types=state.types,
        )
        if event["item_id"] is not None:
            self._remember(after, event["item_id"], at, event["weight"], kind)
        row = FeatureRow(
            event_id=event["event_id"],
            user_id=event["user_id"],
            session_id=session_id or f"{event['user_id']}@{session_start}",
            event_type=kind,
            item_id=event["item_id"],
            timestamp=at,
            ingested_at=event["ingested_at"],
            weight=event["weight"],
            recency=-1.0 if new else max(at - state.last, 0) / 1_000,
            activity=score(activity, now, self._half_life),
            frequency=self._windows.estimates(frequency[kind], now),
            velocity=self._velocity(rates, now, now - first),
            diversity=self._diversity(interests),
            session_events=session_events,
            session_seconds=max(at - session_start, 0) / 1_000,
            history_length=len(after.items),
            categories=categories,
            profile=profile,
            device=device_of(event["user_agent"]),
            hour=at // _HOUR % 24,
            referrer=host_of(event["referrer"]),
        )
        return after, row

    def _session(
        self, state: UserState, named: str, at: int
    ) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
        """The session to keep and the one of this event: (id or "", start, events).

        They differ for a late event of a session that is over, which is told as one of its own.
        """
        session_id, start, events = state.session
        gap = self._session_gap
        same = named == session_id if named else start - gap <= at <= state.last + gap
        if same and events:
            session = (session_id, start, events + 1)
            return session, session
        begun = (named, at, 1)
        return (state.session if events and at < state.last else begun), begun

    def _interests(
        self, interests: dict[int, int], categories: list[str], weight: float, at: int, now: int
    ) -> dict[int, int]:
        """Adds the event's weight, shared by the item's categories; keeps few, and none that has faded."""
        share = weight / max(len(categories), 1)
        if not categories or share <= 0.0:
            return interests
        floor = now - FADED_AFTER * self._half_life
        moment = moment_of(share, at, self._half_life)
        touched = {name: kept for name, kept in interests.items() if kept > floor}
        for category in categories:
            name = _fingerprint(category)
            kept = touched.get(name)
            touched[name] = moment if kept is None else joined(kept, moment, self._half_life)
        while len(touched) > MOST_INTERESTS:
            del touched[min(touched, key=touched.__getitem__)]
        return touched

    def _remember(self, state: UserState, item: str, at: int, weight: float, kind: str) -> None:
        """Puts an event where its time belongs in the history, then lets the oldest go."""
        seconds = at // 1_000
        index = bisect_right(state.times, seconds)
        most = self._history_length
        state.items = _put(state.items, index, item, most)
        state.times = _put(state.times, index, seconds, most)
        state.weights = _put(state.weights, index, round(weight * 100), most)
        state.types = _put(state.types, index, kind, most)

    def _velocity(self, rates: tuple[int, int], now: int, age: int) -> float:
        """Rate over the short half-life by the rate over the long one; 1 for a user with one event.

        Each is divided by the time it had to gather: a new user's long rate is not low for being new.
        """
        if age <= 0:
            return 1.0
        short = score(rates[0], now, self._short) / _gathered(age, self._short)
        return short * _gathered(age, self._long) / score(rates[1], now, self._long)

    def _diversity(self, interests: dict[int, int]) -> float:
        """Shannon entropy of the interests, in bits."""
        if len(interests) < 2:
            return 0.0
        newest = max(interests.values())
        octaves = [(moment - newest) / self._half_life for moment in interests.values()]
        weights = [exp2(octave) for octave in octaves]
        total = sum(weights)
        mean = sum([weight * octave for weight, octave in zip(weights, octaves, strict=True)]) / total
        return max(log2(total) - mean, 0.0)


def _put(column: list[T], index: int, value: T, most: int) -> list[T]:
    return [*column[:index], value, *column[index:]][-most:]


def _gathered(age: int, half_life: int) -> float:
    """Milliseconds of full weight in the last `age`: age where it is short, half_life/ln 2 where it is long."""
    return -expm1(-_LN2 * age / half_life) * half_life / _LN2


@lru_cache(maxsize=16_384)
def _fingerprint(category: str) -> int:
    """Sixteen bits of a category: two of a user's few are hardly ever the same, and then count as one."""
    return crc32(category.encode()) & 0xFFFF
