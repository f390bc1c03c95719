"""How far ahead a recommendation looks."""

from enum import StrEnum


class Horizon(StrEnum):
    """What is asked of a history: what the user comes to next, or what the user likes at all."""

    NEXT = "next"
    TASTE = "taste"


SIGNATURES = {Horizon.NEXT: "serving_default", Horizon.TASTE: "taste"}
"""The signature of a served model that answers each."""
TASTE_INPUTS = ("recent_items", "recent_weights", "live", "exclude", "k")
"""The inputs of the signature of next that have a meaning for the taste."""
