"""How far ahead a recommendation looks."""

from enum import StrEnum


class Horizon(StrEnum):
    """What is asked of a history: what the user comes to next, or what the user likes at all."""

    NEXT = "next"
    TASTE = "taste"
