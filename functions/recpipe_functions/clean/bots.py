"""Is a user's event a machine's? A score with reasons; what is known of the user and of the crowd goes along.

Rates and rhythms are judged on the events' own timestamps, never on arrival: a batch arrives at once. Time
that runs backwards (a device that was offline, two devices of one user) counts as time that has passed.
"""

from collections.abc import Mapping
from math import log
from typing import NamedTuple

import msgspec

from recpipe.records import CleanEvent
from recpipe.spec import Bots
from recpipe_functions.clean import rhythm
from recpipe_functions.clean.crawlers import declared_by
from recpipe_functions.clean.crowd import Crowd

HINTS: Mapping[str, float] = {
    "honeypot": 1.0,
    "webdriver": 1.0,
    "headless": 0.9,
    "untrusted": 0.5,
    "no_languages": 0.4,
    "no_viewport": 0.4,
}
"""What the tracker may say under `additional_data._hints`, and what it counts where it is true."""
PENALTY_SECONDS = 60.0
"""A user above the rate is let in again after so long a silence at most."""
_FEWEST_GAPS_OF_SESSION = 10


class Watch(NamedTuple):
    """What is known of one user's recent events. Times are milliseconds."""

    last: int = 0
    level: float = 0.0
    """Of the leaky bucket, in events: it leaks at the spec's rate and may hold the spec's burst."""
    events: int = 0
    """Of this session."""
    hand: int = 0
    """Timestamp of the last deliberate event."""
    gaps: bytes = b""
    """Between deliberate events, see `rhythm.gap_byte`."""


class Judgement(NamedTuple):
    """0 is a human, 1 a machine."""

    score: float
    reasons: tuple[str, ...] = ()


class _Hints(msgspec.Struct):
    hints: dict[str, object] = msgspec.field(name="_hints", default={})


_HINTS = msgspec.json.Decoder(_Hints)
HUMAN = Judgement(0.0)


class BotFilter:
    """The filter by one pipeline's spec."""

    def __init__(self, bots: Bots) -> None:
        self._bots = bots
        self._rhythm_types = frozenset(bots.rhythm_types) if bots.rhythm else frozenset()
        self._most = bots.burst + PENALTY_SECONDS * bots.max_events_per_second

    @property
    def enabled(self) -> bool:
        return self._bots.enabled

    def rejects(self, judgement: Judgement) -> bool:
        return judgement.score >= self._bots.threshold

    def __call__(self, event: CleanEvent, watch: Watch, crowd: Crowd) -> tuple[Judgement, Watch, Crowd]:
        """The judgement of one event, and what is known after it."""
        if not self.enabled:
            return HUMAN, watch, crowd
        after = self._watched(watch, event)
        found = [*self._declared(event), *_hinted(event), *self._too_fast(after)]
        if len(after.gaps) >= _FEWEST_GAPS_OF_SESSION:
            mean, spread = rhythm.moments(after.gaps)
            if event["event_type"] in self._rhythm_types:
                found += _too_regular(event, watch, after, spread)
            if self._bots.anomalies:
                session = (mean, spread, log(after.events))
                if found:
                    found += _unlike(crowd, session)
                else:
                    crowd = crowd.learned(session)
        if not found:
            return HUMAN, after, crowd
        score = min(sum(score for score, _ in found), 1.0)
        return Judgement(round(score, 3), tuple(reason for _, reason in found)), after, crowd

    def _watched(self, watch: Watch, event: CleanEvent) -> Watch:
        """The watch with one event more, be it accepted or not."""
        at = event["timestamp"]
        silence = abs(at - watch.last)
        if silence > rhythm.LONGEST_GAP or not watch.events:
            watch = Watch(last=at)
        level = max(watch.level - silence / 1_000 * self._bots.max_events_per_second, 0.0) + 1.0
        hand, gaps = watch.hand, watch.gaps
        if event["event_type"] in self._rhythm_types:
            if watch.hand and at != watch.hand:  # equal timestamps say nothing of rhythm
                gaps = (gaps + bytes((rhythm.gap_byte(abs(at - watch.hand)),)))[-rhythm.MOST_GAPS :]
            hand = at
        return Watch(at, min(level, self._most), watch.events + 1, hand, gaps)

    def _declared(self, event: CleanEvent) -> list[tuple[float, str]]:
        found = declared_by(event["user_agent"]) if self._bots.declared_crawlers else None
        return [(found[0], f"user agent names {found[1]}")] if found else []

    def _too_fast(self, watch: Watch) -> list[tuple[float, str]]:
        if watch.level <= self._bots.burst:
            return []
        limit = f"{self._bots.max_events_per_second:g} events/s after a burst of {self._bots.burst}"
        return [(1.0, f"rate above {limit}")]


def _hinted(event: CleanEvent) -> list[tuple[float, str]]:
    if '"_hints"' not in event["additional_data"]:
        return []
    try:
        hints = _HINTS.decode(event["additional_data"]).hints
    except msgspec.ValidationError:  # some sender's own use of the name
        return []
    return [(score, f"tracker hints {name}") for name, score in HINTS.items() if hints.get(name) is True]


def _too_regular(event: CleanEvent, before: Watch, after: Watch, spread: float) -> list[tuple[float, str]]:
    coarse = event["timestamp"] % 1_000 == 0 and before.hand % 1_000 == 0
    score, reason = rhythm.regularity(after.gaps, spread, coarse=coarse)
    return [(score, reason)] if score > 0.0 else []


def _unlike(crowd: Crowd, session: tuple[float, ...]) -> list[tuple[float, str]]:
    score, distance = crowd.strangeness(session)
    return [(score, f"session is unlike others (z = {distance:.1f})")] if score > 0.0 else []
