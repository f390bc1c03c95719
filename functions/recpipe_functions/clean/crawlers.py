"""User agents that say they are machines, by the public list of crawler-user-agents."""

import re
from collections import Counter, defaultdict
from functools import lru_cache
from typing import Final

from crawleruseragents import CRAWLER_USER_AGENTS_DATA

CRAWLER: Final = 1.0
LIBRARY: Final = 0.5
"""Score of an HTTP library: backends and native apps send people's events with one."""

_SPECIAL = re.compile(r"(?<!\\)[\[\]().*+?^$|{}]|\\[a-zA-Z]")
_GRAM = 3


def _grams(text: str) -> set[str]:
    return {text[start : start + _GRAM] for start in range(len(text) - _GRAM + 1)}


def _file(literals: dict[str, float]) -> dict[str, list[tuple[float, str]]]:
    """Files each literal under its rarest three letters: few are left to look for in a user agent."""
    counts = Counter(gram for literal in literals for gram in _grams(literal))
    filed = defaultdict(list)
    for literal, score in literals.items():
        filed[min(_grams(literal), key=lambda gram: (counts[gram], gram))].append((score, literal))
    return filed


_SCORES: dict[str, float] = {
    entry["pattern"]: LIBRARY if "http-library" in entry.get("tags", ()) else CRAWLER
    for entry in CRAWLER_USER_AGENTS_DATA
}
_LITERALS = _file(
    {re.sub(r"\\(.)", r"\1", each): score for each, score in _SCORES.items() if not _SPECIAL.search(each)}
)
_EXPRESSIONS = [(score, re.compile(each)) for each, score in _SCORES.items() if _SPECIAL.search(each)]


@lru_cache(maxsize=16_384)
def declared_by(user_agent: str) -> tuple[float, str] | None:
    """The highest score that a user agent gives itself, and the part of it that does."""
    candidates = (each for gram in _grams(user_agent) & _LITERALS.keys() for each in _LITERALS[gram])
    found = [(score, literal) for score, literal in candidates if literal in user_agent]
    found += [(score, hit[0]) for score, each in _EXPRESSIONS if (hit := each.search(user_agent))]
    return max(found, default=None)
