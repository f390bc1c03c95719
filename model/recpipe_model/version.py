"""What a published version says of itself, beside what the model server reads."""

from pathlib import Path
from typing import Final

ITEMS_FILE: Final = Path("assets.extra", "items")


def items_in(version: Path) -> int:
    """How many items it knows: the first so many of the learner's vocabulary. 0 where it does not say."""
    try:
        return int((version / ITEMS_FILE).read_text())
    except (OSError, ValueError):
        return 0
